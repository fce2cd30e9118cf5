import type { DType } from '../dtype.js';
import { describe, requireInteger, requireLength, ThinferError } from '../errors.js';
import { codeRange } from '../formats/activations.js';
import { requireChoice } from '../formats/checks.js';
import type { Weights } from '../formats/format.js';
import { formatOf } from '../formats/index.js';
import { hasRowSums, multipliers } from '../formats/outputs.js';
import { quantizesActivations } from '../formats/reference.js';
import { SMALLEST_SCALE } from '../formats/scales.js';
import { outputActivation } from '../plan/problem.js';
import {
  type MatmulOptions,
  type OutputDType,
  type OutputOption,
  type QuantizationOption,
  weightFacts,
} from './problem.js';

/** What a layer's inputs may be, and what its outputs are. */
export interface LayerDtypes<D extends DType = DType> {
  inputs: readonly DType[];
  output: D;
}

function refuse(place: string, expected: string, got: string, hint?: string): never {
  throw new ThinferError({ code: 'bad-argument', place, expected, got, hint });
}

function requireQuantization(option: QuantizationOption, place: string): void {
  if (typeof option !== 'object' || option === null) {
    refuse(place, 'an object { dtype, scale, zeroPoint }', describe(option));
  }
  const { dtype, scale, zeroPoint = 0 } = option;
  requireChoice(dtype, ['uint8', 'int8'], `${place}.dtype`);
  if (typeof scale !== 'number' || !(Math.fround(scale) >= SMALLEST_SCALE && Math.fround(scale) < Infinity)) {
    refuse(`${place}.scale`, 'a finite number above 0, in the range of f32', describe(scale));
  }
  const [min, max] = codeRange(dtype);
  requireInteger(zeroPoint, `${place}.zeroPoint`, { min, max, hint: `The codes of ${dtype} are ${min}..${max}.` });
}

/**
 * Checks the options `input`, `output`, `bias`, `activation` and `arithmetic` of a layer against its weights, which must be validated.
 * @throws ThinferError `bad-argument` for options that are wrong or make no sense together, `bad-weights` for a bias
 */
export function requireDtypes<O extends OutputOption>(
  weights: Weights,
  options: MatmulOptions<O>,
  place: string,
): LayerDtypes<OutputDType<O>> {
  const { input, bias, activation = 'none', arithmetic = 'f32' } = options;
  requireChoice(arithmetic, ['f32', 'f16'], `${place}.arithmetic`);
  const output: OutputOption = options.output === undefined ? 'float32' : options.output;
  const facts = weightFacts(weights);
  const takes = quantizesActivations(facts);
  const what = `weights in format '${weights.format}'`;
  if (input !== undefined) {
    if (!takes) refuse(`${place}.input`, `none: ${what} are multiplied by f32 or signs`, 'a quantisation');
    requireQuantization(input, `${place}.input`);
  }
  const {
    nonlinearity,
    clamp: [low, high],
  } = outputActivation(activation);
  if (typeof output === 'string') requireChoice(output, ['float32', 'int32', 'bits'], `${place}.output`);
  else requireQuantization(output, `${place}.output`);
  const dtype = typeof output === 'string' ? output : output.dtype;
  const integers = dtype !== 'float32' && dtype !== 'bits';
  if (nonlinearity && dtype !== 'float32') {
    refuse(`${place}.activation`, `a clamp, as the output is ${dtype}`, nonlinearity);
  }
  if (dtype === 'bits') {
    if (weights.format !== 'xnor') refuse(`${place}.output`, `float32 from ${what}`, 'bits', 'Signs come from xnor.');
    if (!(low < 0 && high >= 0)) {
      refuse(`${place}.activation`, 'one that keeps signs apart', `[${low}, ${high}]`, 'All bits would be the same.');
    }
  } else if (integers) {
    const sparse = weights.format === 'csrInt8';
    if (!takes || sparse || !hasRowSums({ weights: facts, K: weights.cols })) {
      const hint = takes && !sparse ? 'Pack with groupSize = cols: one scale a row.' : '';
      refuse(`${place}.output`, `float32 from ${what}`, dtype, hint);
    }
    if (!input) {
      const hint = 'Without the scale and zero point of the input, integer outputs have no meaning.';
      refuse(`${place}.input`, `a quantisation, as the output is ${dtype}`, 'none', hint);
    }
    if (dtype === 'int32' && activation !== 'none' && activation !== 'relu') {
      refuse(`${place}.activation`, 'none or relu, as the output is int32', describe(activation));
    }
    if (typeof output !== 'string') multipliers(weights, input!, output, `${place}.output.scale`);
  }
  if (bias !== undefined) requireBias(weights, bias, integers, place);
  const inputs: DType[] = ['float32'];
  if (input) inputs.push(input.dtype);
  if (weights.format === 'xnor') inputs.push('bits');
  return { inputs, output: dtype as OutputDType<O> };
}

function requireBias(
  weights: Weights,
  bias: NonNullable<MatmulOptions['bias']>,
  integers: boolean,
  place: string,
): void {
  const Type = integers ? Int32Array : Float32Array;
  if (!(bias instanceof Type)) {
    const hint = integers ? 'round(bias / (input scale * weight scale)) of each channel.' : '';
    refuse(`${place}.bias`, `a ${Type.name}`, describe(bias), hint);
  }
  requireLength(bias, weights.rows, `${place}.bias`, { hint: 'One bias an output channel.' });
  const bad = bias.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new ThinferError({
      code: 'bad-weights',
      place: `${place}.bias[${bad}]`,
      expected: 'a finite number',
      got: String(bias[bad]),
    });
  }
  if (integers) requireRoom(weights, bias, `${place}.bias`);
}

/** Throws unless int32 holds every sum with its bias. */
function requireRoom(weights: Weights, bias: ArrayLike<number>, place: string): void {
  const largest = 2 ** 31 - 1;
  let worst = 0;
  for (let r = 0; r < bias.length; r++) worst = Math.max(worst, Math.abs(bias[r]));
  // No code of a weight is over 255.
  if (worst + 255 * 255 * weights.cols <= largest) return;
  const { values } = formatOf(weights).decode({ ...weights, scale: new Float32Array(weights.rows).fill(1) } as Weights);
  for (let r = 0; r < weights.rows; r++) {
    let sum = 0;
    for (let i = r * weights.cols; i < (r + 1) * weights.cols; i++) sum += Math.abs(values[i]);
    if (255 * sum + Math.abs(bias[r]) > largest) {
      refuse(`${place}[${r}]`, `at most ${largest - 255 * sum}: sums are int32`, String(bias[r]));
    }
  }
}
