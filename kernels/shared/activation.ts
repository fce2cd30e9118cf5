import type { Nonlinearity, OutputActivation } from '../../src/plan/problem.js';
import type { F32Const } from '../../src/webgpu/variant.js';
import activate from '../activation/activate.wgsl';
import gelu from '../activation/gelu.wgsl';
import geluTanh from '../activation/gelu_tanh.wgsl';
import hardSwish from '../activation/hard_swish.wgsl';
import none from '../activation/none.wgsl';
import sigmoid from '../activation/sigmoid.wgsl';
import silu from '../activation/silu.wgsl';
import tanh from '../activation/tanh.wgsl';
import nan from './nan.wgsl';

const NONLINEAR: Record<Nonlinearity, string> = { sigmoid, tanh, hardSwish, silu, gelu, geluTanh };

/** WGSL that defines `activate`, which ends a kernel. */
export function activationSnippets({ nonlinearity }: OutputActivation): string[] {
  return [nan, nonlinearity ? NONLINEAR[nonlinearity] : none, activate];
}

/** Constants of activation/activate.wgsl. */
export function activationConsts({ clamp: [low, high] }: OutputActivation): Record<string, boolean | F32Const> {
  return {
    HAS_LOW: low > -Infinity,
    LOW: { f32: Number.isFinite(low) ? low : 0 },
    HAS_HIGH: high < Infinity,
    HIGH: { f32: Number.isFinite(high) ? high : 0 },
  };
}
