import { describe, requireInteger, ThinferError } from '../../errors.js';
import { roundHalfEven } from '../../formats/activations.js';
import { codebook, dense, f16, type Weights } from '../../formats/index.js';
import { isF16 } from '../../half.js';

/** Numbers that weights are rounded to. */
export type Grid =
  | 'f16'
  | 'bf16'
  /** Floating point: 1 sign, bits of exponent, bits of fraction. IEEE 754's rules, but all exponents are numbers. */
  | { exponent: number; mantissa: number }
  /** Fixed point: multiples of 2^-fraction in `bits` bits with the sign. */
  | { bits: number; fraction: number };

/** Exponent and mantissa of the floats that have names. */
const NAMED = { f16: { exponent: 5, mantissa: 10 }, bf16: { exponent: 8, mantissa: 7 } } as const;

export function gridName(grid: Grid): string {
  if (typeof grid === 'string') return grid;
  return 'fraction' in grid
    ? `fixed point ${grid.bits - grid.fraction}.${grid.fraction}`
    : `e${grid.exponent}m${grid.mantissa}`;
}

export function requireGrid(grid: Grid, place: string): void {
  if (typeof grid === 'string' && Object.hasOwn(NAMED, grid)) return;
  if (typeof grid !== 'object' || grid === null) {
    const expected = 'f16, bf16, { exponent, mantissa } or { bits, fraction }';
    throw new ThinferError({ code: 'bad-argument', place, expected, got: describe(grid) });
  }
  if ('fraction' in grid) {
    requireInteger(grid.bits, `${place}.bits`, { min: 2, max: 24 });
    requireInteger(grid.fraction, `${place}.fraction`, { min: -100, max: 100 });
  } else {
    requireInteger(grid.exponent, `${place}.exponent`, { min: 2, max: 8 });
    requireInteger(grid.mantissa, `${place}.mantissa`, { min: 0, max: 23 });
  }
}

/**
 * The nearest number of a grid, of two the even one; beyond the largest that one. Below the smallest normal exponent
 * steps stay as they are (subnormal numbers). f16 and bf16 leave their largest exponent to infinities.
 */
export function toGrid(x: number, grid: Grid): number {
  if (typeof grid === 'object' && 'fraction' in grid) {
    const step = 2 ** -grid.fraction;
    const most = 2 ** (grid.bits - 1);
    return Math.min(Math.max(roundHalfEven(x / step), -most), most - 1) * step;
  }
  const { exponent, mantissa } = typeof grid === 'string' ? NAMED[grid] : grid;
  const bias = 2 ** (exponent - 1) - 1;
  const largestExponent = 2 ** exponent - 1 - bias - (typeof grid === 'string' ? 1 : 0);
  const largest = (2 - 2 ** -mantissa) * 2 ** largestExponent;
  const scale = Math.max(Math.floor(Math.log2(Math.abs(x) || 1)), 1 - bias);
  // log2 may be off by one at powers of two; the step of the exponent below divides there too.
  const step = 2 ** ((Math.abs(x) < 2 ** scale && scale > 1 - bias ? scale - 1 : scale) - mantissa);
  return Math.min(Math.max(roundHalfEven(x / step) * step, -largest), largest);
}

/** Weights in the form that takes the fewest bytes and holds them exactly: a codebook where there are few numbers, f16, f32. */
export function packExactly(values: Float32Array, { rows, cols }: { rows: number; cols: number }): Weights {
  const shape = { rows, cols };
  const distinct = new Set<number>();
  for (let i = 0; i < values.length && distinct.size <= 256; i++) distinct.add(values[i]);
  if (distinct.size <= 256 && values.length > 512) {
    return codebook.pack(values, { ...shape, entries: distinct.size <= 16 ? 16 : 256 });
  }
  return values.every(isF16) ? f16.pack(values, shape) : dense.pack(values, shape);
}
