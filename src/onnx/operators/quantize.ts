import { quantizeLinear } from '../../formats/activations.js';
import { SMALLEST_SCALE } from '../../formats/scales.js';
import type { Clamp, ValueId } from '../../graph/ir.js';
import { isConcrete } from '../../graph/shapes.js';
import type { Quantization } from '../../plan/problem.js';
import { product } from '../../plan/strides.js';
import { dequantizeNumbers, eachScale, type QuantizedTensor } from '../quantized.js';
import { CODE_TYPES, type CodeTensor, typeName, Unsupported } from '../tensor.js';
import { type Made, type NodeContext, type Operator, range, reshape } from './context.js';
import { binary, clampTo, toFloats, unary } from './elementwise.js';

// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. What is 8-bit codes with one scale is a node of the graph;
// all else is put together from arithmetic in f32, and constants are computed here.

export type CodeType = Quantization['dtype'];

/** The integers that codes may be: those of 16 bits are kept as f32. */
interface Range {
  clamp: Clamp;
  /** 8-bit codes only. */
  dtype?: CodeType;
}

const RANGES: Readonly<Record<number, Range | undefined>> = {
  2: { clamp: [0, 255], dtype: 'uint8' },
  3: { clamp: [-128, 127], dtype: 'int8' },
  4: { clamp: [0, 65535] },
  5: { clamp: [-32768, 32767] },
  21: { clamp: [0, 15] },
  22: { clamp: [-8, 7] },
  25: { clamp: [0, 3] },
  26: { clamp: [-2, 1] },
};

/** What the elements of an input that is codes are: of a constant or a value that is such, else as `fallback` says. */
export function codeType(c: NodeContext, input: number, fallback: CodeType = 'uint8'): CodeType {
  if (!c.has(input)) return fallback;
  const type = c.type(c.value(input));
  return type === 'uint8' || type === 'int8' ? type : fallback;
}

/** The value as codes: integers that were computed as f32 become such. */
export function toCodes(c: NodeContext, value: ValueId, dtype: CodeType): ValueId {
  const type = c.type(value);
  if (type === dtype) return value;
  if (type !== 'float32') c.bad('type', dtype, type);
  return c.emit({ op: 'quantize', inputs: [value], quantization: { dtype, scale: 1, zeroPoint: 0 } });
}

/** A scale or zero point that must be constant: one number. */
function one(c: NodeContext, input: number, what: string): number {
  const { data } = c.constant(input, what);
  if (data.length !== 1) throw new Unsupported(`${what} of ${data.length} elements`);
  return data[0];
}

export function requireScale(c: NodeContext, scale: number, what: string): number {
  if (!(scale >= SMALLEST_SCALE && scale < Infinity)) c.bad(what, 'a finite number above 0', String(scale));
  return scale;
}

/** What the codes of an activation mean, by two constant inputs of one element each. */
export function meaning(
  c: NodeContext,
  scaleInput: number,
  zeroInput: number,
  what: string,
  fallback?: CodeType,
): Quantization {
  const scale = requireScale(c, one(c, scaleInput, `${what}_scale`), `${what}_scale`);
  const zeroPoint = c.has(zeroInput) ? one(c, zeroInput, `${what}_zero_point`) : 0;
  return { dtype: codeType(c, zeroInput, fallback), scale, zeroPoint };
}

/**
 * Which elements of a tensor share a scale, by the shape of the scales: all; those with the same index of an axis; or
 * blocks of neighbours along it.
 */
export function blocksOf(
  c: NodeContext,
  dims: readonly number[],
  scales: readonly number[],
  axis: number,
  blockSize = 0,
): number[] {
  const whole = dims.map((dim) => Math.max(dim, 1));
  if (product(scales) === 1) return whole;
  const expected = blockSize ? dims.map((dim, i) => (i === axis ? Math.ceil(dim / blockSize) : dim)) : [dims[axis]];
  if (scales.length !== expected.length || scales.some((size, i) => size !== expected[i])) {
    c.bad('scale', `one of [${expected.join(', ')}]`, `[${scales.join(', ')}]`);
  }
  if (blockSize) return dims.map((_, i) => (i === axis ? blockSize : 1));
  return whole.map((dim, i) => (i === axis ? 1 : dim));
}

function axisOf(c: NodeContext, rank: number): number {
  if (rank === 0) return 0;
  const given = c.attributes.int('axis', 1);
  const axis = given < 0 ? given + rank : given;
  // The default is allowed where one scale is for all.
  return axis < 0 || axis >= rank ? rank - 1 : axis;
}

/** A scale or zero point as something that broadcasts against the tensor that it is for. */
function along(c: NodeContext, input: number, value: ValueId): ValueId {
  const shape = c.shape(value);
  const given = c.value(input);
  const dims = c.shape(given);
  const blockSize = c.attributes.int('block_size', 0, 0, 2 ** 30);
  const axis = axisOf(c, shape.length);
  if (product(isConcrete(dims) ? dims : [2]) === 1) return reshape(c, toFloats(c, given), []);
  if (!blockSize) {
    if (dims.length !== 1) c.bad('scale', 'one dimension', String(dims.length));
    const target = [dims[0], ...range(shape.length - 1 - axis).map(() => 1)];
    return reshape(
      c,
      toFloats(c, given),
      target.map((dim) => (typeof dim === 'number' ? dim : { axes: [0] })),
    );
  }
  if (!isConcrete(shape)) throw new Unsupported('blocks of a tensor with open dimensions');
  const { data } = c.constant(input, 'scale');
  c.claim(product(shape));
  const blocks = blocksOf(c, shape, dims as number[], axis, blockSize);
  const ones = new Uint8Array(product(shape)).fill(1);
  return c.addConstant(dequantizeNumbers(shape, ones, blocks, data));
}

function outputType(c: NodeContext): Range {
  const requested = c.attributes.int('output_dtype', 0);
  const dtype = c.has(2) ? c.type(c.value(2)) : undefined;
  const codes = c.has(2) ? c.codes(2) : undefined;
  const byCodes = Object.entries(CODE_TYPES).find(([, t]) => t?.dtype === codes?.dtype && t?.bits === codes?.bits);
  const wide = c.has(2) ? c.integerType(2) : undefined;
  const type = requested || (wide ?? (byCodes ? Number(byCodes[0]) : dtype === 'int8' ? 3 : 2));
  const found = RANGES[type];
  if (!found) throw new Unsupported(`codes of type ${typeName(type)}`);
  return found;
}

/** Constants that are one number each, in range. */
function single(c: NodeContext, dtype: CodeType): Quantization | undefined {
  const small = (input: number) =>
    !c.has(input) || (c.isConstant(input) && product(c.shape(c.value(input)) as number[]) === 1);
  if (!small(1) || !small(2)) return undefined;
  const scale = one(c, 1, 'scale');
  if (!(scale >= SMALLEST_SCALE && scale < Infinity)) return undefined;
  return { dtype, scale, zeroPoint: c.has(2) ? one(c, 2, 'zero_point') : 0 };
}

function readQuantize(c: NodeContext): Made {
  const { clamp, dtype } = outputType(c);
  const value = c.value(0);
  const quantization = dtype && single(c, dtype);
  if (c.isConstant(0) && c.isConstant(1) && (!c.has(2) || c.isConstant(2)) && dtype) return quantizeConstant(c, dtype);
  if (quantization) return c.emit({ op: 'quantize', inputs: [toFloats(c, value)], quantization });
  const steps = unary(c, 'round', binary(c, 'div', toFloats(c, value), along(c, 1, value)));
  const shifted = c.has(2) ? binary(c, 'add', steps, along(c, 2, value)) : steps;
  const integers = c.markIntegers(clampTo(c, shifted, clamp));
  return dtype ? toCodes(c, integers, dtype) : integers;
}

function quantizeConstant(c: NodeContext, dtype: CodeType): CodeTensor {
  const { dims, data } = c.constant(0, 'input');
  const { dims: scaleDims, data: scale } = c.constant(1, 'scale');
  const zeros = c.has(2) ? c.constant(2, 'zero_point').data : new Float32Array(scale.length);
  if (zeros.length !== scale.length) c.bad('zero_point', `${scale.length} elements`, String(zeros.length));
  const blocks = blocksOf(c, dims, scaleDims, axisOf(c, dims.length), c.attributes.int('block_size', 0, 0, 2 ** 30));
  c.claim(data.length);
  const codes = dtype === 'uint8' ? new Uint8Array(data.length) : new Int8Array(data.length);
  eachScale(dims, blocks, (at, s) => {
    codes[at] = quantizeLinear(data[at], { dtype, scale: scale[s], zeroPoint: zeros[s] });
  });
  return { kind: 'codes', dims: [...dims], dtype, bits: 8, data: codes };
}

/** A constant of codes with its scales. */
export function withScales(
  c: NodeContext,
  codes: CodeTensor,
  inputs: readonly [scale: number, zeroPoint: number],
  axis: number,
  blockSize = 0,
): QuantizedTensor {
  const { dims: scaleDims, data: scale } = c.constant(inputs[0], 'scale');
  const zeroPoint = c.has(inputs[1]) ? c.constant(inputs[1], 'zero_point').data : undefined;
  const blocks = blocksOf(c, codes.dims, scaleDims, axis, blockSize);
  if (!zeroPoint || zeroPoint.length === scale.length) return { kind: 'quantized', codes, blocks, scale, zeroPoint };
  if (zeroPoint.length !== 1) c.bad('zero_point', `${scale.length} elements`, String(zeroPoint.length));
  return { kind: 'quantized', codes, blocks, scale, zeroPoint: new Float32Array(scale.length).fill(zeroPoint[0]) };
}

function readDequantize(c: NodeContext): Made {
  const value = c.value(0);
  const axis = axisOf(c, c.shape(value).length);
  const blockSize = c.attributes.int('block_size', 0, 0, 2 ** 30);
  const known = c.isConstant(0) && c.isConstant(1) && (!c.has(2) || c.isConstant(2));
  const codes = c.codes(0);
  if (known && codes) return withScales(c, codes, [1, 2], axis, blockSize);
  if (known) {
    const integers = c.integers(0, 'input');
    const dims = c.shape(value) as number[];
    c.claim(integers.length);
    const { dims: scaleDims, data: scale } = c.constant(1, 'scale');
    const zeros = c.has(2) ? c.constant(2, 'zero_point').data : undefined;
    return c.addConstant(
      dequantizeNumbers(dims, integers, blocksOf(c, dims, scaleDims, axis, blockSize), scale, zeros),
    );
  }
  const type = c.type(value);
  const quantization = type === 'float32' ? undefined : single(c, 'uint8');
  if (quantization) {
    const { scale, zeroPoint } = quantization;
    return c.emit({ op: 'dequantize', inputs: [value], scale, zeroPoint });
  }
  const floats = toFloats(c, value);
  const steps = c.has(2) ? binary(c, 'sub', floats, along(c, 2, value)) : floats;
  return binary(c, 'mul', steps, along(c, 1, value));
}

/** y, its scale and zero point: those of all the input together. */
function readDynamic(c: NodeContext): Made[] {
  const x = c.value(0);
  const axes = range(c.shape(x).length);
  const extreme = (reduction: 'min' | 'max') =>
    axes.length === 0 ? x : reshape(c, c.emit({ op: 'reduce', reduction, inputs: [x], axes }), []);
  const least = clampTo(c, extreme('min'), [Number.NEGATIVE_INFINITY, 0]);
  const most = clampTo(c, extreme('max'), [0, Number.POSITIVE_INFINITY]);
  const step = binary(c, 'div', binary(c, 'sub', most, least), { number: 255 });
  // Nothing but zeros: any scale will do.
  const scale = binary(c, 'add', step, binary(c, 'equal', step, { number: 0 }));
  const below = binary(c, 'div', binary(c, 'sub', { number: 0 }, least), scale);
  const zero = unary(c, 'round', clampTo(c, below, [0, 255]));
  const steps = unary(c, 'round', binary(c, 'div', x, scale));
  const y = binary(c, 'add', steps, zero, [0, 255]);
  return [toCodes(c, y, 'uint8'), scale, toCodes(c, zero, 'uint8')];
}

const quantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype', 'precision', 'saturate'],
  inputs: [2, 3],
  read: readQuantize,
};
const dequantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype'],
  inputs: [2, 3],
  read: readDequantize,
};

export const quantizers: Readonly<Record<string, Operator>> = {
  DequantizeLinear: dequantize,
  DynamicQuantizeLinear: { attributes: [], inputs: [1, 1], read: readDynamic },
  QuantizeLinear: quantize,
  'com.microsoft.DequantizeLinear': dequantize,
  'com.microsoft.QuantizeLinear': quantize,
};
