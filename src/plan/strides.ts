import type { CopyProblem, TransposeProblem } from './problem.js';

/** Dimensions of an output, outermost first, with the stride of each operand along each. */
export interface StridedDims {
  dims: number[];
  strides: number[][];
}

/**
 * Merges neighbouring dimensions that every operand steps through as if they were one, and drops those of size 1:
 * rows get as long as they can be. At least one dimension remains.
 */
export function mergeDims({ dims, strides }: StridedDims): StridedDims {
  const outDims: number[] = [];
  const outStrides: number[][] = strides.map(() => []);
  for (const [d, size] of dims.entries()) {
    if (size === 1) continue;
    const last = outDims.length - 1;
    const joins = last >= 0 && strides.every((s, i) => outStrides[i][last] === s[d] * size);
    if (joins) {
      outDims[last] *= size;
      for (const [i, s] of strides.entries()) outStrides[i][last] = s[d];
    } else {
      outDims.push(size);
      for (const [i, s] of strides.entries()) outStrides[i].push(s[d]);
    }
  }
  if (outDims.length === 0) {
    outDims.push(1);
    for (const s of outStrides) s.push(0);
  }
  return { dims: outDims, strides: outStrides };
}

/** Strides of a row-major array, in elements. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length);
  let stride = 1;
  for (let d = dims.length - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= dims[d];
  }
  return strides;
}

/** Product of dimensions: elements of a shape. */
export const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

export function transposeAsCopy({ dims, perm }: TransposeProblem): CopyProblem {
  const strides = stridesOf(dims);
  const outDims = perm.map((d) => dims[d]);
  return {
    op: 'copy',
    dims: outDims,
    from: 0,
    fromStrides: perm.map((d) => strides[d]),
    to: 0,
    toStrides: stridesOf(outDims),
  };
}
