import type { ResampleProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

export const resample = [
  row<ResampleProblem>({
    name: 'resample_f32',
    ops: ['resample'],
    stages: [{ export: 'resample', tiles: (p) => p.outer * p.outSize }],
    params(p) {
      const weights = new Uint32Array(Float32Array.from(p.weight).buffer);
      return [p.inSize, p.outSize, p.inner, p.taps, ...p.index.flatMap((index, t) => [index, weights[t]])];
    },
    cost(p, device) {
      const size = p.outer * p.outSize * p.inner;
      return predictMs(device, size * (p.taps + 2) + p.outer * p.outSize * 30, 0.5, size * 8);
    },
  }),
];
