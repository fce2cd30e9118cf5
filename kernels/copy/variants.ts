import type { CopyProblem, TransposeProblem } from '../../src/plan/problem.js';
import { product, transposeAsCopy } from '../../src/plan/strides.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import shader from './copy.wgsl';

export const asCopy = (p: CopyProblem | TransposeProblem): CopyProblem => (p.op === 'copy' ? p : transposeAsCopy(p));

/** The furthest element that strides reach, and one. */
export const reach = (dims: readonly number[], start: number, strides: readonly number[]): number =>
  dims.reduce((last, dim, d) => last + Math.max((dim - 1) * strides[d], 0), start + 1);

/** A list of at least one, as u32. */
export const u32s = (values: readonly number[]): number[] =>
  values.length === 0 ? [0] : values.map((value) => value >>> 0);

export const copy: WebgpuVariant<CopyProblem | TransposeProblem>[] = [
  {
    name: 'copy_1x1_wgsl',
    ops: ['copy', 'transpose'],
    inputs: ['float32', 'int32'],
    outputs: ['float32', 'int32'],
    supports: (p, device) => {
      const { dims, from, fromStrides, to, toStrides } = asCopy(p);
      return fits(device, { input: 4 * reach(dims, from, fromStrides), output: 4 * reach(dims, to, toStrides) });
    },
    stages(p) {
      const { dims, from, fromStrides, to, toStrides } = asCopy(p);
      return [
        {
          label: 'copy/copy.wgsl',
          source: shader,
          consts: {
            RANK: Math.max(dims.length, 1),
            // The first is not read: where it is the batch, another size needs no other shader.
            DIMS: [1, ...dims.slice(1)],
            FROM: from,
            TO: to,
            FROM_STRIDES: u32s(fromStrides),
            TO_STRIDES: u32s(toStrides),
          },
          params: [product(dims)],
          workgroups: Math.ceil(product(dims) / 64),
        },
      ];
    },
    cost: (p, device) =>
      predictMs(device, {
        macs: product(p.dims),
        efficiency: 0.05,
        threads: product(p.dims),
        // Writes are in order, reads are not.
        bytes: 12 * product(p.dims),
        dispatches: 1,
      }),
  },
];
