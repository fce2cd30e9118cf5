// Whether an answer is right: nothing is timed that is not.

import type { TensorData } from '../src/dtype.js';
import type { Weights } from '../src/formats/format.js';
import { errorBound, referenceMatmul } from '../src/formats/reference.js';
import { linearProblem } from '../src/layers/problem.js';
import type { MatmulProblem } from '../src/plan/problem.js';

/** Multiply-adds that the reference may do for one check; beyond, some rows of a linear problem stand for all. */
const REFERENCE_MACS = 4e7;

/** Root mean square error, relative to the answer's, that quantised activations may cost a peer. */
const QUANTIZED_ERROR = 0.02;

export interface Expected {
  /** [M, groups * N] of the rows that are checked. */
  y: Float64Array;
  /** How many rows are checked, and the distance from one to the next. */
  count: number;
  step: number;
  width: number;
  bound(i: number): number;
  largest: number;
}

/** What an answer may differ by beyond its rounding bound: so much each element, or as much as 8-bit activations cost. */
export type Slack = number | 'quantized';

/** The right answer of a problem, or of some rows of it spread over all. Bits count as 0 and 1. */
export function expectedOf(weights: Weights, problem: MatmulProblem, x: TensorData): Expected {
  const { M, N, K, groups } = problem;
  const width = N * groups;
  const fitting = Math.max(Math.floor(REFERENCE_MACS / (K * width)), 1);
  const count = problem.op === 'linear' ? Math.min(M, fitting) : M;
  const step = Math.floor(M / count);
  let part = problem;
  let inputs = x;
  if (count < M) {
    const { input, output, arithmetic } = problem;
    part = { ...linearProblem(problem.weights, weights, count, { arithmetic }), input, output };
    const stored = x.length / M;
    inputs = x.slice(0, count * stored);
    for (let r = 0; r < count; r++) inputs.set(x.subarray(r * step * stored, (r * step + 1) * stored), r * stored);
  }
  const { y, magnitude, vanishing } = referenceMatmul(weights, part, inputs);
  const largest = y.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const exact = problem.output.dtype !== 'float32';
  const bound = (i: number) => (exact ? 0 : errorBound(problem, magnitude[i], vanishing?.[i]));
  return { y, count, step, width, bound, largest };
}

/**
 * The largest error of an answer over the largest right value.
 * @throws Error when the answer is wrong
 */
export function check(y: ArrayLike<number>, expected: Expected, slack: Slack = 0): number {
  const { count, step, width, largest } = expected;
  let most = 0;
  let squares = 0;
  let errors = 0;
  for (let r = 0; r < count; r++) {
    for (let c = 0; c < width; c++) {
      const i = r * width + c;
      const value = y[r * step * width + c];
      const error = Math.abs(value - expected.y[i]);
      // Not >, so that NaN is a mistake.
      if (slack !== 'quantized' && !(error <= expected.bound(i) + slack)) {
        throw new Error(`wrong answer: ${value} at [${r * step}, ${c}], expected ${expected.y[i]}`);
      }
      most = Math.max(most, error);
      squares += expected.y[i] ** 2;
      errors += error ** 2;
    }
  }
  const relative = Math.sqrt(errors / squares);
  if (slack === 'quantized' && !(relative <= QUANTIZED_ERROR)) {
    throw new Error(`wrong answer: ${(100 * relative).toFixed(1)} % off in the root mean square`);
  }
  return most / largest;
}
