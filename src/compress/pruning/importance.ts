// How much blocks of weights matter.

/**
 * Of a block: `l1` the mean of |w|, `l2` the root mean square, `l0` the share of weights over the mean |w| of their layer
 * (of equals, the one with the larger mean |w| matters more). Of single weights l1 and l2 are the same order.
 * Li et al. 2017, Pruning Filters for Efficient ConvNets (norms of filters); Han et al. 2015, Learning both Weights and
 * Connections for Efficient Neural Networks (magnitude).
 */
export type Importance = 'l0' | 'l1' | 'l2';

/** A number for each block of a matrix, row-major by blocks. */
export function importanceOf(
  values: ArrayLike<number>,
  { rows, cols }: { rows: number; cols: number },
  [blockRows, blockCols]: readonly [rows: number, cols: number],
  importance: Importance,
): Float64Array {
  const across = Math.ceil(cols / blockCols);
  const scores = new Float64Array(Math.ceil(rows / blockRows) * across);
  let mean = 0;
  for (let i = 0; i < values.length; i++) mean += Math.abs(values[i]) / values.length;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++, i++) {
      const size = Math.abs(values[i]);
      const at = Math.floor(r / blockRows) * across + Math.floor(c / blockCols);
      if (importance === 'l2') scores[at] += size * size;
      else scores[at] += importance === 'l1' ? size : Number(size > mean) + size / (size + mean || 1) / 1024;
    }
  }
  const count = blockRows * blockCols;
  return importance === 'l2' ? scores.map((x) => Math.sqrt(x / count)) : scores.map((x) => x / count);
}

/** The `count`-th smallest of the scores, so that as many are at most as large; -Infinity for none. */
export function thresholdOf(scores: Float64Array, count: number): number {
  if (count <= 0) return Number.NEGATIVE_INFINITY;
  return scores.slice().sort()[Math.min(count, scores.length) - 1];
}

/**
 * Sets the `count` blocks of lowest score to 0: of equal scores the first ones. A block whose score is 0 goes in any case.
 */
export function zeroBlocks(
  values: Float32Array,
  cols: number,
  [blockRows, blockCols]: readonly [number, number],
  scores: Float64Array,
  threshold: number,
  atThreshold: number,
): Float32Array {
  const across = Math.ceil(cols / blockCols);
  let left = atThreshold;
  const dropped = Uint8Array.from(scores, (score) => Number(score < threshold || (score === threshold && left-- > 0)));
  return values.map((value, i) => {
    const row = Math.floor(i / cols);
    const block = Math.floor(row / blockRows) * across + Math.floor((i - row * cols) / blockCols);
    return dropped[block] ? 0 : value;
  });
}

/** Two of every four columns of a row, those of lowest score, are set to 0. */
export function zeroPairs(values: Float32Array, cols: number, score: (at: number) => number): Float32Array {
  const out = values.slice();
  for (let start = 0; start < values.length; start += cols) {
    for (let c = 0; c < cols; c += 4) {
      const four = Array.from({ length: Math.min(4, cols - c) }, (_, i) => start + c + i);
      four.sort((a, b) => score(b) - score(a) || a - b);
      for (const at of four.slice(2)) out[at] = 0;
    }
  }
  return out;
}
