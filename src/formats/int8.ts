import { describe, ThinferError } from '../errors.js';
import { quantizeSample, quantizeValue, roundHalfEven } from './activations.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';

/**
 * 8-bit affine weights: real = scale[r] * (codes[r, c] - zeroPoint[r]). Scales and zero points are one a
 * tensor (length 1) or one an output channel (length rows); `zeroPoint` is absent when symmetric.
 * Size: rows * cols + 4 * scale.length + zeroPoint.length bytes.
 *
 * Arithmetic: activations are quantised at run time to unsigned 8 bits, one scale and zero point a sample
 * (see quantizeSample), products are summed in int32 without loss, then scaled to f32.
 */
export interface Int8Weights {
  format: 'int8';
  rows: number;
  cols: number;
  /** [rows, cols] */
  codes: Int8Array;
  /** [1] or [rows]; finite and positive. */
  scale: Float32Array;
  /** Absent, [1] or [rows]. */
  zeroPoint?: Int8Array;
}

export interface Int8Options {
  /** One scale (and zero point) a row; false: one for the whole matrix. Default true. */
  perChannel?: boolean;
  /** Codes -127..127 without zero points; false: codes -128..127 with them. Default true. */
  symmetric?: boolean;
}

/** Smallest normal f32: smaller scales would be flushed to zero on GPUs. */
const SMALLEST_SCALE = 2 ** -126;
const LARGEST_F32 = (2 - 2 ** -23) * 2 ** 127;
const LARGEST_INT32 = 2 ** 31 - 1;
/** |code - zeroPoint| of an activation, and of a weight. */
const LARGEST_DIFFERENCE = 255;

/** The f32 distance of two codes, so that `steps` of them span `range`. 1 when all weights are zero. */
function stepSize(range: number, steps: number): number {
  return range === 0 ? 1 : Math.max(Math.fround(range / steps), SMALLEST_SCALE);
}

function clampCode(code: number, min: number): number {
  return Math.min(Math.max(code, min), 127);
}

/**
 * Integer weights with integer arithmetic: a quarter of the bytes of f32, and exact int32 sums. The affine
 * scheme is that of Jacob et al. 2018 (Quantization and Training of Neural Networks for Efficient
 * Integer-Arithmetic-Only Inference), with activation ranges found at run time.
 */
export const int8: Format<Int8Weights, Int8Options> = {
  name: 'int8',

  /**
   * Rounds `dense` ([rows, cols], f32, finite) half to even, to within half a step. Zero stays exactly zero.
   * Symmetric: scale = max |w| / 127. Else scale = (max(w, 0) - min(w, 0)) / 255. A row of zeros gets scale 1.
   * @throws ThinferError `bad-shape` or `bad-weights`; also when the sums of a row could exceed int32, which
   * takes more than 33025 columns
   */
  pack(dense, options) {
    const count = requireDense(dense, options, 'int8.pack');
    const { rows, cols, perChannel = true, symmetric = true } = options;
    const groups = perChannel ? rows : 1;
    const size = count / groups;
    const codes = new Int8Array(count);
    const scale = new Float32Array(groups);
    const zeroPoint = new Int8Array(groups);
    const leastCode = symmetric ? -127 : -128;
    for (let g = 0; g < groups; g++) {
      let low = 0;
      let high = 0;
      for (let i = g * size; i < (g + 1) * size; i++) {
        low = Math.min(low, dense[i]);
        high = Math.max(high, dense[i]);
      }
      const step = symmetric ? stepSize(Math.max(high, -low), 127) : stepSize(high - low, 255);
      const zero = symmetric ? 0 : clampCode(roundHalfEven(-low / step) - 128, -128);
      scale[g] = step;
      zeroPoint[g] = zero;
      for (let i = g * size; i < (g + 1) * size; i++) {
        codes[i] = clampCode(roundHalfEven(dense[i] / step) + zero, leastCode);
      }
    }
    const weights: Int8Weights = { format: 'int8', rows, cols, codes, scale };
    if (!symmetric) weights.zeroPoint = zeroPoint;
    requireInt32Sums(weights, 'int8.pack');
    return weights;
  },

  /** Values beyond the largest f32 (a rounding away at most) saturate, so the result is finite. */
  unpack(weights) {
    const { rows, cols, codes } = int8.validate(weights, 'int8.unpack');
    const dense = allocate(Float32Array, rows * cols, 'int8.unpack');
    for (let r = 0; r < rows; r++) {
      const scale = scaleOf(weights, r);
      const zero = zeroPointOf(weights, r);
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        dense[i] = Math.min(Math.max(scale * (codes[i] - zero), -LARGEST_F32), LARGEST_F32);
      }
    }
    return dense;
  },

  validate(weights, place = 'int8') {
    const count = requireWeights(weights, 'int8', place);
    const { rows, codes, scale, zeroPoint } = weights;
    requireArray(codes, Int8Array, count, `${place}.codes`);
    const one = 'One value for the tensor or one a row.';
    requireArray(scale, Float32Array, scale?.length === 1 ? 1 : rows, `${place}.scale`, one);
    for (const [i, s] of scale.entries()) {
      if (!(s > 0 && s < Infinity)) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.scale[${i}]`,
          expected: 'a finite number above 0',
          got: String(s),
        });
      }
    }
    if (zeroPoint !== undefined) {
      requireArray(zeroPoint, Int8Array, zeroPoint?.length === 1 ? 1 : rows, `${place}.zeroPoint`, one);
    }
    requireInt32Sums(weights, place);
    return weights;
  },

  bytes({ codes, scale, zeroPoint }) {
    return codes.byteLength + scale.byteLength + (zeroPoint?.byteLength ?? 0);
  },

  /** Integers -255..255: code - zero point. */
  decode(weights) {
    const { rows, cols, codes } = int8.validate(weights, 'int8.decode');
    const values = allocate(Float64Array, rows * cols, 'int8.decode');
    const rowScale = new Float64Array(rows);
    for (let r = 0; r < rows; r++) {
      rowScale[r] = scaleOf(weights, r);
      const zero = zeroPointOf(weights, r);
      for (let i = r * cols; i < (r + 1) * cols; i++) values[i] = codes[i] - zero;
    }
    return { values, rowScale };
  },

  /**
   * Integers -255..255: code - zero point of each sample. A sample with a NaN, an infinity or a range too
   * large for f32 decodes to zeros with a NaN scale: its outputs are NaN, those of its neighbours are not.
   */
  decodeActivations(x, samples) {
    const size = x.length / samples;
    const values = new Float64Array(x.length);
    const sampleScale = new Float64Array(samples);
    for (let s = 0; s < samples; s++) {
      let min = Infinity;
      let max = -Infinity;
      for (let i = s * size; i < (s + 1) * size; i++) {
        min = Math.min(min, x[i]);
        max = Math.max(max, x[i]);
      }
      const quantization = quantizeSample(min, max);
      sampleScale[s] = quantization.scale;
      if (Number.isNaN(quantization.scale)) continue;
      for (let i = s * size; i < (s + 1) * size; i++) {
        values[i] = quantizeValue(x[i], quantization) - quantization.zeroPoint;
      }
    }
    return { values, sampleScale };
  },
};

function scaleOf({ scale }: Int8Weights, row: number): number {
  return scale[scale.length === 1 ? 0 : row];
}

function zeroPointOf({ zeroPoint }: Int8Weights, row: number): number {
  return zeroPoint ? zeroPoint[zeroPoint.length === 1 ? 0 : row] : 0;
}

/**
 * Throws when the sum of a row, 255 * sum |code - zeroPoint| at most, could leave int32. Up to 33025 columns
 * none can, and the codes need not be looked at.
 */
function requireInt32Sums(weights: Int8Weights, place: string): void {
  const { rows, cols, codes } = weights;
  if (cols * LARGEST_DIFFERENCE ** 2 <= LARGEST_INT32) return;
  for (let r = 0; r < rows; r++) {
    const zero = zeroPointOf(weights, r);
    let sum = 0;
    for (let i = r * cols; i < (r + 1) * cols; i++) sum += Math.abs(codes[i] - zero);
    if (sum * LARGEST_DIFFERENCE > LARGEST_INT32) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.codes (row ${r} of ${describe(codes)})`,
        expected: `a row whose |code - zeroPoint| add up to at most ${Math.floor(LARGEST_INT32 / LARGEST_DIFFERENCE)}`,
        got: String(sum),
        hint: 'Its int32 sum could overflow. Split the columns over two layers and add their outputs.',
      });
    }
  }
}
