import { outputSize, REDUCTIONS, type ReduceProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import nan from '../shared/nan.wgsl';
import shader from './reduce.wgsl';

const THREADS = 64;

/** Threads that share one output. */
const parts = (p: ReduceProblem): number => (p.inner === 1 ? THREADS : 1);

export const reduce: WebgpuVariant<ReduceProblem>[] = [
  {
    name: 'reduce_64_wgsl',
    ops: ['reduce'],
    supports: (p, device) => fits(device, { input: 4 * p.outer * p.size * p.inner }),
    stages: (p) => [
      {
        label: 'reduce/reduce.wgsl',
        source: shader,
        snippets: [nan],
        consts: { REDUCTION: REDUCTIONS.indexOf(p.reduction), SIZE: p.size, INNER: p.inner, PARTS: parts(p) },
        params: [outputSize(p)],
        workgroups: Math.ceil((outputSize(p) * parts(p)) / THREADS),
      },
    ],
    cost(p, device) {
      const size = p.outer * p.size * p.inner;
      const threads = outputSize(p) * parts(p);
      return predictMs(device, { macs: size, efficiency: 0.05, threads, bytes: 4 * size, dispatches: 1 });
    },
  },
];
