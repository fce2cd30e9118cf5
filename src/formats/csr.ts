import { describe, ThinferError } from '../errors.js';
import { allocate, requireArray, requireDense, requireFinite, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';

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

/** The class of `indices`, decided by the number of columns alone. */
function indexType(cols: number): typeof Uint16Array | typeof Uint32Array {
  return cols <= 65536 ? Uint16Array : Uint32Array;
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
    if (!Number.isFinite(threshold) || threshold < 0) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'csr.pack.threshold',
        expected: 'a finite number from 0',
        got: describe(threshold),
      });
    }
    const indptr = new Uint32Array(rows + 1);
    let nnz = 0;
    for (let r = 0, i = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++, i++) if (Math.abs(dense[i]) > threshold) nnz++;
      indptr[r + 1] = nnz;
    }
    const indices = new (indexType(cols))(nnz);
    const values = new Float32Array(nnz);
    for (let r = 0, i = 0, entry = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++, i++) {
        if (Math.abs(dense[i]) > threshold) {
          indices[entry] = c;
          values[entry++] = dense[i];
        }
      }
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
    if (!(values instanceof Float32Array)) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.values`,
        expected: 'a Float32Array',
        got: describe(values),
      });
    }
    const nnz = values.length;
    requireArray(indptr, Uint32Array, rows + 1, `${place}.indptr`, 'There is one more than rows.');
    const columns = `Columns are ${indexType(cols).name} when cols = ${cols}, one a value.`;
    requireArray<Uint16Array | Uint32Array>(indices, indexType(cols), nnz, `${place}.indices`, columns);
    if (indptr[0] !== 0) throw indptrError(place, 0, '0', indptr);
    if (indptr[rows] !== nnz) throw indptrError(place, rows, `${nnz}, the number of values`, indptr);
    for (let r = 0; r < rows; r++) {
      if (indptr[r + 1] < indptr[r] || indptr[r + 1] > nnz) {
        throw indptrError(place, r + 1, `${indptr[r]}..${nnz} (ascending to the number of values)`, indptr);
      }
    }
    for (let r = 0; r < rows; r++) {
      let least = 0;
      for (let i = indptr[r]; i < indptr[r + 1]; i++) {
        if (indices[i] < least || indices[i] >= cols) throw indexError(place, r, i, least, weights);
        least = indices[i] + 1;
      }
    }
    requireFinite(values, `${place}.values`);
    return weights;
  },

  bytes({ indptr, indices, values }) {
    return indptr.byteLength + indices.byteLength + values.byteLength;
  },

  decode(weights) {
    const { rows, cols, indptr, indices, values } = csr.validate(weights, 'csr.decode');
    const decoded = allocate(Float64Array, rows * cols, 'csr.decode');
    for (let r = 0; r < rows; r++) {
      for (let i = indptr[r]; i < indptr[r + 1]; i++) decoded[r * cols + indices[i]] = values[i];
    }
    return { values: decoded, rowScale: new Float64Array(rows).fill(1) };
  },

  decodeActivations: plainActivations,
};

function indptrError(place: string, at: number, expected: string, indptr: Uint32Array): ThinferError {
  return new ThinferError({
    code: 'bad-weights',
    place: `${place}.indptr[${at}]`,
    expected,
    got: String(indptr[at]),
    hint: 'indptr[r] counts the entries of all rows before r.',
  });
}

function indexError(place: string, row: number, at: number, least: number, { cols, indices }: CsrWeights) {
  const column = indices[at];
  if (column >= cols) {
    return new ThinferError({
      code: 'bad-weights',
      place: `${place}.indices[${at}]`,
      expected: `0..${cols - 1} (cols = ${cols})`,
      got: String(column),
      hint: 'Was the matrix transposed?',
    });
  }
  return new ThinferError({
    code: 'bad-weights',
    place: `${place}.indices[${at}]`,
    expected: `a column after ${least - 1} (ascending in row ${row}, none twice)`,
    got: String(column),
    hint: 'Sort the entries of each row by column and add up duplicates.',
  });
}
