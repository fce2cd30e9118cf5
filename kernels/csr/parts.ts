import type { Weights } from '../../src/formats/format.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Device } from '../../src/plan/variant.js';
import type { Stage } from '../../src/webgpu/variant.js';
import { fits, limitsOf } from '../shared/cost.js';

/*
 * Sparse weights of which the device cannot bind an operand whole run in parts of their rows, one dispatch each. Where a
 * part's entries lie is known from the weights alone, so a problem says only whether every row pattern would fit.
 */

/** What operands have a length by: bytes of each row, and of each stored entry (a block, where there are blocks). */
export interface OperandBytes {
  rows: Readonly<Record<string, number>>;
  entries: Readonly<Record<string, number>>;
}

/** Output channels that one dispatch computes. */
export interface Part {
  first: number;
  count: number;
  /** The entry that the operands' bound parts begin with: a multiple of ENTRY_STEP. */
  base: number;
  slices?: Stage['slices'];
}

/** Entries whose bytes are a multiple of 256, an offset's unit, in any operand of half a byte an entry or more. */
const ENTRY_STEP = 512;

const rowsOf = ({ groups, N }: MatmulProblem): number => groups * N;
const blockOf = ({ weights }: MatmulProblem): readonly [rows: number, cols: number] => weights.block ?? [1, 1];

/** Rows of which any number makes an offset that can be bound, and whole blocks. */
function rowStep(p: MatmulProblem, { rows }: OperandBytes): number {
  const [blockRows] = blockOf(p);
  let step = 64 * blockRows;
  while (Object.values(rows).some((bytes) => (step * bytes) % 256 !== 0)) step += 64 * blockRows;
  return step;
}

/** Bytes of each operand. */
function wholeBytes(p: MatmulProblem, { rows, entries }: OperandBytes): Record<string, number> {
  const [blockRows, blockCols] = blockOf(p);
  const sizes: Record<string, number> = { indptr: 4 * (Math.ceil(rowsOf(p) / blockRows) + 1) };
  for (const [name, bytes] of Object.entries(rows)) sizes[name] = bytes * rowsOf(p);
  for (const [name, bytes] of Object.entries(entries)) sizes[name] = (bytes * p.weights.nnz) / (blockRows * blockCols);
  return sizes;
}

const bindable = (device: Device): number => Math.min(limitsOf(device).binding, limitsOf(device).buffer);

function fitsWhole(p: MatmulProblem, device: Device, operands: OperandBytes): boolean {
  return Math.max(...Object.values(wholeBytes(p, operands))) <= bindable(device);
}

/** True when the device can bind the operands, whole or in parts, wherever their non-zeros lie. */
export function fitsInParts(p: MatmulProblem, device: Device, operands: OperandBytes): true | string {
  const sizes = wholeBytes(p, operands);
  const { binding, buffer } = limitsOf(device);
  const largest = Math.max(...Object.values(sizes));
  if (largest <= bindable(device)) return true;
  const [blockRows, blockCols] = blockOf(p);
  const step = rowStep(p, operands);
  const fullest = Math.ceil(p.K / blockCols) * (step / blockRows) + ENTRY_STEP;
  const worst = Math.max(
    ...Object.values(operands.rows).map((bytes) => bytes * step),
    ...Object.values(operands.entries).map((bytes) => bytes * fullest),
  );
  if (p.groups > 1 || largest > buffer || worst > binding) return fits(device, sizes);
  return true;
}

/**
 * The parts in which a device runs the rows.
 * @param weights whose operands they are; needed where they don't fit whole
 */
export function partsOf(p: MatmulProblem, device: Device, operands: OperandBytes, weights?: Weights): Part[] {
  const rows = rowsOf(p);
  if (fitsWhole(p, device, operands)) return [{ first: 0, count: rows, base: 0 }];
  const [blockRows] = blockOf(p);
  const { binding } = limitsOf(device);
  const step = rowStep(p, operands);
  const indptr = (weights as { indptr?: Uint32Array } | undefined)?.indptr;
  const entryAt = (row: number) => indptr?.[Math.ceil(row / blockRows)] ?? 0;
  const partOf = (first: number, end: number): Part => {
    const count = end - first;
    const base = Math.floor(entryAt(first) / ENTRY_STEP) * ENTRY_STEP;
    const slices: Record<string, [offset: number, bytes: number]> = {
      indptr: [4 * (first / blockRows), 4 * (Math.ceil(count / blockRows) + 1)],
      bias: [4 * first, 4 * count],
    };
    for (const [name, bytes] of Object.entries(operands.rows)) slices[name] = [bytes * first, bytes * count];
    // Not empty, even where the rows are.
    const entries = Math.max(entryAt(end) - base, 1);
    for (const [name, bytes] of Object.entries(operands.entries)) slices[name] = [bytes * base, bytes * entries];
    return { first, count, base, slices };
  };
  const parts: Part[] = [];
  for (let first = 0; first < rows; ) {
    let part = partOf(first, Math.min(first + step, rows));
    while (part.first + part.count < rows) {
      const longer = partOf(first, Math.min(part.first + part.count + step, rows));
      if (Math.max(...Object.values(longer.slices!).map(([, bytes]) => bytes)) > binding) break;
      part = longer;
    }
    parts.push(part);
    first += part.count;
  }
  return parts;
}
