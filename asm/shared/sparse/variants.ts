import type { FormatName } from '../../../src/formats/format.js';
import { type MatmulProblem, tapsOf } from '../../../src/plan/problem.js';
import { matmulParams, predictMs, roundUp, row, type WasmLayout, type WasmVariant } from '../../../src/wasm/variant.js';

/** Bytes of a packed strip's block of K: most of a core's L1. */
const STRIP_BYTES = 30 * 1024;
/** Channels of a block. */
const CHANNEL_BLOCK = 64;
/** Offsets into a strip are 16 bits. */
const OFFSETS = 65536;

/** Columns of zeros that follow a block of K. */
export const PADDING = 4;

/** How the walk of asm/shared/sparse/spmm.ts cuts a problem. */
export interface Blocking {
  /** Columns of a block of K, and how many blocks there are. */
  chunk: number;
  kBlocks: number;
  channelBlock: number;
  nBlocks: number;
}

/**
 * @param columnBytes of a column of a packed strip
 * @param wordBytes what an offset grows by from column to column
 */
export function blockingOf(
  { K, N }: MatmulProblem,
  columnBytes: number,
  wordBytes = columnBytes,
  multiple = 8,
): Blocking {
  const fitting = columnBytes < 16 ? Number.POSITIVE_INFINITY : STRIP_BYTES / columnBytes;
  const kBlocks = Math.ceil(K / Math.min(fitting, OFFSETS / wordBytes - 2 * multiple));
  const chunk = roundUp(Math.ceil(K / kBlocks), multiple);
  const channelBlock = Math.min(CHANNEL_BLOCK, roundUp(N, 8));
  return { chunk, kBlocks: Math.ceil(K / chunk), channelBlock, nBlocks: Math.ceil(N / channelBlock) };
}

/** Where entries lie, as csr has them. */
export interface Pattern {
  indptr: Uint32Array;
  indices: Uint16Array | Uint32Array;
}

export interface EntryShape {
  /** Bytes from the sums of a channel to those of the next. */
  sumBytes: number;
  /** What an entry's offset grows by from column to column. */
  wordBytes: number;
  /** Entries of a row come in multiples of this. */
  unit: number;
  /** Channels, and columns, that an entry serves. */
  block?: readonly [rows: number, cols: number];
}

/** Where the entries of the blocks lie: operands w0, w1 and w2 of the sparse kernels. */
export interface PackedEntries {
  /** [blocks + 1][2]: first record, first entry of each block [groups][nBlocks][kBlocks]. */
  blocks: Uint32Array;
  /** [records][2]: byte offset of the sums of a row, bytes of its offsets. Longest rows of a block first. */
  records: Uint16Array;
  /** [entries]: byte offset of an entry's column in the packed strip. */
  offsets: Uint16Array;
  /** [entries]: which entry of the weights, or -1 for one that makes a row's count a multiple of `unit`. */
  sources: Int32Array;
}

/**
 * Entries in the order that kernels walk them. Rows of a block with the same number of entries follow each other, so
 * that the processor can foresee where a row ends.
 */
export function packEntries(
  { indptr, indices }: Pattern,
  p: MatmulProblem,
  { chunk, kBlocks, channelBlock, nBlocks }: Blocking,
  { sumBytes, wordBytes, unit, block: [blockRows, blockCols] = [1, 1] }: EntryShape,
): PackedEntries {
  const rows = Math.ceil(p.N / blockRows);
  const blockCount = p.groups * nBlocks * kBlocks;
  const blocks = new Uint32Array((blockCount + 1) * 2);
  const records = new Uint16Array(p.groups * rows * kBlocks * 2);
  const most = indices.length + p.groups * rows * kBlocks * (unit - 1);
  const offsets = new Uint16Array(most);
  const sources = new Int32Array(most).fill(-1);
  const next = indptr.slice(0, p.groups * rows);
  let record = 0;
  let entry = 0;
  for (let block = 0; block < blockCount; block++) {
    const kBlock = block % kBlocks;
    const group = Math.floor(block / kBlocks / nBlocks);
    const nBlock = Math.floor(block / kBlocks) % nBlocks;
    const first = group * rows + (nBlock * channelBlock) / blockRows;
    const past = Math.min(first + channelBlock / blockRows, (group + 1) * rows);
    const firstCol = (kBlock * chunk) / blockCols;
    const pastCol = firstCol + chunk / blockCols;
    blocks.set([record, entry], 2 * block);
    const found: { row: number; from: number; count: number; padded: number }[] = [];
    for (let row = first; row < past; row++) {
      const from = next[row];
      while (next[row] < indptr[row + 1] && indices[next[row]] < pastCol) next[row]++;
      const count = next[row] - from;
      if (count > 0) found.push({ row: row - first, from, count, padded: roundUp(count, unit) });
    }
    found.sort((a, b) => b.padded - a.padded || a.row - b.row);
    for (const { row, from, count, padded } of found) {
      records.set([row * blockRows * sumBytes, padded * 2], 2 * record++);
      for (let i = 0; i < padded; i++, entry++) {
        const column = i < count ? (indices[from + i] - firstCol) * blockCols : chunk;
        offsets[entry] = column * wordBytes;
        if (i < count) sources[entry] = from + i;
      }
    }
  }
  blocks.set([record, entry], 2 * blockCount);
  return {
    blocks,
    records: records.subarray(0, 2 * record),
    offsets: offsets.subarray(0, entry),
    sources: sources.subarray(0, entry),
  };
}

/** Multiply-adds that packing a value of a strip, and finishing an output, cost as much as: most of it waits for memory. */
export const PACK = 5;
export const FINISH = 10;
/** The same of finding a row's pixels under one tap; of grouped convolutions a row's are scattered more. */
const gatherOf = ({ groups }: MatmulProblem): number => (groups > 1 ? 250 : 100);
export const gathering = (p: MatmulProblem): number => p.M * p.groups * tapsOf(p) * gatherOf(p);

/** A row over the walk of asm/shared/sparse/spmm.ts. */
export interface SparseRow {
  format: FormatName;
  name: string;
  /** Default: the name. */
  export?: string;
  requires?: readonly string[];
  supports?: (p: MatmulProblem) => true | string;
  /** Rows of A in a strip. Strips of fewer than 8 are for few rows: tiles are blocks of channels. */
  S: number;
  layout: WasmLayout<never>;
  /** Bytes of a column of W in the offsets; default: in the strip. */
  wordBytes?: number;
  /** Speed, with operands in L1, over the dense kernel's. */
  share: number;
  /** Multiply-adds that the end of a row and block of K costs as much as. */
  rowCost: number;
}

/** Rows of A whose strips are for few of them. */
export const isNarrow = (S: number): boolean => S < 8;

export function sparseRow(r: SparseRow): WasmVariant {
  const { S, wordBytes = S * 4 } = r;
  const blocking = (p: MatmulProblem) => blockingOf(p, S * 4, wordBytes);
  const strips = (p: MatmulProblem) => Math.ceil(p.M / S);
  return row<MatmulProblem>({
    name: r.name,
    ops: ['linear', 'conv2d'],
    format: r.format,
    requires: r.requires,
    supports: r.supports,
    layout: r.layout,
    stages: [{ export: r.export ?? r.name, tiles: (p) => p.groups * (isNarrow(S) ? blocking(p).nBlocks : strips(p)) }],
    clamp: (p) => p.clamp,
    params: (p) => matmulParams(p, { panel: 4, ...blocking(p) }),
    scratchBytes(p) {
      const { chunk, kBlocks, channelBlock } = blocking(p);
      return (tapsOf(p) + channelBlock + 8 + kBlocks * (chunk + PADDING)) * S * 4 + 128;
    },
    cost(p, device) {
      const { kBlocks } = blocking(p);
      const macs = p.weights.nnz * S;
      const rest = p.groups * (p.N * kBlocks * r.rowCost + (p.K * PACK + p.N * FINISH) * S);
      const work = strips(p) * (macs / r.share + rest) + gathering(p);
      return predictMs(device, work, 1, p.weights.bytes, isNarrow(S) ? strips(p) : 2);
    },
  });
}
