import type { TransposeProblem } from '../../src/plan/problem.js';
import { product } from '../../src/plan/strides.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import shader from './transpose.wgsl';

export const transpose: WebgpuVariant<TransposeProblem>[] = [
  {
    name: 'transpose_1x1_wgsl',
    ops: ['transpose'],
    supports: (p, device) => fits(device, { input: 4 * product(p.dims) }),
    stages: ({ dims, perm }) => [
      {
        label: 'transpose/transpose.wgsl',
        source: shader,
        consts: {
          RANK: Math.max(dims.length, 1),
          // The first is not read: where it is the batch, another size needs no other shader.
          DIMS: [1, ...perm.slice(1).map((d) => dims[d])],
          STRIDES: dims.length === 0 ? [0] : perm.map((d) => product(dims.slice(d + 1))),
        },
        params: [product(dims)],
        workgroups: Math.ceil(product(dims) / 64),
      },
    ],
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
