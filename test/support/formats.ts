// What the tests of weight formats share: ways to pack, shapes, arbitrary matrices, and assertions.

import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ThinferError } from '../../src/errors.js';
import {
  bcsr,
  binary,
  codebook,
  csr,
  csrCodebook,
  csrInt8,
  dense,
  f16,
  int2,
  int4,
  int8,
  int8Grouped,
  type MatrixShape,
  nm,
  ternary,
  type Weights,
  xnor,
} from '../../src/formats/index.js';

/** Below, at and above the sizes where a layout changes: nibbles, words of 32 bits, 16-bit columns; and primes. */
export const SHAPES: MatrixShape[] = [
  { rows: 1, cols: 1 },
  { rows: 1, cols: 2 },
  { rows: 7, cols: 1 },
  { rows: 1, cols: 31 },
  { rows: 3, cols: 32 },
  { rows: 2, cols: 33 },
  { rows: 13, cols: 17 },
  { rows: 31, cols: 64 },
  { rows: 64, cols: 65 },
];

export const RUNS = { seed: 20260, numRuns: 300 };

/** All ways to pack, by a name for messages that begins with the format's. */
export const PACKERS: Record<string, (values: Float32Array, shape: MatrixShape) => Weights> = {
  dense: (values, shape) => dense.pack(values, shape),
  // What 16 bits do not hold is refused, and tested apart.
  f16: (values, shape) => {
    const inRange = (x: number) => (Number.isFinite(x) ? Math.min(Math.max(x, -65504), 65504) : x);
    return f16.pack(values instanceof Float32Array ? values.map(inRange) : values, shape);
  },
  csr: (values, shape) => csr.pack(values, shape),
  bcsr: (values, shape) => bcsr.pack(values, shape),
  'bcsr 1x4': (values, shape) => bcsr.pack(values, { ...shape, block: [1, 4] }),
  'bcsr 2x1': (values, shape) => bcsr.pack(values, { ...shape, block: [2, 1] }),
  'bcsr 8x1': (values, shape) => bcsr.pack(values, { ...shape, block: [8, 1] }),
  nm: (values, shape) => nm.pack(values, { ...shape, prune: true }),
  int8: (values, shape) => int8.pack(values, shape),
  'int8 asymmetric': (values, shape) => int8.pack(values, { ...shape, symmetric: false }),
  'int8 per tensor': (values, shape) => int8.pack(values, { ...shape, perChannel: false, symmetric: false }),
  int8Grouped: (values, shape) => int8Grouped.pack(values, shape),
  'int8Grouped asymmetric': (values, shape) => int8Grouped.pack(values, { ...shape, groupSize: 16, symmetric: false }),
  'int8Grouped whole rows': (values, shape) =>
    int8Grouped.pack(values, { ...shape, groupSize: shape.cols, symmetric: false }),
  int4: (values, shape) => int4.pack(values, shape),
  'int4 asymmetric': (values, shape) => int4.pack(values, { ...shape, groupSize: 16, symmetric: false }),
  'int4 whole rows': (values, shape) => int4.pack(values, { ...shape, groupSize: shape.cols, symmetric: false }),
  int2: (values, shape) => int2.pack(values, shape),
  'int2 asymmetric': (values, shape) => int2.pack(values, { ...shape, groupSize: 16, symmetric: false }),
  'int2 whole rows': (values, shape) => int2.pack(values, { ...shape, groupSize: shape.cols }),
  'codebook 16': (values, shape) => codebook.pack(values, shape),
  'codebook 256': (values, shape) => codebook.pack(values, { ...shape, entries: 256 }),
  'codebook 16 int8': (values, shape) => codebook.pack(values, { ...shape, centroids: 'int8' }),
  'codebook 256 int8': (values, shape) => codebook.pack(values, { ...shape, entries: 256, centroids: 'int8' }),
  ternary: (values, shape) => ternary.pack(values, shape),
  binary: (values, shape) => binary.pack(values, shape),
  xnor: (values, shape) => xnor.pack(values, shape),
  csrInt8: (values, shape) => csrInt8.pack(values, shape),
  'csrInt8 1x4': (values, shape) => csrInt8.pack(values, { ...shape, blockCols: 4 }),
  'csrCodebook 16': (values, shape) => csrCodebook.pack(values, shape),
  'csrCodebook 256': (values, shape) => csrCodebook.pack(values, { ...shape, entries: 256 }),
};

/** Asserts that `run` throws a ThinferError whose message matches. */
export function throwsAt(run: () => unknown, message: RegExp): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    assert.match(error.message, message);
    return;
  }
  assert.unreachable(`nothing was thrown, expected ${message}`);
}

/** Runs `run`; lets only a ThinferError pass. Returns its result, or undefined when it threw. */
export function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof ThinferError) return undefined;
    throw error;
  }
}

/**
 * Equality of numbers that counts NaN as equal to NaN (and 0 to -0), which uvu does for arrays but not for typed
 * ones.
 */
export function same(actual: Iterable<number>, expected: Iterable<number>, message?: string): void {
  assert.equal(Array.from(actual), Array.from(expected), message);
}

export function clone<W extends Weights>(weights: W): W {
  return structuredClone(weights);
}

/** The mean of (values - others)^2. */
export function meanSquaredError(values: Float32Array, others: Float32Array): number {
  return values.reduce((sum, w, i) => sum + (w - others[i]) ** 2, 0) / values.length;
}

export const finiteF32 = fc.float({ noNaN: true, noDefaultInfinity: true });

export const matrix = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 40 }), fc.boolean())
  .chain(([rows, cols, sparse]) =>
    fc
      .array(sparse ? fc.oneof(fc.constant(0), finiteF32) : finiteF32, {
        minLength: rows * cols,
        maxLength: rows * cols,
      })
      .map((values) => ({ rows, cols, values: Float32Array.from(values) })),
  );
