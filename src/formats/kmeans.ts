import { allocate } from './checks.js';

/** Lloyd's iteration converges long before; a bound for inputs made to be slow. */
const MAX_PASSES = 500;

/**
 * At most `entries` ascending centroids for ascending values: the values themselves when no more of them are distinct,
 * else k-means. When zero is among the values it is a centroid, so that pruned weights stay pruned. -0 counts as 0.
 * Overwrites `sorted`.
 * @param start the centroids that the iteration begins with. Default: those of `bestCells`
 */
export function cluster(
  sorted: Float32Array,
  entries: number,
  place: string,
  start: StartingCentroids = bestCells,
): Float64Array {
  return distinct(sorted, entries) ?? kMeans(sorted, entries, place, start);
}

/**
 * `count` centroids for ascending values, of which more are distinct.
 * @param sums [values + 1], of the values before each, from `origin` outwards
 */
export type StartingCentroids = (
  values: Float32Array,
  sums: Float64Array,
  origin: number,
  count: number,
) => ArrayLike<number>;

/** The borders between the cells of ascending centroids, in f64, where they are exact. */
export function midpoints(centroids: ArrayLike<number>): Float64Array {
  const borders = new Float64Array(Math.max(centroids.length - 1, 0));
  for (let i = 0; i < borders.length; i++) borders[i] = (centroids[i] + centroids[i + 1]) / 2;
  return borders;
}

/** How many of the ascending values are <= x: the cell of x, or where the values above x begin. */
export function countUpTo(ascending: Float32Array | Float64Array, x: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The distinct values of an ascending array, or undefined when there are more than `limit`. */
function distinct(sorted: Float32Array, limit: number): Float64Array | undefined {
  const values: number[] = [];
  for (const value of sorted) {
    if (values.length > 0 && value === values[values.length - 1]) continue;
    if (values.length === limit) return undefined;
    values.push(value + 0);
  }
  return Float64Array.from(values);
}

/**
 * One-dimensional k-means of more distinct values than `entries`: Lloyd's iteration from given centroids. A
 * cell is a run of the sorted values, so its mean comes from two prefix sums and a pass costs `entries` binary
 * searches, whatever the number of values. Zeros are set aside, with a centroid of their own that does not move. A
 * centroid without values moves to the far end of the widest cell (weighed by its number of values).
 */
function kMeans(sorted: Float32Array, entries: number, place: string, start: StartingCentroids): Float64Array {
  const split = countUpTo(sorted, 0);
  const negatives = sorted.findIndex((value) => value >= 0);
  const zeros = negatives < 0 ? 0 : split - negatives;
  sorted.copyWithin(split - zeros, split);
  const values = sorted.subarray(0, sorted.length - zeros);
  const n = values.length;

  // Sums start from zero outwards, small values first: an outlier does not drown the sums of the cells within.
  const sums = allocate(Float64Array, n + 1, place);
  const origin = split - zeros;
  for (let i = origin; i < n; i++) sums[i + 1] = sums[i] + values[i];
  for (let i = origin; i > 0; i--) sums[i - 1] = sums[i] - values[i - 1];

  const centroids = new Float64Array(entries);
  centroids.set(start(values, sums, origin, zeros > 0 ? entries - 1 : entries));
  centroids.sort();
  let zeroAt = zeros > 0 ? centroids.indexOf(0) : -1;

  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const ends = Array.from(midpoints(centroids), (border) => countUpTo(values, border));
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
        const mean = meanOf(values, sums, from, to);
        moved ||= mean !== centroids[i];
        centroids[i] = mean;
      }
      const spread = (to - from) * (values[to - 1] - values[from]) ** 2;
      if (spread > 0) cells.push({ from, to, centroid: centroids[i], spread });
    }
    if (idle.length > 0) {
      cells.sort((a, b) => b.spread - a.spread || a.from - b.from);
      for (const [k, i] of idle.entries()) {
        if (k === cells.length) break;
        const { from, to, centroid } = cells[k];
        const [low, high] = [values[from], values[to - 1]];
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

/** The mean of values[from .. to - 1], which rounding cannot put outside of them. */
function meanOf(values: Float32Array, sums: Float64Array, from: number, to: number): number {
  return Math.min(Math.max((sums[to] - sums[from]) / (to - from), values[from]), values[to - 1]);
}

/**
 * The means of the `count` cells of least squared error among those that begin at a candidate (see `candidates`).
 *
 * Dynamic programming: the best `k` cells up to a border are the best k - 1 up to some border before it, and one
 * more. That border never moves back when the end moves on, so halving the range of ends halves the borders to try
 * (Gronlund et al. 2017, Fast exact k-means, k-medians and Bregman divergence clustering in 1D): count * B * log B
 * steps for B candidates. Lloyd's iteration alone, from evenly spread centroids, takes hundreds of passes to move 256
 * centroids to where the values are, and stops early in a local minimum.
 */
function bestCells(values: Float32Array, sums: Float64Array, origin: number, count: number): Float64Array {
  const starts = candidates(values, Math.max(256, 4 * count));
  const B = starts.length;
  const border = (i: number) => (i < B ? starts[i] : values.length);
  // Sums and squares up to each border, from zero outwards like `sums`.
  const sumTo = Float64Array.from({ length: B + 1 }, (_, i) => sums[border(i)]);
  const squaresTo = new Float64Array(B + 1);
  const middle = starts.findIndex((start) => start >= origin);
  const anchor = middle < 0 ? B : middle;
  const squares = (i: number) => {
    let sum = 0;
    for (let at = border(i); at < border(i + 1); at++) sum += values[at] * values[at];
    return sum;
  };
  for (let i = anchor; i < B; i++) squaresTo[i + 1] = squaresTo[i] + squares(i);
  for (let i = anchor - 1; i >= 0; i--) squaresTo[i] = squaresTo[i + 1] - squares(i);
  const error = (from: number, to: number) => {
    const sum = sumTo[to] - sumTo[from];
    return squaresTo[to] - squaresTo[from] - (sum * sum) / (border(to) - border(from));
  };

  /** before[(k - 1) * (B + 1) + end]: where the last of the k best cells up to `end` begins. */
  const before = new Uint32Array(count * (B + 1));
  let least = Float64Array.from({ length: B + 1 }, (_, end) => (end === 0 ? 0 : error(0, end)));
  for (let k = 2; k <= count; k++) {
    const next = new Float64Array(B + 1);
    const solve = (firstEnd: number, lastEnd: number, low: number, high: number): void => {
      if (firstEnd > lastEnd) return;
      const end = (firstEnd + lastEnd) >>> 1;
      let best = Infinity;
      let at = Math.min(high, end - 1);
      for (let from = low; from <= Math.min(high, end - 1); from++) {
        const total = least[from] + error(from, end);
        if (total < best) {
          best = total;
          at = from;
        }
      }
      next[end] = best;
      before[(k - 1) * (B + 1) + end] = at;
      solve(firstEnd, end - 1, low, at);
      solve(end + 1, lastEnd, at, high);
    };
    solve(k, B, k - 1, B - 1);
    least = next;
  }

  const means = new Float64Array(count);
  for (let k = count, end = B; k > 0; k--) {
    const from = before[(k - 1) * (B + 1) + end];
    means[k - 1] = meanOf(values, sums, border(from), border(end));
    end = from;
  }
  return means;
}

/**
 * Where cells may begin: at most 2 * count indices of ascending values, each the first of equal ones, the first one
 * 0. Half are spread evenly over the distinct values. The other half follow the density to the power of 1/3, as the
 * cells of the best quantiser do (Panter and Dite 1951, Quantization distortion in pulse-count modulation): each
 * distinct value weighs its distance from the last to the power of 2/3.
 */
function candidates(values: Float32Array, count: number): Uint32Array {
  let total = 1;
  let weight = 0;
  for (let i = 1; i < values.length; i++) {
    if (values[i] === values[i - 1]) continue;
    total++;
    weight += Math.cbrt(values[i] - values[i - 1]) ** 2;
  }
  const starts = [0];
  const all = total <= 2 * count;
  for (let i = 1, rank = 0, reached = 0, byRank = 0, byWeight = 0; i < values.length; i++) {
    if (values[i] === values[i - 1]) continue;
    rank++;
    reached += Math.cbrt(values[i] - values[i - 1]) ** 2;
    const nextByRank = Math.floor((rank * count) / total);
    const nextByWeight = Math.floor((reached * count) / weight);
    if (all || nextByRank > byRank || nextByWeight > byWeight) starts.push(i);
    byRank = nextByRank;
    byWeight = nextByWeight;
  }
  return Uint32Array.from(starts);
}
