import type { Quantization } from '../plan/problem.js';
import { codeRange, roundHalfEven } from './activations.js';

/*
 * Sums and products of 8-bit codes as XNNPACK computes them, which TensorFlow Lite runs (XNNPACK src/microparams-init.c,
 * xnn_init_qs8_add_minmax_scalar_params and xnn_init_qs8_mul_minmax_scalar_params): the same codes to the last one.
 */

type Scaled = Pick<Quantization, 'scale'>;

const ratio = (a: Scaled, b: Scaled): number => Math.fround(Math.fround(a.scale) / Math.fround(b.scale));

/** C = floor((a (A - zeroPoint) + b (B - zeroPoint)) / 2^shift + 1 / 2) + zeroPoint */
export interface FixedSum {
  a: number;
  b: number;
  shift: number;
}

/** Ratios of scales that there is a shift for. */
const [LEAST_RATIO, PAST_RATIO] = [2 ** -10, 2 ** 8];

/** The factors of a sum, the larger one of 21 bits; undefined where the scales lie too far apart. */
export function fixedSum(a: Scaled, b: Scaled, output: Scaled, sign: 1 | -1): FixedSum | undefined {
  const scales = [ratio(a, output), ratio(b, output)];
  const largest = Math.max(...scales);
  if (!(largest >= LEAST_RATIO && largest < PAST_RATIO)) return undefined;
  const shift = 20 - Math.floor(Math.log2(largest));
  const [left, right] = scales.map((scale) => roundHalfEven(scale * 2 ** shift));
  return { a: left, b: sign * right, shift };
}

/** C = roundHalfEven(f32((A - zeroPoint) (B - zeroPoint)) * factor) + zeroPoint; undefined where the factor is out of range. */
export function fixedFactor(a: Scaled, b: Scaled, output: Scaled): number | undefined {
  const product = Math.fround(Math.fround(a.scale) * Math.fround(b.scale));
  const factor = Math.fround(product / Math.fround(output.scale));
  return factor >= 2 ** -16 && factor < 2 ** 8 ? factor : undefined;
}

/** The code of a sum of codes, before the clamp. */
export function addCodes(sum: FixedSum, a: number, b: number, { dtype, zeroPoint }: Quantization): number {
  const [min, max] = codeRange(dtype);
  const steps = Math.floor((sum.a * a + sum.b * b + 2 ** (sum.shift - 1)) / 2 ** sum.shift);
  return Math.min(Math.max(steps + zeroPoint, min), max);
}

/** The code of a product of codes, before the clamp. */
export function multiplyCodes(factor: number, a: number, b: number, { dtype, zeroPoint }: Quantization): number {
  const [min, max] = codeRange(dtype);
  return Math.min(Math.max(roundHalfEven(Math.fround(a * b * factor)) + zeroPoint, min), max);
}
