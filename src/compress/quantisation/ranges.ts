// Which range of numbers codes stand for.

import { describe, ThinferError } from '../../errors.js';
import { roundHalfEven } from '../../formats/activations.js';
import { stepSize } from '../../formats/scales.js';
import type { Quantization } from '../../plan/problem.js';
import { Histogram } from './histogram.js';

/**
 * How the range is found that codes span; what lies outside becomes the outermost code.
 *
 * - `minmax`: all that was met.
 * - `percentile`: without the outermost share of numbers on each side, by default 0.0001.
 * - `entropy`: of least Kullback-Leibler divergence between the numbers and what becomes of them (Migacz 2017, 8-bit
 *   Inference with TensorRT).
 * - `mse`: of least mean squared error.
 */
export type RangeMethod = 'minmax' | 'percentile' | 'entropy' | 'mse';

export interface RangeOptions {
  range?: RangeMethod;
  /** `percentile`: the share on each side that is left out. Default 0.0001. */
  outside?: number;
}

/** Codes that a range is cut into. */
interface Codes {
  levels: number;
  /** The range reaches as far below 0 as above. */
  symmetric: boolean;
}

export type Range = readonly [low: number, high: number];

/** Shares of the whole range that `entropy` and `mse` try. */
const TRIES = Array.from({ length: 96 }, (_, i) => 1 - i / 100);

export function requireRangeOptions({ range = 'minmax', outside = 0.0001 }: RangeOptions, place: string): void {
  if (!['minmax', 'percentile', 'entropy', 'mse'].includes(range)) {
    const expected = 'minmax, percentile, entropy or mse';
    throw new ThinferError({ code: 'bad-argument', place: `${place}.range`, expected, got: describe(range) });
  }
  if (!(outside >= 0 && outside < 0.5)) {
    const expected = 'a share from 0 to less than 0.5';
    throw new ThinferError({ code: 'bad-argument', place: `${place}.outside`, expected, got: describe(outside) });
  }
}

/** The range of numbers that a histogram holds: 0 is in it. */
export function rangeOf(
  histogram: Histogram,
  { range = 'minmax', outside = 0.0001 }: RangeOptions,
  codes: Codes,
): Range {
  const whole = widened([Math.min(histogram.min, 0), Math.max(histogram.max, 0)], codes);
  if (histogram.total === 0 || whole[0] === whole[1]) return [0, 0];
  if (range === 'minmax') return whole;
  if (range === 'percentile') return widened(percentile(histogram, outside), codes);
  const cost = range === 'mse' ? squaredError : divergence;
  let best = whole;
  let least = Number.POSITIVE_INFINITY;
  for (const share of TRIES) {
    const tried: Range = [share * whole[0], share * whole[1]];
    const found = cost(histogram, tried, codes.levels);
    if (found < least) {
      least = found;
      best = tried;
    }
  }
  return best;
}

/** The range of some numbers. */
export function rangeOfValues(values: ArrayLike<number>, options: RangeOptions, codes: Codes): Range {
  const histogram = new Histogram();
  histogram.add(values);
  return rangeOf(histogram, options, codes);
}

function widened([low, high]: Range, { symmetric }: Codes): Range {
  const reach = Math.max(-low, high);
  return symmetric ? [-reach, reach] : [low, high];
}

function percentile({ counts, width, total, min, max, middle }: Histogram, outside: number): Range {
  const most = outside * total;
  const edge = (cells: Iterable<number>, side: number): number => {
    let seen = 0;
    for (const cell of cells) {
      seen += counts[cell];
      if (seen > most) return middle.call({ width } as Histogram, cell) + (side * width) / 2;
    }
    return 0;
  };
  const low = edge(counts.keys(), -1);
  const high = edge([...counts.keys()].reverse(), 1);
  return [Math.min(Math.max(low, min), 0), Math.max(Math.min(high, max), 0)];
}

/** The sum of (x - q(x))^2 over the cells. */
function squaredError(histogram: Histogram, [low, high]: Range, levels: number): number {
  const step = (high - low) / (levels - 1);
  const { counts } = histogram;
  let error = 0;
  for (let cell = 0; cell < counts.length; cell++) {
    if (counts[cell] === 0) continue;
    const x = histogram.middle(cell);
    // 0 is one of the levels.
    const code = Math.min(Math.max(Math.round(x / step), Math.round(low / step)), Math.round(high / step));
    error += counts[cell] * (x - code * step) ** 2;
  }
  return error;
}

/** Of the cells inside the range, what is outside put into the outermost, and the same after each code's cells are one. */
function divergence(histogram: Histogram, [low, high]: Range, levels: number): number {
  const counts = histogram.withoutZeros();
  const total = counts.reduce((sum, count) => sum + count, 0);
  const [first, last] = [histogram.cellOf(low), histogram.cellOf(high)];
  const inside = counts.slice(first, last + 1);
  for (let cell = 0; cell < first; cell++) inside[0] += counts[cell];
  for (let cell = last + 1; cell < counts.length; cell++) inside[inside.length - 1] += counts[cell];
  const perLevel = inside.length / levels;
  if (perLevel < 1) return Number.POSITIVE_INFINITY;
  let sum = 0;
  let kept = 0;
  for (let cell = first; cell <= last; cell++) kept += counts[cell];
  for (let level = 0; level < levels; level++) {
    const [from, to] = [Math.round(level * perLevel), Math.round((level + 1) * perLevel)];
    let count = 0;
    let used = 0;
    for (let i = from; i < to; i++) {
      // Of what was met inside, so that clipping costs: the outermost cells of P hold more than those of Q.
      count += counts[first + i];
      if (inside[i] > 0) used++;
    }
    for (let i = from; i < to; i++) {
      if (inside[i] === 0) continue;
      const p = inside[i] / total;
      const q = Math.max(count, 1e-3) / used / kept;
      sum += p * Math.log(p / q);
    }
  }
  return sum;
}

/** 8-bit codes of a range of activations: 0 is exact. */
export function quantizationOf([low, high]: Range, dtype: Quantization['dtype'] = 'uint8'): Quantization {
  const scale = stepSize(high - low, 255);
  const least = dtype === 'uint8' ? 0 : -128;
  const zeroPoint = Math.min(Math.max(roundHalfEven(-low / scale) + least, least), least + 255);
  return { dtype, scale, zeroPoint };
}
