/** Cells on either side of 0. */
const CELLS = 2048;

/**
 * How often numbers were met, in cells of equal width around 0 whose width doubles when a number lies outside: nothing has
 * to be known of the numbers before, and no cell lies on both sides of 0.
 */
export class Histogram {
  /** [2 * CELLS]; cell i holds numbers of (i - CELLS) * width up to the next. */
  readonly counts = new Float64Array(2 * CELLS);
  width = 0;
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  total = 0;

  add(values: ArrayLike<number>): void {
    let least = this.min;
    let most = this.max;
    for (let i = 0; i < values.length; i++) {
      const x = values[i];
      if (x < least) least = x;
      if (x > most) most = x;
    }
    if (!(least <= most)) return;
    this.min = least;
    this.max = most;
    const reach = Math.max(-least, most);
    // The cell of the largest number is inside.
    if (this.width === 0) this.width = (reach * 1.0001) / CELLS;
    while (this.width > 0 && reach >= this.width * CELLS) this.#double();
    const { counts, width } = this;
    for (let i = 0; i < values.length; i++) counts[width > 0 ? Math.floor(values[i] / width) + CELLS : CELLS]++;
    this.total += values.length;
  }

  /** The counts with 0 as often as its neighbour: half of all numbers are 0 behind a ReLU, and every range holds that one. */
  withoutZeros(): Float64Array {
    const counts = this.counts.slice();
    counts[CELLS] = Math.min(counts[CELLS], counts[CELLS + 1]);
    return counts;
  }

  /** The middle of a cell. */
  middle(cell: number): number {
    return (cell - CELLS + 0.5) * this.width;
  }

  /** The cell of a number; the outermost for those outside. */
  cellOf(x: number): number {
    return Math.min(Math.max(Math.floor(x / (this.width || 1)) + CELLS, 0), 2 * CELLS - 1);
  }

  #double(): void {
    const { counts } = this;
    for (let i = 0; i < CELLS / 2; i++) {
      const [up, down] = [CELLS + 2 * i, CELLS - 1 - 2 * i];
      counts[CELLS + i] = counts[up] + counts[up + 1];
      counts[CELLS - 1 - i] = counts[down] + counts[down - 1];
    }
    counts.fill(0, CELLS + CELLS / 2);
    counts.fill(0, 0, CELLS / 2);
    this.width *= 2;
  }
}
