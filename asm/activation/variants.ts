import { type ActivationProblem, UNARY } from '../../src/plan/problem.js';
import { ACTIVATION_BLOCK, predictMs, row } from '../../src/wasm/variant.js';

export const activation = [
  row<ActivationProblem>({
    name: 'activation_f32',
    ops: ['activation'],
    stages: [{ export: 'activation', tiles: (p) => Math.ceil(p.size / ACTIVATION_BLOCK) }],
    clamp: (p) => p.clamp,
    params: (p) => [p.size, p.nonlinearity ? 1 + UNARY.indexOf(p.nonlinearity) : 0],
    cost: (p, device) => predictMs(device, p.size * (p.nonlinearity ? 20 : 1), 0.5, p.size * 8),
  }),
];
