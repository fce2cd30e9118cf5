// Outputs that are not f32: what happens to the int32 sums of a row, the same to the last bit on every kernel.

import { ThinferError } from '../errors.js';
import type { MatmulProblem, Quantization } from '../plan/problem.js';
import { codeRange, quantizeLinear, roundHalfEven } from './activations.js';
import type { Bias, Weights } from './format.js';
import { ofRow, SMALLEST_SCALE } from './scales.js';

/** The clamp of integer outputs: that of the problem in codes, or, of `int32`, in sums. */
export function outputRange({ output, clamp }: Pick<MatmulProblem, 'output' | 'clamp'>): [min: number, max: number] {
  const { dtype, quantization } = output;
  if (dtype !== 'int32' && quantization) {
    const [min, max] = clamp.map((bound) => quantizeLinear(bound, quantization));
    return [min, max];
  }
  const [min, max] = [-(2 ** 31), 2 ** 31 - 1];
  return [Math.max(clamp[0], min), Math.min(clamp[1], max)];
}

type Scaled = Pick<Quantization, 'scale'>;

/** The scale of a row of weights with one scale a row or for all. */
function rowScale(weights: Weights, row: number): number {
  return ofRow((weights as { scale: Float32Array }).scale, row);
}

/**
 * What int32 sums of each row are multiplied with to become codes of the output: inputScale * scale[r] / outputScale,
 * product and quotient rounded to f32 each as onnxruntime does, so that codes are the same to the last one. Where the
 * product is no normal f32, it is not rounded.
 * @throws ThinferError `bad-argument` where that is too large for f32
 */
export function multipliers(weights: Weights, input: Scaled, output: Scaled, place: string): Float32Array {
  const factors = new Float32Array(weights.rows);
  for (let r = 0; r < weights.rows; r++) {
    const exact = Math.fround(input.scale) * rowScale(weights, r);
    const rounded = Math.fround(exact);
    factors[r] = (rounded >= SMALLEST_SCALE && rounded < Infinity ? rounded : exact) / Math.fround(output.scale);
    if (!Number.isFinite(factors[r])) {
      throw new ThinferError({
        code: 'bad-argument',
        place,
        expected: 'scales with input scale * weight scale / output scale in the range of f32',
        got: `${input.scale} * ${rowScale(weights, r)} / ${output.scale} (row ${r})`,
      });
    }
  }
  return factors;
}

/**
 * QLinearConv and QLinearMatMul of ONNX: the code of an int32 sum (bias included), saturated, before the clamp.
 * code = saturate(roundHalfEven(f32(sum) * multiplier) + zeroPoint), the product rounded to f32.
 */
export function requantize(sum: number, multiplier: number, { dtype, zeroPoint }: Quantization): number {
  const [min, max] = codeRange(dtype);
  const steps = roundHalfEven(Math.fround(Math.fround(sum) * multiplier));
  return Math.min(Math.max(steps + zeroPoint, min), max);
}

/**
 * What the sum of `count` codes, zero points taken off, is multiplied with to become their average in codes of the output,
 * in f32: input scale / (output scale * count), each step rounded.
 */
export function averageMultiplier(input: Scaled, output: Scaled, count: number): number {
  return Math.fround(Math.fround(input.scale) / Math.fround(Math.fround(output.scale) * count));
}

/**
 * The least sum whose sign bit is 1: bit = sum >= threshold, for every integer sum in -K .. K. Exact for any f32
 * epilogue that rounds, since y = f32(f32(f32(sum) * scale) + bias) never falls as the sum rises (scale >= 0): the crossing
 * is found by evaluating just that. K + 1 where no bit is 1.
 *
 * This is how a batch norm and the sign of the next layer fold away (Hubara et al. 2016, Binarized Neural Networks;
 * Bannink et al. 2021, Larq Compute Engine): fold the norm into scale and bias first. Where its gamma is negative,
 * invert the row's weights, which negates the sum, so that the scale stays positive.
 */
export function signThreshold(K: number, scale: number, bias: number): number {
  let low = -K;
  let high = K + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (Math.fround(Math.fround(Math.fround(middle) * scale) + bias) >= 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Weights and bias as a kernel for these outputs reads them. */
export interface Epilogue {
  /** Whose `scale` is what sums are multiplied with: multipliers for codes. */
  weights: Weights;
  /** `bits`: the thresholds. */
  bias: Bias | undefined;
  /** What stands behind the last channel of a panel: there no bit may be 1. */
  biasPadding: number;
}

/** Folds scales, zero points and bias of integer outputs into what kernels read. f32 outputs: what came. */
export function epilogueOf(weights: Weights, { input, output, K }: MatmulProblem, bias: Bias | undefined): Epilogue {
  if (output.dtype === 'bits') {
    const thresholds = Int32Array.from({ length: weights.rows }, (_, r) =>
      signThreshold(K, rowScale(weights, r), bias?.[r] ?? 0),
    );
    return { weights, bias: thresholds, biasPadding: 2 ** 31 - 1 };
  }
  if (!output.quantization) return { weights, bias, biasPadding: 0 };
  const scale = multipliers(weights, input.quantization!, output.quantization, 'output');
  return { weights: { ...weights, scale } as Weights, bias, biasPadding: 0 };
}

/** True where sums are integers that one factor a row scales, so that outputs may be integers. */
export function hasRowSums({ weights, K }: Pick<MatmulProblem, 'weights' | 'K'>): boolean {
  return weights.groupSize === undefined || weights.groupSize >= K;
}
