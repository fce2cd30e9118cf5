// The operators without weights that are timed: ours, and the same of peers. A new one is one entry here.

import type { WeightlessProblem } from '../src/graph/reference.js';
import { resampleTable } from '../src/graph/resample.js';
import { windowGeometry } from '../src/layers/geometry.js';
import type { BinaryOperator, UnaryFunction } from '../src/plan/problem.js';
import { product, stridesOf } from '../src/plan/strides.js';
import type { AttributeValue } from '../test/support/onnx-writer.js';
import { createRandom } from '../test/support/random.js';
import type { Tf, TfTensor } from './peers/modules.js';
import { uniform } from './recipes.js';

/** An ONNX node from inputs `a` and `b` to `y`. */
export interface OnnxOperator {
  type: string;
  attributes?: Record<string, AttributeValue>;
  /** Names of its inputs; default `a` and, where there are two, `b`. */
  operands?: readonly string[];
  /** Further constants that operands name. */
  ints?: Record<string, readonly number[]>;
  floats?: Record<string, readonly number[]>;
  /** Pixels of the input and output, where they are images: ours have channels last, ONNX's first. */
  pixels?: readonly [input: number, output: number];
}

export interface OperatorCase {
  problem: WeightlessProblem;
  /** What the inputs are to peers. */
  inputs: readonly (readonly number[])[];
  /** The second input holds indices below this. */
  indicesBelow?: number;
  ort?: OnnxOperator;
  tfjs?: (tf: Tf, a: TfTensor, b: TfTensor) => TfTensor;
}

const NO_CLAMP: [number, number] = [-Infinity, Infinity];

function binary(op: BinaryOperator, a: readonly number[], b: readonly number[], type: string): OperatorCase {
  const strides = stridesOf(b).map((stride, d) => (b[d] === 1 ? 0 : stride));
  const bStrides = [...Array(a.length - b.length).fill(0), ...strides];
  return {
    problem: { op, dims: [...a], aStrides: stridesOf(a), bStrides, clamp: NO_CLAMP },
    inputs: [a, b],
    ort: { type },
    tfjs: (tf, x, y) => (op === 'add' ? tf.add(x, y) : op === 'mul' ? tf.mul(x, y) : tf.div(x, y)),
  };
}

function unary(
  nonlinearity: UnaryFunction | undefined,
  dims: readonly number[],
  type: string | undefined,
  tfjs?: (tf: Tf, a: TfTensor) => TfTensor,
): OperatorCase {
  const clamp: [number, number] = nonlinearity ? NO_CLAMP : [0, Infinity];
  return {
    problem: { op: 'activation', size: product(dims), nonlinearity, clamp },
    inputs: [dims],
    ort: type ? { type } : undefined,
    tfjs,
  };
}

function pool(op: 'maxPool2d' | 'averagePool2d', size: number, channels: number, kernel: number, stride: number) {
  const padding = kernel === size ? 'valid' : 'same';
  const window = windowGeometry({ kernel, stride, padding }, [1, size, size], 'bench');
  const pads = [window.padTop, window.padLeft, window.padBottom, window.padRight];
  const attributes = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads };
  return {
    problem: { op, channels, window, countIncludePad: false },
    inputs: [[1, size, size, channels]],
    ort: {
      type: op === 'maxPool2d' ? 'MaxPool' : 'AveragePool',
      attributes,
      pixels: [size * size, window.outHeight * window.outWidth],
    },
    tfjs: (tf, x) =>
      op === 'maxPool2d' ? tf.maxPool(x, kernel, stride, padding) : tf.avgPool(x, kernel, stride, padding),
  } satisfies OperatorCase;
}

function transpose(dims: number[], perm: number[]): OperatorCase {
  return {
    problem: { op: 'transpose', dims, perm },
    inputs: [dims],
    ort: { type: 'Transpose', attributes: { perm } },
    tfjs: (tf, x) => tf.transpose(x, perm),
  };
}

/** Attention: A [heads, M, K] times B [heads, K, N], or B [heads, N, K] transposed. */
function heads(count: number, M: number, K: number, N: number, transposed: boolean): OperatorCase {
  const b = transposed ? { row: 1, col: K } : { row: N, col: 1 };
  return {
    problem: {
      op: 'batchMatmul',
      batch: [count],
      ...{ M, N, K },
      a: { batch: [M * K], row: K, col: 1 },
      b: { batch: [K * N], ...b },
    },
    inputs: [[count, M, K], transposed ? [count, N, K] : [count, K, N]],
    ort: transposed ? undefined : { type: 'MatMul' },
    tfjs: (tf, x, y) => tf.matMul(x, y, false, transposed),
  };
}

function reduce(reduction: 'mean' | 'max', dims: readonly [number, number, number], type: string): OperatorCase {
  const [outer, size, inner] = dims;
  return {
    problem: { op: 'reduce', reduction, outer, size, inner },
    inputs: [dims],
    ort: { type, attributes: { axes: [1], keepdims: 0 } },
    tfjs: (tf, x) => (reduction === 'mean' ? tf.mean(x, 1) : tf.max(x, 1)),
  };
}

function normalize(rows: number, cols: number): OperatorCase {
  return {
    problem: { op: 'normalize', rows, cols, epsilon: 1e-5, center: true, affine: true },
    inputs: [
      [rows, cols],
      [2, cols],
    ],
    // Scale and shift are the rows of b.
    ort: { type: 'LayerNormalization', operands: ['a', 'b0', 'b1'], attributes: { axis: -1 } },
  };
}

/** Twice as many lines, by linear interpolation. */
function upsample(size: number, channels: number): OperatorCase {
  const node = { mode: 'linear', coordinates: 'half_pixel', size: 2 * size } as Parameters<typeof resampleTable>[0];
  return {
    problem: {
      op: 'resample',
      ...{ outer: 1, inSize: size, outSize: 2 * size, inner: size * channels },
      ...resampleTable(node, size, 2 * size),
    },
    inputs: [[1, size, size, channels]],
    ort: {
      type: 'Resize',
      operands: ['a', '', 'scales'],
      floats: { scales: [1, 1, 2, 1] },
      attributes: { mode: 'linear', coordinate_transformation_mode: 'half_pixel' },
      pixels: [size * size, 2 * size * size],
    },
    tfjs: (tf, x) => tf.image.resizeBilinear(x, [2 * size, size], false, true),
  };
}

/** The image without its border of one pixel. */
function crop(size: number, channels: number): OperatorCase {
  const inner = size - 2;
  return {
    problem: {
      op: 'copy',
      dims: [inner, inner * channels],
      from: (size + 1) * channels,
      fromStrides: [size * channels, 1],
      to: 0,
      toStrides: [inner * channels, 1],
    },
    inputs: [[size, size, channels]],
    ort: { type: 'Slice', operands: ['a', 'from', 'to'], ints: { from: [1, 1], to: [size - 1, size - 1] } },
    tfjs: (tf, x) => tf.slice(x, [1, 1, 0], [inner, inner, channels]),
  };
}

function gather(size: number, inner: number, count: number): OperatorCase {
  return {
    problem: { op: 'gather', outer: 1, size, inner, count },
    inputs: [[size, inner], [count]],
    indicesBelow: size,
    ort: { type: 'Gather', attributes: { axis: 0 } },
    tfjs: (tf, x, indices) => tf.gather(x, indices),
  };
}

function softmax(rows: number, cols: number): OperatorCase {
  return {
    problem: { op: 'softmax', rows, cols },
    inputs: [[rows, cols]],
    ort: { type: 'Softmax', attributes: { axis: -1 } },
    tfjs: (tf, x) => tf.softmax(x),
  };
}

/** By name: sizes of MobileNet, ResNet-50 and BERT-base. */
export const OPERATORS: Record<string, OperatorCase> = {
  'softmax 1536x128': softmax(1536, 128),
  'softmax 1x1000': softmax(1, 1000),
  'normalize 128x768': normalize(128, 768),
  'maxPool 3x3s2 112x112x64': pool('maxPool2d', 112, 64, 3, 2),
  'averagePool 3x3 28x28x192': pool('averagePool2d', 28, 192, 3, 1),
  'averagePool 7x7x2048': pool('averagePool2d', 7, 2048, 7, 1),
  'relu 56x56x256': unary(undefined, [56, 56, 256], 'Relu', (tf, x) => tf.relu(x)),
  'sigmoid 128x3072': unary('sigmoid', [128, 3072], 'Sigmoid', (tf, x) => tf.sigmoid(x)),
  'tanh 128x3072': unary('tanh', [128, 3072], 'Tanh', (tf, x) => tf.tanh(x)),
  'exp 128x3072': unary('exp', [128, 3072], 'Exp', (tf, x) => tf.exp(x)),
  'erf 128x3072': unary('erf', [128, 3072], 'Erf', (tf, x) => tf.erf(x)),
  'hardSwish 56x56x64': unary('hardSwish', [56, 56, 64], 'HardSwish'),
  'sqrt 128x3072': unary('sqrt', [128, 3072], 'Sqrt', (tf, x) => tf.sqrt(x)),
  'add 56x56x256': binary('add', [56, 56, 256], [56, 56, 256], 'Add'),
  'add 128x768 row': binary('add', [128, 768], [768], 'Add'),
  'mul 56x56x64 channels': binary('mul', [56, 56, 64], [64], 'Mul'),
  'mul 12x128x128 scalar': binary('mul', [12, 128, 128], [1], 'Mul'),
  'div 128x768 column': binary('div', [128, 768], [128, 1], 'Div'),
  'transpose 128x12x64 heads': transpose([128, 12, 64], [1, 0, 2]),
  'transpose 12x128x64 rows': transpose([12, 128, 64], [0, 2, 1]),
  'transpose 56x56x64 image': transpose([3136, 64], [1, 0]),
  'copy 56x56x64 crop': crop(56, 64),
  'gather 4096x768 at 128': gather(4096, 768, 128),
  'resample 28x28x128 x2': upsample(28, 128),
  'reduce mean 128x768': reduce('mean', [128, 768, 1], 'ReduceMean'),
  'reduce max 128x768': reduce('max', [128, 768, 1], 'ReduceMax'),
  'reduce mean 3136x64 columns': reduce('mean', [1, 3136, 64], 'ReduceMean'),
  'batchMatmul 12x128x64x128': heads(12, 128, 64, 128, false),
  'batchMatmul 12x128x64x128 transposed': heads(12, 128, 64, 128, true),
  'batchMatmul 12x128x128x64': heads(12, 128, 128, 64, false),
};

/** The inputs of a case: uniform in [-1, 1), but divisors and indices. */
export function operatorInputs({ problem, inputs, indicesBelow }: OperatorCase): Float32Array[] {
  const positive = problem.op === 'div' || (problem.op === 'activation' && problem.nonlinearity === 'sqrt');
  return inputs.map((dims, i) => {
    const values = uniform(product(dims), i + 1);
    if (positive) return values.map((value) => Math.abs(value) + 0.25);
    if (i === 0 || !indicesBelow) return values;
    const random = createRandom(3);
    return values.map(() => random.integer(0, indicesBelow - 1));
  });
}
