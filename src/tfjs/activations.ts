import type { Activation } from '../plan/problem.js';

/** tfjs's activations, by the names of its layers and of its fused operators, that our kernels end with. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  linear: 'none',
  relu: 'relu',
  relu6: 'relu6',
  sigmoid: 'sigmoid',
  tanh: 'tanh',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'geluTanh',
};

/** Undefined for others, which tfjs applies afterwards. */
export const activationOf = (name: string | null | undefined): Activation | undefined =>
  Object.hasOwn(ACTIVATIONS, name ?? 'linear') ? ACTIVATIONS[name ?? 'linear'] : undefined;
