import {
  type Clamp,
  type Constant,
  NO_CLAMP,
  type Node,
  type ReshapeDim,
  transposeConstant,
  type ValueId,
} from '../graph/ir.js';
import type { Shape } from '../graph/shapes.js';
import type { WindowOptions } from '../layers/geometry.js';
import type { Attributes } from './attributes.js';
import type { SparseTensorProto, TensorProto } from './generated/onnx_pb.js';
import { type OnnxTensor, Unsupported } from './tensor.js';

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
/** An IR node without what the importer fills in. */
export type NewNode = DistributiveOmit<Node, 'name' | 'output' | 'inputs'> & { inputs: readonly ValueId[] };

/** One ONNX node while it is imported. */
export interface NodeContext {
  readonly opset: number;
  readonly attributes: Attributes;
  /** Inputs that the node has, empty ones at the end not counted. */
  readonly inputCount: number;
  has(input: number): boolean;
  /** An input as a value of the graph, constant or not. */
  value(input: number): ValueId;
  /** An input that must be an f32 constant of one of these ranks. */
  constant(input: number, what: string, ranks?: readonly number[]): Constant;
  isConstant(input: number): boolean;
  /** An input that must be constant integers. */
  integers(input: number, what: string): number[];
  shape(value: ValueId): Shape;
  emit(node: NewNode): ValueId;
  /** A constant of the model's own making. */
  addConstant(constant: Constant): ValueId;
  readTensor(tensor: TensorProto): OnnxTensor;
  readSparse(tensor: SparseTensorProto): OnnxTensor;
  /** Counts elements that are about to be allocated. */
  claim(count: number): void;
  /** Says that the file contradicts itself or ONNX. */
  bad(what: string, expected: string, got: string): never;
}

/** One ONNX operator: what it may have, and the IR that takes its place. */
export interface Operator {
  attributes: readonly string[];
  inputs: readonly [min: number, max: number];
  /** Returns what its first output is. */
  read(c: NodeContext): ValueId | OnnxTensor;
}

const MAX_SIZE = 1 << 16;
const WINDOW_ATTRIBUTES = ['auto_pad', 'dilations', 'kernel_shape', 'pads', 'strides'];

/** The attributes that convolution and pooling share. `kernel` is what the weights say. */
function readWindow({ attributes, bad }: NodeContext, kernel?: readonly [number, number]): WindowOptions {
  const shape = attributes.ints('kernel_shape', undefined, 1, MAX_SIZE) ?? kernel;
  if (!shape) return bad('kernel_shape', 'two integers', 'none');
  if (shape.length !== 2) throw new Unsupported(`a window of ${shape.length} dimensions (only 2)`);
  if (kernel && (shape[0] !== kernel[0] || shape[1] !== kernel[1])) {
    bad('kernel_shape', `the weights' ${kernel.join(' x ')}`, shape.join(' x '));
  }
  const pads = attributes.ints('pads', 4, 0, MAX_SIZE) ?? [0, 0, 0, 0];
  const modes: Record<string, WindowOptions['padding']> = {
    NOTSET: [pads[0], pads[1], pads[2], pads[3]],
    VALID: 'valid',
    SAME_UPPER: 'same',
    SAME_LOWER: 'sameLower',
  };
  const mode = attributes.string('auto_pad', 'NOTSET');
  if (!Object.hasOwn(modes, mode)) bad('auto_pad', Object.keys(modes).join(', '), JSON.stringify(mode));
  const [strideHeight, strideWidth] = attributes.ints('strides', 2, 1, MAX_SIZE) ?? [1, 1];
  const [dilationHeight, dilationWidth] = attributes.ints('dilations', 2, 1, MAX_SIZE) ?? [1, 1];
  return {
    kernel: [shape[0], shape[1]],
    stride: [strideHeight, strideWidth],
    dilation: [dilationHeight, dilationWidth],
    padding: modes[mode],
  };
}

function readConv(c: NodeContext): ValueId {
  const weights = c.constant(1, 'weights');
  if (weights.dims.length !== 4)
    throw new Unsupported(`weights of ${weights.dims.length} dimensions (only 2-D convolutions)`);
  const [outputs, groupChannels, kernelHeight, kernelWidth] = weights.dims;
  if (weights.data.length === 0) c.bad('weights', 'at least one element', `[${weights.dims.join(', ')}]`);
  const groups = c.attributes.int('group', 1, 1, MAX_SIZE);
  if (outputs % groups !== 0) c.bad('group', `a divisor of the ${outputs} outputs`, String(groups));
  const bias = c.has(2) ? c.constant(2, 'bias', [1]).data : undefined;
  if (bias && bias.length !== outputs) c.bad('bias', `${outputs} elements`, String(bias.length));
  const window = readWindow(c, [kernelHeight, kernelWidth]);
  c.claim(weights.data.length);
  return c.emit({
    op: 'conv2d',
    inputs: [c.value(0)],
    layout: 'NCHW',
    window,
    groups,
    weights: {
      format: 'dense',
      rows: outputs,
      cols: kernelHeight * kernelWidth * groupChannels,
      values: transposeConstant(weights, [0, 2, 3, 1]).data,
    },
    bias,
    clamp: NO_CLAMP,
  });
}

/** Multiplication by constant weights: stored [K, N] in ONNX unless `transposed`, [N, K] here. */
function linear(c: NodeContext, input: ValueId, transposed: boolean, alpha: number, bias?: Float32Array): ValueId {
  const given = c.constant(1, 'the right operand');
  if (given.dims.length !== 2) throw new Unsupported(`a right operand of ${given.dims.length} dimensions (only 2)`);
  if (given.data.length === 0) c.bad('weights', 'at least one element', `[${given.dims.join(', ')}]`);
  c.claim(given.data.length);
  const { dims, data } = transposed ? given : transposeConstant(given, [1, 0]);
  const values = alpha === 1 ? data : data.map((w) => w * alpha);
  const weights = { format: 'dense' as const, rows: dims[0], cols: dims[1], values };
  return c.emit({ op: 'linear', inputs: [input], weights, bias, clamp: NO_CLAMP });
}

function readGemm(c: NodeContext): ValueId {
  const alpha = c.attributes.float('alpha', 1);
  const beta = c.attributes.float('beta', 1);
  const transposeA = c.attributes.int('transA', 0) !== 0;
  const transposeB = c.attributes.int('transB', 0) !== 0;
  const a = c.value(0);
  if (c.shape(a).length !== 2) c.bad('A', 'two dimensions', String(c.shape(a).length));
  const input = transposeA ? c.emit({ op: 'transpose', inputs: [a], perm: [1, 0] }) : a;
  const product = linear(c, input, transposeB, alpha);
  if (!c.has(2) || beta === 0) return product;
  // Where C is constant, the bias pass folds this addition into the layer.
  const { dims, data } = c.isConstant(2) ? c.constant(2, 'C', [0, 1, 2]) : { dims: [], data: undefined };
  let added = c.value(2);
  if (beta !== 1 && data) {
    c.claim(data.length);
    added = c.addConstant({ dims, data: data.map((x) => x * beta) });
  } else if (beta !== 1) {
    const factor = c.addConstant({ dims: [], data: new Float32Array([beta]) });
    added = c.emit({ op: 'mul', inputs: [added, factor], clamp: NO_CLAMP });
  }
  return c.emit({ op: 'add', inputs: [product, added], clamp: NO_CLAMP });
}

function readClip(c: NodeContext): ValueId {
  const limit = (input: number, name: string, fallback: number): number => {
    if (c.opset < 11) return c.attributes.float(name, fallback);
    if (!c.has(input)) return fallback;
    const { data } = c.constant(input, name);
    if (data.length !== 1 || Number.isNaN(data[0])) c.bad(name, 'one number', `${data.length} elements`);
    return data[0];
  };
  const max = limit(2, 'max', Number.POSITIVE_INFINITY);
  const min = Math.min(limit(1, 'min', Number.NEGATIVE_INFINITY), max);
  return emitClamp(c, [min, max]);
}

function emitClamp(c: NodeContext, clamp: Clamp): ValueId {
  return c.emit({ op: 'clamp', inputs: [c.value(0)], clamp });
}

function binary(op: 'add' | 'sub' | 'mul' | 'div'): Operator {
  return {
    attributes: [],
    inputs: [2, 2],
    read: (c) => c.emit({ op, inputs: [c.value(0), c.value(1)], clamp: NO_CLAMP }),
  };
}

function pool(op: 'maxPool2d' | 'averagePool2d', attributes: readonly string[]): Operator {
  return {
    attributes: [...WINDOW_ATTRIBUTES, 'ceil_mode', ...attributes],
    inputs: [1, 1],
    read(c) {
      const window = { ...readWindow(c), ceilMode: c.attributes.int('ceil_mode', 0, 0, 1) === 1 };
      const countIncludePad = c.attributes.int('count_include_pad', 0, 0, 1) === 1;
      return c.emit({ op, inputs: [c.value(0)], layout: 'NCHW', window, countIncludePad });
    },
  };
}

function globalPool(op: 'maxPool2d' | 'averagePool2d'): Operator {
  return {
    attributes: [],
    inputs: [1, 1],
    read(c) {
      const input = c.value(0);
      const rank = c.shape(input).length;
      if (rank !== 4) throw new Unsupported(`an input of ${rank} dimensions (only images)`);
      return c.emit({ op, inputs: [input], layout: 'NCHW', window: 'global', countIncludePad: false });
    },
  };
}

/** An axis attribute counted from the front. */
function axisOf(c: NodeContext, fallback: number, rank: number, last = rank - 1): number {
  const axis = c.attributes.int('axis', fallback, -rank, last);
  return axis < 0 ? axis + rank : axis;
}

function readSoftmax(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  if (rank === 0) c.bad('input', 'at least one dimension', 'none');
  // Before opset 13, all dimensions from the axis on are normalised together.
  if (c.opset < 13) return c.emit({ op: 'softmax', inputs: [input], tail: rank - axisOf(c, 1, rank) });
  const axis = axisOf(c, -1, rank);
  if (axis === rank - 1) return c.emit({ op: 'softmax', inputs: [input], tail: 1 });
  const perm = Array.from({ length: rank }, (_, i) => i);
  perm[axis] = rank - 1;
  perm[rank - 1] = axis;
  const swapped = c.emit({ op: 'transpose', inputs: [input], perm });
  const normalised = c.emit({ op: 'softmax', inputs: [swapped], tail: 1 });
  return c.emit({ op: 'transpose', inputs: [normalised], perm });
}

function readFlatten(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const axis = axisOf(c, 1, rank, rank);
  const axes = Array.from({ length: rank }, (_, i) => i);
  const part = (of: number[]): ReshapeDim => (of.length > 0 ? { axes: of } : 1);
  return c.emit({ op: 'reshape', inputs: [input], target: [part(axes.slice(0, axis)), part(axes.slice(axis))] });
}

function readReshape(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const zeroIsZero = c.attributes.int('allowzero', 0, 0, 1) === 1;
  const sizes = c.integers(1, 'shape');
  if (sizes.length > 8) c.bad('shape', 'at most 8 dimensions', String(sizes.length));
  const target = sizes.map((size, axis): ReshapeDim => {
    if (size === -1 && sizes.indexOf(-1) === axis) return 'infer';
    if (size < 0 || size > 2 ** 30) c.bad(`shape[${axis}]`, 'a size, 0 or one -1', String(size));
    if (size !== 0 || zeroIsZero) return size;
    if (axis >= rank) c.bad(`shape[${axis}]`, `a 0 only for the ${rank} dimensions of the input`, '0');
    return { axes: [axis] };
  });
  return c.emit({ op: 'reshape', inputs: [input], target });
}

function readTranspose(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const perm = c.attributes.ints('perm', rank, 0, rank - 1) ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (new Set(perm).size !== rank) c.bad('perm', `a permutation of ${rank} axes`, `[${perm.join(', ')}]`);
  return c.emit({ op: 'transpose', inputs: [input], perm });
}

function readBatchNorm(c: NodeContext): ValueId {
  if (c.attributes.int('training_mode', 0) !== 0) throw new Unsupported('training_mode 1');
  if (c.attributes.int('spatial', 1) !== 1) throw new Unsupported('spatial 0');
  const epsilon = c.attributes.float('epsilon', 1e-5);
  const [gamma, beta, mean, variance] = ['scale', 'B', 'mean', 'var'].map(
    (name, i) => c.constant(i + 1, name, [1]).data,
  );
  const channels = gamma.length;
  for (const [name, data] of Object.entries({ beta, mean, variance })) {
    if (data.length !== channels) c.bad(name, `${channels} elements like scale`, String(data.length));
  }
  const factor = Array.from(gamma, (g, i) => g / Math.sqrt(variance[i] + epsilon));
  const scale = Float32Array.from(factor);
  const shift = Float32Array.from(factor, (f, i) => beta[i] - mean[i] * f);
  const wrong = scale.findIndex((x, i) => !Number.isFinite(x) || !Number.isFinite(shift[i]));
  if (wrong >= 0) c.bad(`channel ${wrong}`, 'a finite scale and shift', `${scale[wrong]} and ${shift[wrong]}`);
  return c.emit({ op: 'batchNorm', inputs: [c.value(0)], scale, shift });
}

function readConstant(c: NodeContext): ValueId | OnnxTensor {
  const { attributes } = c;
  if (attributes.names.length !== 1) c.bad('attributes', 'one value', attributes.names.join(', ') || 'none');
  const tensor = attributes.raw('value', 'TENSOR')?.t;
  if (tensor) return c.readTensor(tensor);
  const sparse = attributes.raw('sparse_value', 'SPARSE_TENSOR')?.sparseTensor;
  if (sparse) return c.readSparse(sparse);
  const float = attributes.raw('value_float', 'FLOAT');
  if (float) return { kind: 'floats', dims: [], data: new Float32Array([float.f]) };
  const floats = attributes.raw('value_floats', 'FLOATS')?.floats;
  if (floats) return { kind: 'floats', dims: [floats.length], data: Float32Array.from(floats) };
  if (attributes.has('value_int')) return { kind: 'integers', dims: [], data: [attributes.int('value_int', 0)] };
  const ints = attributes.ints('value_ints', undefined, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (ints) return { kind: 'integers', dims: [ints.length], data: ints };
  return c.bad('attributes', 'a value', attributes.names.join(', '));
}

function readDropout(c: NodeContext): ValueId {
  if (c.has(2) && c.integers(2, 'training_mode').some((flag) => flag !== 0))
    throw new Unsupported('training_mode true');
  return c.value(0);
}

const INFINITY = Number.POSITIVE_INFINITY;

/** Every operator of the default domain that can be imported. docs/graph.md has the list with its limits. */
export const OPERATORS: Readonly<Record<string, Operator>> = {
  Add: binary('add'),
  AveragePool: pool('averagePool2d', ['count_include_pad']),
  BatchNormalization: {
    attributes: ['epsilon', 'momentum', 'spatial', 'training_mode'],
    inputs: [5, 5],
    read: readBatchNorm,
  },
  Clip: { attributes: ['min', 'max'], inputs: [1, 3], read: readClip },
  Constant: {
    attributes: ['sparse_value', 'value', 'value_float', 'value_floats', 'value_int', 'value_ints'],
    inputs: [0, 0],
    read: readConstant,
  },
  Conv: { attributes: [...WINDOW_ATTRIBUTES, 'group'], inputs: [2, 3], read: readConv },
  Div: binary('div'),
  Dropout: { attributes: ['ratio', 'seed'], inputs: [1, 3], read: readDropout },
  Flatten: { attributes: ['axis'], inputs: [1, 1], read: readFlatten },
  Gemm: { attributes: ['alpha', 'beta', 'transA', 'transB'], inputs: [2, 3], read: readGemm },
  GlobalAveragePool: globalPool('averagePool2d'),
  GlobalMaxPool: globalPool('maxPool2d'),
  Identity: { attributes: [], inputs: [1, 1], read: (c) => c.value(0) },
  MatMul: { attributes: [], inputs: [2, 2], read: (c) => linear(c, c.value(0), false, 1) },
  MaxPool: pool('maxPool2d', ['storage_order']),
  Mul: binary('mul'),
  Relu: { attributes: [], inputs: [1, 1], read: (c) => emitClamp(c, [0, INFINITY]) },
  Reshape: { attributes: ['allowzero'], inputs: [2, 2], read: readReshape },
  Softmax: { attributes: ['axis'], inputs: [1, 1], read: readSoftmax },
  Sub: binary('sub'),
  Transpose: { attributes: ['perm'], inputs: [1, 1], read: readTranspose },
};
