import type { Dim, ReshapeDim } from './ir.js';
import { factorsOf, type Shape } from './shapes.js';

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Dimensions of a shape as those of a reshape of a tensor that has them. */
export function keepDims(shape: Shape, axes: readonly number[] = range(shape.length)): ReshapeDim[] {
  return axes.map((axis) => (typeof shape[axis] === 'number' ? shape[axis] : { axes: [axis] }));
}

/**
 * Sizes as dimensions of a reshape: open ones are found among the dimensions of the input, as products of those, or by
 * their name.
 */
export function reshapeTo(dims: readonly Dim[], input: Shape): ReshapeDim[] {
  return dims.map((dim): ReshapeDim => {
    if (typeof dim === 'number') return dim;
    const whole = input.indexOf(dim);
    if (whole >= 0) return { axes: [whole] };
    const axes: number[] = [];
    let times = 1;
    for (const factor of factorsOf(dim)) {
      if (typeof factor === 'number') {
        times *= factor;
        continue;
      }
      const axis = input.findIndex((candidate, i) => candidate === factor && !axes.includes(i));
      if (axis < 0) return { name: dim };
      axes.push(axis);
    }
    return { axes, times };
  });
}
