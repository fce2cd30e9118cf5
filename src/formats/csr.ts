import { allocate, requireDense, requireFinite, requireType, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';
import { packPattern, requirePattern, requireThreshold } from './pattern.js';

/**
 * Compressed sparse rows, f32 values. Row r holds the entries indptr[r] .. indptr[r + 1] - 1, columns
 * ascending. Size: 4 * (rows + 1) + nnz * (indexBytes + 4) bytes, indexBytes = 2 when cols <= 65536, else 4.
 */
export interface CsrWeights {
  format: 'csr';
  rows: number;
  cols: number;
  /** [rows + 1], ascending from 0 to nnz. */
  indptr: Uint32Array;
  /** [nnz], strictly ascending inside a row, below cols. Uint16Array when cols <= 65536, else Uint32Array. */
  indices: Uint16Array | Uint32Array;
  /** [nnz] */
  values: Float32Array;
}

export interface CsrOptions {
  /** Weights with |w| <= threshold are dropped. Default 0: exact zeros (and -0) only. */
  threshold?: number;
}

/** Unstructured sparsity: only the weights that are not zero are stored and multiplied. */
export const csr: Format<CsrWeights, CsrOptions> = {
  name: 'csr',

  /**
   * The non-zero weights of `dense` ([rows, cols], f32, finite), exactly.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for a threshold that is negative or not finite
   */
  pack(dense, options) {
    requireDense(dense, options, 'csr.pack');
    const { rows, cols, threshold = 0 } = options;
    requireThreshold(threshold, 'csr.pack.threshold');
    const { indptr, indices } = packPattern(rows, cols, (r, c) => Math.abs(dense[r * cols + c]) > threshold);
    const values = new Float32Array(indices.length);
    for (let r = 0; r < rows; r++) {
      for (let i = indptr[r]; i < indptr[r + 1]; i++) values[i] = dense[r * cols + indices[i]];
    }
    return { format: 'csr', rows, cols, indptr, indices, values };
  },

  unpack(weights) {
    const { rows, cols, indptr, indices, values } = csr.validate(weights, 'csr.unpack');
    const dense = allocate(Float32Array, rows * cols, 'csr.unpack');
    for (let r = 0; r < rows; r++) {
      for (let i = indptr[r]; i < indptr[r + 1]; i++) dense[r * cols + indices[i]] = values[i];
    }
    return dense;
  },

  validate(weights, place = 'csr') {
    requireWeights(weights, 'csr', place);
    const { rows, cols, indptr, indices, values } = weights;
    requireType(values, Float32Array, `${place}.values`);
    requirePattern({ indptr, indices }, rows, cols, values.length, place);
    requireFinite(values, `${place}.values`);
    return weights;
  },

  bytes({ indptr, indices, values }) {
    return indptr.byteLength + indices.byteLength + values.byteLength;
  },

  decode(weights) {
    const { rows, cols, indptr, indices, values } = csr.validate(weights, 'csr.decode');
    const decoded = allocate(Float64Array, rows * cols, 'csr.decode');
    const stored = allocate(Uint8Array, rows * cols, 'csr.decode');
    for (let r = 0; r < rows; r++) {
      for (let i = indptr[r]; i < indptr[r + 1]; i++) {
        decoded[r * cols + indices[i]] = values[i];
        stored[r * cols + indices[i]] = 1;
      }
    }
    return { values: decoded, rowScale: new Float64Array(rows).fill(1), stored };
  },

  decodeActivations: plainActivations,
};
