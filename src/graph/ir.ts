import type { ElementType } from '../dtype.js';
import type { Bias, Weights } from '../formats/format.js';
import type { WindowOptions } from '../layers/geometry.js';
import {
  BINARY,
  type BinaryOperator,
  CODE_BINARY,
  type CodeBinaryOperator,
  type DequantizeProblem,
  type LookupProblem,
  type MatmulOutput,
  type Nonlinearity,
  type Quantization,
  type Reduction,
  type UnaryFunction,
} from '../plan/problem.js';
import { stridesOf } from '../plan/strides.js';

/**
 * A dimension: a size, or the name of one that is known only when the graph runs (usually the batch). Two dimensions
 * with the same name are equal; nothing is known about different names.
 */
export type Dim = number | string;

/** A value's number inside its graph. */
export type ValueId = number;

export interface Value {
  id: ValueId;
  /** For people: the name in the source model where there is one. */
  name: string;
  shape: readonly Dim[];
  /**
   * What its elements are; default f32. 8-bit codes and int32 sums are what nodes make of them: a value does not say
   * which numbers they stand for.
   */
  dtype?: ElementType;
}

/** Data that is known before the graph runs, row-major. Codes are kept as the f32 of the same integers. */
export interface Constant {
  dims: readonly number[];
  data: Float32Array;
}

/** Each output is limited to [min, max]; infinite where it is not. */
export type Clamp = readonly [min: number, max: number];

export const NO_CLAMP: Clamp = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

/** Order of an image batch's dimensions. Kernels want NHWC: `toNhwc` turns every NCHW node into one. */
export type ImageLayout = 'NCHW' | 'NHWC';

interface NodeBase {
  /** Options and reports name layers by it: unique among the layers of a graph, but for those that share weights. */
  name: string;
  inputs: readonly ValueId[];
  output: ValueId;
}

interface LayerBase extends NodeBase {
  /** Dense until `packGraph`, unless the model has them packed. */
  weights: Weights;
  /** The model has what is dense here as a sparse tensor: `auto` packs it as csr. */
  sparse?: boolean;
  /** [rows]; int32 where the outputs are integers, see MatmulOptions in src/layers/problem.ts. */
  bias?: Bias;
  nonlinearity?: Nonlinearity;
  /** On the numbers that outputs stand for. */
  clamp: Clamp;
  /**
   * What codes that arrive mean, or by which f32 inputs are quantised. Absent: f32, and quantised at run time where the
   * weights are of 8-bit arithmetic.
   */
  inputCodes?: Quantization;
  /** What the outputs are. Default: f32. */
  result?: MatmulOutput;
}

/** out = clamp(nonlinearity(conv(image, weights) + bias)); image [batch, height, width, channels] in `layout`'s order. */
export interface Conv2dNode extends LayerBase {
  op: 'conv2d';
  layout: ImageLayout;
  window: Omit<WindowOptions, 'ceilMode'>;
  groups: number;
  /** What a binary convolution (`xnor` weights) reads outside the image. */
  binaryPadding?: 'zero' | 'one';
}

/** out[..., rows] = clamp(nonlinearity(in[..., cols] * weights[rows, cols]^T + bias)). */
export interface LinearNode extends LayerBase {
  op: 'linear';
}

export interface PoolNode extends NodeBase {
  op: 'maxPool2d' | 'averagePool2d';
  layout: ImageLayout;
  /** `global`: the window is the whole image. */
  window: WindowOptions | 'global';
  /** averagePool2d: divide by the whole window, or by the pixels inside the image. */
  countIncludePad: boolean;
  /** averagePool2d of codes: what they mean before and after. maxPool2d takes any codes as they are. */
  codes?: { input: Quantization; output: Quantization };
}

/** out = clamp(a op b), broadcast as in NumPy. */
export interface BinaryNode extends NodeBase {
  op: BinaryOperator;
  clamp: Clamp;
}

/** out = clamp(nonlinearity(in)). */
export interface ActivationNode extends NodeBase {
  op: 'activation';
  nonlinearity: UnaryFunction;
  clamp: Clamp;
}

export interface ClampNode extends NodeBase {
  op: 'clamp';
  clamp: Clamp;
}

/** Softmax over the last `tail` dimensions together. */
export interface SoftmaxNode extends NodeBase {
  op: 'softmax';
  tail: number;
}

/** Output dimension i is input dimension perm[i]. */
export interface TransposeNode extends NodeBase {
  op: 'transpose';
  perm: readonly number[];
}

/**
 * One dimension of a reshape's result: a size, the product of some input dimensions and a number, an open dimension by
 * its name, or what is left (once only).
 */
export type ReshapeDim = number | 'infer' | { axes: readonly number[]; times?: number } | { name: string };

/** Another shape for the same elements: no work when run. */
export interface ReshapeNode extends NodeBase {
  op: 'reshape';
  target: readonly ReshapeDim[];
}

/** The inputs, one behind the other along an axis. */
export interface ConcatNode extends NodeBase {
  op: 'concat';
  axis: number;
}

/** Every `step`-th index of an axis from `start` to before `end`, as in Python: negative ones count from the end. */
export interface Cut {
  axis: number;
  start: Dim;
  end: Dim;
  step: number;
}

export interface SliceNode extends NodeBase {
  op: 'slice';
  cuts: readonly Cut[];
}

/** The input broadcast to the shape that it has together with `target`. */
export interface ExpandNode extends NodeBase {
  op: 'expand';
  target: readonly Dim[];
}

/** The input `repeats[i]` times along dimension i. */
export interface TileNode extends NodeBase {
  op: 'tile';
  repeats: readonly number[];
}

/** A border around the input: of a number (the second input), of the elements at the edge, or mirrored at them, or with them. */
export interface PadNode extends NodeBase {
  op: 'pad';
  mode: 'constant' | 'edge' | 'reflect' | 'symmetric';
  before: readonly number[];
  after: readonly number[];
}

/** Rows of the first input along an axis, by the indices in the second, whose dimensions take the axis' place. */
export interface GatherNode extends NodeBase {
  op: 'gather';
  axis: number;
}

/** How positions of a resampled axis are found in the input: the names are ONNX's. */
export type Coordinates = 'half_pixel' | 'pytorch_half_pixel' | 'align_corners' | 'asymmetric' | 'tf_half_pixel_for_nn';

/** One axis resampled to another size. */
export interface ResampleNode extends NodeBase {
  op: 'resample';
  axis: number;
  /** The new size, or what the old one is multiplied by (rounded down). */
  size: Dim | { scale: number };
  mode: 'nearest' | 'linear' | 'cubic';
  coordinates: Coordinates;
  /** nearest: how a position between two is rounded; ONNX's names. */
  rounding: 'round_prefer_floor' | 'round_prefer_ceil' | 'floor' | 'ceil';
  /** cubic: the coefficient a of the kernel. */
  cubic: number;
}

/** A reduction over neighbouring axes, which stay as dimensions of 1. */
export interface ReduceNode extends NodeBase {
  op: 'reduce';
  reduction: Reduction;
  axes: readonly number[];
}

/**
 * (in - mean) / sqrt(variance + epsilon) over the last `tail` dimensions together (without `center`: in / sqrt of the mean
 * square), then times the first and plus the second row of the second input, [2, elements of the tail], if there is one.
 */
export interface NormalizeNode extends NodeBase {
  op: 'normalize';
  tail: number;
  epsilon: number;
  center: boolean;
}

/** a[..., M, K] * b[..., K, N], broadcast, of inputs transposed by `perms` where there are any. */
export interface BatchMatmulNode extends NodeBase {
  op: 'batchMatmul';
  perms: readonly [a: readonly number[] | undefined, b: readonly number[] | undefined];
}

/** out = codes of f32: ONNX's QuantizeLinear. */
export interface QuantizeNode extends NodeBase {
  op: 'quantize';
  quantization: Quantization;
}

/** out = f32(in - zeroPoint) * scale, of codes or int32 sums: ONNX's DequantizeLinear. */
export interface DequantizeNode extends NodeBase {
  op: 'dequantize';
  scale: number;
  zeroPoint: number;
}

/** out = table[in], of codes: any function of one number whose input and output are quantised. See `tableOf`. */
export interface LookupNode extends NodeBase {
  op: 'lookup';
  /** What the input is. */
  from: LookupProblem['input'];
  /** What the output is. */
  to: LookupProblem['output'];
  /** [256], by the byte of the input; codes of the output. */
  table: readonly number[];
}

/** out = codes of clamp(a op b), of codes, broadcast. */
export interface CodeBinaryNode extends NodeBase {
  op: CodeBinaryOperator;
  a: Quantization;
  b: Quantization;
  /** Of the output. */
  quantization: Quantization;
  /** On the numbers that outputs stand for. */
  clamp: Clamp;
}

/** out = in * scale[c] + shift[c] along axis 1. Passes leave none of these. */
export interface BatchNormNode extends NodeBase {
  op: 'batchNorm';
  scale: Float32Array;
  shift: Float32Array;
}

export type Node =
  | Conv2dNode
  | LinearNode
  | PoolNode
  | BinaryNode
  | ActivationNode
  | ClampNode
  | SoftmaxNode
  | TransposeNode
  | ReshapeNode
  | ConcatNode
  | SliceNode
  | ExpandNode
  | TileNode
  | PadNode
  | GatherNode
  | ResampleNode
  | ReduceNode
  | NormalizeNode
  | BatchMatmulNode
  | BatchNormNode
  | QuantizeNode
  | DequantizeNode
  | LookupNode
  | CodeBinaryNode;

/** What integers DequantizeNode reads. */
export type Integers = DequantizeProblem['dtype'];

/** A node with weights. */
export type LayerNode = Conv2dNode | LinearNode;

export interface Graph {
  /** Inputs keep their declared shape in `values`. */
  inputs: readonly { name: string; value: ValueId }[];
  outputs: readonly { name: string; value: ValueId }[];
  values: ReadonlyMap<ValueId, Value>;
  constants: ReadonlyMap<ValueId, Constant>;
  /** Sorted: a node follows the nodes whose outputs it reads. Each value is written by one node at most. */
  nodes: readonly Node[];
}

export function isLayer(node: Node): node is LayerNode {
  return node.op === 'conv2d' || node.op === 'linear';
}

export function isBinary(node: Node): node is BinaryNode {
  return (BINARY as readonly string[]).includes(node.op);
}

export function isCodeBinary(node: Node): node is CodeBinaryNode {
  return (CODE_BINARY as readonly string[]).includes(node.op);
}

/** False where the model has the weights packed. */
export function isDense({ weights }: LayerNode): boolean {
  return weights.format === 'dense';
}

/** Dense weights of a layer that is not packed yet: row-major [rows, cols]. */
export function denseValues(node: LayerNode): Float32Array {
  if (node.weights.format !== 'dense') throw new TypeError(`${node.name} is packed already; passes run before packing`);
  return node.weights.values;
}

/** clamp(clamp(x, inner), outer) as one clamp. */
export function composeClamp([a, b]: Clamp, [low, high]: Clamp): Clamp {
  const limit = (x: number) => Math.min(Math.max(x, low), high);
  return [limit(a), limit(b)];
}

export function isClamped([min, max]: Clamp): boolean {
  return min !== Number.NEGATIVE_INFINITY || max !== Number.POSITIVE_INFINITY;
}

/** True when nothing is applied to a layer's output yet. */
export function isPlain(layer: LayerNode): boolean {
  return layer.nonlinearity === undefined && !isClamped(layer.clamp) && givesFloats(layer);
}

export function givesFloats({ result }: LayerNode): boolean {
  return result === undefined || result.dtype === 'float32';
}

/** The bias of a layer that gives f32. */
export function floatBias(layer: LayerNode): Float32Array | undefined {
  if (layer.bias instanceof Int32Array) throw new TypeError(`${layer.name} has a bias of integers`);
  return layer.bias;
}

/** Strides that walk `dims` while broadcasting it to `to`: 0 along broadcast dimensions. */
export function broadcastStrides(dims: readonly number[], to: readonly number[]): number[] {
  const strides = stridesOf(dims);
  const missing = to.length - dims.length;
  return to.map((_, i) => (i < missing || dims[i - missing] === 1 ? 0 : strides[i - missing]));
}

/** The elements of a row-major tensor read at `strides` while counting through `dims`. */
export function gather<T extends Float32Array | Uint8Array | Int8Array>(
  data: T,
  dims: readonly number[],
  strides: readonly number[],
): T {
  const out = new (data.constructor as new (length: number) => T)(dims.reduce((a, b) => a * b, 1));
  if (out.length === 0) return out;
  const kept = dims.map((_, axis) => axis).filter((axis) => dims[axis] !== 1);
  const inner = kept.pop();
  const [width, step] = inner === undefined ? [1, 1] : [dims[inner], strides[inner]];
  const index = new Array<number>(dims.length).fill(0);
  let offset = 0;
  for (let i = 0; i < out.length; ) {
    for (let from = offset, end = i + width; i < end; i++, from += step) out[i] = data[from];
    for (let k = kept.length - 1; k >= 0; k--) {
      const axis = kept[k];
      offset += strides[axis];
      if (++index[axis] < dims[axis]) break;
      offset -= strides[axis] * dims[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/** The constant with its dimensions permuted: result dimension i is dimension perm[i]. */
export function transposeConstant({ dims, data }: Constant, perm: readonly number[]): Constant {
  const strides = stridesOf(dims);
  const permuted = perm.map((axis) => dims[axis]);
  const order = perm.map((axis) => strides[axis]);
  return { dims: permuted, data: gather(data, permuted, order) };
}

export function inversePermutation(perm: readonly number[]): number[] {
  const inverse = new Array<number>(perm.length);
  for (const [i, axis] of perm.entries()) inverse[axis] = i;
  return inverse;
}
