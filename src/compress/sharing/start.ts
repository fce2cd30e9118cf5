import { mix } from '../../formats/hashed.js';
import type { StartingCentroids } from '../../formats/kmeans.js';

/** How k-means begins; see `startOf`. */
export const STARTS = ['best', 'kmeans++', 'density', 'linear'] as const;
export type Start = (typeof STARTS)[number];

/** Values among which k-means++ chooses: of more, as many evenly spread over their ranks. */
const MOST_VALUES = 1 << 13;

/**
 * The centroids from which k-means begins.
 *
 * - `best`: those of least squared error among thousands of candidates, by dynamic programming (see `cluster`)
 * - `kmeans++`: values chosen at random, each by its squared distance from those chosen before (Arthur and Vassilvitskii
 *   2007, k-means++: The Advantages of Careful Seeding)
 * - `density`: as many values between each two of them; `linear`: evenly from the least to the largest (Han et al. 2016, Deep
 *   Compression, section 3.2, where linear was best: it keeps large weights)
 */
export function startOf(start: Start, seed: number): StartingCentroids | undefined {
  switch (start) {
    case 'kmeans++':
      return (values, _sums, _origin, count) => plusPlus(values, count, seed);
    case 'density':
      return (values, _sums, _origin, count) => evenly(count, (share) => values[Math.floor(share * values.length)]);
    case 'linear':
      return (values, _sums, _origin, count) => {
        const [least, most] = [values[0], values[values.length - 1]];
        return Float64Array.from({ length: count }, (_, i) => least + ((most - least) * i) / Math.max(count - 1, 1));
      };
    default:
      return undefined;
  }
}

const evenly = (count: number, at: (share: number) => number): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => at((i + 0.5) / count));

function plusPlus(values: Float32Array, count: number, seed: number): Float64Array {
  const n = Math.min(values.length, MOST_VALUES);
  const sample = Float64Array.from({ length: n }, (_, i) => values[Math.floor(((i + 0.5) * values.length) / n)]);
  const distances = new Float64Array(n).fill(1);
  const chosen = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    const total = distances.reduce((sum, d) => sum + d, 0);
    let left = (mix(seed * 65537 + k) / 2 ** 32) * total;
    let at = 0;
    for (; at < n - 1 && left >= distances[at]; at++) left -= distances[at];
    chosen[k] = sample[at];
    for (let i = 0; i < n; i++) {
      const d = (sample[i] - chosen[k]) ** 2;
      distances[i] = k === 0 ? d : Math.min(distances[i], d);
    }
  }
  return chosen.sort();
}
