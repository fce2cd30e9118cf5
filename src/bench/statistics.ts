import { median } from '../median.js';

/** How sure an interval is to hold the median. */
const CONFIDENCE = 0.95;

/**
 * A confidence interval of the median, from order statistics: it holds whatever the distribution is (Conover, Practical
 * Nonparametric Statistics, 1999, 3.2). With fewer than six values, all of them are not sure enough: it is their range.
 */
export function medianInterval(values: readonly number[]): [low: number, high: number] {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  // How many values lie below the median is binomial with p = 1/2; `tail` is the chance of at most `left` of them.
  let chance = 0.5 ** n;
  let tail = chance;
  let left = 0;
  while (left < n && tail + (chance * (n - left)) / (left + 1) <= (1 - CONFIDENCE) / 2) {
    chance *= (n - left) / (left + 1);
    tail += chance;
    left++;
  }
  return [sorted[left], sorted[n - 1 - left]];
}

/** The mean of the middle half: of times near the clock's steps it says more than their median, and bears outliers too. */
export function middleMean(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const cut = Math.floor(sorted.length / 4);
  const middle = sorted.slice(cut, sorted.length - cut);
  return middle.reduce((sum, x) => sum + x, 0) / middle.length;
}

export interface Timing {
  /** Milliseconds of one run: the median over the rounds, with its interval of 95 % confidence. */
  ms: number;
  low: number;
  high: number;
  /** Median absolute deviation of the rounds, in milliseconds. */
  spread: number;
  /** Milliseconds in the fastest round. */
  best: number;
}

export function timingOf(samples: readonly number[]): Timing {
  const ms = median(samples);
  const [low, high] = medianInterval(samples);
  return { ms, low, high, spread: median(samples.map((x) => Math.abs(x - ms))), best: Math.min(...samples) };
}
