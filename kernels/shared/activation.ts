import { type Nonlinearity, UNARY, type UnaryFunction } from '../../src/plan/problem.js';
import type { Consts } from '../../src/webgpu/variant.js';
import activate from '../activation/activate.wgsl';
import gelu from '../activation/gelu.wgsl';
import geluTanh from '../activation/gelu_tanh.wgsl';
import hardSwish from '../activation/hard_swish.wgsl';
import none from '../activation/none.wgsl';
import sigmoid from '../activation/sigmoid.wgsl';
import silu from '../activation/silu.wgsl';
import tanh from '../activation/tanh.wgsl';
import unary from '../activation/unary.wgsl';
import nan from './nan.wgsl';

const NONLINEAR: Record<Nonlinearity, string> = { sigmoid, tanh, hardSwish, silu, gelu, geluTanh };

/** What ends a kernel: that of a layer, or any function of one number. */
interface Ending {
  nonlinearity?: UnaryFunction;
  clamp: readonly [min: number, max: number];
}

const isFused = (f: UnaryFunction): f is Nonlinearity => Object.hasOwn(NONLINEAR, f);

/** WGSL that defines `activate`, which ends a kernel. */
export function activationSnippets({ nonlinearity: f }: Ending): string[] {
  return [nan, f ? (isFused(f) ? NONLINEAR[f] : unary) : none, activate];
}

/** Constants of those. */
export function activationConsts({ nonlinearity: f, clamp: [low, high] }: Ending): Consts {
  return {
    ...(f && !isFused(f) && { FUNCTION: 1 + UNARY.indexOf(f) }),
    HAS_LOW: low > -Infinity,
    LOW: { f32: Number.isFinite(low) ? low : 0 },
    HAS_HIGH: high < Infinity,
    HIGH: { f32: Number.isFinite(high) ? high : 0 },
  };
}
