/** A matrix [rows, cols] of one group of channels that is rounded or pruned column by column. */
export interface Sweep {
  /** Changed in place: what is left of each weight, and in the end what it became. */
  values: Float64Array;
  rows: number;
  cols: number;
  /** See `inverseFactor`, [cols, cols]. */
  factor: Float64Array;
  /** Called before the columns from `from` on are touched, which hold what the columns before made of them. */
  prepare?(from: number): void;
  /** Columns between two calls of `prepare`. */
  every?: number;
  /** What a weight becomes. */
  choose(value: number, row: number, col: number): number;
}

/**
 * Optimal Brain Surgeon, a column after the other: what a weight's change does to the output is taken up by the columns that
 * are still to come, w_j -= (w_i - q_i) / U_ii * U_ij, which minimises the squared error of the outputs. All rows share
 * one order of columns, and so one factor of the inverse Hessian.
 *
 * Hassibi and Stork 1993, Second Order Derivatives for Network Pruning: Optimal Brain Surgeon; in the form of Frantar and
 * Alistarh 2023, SparseGPT, and Frantar et al. 2023, GPTQ.
 */
export function sweep({ values, rows, cols, factor, prepare, every = cols, choose }: Sweep): void {
  for (let from = 0; from < cols; from += every) {
    prepare?.(from);
    const end = Math.min(from + every, cols);
    for (let r = 0; r < rows; r++) {
      const row = values.subarray(r * cols, (r + 1) * cols);
      for (let i = from; i < end; i++) {
        const chosen = choose(row[i], r, i);
        const error = (row[i] - chosen) / factor[i * cols + i];
        row[i] = chosen;
        if (error === 0) continue;
        for (let j = i + 1, at = i * cols + j; j < cols; j++, at++) row[j] -= error * factor[at];
      }
    }
  }
}
