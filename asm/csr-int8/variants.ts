import type { CsrInt8Weights } from '../../src/formats/csr-int8.js';
import { inputSize, type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import { dotFlipOf, matmulParams, predictMs, roundUp, row, type WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, gathering, PADDING, packEntries } from '../shared/sparse/variants.js';
import { BYTE_INPUTS, codesBytes, QUANTIZE, quantize, samplePartsOf } from '../shared/variants.js';

/** Rows of A in a strip. */
const S = 32;

/** A GEMV has no strip: offsets are into a row of 16-bit integers. */
const blocking = (p: MatmulProblem, columnBytes: number) => blockingOf(p, columnBytes, columnBytes, 16);

/** See asm/csr-int8/csr-int8.ts. `columnBytes`: of a column of W in the strip. */
const entries = (
  blockCols: 1 | 4,
  columnBytes: number,
  sumBytes: number,
  unit: number,
): WasmLayout<CsrInt8Weights> => ({
  name: `csrInt8x${blockCols}_${columnBytes}`,
  panel: 4,
  pack(weights, p) {
    const shape = { sumBytes, wordBytes: columnBytes, unit, block: [1, blockCols] as const };
    const { sources, blocks, records, offsets } = packEntries(weights, p, blocking(p, columnBytes), shape);
    const facts = new Uint32Array(blocks.length + 2 * weights.rows);
    facts.set(blocks);
    const scales = new Float32Array(facts.buffer, blocks.byteLength);
    const sums = new Int32Array(facts.buffer, blocks.byteLength);
    for (let r = 0; r < weights.rows; r++) {
      scales[2 * r] = weights.scale[r];
      for (let i = weights.indptr[r] * blockCols; i < weights.indptr[r + 1] * blockCols; i++) {
        sums[2 * r + 1] += weights.codes[i];
      }
    }
    const codes = new Int8Array(sources.length * blockCols);
    for (const [i, source] of sources.entries()) {
      if (source < 0) continue;
      codes.set(weights.codes.subarray(source * blockCols, (source + 1) * blockCols), i * blockCols);
    }
    return { blocks: facts, records, offsets, codes };
  },
});

const rows = (blockCols: 1 | 4) => {
  const name = blockCols === 1 ? 'csrInt8' : 'csrInt8x4';
  const supports = (p: MatmulProblem) => {
    const cols = p.weights.block![1];
    return cols === blockCols || `entries have ${cols} columns`;
  };
  const common = {
    ops: ['linear', 'conv2d'],
    format: 'csrInt8',
    clamp: (p: MatmulProblem) => p.clamp,
    inputs: BYTE_INPUTS,
    sharedBytes: codesBytes,
  } as const;

  const spmm = (isa: string, feature: string, columnBytes: number, unit: number, share: number) =>
    row<MatmulProblem>({
      ...common,
      name: `${name}_spmm_32x1_${isa}`,
      requires: [feature],
      supports,
      layout: entries(blockCols, columnBytes, S * 4, unit),
      stages: [...quantize, { export: `${name}_spmm_32x1`, tiles: (p) => p.groups * Math.ceil(p.M / S) }],
      params: (p, device) =>
        matmulParams(p, {
          panel: 4,
          ...blocking(p, columnBytes),
          dotFlip: dotFlipOf(device),
          sampleParts: samplePartsOf(p, device),
        }),
      scratchBytes(p) {
        const { chunk, kBlocks, channelBlock } = blocking(p, columnBytes);
        const strip = kBlocks * (chunk + PADDING) * columnBytes;
        return (tapsOf(p) * 4 + 10 + channelBlock * 4 + roundUp(p.K, 64)) * S + strip + 64;
      },
      cost(p, device) {
        const { kBlocks } = blocking(p, columnBytes);
        const strip = (p.weights.nnz * S) / share + p.groups * ((p.K * 3 + p.N * 5) * S + p.N * kBlocks * 150);
        const work = Math.ceil(p.M / S) * strip + gathering(p) + inputSize(p) * QUANTIZE;
        return predictMs(device, work, 1, p.weights.bytes, 2);
      },
    });

  return [
    spmm('k4_dot', 'fast-dot', S, blockCols === 1 ? 4 : 1, blockCols === 1 ? 1.6 : 2.9),
    spmm('k2', 'pairs', 2 * S, blockCols === 1 ? 2 : 1, blockCols === 1 ? 1 : 1.3),
    row<MatmulProblem>({
      ...common,
      name: `${name}_gemv_1x1`,
      supports,
      layout: entries(blockCols, 2, 4, blockCols === 1 ? 8 : 2),
      stages: [...quantize, { export: `${name}_gemv_1x1`, tiles: (p) => p.groups * blocking(p, 2).nBlocks }],
      params: (p, device) =>
        matmulParams(p, {
          panel: 4,
          ...blocking(p, 2),
          dotFlip: dotFlipOf(device),
          sampleParts: samplePartsOf(p, device),
        }),
      scratchBytes(p) {
        const { chunk, kBlocks, channelBlock } = blocking(p, 2);
        return tapsOf(p) * 4 + channelBlock * 4 + p.K + kBlocks * (chunk + PADDING) * 2 + 192;
      },
      cost(p, device) {
        const [share, rowCost] = blockCols === 1 ? [0.105, 140] : [0.43, 90];
        const row = p.weights.nnz / share + p.groups * (p.N * rowCost + p.K * 21);
        return predictMs(device, p.M * row + gathering(p) + inputSize(p) * QUANTIZE, 1, p.weights.bytes, p.M);
      },
    }),
  ];
};

export const csrInt8 = [...rows(1), ...rows(4)];
