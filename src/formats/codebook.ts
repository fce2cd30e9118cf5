import { describe, ThinferError } from '../errors.js';
import { quantizedActivations } from './activations.js';
import { type CodeBits, codeBytes, readCode, requireUnusedCodes, writeCode } from './bits.js';
import { allocate, requireArray, requireChoice, requireDense, requireFinite, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';
import { cluster, countUpTo, midpoints, type StartingCentroids } from './kmeans.js';
import { ofRow, requireInt32Sums, requirePerRow, requireScales, saturate, stepSize } from './scales.js';

/**
 * Shared weights: each is an index into a codebook of 16 or 256 centroids (Han et al. 2016, Deep Compression),
 * real = codebook[code] or, with int8 centroids, scale[r] * codebook[code]. With 16 entries two codes share a byte, the
 * even column in the low nibble, and each row starts on a byte.
 * Size: codes rows * ceil(cols / 2) bytes (16 entries) or rows * cols (256); codebook 4 * entries bytes (f32) or
 * entries + 4 * scale.length (int8).
 *
 * Arithmetic: f32 centroids multiply f32 activations. int8 centroids multiply 8-bit activations as `int8` does: exact
 * int32 sums, then the scales.
 */
export interface CodebookWeights {
  format: 'codebook';
  rows: number;
  cols: number;
  entries: 16 | 256;
  /** [entries] */
  codebook: Float32Array | Int8Array;
  /** int8 centroids only: [1] or [rows]; finite and positive. */
  scale?: Float32Array;
  /** Where the codes follow from a hash of their places: its seed. Files then leave the codes out. See hashed.ts. */
  seed?: number;
  /** 16 entries: [rows, ceil(cols / 2)], the unused high nibble of an odd row is 0; 256 entries: [rows, cols]. */
  codes: Uint8Array;
}

export interface CodebookOptions {
  /** 4-bit or 8-bit codes. Default 16. */
  entries?: 16 | 256;
  /** What the codebook holds, and with it the arithmetic. Default `f32`. */
  centroids?: 'f32' | 'int8';
}

export const codeBitsOf = (entries: 16 | 256): CodeBits => (entries === 16 ? 4 : 8);

/** A codebook for values (ascending, overwritten) and the function that finds the code of the nearest centroid. */
export function makeCodebook<T extends Float32Array | Int8Array>(
  sorted: Float32Array,
  codebook: T,
  place: string,
  start?: StartingCentroids,
): { codebook: T; codeOf(x: number): number } {
  const centroids = cluster(sorted, codebook.length, place, start);
  codebook.set(codebook instanceof Int8Array ? centroids.map(Math.round) : centroids);
  const borders = midpoints(codebook.subarray(0, centroids.length));
  return { codebook, codeOf: (x) => countUpTo(borders, x) };
}

/** Weight sharing: the codes are looked up while multiplying. */
export const codebook: Format<CodebookWeights, CodebookOptions> = {
  name: 'codebook',

  /**
   * Clusters the values of `dense` ([rows, cols], f32, finite) with k-means (see `cluster`). Exact when there are no
   * more distinct values than entries. Zeros stay exactly zero, so that a pruned matrix stays pruned. -0 becomes 0.
   * int8 centroids: each row is divided by its scale, max |w| / 127, and all rows together are clustered; with 256
   * entries that is as exact as `int8`. Deterministic. Takes 12 bytes a weight while it runs.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for `entries` or `centroids`
   */
  pack(dense, options) {
    const count = requireDense(dense, options, 'codebook.pack');
    const { rows, cols, entries = 16, centroids: kind = 'f32' } = options;
    requireChoice(entries, [16, 256], 'codebook.pack.entries');
    requireChoice(kind, ['f32', 'int8'], 'codebook.pack.centroids');
    const sorted = allocate(Float32Array, count, 'codebook.pack');
    let scale: Float32Array | undefined;
    if (kind === 'f32') {
      sorted.set(dense);
    } else {
      scale = new Float32Array(rows);
      for (let r = 0; r < rows; r++) {
        let largest = 0;
        for (let i = r * cols; i < (r + 1) * cols; i++) largest = Math.max(largest, Math.abs(dense[i]));
        scale[r] = stepSize(largest, 127);
        // Rounded, so that values which int8 holds exactly are as few here as they are there.
        for (let i = r * cols; i < (r + 1) * cols; i++) sorted[i] = Math.round(dense[i] / scale[r]);
      }
    }
    sorted.sort();
    const centroids = kind === 'f32' ? new Float32Array(entries) : new Int8Array(entries);
    const { codebook, codeOf } = makeCodebook<Float32Array | Int8Array>(sorted, centroids, 'codebook.pack');

    const bits = codeBitsOf(entries);
    const stride = codeBytes(cols, bits);
    const codes = new Uint8Array(rows * stride);
    for (let r = 0; r < rows; r++) {
      const step = scale ? scale[r] : 1;
      for (let c = 0; c < cols; c++) writeCode(codes, r * stride, c, bits, codeOf(dense[r * cols + c] / step));
    }
    const weights: CodebookWeights = { format: 'codebook', rows, cols, entries, codebook, codes };
    if (scale) weights.scale = scale;
    requireSums(weights, 'codebook.pack');
    return weights;
  },

  /** Values beyond the largest f32 (a rounding away at most) saturate, so the result is finite. */
  unpack(weights) {
    const { rows, cols, scale } = codebook.validate(weights, 'codebook.unpack');
    const dense = allocate(Float32Array, rows * cols, 'codebook.unpack');
    lookUp(weights, dense);
    if (scale)
      for (let i = 0; i < dense.length; i++) dense[i] = saturate(dense[i] * ofRow(scale, Math.floor(i / cols)));
    return dense;
  },

  validate(weights, place = 'codebook') {
    requireWeights(weights, 'codebook', place);
    const { rows, cols, entries, codebook, scale, codes } = weights;
    requireChoice(entries, [16, 256], `${place}.entries`);
    if (codebook instanceof Int8Array) {
      requireArray(codebook, Int8Array, entries, `${place}.codebook`);
      requirePerRow(scale as Float32Array, Float32Array, rows, `${place}.scale`);
      requireScales(scale as Float32Array, 'positive', `${place}.scale`);
    } else {
      const hint = 'Or an Int8Array, with a scale.';
      requireArray(codebook, Float32Array, entries, `${place}.codebook`, hint);
      requireFinite(codebook, `${place}.codebook`);
      if (scale !== undefined) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.scale`,
          expected: 'none beside a codebook of f32',
          got: describe(scale),
          hint: 'Only int8 centroids have a scale.',
        });
      }
    }
    const bits = codeBitsOf(entries);
    const stride = codeBytes(cols, bits);
    const hint = `A row of ${cols} columns takes ${stride} bytes with ${entries} entries.`;
    requireArray(codes, Uint8Array, rows * stride, `${place}.codes`, hint);
    requireUnusedCodes(codes, rows, cols, bits, 0, `${place}.codes`);
    requireSums(weights, place);
    return weights;
  },

  bytes({ codes, codebook, scale }) {
    return codes.byteLength + codebook.byteLength + (scale?.byteLength ?? 0);
  },

  /** The centroids; int8 ones are integers, with the scale of their row apart. */
  decode(weights) {
    const { rows, cols, scale } = codebook.validate(weights, 'codebook.decode');
    const values = allocate(Float64Array, rows * cols, 'codebook.decode');
    lookUp(weights, values);
    const rowScale = Float64Array.from({ length: rows }, (_, r) => (scale ? ofRow(scale, r) : 1));
    return { values, rowScale };
  },

  decodeActivations(x, samples, weights) {
    const decode = weights?.codebook instanceof Int8Array ? quantizedActivations : plainActivations;
    return decode(x, samples);
  },
};

/** out[r, c] = codebook[code[r, c]] */
function lookUp({ rows, cols, entries, codebook, codes }: CodebookWeights, out: Float32Array | Float64Array): void {
  const bits = codeBitsOf(entries);
  const stride = codeBytes(cols, bits);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) out[r * cols + c] = codebook[readCode(codes, r * stride, c, bits)];
  }
}

/** int8 centroids: up to 65793 columns no sum can leave int32. */
function requireSums({ rows, cols, entries, codebook, codes }: CodebookWeights, place: string): void {
  if (!(codebook instanceof Int8Array)) return;
  const bits = codeBitsOf(entries);
  const stride = codeBytes(cols, bits);
  const sumOf = (r: number) => {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += Math.abs(codebook[readCode(codes, r * stride, c, bits)]);
    return sum;
  };
  requireInt32Sums(rows, cols, 128, sumOf, codes, `${place}.codes`, '|codebook[code]|');
}
