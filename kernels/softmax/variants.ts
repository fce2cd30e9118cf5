import type { SoftmaxProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import nan from '../shared/nan.wgsl';
import shader from './softmax.wgsl';

const BITS_OF_NAN = 0x7fc00000;

export const softmax: WebgpuVariant<SoftmaxProblem>[] = [
  {
    name: 'softmax_64_wgsl',
    ops: ['softmax'],
    supports: (p, device) => fits(device, { input: 4 * p.rows * p.cols }),
    stages: (p) => [
      {
        label: 'softmax/softmax.wgsl',
        source: shader,
        snippets: [nan],
        consts: { COLS: p.cols },
        params: [p.rows, BITS_OF_NAN],
        workgroups: p.rows,
      },
    ],
    cost: (p, device) =>
      predictMs(device, {
        macs: 20 * p.rows * p.cols,
        efficiency: 0.1,
        threads: p.rows * 64,
        bytes: 8 * p.rows * p.cols,
        dispatches: 1,
      }),
  },
];
