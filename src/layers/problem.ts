import type { DType } from '../dtype.js';
import { elementCount, ThinferError } from '../errors.js';
import type { Bias, Weights } from '../formats/format.js';
import { hasDefaultZeroPoints } from '../formats/grouped.js';
import { formatOf } from '../formats/index.js';
import {
  type Activation,
  type MatmulProblem,
  outputActivation,
  type Quantization,
  type WeightFacts,
} from '../plan/problem.js';
import { linearWindow, type WindowOptions, windowGeometry } from './geometry.js';

/** What `linear` and `conv2d` layers have in common. */
export interface MatmulOptions<O extends OutputOption = OutputOption> {
  /**
   * [N] (all groups together). f32; int32 for outputs of `int32`, `uint8` and `int8`, in units of the input's scale times
   * the weights' scale of the channel.
   */
  bias?: Bias;
  /** Default `none`. On the real numbers that outputs stand for, whatever their dtype. */
  activation?: Activation;
  /**
   * Static quantisation, for weights of 8-bit arithmetic (int8, int4, int2, ternary, binary, codebooks of int8). The
   * layer takes codes of this dtype as they are, and quantises f32 inputs as ONNX's QuantizeLinear does; padding is the
   * zero point. Default: f32 inputs, quantised by what each sample holds.
   */
  input?: QuantizationOption;
  /** What the outputs are. Default `float32`. */
  output?: O;
  arithmetic?: ArithmeticOption;
}

/**
 * How exactly f32 activations are multiplied. `f16`: kernels may round them to halves (11 bits; numbers over 65504 are
 * out of range), for hardware that multiplies those faster; sums are f32 all the same. Weights are never rounded, so this
 * makes a difference for weights in format f16 only. `f32`: activations are multiplied as they are. Default `f32`.
 */
export type ArithmeticOption = 'f32' | 'f16';

/** A Quantization; zeroPoint is 0 when it is not given. */
export type QuantizationOption = Omit<Quantization, 'zeroPoint'> & { zeroPoint?: number };

/**
 * What a layer gives.
 *
 * - `float32`: activation(sums * scales + bias).
 * - `int32`: the integer sums, sum((a - zeroPoint of the input) * (w - zeroPoint of w)) + bias: ONNX's MatMulInteger
 *   and ConvInteger. Needs `input`; activation `none` or `relu`.
 * - a quantisation: 8-bit codes, ONNX's QLinearMatMul and QLinearConv: saturate(round_half_even(f32(sum + bias) *
 *   multiplier[n]) + zeroPoint), multiplier[n] = f32(f32(input scale * weight scale[n]) / output scale). Needs `input`.
 * - `bits`: xnor weights only. The signs of the f32 output, 1 where it is >= 0, for a next xnor layer.
 */
export type OutputOption = 'float32' | 'int32' | 'bits' | QuantizationOption;

/** The dtype of a layer's outputs. */
export type OutputDType<O extends OutputOption> = O extends DType
  ? O
  : O extends QuantizationOption
    ? O['dtype']
    : never;

export interface Conv2dOptions<O extends OutputOption = OutputOption>
  extends MatmulOptions<O>,
    Omit<WindowOptions, 'ceilMode'> {
  /** Channels of the input image. Default: what one group of the weights holds. */
  channels?: number;
  /** Groups of channels that are convolved apart. Default 1. */
  groups?: number;
  /**
   * `xnor` weights only. What a binary convolution reads outside the image: `zero` adds nothing (the default, what
   * zero-padding a binarised image means), `one` counts as +1.
   */
  binaryPadding?: 'zero' | 'one';
}

/** Multiplications a pass over the weights does. */
function storedWeights(weights: Weights): number {
  switch (weights.format) {
    case 'csr':
    case 'bcsr':
    case 'nm':
      return weights.values.length;
    case 'csrInt8':
      return weights.codes.length;
    case 'csrCodebook':
      return weights.indices.length;
    default:
      return weights.rows * weights.cols;
  }
}

/** Facts about weights for selection. Weights must be validated. */
export function weightFacts(weights: Weights): WeightFacts {
  const facts: WeightFacts = {
    format: weights.format,
    nnz: storedWeights(weights),
    bytes: formatOf(weights).bytes(weights),
  };
  switch (weights.format) {
    case 'int8':
      facts.symmetric = weights.zeroPoint?.every((z) => z === 0) ?? true;
      break;
    case 'int8Grouped':
    case 'int4':
    case 'int2':
      facts.symmetric = hasDefaultZeroPoints(weights);
      facts.groupSize = weights.groupSize;
      break;
    case 'codebook':
      facts.entries = weights.entries;
      facts.centroids = weights.codebook instanceof Int8Array ? 'int8' : 'f32';
      break;
    case 'csrCodebook':
      facts.entries = weights.entries;
      break;
    case 'bcsr':
      facts.block = [weights.blockRows, weights.blockCols];
      break;
    case 'csrInt8':
      facts.block = [1, weights.blockCols];
      break;
  }
  return facts;
}

function quantization({ dtype, scale, zeroPoint = 0 }: QuantizationOption): Quantization {
  return { dtype, scale: Math.fround(scale), zeroPoint };
}

/** What arrives and what is made of it, by options that were checked (see `requireDtypes`). */
function dtypesOf(
  { input, output = 'float32', arithmetic }: MatmulOptions,
  dtype: DType,
): Pick<MatmulProblem, 'input' | 'output' | 'arithmetic'> {
  return {
    ...(arithmetic === 'f16' && { arithmetic }),
    input: input ? { dtype, quantization: quantization(input) } : { dtype },
    output:
      typeof output === 'string' ? { dtype: output } : { dtype: output.dtype, quantization: quantization(output) },
  };
}

/** C[M,N] = act(A[M,K] * W[N,K]^T + bias). */
export function linearProblem(
  facts: WeightFacts,
  shape: { rows: number; cols: number },
  M: number,
  options: MatmulOptions,
  inputDtype: DType = 'float32',
): MatmulProblem {
  elementCount([M, shape.cols], 'linear.input');
  elementCount([M, shape.rows], 'linear.output');
  return {
    op: 'linear',
    M,
    N: shape.rows,
    K: shape.cols,
    groups: 1,
    channels: shape.cols,
    window: linearWindow(M),
    samples: M,
    weights: facts,
    bias: options.bias !== undefined,
    ...outputActivation(options.activation),
    padValue: 0,
    ...dtypesOf(options, inputDtype),
  };
}

/**
 * The convolution of NHWC images [batch, height, width, channels] with weights [rows, cols] in OHWI order.
 * @throws ThinferError `bad-shape` when weights, groups and channels do not fit each other
 */
export function conv2dProblem(
  facts: WeightFacts,
  shape: { rows: number; cols: number },
  image: readonly [batch: number, height: number, width: number],
  options: Conv2dOptions,
  inputDtype: DType = 'float32',
): MatmulProblem {
  const window = windowGeometry(options, image, 'conv2d');
  const groups = options.groups ?? 1;
  const taps = window.kernelHeight * window.kernelWidth;
  const groupChannels = shape.cols / taps;
  const channels = options.channels ?? groupChannels * groups;
  if (!Number.isInteger(groupChannels) || groupChannels * groups !== channels) {
    throw new ThinferError({
      code: 'bad-shape',
      place: 'conv2d.channels',
      expected: `weights of ${taps} taps x ${channels} channels / ${groups} groups = ${(taps * channels) / groups} columns`,
      got: `${shape.cols} columns`,
      hint: 'Weights are OHWI: [outputs, kernelHeight, kernelWidth, channels / groups].',
    });
  }
  if (!Number.isInteger(groups) || groups < 1 || shape.rows % groups !== 0) {
    throw new ThinferError({
      code: 'bad-shape',
      place: 'conv2d.groups',
      expected: `a divisor of the ${shape.rows} output channels`,
      got: String(groups),
    });
  }
  elementCount([...image, channels], 'conv2d.input');
  const M = elementCount([window.batch, window.outHeight, window.outWidth], 'conv2d.output');
  elementCount([M, shape.rows], 'conv2d.output');
  return {
    op: 'conv2d',
    M,
    N: shape.rows / groups,
    K: shape.cols,
    groups,
    channels,
    window,
    samples: window.batch,
    weights: facts,
    bias: options.bias !== undefined,
    ...outputActivation(options.activation),
    padValue: options.binaryPadding === 'one' ? 1 : 0,
    ...dtypesOf(options, inputDtype),
  };
}
