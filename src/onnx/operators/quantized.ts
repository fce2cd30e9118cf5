import type { AnyGrouped, Weights } from '../../formats/index.js';
import { type Constant, NO_CLAMP, transposeConstant, type ValueId } from '../../graph/ir.js';
import { sameCodes, tableOf } from '../../graph/lookup.js';
import { UNARY_FUNCTIONS } from '../../plan/functions.js';
import type { CodeBinaryOperator, MatmulOutput, Quantization } from '../../plan/problem.js';
import { dequantize, GROUPED, GROUPS, type QuantizedTensor } from '../quantized.js';
import { type CodeTensor, Unsupported } from '../tensor.js';
import { axisOf, type NodeContext, type Operator, range, reshape } from './context.js';
import { binary, toFloats } from './elementwise.js';
import { convolve, overImage, packKernel, packRight, readWindow, requireKernel, WINDOW_ATTRIBUTES } from './layers.js';
import { codeType, meaning, requireScale, toCodes, withScales } from './quantize.js';

// Operators that ONNX and onnxruntime have on quantised tensors. Their weights stay codes, their activations too.

const CONV = [...WINDOW_ATTRIBUTES, 'group'];

/** Codes of weights, which have to be constant. */
function codesOf(c: NodeContext, input: number, what: string): CodeTensor {
  const codes = c.codes(input);
  if (!codes) throw new Unsupported(`${what} that are no constant of 8-bit integers`);
  return codes;
}

function packed(weights: Weights | undefined): Weights {
  if (!weights) throw new Unsupported('weights whose scales differ inside an output channel');
  return weights;
}

/** Codes that mean themselves, but for a zero point: of operators that give sums. */
function asIntegers(c: NodeContext, codes: CodeTensor, zeroInput: number, axis: number): QuantizedTensor {
  const zeroPoint = c.has(zeroInput) ? c.constant(zeroInput, 'zero_point').data : Float32Array.of(0);
  const { dims } = codes;
  const perChannel = zeroPoint.length > 1;
  if (perChannel && zeroPoint.length !== dims[axis]) {
    c.bad('zero_point', `1 or ${dims[axis]} elements`, String(zeroPoint.length));
  }
  const blocks = dims.map((dim, i) => (perChannel && i === axis ? 1 : Math.max(dim, 1)));
  return { kind: 'quantized', codes, blocks, scale: new Float32Array(zeroPoint.length).fill(1), zeroPoint };
}

/** A bias of int32, which is a constant. */
function integerBias(c: NodeContext, input: number, outputs: number): Int32Array | undefined {
  if (!c.has(input)) return undefined;
  const bias = c.integers(input, 'bias');
  if (bias.length !== outputs) c.bad('bias', `${outputs} elements`, String(bias.length));
  return Int32Array.from(bias);
}

const SUMS: MatmulOutput = { dtype: 'int32' };

const givesCodes = (quantization: Quantization): MatmulOutput => ({ dtype: quantization.dtype, quantization });

function readQLinearConv(c: NodeContext): ValueId {
  const codes = codesOf(c, 3, 'weights');
  const input = meaning(c, 1, 2, 'x', codeType(c, 0));
  const weights = packed(packKernel(c, withScales(c, codes, [4, 5], 0)));
  const result = givesCodes(meaning(c, 6, 7, 'y', input.dtype));
  const bias = integerBias(c, 8, weights.rows);
  return convolve(c, codes.dims, weights, { inputCodes: input, result, bias }, toCodes(c, c.value(0), input.dtype));
}

/** True where an input is missing or one constant number. */
const isOneNumber = (c: NodeContext, input: number): boolean =>
  !c.has(input) || (c.isConstant(input) && c.constant(input, 'zero_point').data.length === 1);

/** Codes that mean themselves. */
function integers(c: NodeContext, input: number, zeroInput: number): Quantization {
  const zeroPoint = c.has(zeroInput) ? c.constant(zeroInput, 'zero_point').data[0] : 0;
  return { dtype: codeType(c, zeroInput, codeType(c, input)), scale: 1, zeroPoint };
}

/** Codes less their zero point, in f32, where it is known only when the graph runs. @param axes put in behind it */
function centred(c: NodeContext, input: number, zeroInput: number, axes = 0): ValueId {
  const value = toFloats(c, c.value(input));
  if (!c.has(zeroInput)) return value;
  const zero = toFloats(c, c.value(zeroInput));
  const shape = c.shape(zero);
  const [size = 1] = shape;
  const target = shape.length === 1 && size !== 1 ? [size, ...range(axes).map(() => 1)] : [];
  const broadcast = reshape(
    c,
    zero,
    target.map((dim) => (typeof dim === 'number' ? dim : { axes: [0] })),
  );
  return binary(c, 'sub', value, broadcast);
}

function dense({ dims, data }: Constant): Weights {
  const [rows] = dims;
  return { format: 'dense', rows, cols: data.length / rows, values: data };
}

function readConvInteger(c: NodeContext): ValueId {
  const codes = codesOf(c, 1, 'weights');
  const quantized = asIntegers(c, codes, 3, 0);
  if (isOneNumber(c, 2)) {
    const inputCodes = integers(c, 0, 2);
    const weights = packed(packKernel(c, quantized));
    return convolve(c, codes.dims, weights, { inputCodes, result: SUMS }, toCodes(c, c.value(0), inputCodes.dtype));
  }
  requireKernel(c, codes.dims);
  c.claim(codes.data.length);
  const values = transposeConstant(dequantize(quantized), [0, ...range(codes.dims.length).slice(2), 1]);
  return c.markIntegers(convolve(c, codes.dims, dense(values), {}, centred(c, 0, 2)));
}

interface Right {
  codes: CodeTensor;
  quantized: QuantizedTensor;
}

/** A constant right operand of two dimensions. */
function rightOf(c: NodeContext, input: number, quantized: (codes: CodeTensor) => QuantizedTensor): Right | undefined {
  const codes = c.codes(input);
  return codes?.dims.length === 2 && codes.data.length > 0 ? { codes, quantized: quantized(codes) } : undefined;
}

function product(c: NodeContext, a: ValueId, b: ValueId): ValueId {
  for (const value of [a, b]) if (c.shape(value).length < 2) throw new Unsupported('operands of one dimension');
  return c.emit({ op: 'batchMatmul', inputs: [a, b], perms: [undefined, undefined] });
}

/** Sums of products of codes: int32, or f32 where zero points are known only when the graph runs. */
function integerProduct(c: NodeContext, [a, b, aZero, bZero]: readonly [number, number, number, number]): ValueId {
  const known = !c.has(bZero) || c.isConstant(bZero);
  const right = known ? rightOf(c, b, (codes) => asIntegers(c, codes, bZero, 1)) : undefined;
  if (!right) return c.markIntegers(product(c, centred(c, a, aZero, 1), centred(c, b, bZero)));
  if (isOneNumber(c, aZero)) {
    const inputCodes = integers(c, a, aZero);
    const weights = packed(packRight(c, right.quantized, false));
    const inputs = [toCodes(c, c.value(a), inputCodes.dtype)];
    return c.emit({ op: 'linear', inputs, weights, inputCodes, result: SUMS, clamp: NO_CLAMP });
  }
  c.claim(right.codes.data.length);
  const weights = dense(transposeConstant(dequantize(right.quantized), [1, 0]));
  return c.markIntegers(c.emit({ op: 'linear', inputs: [centred(c, a, aZero, 1)], weights, clamp: NO_CLAMP }));
}

function readQLinearMatMul(c: NodeContext): ValueId {
  const a = meaning(c, 1, 2, 'a', codeType(c, 0));
  const output = meaning(c, 6, 7, 'y', a.dtype);
  const value = toCodes(c, c.value(0), a.dtype);
  const right = rightOf(c, 3, (codes) => withScales(c, codes, [4, 5], 1));
  if (right) {
    const weights = packed(packRight(c, right.quantized, false));
    return c.emit({
      op: 'linear',
      inputs: [value],
      weights,
      inputCodes: a,
      result: givesCodes(output),
      clamp: NO_CLAMP,
    });
  }
  // The sums are exact in f32 while they are below 2^24, and scaled as kernels of integers scale them.
  const b = meaning(c, 4, 5, 'b', codeType(c, 3));
  const sums = product(
    c,
    c.emit({ op: 'dequantize', inputs: [value], scale: 1, zeroPoint: a.zeroPoint }),
    c.emit({ op: 'dequantize', inputs: [toCodes(c, c.value(3), b.dtype)], scale: 1, zeroPoint: b.zeroPoint }),
  );
  const scaled = binary(c, 'mul', sums, { number: Math.fround((a.scale * b.scale) / output.scale) });
  return c.emit({ op: 'quantize', inputs: [scaled], quantization: { ...output, scale: 1 } });
}

/** alpha * A * B + C, of codes; the output f32 where it has no scale. */
function readQGemm(c: NodeContext): ValueId {
  const alpha = c.attributes.float('alpha', 1);
  const [transposeA, transposeB] = [c.attributes.int('transA', 0) !== 0, c.attributes.int('transB', 0) !== 0];
  const a = meaning(c, 1, 2, 'a', codeType(c, 0));
  const value = toCodes(c, c.value(0), a.dtype);
  const input = transposeA ? c.emit({ op: 'transpose', inputs: [value], perm: [1, 0] }) : value;
  const right = rightOf(c, 3, (codes) => withScales(c, codes, [4, 5], transposeB ? 0 : 1));
  if (!right) throw new Unsupported('B that is no constant of two dimensions');
  const scale = right.quantized.scale.map((s) => requireScale(c, s * alpha, 'alpha'));
  const weights = packed(packRight(c, { ...right.quantized, scale }, transposeB));
  const bias = integerBias(c, 6, weights.rows);
  const node = { op: 'linear', inputs: [input], weights, inputCodes: a, clamp: NO_CLAMP } as const;
  if (c.has(7)) return c.emit({ ...node, bias, result: givesCodes(meaning(c, 7, 8, 'y', a.dtype)) });
  const floats = bias && Float32Array.from(bias, (x, r) => x * a.scale * scale[scale.length === 1 ? 0 : r]);
  return c.emit({ ...node, bias: floats });
}

/** Codes of f32 that is quantised when the graph runs, times constant codes. */
function readDynamicMatMul(c: NodeContext): ValueId {
  const right = rightOf(c, 1, (codes) => withScales(c, codes, [2, 3], 1));
  if (!right) throw new Unsupported('B that is no constant of two dimensions');
  const weights = packed(packRight(c, right.quantized, false));
  return c.emit({ op: 'linear', inputs: [c.value(0)], weights, bias: floatBias(c, 4, weights), clamp: NO_CLAMP });
}

function floatBias(c: NodeContext, input: number, { rows }: Weights): Float32Array | undefined {
  const bias = c.has(input) ? c.constant(input, 'bias', [1]).data : undefined;
  if (bias && bias.length !== rows) c.bad('bias', `${rows} elements`, String(bias.length));
  return bias;
}

function readMatMulToFloat(c: NodeContext): ValueId {
  if (c.isConstant(2) && isOneNumber(c, 4) && c.codes(1)?.dims.length === 2) {
    const a = meaning(c, 2, 4, 'a', codeType(c, 0));
    const { quantized } = rightOf(c, 1, (codes) => withScales(c, codes, [3, 5], 1))!;
    const weights = packed(packRight(c, quantized, false));
    const inputs = [toCodes(c, c.value(0), a.dtype)];
    return c.emit({ op: 'linear', inputs, weights, inputCodes: a, bias: floatBias(c, 6, weights), clamp: NO_CLAMP });
  }
  const scale = binary(c, 'mul', reshape(c, c.value(2), []), c.value(3));
  const real = binary(c, 'mul', toFloats(c, integerProduct(c, [0, 1, 4, 5])), scale);
  return c.has(6) ? binary(c, 'add', real, c.value(6)) : real;
}

function codeBinary(op: CodeBinaryOperator): Operator {
  return {
    attributes: [],
    inputs: [7, 8],
    optional: [2, 5],
    read(c) {
      const [a, b] = [meaning(c, 1, 2, 'A', codeType(c, 0)), meaning(c, 4, 5, 'B', codeType(c, 3))];
      const quantization = meaning(c, 6, 7, 'C', a.dtype);
      const inputs = [toCodes(c, c.value(0), a.dtype), toCodes(c, c.value(3), b.dtype)];
      return c.emit({ op, inputs, a, b, quantization, clamp: NO_CLAMP });
    },
  };
}

function averagePool(c: NodeContext, isGlobal: boolean): ValueId {
  const input = meaning(c, 1, 2, 'x', codeType(c, 0));
  const codes = { input, output: meaning(c, 3, 4, 'y', input.dtype) };
  const layout = c.attributes.int('channels_last', 0, 0, 1) === 1 ? 'NHWC' : 'NCHW';
  const value = toCodes(c, c.value(0), input.dtype);
  const node = { op: 'averagePool2d', layout, codes } as const;
  if (isGlobal) {
    if (c.shape(value).length !== 4) throw new Unsupported('an input that is no batch of images');
    return c.emit({ ...node, inputs: [value], window: 'global', countIncludePad: false });
  }
  const { rank, ...options } = readWindow(c);
  if (rank === 1 && layout === 'NHWC') throw new Unsupported('channels_last of signals');
  const window = { ...options, ceilMode: c.attributes.int('ceil_mode', 0, 0, 1) === 1 };
  const countIncludePad = c.attributes.int('count_include_pad', 0, 0, 1) === 1;
  return overImage(c, rank, (image) => c.emit({ ...node, inputs: [image], window, countIncludePad }), value);
}

function lookup(c: NodeContext, value: ValueId, from: Quantization, to: Quantization, f?: (x: number) => number) {
  const table = tableOf(from, to, f);
  return c.emit({ op: 'lookup', inputs: [value], from: from.dtype, to: to.dtype, table });
}

/** A function of one number. */
const applies = (attributes: readonly string[], f: (c: NodeContext) => (x: number) => number): Operator => ({
  attributes,
  inputs: [4, 5],
  optional: [2],
  read(c) {
    const from = meaning(c, 1, 2, 'X', codeType(c, 0));
    const to = meaning(c, 3, 4, 'Y', from.dtype);
    return lookup(c, toCodes(c, c.value(0), from.dtype), from, to, f(c));
  },
});

function readConcat(c: NodeContext): ValueId {
  if ((c.inputCount - 2) % 3 !== 0) c.bad('inputs', 'two, and three for each tensor', String(c.inputCount));
  const output = meaning(c, 0, 1, 'Y');
  const inputs = range((c.inputCount - 2) / 3).map((i) => {
    const at = 2 + 3 * i;
    const from = meaning(c, at + 1, at + 2, 'X', codeType(c, at, output.dtype));
    const value = toCodes(c, c.value(at), from.dtype);
    return sameCodes(from, output) ? value : lookup(c, value, from, output);
  });
  if (inputs.length === 0) c.bad('inputs', 'at least one tensor', 'none');
  return c.emit({ op: 'concat', inputs, axis: axisOf(c, 1, c.shape(inputs[0]).length) });
}

/** Weights of few bits, [N, groups, bytes], which are as our formats of groups have them. */
function readNBits(c: NodeContext): ValueId {
  const size = (name: string, most: number) => c.attributes.int(name, 0, 1, most);
  const [K, N, block] = [size('K', 2 ** 30), size('N', 2 ** 30), size('block_size', 2 ** 30)];
  const bits = c.attributes.int('bits', 4);
  if (bits !== 2 && bits !== 4 && bits !== 8) throw new Unsupported(`bits ${bits} (only 2, 4 and 8)`);
  if (c.has(4)) throw new Unsupported('g_idx');
  const codes = codesOf(c, 1, 'weights');
  const groups = Math.ceil(K / block);
  const groupBytes = (block * bits) / 8;
  if (codes.data.length !== N * groups * groupBytes) {
    c.bad('B', `${N * groups * groupBytes} bytes`, String(codes.data.length));
  }
  const scale = c.constant(2, 'scales').data;
  if (scale.length !== N * groups) c.bad('scales', `${N * groups} elements`, String(scale.length));
  const packedZeros = c.has(3) ? c.codes(3) : undefined;
  const zeroBytes = Math.ceil((groups * bits) / 8);
  if (packedZeros && packedZeros.data.length !== N * zeroBytes) {
    c.bad('zero_points', `${N * zeroBytes} bytes`, String(packedZeros.data.length));
  }
  const bytes = (tensor: CodeTensor) => new Uint8Array(tensor.data);
  let weights: Weights;
  if (GROUPS.includes(block) && (packedZeros || !c.has(3))) {
    const grouped = { rows: N, cols: K, groupSize: block, codes: bytes(codes), scale: Float32Array.from(scale) };
    const zeroPoint = packedZeros && { zeroPoint: bytes(packedZeros) };
    const { name, validate } = GROUPED[bits];
    weights = validate({ format: name, ...grouped, ...zeroPoint } as never) as AnyGrouped;
  } else {
    const floatZeros = c.has(3) && !packedZeros ? c.constant(3, 'zero_points').data : undefined;
    if (floatZeros && floatZeros.length !== N * groups) {
      c.bad('zero_points', `${N * groups} elements`, String(floatZeros.length));
    }
    c.claim(N * K);
    weights = dense(
      unpackNBits({ K, N, block, bits }, bytes(codes), scale, packedZeros && bytes(packedZeros), floatZeros),
    );
  }
  return c.emit({ op: 'linear', inputs: [c.value(0)], weights, bias: floatBias(c, 5, weights), clamp: NO_CLAMP });
}

/** What no format of ours holds: odd groups, zero points that are no integers. */
function unpackNBits(
  { K, N, block, bits }: { K: number; N: number; block: number; bits: number },
  codes: Uint8Array,
  scale: Float32Array,
  zeros: Uint8Array | undefined,
  floatZeros: Float32Array | undefined,
): Constant {
  const groups = Math.ceil(K / block);
  const zeroBytes = Math.ceil((groups * bits) / 8);
  const at = (bytes: Uint8Array, start: number, i: number) =>
    (bytes[start + Math.floor((i * bits) / 8)] >> ((i * bits) % 8)) & (2 ** bits - 1);
  const data = new Float32Array(N * K);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      const group = n * groups + Math.floor(k / block);
      const zero = floatZeros?.[group] ?? (zeros ? at(zeros, n * zeroBytes, group - n * groups) : 2 ** (bits - 1));
      data[n * K + k] = (at(codes, (group * block * bits) / 8, k % block) - zero) * scale[group];
    }
  }
  return { dims: [N, K], data };
}

const POOL = [...WINDOW_ATTRIBUTES, 'ceil_mode', 'count_include_pad', 'channels_last'];

export const quantizedLayers: Readonly<Record<string, Operator>> = {
  ConvInteger: { attributes: CONV, inputs: [2, 4], read: readConvInteger },
  MatMulInteger: { attributes: [], inputs: [2, 4], read: (c) => integerProduct(c, [0, 1, 2, 3]) },
  QLinearConv: { attributes: CONV, inputs: [8, 9], read: readQLinearConv },
  QLinearMatMul: { attributes: [], inputs: [8, 8], read: readQLinearMatMul },
  'com.microsoft.DynamicQuantizeMatMul': { attributes: [], inputs: [3, 5], read: readDynamicMatMul },
  'com.microsoft.MatMulIntegerToFloat': { attributes: [], inputs: [4, 7], read: readMatMulToFloat },
  'com.microsoft.MatMulNBits': {
    attributes: ['K', 'N', 'accuracy_level', 'bits', 'block_size'],
    inputs: [3, 6],
    read: readNBits,
  },
  'com.microsoft.QGemm': { attributes: ['alpha', 'transA', 'transB'], inputs: [6, 9], read: readQGemm },
  'com.microsoft.QLinearAdd': codeBinary('qAdd'),
  'com.microsoft.QLinearAveragePool': {
    attributes: POOL,
    inputs: [4, 5],
    optional: [2],
    read: (c) => averagePool(c, false),
  },
  'com.microsoft.QLinearConcat': { attributes: ['axis'], inputs: [5, 1 << 16], read: readConcat },
  'com.microsoft.QLinearGlobalAveragePool': {
    attributes: ['channels_last'],
    inputs: [4, 5],
    optional: [2],
    read: (c) => averagePool(c, true),
  },
  'com.microsoft.QLinearLeakyRelu': applies(['alpha'], (c) => {
    const alpha = c.attributes.float('alpha', 0.01);
    return (x) => (x < 0 ? Math.fround(alpha) * x : x);
  }),
  'com.microsoft.QLinearMul': codeBinary('qMul'),
  'com.microsoft.QLinearSigmoid': applies([], () => UNARY_FUNCTIONS.sigmoid),
};
