import { codeBytes, readCode, requireUnusedCodes, writeCode } from './bits.js';
import {
  allocate,
  requireArray,
  requireChoice,
  requireDense,
  requireFinite,
  requireType,
  requireWeights,
} from './checks.js';
import { codeBitsOf, makeCodebook } from './codebook.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';
import { packPattern, requirePattern, requireThreshold } from './pattern.js';

/**
 * Sparse shared weights (Han et al. 2016, Deep Compression): compressed sparse rows whose values are indices into a
 * codebook of 16 or 256 f32 centroids. With 16 entries two codes share a byte, in the order of the entries whatever
 * their rows, the first in the low nibble.
 * Size: 4 * (rows + 1) + nnz * indexBytes + 4 * entries bytes, + ceil(nnz / 2) (16 entries) or nnz (256); indexBytes
 * = 2 when cols <= 65536, else 4.
 */
export interface CsrCodebookWeights {
  format: 'csrCodebook';
  rows: number;
  cols: number;
  entries: 16 | 256;
  /** [entries] */
  codebook: Float32Array;
  /** [rows + 1], ascending from 0 to nnz. */
  indptr: Uint32Array;
  /** [nnz], strictly ascending inside a row, below cols. Uint16Array when cols <= 65536, else Uint32Array. */
  indices: Uint16Array | Uint32Array;
  /** 16 entries: [ceil(nnz / 2)], the unused high nibble of an odd nnz is 0; 256 entries: [nnz]. */
  codes: Uint8Array;
}

export interface CsrCodebookOptions {
  /** 4-bit or 8-bit codes. Default 16. */
  entries?: 16 | 256;
  /** Weights with |w| <= threshold are dropped. Default 0: exact zeros (and -0) only. */
  threshold?: number;
}

/** Pruned and clustered: a few bits for each weight that is left. */
export const csrCodebook: Format<CsrCodebookWeights, CsrCodebookOptions> = {
  name: 'csrCodebook',

  /**
   * Clusters the non-zero weights of `dense` ([rows, cols], f32, finite) with k-means (see `cluster`); zeros take no
   * centroid. Exact when there are no more distinct ones than entries. Deterministic.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for `entries` or `threshold`
   */
  pack(dense, options) {
    requireDense(dense, options, 'csrCodebook.pack');
    const { rows, cols, entries = 16, threshold = 0 } = options;
    requireThreshold(threshold, 'csrCodebook.pack.threshold');
    requireChoice(entries, [16, 256], 'csrCodebook.pack.entries');
    const { indptr, indices } = packPattern(rows, cols, (r, c) => Math.abs(dense[r * cols + c]) > threshold);
    const values = allocate(Float32Array, indices.length, 'csrCodebook.pack');
    for (let r = 0; r < rows; r++) {
      for (let i = indptr[r]; i < indptr[r + 1]; i++) values[i] = dense[r * cols + indices[i]];
    }
    const { codebook, codeOf } = makeCodebook(values.slice().sort(), new Float32Array(entries), 'csrCodebook.pack');
    const bits = codeBitsOf(entries);
    const codes = new Uint8Array(codeBytes(values.length, bits));
    for (let i = 0; i < values.length; i++) writeCode(codes, 0, i, bits, codeOf(values[i]));
    return { format: 'csrCodebook', rows, cols, entries, codebook, indptr, indices, codes };
  },

  unpack(weights) {
    const { rows, cols } = csrCodebook.validate(weights, 'csrCodebook.unpack');
    const dense = allocate(Float32Array, rows * cols, 'csrCodebook.unpack');
    forEachWeight(weights, (at, value) => {
      dense[at] = value;
    });
    return dense;
  },

  validate(weights, place = 'csrCodebook') {
    requireWeights(weights, 'csrCodebook', place);
    const { rows, cols, entries, codebook, indptr, indices, codes } = weights;
    requireChoice(entries, [16, 256], `${place}.entries`);
    requireArray(codebook, Float32Array, entries, `${place}.codebook`);
    requireFinite(codebook, `${place}.codebook`);
    requireType(indptr, Uint32Array, `${place}.indptr`);
    // Codes may share bytes, so it is indptr that says how many entries there are.
    const nnz = indptr[indptr.length - 1] ?? 0;
    requirePattern({ indptr, indices }, rows, cols, nnz, place);
    const bits = codeBitsOf(entries);
    const hint = `${nnz} codes take ${codeBytes(nnz, bits)} bytes with ${entries} entries.`;
    requireArray(codes, Uint8Array, codeBytes(nnz, bits), `${place}.codes`, hint);
    requireUnusedCodes(codes, 1, nnz, bits, 0, `${place}.codes`);
    return weights;
  },

  bytes({ codebook, indptr, indices, codes }) {
    return codebook.byteLength + indptr.byteLength + indices.byteLength + codes.byteLength;
  },

  decode(weights) {
    const { rows, cols } = csrCodebook.validate(weights, 'csrCodebook.decode');
    const values = allocate(Float64Array, rows * cols, 'csrCodebook.decode');
    const stored = allocate(Uint8Array, rows * cols, 'csrCodebook.decode');
    forEachWeight(weights, (at, value) => {
      values[at] = value;
      stored[at] = 1;
    });
    return { values, rowScale: new Float64Array(rows).fill(1), stored };
  },

  decodeActivations: plainActivations,
};

/** Calls back for every entry: its index in [rows, cols], and its value. */
function forEachWeight(
  { rows, cols, entries, codebook, indptr, indices, codes }: CsrCodebookWeights,
  visit: (at: number, value: number) => void,
): void {
  const bits = codeBitsOf(entries);
  for (let r = 0; r < rows; r++) {
    for (let i = indptr[r]; i < indptr[r + 1]; i++) visit(r * cols + indices[i], codebook[readCode(codes, 0, i, bits)]);
  }
}
