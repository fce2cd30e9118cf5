import type { NormalizeProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import affine from './affine.wgsl';
import shader from './normalize.wgsl';
import plain from './plain.wgsl';

export const normalize: WebgpuVariant<NormalizeProblem>[] = [
  {
    name: 'normalize_64_wgsl',
    ops: ['normalize'],
    supports: (p, device) => fits(device, { input: 4 * p.rows * p.cols }),
    stages: (p) => [
      {
        label: 'normalize/normalize.wgsl',
        source: shader,
        snippets: [p.affine ? affine : plain],
        consts: { COLS: p.cols, CENTER: p.center, EPSILON: { f32: p.epsilon } },
        params: [p.rows],
        workgroups: p.rows,
      },
    ],
    cost(p, device) {
      const size = p.rows * p.cols;
      return predictMs(device, {
        macs: 6 * size,
        efficiency: 0.1,
        threads: p.rows * 64,
        bytes: 8 * size,
        dispatches: 1,
      });
    },
  },
];
