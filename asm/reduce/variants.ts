import { REDUCTIONS, type ReduceProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

/** Columns of a tile. */
const BLOCK = 16;

export const reduce = [
  row<ReduceProblem>({
    name: 'reduce_f32',
    ops: ['reduce'],
    stages: [{ export: 'reduce', tiles: (p) => p.outer * Math.ceil(p.inner / BLOCK) }],
    params: (p) => [REDUCTIONS.indexOf(p.reduction), p.size, p.inner],
    cost(p, device) {
      const size = p.outer * p.size * p.inner;
      return predictMs(device, size * (p.reduction.startsWith('arg') ? 30 : 2), 0.5, size * 4);
    },
  }),
];
