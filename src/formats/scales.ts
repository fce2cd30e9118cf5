import { describe, ThinferError } from '../errors.js';
import { requireArray } from './checks.js';

/** Smallest normal f32: smaller scales would be flushed to zero on GPUs. */
export const SMALLEST_SCALE = 2 ** -126;
const LARGEST_F32 = (2 - 2 ** -23) * 2 ** 127;
const LARGEST_INT32 = 2 ** 31 - 1;
/** The largest |code - zero point| of an activation. */
const LARGEST_ACTIVATION = 255;

/** The f32 distance of two codes, so that `steps` of them span `range`. 1 when all weights are zero. */
export function stepSize(range: number, steps: number): number {
  return range === 0 ? 1 : Math.max(Math.fround(range / steps), SMALLEST_SCALE);
}

/** The nearest f32 that is finite: a product of scale and code may lie a rounding beyond the largest. */
export function saturate(x: number): number {
  return Math.min(Math.max(x, -LARGEST_F32), LARGEST_F32);
}

/** The element of a [1] or [rows] array that row `row` uses. */
export function ofRow(values: Float32Array | Int8Array, row: number): number {
  return values[values.length === 1 ? 0 : row];
}

/** Throws unless `array` is a `Type` with one element for the tensor or one a row. */
export function requirePerRow<T extends ArrayLike<number>>(
  array: T,
  Type: { new (length: number): T; readonly name: string },
  rows: number,
  place: string,
): void {
  requireArray(array, Type, array?.length === 1 ? 1 : rows, place, 'One value for the tensor or one a row.');
}

/** Throws at the first scale that is not finite, or not in range: `positive`, or `notNegative` (zero as well). */
export function requireScales(scale: Float32Array, range: 'positive' | 'notNegative', place: string): void {
  for (let i = 0; i < scale.length; i++) {
    const s = scale[i];
    if (!(s < Infinity && (range === 'positive' ? s > 0 : s >= 0))) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}[${i}]`,
        expected: range === 'positive' ? 'a finite number above 0' : 'a finite number from 0',
        got: String(s),
      });
    }
  }
}

/**
 * Throws when the sum of a row of products with 8-bit activations, 255 * sum |w| at most, could leave int32.
 * @param products how many a row has at most
 * @param largest the largest |w|. Where even `products` of them cannot overflow, no row is looked at.
 * @param sumOf sum |w| of a row
 * @param what the codes, as a message calls them
 */
export function requireInt32Sums(
  rows: number,
  products: number,
  largest: number,
  sumOf: (row: number) => number,
  codes: ArrayBufferView,
  place: string,
  what = '|code|',
): void {
  if (products * largest * LARGEST_ACTIVATION <= LARGEST_INT32) return;
  for (let r = 0; r < rows; r++) {
    const sum = sumOf(r);
    if (sum * LARGEST_ACTIVATION > LARGEST_INT32) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place} (row ${r} of ${describe(codes)})`,
        expected: `a row whose ${what} add up to at most ${Math.floor(LARGEST_INT32 / LARGEST_ACTIVATION)}`,
        got: String(sum),
        hint: 'Its int32 sum could overflow. Split the columns over two layers and add their outputs.',
      });
    }
  }
}
