import type { ElementType } from '../../dtype.js';
import { binary, type NewNode, reshape, unary } from '../../graph/emit.js';
import type { IntegerConstant } from '../../graph/integers.js';
import { type Clamp, type Constant, type Dim, NO_CLAMP, type ReshapeDim, type ValueId } from '../../graph/ir.js';
import { keepDims, range } from '../../graph/reshape.js';
import { formatShape, type Shape } from '../../graph/shapes.js';
import type { Quantization } from '../../plan/problem.js';

export { binary, reshape, unary };

import { Unsupported } from '../../graph/refuse.js';
import type { TfliteTensor } from '../file.js';
import { ActivationFunctionType, type BuiltinOptions } from '../generated/tflite_generated.js';

/** What an output of an operator is: a value of the graph, or integers that are known. */
export type Made = ValueId | IntegerConstant;

/** One operator while it is read. */
export interface OperatorContext {
  /** Inputs that the operator has, those left out at the end not counted. */
  readonly inputCount: number;
  readonly outputCount: number;
  has(input: number): boolean;
  /** An input as a value of the graph: codes where the operator works on codes, else the numbers that they stand for. */
  value(input: number): ValueId;
  /** Whether that is codes. */
  valueIsCodes(input: number): boolean;
  isConstant(input: number): boolean;
  /** The numbers of an input that must be constant. */
  constant(input: number, what: string): Constant;
  /** An input that must be known integers. */
  integers(input: number, what: string): number[];
  /** An input that must be sizes, of which some may be open dimensions. */
  dims(input: number, what: string): readonly Dim[];
  /** Whether an input is integers that are known, or open dimensions. */
  isInteger(input: number): boolean;
  holdsIntegers(value: ValueId): boolean;
  markIntegers(value: ValueId): ValueId;
  /** The tensor of an input in the file; of a constant that is only brought to another type, that constant. */
  tensor(input: number): TfliteTensor;
  /** Says that the first output is an input, a constant, in another type or layout: layers take it from there. */
  keep(input: number): void;
  output(output?: number): TfliteTensor;
  /** What an input's or the output's codes mean; undefined where it has none. */
  codesOf(tensor: TfliteTensor): Quantization | undefined;
  shape(value: ValueId): Shape;
  emit(node: NewNode): ValueId;
  addConstant(constant: Constant, dtype?: ElementType): ValueId;
  /** A constant of one number; of the kind of another value, which may be integers. */
  addScalar(value: number, like?: ValueId): ValueId;
  /** A constant of one code. */
  addCode(code: number, dtype: Quantization['dtype']): ValueId;
  /** The operator's options, or, where it has none of this kind, undefined. */
  options<T>(type: BuiltinOptions, into: T): T | undefined;
  claim(count: number): void;
  bad(what: string, expected: string, got: string): never;
}

/** One built-in operator: what it may have, and the nodes that take its place. */
export interface Operator {
  inputs: readonly [min: number, max: number];
  /** Gives the first output, or all of them. Inputs are numbers; outputs become codes where the file says so. */
  read(c: OperatorContext): Made | Made[];
  /** True where `read` only moves elements, and so takes codes as they are if they mean the same before and after. */
  moves?: boolean;
  /** Works on codes; undefined where it can't, and numbers are computed with. */
  readCodes?(c: OperatorContext): ValueId | undefined;
}

export function clampTo(c: OperatorContext, input: ValueId, clamp: Clamp): ValueId {
  return c.emit({ op: 'clamp', inputs: [input], clamp });
}

/** The value with dimensions of 1 put in at these places of the result. */
export function unsqueeze(c: OperatorContext, input: ValueId, axes: readonly number[]): ValueId {
  const target: ReshapeDim[] = keepDims(c.shape(input));
  for (const axis of [...axes].sort((a, b) => a - b)) target.splice(axis, 0, 1);
  return reshape(c, input, target);
}

/** The value without these dimensions, which must be 1. */
export function squeeze(c: OperatorContext, input: ValueId, axes: readonly number[]): ValueId {
  const shape = c.shape(input);
  for (const axis of axes) {
    if (typeof shape[axis] === 'number' && shape[axis] !== 1) c.bad('axes', 'dimensions of 1', formatShape(shape));
  }
  const kept = range(shape.length).filter((axis) => !axes.includes(axis));
  return reshape(c, input, keepDims(shape, kept));
}

/** An axis counted from the front. */
export function axisOf(c: OperatorContext, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    c.bad('axis', `an integer in ${-rank}..${rank - 1}`, String(axis));
  }
  return axis < 0 ? axis + rank : axis;
}

/** One number that is known. */
export function numberOf(c: OperatorContext, input: number, what: string): number {
  const values = c.integers(input, what);
  if (values.length !== 1) c.bad(what, 'one number', `${values.length} elements`);
  return values[0];
}

/** A dimension whose size must be known now. */
export function sizeOf(c: OperatorContext, value: ValueId, axis: number): number {
  const dim = c.shape(value)[axis];
  if (typeof dim !== 'number') {
    throw new Unsupported(`dimension ${axis} of ${formatShape(c.shape(value))} that is open`);
  }
  return dim;
}

export function requireRank(c: OperatorContext, value: ValueId, rank: number): void {
  const shape = c.shape(value);
  if (shape.length !== rank) c.bad('input', `${rank} dimensions`, formatShape(shape));
}

const { NONE, RELU, RELU_N1_TO_1, RELU6 } = ActivationFunctionType;
const { POSITIVE_INFINITY } = Number;

const CLAMPS: Partial<Record<ActivationFunctionType, Clamp>> = {
  [NONE]: NO_CLAMP,
  [RELU]: [0, POSITIVE_INFINITY],
  [RELU_N1_TO_1]: [-1, 1],
  [RELU6]: [0, 6],
};

/** What a fused activation does. TANH and SIGN_BIT are in the schema, but kernels leave them out without a word. */
export function fusedClamp(type: ActivationFunctionType = NONE): Clamp {
  const clamp = CLAMPS[type];
  if (!clamp) throw new Unsupported(`the fused activation ${ActivationFunctionType[type] ?? type}`);
  return clamp;
}

/** Applies a fused activation. */
export function activate(c: OperatorContext, value: ValueId, type: ActivationFunctionType | undefined): ValueId {
  const clamp = fusedClamp(type);
  return clamp === NO_CLAMP ? value : clampTo(c, value, clamp);
}
