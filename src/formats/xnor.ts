import { ThinferError } from '../errors.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';

/**
 * Binary weights and activations (Rastegari et al. 2016, XNOR-Net): W[r, c] ~ scale[r] * sign(w), scale =
 * mean |w| of the row, which minimises the squared error. Activations count as +1 where x >= 0, else -1.
 * Bit c of row r is bit (c mod 32) of word floor(c / 32): 1 for +1. Unused bits are 0.
 * Size: 4 * rows * ceil(cols / 32) + 4 * rows bytes.
 */
export interface XnorWeights {
  format: 'xnor';
  rows: number;
  cols: number;
  /** [rows, ceil(cols / 32)] */
  bits: Uint32Array;
  /** [rows]; finite, not negative. */
  scale: Float32Array;
}

/** One bit a weight and one an activation; a product is the number of agreeing bits, doubled, less cols. */
export const xnor: Format<XnorWeights> = {
  name: 'xnor',

  /**
   * Signs and mean magnitudes of `dense` ([rows, cols], f32, finite). sign(0) = sign(-0) = +1.
   * @throws ThinferError `bad-shape` or `bad-weights`
   */
  pack(dense, options) {
    requireDense(dense, options, 'xnor.pack');
    const { rows, cols } = options;
    const words = Math.ceil(cols / 32);
    const bits = new Uint32Array(rows * words);
    const scale = new Float32Array(rows);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) {
        const w = dense[r * cols + c];
        sum += Math.abs(w);
        if (w >= 0) bits[r * words + (c >>> 5)] |= 1 << (c & 31);
      }
      scale[r] = sum / cols;
    }
    return { format: 'xnor', rows, cols, bits, scale };
  },

  unpack(weights) {
    const { rows, cols, scale } = xnor.validate(weights, 'xnor.unpack');
    const dense = allocate(Float32Array, rows * cols, 'xnor.unpack');
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) dense[r * cols + c] = scale[r] * signOf(weights, r, c);
    }
    return dense;
  },

  validate(weights, place = 'xnor') {
    requireWeights(weights, 'xnor', place);
    const { rows, cols, bits, scale } = weights;
    const words = Math.ceil(cols / 32);
    requireArray(bits, Uint32Array, rows * words, `${place}.bits`, `A row of ${cols} columns takes ${words} words.`);
    requireArray(scale, Float32Array, rows, `${place}.scale`);
    const used = cols % 32;
    if (used > 0) {
      for (let at = words - 1; at < bits.length; at += words) {
        if (bits[at] >>> used !== 0) {
          throw new ThinferError({
            code: 'bad-weights',
            place: `${place}.bits[${at}]`,
            expected: `0 in bits ${used}..31 of the last word of a row (cols = ${cols})`,
            got: `0x${bits[at].toString(16).padStart(8, '0')}`,
            hint: 'Column c is bit (c mod 32), counted from the least significant.',
          });
        }
      }
    }
    for (const [r, s] of scale.entries()) {
      if (!(s >= 0 && s < Infinity)) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.scale[${r}]`,
          expected: 'a finite number from 0',
          got: String(s),
        });
      }
    }
    return weights;
  },

  bytes({ bits, scale }) {
    return bits.byteLength + scale.byteLength;
  },

  /** +1 and -1. */
  decode(weights) {
    const { rows, cols, scale } = xnor.validate(weights, 'xnor.decode');
    const values = allocate(Float64Array, rows * cols, 'xnor.decode');
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) values[r * cols + c] = signOf(weights, r, c);
    }
    return { values, rowScale: Float64Array.from(scale) };
  },

  /** +1 where x >= 0 (also -0), else -1 (also NaN). */
  decodeActivations(x, samples) {
    return {
      values: Float64Array.from(x, (value) => (value >= 0 ? 1 : -1)),
      sampleScale: new Float64Array(samples).fill(1),
    };
  },
};

function signOf({ cols, bits }: XnorWeights, row: number, col: number): 1 | -1 {
  const word = bits[row * Math.ceil(cols / 32) + (col >>> 5)];
  return (word >>> (col & 31)) & 1 ? 1 : -1;
}
