import type { Bias, Weights } from '../../formats/format.js';
import { SMALLEST_SCALE } from '../../formats/scales.js';
import { type Constant, type Conv2dNode, NO_CLAMP, transposeConstant, type ValueId } from '../../graph/ir.js';
import {
  arrangedSize,
  arrangeInt8,
  arrangeKernel,
  type TransposedAxis,
  type TransposedKernel,
  transposedConv,
} from '../../graph/transposed-conv.js';
import type { WindowOptions } from '../../layers/geometry.js';
import { product } from '../../plan/strides.js';
import { packMatrix, type QuantizedTensor, transposed } from '../quantized.js';
import { Unsupported } from '../tensor.js';
import { axisOf, type NodeContext, type Operator, range, sizeOf, squeeze, unsqueeze } from './context.js';
import { binary } from './elementwise.js';

const MAX_SIZE = 1 << 16;
export const WINDOW_ATTRIBUTES = ['auto_pad', 'dilations', 'kernel_shape', 'pads', 'strides'];

/** Pairs of height and width; `rank` is how many dimensions the model's window has. */
interface Window {
  rank: 1 | 2;
  kernel: [number, number];
  stride: [number, number];
  dilation: [number, number];
  padding: WindowOptions['padding'];
}

/** The attributes that convolution and pooling share. `kernel` is what the weights say. */
export function readWindow({ attributes, bad }: NodeContext, kernel?: readonly number[]): Window {
  const shape = attributes.ints('kernel_shape', undefined, 1, MAX_SIZE) ?? kernel;
  if (!shape) return bad('kernel_shape', 'one or two integers', 'none');
  const rank = shape.length;
  if (rank !== 1 && rank !== 2) throw new Unsupported(`a window of ${rank} dimensions (only 1 and 2)`);
  if (kernel && (rank !== kernel.length || shape.some((size, i) => size !== kernel[i]))) {
    bad('kernel_shape', `the weights' ${kernel.join(' x ')}`, shape.join(' x '));
  }
  // One dimension is the width of an image of height 1.
  const pair = (values: readonly number[] | undefined): [number, number] =>
    values ? [rank === 2 ? values[0] : 1, values[rank - 1]] : [1, 1];
  const given = attributes.ints('pads', 2 * rank, 0, MAX_SIZE) ?? [0, 0, 0, 0];
  const pads = rank === 2 ? given : [0, given[0], 0, given[1]];
  const modes: Record<string, WindowOptions['padding']> = {
    NOTSET: [pads[0], pads[1], pads[2], pads[3]],
    VALID: 'valid',
    SAME_UPPER: 'same',
    SAME_LOWER: 'sameLower',
  };
  const mode = attributes.string('auto_pad', 'NOTSET');
  if (!Object.hasOwn(modes, mode)) bad('auto_pad', Object.keys(modes).join(', '), JSON.stringify(mode));
  return {
    rank,
    kernel: pair(shape),
    stride: pair(attributes.ints('strides', rank, 1, MAX_SIZE)),
    dilation: pair(attributes.ints('dilations', rank, 1, MAX_SIZE)),
    padding: modes[mode],
  };
}

/** The node that `emit` makes of an image; a signal of one dimension is an image of height 1. */
export function overImage(
  c: NodeContext,
  rank: number,
  emit: (image: ValueId) => ValueId,
  input = c.value(0),
): ValueId {
  if (rank === 2) return emit(input);
  if (c.shape(input).length !== 3) c.bad('input', '3 dimensions', String(c.shape(input).length));
  return squeeze(c, emit(unsqueeze(c, input, [2])), [2]);
}

/** Refuses weights [outputs, groupChannels, kernel...] of more than two dimensions. */
export function requireKernel(c: NodeContext, dims: readonly number[]): void {
  if (dims.length !== 3 && dims.length !== 4)
    throw new Unsupported(`weights of ${dims.length} dimensions (only 1-D and 2-D convolutions)`);
  if (dims.includes(0)) c.bad('weights', 'at least one element', `[${dims.join(', ')}]`);
}

/** Weights [outputs, groupChannels, kernel...] of one or two dimensions, as those of an image. */
function readKernel(c: NodeContext): { weights: Constant; kernel: number[] } {
  const { dims, data } = c.constant(1, 'weights');
  requireKernel(c, dims);
  c.claim(data.length);
  const [rows, channels, ...kernel] = dims;
  return { weights: { dims: kernel.length === 2 ? dims : [rows, channels, 1, kernel[0]], data }, kernel };
}

function readBias(c: NodeContext, outputs: number): Float32Array | undefined {
  const bias = c.has(2) ? c.constant(2, 'bias', [1]).data : undefined;
  if (bias && bias.length !== outputs) c.bad('bias', `${outputs} elements`, String(bias.length));
  return bias;
}

/** Codes of a convolution's weights, packed, where a format has scales that lie like theirs. */
export function packKernel(c: NodeContext, quantized: QuantizedTensor): Weights | undefined {
  const { dims, data } = quantized.codes;
  requireKernel(c, dims);
  c.claim(data.length);
  return packMatrix(transposed(quantized, [0, ...range(dims.length).slice(2), 1]));
}

/** What layers that work on codes have besides. */
export interface Extras
  extends Partial<Pick<Conv2dNode, 'inputCodes' | 'result' | 'sparse' | 'clamp' | 'binaryPadding'>> {
  bias?: Bias;
}

/** A convolution of the node's attributes by weights whose shape in ONNX was `dims`. */
export function convolve(
  c: NodeContext,
  dims: readonly number[],
  weights: Weights,
  extras: Extras,
  input?: ValueId,
): ValueId {
  const [outputs, , ...kernel] = dims;
  const groups = c.attributes.int('group', 1, 1, MAX_SIZE);
  if (outputs % groups !== 0) c.bad('group', `a divisor of the ${outputs} outputs`, String(groups));
  const { rank, ...window } = readWindow(c, kernel);
  const node = {
    op: 'conv2d',
    layout: 'NCHW',
    window,
    groups,
    weights,
    ...extras,
    clamp: extras.clamp ?? NO_CLAMP,
  } as const;
  return overImage(c, rank, (image) => c.emit({ ...node, inputs: [image] }), input);
}

function readConv(c: NodeContext): ValueId {
  const quantized = c.quantized(1);
  const dims = c.shape(c.value(1)) as number[];
  const weights = c.weightsOf(1, 2, 'Conv', () => (quantized && packKernel(c, quantized)) ?? denseKernel(c));
  const sparse = weights.format === 'dense' && c.isSparse(1);
  return convolve(c, dims, weights, { bias: readBias(c, weights.rows), ...(sparse && { sparse }) });
}

function denseKernel(c: NodeContext): Weights {
  const { weights } = readKernel(c);
  const [rows, groupChannels, kernelHeight, kernelWidth] = weights.dims;
  const values = transposeConstant(weights, [0, 2, 3, 1]).data;
  return { format: 'dense', rows, cols: kernelHeight * kernelWidth * groupChannels, values };
}

/** Multiplication by constant weights: stored [K, N] in ONNX unless `transposed`, [N, K] here. */
function linear(c: NodeContext, input: ValueId, transposed: boolean, alpha: number): ValueId {
  const quantized = alpha === 1 ? c.quantized(1) : undefined;
  const weights = c.weightsOf(
    1,
    2,
    `right ${transposed} ${alpha}`,
    () => (quantized && packRight(c, quantized, transposed)) ?? denseRight(c, transposed, alpha),
  );
  const sparse = weights.format === 'dense' && c.isSparse(1);
  return c.emit({ op: 'linear', inputs: [input], weights, clamp: NO_CLAMP, ...(sparse && { sparse }) });
}

function denseRight(c: NodeContext, transposed: boolean, alpha: number): Weights {
  const given = c.constant(1, 'the right operand');
  if (given.dims.length !== 2) throw new Unsupported(`a right operand of ${given.dims.length} dimensions (only 2)`);
  if (given.data.length === 0) c.bad('weights', 'at least one element', `[${given.dims.join(', ')}]`);
  c.claim(given.data.length);
  const { dims, data } = transposed ? given : transposeConstant(given, [1, 0]);
  const values = alpha === 1 ? data : data.map((w) => w * alpha);
  return { format: 'dense', rows: dims[0], cols: dims[1], values };
}

/** Codes of a right operand [K, N], or transposed, packed, where a format has scales that lie like theirs. */
export function packRight(c: NodeContext, quantized: QuantizedTensor, isTransposed: boolean): Weights | undefined {
  const { dims, data } = quantized.codes;
  if (dims.length !== 2) return undefined;
  c.claim(data.length);
  return packMatrix(isTransposed ? quantized : transposed(quantized, [1, 0]));
}

/** The same by an operand that only a run has. */
function productOf(c: NodeContext, input: ValueId, transposed: boolean, alpha: number): ValueId {
  const perms = [undefined, transposed ? [1, 0] : undefined] as const;
  const product = c.emit({ op: 'batchMatmul', inputs: [input, c.value(1)], perms });
  return alpha === 1 ? product : binary(c, 'mul', product, { number: alpha });
}

/** Vectors are matrices of one row (on the left) or column (on the right), which the product then lacks. */
function readMatMul(c: NodeContext): ValueId {
  const [a, b] = [c.value(0), c.value(1)];
  const [aRank, bRank] = [c.shape(a).length, c.shape(b).length];
  if (aRank === 0 || bRank === 0) c.bad('operands', 'at least one dimension', 'none');
  if (c.isConstant(1) && bRank === 2) return linear(c, a, false, 1);
  const left = aRank === 1 ? unsqueeze(c, a, [0]) : a;
  const right = bRank === 1 ? unsqueeze(c, b, [1]) : b;
  const product = c.emit({ op: 'batchMatmul', inputs: [left, right], perms: [undefined, undefined] });
  const rank = c.shape(product).length;
  const extra = [...(aRank === 1 ? [rank - 2] : []), ...(bRank === 1 ? [rank - 1] : [])];
  return extra.length > 0 ? squeeze(c, product, extra) : product;
}

function readGemm(c: NodeContext): ValueId {
  const alpha = c.attributes.float('alpha', 1);
  const beta = c.attributes.float('beta', 1);
  const transposeA = c.attributes.int('transA', 0) !== 0;
  const transposeB = c.attributes.int('transB', 0) !== 0;
  const a = c.value(0);
  if (c.shape(a).length !== 2) c.bad('A', 'two dimensions', String(c.shape(a).length));
  const input = transposeA ? c.emit({ op: 'transpose', inputs: [a], perm: [1, 0] }) : a;
  const product = c.isConstant(1) ? linear(c, input, transposeB, alpha) : productOf(c, input, transposeB, alpha);
  if (!c.has(2) || beta === 0) return product;
  // Where C is constant, the bias pass folds this addition into the layer.
  const { dims, data } = c.isConstant(2) ? c.constant(2, 'C', [0, 1, 2]) : { dims: [], data: undefined };
  let added = c.value(2);
  if (beta !== 1 && data) {
    c.claim(data.length);
    added = c.addConstant({ dims, data: data.map((x) => x * beta) });
  } else if (beta !== 1) {
    added = binary(c, 'mul', added, { number: beta });
  }
  return binary(c, 'add', product, added);
}

function pool(op: 'maxPool2d' | 'averagePool2d', attributes: readonly string[]): Operator {
  return {
    attributes: [...WINDOW_ATTRIBUTES, 'ceil_mode', ...attributes],
    inputs: [1, 1],
    read(c) {
      const { rank, ...options } = readWindow(c);
      const window = { ...options, ceilMode: c.attributes.int('ceil_mode', 0, 0, 1) === 1 };
      const countIncludePad = c.attributes.int('count_include_pad', 0, 0, 1) === 1;
      return overImage(c, rank, (image) => c.emit({ op, inputs: [image], layout: 'NCHW', window, countIncludePad }));
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
      if (rank < 3) c.bad('input', 'at least 3 dimensions', String(rank));
      const axes = range(rank).slice(2);
      if (rank !== 4) {
        return c.emit({ op: 'reduce', reduction: op === 'maxPool2d' ? 'max' : 'mean', inputs: [input], axes });
      }
      return c.emit({ op, inputs: [input], layout: 'NCHW', window: 'global', countIncludePad: false });
    },
  };
}

/** Codes of a transposed convolution's weights, packed, where int8 has scales that lie like theirs: one, or one an output. */
function packTransposed(
  quantized: QuantizedTensor,
  kernel: TransposedKernel,
  stride: [number, number],
): Weights | undefined {
  const { codes, blocks, scale, zeroPoint = new Float32Array(scale.length) } = quantized;
  const whole = codes.dims.every((dim, axis) => blocks[axis] >= dim || (axis === 1 && blocks[axis] === 1));
  if (codes.bits !== 8 || !whole || !scale.every((s) => s >= SMALLEST_SCALE && s < Infinity)) return undefined;
  const less = codes.dtype === 'uint8' ? 128 : 0;
  // A group's outputs have the scales of every other's.
  const ofOutputs = (list: ArrayLike<number>) =>
    list.length === 1 ? [list[0]] : range(kernel.groups).flatMap(() => Array.from(list));
  const signed = Int8Array.from(codes.data, (code) => code - less);
  const zeros = ofOutputs(zeroPoint).map((zero) => zero - less);
  return arrangeInt8(arrangeKernel(kernel, stride), signed, ofOutputs(scale), zeros);
}

function readConvTranspose(c: NodeContext): ValueId {
  if (!c.isConstant(1)) throw new Unsupported('weights that are not constant');
  const dims = c.shape(c.value(1)) as number[];
  requireKernel(c, dims);
  const [inputs, groupOutputs, ...size] = dims;
  const groups = c.attributes.int('group', 1, 1, MAX_SIZE);
  if (inputs % groups !== 0) c.bad('group', `a divisor of the ${inputs} inputs`, String(groups));
  const bias = readBias(c, groupOutputs * groups);
  const { rank, kernel: sizes, stride, dilation, padding } = readWindow(c, size);
  const pair = (name: string): [number, number] | undefined => {
    const given = c.attributes.ints(name, rank, 0, MAX_SIZE);
    return given && [rank === 2 ? given[0] : 0, given[rank - 1]];
  };
  const extra = pair('output_padding') ?? [0, 0];
  const wanted = pair('output_shape');
  const [kernelHeight, kernelWidth] = sizes;
  const kernel: TransposedKernel = {
    kernel: sizes,
    inputs,
    groups,
    groupOutputs,
    placeOf: (g, i, o, ky, kx) =>
      (((g * (inputs / groups) + i) * groupOutputs + o) * kernelHeight + ky) * kernelWidth + kx,
  };
  const count = arrangedSize(kernel, stride);
  if (count > 16 * product(dims) + MAX_SIZE) throw new Unsupported('strides that are far over the kernel');
  c.claim(count);
  return overImage(c, rank, (image) => {
    const shape = c.shape(image);
    if (shape.length !== 4) c.bad('input', `${rank + 2} dimensions`, String(rank));
    const axes = [0, 1].map((side): TransposedAxis => {
      const s = stride[side];
      const d = dilation[side];
      if (s > 1 && d > 1) throw new Unsupported('dilations together with strides');
      // Of n pixels, the result without padding has n s + grown; what is asked for ends at n s + end.
      const grown = (sizes[side] - 1) * d + 1 - s + extra[side];
      let begin = 0;
      let end = grown;
      if (Array.isArray(padding)) {
        begin = padding[side];
        end = grown - padding[side + 2];
      }
      // Where the size is given, the padding follows from it.
      const same = padding === 'same' || padding === 'sameLower' ? 0 : undefined;
      const given = wanted && (rank === 2 || side === 1) ? wanted[side] - sizeOf(c, image, side + 2) * s : same;
      if (given !== undefined) {
        const total = grown - given;
        begin = Math.max(padding === 'same' ? Math.floor(total / 2) : Math.ceil(total / 2), 0);
        end = begin + given;
      }
      return { stride: s, dilation: d, begin, end };
    });
    const quantized = c.quantized(1);
    const packed = quantized && packTransposed(quantized, kernel, stride);
    const { rows, cols, places, outputOf } = arrangeKernel(kernel, stride);
    const dense = (): Weights => {
      const { data } = c.constant(1, 'weights');
      return { format: 'dense', rows, cols, values: Float32Array.from(places, (at) => (at < 0 ? 0 : data[at])) };
    };
    return transposedConv(c, image, 'NCHW', kernel, [axes[0], axes[1]], {
      weights: packed ?? dense(),
      bias: bias && Float32Array.from({ length: rows }, (_, row) => bias[outputOf(row)]),
      clamp: NO_CLAMP,
    });
  });
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

/** Operators with weights, windows and rows. */
export const layers: Readonly<Record<string, Operator>> = {
  AveragePool: pool('averagePool2d', ['count_include_pad']),
  BatchNormalization: {
    attributes: ['epsilon', 'momentum', 'spatial', 'training_mode'],
    inputs: [5, 5],
    read: readBatchNorm,
  },
  Conv: { attributes: [...WINDOW_ATTRIBUTES, 'group'], inputs: [2, 3], read: readConv },
  ConvTranspose: {
    attributes: [...WINDOW_ATTRIBUTES, 'group', 'output_padding', 'output_shape'],
    inputs: [2, 3],
    read: readConvTranspose,
  },
  Gemm: { attributes: ['alpha', 'beta', 'transA', 'transB'], inputs: [2, 3], read: readGemm },
  GlobalAveragePool: globalPool('averagePool2d'),
  GlobalMaxPool: globalPool('maxPool2d'),
  MatMul: { attributes: [], inputs: [2, 2], read: readMatMul },
  MaxPool: pool('maxPool2d', ['storage_order']),
  Softmax: { attributes: ['axis'], inputs: [1, 1], read: readSoftmax },
};
