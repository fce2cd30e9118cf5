import { describe, ThinferError } from '../errors.js';
import { quantizedActivations, roundHalfEven } from './activations.js';
import { allocate, requireArray, requireChoice, requireDense, requireType, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { packPattern, requirePattern, requireThreshold } from './pattern.js';
import { requireInt32Sums, requireScales, saturate, stepSize } from './scales.js';

/**
 * Compressed sparse rows of symmetric 8-bit weights: real = scale[r] * code. An entry is one weight, or a block of 1
 * x 4 consecutive columns, which one instruction multiplies by four activations. What the last block holds past
 * `cols` is 0.
 * Size: 4 * (rows + 1) + entries * (indexBytes + blockCols) + 4 * rows bytes, indexBytes = 2 when
 * ceil(cols / blockCols) <= 65536, else 4.
 *
 * Arithmetic: activations are quantised at run time to 8 bits as for `int8`; sums are int32 without loss.
 */
export interface CsrInt8Weights {
  format: 'csrInt8';
  rows: number;
  cols: number;
  /** Columns of an entry. */
  blockCols: 1 | 4;
  /** [rows + 1], ascending from 0 to the number of entries. */
  indptr: Uint32Array;
  /**
   * [entries], columns of blocks, strictly ascending inside a row. Uint16Array when ceil(cols / blockCols) <= 65536.
   */
  indices: Uint16Array | Uint32Array;
  /** [entries, blockCols], -127..127. */
  codes: Int8Array;
  /** [rows]; finite and positive. */
  scale: Float32Array;
}

export interface CsrInt8Options {
  /** 4: entries are blocks of 1 x 4. Default 1. */
  blockCols?: 1 | 4;
  /** Weights with |w| <= threshold count as zero. Default 0. */
  threshold?: number;
}

/** Sparse and quantised: what is left of a pruned matrix, in a quarter of the bytes. */
export const csrInt8: Format<CsrInt8Weights, CsrInt8Options> = {
  name: 'csrInt8',

  /**
   * Rounds `dense` ([rows, cols], f32, finite) half to even with scale = max |w| / 127 of the row, to within half a
   * step, and stores the entries with a code that is not 0. A row without any has scale 1.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for `blockCols` or `threshold`
   */
  pack(dense, options) {
    const count = requireDense(dense, options, 'csrInt8.pack');
    const { rows, cols, blockCols = 1, threshold = 0 } = options;
    requireThreshold(threshold, 'csrInt8.pack.threshold');
    requireChoice(blockCols, [1, 4], 'csrInt8.pack.blockCols');
    const scale = new Float32Array(rows);
    const all = allocate(Int8Array, count, 'csrInt8.pack');
    for (let r = 0; r < rows; r++) {
      let largest = 0;
      for (let i = r * cols; i < (r + 1) * cols; i++) largest = Math.max(largest, Math.abs(dense[i]));
      const step = stepSize(largest > threshold ? largest : 0, 127);
      scale[r] = step;
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        if (Math.abs(dense[i]) > threshold) all[i] = Math.min(Math.max(roundHalfEven(dense[i] / step), -127), 127);
      }
    }
    const { indptr, indices } = packPattern(rows, Math.ceil(cols / blockCols), (r, block) => {
      const end = Math.min((block + 1) * blockCols, cols);
      for (let c = block * blockCols; c < end; c++) if (all[r * cols + c] !== 0) return true;
      return false;
    });
    const codes = allocate(Int8Array, indices.length * blockCols, 'csrInt8.pack');
    const weights: CsrInt8Weights = { format: 'csrInt8', rows, cols, blockCols, indptr, indices, codes, scale };
    forEachCode(weights, (i, row, col) => {
      if (col < cols) codes[i] = all[row * cols + col];
    });
    requireSums(weights, 'csrInt8.pack');
    return weights;
  },

  /** Values beyond the largest f32 (a rounding away at most) saturate, so the result is finite. */
  unpack(weights) {
    const { rows, cols, codes, scale } = csrInt8.validate(weights, 'csrInt8.unpack');
    const dense = allocate(Float32Array, rows * cols, 'csrInt8.unpack');
    forEachCode(weights, (i, row, col) => {
      if (col < cols) dense[row * cols + col] = saturate(scale[row] * codes[i]);
    });
    return dense;
  },

  validate(weights, place = 'csrInt8') {
    requireWeights(weights, 'csrInt8', place);
    const { rows, cols, blockCols, indptr, indices, codes, scale } = weights;
    requireChoice(blockCols, [1, 4], `${place}.blockCols`);
    requireType(codes, Int8Array, `${place}.codes`);
    if (codes.length % blockCols !== 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.codes`,
        expected: `whole blocks of ${blockCols} codes`,
        got: describe(codes),
      });
    }
    const unit = blockCols === 1 ? '' : 'block ';
    requirePattern({ indptr, indices }, rows, Math.ceil(cols / blockCols), codes.length / blockCols, place, unit);
    requireArray(scale, Float32Array, rows, `${place}.scale`);
    requireScales(scale, 'positive', `${place}.scale`);
    forEachCode(weights, (i, row, col) => {
      if (codes[i] === -128 || (col >= cols && codes[i] !== 0)) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.codes[${i}]`,
          expected: col < cols ? '-127..127' : `0 for column ${col} of row ${row} (cols = ${cols})`,
          got: String(codes[i]),
        });
      }
    });
    requireSums(weights, place);
    return weights;
  },

  bytes({ indptr, indices, codes, scale }) {
    return indptr.byteLength + indices.byteLength + codes.byteLength + scale.byteLength;
  },

  /** Integers -127..127. */
  decode(weights) {
    const { rows, cols, codes, scale } = csrInt8.validate(weights, 'csrInt8.decode');
    const values = allocate(Float64Array, rows * cols, 'csrInt8.decode');
    forEachCode(weights, (i, row, col) => {
      if (col < cols) values[row * cols + col] = codes[i];
    });
    return { values, rowScale: Float64Array.from(scale) };
  },

  decodeActivations: quantizedActivations,
};

/** Calls back for every code: its index, row and column, which may lie past the last one. */
function forEachCode(
  { rows, blockCols, indptr, indices }: CsrInt8Weights,
  visit: (i: number, row: number, col: number) => void,
): void {
  for (let r = 0; r < rows; r++) {
    for (let entry = indptr[r]; entry < indptr[r + 1]; entry++) {
      for (let c = 0; c < blockCols; c++) visit(entry * blockCols + c, r, indices[entry] * blockCols + c);
    }
  }
}

/** Up to 66311 columns no sum can leave int32. */
function requireSums({ rows, cols, blockCols, indptr, codes }: CsrInt8Weights, place: string): void {
  const sumOf = (row: number) => {
    let sum = 0;
    for (let i = indptr[row] * blockCols; i < indptr[row + 1] * blockCols; i++) sum += Math.abs(codes[i]);
    return sum;
  };
  requireInt32Sums(rows, cols, 127, sumOf, codes, `${place}.codes`);
}
