import { quantizedActivations } from './activations.js';
import { packSigns, requireUnusedSigns, signWords, unpackSigns } from './bits.js';
import { allocate, requireArray, requireDense, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { requireInt32Sums, requireScales } from './scales.js';

/**
 * Binary weights (Rastegari et al. 2016, the Binary-Weight-Network of XNOR-Net): W[r, c] = scale[r] or -scale[r]. The
 * layout is that of `xnor`: bit c of row r is bit (c mod 32) of word floor(c / 32), 1 for +scale, unused bits 0.
 * Size: 4 * rows * ceil(cols / 32) + 4 * rows bytes.
 *
 * Arithmetic: unlike `xnor`, activations keep 8 bits, quantised at run time as for `int8`; sums are int32 without loss.
 */
export interface BinaryWeights {
  format: 'binary';
  rows: number;
  cols: number;
  /** [rows, ceil(cols / 32)] */
  bits: Uint32Array;
  /** [rows]; finite, not negative. */
  scale: Float32Array;
}

/** One bit a weight: sums of activations with signs, no multiplication. */
export const binary: Format<BinaryWeights> = {
  name: 'binary',

  /**
   * Signs and mean magnitudes of the rows of `dense` ([rows, cols], f32, finite), which minimise the squared error.
   * sign(0) = sign(-0) = +1.
   * @throws ThinferError `bad-shape` or `bad-weights`
   */
  pack(dense, options) {
    requireDense(dense, options, 'binary.pack');
    const { rows, cols } = options;
    const weights: BinaryWeights = { format: 'binary', rows, cols, ...packSigns(dense, rows, cols) };
    requireSums(weights, 'binary.pack');
    return weights;
  },

  unpack(weights) {
    const { rows, cols, bits, scale } = binary.validate(weights, 'binary.unpack');
    const dense = allocate(Float32Array, rows * cols, 'binary.unpack');
    unpackSigns(bits, rows, cols, scale, dense);
    return dense;
  },

  validate(weights, place = 'binary') {
    requireWeights(weights, 'binary', place);
    const { rows, cols, bits, scale } = weights;
    const words = signWords(cols);
    requireArray(bits, Uint32Array, rows * words, `${place}.bits`, `A row of ${cols} columns takes ${words} words.`);
    requireArray(scale, Float32Array, rows, `${place}.scale`);
    requireUnusedSigns(bits, cols, `${place}.bits`);
    requireScales(scale, 'notNegative', `${place}.scale`);
    requireSums(weights, place);
    return weights;
  },

  bytes({ bits, scale }) {
    return bits.byteLength + scale.byteLength;
  },

  /** +1 and -1. */
  decode(weights) {
    const { rows, cols, bits, scale } = binary.validate(weights, 'binary.decode');
    const values = allocate(Float64Array, rows * cols, 'binary.decode');
    unpackSigns(bits, rows, cols, new Float64Array(rows).fill(1), values);
    return { values, rowScale: Float64Array.from(scale) };
  },

  decodeActivations: quantizedActivations,
};

/** Every |weight| is 1, so that a row sums to its columns: at most 8421504. */
function requireSums({ rows, cols, bits }: BinaryWeights, place: string): void {
  requireInt32Sums(rows, cols, 1, () => cols, bits, `${place}.bits`, '|weight|');
}
