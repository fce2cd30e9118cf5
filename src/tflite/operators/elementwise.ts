import { codeRange, roundHalfEven } from '../../formats/activations.js';
import { fixedFactor, fixedSum } from '../../formats/fixed.js';
import type { IntegerConstant } from '../../graph/integers.js';
import type { Clamp, ValueId } from '../../graph/ir.js';
import { tableOf } from '../../graph/lookup.js';
import { Unsupported } from '../../graph/refuse.js';
import { keepDims } from '../../graph/reshape.js';
import { UNARY_FUNCTIONS } from '../../plan/functions.js';
import type { BinaryOperator, CodeBinaryOperator, Quantization, UnaryFunction } from '../../plan/problem.js';
import { typeName } from '../file.js';
import {
  type ActivationFunctionType,
  AddOptions,
  BuiltinOptions,
  DivOptions,
  GeluOptions,
  LeakyReluOptions,
  MulOptions,
  SubOptions,
  TensorType,
} from '../generated/tflite_generated.js';
import { FLOATS } from '../tensor.js';
import {
  activate,
  binary,
  clampTo,
  fusedClamp,
  type Made,
  type Operator,
  type OperatorContext,
  reshape,
  unary,
} from './context.js';

const { POSITIVE_INFINITY } = Number;

/** Codes of f of what codes stand for, by a table. */
export function lookup(
  c: OperatorContext,
  input: ValueId,
  from: Quantization,
  to: Quantization,
  f: (x: number) => number,
): ValueId {
  return c.emit({ op: 'lookup', inputs: [input], from: from.dtype, to: to.dtype, table: tableOf(from, to, f) });
}

/** Codes of an input of codes, given by a function of codes. */
function lookupCodes(
  c: OperatorContext,
  input: ValueId,
  from: Quantization,
  to: Quantization,
  codeOf: (code: number) => number,
): ValueId {
  const table = Array.from({ length: 256 }, (_, byte) => codeOf(from.dtype === 'int8' ? (byte << 24) >> 24 : byte));
  return c.emit({ op: 'lookup', inputs: [input], from: from.dtype, to: to.dtype, table });
}

/** Factors that XNNPACK has fixed-point kernels for. */
const FIXED_POINT: readonly [number, number] = [2 ** -8, 2 ** 7];

/**
 * Codes times a factor, above and below the zero point, as XNNPACK's integer kernels for leaky ReLU and requantisation
 * compute them: factors with 8 bits of fraction, products rounded half up
 * (XNNPACK src/microparams-init.c, xnn_init_qs8_lrelu_scalar_params and xnn_init_qs8_cvt_scalar_params).
 */
function scaledCodes(c: OperatorContext, slope: number): ValueId | undefined {
  const [from, to] = [c.codesOf(c.tensor(0)), c.codesOf(c.output())];
  if (!from || !to) return undefined;
  const positive = Math.fround(Math.fround(from.scale) / Math.fround(to.scale));
  const [least, most] = FIXED_POINT;
  if (!(positive >= least && positive <= most) || Math.abs(positive * slope) > most) {
    return lookup(c, c.value(0), from, to, (x) => (x < 0 ? slope * x : x));
  }
  const [above, below] = [positive, Math.fround(positive * Math.fround(slope))].map((x) => roundHalfEven(256 * x));
  const [min, max] = codeRange(to.dtype);
  return lookupCodes(c, c.value(0), from, to, (code) => {
    const steps = code - from.zeroPoint;
    const rounded = Math.floor((steps * (steps < 0 ? below : above) + 128) / 256);
    return Math.min(Math.max(rounded + to.zeroPoint, min), max);
  });
}

/** Codes of f of an input of codes; undefined where input or output have none. */
export function codesThrough(c: OperatorContext, f: (x: number) => number): ValueId | undefined {
  const [from, to] = [c.codesOf(c.tensor(0)), c.codesOf(c.output())];
  return from && to ? lookup(c, c.value(0), from, to, f) : undefined;
}

/** An operator of one input: as nodes, and as a function of a number for codes. */
function simple(read: (c: OperatorContext, input: ValueId) => ValueId, f?: (x: number) => number): Operator {
  return {
    inputs: [1, 1],
    read: (c) => read(c, c.value(0)),
    ...(f && { readCodes: (c) => codesThrough(c, f) }),
  };
}

const applies = (f: UnaryFunction): Operator => simple((c, input) => unary(c, f, input), UNARY_FUNCTIONS[f]);

const clamps = ([min, max]: Clamp): Operator =>
  simple(
    (c, input) => clampTo(c, input, [min, max]),
    (x) => Math.min(Math.max(x, min), max),
  );

const combines = (op: BinaryOperator): Operator => ({
  inputs: [2, 2],
  read: (c) => binary(c, op, c.value(0), c.value(1)),
});

/** b op a */
const swapped = (op: BinaryOperator): Operator => ({
  inputs: [2, 2],
  read: (c) => binary(c, op, c.value(1), c.value(0)),
});

type Activated = { fusedActivationFunction(): ActivationFunctionType };

/** Arithmetic with a fused activation; of codes where there is a node for that. */
function arithmetic(
  op: BinaryOperator,
  type: BuiltinOptions,
  Options: new () => Activated,
  ofCodes?: CodeBinaryOperator,
): Operator {
  const fused = (c: OperatorContext) => c.options(type, new Options())?.fusedActivationFunction();
  return {
    inputs: [2, 2],
    read(c) {
      const [a, b] = [c.value(0), c.value(1)];
      if (op === 'div' && c.holdsIntegers(a) && c.holdsIntegers(b)) return divideIntegers(c, a, b);
      return activate(c, binary(c, op, a, b), fused(c));
    },
    ...(ofCodes && {
      readCodes(c: OperatorContext) {
        const [a, b, quantization] = [c.tensor(0), c.tensor(1), c.output()].map((tensor) => c.codesOf(tensor));
        const clamp = fusedClamp(fused(c));
        if (!a || !b || !quantization) return undefined;
        const fits = ofCodes === 'fixedMul' ? fixedFactor(a, b, quantization) : fixedSum(a, b, quantization, 1);
        if (!fits) return undefined;
        return c.emit({ op: ofCodes, inputs: [c.value(0), c.value(1)], a, b, quantization, clamp });
      },
    }),
  };
}

/** Towards zero: (a - a rem b) / b, where it is not known yet. */
function divideIntegers(c: OperatorContext, a: ValueId, b: ValueId): ValueId {
  if (c.isInteger(0) && c.isInteger(1)) return binary(c, 'div', a, b);
  return binary(c, 'div', binary(c, 'sub', a, binary(c, 'rem', a, b)), b);
}

const not = (c: OperatorContext, input: ValueId): ValueId => binary(c, 'equal', input, { number: 0 });

function readSelect(c: OperatorContext): ValueId {
  const [condition, a, b] = [c.value(0), c.value(1), c.value(2)];
  const rank = c.shape(a).length;
  const shape = c.shape(condition);
  // SELECT takes a vector that chooses whole rows.
  const wide = shape.length === 1 && rank > 1 && shape[0] === c.shape(a)[0] && shape[0] !== 1;
  const chooser = wide
    ? reshape(c, condition, [...keepDims(shape), ...new Array<number>(rank - 1).fill(1)])
    : condition;
  return binary(c, 'add', binary(c, 'keep', a, chooser), binary(c, 'drop', b, chooser));
}

function readCast(c: OperatorContext): ValueId | IntegerConstant {
  const { type } = c.output();
  const input = c.value(0);
  const shape = c.shape(input);
  if (FLOATS.includes(type)) {
    if (!c.holdsIntegers(input)) return input;
    if (!c.isInteger(0)) return reshape(c, input, keepDims(shape));
    return c.dims(0, 'input').some((dim) => typeof dim === 'string') ? input : c.addConstant(c.constant(0, 'input'));
  }
  if (type === TensorType.BOOL) return c.markIntegers(binary(c, 'sub', { number: 1 }, not(c, input)));
  if (type === TensorType.STRING || type === TensorType.COMPLEX64) throw new Unsupported(`a cast to ${typeName(type)}`);
  if (c.holdsIntegers(input)) return input;
  if (c.isConstant(0)) {
    const { dims, data } = c.constant(0, 'input');
    if (data.every(Number.isFinite)) return { kind: 'integers', dims, data: Array.from(data, Math.trunc) };
  }
  return c.markIntegers(binary(c, 'sub', input, binary(c, 'rem', input, { number: 1 })));
}

function leakySlope(c: OperatorContext): number {
  return c.options(BuiltinOptions.LeakyReluOptions, new LeakyReluOptions())?.alpha() ?? 0;
}

const LEAKY_RELU: Operator = {
  inputs: [1, 1],
  read: (c) => binary(c, 'prelu', c.value(0), { number: leakySlope(c) }),
  readCodes: (c) => scaledCodes(c, leakySlope(c)),
};

function geluOf(c: OperatorContext): UnaryFunction {
  return c.options(BuiltinOptions.GeluOptions, new GeluOptions())?.approximate() ? 'geluTanh' : 'gelu';
}

const GELU: Operator = {
  inputs: [1, 1],
  read: (c) => unary(c, geluOf(c), c.value(0)),
  readCodes: (c) => codesThrough(c, UNARY_FUNCTIONS[geluOf(c)]),
};

function readAddN(c: OperatorContext): ValueId {
  let sum = c.value(0);
  for (let i = 1; i < c.inputCount; i++) sum = binary(c, 'add', sum, c.value(i));
  return sum;
}

/** A constant in another type stays the constant that it is for the layers that read it. */
function readDequantize(c: OperatorContext): Made {
  if (c.isConstant(0)) {
    if (FLOATS.includes(c.tensor(0).type)) c.keep(0);
    return c.addConstant(c.constant(0, 'input'));
  }
  return c.value(0);
}

const QUANTIZE: Operator = {
  inputs: [1, 1],
  read: (c) => c.value(0),
  readCodes: (c) => scaledCodes(c, 1),
};

const keepsSize = { inputs: [1, 1] as const, moves: true };

export const elementwise: Readonly<Record<string, Operator>> = {
  ABS: applies('abs'),
  ADD: arithmetic('add', BuiltinOptions.AddOptions, AddOptions, 'fixedAdd'),
  ADD_N: { inputs: [1, 1 << 16], read: readAddN },
  CAST: { inputs: [1, 1], read: readCast },
  CEIL: applies('ceil'),
  COS: applies('cos'),
  DENSIFY: {
    ...keepsSize,
    read(c) {
      c.keep(0);
      return c.value(0);
    },
  },
  DEQUANTIZE: { inputs: [1, 1], read: readDequantize },
  DIV: arithmetic('div', BuiltinOptions.DivOptions, DivOptions),
  ELU: applies('elu'),
  EQUAL: combines('equal'),
  EXP: applies('exp'),
  FLOOR: applies('floor'),
  FLOOR_DIV: {
    inputs: [2, 2],
    read(c) {
      const [a, b] = [c.value(0), c.value(1)];
      const floor = unary(c, 'floor', binary(c, 'div', a, b));
      return c.holdsIntegers(a) && c.holdsIntegers(b) ? c.markIntegers(floor) : floor;
    },
  },
  FLOOR_MOD: combines('mod'),
  GELU,
  GREATER: swapped('less'),
  GREATER_EQUAL: swapped('lessOrEqual'),
  HARD_SWISH: applies('hardSwish'),
  LEAKY_RELU,
  LESS: combines('less'),
  LESS_EQUAL: combines('lessOrEqual'),
  LOG: applies('log'),
  LOGICAL_AND: combines('and'),
  LOGICAL_NOT: simple(not),
  LOGICAL_OR: combines('or'),
  LOGISTIC: applies('sigmoid'),
  MAXIMUM: combines('max'),
  MINIMUM: combines('min'),
  MUL: arithmetic('mul', BuiltinOptions.MulOptions, MulOptions, 'fixedMul'),
  NEG: simple(
    (c, x) => binary(c, 'sub', { number: 0 }, x),
    (x) => -x,
  ),
  NOT_EQUAL: { inputs: [2, 2], read: (c) => not(c, binary(c, 'equal', c.value(0), c.value(1))) },
  POW: combines('pow'),
  PRELU: combines('prelu'),
  QUANTIZE,
  RELU: clamps([0, POSITIVE_INFINITY]),
  RELU6: clamps([0, 6]),
  RELU_0_TO_1: clamps([0, 1]),
  RELU_N1_TO_1: clamps([-1, 1]),
  ROUND: applies('round'),
  RSQRT: simple(
    (c, x) => unary(c, 'reciprocal', unary(c, 'sqrt', x)),
    (x) => 1 / Math.sqrt(x),
  ),
  SELECT: { inputs: [3, 3], read: readSelect },
  SELECT_V2: { inputs: [3, 3], read: readSelect },
  SIGN: applies('sign'),
  SIN: applies('sin'),
  SQRT: applies('sqrt'),
  SQUARE: simple((c, x) => binary(c, 'mul', x, x)),
  SQUARED_DIFFERENCE: {
    inputs: [2, 2],
    read(c) {
      const difference = binary(c, 'sub', c.value(0), c.value(1));
      return binary(c, 'mul', difference, difference);
    },
  },
  SUB: arithmetic('sub', BuiltinOptions.SubOptions, SubOptions, 'fixedSub'),
  TANH: applies('tanh'),
};
