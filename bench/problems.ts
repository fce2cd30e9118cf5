// The problems that are timed, and what arrives.

import type { DType, TensorData } from '../src/dtype.js';
import { quantizeLinear } from '../src/formats/activations.js';
import { packSigns } from '../src/formats/bits.js';
import type { Weights } from '../src/formats/format.js';
import { conv2dProblem, linearProblem, type MatmulOptions, weightFacts } from '../src/layers/problem.js';
import type { MatmulProblem, Quantization } from '../src/plan/problem.js';
import { expectedOf } from './check.js';
import { inputSize, type Shape } from './shapes.js';

/** `codes`: uint8 in and out. `sums`: uint8 in, int32 out. `bits`: signs in and out. */
export type Traffic = 'codes' | 'sums' | 'bits';

export interface Product {
  problem: MatmulProblem;
  x: TensorData;
}

/** The problem of a shape with given weights: no bias, no activation. */
export function problemOf(
  shape: Shape,
  weights: Weights,
  dtypes: Pick<MatmulOptions, 'input' | 'output' | 'arithmetic'> = {},
  inputDtype: DType = 'float32',
): MatmulProblem {
  const facts = weightFacts(weights);
  if (shape.op === 'linear') return linearProblem(facts, weights, shape.M, dtypes, inputDtype);
  const { height, width, kernel, stride, groups } = shape;
  const options = { kernel, stride, groups, padding: 'same', ...dtypes } as const;
  return conv2dProblem(facts, weights, [1, height, width], options, inputDtype);
}

/** How uint8 codes stand for all of some values; zero is exact. */
export function affine(values: ArrayLike<number>): Quantization {
  let [low, high] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  const scale = Math.fround((high - low) / 255) || 1;
  return { dtype: 'uint8', scale, zeroPoint: Math.round(-low / scale) };
}

/** The product of a shape; with traffic as it runs between two others of its kind, scales as a calibration finds them. */
export function productOf(
  traffic: Traffic | undefined,
  shape: Shape,
  weights: Weights,
  x: Float32Array,
  arithmetic?: 'f16',
): Product {
  if (!traffic) return { problem: problemOf(shape, weights, { arithmetic }), x };
  if (traffic === 'bits') {
    const channels = shape.op === 'linear' ? shape.K : shape.channels;
    const { bits } = packSigns(x, inputSize(shape) / channels, channels);
    return { problem: problemOf(shape, weights, { output: 'bits' }, 'bits'), x: bits };
  }
  const input = affine(x);
  const codes = Uint8Array.from(x, (value) => quantizeLinear(value, input));
  if (traffic === 'sums') return { problem: problemOf(shape, weights, { input, output: 'int32' }, 'uint8'), x: codes };
  const output = affine(expectedOf(weights, problemOf(shape, weights), x).y);
  return { problem: problemOf(shape, weights, { input, output }, 'uint8'), x: codes };
}
