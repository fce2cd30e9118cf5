import { codeBytes, writeCode } from '../../formats/bits.js';
import type { Bias, Weights } from '../../formats/format.js';
import { formatOf } from '../../formats/index.js';
import { indexType } from '../../formats/pattern.js';
import { type Conv2dNode, isClamped, type ValueId } from '../../graph/ir.js';
import { sameCodes } from '../../graph/lookup.js';
import { Unsupported } from '../../graph/refuse.js';
import { formatShape } from '../../graph/shapes.js';
import {
  type ArrangedKernel,
  arrangedSize,
  arrangeInt8,
  arrangeKernel,
  type TransposedAxis,
  type TransposedKernel,
  transposedConv,
} from '../../graph/transposed-conv.js';
import type { WindowOptions } from '../../layers/geometry.js';
import { product } from '../../plan/strides.js';
import type { TfliteTensor } from '../file.js';
import {
  type ActivationFunctionType,
  BatchMatMulOptions,
  BuiltinOptions,
  Conv2DOptions,
  DepthwiseConv2DOptions,
  FullyConnectedOptions,
  FullyConnectedOptionsWeightsFormat,
  Padding,
  Pool2DOptions,
  SoftmaxOptions,
  TensorType,
  TransposeConvOptions,
} from '../generated/tflite_generated.js';
import { placesOf } from '../sparse.js';
import { alongDimension, isQuantized, storedElements } from '../tensor.js';
import {
  activate,
  binary,
  fusedClamp,
  type Operator,
  type OperatorContext,
  requireRank,
  reshape,
  sizeOf,
} from './context.js';
import { lookup } from './elementwise.js';

/** A weight tensor as a matrix: rows = outputs, cols = the rest; `last` where the outputs are its last dimension. */
interface Matrix {
  rows: number;
  cols: number;
  last: boolean;
}

/** Where element i of the tensor lies in the matrix. */
const placeIn = ({ rows, cols, last }: Matrix, i: number): number =>
  last ? (i % rows) * cols + Math.floor(i / rows) : i;

/** Layers that share a tensor share its weights. */
const made = new WeakMap<TfliteTensor, Weights>();

function weightsOf(c: OperatorContext, matrix: Matrix): Weights {
  if (matrix.rows * matrix.cols === 0) c.bad('weights', 'at least one element', `[${matrix.rows}, ${matrix.cols}]`);
  const tensor = c.tensor(1);
  const known = made.get(tensor);
  if (known?.rows === matrix.rows && known.cols === matrix.cols) return known;
  c.claim(matrix.rows * matrix.cols);
  const weights = readWeights(c, tensor, matrix);
  made.set(tensor, weights);
  return weights;
}

function readWeights(c: OperatorContext, tensor: TfliteTensor, matrix: Matrix): Weights {
  if (tensor.data && tensor.type === TensorType.INT4 && isQuantized(tensor)) return int4Weights(c, tensor, matrix);
  if (tensor.data && isQuantized(tensor))
    return tensor.sparsity ? sparseCodes(c, tensor, matrix) : int8Weights(c, tensor, matrix);
  if (tensor.data && tensor.sparsity) return sparseWeights(c, tensor, matrix);
  const { data } = c.constant(1, 'weights');
  const { rows, cols, last } = matrix;
  const values = last ? data.slice() : data;
  if (last) for (let i = 0; i < data.length; i++) values[placeIn(matrix, i)] = data[i];
  return { format: 'dense', rows, cols, values };
}

/** One scale and zero point for all, or one a row. */
function rowScales(c: OperatorContext, tensor: TfliteTensor, { rows, last }: Matrix) {
  const { scale, zeroPoint, dimension } = tensor.quantization!;
  const outputs = last ? tensor.shape.length - 1 : 0;
  if (scale.length > 1 && dimension !== outputs)
    throw new Unsupported(`weights with scales along dimension ${dimension}`);
  for (const [i, s] of scale.entries()) {
    if (!(s >= 0 && s < Infinity)) c.bad(`weight scale ${i}`, 'a finite number from 0', String(s));
  }
  return {
    scale: alongDimension(scale, rows, 'weight scales'),
    zeroPoint: alongDimension(zeroPoint, rows, 'weight zero points'),
  };
}

/** A scale of 0 stands for codes that do not matter: they become 0. */
const usable = (scale: readonly number[]): Float32Array => Float32Array.from(scale, (s) => (s === 0 ? 1 : s));

function int8Weights(c: OperatorContext, tensor: TfliteTensor, matrix: Matrix): Weights {
  const { rows, cols } = matrix;
  if (tensor.type !== TensorType.INT8 && tensor.type !== TensorType.UINT8) throw new Unsupported('weights of 16 bits');
  const { scale, zeroPoint } = rowScales(c, tensor, matrix);
  const elements = storedElements(tensor, 'weights') as ArrayLike<number>;
  // Unsigned codes are moved to the signed ones.
  const shift = tensor.type === TensorType.UINT8 ? 128 : 0;
  const codes = new Int8Array(rows * cols);
  for (let i = 0; i < codes.length; i++) codes[placeIn(matrix, i)] = elements[i] - shift;
  const zeros = Int8Array.from(zeroPoint, (zero) => zero - shift);
  for (let r = 0; r < rows; r++) {
    if (scale[scale.length === 1 ? 0 : r] === 0)
      codes.fill(zeros[zeros.length === 1 ? 0 : r], r * cols, (r + 1) * cols);
  }
  const weights: Weights = { format: 'int8', rows, cols, codes, scale: usable(scale) };
  return zeros.some((zero) => zero !== 0) ? { ...weights, zeroPoint: zeros } : weights;
}

/** Signed codes of 4 bits, a scale a row: one group is a row. */
function int4Weights(c: OperatorContext, tensor: TfliteTensor, matrix: Matrix): Weights {
  const { rows, cols } = matrix;
  const { scale, zeroPoint } = rowScales(c, tensor, matrix);
  if (zeroPoint.some((zero) => zero !== 0)) throw new Unsupported('weights of 4 bits with zero points');
  const elements = storedElements(tensor, 'weights') as ArrayLike<number>;
  const rowBytes = codeBytes(cols, 4);
  const codes = new Uint8Array(rows * rowBytes);
  for (let i = 0; i < rows * cols; i++) {
    const at = placeIn(matrix, i);
    writeCode(codes, Math.floor(at / cols) * rowBytes, at % cols, 4, elements[i] + 8);
  }
  const scales = new Float32Array(rows).map((_, r) => scale[scale.length === 1 ? 0 : r]);
  return { format: 'int4', rows, cols, groupSize: cols, codes, scale: scales };
}

/** Stored elements by rows and ascending columns, those that are 0 left out. */
function pattern(tensor: TfliteTensor, matrix: Matrix, zero: number) {
  const { rows, cols } = matrix;
  const elements = storedElements(tensor, 'weights') as ArrayLike<number>;
  const places = placesOf(tensor.sparsity!, tensor.shape, 'weights').map((i) => placeIn(matrix, i));
  const order = Uint32Array.from(places.keys())
    .filter((i) => elements[i] !== zero)
    .sort((a, b) => places[a] - places[b]);
  const indptr = new Uint32Array(rows + 1);
  for (const i of order) indptr[Math.floor(places[i] / cols) + 1]++;
  for (let r = 0; r < rows; r++) indptr[r + 1] += indptr[r];
  const indices = new (indexType(cols))(order.length);
  for (const [at, i] of order.entries()) indices[at] = places[i] % cols;
  return { indptr, indices, elements, order };
}

function sparseWeights(_c: OperatorContext, tensor: TfliteTensor, matrix: Matrix): Weights {
  const { indptr, indices, elements, order } = pattern(tensor, matrix, 0);
  const values = Float32Array.from(order, (i) => elements[i]);
  return { format: 'csr', rows: matrix.rows, cols: matrix.cols, indptr, indices, values };
}

function sparseCodes(c: OperatorContext, tensor: TfliteTensor, matrix: Matrix): Weights {
  if (tensor.type !== TensorType.INT8) throw new Unsupported('sparse weights of unsigned codes');
  const { scale, zeroPoint } = rowScales(c, tensor, matrix);
  if (zeroPoint.some((zero) => zero !== 0)) throw new Unsupported('sparse weights with zero points');
  const { indptr, indices, elements, order } = pattern(tensor, matrix, 0);
  const codes = Int8Array.from(order, (i) => elements[i]);
  const scales = usable(Array.from({ length: matrix.rows }, (_, r) => scale[scale.length === 1 ? 0 : r]));
  return {
    format: 'csrInt8',
    rows: matrix.rows,
    cols: matrix.cols,
    blockCols: 1,
    indptr,
    indices,
    codes,
    scale: scales,
  };
}

/** The bias as numbers, or of codes as sums. */
function biasOf(c: OperatorContext, rows: number, ofSums: boolean, input = 2): Bias | undefined {
  if (!c.has(input)) return undefined;
  const bias = ofSums ? Int32Array.from(c.integers(input, 'bias')) : c.constant(input, 'bias').data;
  if (bias.length !== rows) c.bad('bias', `${rows} elements`, String(bias.length));
  return bias;
}

type Layer = Pick<Conv2dNode, 'weights' | 'bias' | 'clamp' | 'inputCodes' | 'result'>;

/** Weights, bias and what a layer takes and gives; undefined where it can't work on codes. */
function layerOf(
  c: OperatorContext,
  matrix: Matrix,
  fused: ActivationFunctionType | undefined,
  ofCodes: boolean,
): Layer | undefined {
  const clamp = fusedClamp(fused);
  const weights = weightsOf(c, matrix);
  if (!ofCodes) return { weights, bias: biasOf(c, matrix.rows, false), clamp };
  const [inputCodes, quantization] = [c.codesOf(c.tensor(0)), c.codesOf(c.output())];
  if (!inputCodes || !quantization || weights.format === 'dense' || weights.format === 'csr') {
    return undefined;
  }
  const result = { dtype: quantization.dtype, quantization };
  return { weights, bias: biasOf(c, matrix.rows, true), clamp, inputCodes, result };
}

interface WindowTable {
  padding(): Padding;
  strideH(): number;
  strideW(): number;
}

function paddingOf(c: OperatorContext, padding: Padding): 'same' | 'valid' {
  if (padding !== Padding.SAME && padding !== Padding.VALID) c.bad('padding', 'SAME or VALID', String(padding));
  return padding === Padding.SAME ? 'same' : 'valid';
}

function windowOf(c: OperatorContext, options: WindowTable, kernel: [number, number], dilation: [number, number]) {
  const stride: [number, number] = [options.strideH(), options.strideW()];
  for (const [name, sizes] of Object.entries({ stride, kernel, dilation })) {
    if (!sizes.every((size) => size >= 1 && size <= 1 << 16)) c.bad(name, 'sizes in 1..65536', formatShape(sizes));
  }
  return { kernel, stride, dilation, padding: paddingOf(c, options.padding()) } satisfies WindowOptions;
}

/** The shape of the weights, of `rank` dimensions. */
function filterShape(c: OperatorContext, rank: number): readonly number[] {
  const { shape } = c.tensor(1);
  if (shape.length !== rank) c.bad('weights', `${rank} dimensions`, formatShape(shape));
  return shape;
}

function convolution(c: OperatorContext, ofCodes: boolean): ValueId | undefined {
  const options = c.options(BuiltinOptions.Conv2DOptions, new Conv2DOptions());
  if (!options) return c.bad('options', 'Conv2DOptions', 'none');
  const image = c.value(0);
  requireRank(c, image, 4);
  const [rows, height, width, channels] = filterShape(c, 4);
  const inputs = sizeOf(c, image, 3);
  const groups = inputs / channels;
  if (!Number.isInteger(groups) || groups < 1 || rows % groups !== 0) {
    c.bad('weights', `a divisor of the ${inputs} channels`, String(channels));
  }
  const window = windowOf(c, options, [height, width], [options.dilationHFactor(), options.dilationWFactor()]);
  const fused = options.fusedActivationFunction();
  const layer = layerOf(c, { rows, cols: height * width * channels, last: false }, fused, ofCodes);
  return layer && c.emit({ op: 'conv2d', inputs: [image], layout: 'NHWC', window, groups, ...layer });
}

/** Weights [1, height, width, channels * multiplier]. */
function depthwise(c: OperatorContext, ofCodes: boolean): ValueId | undefined {
  const options = c.options(BuiltinOptions.DepthwiseConv2DOptions, new DepthwiseConv2DOptions());
  if (!options) return c.bad('options', 'DepthwiseConv2DOptions', 'none');
  const image = c.value(0);
  requireRank(c, image, 4);
  const [one, height, width, rows] = filterShape(c, 4);
  const groups = sizeOf(c, image, 3);
  if (one !== 1 || groups < 1 || rows % groups !== 0) {
    c.bad('weights', `[1, height, width, a multiple of ${groups}]`, formatShape(c.tensor(1).shape));
  }
  const window = windowOf(c, options, [height, width], [options.dilationHFactor(), options.dilationWFactor()]);
  const fused = options.fusedActivationFunction();
  const layer = layerOf(c, { rows, cols: height * width, last: true }, fused, ofCodes);
  return layer && c.emit({ op: 'conv2d', inputs: [image], layout: 'NHWC', window, groups, ...layer });
}

function fullyConnected(c: OperatorContext, ofCodes: boolean): ValueId | undefined {
  const options = c.options(BuiltinOptions.FullyConnectedOptions, new FullyConnectedOptions());
  if (options && options.weightsFormat() !== FullyConnectedOptionsWeightsFormat.DEFAULT) {
    throw new Unsupported('shuffled weights');
  }
  const fused = options?.fusedActivationFunction();
  const [rows, cols] = filterShape(c, 2);
  const input = c.value(0);
  const shape = c.shape(input);
  if (cols < 1 || shape.length < 1) c.bad('weights', 'at least one element', `[${rows}, ${cols}]`);
  const isMatrix = shape.length === 2 && shape[1] === cols;
  const keeps = options?.keepNumDims() && shape.at(-1) === cols;
  const flat = isMatrix || keeps ? input : reshape(c, input, ['infer', cols]);
  if (!c.tensor(1).data && !c.isConstant(1)) {
    if (ofCodes) return undefined;
    const given = c.emit({ op: 'batchMatmul', inputs: [flat, c.value(1)], perms: [undefined, [1, 0]] });
    return activate(c, c.has(2) ? binary(c, 'add', given, c.value(2)) : given, fused);
  }
  const layer = layerOf(c, { rows, cols, last: false }, fused, ofCodes);
  return layer && c.emit({ op: 'linear', inputs: [flat], ...layer });
}

/** The weights of a transposed convolution in the order of the convolution that does its work. */
function arranged(weights: Weights, kernel: ArrangedKernel): Weights {
  const { rows, cols, places } = kernel;
  if (weights.format === 'int8') return arrangeInt8(kernel, weights.codes, weights.scale, weights.zeroPoint ?? [0]);
  const values = weights.format === 'dense' ? weights.values : formatOf(weights).unpack(weights);
  return { format: 'dense', rows, cols, values: Float32Array.from(places, (at) => (at < 0 ? 0 : values[at])) };
}

/** Inputs: the shape of the output, weights [outputs, height, width, inputs], the image, a bias. */
function transposed(c: OperatorContext, ofCodes: boolean): ValueId | undefined {
  const options = c.options(BuiltinOptions.TransposeConvOptions, new TransposeConvOptions());
  if (!options) return c.bad('options', 'TransposeConvOptions', 'none');
  const image = c.value(2);
  requireRank(c, image, 4);
  const [outputs, height, width, inputs] = filterShape(c, 4);
  if (sizeOf(c, image, 3) !== inputs) c.bad('weights', `those of ${sizeOf(c, image, 3)} channels`, String(inputs));
  const window = windowOf(c, options, [height, width], [1, 1]);
  const target = c.dims(0, 'output_shape');
  if (target.length !== 4 || target[3] !== outputs) c.bad('output_shape', `[, , , ${outputs}]`, formatShape(target));
  const axes = [0, 1].map((side): TransposedAxis => {
    const [size, stride, wanted, n] = [
      window.kernel[side],
      window.stride[side],
      target[side + 1],
      sizeOf(c, image, side + 1),
    ];
    if (typeof wanted !== 'number') throw new Unsupported(`the open dimension ${wanted} of the output`);
    // The border that a convolution from the output to the input would have.
    const made = window.padding === 'same' ? Math.ceil(wanted / stride) : Math.ceil((wanted - size + 1) / stride);
    const begin = Math.floor(Math.max((made - 1) * stride + size - wanted, 0) / 2);
    if (wanted < 1 || wanted > n * stride + size) c.bad('output_shape', `about ${n * stride} pixels`, String(wanted));
    return { stride, dilation: 1, begin, end: begin + wanted - n * stride };
  });
  const kernel: TransposedKernel = {
    kernel: window.kernel,
    inputs,
    groups: 1,
    groupOutputs: outputs,
    placeOf: (_, i, o, ky, kx) => ((o * height + ky) * width + kx) * inputs + i,
  };
  const given = weightsOf(c, { rows: outputs, cols: height * width * inputs, last: false });
  const count = arrangedSize(kernel, window.stride);
  if (count > 16 * given.rows * given.cols + (1 << 16)) throw new Unsupported('strides that are far over the kernel');
  const [inputCodes, quantization] = [c.codesOf(c.tensor(2)), c.codesOf(c.output())];
  if (ofCodes && (!inputCodes || !quantization || given.format !== 'int8')) return undefined;
  c.claim(count);
  const matrix = arrangeKernel(kernel, window.stride);
  const bias = biasOf(c, outputs, ofCodes, 3);
  const layer = {
    weights: arranged(given, matrix),
    bias:
      bias &&
      (bias.constructor as typeof Float32Array).from({ length: matrix.rows }, (_, r) => bias[matrix.outputOf(r)]),
    clamp: fusedClamp(options.fusedActivationFunction()),
    ...(ofCodes && { inputCodes, result: { dtype: quantization!.dtype, quantization } }),
  };
  return transposedConv(c, image, 'NHWC', kernel, [axes[0], axes[1]], layer);
}

const layer = (read: (c: OperatorContext, ofCodes: boolean) => ValueId | undefined): Operator => ({
  inputs: [2, 3],
  read: (c) => read(c, false)!,
  readCodes: (c) => (c.codesOf(c.tensor(0)) && isQuantized(c.tensor(1)) ? read(c, true) : undefined),
});

function poolOptions(c: OperatorContext) {
  const options = c.options(BuiltinOptions.Pool2DOptions, new Pool2DOptions());
  if (!options) return c.bad('options', 'Pool2DOptions', 'none');
  requireRank(c, c.value(0), 4);
  const kernel: [number, number] = [options.filterHeight(), options.filterWidth()];
  return { window: windowOf(c, options, kernel, [1, 1]), fused: options.fusedActivationFunction() };
}

function readPool(c: OperatorContext, op: 'maxPool2d' | 'averagePool2d', input: ValueId) {
  const { window, fused } = poolOptions(c);
  const pooled = c.emit({ op, inputs: [input], layout: 'NHWC', window, countIncludePad: false });
  return { pooled, fused };
}

const MAX_POOL_2D: Operator = {
  inputs: [1, 1],
  read(c) {
    const { pooled, fused } = readPool(c, 'maxPool2d', c.value(0));
    return activate(c, pooled, fused);
  },
  readCodes(c) {
    const [from, to] = [c.codesOf(c.tensor(0)), c.codesOf(c.output())];
    if (!from || !to) return undefined;
    const { pooled, fused } = readPool(c, 'maxPool2d', c.value(0));
    const clamp = fusedClamp(fused);
    if (sameCodes(from, to) && !isClamped(clamp)) return pooled;
    return lookup(c, pooled, from, to, (x) => Math.min(Math.max(x, clamp[0]), clamp[1]));
  },
};

/** Windows of codes up to this: of larger ones, f32 does not tell a half from its neighbours. */
const MOST_AVERAGED = 1 << 12;

/**
 * The average of codes, zero points and all, rounded half away from zero as the reference kernel divides integers
 * (tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h). The result is made a little larger, so that rounding half
 * to even never meets a half: averages of n codes are 1 / n apart, and this moves them by a quarter of that at most.
 */
function averageCodes(c: OperatorContext): ValueId | undefined {
  const [from, to] = [c.codesOf(c.tensor(0)), c.codesOf(c.output())];
  if (!from || !to || !sameCodes(from, to)) return undefined;
  const { window, fused } = poolOptions(c);
  const clamp = fusedClamp(fused);
  const count = product(window.kernel);
  if (count > MOST_AVERAGED) return undefined;
  const { dtype } = to;
  const input = { dtype, scale: 1, zeroPoint: 0 };
  const output = { ...input, scale: Math.fround(1 / (1 + 1 / (512 * count))) };
  const node = { op: 'averagePool2d', layout: 'NHWC', window, countIncludePad: false } as const;
  const pooled = c.emit({ ...node, inputs: [c.value(0)], codes: { input, output } });
  return isClamped(clamp) ? lookup(c, pooled, to, to, (x) => Math.min(Math.max(x, clamp[0]), clamp[1])) : pooled;
}

const AVERAGE_POOL_2D: Operator = {
  inputs: [1, 1],
  read(c) {
    const { pooled, fused } = readPool(c, 'averagePool2d', c.value(0));
    return activate(c, pooled, fused);
  },
  readCodes: averageCodes,
};

function readSoftmax(c: OperatorContext): ValueId {
  const beta = c.options(BuiltinOptions.SoftmaxOptions, new SoftmaxOptions())?.beta() ?? 1;
  const input = c.value(0);
  if (c.shape(input).length === 0) c.bad('input', 'at least one dimension', 'none');
  const scaled = beta === 1 ? input : binary(c, 'mul', input, { number: beta });
  return c.emit({ op: 'softmax', inputs: [scaled], tail: 1 });
}

function readBatchMatmul(c: OperatorContext): ValueId {
  const options = c.options(BuiltinOptions.BatchMatMulOptions, new BatchMatMulOptions());
  const perms = [0, 1].map((input) => {
    const rank = c.shape(c.value(input)).length;
    if (rank < 2) c.bad('input', 'at least 2 dimensions', String(rank));
    if (!(input === 0 ? options?.adjX() : options?.adjY())) return undefined;
    const perm = Array.from({ length: rank }, (_, axis) => axis);
    return [...perm.slice(0, -2), rank - 1, rank - 2];
  });
  return c.emit({ op: 'batchMatmul', inputs: [c.value(0), c.value(1)], perms: [perms[0], perms[1]] });
}

/** Operators with weights, windows and rows. */
export const layers: Readonly<Record<string, Operator>> = {
  AVERAGE_POOL_2D,
  BATCH_MATMUL: { inputs: [2, 2], read: readBatchMatmul },
  CONV_2D: layer(convolution),
  DEPTHWISE_CONV_2D: layer(depthwise),
  FULLY_CONNECTED: layer(fullyConnected),
  MAX_POOL_2D,
  SOFTMAX: { inputs: [1, 1], read: readSoftmax },
  TRANSPOSE_CONV: {
    inputs: [3, 4],
    read: (c) => transposed(c, false)!,
    readCodes: (c) => (c.codesOf(c.tensor(2)) && isQuantized(c.tensor(1)) ? transposed(c, true) : undefined),
  },
};
