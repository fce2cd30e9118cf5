import type { ElementType } from '../../src/dtype.js';
import type { GatherProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

const rows = (name: string, dtypes: readonly ElementType[], bytes: number) =>
  row<GatherProblem>({
    name,
    ops: ['gather'],
    inputs: dtypes,
    outputs: dtypes,
    stages: [{ export: 'gather', tiles: (p) => p.outer * p.count }],
    params: (p) => [p.size, p.inner, p.count, bytes],
    cost: (p, device) =>
      predictMs(device, p.outer * p.count * (p.inner + 30), 0.5, p.outer * p.count * p.inner * 2 * bytes),
  });

export const gather = [rows('gather_f32', ['float32', 'int32'], 4), rows('gather_codes', ['uint8', 'int8'], 1)];
