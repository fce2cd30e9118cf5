import type { SoftmaxProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

export const softmax = [
  row<SoftmaxProblem>({
    name: 'softmax_f32',
    ops: ['softmax'],
    stages: [{ export: 'softmax', tiles: (p) => p.rows }],
    params: (p) => [p.cols],
    cost: (p, device) => predictMs(device, p.rows * p.cols * 12, 0.5, p.rows * p.cols * 8),
  }),
];
