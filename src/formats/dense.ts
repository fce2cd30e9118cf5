import { allocate, requireArray, requireDense, requireFinite, requireWeights } from './checks.js';
import type { DecodedActivations, Format } from './format.js';

/** Plain f32 weights, row-major [rows, cols]. Size: 4 * rows * cols bytes. */
export interface DenseWeights {
  format: 'dense';
  rows: number;
  cols: number;
  values: Float32Array;
}

/** The activations of every format whose arithmetic is f32: the values as they are, unit scales. */
export function plainActivations(x: Float32Array, samples: number): DecodedActivations {
  return { values: Float64Array.from(x), sampleScale: new Float64Array(samples).fill(1) };
}

/** Plain f32 weights: nothing is lost and nothing is gained. Also the peer that every other format is measured against. */
export const dense: Format<DenseWeights> = {
  name: 'dense',

  /** A copy of `dense` ([rows, cols], f32, finite), so that later writes to it don't change the layer. */
  pack(dense, options) {
    requireDense(dense, options, 'dense.pack');
    return { format: 'dense', rows: options.rows, cols: options.cols, values: dense.slice() };
  },

  unpack(weights) {
    return dense.validate(weights, 'dense.unpack').values.slice();
  },

  validate(weights, place = 'dense') {
    const count = requireWeights(weights, 'dense', place);
    requireArray(weights.values, Float32Array, count, `${place}.values`);
    requireFinite(weights.values, `${place}.values`);
    return weights;
  },

  bytes({ values }) {
    return values.byteLength;
  },

  decode(weights) {
    const { rows, cols, values } = dense.validate(weights, 'dense.decode');
    const decoded = allocate(Float64Array, rows * cols, 'dense.decode');
    decoded.set(values);
    return { values: decoded, rowScale: new Float64Array(rows).fill(1) };
  },

  decodeActivations: plainActivations,
};
