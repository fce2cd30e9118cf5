import type { ElementType } from '../../dtype.js';
import type { Weights } from '../../formats/format.js';
import { type NewNode, reshape } from '../../graph/emit.js';
import type { IntegerConstant } from '../../graph/integers.js';
import type { Constant, Dim, ReshapeDim, ValueId } from '../../graph/ir.js';
import { keepDims, range, reshapeTo } from '../../graph/reshape.js';
import { formatShape, type Shape } from '../../graph/shapes.js';
import type { Attributes } from '../attributes.js';
import type { PartArray } from '../domain.js';
import type { SparseTensorProto, TensorProto } from '../generated/onnx_pb.js';
import type { QuantizedTensor } from '../quantized.js';
import { type CodeTensor, type OnnxTensor, Unsupported } from '../tensor.js';

export { type NewNode, reshape };

/** One ONNX node while it is imported. */
export interface NodeContext {
  readonly opset: number;
  readonly attributes: Attributes;
  /** Inputs that the node has, empty ones at the end not counted. */
  readonly inputCount: number;
  /** Outputs that the node names. */
  readonly outputCount: number;
  has(input: number): boolean;
  /** An input as a value of the graph, constant or not. */
  value(input: number): ValueId;
  /** An input that must be an f32 constant of one of these ranks. */
  constant(input: number, what: string, ranks?: readonly number[]): Constant;
  isConstant(input: number): boolean;
  /** An input that must be constant integers. */
  integers(input: number, what: string): number[];
  /** An input that must be sizes, of which some may be open dimensions. */
  dims(input: number, what: string): readonly Dim[];
  /** Whether an input is constant integers, open dimensions among them or not. */
  isInteger(input: number): boolean;
  /** Whether a value holds integers, known or not. */
  holdsIntegers(value: ValueId): boolean;
  shape(value: ValueId): Shape;
  /** What a value's elements are: codes of 8 bits that nothing is known of but that they are integers, sums, or f32. */
  type(value: ValueId): ElementType;
  /** The data type of an input that is constant integers of more than 8 bits. */
  integerType(input: number): number | undefined;
  /** A constant input that is codes. */
  codes(input: number): CodeTensor | undefined;
  /** A constant input of f32 that the model has as codes. */
  quantized(input: number): QuantizedTensor | undefined;
  /** Whether the model has a constant input as a sparse tensor. */
  isSparse(input: number): boolean;
  /**
   * Weights made of the inputs from `first` up to, but without, `end`, once for all layers that make the same.
   * @param how what they are made by
   */
  weightsOf(first: number, end: number, how: string, make: () => Weights): Weights;
  /** The 8-bit codes of which an input has the plain numbers. */
  codesBehind(input: number): ValueId | undefined;
  /** The elements of an input that has to be an initializer, or made by operators of our own domain. */
  part(input: number, what: string): PartArray;
  emit(node: NewNode): ValueId;
  /** The one number that a value is, where it is a constant of one. */
  number(value: ValueId): number | undefined;
  /** A constant of the model's own making, of codes if `dtype` says so. */
  addConstant(constant: Constant, dtype?: ElementType): ValueId;
  /** The same of one number; of the kind of another value, which may be integers. */
  addScalar(value: number, like?: ValueId): ValueId;
  /** Says what a value holds from now on. */
  markIntegers(value: ValueId): ValueId;
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
  /** Of the inputs that it must name, those that may be empty. */
  optional?: readonly number[];
  /** Returns what its first output is, or all of them in their order. */
  read(c: NodeContext): Made | Made[];
}

/** What an output of an operator is: a value of the graph, or a constant. */
export type Made = ValueId | OnnxTensor | IntegerConstant | QuantizedTensor | Part;

/** A typed array that operators of our own domain read. */
export interface Part {
  kind: 'part';
  data: PartArray;
}

/** An axis attribute counted from the front. */
export function axisOf(c: NodeContext, fallback: number, rank: number, last = rank - 1): number {
  const axis = c.attributes.int('axis', fallback, -rank, last);
  // The default is no axis of a scalar.
  if (axis < -rank) c.bad('input', 'at least one dimension', 'none');
  return axis < 0 ? axis + rank : axis;
}

/** Axes counted from the front, each once. */
export function normalizeAxes(c: NodeContext, axes: readonly number[], rank: number): number[] {
  const found = axes.map((axis) => {
    if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
      c.bad('axes', `integers in ${-rank}..${rank - 1}`, String(axis));
    }
    return axis < 0 ? axis + rank : axis;
  });
  if (new Set(found).size !== found.length) c.bad('axes', 'each axis once', `[${axes.join(', ')}]`);
  return found;
}

/** Axes that an operator has as an attribute before `opset`, and as an input from then on; undefined where there are none. */
export function axesOf(c: NodeContext, rank: number, opset: number): number[] | undefined {
  const axes =
    c.opset < opset ? c.attributes.ints('axes', undefined, -rank, rank) : c.has(1) ? c.integers(1, 'axes') : undefined;
  return axes && normalizeAxes(c, axes, rank);
}

export { keepDims, range, reshapeTo };

/** The value with dimensions of 1 put in at these places of the result. */
export function unsqueeze(c: NodeContext, input: ValueId, axes: readonly number[]): ValueId {
  const shape = c.shape(input);
  const target: ReshapeDim[] = keepDims(shape);
  for (const axis of [...axes].sort((a, b) => a - b)) target.splice(axis, 0, 1);
  return reshape(c, input, target);
}

/** The value without these dimensions, which must be 1. */
export function squeeze(c: NodeContext, input: ValueId, axes: readonly number[]): ValueId {
  const shape = c.shape(input);
  for (const axis of axes) {
    if (typeof shape[axis] === 'number' && shape[axis] !== 1) c.bad('axes', 'dimensions of 1', formatShape(shape));
  }
  const kept = range(shape.length).filter((axis) => !axes.includes(axis));
  return reshape(c, input, keepDims(shape, kept));
}

/** A dimension whose size must be known now. */
export function sizeOf(c: NodeContext, value: ValueId, axis: number): number {
  const dim = c.shape(value)[axis];
  if (typeof dim !== 'number')
    throw new Unsupported(`dimension ${axis} of ${formatShape(c.shape(value))} that is open`);
  return dim;
}

const TO_NHWC = [0, 2, 3, 1];
const TO_NCHW = [0, 3, 1, 2];

/**
 * An image rearranged where its channels come last, as convolutions have it: passes cancel the transposes against theirs.
 * @param split NHWC, with dimensions split; @param joined the result's NHWC
 */
export function rearrange(
  c: NodeContext,
  image: ValueId,
  split: readonly ReshapeDim[],
  perm: readonly number[],
  joined: readonly ReshapeDim[],
): ValueId {
  const nhwc = c.emit({ op: 'transpose', inputs: [image], perm: TO_NHWC });
  const moved = c.emit({ op: 'transpose', inputs: [reshape(c, nhwc, split)], perm });
  return c.emit({ op: 'transpose', inputs: [reshape(c, moved, joined)], perm: TO_NCHW });
}
