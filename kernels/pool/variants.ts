import { inputSize, type PoolProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs, windowConsts } from '../shared/cost.js';
import nan from '../shared/nan.wgsl';
import pool from './pool.wgsl';

const outputSize = ({ window: w, channels }: PoolProblem): number => w.batch * w.outHeight * w.outWidth * channels;
const BITS_OF_MINUS_INFINITY = 0xff800000;

export const pooling: WebgpuVariant<PoolProblem>[] = [
  {
    name: 'pool2d_1x1_wgsl',
    ops: ['maxPool2d', 'averagePool2d'],
    supports: (p, device) => fits(device, { input: 4 * inputSize(p), output: 4 * outputSize(p) }),
    stages: (p) => [
      {
        label: 'pool/pool.wgsl',
        source: pool,
        snippets: [nan],
        consts: {
          ...windowConsts(p),
          PAD_BOTTOM: p.window.padBottom,
          PAD_RIGHT: p.window.padRight,
          CHANNELS: p.channels,
          MAXIMUM: p.op === 'maxPool2d',
          COUNT_PADDING: p.countIncludePad,
        },
        params: [outputSize(p), BITS_OF_MINUS_INFINITY],
        workgroups: Math.ceil(outputSize(p) / 64),
      },
    ],
    cost: (p, device) =>
      predictMs(device, {
        macs: outputSize(p) * p.window.kernelHeight * p.window.kernelWidth,
        efficiency: 0.05,
        threads: outputSize(p),
        bytes: 4 * (inputSize(p) + outputSize(p)),
        dispatches: 1,
      }),
  },
];
