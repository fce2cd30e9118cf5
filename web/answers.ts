// What outputs mean.
import type { ElementType } from '../src/dtype.js';

/** Labelled images, 28 x 28. */
export interface Batch {
  count: number;
  /** [count, 784], 0..1 */
  pixels: Float32Array;
  labels: Uint8Array;
}

type Numbers = ArrayLike<number>;

/** The index of the largest number of each row of the last dimension. */
export function argmax({ shape, data }: { shape: readonly number[]; data: Numbers }): number[] {
  const width = shape.at(-1) ?? 1;
  return Array.from({ length: data.length / width }, (_, row) => {
    let best = 0;
    for (let i = 1; i < width; i++) if (data[row * width + i] > data[row * width + best]) best = i;
    return best;
  });
}

/** Shares of 1, of the few numbers of a classifier. `logits` are exponents of them; codes stand for 256ths. */
export function probabilities(data: Numbers, dtype: ElementType, logits: boolean): number[] {
  const values = Array.from(data);
  if (dtype === 'int8') return values.map((x) => (x + 128) / 256);
  if (dtype === 'uint8') return values.map((x) => x / 256);
  if (!logits) return values;
  const most = Math.max(...values);
  const powers = values.map((x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

/** True when numbers look like shares of 1. */
export function areShares(data: Numbers): boolean {
  let sum = 0;
  for (let i = 0; i < data.length; i++) {
    if (!(data[i] >= 0)) return false;
    sum += data[i];
  }
  return data.length > 1 && Math.abs(sum - 1) < 1e-3;
}

/** The indices of the largest numbers, largest first. Outputs can have millions: they are not sorted. */
export function largest(values: Numbers, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === count && !(values[i] > values[best[count - 1]])) continue;
    const at = best.findIndex((other) => values[i] > values[other]);
    best.splice(at < 0 ? best.length : at, 0, i);
    best.length = Math.min(best.length, count);
  }
  return best;
}
