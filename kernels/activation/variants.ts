import type { ActivationProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { activationConsts, activationSnippets } from '../shared/activation.js';
import { fits, predictMs } from '../shared/cost.js';
import source from './activation.wgsl';

const elements: WebgpuVariant<ActivationProblem> = {
  name: 'activation_1x1_wgsl',
  ops: ['activation'],
  supports: (p, device) => fits(device, { input: 4 * p.size }),
  stages: (p) => [
    {
      label: 'activation/activation.wgsl',
      source,
      snippets: activationSnippets(p),
      consts: activationConsts(p),
      params: [p.size],
      workgroups: Math.ceil(p.size / 64),
    },
  ],
  cost: (p, device) =>
    predictMs(device, { macs: p.size, efficiency: 0.05, threads: p.size, bytes: 8 * p.size, dispatches: 1 }),
};

export const activation = [elements];
