import { binary, unary } from '../../graph/emit.js';
import type { IntegerConstant } from '../../graph/integers.js';
import type { Clamp, ValueId } from '../../graph/ir.js';
import type { BinaryOperator, UnaryFunction } from '../../plan/problem.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { Unsupported } from '../tensor.js';
import { keepDims, type NodeContext, type Operator, reshape } from './context.js';

export { binary, unary };

/** One number, 0, that does not broadcast what it is combined with. */
function isZero(c: NodeContext, value: ValueId, others: readonly ValueId[]): boolean {
  if (c.number(value) !== 0) return false;
  return others.some((other) => c.shape(other).length >= c.shape(value).length);
}

export function where(c: NodeContext, condition: ValueId, a: ValueId, b: ValueId): ValueId {
  const yes = () => binary(c, 'keep', a, condition);
  const no = () => binary(c, 'drop', b, condition);
  if (isZero(c, b, [a, condition])) return yes();
  if (isZero(c, a, [b, condition])) return no();
  return binary(c, 'add', yes(), no());
}

export function clampTo(c: NodeContext, input: ValueId, clamp: Clamp): ValueId {
  return c.emit({ op: 'clamp', inputs: [input], clamp });
}

const isFalse = (c: NodeContext, input: ValueId): ValueId => binary(c, 'equal', input, { number: 0 });

/** An operator of one input and some numbers. */
function simple(
  attributes: Readonly<Record<string, number>>,
  read: (c: NodeContext, input: ValueId, numbers: number[]) => ValueId,
): Operator {
  return {
    attributes: Object.keys(attributes),
    inputs: [1, 1],
    read: (c) =>
      read(
        c,
        c.value(0),
        Object.entries(attributes).map(([name, fallback]) => c.attributes.float(name, fallback)),
      ),
  };
}

const applies = (f: UnaryFunction): Operator => simple({}, (c, input) => unary(c, f, input));

const combines = (op: BinaryOperator): Operator => ({
  attributes: [],
  inputs: [2, 2],
  read: (c) => binary(c, op, c.value(0), c.value(1)),
});

/** 8-bit integers are computed with as f32 and wrap around as ONNX has it; what is no arithmetic on such is undefined. */
function onBytes(c: NodeContext, compute: (a: ValueId, b: ValueId) => ValueId): ValueId | undefined {
  const dtype = c.type(c.value(0));
  if ((dtype !== 'uint8' && dtype !== 'int8') || c.type(c.value(1)) !== dtype) return undefined;
  const exact = compute(toFloats(c, c.value(0)), toFloats(c, c.value(1)));
  const less = { number: dtype === 'uint8' ? 0 : 128 };
  const wrapped = binary(c, 'sub', binary(c, 'mod', binary(c, 'add', exact, less), { number: 256 }), less);
  return c.emit({ op: 'quantize', inputs: [wrapped], quantization: { dtype, scale: 1, zeroPoint: 0 } });
}

const wraps = (op: 'add' | 'sub' | 'mul'): Operator => ({
  attributes: [],
  inputs: [2, 2],
  read: (c) => onBytes(c, (a, b) => binary(c, op, a, b)) ?? binary(c, op, c.value(0), c.value(1)),
});

/** An operator of any number of inputs, combined two by two. */
function folds(op: BinaryOperator, finish?: (c: NodeContext, value: ValueId) => ValueId): Operator {
  return {
    attributes: [],
    inputs: [1, 1 << 16],
    read(c) {
      let value = c.value(0);
      for (let i = 1; i < c.inputCount; i++) value = binary(c, op, value, c.value(i));
      return finish ? finish(c, value) : value;
    },
  };
}

function readClip(c: NodeContext): ValueId {
  const isLimit = (input: number) => c.opset < 11 || !c.has(input) || c.isConstant(input);
  if (!isLimit(1) || !isLimit(2)) {
    const raised = c.has(1) ? binary(c, 'max', c.value(0), c.value(1)) : c.value(0);
    return c.has(2) ? binary(c, 'min', raised, c.value(2)) : raised;
  }
  const limit = (input: number, name: string, fallback: number): number => {
    if (c.opset < 11) return c.attributes.float(name, fallback);
    if (!c.has(input)) return fallback;
    const { data } = c.constant(input, name);
    if (data.length !== 1 || Number.isNaN(data[0])) c.bad(name, 'one number', `${data.length} elements`);
    return data[0];
  };
  const max = limit(2, 'max', Number.POSITIVE_INFINITY);
  const min = Math.min(limit(1, 'min', Number.NEGATIVE_INFINITY), max);
  return clampTo(c, c.value(0), [min, max]);
}

function readDiv(c: NodeContext): ValueId {
  const [a, b] = [c.value(0), c.value(1)];
  if (c.isInteger(0) && c.isInteger(1)) return binary(c, 'div', a, b);
  if (!c.holdsIntegers(a) || !c.holdsIntegers(b)) return binary(c, 'div', a, b);
  // Towards zero: (a - a rem b) / b.
  const quotient = (x: ValueId, y: ValueId) => binary(c, 'div', binary(c, 'sub', x, binary(c, 'rem', x, y)), y);
  return onBytes(c, quotient) ?? quotient(a, b);
}

function readPow(c: NodeContext): ValueId {
  const base = c.value(0);
  const exponent = c.isConstant(1) && !c.isInteger(0) ? c.constant(1, 'exponent') : undefined;
  const known =
    exponent?.data.length === 1 && exponent.dims.length <= c.shape(base).length ? exponent.data[0] : undefined;
  switch (known) {
    case 0.5:
      return unary(c, 'sqrt', base);
    case 1:
      return base;
    case 2:
      return binary(c, 'mul', base, base);
    case 3:
      return binary(c, 'mul', binary(c, 'mul', base, base), base);
    case -1:
      return unary(c, 'reciprocal', base);
    case -0.5:
      return unary(c, 'reciprocal', unary(c, 'sqrt', base));
    default:
      return binary(c, 'pow', base, c.value(1));
  }
}

function readGelu(c: NodeContext): ValueId {
  const approximate = c.attributes.string('approximate', 'none');
  if (approximate !== 'none' && approximate !== 'tanh')
    c.bad('approximate', 'none or tanh', JSON.stringify(approximate));
  return unary(c, approximate === 'none' ? 'gelu' : 'geluTanh', c.value(0));
}

const INTEGER_TARGETS: readonly number[] = [
  TensorProto_DataType.INT8,
  TensorProto_DataType.UINT8,
  TensorProto_DataType.INT16,
  TensorProto_DataType.UINT16,
  TensorProto_DataType.INT32,
  TensorProto_DataType.UINT32,
  TensorProto_DataType.INT64,
  TensorProto_DataType.UINT64,
];
/** Of these, values that f32 has are kept exactly: what is lost in f16 and bfloat16 is not worth a kernel. */
const FLOAT_TARGETS: readonly number[] = [
  TensorProto_DataType.FLOAT,
  TensorProto_DataType.DOUBLE,
  TensorProto_DataType.FLOAT16,
  TensorProto_DataType.BFLOAT16,
];

/** Integers of 8 bits, or sums, as f32. */
export const toFloats = (c: NodeContext, value: ValueId): ValueId =>
  c.type(value) === 'float32' ? value : c.emit({ op: 'dequantize', inputs: [value], scale: 1, zeroPoint: 0 });

function readCast(c: NodeContext): ValueId | IntegerConstant {
  const to = c.attributes.int('to', 0);
  const input = c.value(0);
  const shape = c.shape(input);
  const codes = c.codes(0);
  if (codes) {
    const { dims, data } = codes;
    return FLOAT_TARGETS.includes(to)
      ? c.addConstant(c.constant(0, 'input'))
      : { kind: 'integers', dims, data: [...data] };
  }
  if (c.type(input) !== 'float32' && to !== TensorProto_DataType.BOOL) {
    const floats = toFloats(c, input);
    return FLOAT_TARGETS.includes(to) ? floats : c.markIntegers(floats);
  }
  if (FLOAT_TARGETS.includes(to)) {
    if (!c.holdsIntegers(input)) return input;
    if (!c.isInteger(0)) return reshape(c, input, keepDims(shape));
    // Open dimensions go on as such: exporters cast sizes to multiply them by scales.
    return c.dims(0, 'input').some((dim) => typeof dim === 'string') ? input : c.addConstant(c.constant(0, 'input'));
  }
  if (to === TensorProto_DataType.BOOL) {
    return c.markIntegers(binary(c, 'sub', { number: 1 }, isFalse(c, input)));
  }
  if (!INTEGER_TARGETS.includes(to)) throw new Unsupported(`a cast to ${TensorProto_DataType[to] ?? to}`);
  if (c.holdsIntegers(input)) return input;
  if (c.isConstant(0)) {
    const { dims, data } = c.constant(0, 'input');
    if (data.every(Number.isFinite)) return { kind: 'integers', dims, data: Array.from(data, Math.trunc) };
  }
  return c.markIntegers(binary(c, 'sub', input, binary(c, 'rem', input, { number: 1 })));
}

const { POSITIVE_INFINITY } = Number;

export const elementwise: Readonly<Record<string, Operator>> = {
  Abs: applies('abs'),
  Add: wraps('add'),
  And: combines('and'),
  Cast: { attributes: ['to', 'saturate'], inputs: [1, 1], read: readCast },
  CastLike: { attributes: ['saturate'], inputs: [2, 2], read: (c) => c.value(0) },
  Ceil: applies('ceil'),
  Celu: simple({ alpha: 1 }, (c, x, [alpha]) =>
    binary(c, 'mul', unary(c, 'elu', binary(c, 'div', x, { number: alpha })), { number: alpha }),
  ),
  Clip: { attributes: ['min', 'max'], inputs: [1, 3], read: readClip },
  Div: { attributes: [], inputs: [2, 2], read: readDiv },
  // elu(x) is negative where x is: what is below 0 is then multiplied.
  Elu: simple({ alpha: 1 }, (c, x, [alpha]) =>
    alpha === 1 ? unary(c, 'elu', x) : binary(c, 'prelu', unary(c, 'elu', x), { number: alpha }),
  ),
  Equal: combines('equal'),
  Erf: applies('erf'),
  Exp: applies('exp'),
  Cos: applies('cos'),
  Floor: applies('floor'),
  Gelu: { attributes: ['approximate'], inputs: [1, 1], read: readGelu },
  Greater: { attributes: [], inputs: [2, 2], read: (c) => binary(c, 'less', c.value(1), c.value(0)) },
  GreaterOrEqual: { attributes: [], inputs: [2, 2], read: (c) => binary(c, 'lessOrEqual', c.value(1), c.value(0)) },
  HardSigmoid: simple({ alpha: 0.2, beta: 0.5 }, (c, x, [alpha, beta]) =>
    binary(c, 'add', binary(c, 'mul', x, { number: alpha }), { number: beta }, [0, 1]),
  ),
  HardSwish: applies('hardSwish'),
  IsNaN: simple({}, (c, x) => isFalse(c, binary(c, 'equal', x, x))),
  LeakyRelu: simple({ alpha: 0.01 }, (c, x, [alpha]) => binary(c, 'prelu', x, { number: alpha })),
  Less: combines('less'),
  LessOrEqual: combines('lessOrEqual'),
  Log: applies('log'),
  Max: folds('max'),
  Mean: folds('add', (c, sum) => binary(c, 'div', sum, { number: c.inputCount })),
  Min: folds('min'),
  Mish: simple({}, (c, x) => binary(c, 'mul', x, unary(c, 'tanh', unary(c, 'softplus', x)))),
  Mod: {
    attributes: ['fmod'],
    inputs: [2, 2],
    read: (c) => binary(c, c.attributes.int('fmod', 0, 0, 1) ? 'rem' : 'mod', c.value(0), c.value(1)),
  },
  Mul: wraps('mul'),
  Neg: simple({}, (c, x) => binary(c, 'sub', { number: 0 }, x)),
  Not: simple({}, isFalse),
  Or: combines('or'),
  PRelu: combines('prelu'),
  Pow: { attributes: [], inputs: [2, 2], read: readPow },
  Reciprocal: applies('reciprocal'),
  Relu: simple({}, (c, x) => clampTo(c, x, [0, POSITIVE_INFINITY])),
  Round: applies('round'),
  Selu: simple({ alpha: 1.6732631921768188, gamma: 1.0507010221481323 }, (c, x, [alpha, gamma]) =>
    binary(c, 'mul', binary(c, 'prelu', unary(c, 'elu', x), { number: alpha }), { number: gamma }),
  ),
  Sigmoid: applies('sigmoid'),
  Sign: applies('sign'),
  Sin: applies('sin'),
  Softplus: applies('softplus'),
  Softsign: simple({}, (c, x) => binary(c, 'div', x, binary(c, 'add', unary(c, 'abs', x), { number: 1 }))),
  Sqrt: applies('sqrt'),
  Sub: wraps('sub'),
  Sum: folds('add'),
  Tanh: applies('tanh'),
  ThresholdedRelu: simple({ alpha: 1 }, (c, x, [alpha]) =>
    binary(c, 'keep', x, binary(c, 'less', { number: alpha }, x)),
  ),
  Where: { attributes: [], inputs: [3, 3], read: (c) => where(c, c.value(0), c.value(1), c.value(2)) },
  Xor: combines('xor'),
  'com.microsoft.FastGelu': {
    attributes: [],
    inputs: [1, 2],
    read: (c) => unary(c, 'geluTanh', c.has(1) ? binary(c, 'add', c.value(0), c.value(1)) : c.value(0)),
  },
  'com.microsoft.Gelu': applies('gelu'),
  'com.microsoft.QuickGelu': simple({ alpha: 1.702 }, (c, x, [alpha]) =>
    binary(c, 'mul', x, unary(c, 'sigmoid', binary(c, 'mul', x, { number: alpha }))),
  ),
};
