import type { NormalizeProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

export const normalize = [
  row<NormalizeProblem>({
    name: 'normalize_f32',
    ops: ['normalize'],
    stages: [{ export: 'normalize', tiles: (p) => p.rows }],
    params: (p) => [p.cols, Number(p.center), Number(p.affine), ...new Uint32Array(Float32Array.of(p.epsilon).buffer)],
    cost: (p, device) => predictMs(device, p.rows * (p.cols * 4 + 30), 0.5, p.rows * p.cols * 8),
  }),
];
