import type { DType, ElementType } from '../dtype.js';
import type { FormatName } from '../formats/format.js';

/**
 * Functions that are applied to each output, with e^x as `exp`:
 *
 * - `sigmoid`: 1 / (1 + exp(-x)); `tanh`
 * - `hardSwish`: x min(max(x / 6 + 1 / 2, 0), 1) (Howard et al. 2019, Searching for MobileNetV3)
 * - `silu`: x sigmoid(x), also called swish
 * - `gelu`: x (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel 2016); `geluTanh`: their approximation of it,
 *   x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
 */
export const NONLINEARITIES = ['sigmoid', 'tanh', 'hardSwish', 'silu', 'gelu', 'geluTanh'] as const;
export type Nonlinearity = (typeof NONLINEARITIES)[number];

/**
 * Every function of one number that is an operator of its own, those that may end a layer first. `elu`: x, or e^x - 1
 * below 0; `softplus`: log(1 + e^x); `round`: half to even. Kernels number them in this order, from 1.
 */
export const UNARY = [
  ...NONLINEARITIES,
  'exp',
  'log',
  'sqrt',
  'reciprocal',
  'abs',
  'erf',
  'elu',
  'softplus',
  'floor',
  'ceil',
  'round',
  'sign',
  'sin',
  'cos',
] as const;
export type UnaryFunction = (typeof UNARY)[number];

/**
 * Every function of two numbers. Truth is 1, falsehood 0, and whatever is not 0 is true.
 *
 * - `mod`: a - b floor(a / b); `rem`: a - b trunc(a / b)
 * - `prelu`: a, or a b where a is below 0
 * - `keep`: a where b is true, else 0; `drop`: a where b is false, else 0
 *
 * Kernels number them in this order, from 0.
 */
export const BINARY = [
  'add',
  'sub',
  'mul',
  'div',
  'min',
  'max',
  'pow',
  'mod',
  'rem',
  'prelu',
  'equal',
  'less',
  'lessOrEqual',
  'and',
  'or',
  'xor',
  'keep',
  'drop',
] as const;
export type BinaryOperator = (typeof BINARY)[number];

/** Applied to each output after scale and bias: a clamp to [min, max], or a nonlinearity. */
export type Activation = 'none' | 'relu' | 'relu6' | { min: number; max: number } | Nonlinearity;

/** What is applied to an output: the nonlinearity, where there is one, then the clamp. */
export interface OutputActivation {
  nonlinearity?: Nonlinearity;
  /** Infinite where it does not bound. */
  clamp: [min: number, max: number];
}

export function outputActivation(activation: Activation = 'none'): OutputActivation {
  if (typeof activation === 'object') return { clamp: [activation.min, activation.max] };
  if (activation === 'relu') return { clamp: [0, Infinity] };
  if (activation === 'relu6') return { clamp: [0, 6] };
  const clamp: [number, number] = [-Infinity, Infinity];
  return activation === 'none' ? { clamp } : { nonlinearity: activation, clamp };
}

/** A window sliding over NHWC images; sizes in pixels, `pad*` in input pixels. */
export interface WindowGeometry {
  batch: number;
  inHeight: number;
  inWidth: number;
  kernelHeight: number;
  kernelWidth: number;
  strideHeight: number;
  strideWidth: number;
  dilationHeight: number;
  dilationWidth: number;
  padTop: number;
  padLeft: number;
  padBottom: number;
  padRight: number;
  outHeight: number;
  outWidth: number;
}

/** 8-bit codes of real numbers: real = scale * (code - zeroPoint), as ONNX's QuantizeLinear and DequantizeLinear. */
export interface Quantization {
  /** Codes 0..255 or -128..127. */
  dtype: 'uint8' | 'int8';
  /** An f32; finite and above 0. */
  scale: number;
  /** In the range of the dtype. */
  zeroPoint: number;
}

/** What A is when it arrives. */
export interface MatmulInput {
  dtype: DType;
  /**
   * Formats of 8-bit arithmetic. What codes that arrive mean, or how f32 values become codes. Absent: f32, quantised at
   * run time by what each sample holds.
   */
  quantization?: Quantization;
}

/**
 * What becomes of C.
 * `float32`: scaled, bias added, clamped.
 * `int32`: the sums of integer products plus the integer bias.
 * `uint8`, `int8`: those, times a factor a channel, rounded to codes: see `requantize` in src/formats/outputs.ts.
 * `bits`: 1 where the f32 output would be >= 0.
 */
export interface MatmulOutput {
  dtype: DType;
  /** `uint8` and `int8` only: what the codes mean. */
  quantization?: Quantization;
}

/** What is known about the weights of a problem without touching them. */
export interface WeightFacts {
  format: FormatName;
  /** Multiplications a full pass over the weights does: stored weights, zeros inside stored blocks as well. */
  nnz: number;
  /** Bytes of the packed weights. */
  bytes: number;
  /** `codebook` and `csrCodebook` only: entries of the codebook, 16 or 256. */
  entries?: number;
  /** `codebook` only: what the codebook holds, and with it the arithmetic. Absent: f32. */
  centroids?: 'f32' | 'int8';
  /** `int8`, `int4` and `int2` only: true when every zero point is the default (0, 8 or 2) and need not be read. */
  symmetric?: boolean;
  /** `int4` and `int2` only: columns that share a scale; a power of two in 16..256, or K. */
  groupSize?: number;
  /** `bcsr` and `csrInt8` only: the shape of an entry. */
  block?: readonly [rows: number, cols: number];
}

/**
 * `linear`: C[M,N] = act(A[M,K] * W[N,K]^T + bias[N]).
 * `conv2d`: the same with A gathered from NHWC images: M = batch * outHeight * outWidth rows of
 * K = kernelHeight * kernelWidth * channels/groups, for each of `groups` groups.
 */
export interface MatmulProblem extends OutputActivation {
  op: 'linear' | 'conv2d';
  M: number;
  /** Output channels of one group. */
  N: number;
  /** Products summed for one output. */
  K: number;
  groups: number;
  /** Input channels of all groups together (linear: K). */
  channels: number;
  /** The window; for linear a 1x1 window over one image of 1 x M pixels, so that one kernel serves both. */
  window: WindowGeometry;
  /** Independently quantised parts of the input: rows of linear, images of conv2d. */
  samples: number;
  weights: WeightFacts;
  bias: boolean;
  /** What a binary convolution reads outside the image: 0 (no contribution) or +1. */
  padValue: 0 | 1;
  /**
   * `f16`: what is multiplied may be rounded to halves where the format's weights are halves, so activations only;
   * products and their sums are f32. Absent: nothing is rounded.
   */
  arithmetic?: 'f16';
  input: MatmulInput;
  output: MatmulOutput;
}

/** Pooling over NHWC images. */
export interface PoolProblem {
  op: 'maxPool2d' | 'averagePool2d';
  channels: number;
  window: WindowGeometry;
  /** averagePool2d: divide by the whole window, or by the pixels inside the image. */
  countIncludePad: boolean;
  /**
   * Codes in and out: the largest code; or the average, (sum of (a - zeroPoint)) * multiplier + zeroPoint rounded, see
   * `averageMultiplier` in src/formats/outputs.ts. Of maxPool2d both are the same. Absent: f32.
   */
  codes?: { input: Quantization; output: Quantization };
}

/** C = A op B, broadcast. Strides are in elements, 0 along a broadcast dimension; `dims` is C's shape. */
export interface BinaryProblem {
  op: BinaryOperator;
  dims: number[];
  aStrides: number[];
  bStrides: number[];
  clamp: [min: number, max: number];
}

/** C = min(max(f(A), clamp[0]), clamp[1]), f the nonlinearity if there is one; NaN stays NaN. */
export interface ActivationProblem {
  op: 'activation';
  size: number;
  nonlinearity?: UnaryFunction;
  clamp: [min: number, max: number];
}

/** Softmax along the last axis of A[rows, cols]. */
export interface SoftmaxProblem {
  op: 'softmax';
  rows: number;
  cols: number;
}

/** Elements that are moved as they are: all that matters is how many bytes they have. */
export interface Moved {
  /** Default `float32`. */
  dtype?: ElementType;
}

/** C = A with dimensions permuted: C's dimension i is A's dimension perm[i]. */
export interface TransposeProblem extends Moved {
  op: 'transpose';
  /** A's shape. */
  dims: number[];
  perm: number[];
}

/**
 * C[to + i . toStrides] = A[from + i . fromStrides] for every index i below `dims`. Strides may be 0 (A is repeated) or
 * negative (A is reversed). C's other elements stay as they are: several copies may fill one output.
 */
export interface CopyProblem extends Moved {
  op: 'copy';
  dims: number[];
  from: number;
  fromStrides: number[];
  to: number;
  toStrides: number[];
}

/** C[o, i, n] = A[o, B[i], n]: A [outer, size, inner], B [count] integers in f32, counted from the end where negative. */
export interface GatherProblem extends Moved {
  op: 'gather';
  outer: number;
  size: number;
  inner: number;
  count: number;
}

/**
 * C[o, i, n] = sum over t < taps of weight[i * taps + t] * A[o, index[i * taps + t], n]. Of other dtypes than f32 the one
 * tap is moved as it is.
 */
export interface ResampleProblem extends Moved {
  op: 'resample';
  outer: number;
  inSize: number;
  outSize: number;
  inner: number;
  taps: number;
  index: number[];
  weight: number[];
}

/** `l2`: the root of the sum of squares; `argMax`, `argMin`: the first index of the largest or smallest. */
export const REDUCTIONS = ['sum', 'mean', 'max', 'min', 'prod', 'sumSquare', 'l2', 'argMax', 'argMin'] as const;
export type Reduction = (typeof REDUCTIONS)[number];

/** C[o, n] = reduction over i of A[o, i, n]; A [outer, size, inner]. */
export interface ReduceProblem {
  op: 'reduce';
  reduction: Reduction;
  outer: number;
  size: number;
  inner: number;
}

/**
 * C[r, c] = (A[r, c] - m) / sqrt(v + epsilon) * B[0, c] + B[1, c]: m and v are the mean and variance of row r, or 0 and
 * the mean of squares where `center` is false. Without `affine` there is no B.
 */
export interface NormalizeProblem {
  op: 'normalize';
  rows: number;
  cols: number;
  epsilon: number;
  center: boolean;
  affine: boolean;
}

/** Where an operand [..., rows, cols] of a product lies: strides in elements, 0 along a broadcast dimension. */
export interface OperandStrides {
  batch: number[];
  row: number;
  col: number;
}

/** C[..., M, N] = A[..., M, K] * B[..., K, N], batched over `batch`, broadcast. */
export interface BatchMatmulProblem {
  op: 'batchMatmul';
  batch: number[];
  M: number;
  N: number;
  K: number;
  a: OperandStrides;
  b: OperandStrides;
}

/** C = quantizeLinear(A): see src/formats/activations.ts. */
export interface QuantizeProblem {
  op: 'quantize';
  size: number;
  output: Quantization;
}

/** C = f32(A - zeroPoint) * scale, of integers. */
export interface DequantizeProblem {
  op: 'dequantize';
  size: number;
  dtype: 'uint8' | 'int8' | 'int32';
  scale: number;
  zeroPoint: number;
}

/** C = table[A]: any function of one code. The table has the code of C for each byte that A may be, 0 .. 255. */
export interface LookupProblem {
  op: 'lookup';
  size: number;
  input: Quantization['dtype'];
  output: Quantization['dtype'];
  /** [256]: that of a negative code c is at c + 256. */
  table: readonly number[];
}

/**
 * Functions of two numbers that are given by codes, whose result becomes a code.
 *
 * - `qAdd`, `qMul`: quantizeLinear(a + b) and (a b), a = f32(scale (A - zeroPoint)) and b alike, each step rounded to f32
 * - `fixedAdd`, `fixedSub`: sums of codes times integers, shifted; `fixedMul`: products of codes times a factor. What
 *   TensorFlow Lite's kernels compute, see src/formats/fixed.ts
 */
export const CODE_BINARY = ['qAdd', 'qMul', 'fixedAdd', 'fixedSub', 'fixedMul'] as const;
export type CodeBinaryOperator = (typeof CODE_BINARY)[number];

/** C = min(max(A op B, clamp[0]), clamp[1]), broadcast, strides as those of BinaryProblem. The clamp is in codes. */
export interface CodeBinaryProblem {
  op: CodeBinaryOperator;
  dims: number[];
  aStrides: number[];
  bStrides: number[];
  a: Quantization;
  b: Quantization;
  output: Quantization;
  clamp: [min: number, max: number];
}

/** One piece of work for a kernel. */
export type Problem =
  | MatmulProblem
  | PoolProblem
  | BinaryProblem
  | ActivationProblem
  | SoftmaxProblem
  | TransposeProblem
  | CopyProblem
  | GatherProblem
  | ResampleProblem
  | ReduceProblem
  | NormalizeProblem
  | BatchMatmulProblem
  | QuantizeProblem
  | DequantizeProblem
  | LookupProblem
  | CodeBinaryProblem;

export function isMatmul(problem: Problem): problem is MatmulProblem {
  return problem.op === 'linear' || problem.op === 'conv2d';
}

/** What the elements of each operand that is no weight, and of C, are. */
export function elementTypes(p: Problem): { inputs: readonly DType[]; output: DType } {
  switch (p.op) {
    case 'linear':
    case 'conv2d':
      return { inputs: [p.input.dtype], output: p.output.dtype };
    case 'maxPool2d':
    case 'averagePool2d':
      return { inputs: [p.codes?.input.dtype ?? 'float32'], output: p.codes?.output.dtype ?? 'float32' };
    case 'transpose':
    case 'copy':
    case 'resample': {
      const { dtype = 'float32' } = p;
      return { inputs: [dtype], output: dtype };
    }
    case 'gather': {
      const { dtype = 'float32' } = p;
      return { inputs: [dtype, 'float32'], output: dtype };
    }
    case 'quantize':
      return { inputs: ['float32'], output: p.output.dtype };
    case 'dequantize':
      return { inputs: [p.dtype], output: 'float32' };
    case 'lookup':
      return { inputs: [p.input], output: p.output };
    case 'qAdd':
    case 'qMul':
    case 'fixedAdd':
    case 'fixedSub':
    case 'fixedMul':
      return { inputs: [p.a.dtype, p.b.dtype], output: p.output.dtype };
    default:
      return { inputs: ['float32', 'float32'], output: 'float32' };
  }
}

/** Taps of the window. */
export function tapsOf({ window }: MatmulProblem): number {
  return window.kernelHeight * window.kernelWidth;
}

/** Elements of the input of an operator with a window. */
export function inputSize({ window: w, channels }: MatmulProblem | PoolProblem): number {
  return w.batch * w.inHeight * w.inWidth * channels;
}

/** Elements of the output: 0 for a batch of none, for which no kernel runs. */
export function outputSize(p: Problem): number {
  switch (p.op) {
    case 'linear':
    case 'conv2d':
      return p.M * p.N * p.groups;
    case 'maxPool2d':
    case 'averagePool2d':
      return p.window.batch * p.window.outHeight * p.window.outWidth * p.channels;
    case 'activation':
    case 'quantize':
    case 'dequantize':
    case 'lookup':
      return p.size;
    case 'softmax':
    case 'normalize':
      return p.rows * p.cols;
    case 'gather':
      return p.outer * p.count * p.inner;
    case 'resample':
      return p.outer * p.outSize * p.inner;
    case 'reduce':
      return p.outer * p.inner;
    case 'batchMatmul':
      return p.batch.reduce((size, dim) => size * dim, p.M * p.N);
    default:
      return p.dims.reduce((size, dim) => size * dim, 1);
  }
}
