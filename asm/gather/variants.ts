import type { GatherProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

export const gather = [
  row<GatherProblem>({
    name: 'gather_f32',
    ops: ['gather'],
    stages: [{ export: 'gather', tiles: (p) => p.outer * p.count }],
    params: (p) => [p.size, p.inner, p.count],
    cost: (p, device) => predictMs(device, p.outer * p.count * (p.inner + 30), 0.5, p.outer * p.count * p.inner * 8),
  }),
];
