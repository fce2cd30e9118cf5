import { ThinferError } from '../errors.js';
import { quantizedActivations } from './activations.js';
import { codeBytes, readCode, requireUnusedCodes, writeCode } from './bits.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { requireInt32Sums, requireScales } from './scales.js';

/**
 * Ternary weights: W[r, c] = scale[r] * (code - 1), code 0, 1 or 2 for -1, 0 or +1. Four codes share a byte, the first
 * column in the lowest bits; each row starts on a byte, and the unused codes at its end are 1.
 * Size: rows * ceil(cols / 4) + 4 * rows bytes.
 *
 * Arithmetic: activations are quantised at run time to 8 bits as for `int8`; sums are int32 without loss.
 */
export interface TernaryWeights {
  format: 'ternary';
  rows: number;
  cols: number;
  /** [rows, ceil(cols / 4)]; no code is 3. */
  codes: Uint8Array;
  /** [rows]; finite, not negative. */
  scale: Float32Array;
}

/** Two bits a weight: sums of activations with a sign or without, no multiplication. */
export const ternary: Format<TernaryWeights> = {
  name: 'ternary',

  /**
   * Ternary weight networks (Li and Liu 2016): in each row of `dense` ([rows, cols], f32, finite) the weights with
   * |w| > 0.7 * mean |w| keep their sign, the others become 0; scale = mean |w| of those kept. A row that is ternary
   * already is kept exactly; a row of zeros has scale 0.
   * @throws ThinferError `bad-shape` or `bad-weights`
   */
  pack(dense, options) {
    requireDense(dense, options, 'ternary.pack');
    const { rows, cols } = options;
    const stride = codeBytes(cols, 2);
    const codes = new Uint8Array(rows * stride);
    const scale = new Float32Array(rows);
    for (let r = 0; r < rows; r++) {
      const row = dense.subarray(r * cols, (r + 1) * cols);
      let sum = 0;
      for (const w of row) sum += Math.abs(w);
      const threshold = (0.7 * sum) / cols;
      let kept = 0;
      let keptSum = 0;
      for (let c = 0; c < 4 * stride; c++) {
        const keep = c < cols && Math.abs(row[c]) > threshold;
        if (keep) {
          kept++;
          keptSum += Math.abs(row[c]);
        }
        writeCode(codes, r * stride, c, 2, keep ? 1 + Math.sign(row[c]) : 1);
      }
      scale[r] = kept > 0 ? keptSum / kept : 0;
    }
    const weights: TernaryWeights = { format: 'ternary', rows, cols, codes, scale };
    requireSums(weights, 'ternary.pack');
    return weights;
  },

  unpack(weights) {
    const { rows, cols, scale } = ternary.validate(weights, 'ternary.unpack');
    const dense = allocate(Float32Array, rows * cols, 'ternary.unpack');
    for (let i = 0; i < dense.length; i++) dense[i] = scale[Math.floor(i / cols)] * weightAt(weights, i);
    return dense;
  },

  validate(weights, place = 'ternary') {
    requireWeights(weights, 'ternary', place);
    const { rows, cols, codes, scale } = weights;
    const stride = codeBytes(cols, 2);
    requireArray(codes, Uint8Array, rows * stride, `${place}.codes`, `A row of ${cols} columns takes ${stride} bytes.`);
    for (let i = 0; i < codes.length; i++) {
      if (codes[i] & (codes[i] >> 1) & 0b01010101) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.codes[${i}]`,
          expected: 'four codes of 0, 1 or 2',
          got: `0b${codes[i].toString(2).padStart(8, '0')}, of which one is 3`,
          hint: 'A code is the weight, -1, 0 or 1, plus 1; the first column is in the lowest bits.',
        });
      }
    }
    requireUnusedCodes(codes, rows, cols, 2, 1, `${place}.codes`);
    requireArray(scale, Float32Array, rows, `${place}.scale`);
    requireScales(scale, 'notNegative', `${place}.scale`);
    requireSums(weights, place);
    return weights;
  },

  bytes({ codes, scale }) {
    return codes.byteLength + scale.byteLength;
  },

  /** -1, 0 and 1. */
  decode(weights) {
    const { rows, cols, scale } = ternary.validate(weights, 'ternary.decode');
    const values = allocate(Float64Array, rows * cols, 'ternary.decode');
    for (let i = 0; i < values.length; i++) values[i] = weightAt(weights, i);
    return { values, rowScale: Float64Array.from(scale) };
  },

  decodeActivations: quantizedActivations,
};

/** -1, 0 or 1: the weight at index `i` of [rows, cols]. */
function weightAt({ cols, codes }: TernaryWeights, i: number): number {
  const row = Math.floor(i / cols);
  return readCode(codes, row * codeBytes(cols, 2), i - row * cols, 2) - 1;
}

/** Up to 8421504 columns no sum can leave int32. */
function requireSums(weights: TernaryWeights, place: string): void {
  const { rows, cols, codes } = weights;
  const sumOf = (row: number) => {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += Math.abs(weightAt(weights, i));
    return sum;
  };
  requireInt32Sums(rows, cols, 1, sumOf, codes, `${place}.codes`, '|weight|');
}
