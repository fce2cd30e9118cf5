import {
  type BatchMatmulNode,
  type BatchNormNode,
  type BinaryNode,
  type ClampNode,
  type CodeBinaryNode,
  isBinary,
  isCodeBinary,
  isLayer,
  type LookupNode,
  type Node,
  type NormalizeNode,
  type ReduceNode,
  type SoftmaxNode,
  type ValueId,
} from '../../graph/ir.js';
import { isConcrete, type Shape } from '../../graph/shapes.js';
import type { BinaryOperator, CodeBinaryOperator, Reduction } from '../../plan/problem.js';
import { DOMAIN } from '../domain.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { type Context, Refused, type Stage } from './context.js';
import { bytesOf } from './file.js';
import { isTruncation } from './integers.js';
import { clampAttributes, codes, writeLayer, writePool } from './layers.js';
import { writeMovement } from './movement.js';
import type { Order } from './values.js';

const { BOOL, FLOAT, INT32, INT64 } = TensorProto_DataType;

/** Writes one node; what it reads is in the file. */
export function writeNode(c: Context, node: Node): ValueId {
  if (isLayer(node)) return writeLayer(c, node);
  if (isBinary(node)) return writeBinary(c, node);
  if (isCodeBinary(node)) return writeCodeBinary(c, node);
  switch (node.op) {
    case 'maxPool2d':
    case 'averagePool2d':
      return writePool(c, node);
    case 'activation':
    case 'clamp': {
      if (node.op === 'clamp' && c.wantsIntegers.has(node.output) && c.values.has(node.inputs[0], INT64)) {
        return writeIntegerClamp(c, node);
      }
      const stages = [...(node.op === 'activation' ? c.unary(node.nonlinearity) : []), ...c.clamp(node.clamp)];
      return pointwise(c, node, stages.length > 0 ? stages : [{ opType: 'Identity' }]);
    }
    case 'quantize': {
      const { scale, zeroPoint, dtype } = node.quantization;
      return pointwise(c, node, [{ opType: 'QuantizeLinear', more: c.meaning(scale, zeroPoint, dtype) }]);
    }
    case 'dequantize': {
      const order = c.prefer(node.inputs);
      const integers = c.wantsIntegers.has(node.output) && node.scale === 1 && node.zeroPoint === 0;
      if (!integers) {
        return c.values.set(node.output, c.dequantized(node.inputs[0], order, node.scale, node.zeroPoint), order);
      }
      const input = c.values.get(node.inputs[0], order);
      return c.write(node, [input], [{ opType: 'Cast', attributes: { to: INT64 } }], order, INT64);
    }
    case 'lookup':
      return writeLookup(c, node);
    case 'softmax':
      return writeSoftmax(c, node);
    case 'reduce':
      return writeReduce(c, node);
    case 'normalize':
      return writeNormalize(c, node);
    case 'batchNorm':
      return writeBatchNorm(c, node);
    case 'batchMatmul':
      return writeProduct(c, node);
    default:
      return writeMovement(c, node);
  }
}

/** A function of each element, in the order in which the file has its input. */
function pointwise(c: Context, node: Node, stages: readonly Stage[]): ValueId {
  const order = c.prefer(node.inputs);
  const { more = [], inputs } = stages[0];
  const input = c.values.get(node.inputs[0], order);
  return c.write(node, inputs?.(input, input) ?? [input, ...more], stages, order);
}

const BINARY_NAMES: Readonly<Record<Exclude<BinaryOperator, 'keep' | 'drop' | 'mod'>, string>> = {
  add: 'Add',
  sub: 'Sub',
  mul: 'Mul',
  div: 'Div',
  min: 'Min',
  max: 'Max',
  pow: 'Pow',
  rem: 'Mod',
  prelu: 'PRelu',
  equal: 'Equal',
  less: 'Less',
  lessOrEqual: 'LessOrEqual',
  and: 'And',
  or: 'Or',
  xor: 'Xor',
};

const COMPARES: ReadonlySet<string> = new Set(['equal', 'less', 'lessOrEqual']);
const COMBINES_TRUTH: ReadonlySet<string> = new Set(['and', 'or', 'xor']);

/** The order in which operands that are broadcast are combined: of values of fewer dimensions, as the graph has it. */
function orderOf(c: Context, { inputs, output }: Node): Order {
  const rank = c.values.shape(output).length;
  const full = inputs.every((id) => c.values.constant(id) || c.values.shape(id).length === rank);
  return full ? c.prefer(inputs.filter((id) => c.values.shape(id).length === rank)) : c.values.plain(output);
}

/** An operand in an order of all the dimensions of the output. */
function operand(c: Context, id: ValueId, order: Order, rank: number, type: number): string {
  const constant = c.values.constant(id);
  const own = c.values.shape(id).length;
  if (constant && own < rank) return c.values.widened(id, order, type);
  return own === order.length ? c.values.get(id, order, type) : c.values.get(id, c.values.plain(id), type);
}

function writeBinary(c: Context, node: BinaryNode): ValueId {
  const rank = c.values.shape(node.output).length;
  const order = orderOf(c, node);
  const all = (type: number) => node.inputs.map((id) => operand(c, id, order, rank, type));
  if (isTruncation(c, node)) {
    const name = c.values.get(node.inputs[0], order, FLOAT);
    return c.write(node, [name], [{ opType: 'Cast', attributes: { to: INT64 } }], order, INT64);
  }
  const choice = choiceOf(c, node);
  if (choice) {
    const [condition, yes, no] = choice;
    const inputs = [
      operand(c, condition, order, rank, BOOL),
      operand(c, yes, order, rank, FLOAT),
      operand(c, no, order, rank, FLOAT),
    ];
    return c.write(node, inputs, [{ opType: 'Where' }, ...c.clamp(node.clamp)], order);
  }
  if (node.op === 'keep' || node.op === 'drop') {
    const condition = operand(c, node.inputs[1], order, rank, BOOL);
    const value = operand(c, node.inputs[0], order, rank, FLOAT);
    const zero = c.file.number(0);
    const inputs = node.op === 'keep' ? [condition, value, zero] : [condition, zero, value];
    return c.write(node, inputs, [{ opType: 'Where' }, ...c.clamp(node.clamp)], order);
  }
  if (node.op === 'mod') return writeMod(c, node, all(FLOAT), order);
  const opType = BINARY_NAMES[node.op];
  if (node.op === 'lessOrEqual') c.file.need(12);
  const clamped = c.clamp(node.clamp);
  if (COMPARES.has(node.op) || COMBINES_TRUTH.has(node.op)) {
    const inputs = all(COMBINES_TRUTH.has(node.op) ? BOOL : FLOAT);
    if (clamped.length === 0) return c.write(node, inputs, [{ opType }], order, BOOL);
    return c.write(node, inputs, [{ opType }, { opType: 'Cast', attributes: { to: FLOAT } }, ...clamped], order);
  }
  const attributes = node.op === 'rem' ? { fmod: 1 } : {};
  if (node.op === 'prelu') requireSlope(c, node);
  const integers = c.wantsIntegers.has(node.output) && node.inputs.every((id) => c.values.has(id, INT64));
  const type = integers ? INT64 : FLOAT;
  const stages = integers && clamped.length > 0 ? [integerClamp(c, node)] : clamped;
  return c.write(node, all(type), [{ opType, attributes }, ...stages], order, type);
}

function integerClamp(c: Context, { clamp }: BinaryNode | ClampNode): Stage {
  c.file.need(12);
  const bound = (x: number) => (Number.isInteger(x) ? c.file.integers([x], []) : '');
  return { opType: 'Clip', more: clamp.map(bound) };
}

function writeIntegerClamp(c: Context, node: ClampNode): ValueId {
  const order = c.prefer(node.inputs);
  const stage = integerClamp(c, node);
  return c.write(node, [c.values.get(node.inputs[0], order, INT64), ...stage.more!], [stage], order, INT64);
}

/** PRelu's slope is broadcast to x, not x to it. */
function requireSlope(c: Context, { inputs, output }: BinaryNode): void {
  const [x] = inputs;
  if (c.values.shape(x).join() !== c.values.shape(output).join()) throw new Refused('slopes of more dimensions than x');
}

/** a - b floor(a / b): ONNX's own Mod is of integers, or takes the sign of a. */
function writeMod(c: Context, node: BinaryNode, [a, b]: readonly string[], order: Order): ValueId {
  const quotient: Stage = { opType: 'Div' };
  const whole: Stage = { opType: 'Floor' };
  const times: Stage = { opType: 'Mul', inputs: (floor) => [floor, b] };
  const rest: Stage = { opType: 'Sub', inputs: (product) => [a, product] };
  return c.write(node, [a, b], [quotient, whole, times, rest, ...c.clamp(node.clamp)], order);
}

/** What Where chooses: keep(a, condition) + drop(b, condition), as the condition, a and b. */
export function choiceOf(
  c: Context,
  { op, inputs }: BinaryNode,
): [condition: ValueId, yes: ValueId, no: ValueId] | undefined {
  if (op !== 'add') return undefined;
  for (const [first, second] of [inputs, [...inputs].reverse()]) {
    const keep = c.producers.get(first);
    const drop = c.producers.get(second);
    if (keep?.op !== 'keep' || drop?.op !== 'drop' || !c.isPart(keep) || !c.isPart(drop)) continue;
    if (keep.inputs[1] === drop.inputs[1]) return [keep.inputs[1], keep.inputs[0], drop.inputs[0]];
  }
  return undefined;
}

const CODE_BINARY_NAMES: Readonly<Record<CodeBinaryOperator, string>> = {
  qAdd: 'Add',
  qMul: 'Mul',
  fixedAdd: 'Add',
  fixedSub: 'Sub',
  fixedMul: 'Mul',
};

/** Those whose rounding ONNX does not have. */
const OWN_NAMES: Partial<Record<CodeBinaryOperator, string>> = {
  fixedAdd: 'FixedAdd',
  fixedSub: 'FixedSub',
  fixedMul: 'FixedMul',
};

function writeCodeBinary(c: Context, node: CodeBinaryNode): ValueId {
  const rank = c.values.shape(node.output).length;
  const order = orderOf(c, node);
  const own = OWN_NAMES[node.op];
  if (own && !c.portable) {
    const inputs = node.inputs.map((id) => operand(c, id, order, rank, c.values.ownType(id)));
    const limits = clampAttributes(node.clamp);
    const attributes = { ...codes('a', node.a), ...codes('b', node.b), ...codes('y', node.quantization), ...limits };
    return c.write(node, inputs, [{ opType: `${DOMAIN}.${own}`, attributes }], order);
  }
  const inputs = node.inputs.map((id, i) => {
    const { scale, zeroPoint } = i === 0 ? node.a : node.b;
    const own = c.values.shape(id).length;
    if (!c.values.constant(id) || own === rank) {
      return c.dequantized(id, own === rank ? order : c.values.plain(id), scale, zeroPoint);
    }
    const name = c.file.unique(`${c.values.value(id).name}.real`);
    const constant = c.values.widened(id, order, c.values.ownType(id));
    return c.file.node('DequantizeLinear', [constant, ...c.meaning(scale, zeroPoint, id)], name, {}, name);
  });
  const { scale, zeroPoint, dtype } = node.quantization;
  const stages: Stage[] = [
    { opType: CODE_BINARY_NAMES[node.op] },
    ...c.clamp(node.clamp),
    { opType: 'QuantizeLinear', more: c.meaning(scale, zeroPoint, dtype) },
  ];
  return c.write(node, inputs, stages, order);
}

/** The row of a table that a code names: negative ones count from its end, as their bytes do. */
function writeLookup(c: Context, node: LookupNode): ValueId {
  const order = c.prefer(node.inputs);
  const input = c.values.get(node.inputs[0], order);
  const type = c.values.ownType(node.output);
  const Type = node.to === 'uint8' ? Uint8Array : Int8Array;
  const table = c.file.small(type, Type.from(node.table), [256]);
  const index = c.file.unique(`${input}.index`);
  c.file.node('Cast', [input], index, { to: INT32 }, index);
  return c.write(node, [table, index], [{ opType: 'Gather', attributes: { axis: 0 } }], order);
}

function writeSoftmax(c: Context, node: SoftmaxNode): ValueId {
  const [input] = node.inputs;
  const rank = c.values.shape(input).length;
  const { tail } = node;
  const preferred = c.prefer(node.inputs);
  const last = (order: Order) => order.slice(rank - tail).every((axis) => axis >= rank - tail);
  const order = last(preferred) || tail === 1 ? preferred : c.values.plain(input);
  const name = c.values.get(input, order);
  if (c.file.opset < 13) {
    if (!last(order)) c.file.need(13);
    const stage = { opType: 'Softmax', attributes: { axis: rank - tail } };
    return c.write(node, [name], [stage], order);
  }
  if (tail === 1) {
    return c.write(node, [name], [{ opType: 'Softmax', attributes: { axis: order.indexOf(rank - 1) } }], order);
  }
  // Several dimensions together, as one.
  const shape = c.file.unique(`${name}.shape`);
  c.file.node('Shape', [name], shape, {}, shape);
  const stages: Stage[] = [
    { opType: 'Flatten', attributes: { axis: rank - tail } },
    { opType: 'Softmax', attributes: { axis: 1 } },
    { opType: 'Reshape', more: [shape] },
  ];
  return c.write(node, [name], stages, order);
}

const REDUCTION_NAMES: Readonly<Record<Reduction, string>> = {
  sum: 'ReduceSum',
  mean: 'ReduceMean',
  max: 'ReduceMax',
  min: 'ReduceMin',
  prod: 'ReduceProd',
  sumSquare: 'ReduceSumSquare',
  l2: 'ReduceL2',
  argMax: 'ArgMax',
  argMin: 'ArgMin',
};

/** A reduction over places of a tensor, which stay as dimensions of 1: axes are an attribute, or in newer sets an input. */
function reduction(c: Context, which: Exclude<Reduction, 'argMax' | 'argMin'>, axes: readonly number[]): Stage {
  const opType = REDUCTION_NAMES[which];
  const sorted = [...axes].sort((a, b) => a - b);
  return c.file.opset < (which === 'sum' ? 13 : 18)
    ? { opType, attributes: { axes: sorted } }
    : { opType, more: [c.file.integers(sorted)] };
}

function writeReduce(c: Context, node: ReduceNode): ValueId {
  const order = c.prefer(node.inputs);
  const input = c.values.get(node.inputs[0], order);
  const axes = node.axes.map((axis) => order.indexOf(axis));
  if (node.reduction === 'argMax' || node.reduction === 'argMin') {
    const moving = axes.filter((_, i) => c.values.shape(node.inputs[0])[node.axes[i]] !== 1);
    if (moving.length > 1) throw new Refused('the place of the largest of several dimensions');
    const stage = { opType: REDUCTION_NAMES[node.reduction], attributes: { axis: moving[0] ?? axes[0], keepdims: 1 } };
    return c.write(node, [input], [stage], order, INT64);
  }
  const stage = reduction(c, node.reduction, axes);
  return c.write(node, [input, ...(stage.more ?? [])], [stage], order);
}

function writeNormalize(c: Context, node: NormalizeNode): ValueId {
  const [input, affineId] = node.inputs;
  const { tail, epsilon, center } = node;
  const shape = c.values.shape(input);
  const rank = shape.length;
  const rows: Shape = shape.slice(rank - tail);
  const affine = affineId === undefined ? undefined : c.values.constant(affineId);
  if (affineId !== undefined && !affine) throw new Refused('a scale and bias that are no constants');
  const order = c.values.plain(input);
  const x = c.values.get(input, order);
  const row = (which: 0 | 1, name: string): string => {
    const count = affine!.dims[1];
    const data = affine!.data.slice(which * count, (which + 1) * count);
    const dims = isConcrete(rows) ? rows : [count];
    return c.file.initializer(`${node.name}.${name}`, dims, FLOAT, () => bytesOf(data));
  };
  if (center && isConcrete(rows) && tail > 0) {
    c.file.need(17);
    const ones = () => bytesOf(new Float32Array(rows.reduce((a, b) => a * b, 1)).fill(1));
    const scale = affine ? row(0, 'scale') : c.file.initializer(`${node.name}.scale`, rows, FLOAT, ones);
    const inputs = [x, scale, ...(affine ? [row(1, 'bias')] : [])];
    const attributes = { axis: -tail, epsilon: { float: epsilon } };
    return c.write(node, inputs, [{ opType: 'LayerNormalization', attributes }], order);
  }
  // Put together from operators that every set has; the reader finds it again.
  const axes = shape.map((_, axis) => axis).slice(rank - tail);
  const mean = reduction(c, 'mean', axes);
  const made = (opType: string, inputs: string[], ending: string, attributes = {}) => {
    const name = c.file.unique(`${x}.${ending}`);
    return c.file.node(opType, inputs, name, attributes, name);
  };
  const meanOf = (of: string, ending: string) => made(mean.opType, [of, ...(mean.more ?? [])], ending, mean.attributes);
  const d = center ? made('Sub', [x, meanOf(x, 'mean')], 'centred') : x;
  const variance = meanOf(made('Mul', [d, d], 'square'), 'variance');
  const root = made('Sqrt', [made('Add', [variance, c.file.number(epsilon)], 'epsilon')], 'deviation');
  const stages: Stage[] = [{ opType: 'Div' }];
  if (affine) stages.push({ opType: 'Mul', more: [row(0, 'scale')] }, { opType: 'Add', more: [row(1, 'bias')] });
  return c.write(node, [d, root], stages, order);
}

function writeBatchNorm(c: Context, node: BatchNormNode): ValueId {
  const { scale, shift, name } = node;
  const count = scale.length;
  const array = (ending: string, data: Float32Array) => c.file.array(`${name}.${ending}`, data, FLOAT);
  const inputs = [
    c.values.get(node.inputs[0]),
    array('scale', scale),
    array('shift', shift),
    array('mean', new Float32Array(count)),
    array('variance', new Float32Array(count).fill(1)),
  ];
  return c.write(node, inputs, [{ opType: 'BatchNormalization', attributes: { epsilon: { float: 0 } } }]);
}

function writeProduct(c: Context, node: BatchMatmulNode): ValueId {
  const inputs = node.inputs.map((id, i) => c.values.get(id, node.perms[i] ?? c.values.plain(id)));
  return c.write(node, inputs, [{ opType: 'MatMul' }]);
}
