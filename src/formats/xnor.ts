import { packSigns, requireUnusedSigns, signWords, unpackSigns } from './bits.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { requireScales } from './scales.js';

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
    return { format: 'xnor', rows, cols, ...packSigns(dense, rows, cols) };
  },

  unpack(weights) {
    const { rows, cols, bits, scale } = xnor.validate(weights, 'xnor.unpack');
    const dense = allocate(Float32Array, rows * cols, 'xnor.unpack');
    unpackSigns(bits, rows, cols, scale, dense);
    return dense;
  },

  validate(weights, place = 'xnor') {
    requireWeights(weights, 'xnor', place);
    const { rows, cols, bits, scale } = weights;
    const words = signWords(cols);
    requireArray(bits, Uint32Array, rows * words, `${place}.bits`, `A row of ${cols} columns takes ${words} words.`);
    requireArray(scale, Float32Array, rows, `${place}.scale`);
    requireUnusedSigns(bits, cols, `${place}.bits`);
    requireScales(scale, 'notNegative', `${place}.scale`);
    return weights;
  },

  bytes({ bits, scale }) {
    return bits.byteLength + scale.byteLength;
  },

  /** +1 and -1. */
  decode(weights) {
    const { rows, cols, bits, scale } = xnor.validate(weights, 'xnor.decode');
    const values = allocate(Float64Array, rows * cols, 'xnor.decode');
    unpackSigns(bits, rows, cols, new Float64Array(rows).fill(1), values);
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
