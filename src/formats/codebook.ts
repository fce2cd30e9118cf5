import { describe, ThinferError } from '../errors.js';
import { allocate, requireArray, requireDense, requireFinite, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';

/**
 * Shared weights: each is an index into a codebook of 16 or 256 f32 centroids (Han et al. 2016, Deep
 * Compression). With 16 entries two codes share a byte, the even column in the low nibble, and each row
 * starts on a byte. Size: 4 * entries + rows * ceil(cols / 2) bytes (16 entries), or + rows * cols (256).
 */
export interface CodebookWeights {
  format: 'codebook';
  rows: number;
  cols: number;
  entries: 16 | 256;
  /** [entries] */
  codebook: Float32Array;
  /** 16 entries: [rows, ceil(cols / 2)], the unused high nibble of an odd row is 0; 256 entries: [rows, cols]. */
  codes: Uint8Array;
}

export interface CodebookOptions {
  /** 4-bit or 8-bit codes. Default 16. */
  entries?: 16 | 256;
}

/** Lloyd's iteration converges long before; a bound for inputs made to be slow. */
const MAX_PASSES = 500;

function requireEntries(entries: unknown, place: string): asserts entries is 16 | 256 {
  if (entries !== 16 && entries !== 256) {
    throw new ThinferError({ code: 'bad-argument', place, expected: '16 or 256', got: describe(entries) });
  }
}

/** Bytes of codes in one row. */
function rowBytes(cols: number, entries: 16 | 256): number {
  return entries === 16 ? Math.ceil(cols / 2) : cols;
}

/** Weight sharing: the codes are looked up while multiplying, the arithmetic is f32. */
export const codebook: Format<CodebookWeights, CodebookOptions> = {
  name: 'codebook',

  /**
   * Clusters the values of `dense` ([rows, cols], f32, finite) with k-means (see `kMeans`). Exact when there are no
   * more distinct values than entries. Zeros stay exactly zero, so that a pruned matrix stays pruned. -0 becomes 0.
   * Deterministic. Takes 12 bytes a weight while it runs.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for `entries`
   */
  pack(dense, options) {
    const count = requireDense(dense, options, 'codebook.pack');
    const { rows, cols, entries = 16 } = options;
    requireEntries(entries, 'codebook.pack.entries');
    const sorted = allocate(Float32Array, count, 'codebook.pack');
    sorted.set(dense);
    sorted.sort();
    const centroids = distinct(sorted, entries) ?? kMeans(sorted, entries);
    const codebook = new Float32Array(entries);
    codebook.set(centroids);

    const borders = midpoints(codebook.subarray(0, centroids.length));
    const stride = rowBytes(cols, entries);
    const codes = new Uint8Array(rows * stride);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const code = countUpTo(borders, dense[r * cols + c]);
        if (entries === 256) codes[r * stride + c] = code;
        else codes[r * stride + (c >> 1)] |= code << (4 * (c & 1));
      }
    }
    return { format: 'codebook', rows, cols, entries, codebook, codes };
  },

  unpack(weights) {
    const { rows, cols } = codebook.validate(weights, 'codebook.unpack');
    const dense = allocate(Float32Array, rows * cols, 'codebook.unpack');
    lookUp(weights, dense);
    return dense;
  },

  validate(weights, place = 'codebook') {
    requireWeights(weights, 'codebook', place);
    const { rows, cols, entries, codes } = weights;
    requireEntries(entries, `${place}.entries`);
    requireArray(weights.codebook, Float32Array, entries, `${place}.codebook`);
    requireFinite(weights.codebook, `${place}.codebook`);
    const stride = rowBytes(cols, entries);
    const hint = `A row of ${cols} columns takes ${stride} bytes with ${entries} entries.`;
    requireArray(codes, Uint8Array, rows * stride, `${place}.codes`, hint);
    if (entries === 16 && cols % 2 === 1) {
      for (let at = stride - 1; at < codes.length; at += stride) {
        if (codes[at] > 15) {
          throw new ThinferError({
            code: 'bad-weights',
            place: `${place}.codes[${at}]`,
            expected: '0..15 (the last byte of an odd row holds one code, in the low nibble)',
            got: String(codes[at]),
            hint: 'The even column is in the low nibble, and each row starts on a byte.',
          });
        }
      }
    }
    return weights;
  },

  bytes({ codes, codebook }) {
    return codes.byteLength + codebook.byteLength;
  },

  decode(weights) {
    const { rows, cols } = codebook.validate(weights, 'codebook.decode');
    const values = allocate(Float64Array, rows * cols, 'codebook.decode');
    lookUp(weights, values);
    return { values, rowScale: new Float64Array(rows).fill(1) };
  },

  decodeActivations: plainActivations,
};

/** out[r, c] = codebook[code[r, c]] */
function lookUp({ rows, cols, entries, codebook, codes }: CodebookWeights, out: Float32Array | Float64Array): void {
  const stride = rowBytes(cols, entries);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const code = entries === 256 ? codes[r * stride + c] : (codes[r * stride + (c >> 1)] >> (4 * (c & 1))) & 15;
      out[r * cols + c] = codebook[code];
    }
  }
}

/** The distinct values of an ascending array, or undefined when there are more than `limit`. */
function distinct(sorted: Float32Array, limit: number): number[] | undefined {
  const values: number[] = [];
  for (const value of sorted) {
    if (values.length > 0 && value === values[values.length - 1]) continue;
    if (values.length === limit) return undefined;
    values.push(value + 0);
  }
  return values;
}

/** The borders between the cells of ascending centroids, in f64, where they are exact. */
function midpoints(centroids: ArrayLike<number>): Float64Array {
  const borders = new Float64Array(centroids.length - 1);
  for (let i = 0; i < borders.length; i++) borders[i] = (centroids[i] + centroids[i + 1]) / 2;
  return borders;
}

/** How many of the ascending values are <= x: the cell of x, or where the values above x begin. */
function countUpTo(ascending: Float32Array | Float64Array, x: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * One-dimensional k-means: `entries` ascending centroids for ascending values, of which there are more distinct ones.
 *
 * Starts with centroids spread evenly over the range, which Han et al. 2016 found to serve large weights best,
 * then Lloyd's iteration. A cell is a run of the sorted values, so its mean comes from two prefix sums and a pass
 * costs `entries` binary searches, whatever the number of values. When zero is among the values, one centroid is
 * held there. A centroid without values moves to the far end of the widest cell (weighed by its number of values).
 */
function kMeans(sorted: Float32Array, entries: number): Float64Array {
  // Sums start from zero outwards, small values first: an outlier does not drown the sums of the cells within.
  const n = sorted.length;
  const sums = allocate(Float64Array, n + 1, 'codebook.pack');
  const split = countUpTo(sorted, 0);
  for (let i = split; i < n; i++) sums[i + 1] = sums[i] + sorted[i];
  for (let i = split; i > 0; i--) sums[i - 1] = sums[i] - sorted[i - 1];

  const centroids = new Float64Array(entries);
  const [first, last] = [sorted[0], sorted[n - 1]];
  for (let i = 0; i < entries; i++) centroids[i] = first + ((last - first) * i) / (entries - 1);
  let zeroAt = -1;
  if (split > 0 && sorted[split - 1] === 0) {
    zeroAt = countUpTo(midpoints(centroids), 0);
    centroids[zeroAt] = 0;
  }

  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const ends = Array.from(midpoints(centroids), (border) => countUpTo(sorted, border));
    ends.push(n);
    let moved = false;
    const idle: number[] = [];
    const cells: { from: number; to: number; centroid: number; spread: number }[] = [];
    for (let i = 0, from = 0; i < entries; from = ends[i++]) {
      const to = ends[i];
      if (from === to) {
        if (i !== zeroAt) idle.push(i);
        continue;
      }
      if (i !== zeroAt) {
        // Clamped, so that rounding cannot put the mean outside its cell.
        const mean = Math.min(Math.max((sums[to] - sums[from]) / (to - from), sorted[from]), sorted[to - 1]);
        moved ||= mean !== centroids[i];
        centroids[i] = mean;
      }
      const spread = (to - from) * (sorted[to - 1] - sorted[from]) ** 2;
      if (spread > 0) cells.push({ from, to, centroid: centroids[i], spread });
    }
    if (idle.length > 0) {
      cells.sort((a, b) => b.spread - a.spread || a.from - b.from);
      for (const [k, i] of idle.entries()) {
        if (k === cells.length) break;
        const { from, to, centroid } = cells[k];
        const [low, high] = [sorted[from], sorted[to - 1]];
        centroids[i] = high - centroid >= centroid - low ? high : low;
        moved = true;
      }
      centroids.sort();
      if (zeroAt >= 0) zeroAt = centroids.indexOf(0);
    }
    if (!moved) break;
  }
  return centroids;
}
