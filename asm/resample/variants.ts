import type { ElementType } from '../../src/dtype.js';
import type { ResampleProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

const rows = (name: string, exported: string, dtypes: readonly ElementType[], bytes: number) =>
  row<ResampleProblem>({
    name,
    ops: ['resample'],
    inputs: dtypes,
    outputs: dtypes,
    stages: [{ export: exported, tiles: (p) => p.outer * p.outSize }],
    params(p) {
      const weights = new Uint32Array(Float32Array.from(p.weight).buffer);
      return [p.inSize, p.outSize, p.inner, p.taps, ...p.index.flatMap((index, t) => [index, weights[t]])];
    },
    cost(p, device) {
      const size = p.outer * p.outSize * p.inner;
      return predictMs(device, size * (p.taps + 2) + p.outer * p.outSize * 30, 0.5, size * 2 * bytes);
    },
  });

export const resample = [
  rows('resample_f32', 'resample', ['float32'], 4),
  rows('resample_codes', 'resample_codes', ['uint8', 'int8'], 1),
];
