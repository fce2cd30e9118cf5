import { type GatherProblem, outputSize } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import shader from './gather.wgsl';

export const gather: WebgpuVariant<GatherProblem>[] = [
  {
    name: 'gather_1x1_wgsl',
    ops: ['gather'],
    inputs: ['float32', 'int32'],
    outputs: ['float32', 'int32'],
    supports: (p, device) => fits(device, { input: 4 * p.outer * p.size * p.inner, output: 4 * outputSize(p) }),
    stages: (p) => [
      {
        label: 'gather/gather.wgsl',
        source: shader,
        consts: { SIZE: p.size, COUNT: p.count, INNER: p.inner },
        params: [outputSize(p)],
        workgroups: Math.ceil(outputSize(p) / 64),
      },
    ],
    cost(p, device) {
      const size = outputSize(p);
      return predictMs(device, { macs: size, efficiency: 0.05, threads: size, bytes: 12 * size, dispatches: 1 });
    },
  },
];
