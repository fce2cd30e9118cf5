import { quantizedActivations, roundHalfEven } from './activations.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { ofRow, requireInt32Sums, requirePerRow, requireScales, saturate, stepSize } from './scales.js';

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

/** |code - zeroPoint| of a weight. */
const LARGEST_DIFFERENCE = 255;

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
    requireSums(weights, 'int8.pack');
    return weights;
  },

  /** Values beyond the largest f32 (a rounding away at most) saturate, so the result is finite. */
  unpack(weights) {
    const { rows, cols, codes } = int8.validate(weights, 'int8.unpack');
    const dense = allocate(Float32Array, rows * cols, 'int8.unpack');
    for (let r = 0; r < rows; r++) {
      const scale = ofRow(weights.scale, r);
      const zero = zeroPointOf(weights, r);
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        dense[i] = saturate(scale * (codes[i] - zero));
      }
    }
    return dense;
  },

  validate(weights, place = 'int8') {
    const count = requireWeights(weights, 'int8', place);
    const { rows, codes, scale, zeroPoint } = weights;
    requireArray(codes, Int8Array, count, `${place}.codes`);
    requirePerRow(scale, Float32Array, rows, `${place}.scale`);
    requireScales(scale, 'positive', `${place}.scale`);
    if (zeroPoint !== undefined) requirePerRow(zeroPoint, Int8Array, rows, `${place}.zeroPoint`);
    requireSums(weights, place);
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
      rowScale[r] = ofRow(weights.scale, r);
      const zero = zeroPointOf(weights, r);
      for (let i = r * cols; i < (r + 1) * cols; i++) values[i] = codes[i] - zero;
    }
    return { values, rowScale };
  },

  decodeActivations: quantizedActivations,
};

function zeroPointOf({ zeroPoint }: Int8Weights, row: number): number {
  return zeroPoint ? ofRow(zeroPoint, row) : 0;
}

/** Up to 33025 columns no sum can leave int32. */
function requireSums(weights: Int8Weights, place: string): void {
  const { rows, cols, codes } = weights;
  const sumOf = (r: number) => {
    const zero = zeroPointOf(weights, r);
    let sum = 0;
    for (let i = r * cols; i < (r + 1) * cols; i++) sum += Math.abs(codes[i] - zero);
    return sum;
  };
  requireInt32Sums(rows, cols, LARGEST_DIFFERENCE, sumOf, codes, `${place}.codes`, '|code - zeroPoint|');
}
