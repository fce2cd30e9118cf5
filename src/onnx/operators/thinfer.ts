import { ThinferError } from '../../errors.js';
import { codeBytes, readCode } from '../../formats/bits.js';
import type { Bias } from '../../formats/format.js';
import { hashCodes } from '../../formats/hashed.js';
import { type FormatName, validate, type Weights } from '../../formats/index.js';
import { indexType } from '../../formats/pattern.js';
import { type Clamp, NO_CLAMP, type ValueId } from '../../graph/ir.js';
import type { CodeBinaryOperator, MatmulOutput, Quantization } from '../../plan/problem.js';
import { FORMAT_SPECS, PART_ARRAYS, type PartArray, type PartSpec, partType } from '../domain.js';
import { decodeColumns, decodeHuffman, type Fail, symbolBytes } from '../huffman.js';
import type { NodeContext, Operator, Part } from './context.js';
import { convolve, WINDOW_ATTRIBUTES } from './layers.js';
import { requireScale, toCodes } from './quantize.js';

// The domain `thinfer`: weights in our formats, as they are. docs/onnx-domain.md says what each operator means.

const MOST = 2 ** 30;
/** Zeros that a sparse matrix leaves out, for each byte of the model that has it. */
const SPARSE_SHARE = 64;
/** Attributes that are numbers of the weights. */
const SIZES = ['rows', 'cols', 'seed', 'entries', 'group_size', 'block_rows', 'block_cols'];
/** Inputs before those of the weights: what is multiplied, and the bias. */
const FIRST_PART = 2;

/** The array as the class that a part has: bytes that were Huffman-coded have no sign of their own. */
function asPart(c: NodeContext, data: PartArray, { field, types }: PartSpec): PartArray {
  const type = partType(data);
  if (types.includes(type)) return data;
  const Type = PART_ARRAYS[types[0] as keyof typeof PART_ARRAYS];
  if (data instanceof Uint8Array && Type === Int8Array) {
    return new Int8Array(data.buffer, data.byteOffset, data.length);
  }
  return c.bad(field, Type.name, data.constructor.name);
}

/** The weights of a layer, every length, index and code of them checked. */
function readWeights(c: NodeContext): Weights {
  const format = c.attributes.string('format', '');
  if (!Object.hasOwn(FORMAT_SPECS, format)) {
    c.bad('format', Object.keys(FORMAT_SPECS).join(', '), JSON.stringify(format.slice(0, 40)));
  }
  const size = (name: string) => c.attributes.int(name, 0, 1, MOST);
  const [rows, cols] = [size('rows'), size('cols')];
  const spec = FORMAT_SPECS[format as FormatName];
  const fields: Record<string, unknown> = { format, rows, cols };
  for (const [name, field] of Object.entries(spec.attributes ?? {})) fields[field] = size(name);
  const seed = c.attributes.has('seed') ? c.attributes.int('seed', 0, 0, 2 ** 31 - 1) : undefined;
  if (rows * cols > MOST) c.bad('rows', `at most ${MOST} weights`, `${rows} x ${cols}`);
  c.claim(Math.ceil((rows * cols) / SPARSE_SHARE));
  if (seed !== undefined) {
    if (format !== 'codebook') c.bad('seed', 'none but of a codebook', format);
    c.claim(rows * cols);
  }
  for (const [i, part] of spec.parts.entries()) {
    const input = FIRST_PART + i;
    const hashed = part.field === 'codes' && seed !== undefined;
    if (c.has(input)) {
      if (hashed) c.bad('codes', 'none beside a seed', 'some');
      fields[part.field] = asPart(c, c.part(input, part.field), part);
    } else if (hashed) {
      const { entries } = fields as { entries: 16 | 256 };
      if (entries !== 16 && entries !== 256) c.bad('entries', '16 or 256', String(entries));
      fields.codes = hashCodes(rows, cols, entries, seed);
      fields.seed = seed;
    } else if (!part.optional) c.bad('inputs', `${part.field} of ${format}`, 'none');
  }
  if (c.inputCount > FIRST_PART + spec.parts.length) {
    c.bad('inputs', `at most ${FIRST_PART + spec.parts.length} of ${format}`, String(c.inputCount));
  }
  try {
    return validate(fields as unknown as Weights, 'weights');
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    return c.bad(error.place, error.expected, error.got);
  }
}

/** The weights, once for all layers that read the same parts by the same attributes. */
function weightsOf(c: NodeContext): Weights {
  const { attributes } = c;
  const numbers = SIZES.map((name) => (attributes.has(name) ? attributes.int(name, 0) : ''));
  const how = `${attributes.string('format', '')} ${numbers.join(' ')}`;
  return c.weightsOf(FIRST_PART, c.inputCount, how, () => readWeights(c));
}

/** What codes mean, by the attributes that begin with `what`; undefined where there are none. */
function codesOf(c: NodeContext, what: 'a' | 'b' | 'x' | 'y'): Quantization | undefined {
  const { attributes } = c;
  if (!attributes.has(`${what}_type`)) return undefined;
  const dtype = attributes.string(`${what}_type`, '');
  if (dtype !== 'uint8' && dtype !== 'int8') return c.bad(`${what}_type`, 'uint8 or int8', JSON.stringify(dtype));
  const scale = requireScale(c, attributes.float(`${what}_scale`, 1), `${what}_scale`);
  const [least, most] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  return { dtype, scale, zeroPoint: attributes.int(`${what}_zero_point`, 0, least, most) };
}

function resultOf(c: NodeContext): MatmulOutput | undefined {
  if (c.attributes.string('y_type', '') === 'int32') return { dtype: 'int32' };
  const quantization = codesOf(c, 'y');
  return quantization && { dtype: quantization.dtype, quantization };
}

/** A bias of the kind that the outputs want. */
function biasOf(c: NodeContext, rows: number, integers: boolean): Bias | undefined {
  if (!c.has(1)) return undefined;
  if (!integers) {
    const { data } = c.constant(1, 'bias', [1]);
    if (data.length !== rows) c.bad('bias', `${rows} elements`, String(data.length));
    return data;
  }
  const data = c.part(1, 'bias');
  if (!(data instanceof Int32Array)) return c.bad('bias', 'Int32Array', data.constructor.name);
  if (data.length !== rows) c.bad('bias', `${rows} elements`, String(data.length));
  return data;
}

function clampOf(c: NodeContext): Clamp {
  const [min, max] = NO_CLAMP;
  const clamp: Clamp = [c.attributes.float('min', min), c.attributes.float('max', max)];
  if (clamp[0] > clamp[1]) c.bad('min', `at most ${clamp[1]}`, String(clamp[0]));
  return clamp;
}

/** What layers have beside their weights. */
function extrasOf(c: NodeContext, { rows }: Weights) {
  const inputCodes = codesOf(c, 'x');
  const result = resultOf(c);
  if (result && !inputCodes) c.bad('x_type', `one, as y_type is ${result.dtype}`, 'none');
  return {
    bias: biasOf(c, rows, result !== undefined),
    clamp: clampOf(c),
    ...(inputCodes && { inputCodes }),
    ...(result && { result }),
  };
}

function readLinear(c: NodeContext): ValueId {
  const weights = weightsOf(c);
  return c.emit({ op: 'linear', inputs: [c.value(0)], weights, ...extrasOf(c, weights) });
}

function readConv(c: NodeContext): ValueId {
  const weights = weightsOf(c);
  const { rows, cols } = weights;
  const kernel = c.attributes.ints('kernel_shape', 2, 1, 1 << 16);
  if (!kernel) return c.bad('kernel_shape', 'two integers', 'none');
  const channels = cols / (kernel[0] * kernel[1]);
  if (!Number.isInteger(channels)) c.bad('kernel_shape', `a divisor of ${cols} columns`, kernel.join(' x '));
  const padding = c.attributes.string('binary_padding', 'zero');
  if (padding !== 'zero' && padding !== 'one') c.bad('binary_padding', 'zero or one', JSON.stringify(padding));
  const binary = weights.format === 'xnor' && { binaryPadding: padding as 'zero' | 'one' };
  const extras = { ...extrasOf(c, weights), ...binary };
  return convolve(c, [rows, channels, ...kernel], weights, extras);
}

/** Sums and products of codes as TensorFlow Lite rounds them. */
function fixed(op: CodeBinaryOperator): Operator {
  const given = (c: NodeContext, what: 'a' | 'b' | 'y') => codesOf(c, what) ?? c.bad(`${what}_type`, 'one', 'none');
  return {
    attributes: [...['a', 'b', 'y'].flatMap(codeAttributes), 'min', 'max'],
    inputs: [2, 2],
    read(c) {
      const [a, b, quantization] = [given(c, 'a'), given(c, 'b'), given(c, 'y')];
      const inputs = [toCodes(c, c.value(0), a.dtype), toCodes(c, c.value(1), b.dtype)];
      return c.emit({ op, inputs, a, b, quantization, clamp: clampOf(c) });
    },
  };
}

const failing =
  (c: NodeContext): Fail =>
  (place, expected, got) =>
    c.bad(place, expected, got);

function bytesOf(c: NodeContext, input: number, what: string): Uint8Array {
  const data = c.part(input, what);
  return data instanceof Uint8Array ? data : c.bad(what, 'Uint8Array', data.constructor.name);
}

function readHuffman(c: NodeContext): Part {
  const bits = c.attributes.int('symbol_bits', 8);
  if (bits !== 4 && bits !== 8) return c.bad('symbol_bits', '4 or 8', String(bits));
  const stream = bytesOf(c, 0, 'bits');
  const size = c.attributes.int('size', 0, 0, MOST);
  c.claim(Math.min(symbolBytes(size, bits), 8 * stream.length));
  return { kind: 'part', data: decodeHuffman(stream, bytesOf(c, 1, 'lengths'), size, bits, failing(c)) };
}

function readColumns(c: NodeContext): Part {
  const cols = c.attributes.int('cols', 0, 1, MOST);
  const gaps = bytesOf(c, 0, 'gaps');
  const indptr = c.part(1, 'indptr');
  if (!(indptr instanceof Uint32Array)) return c.bad('indptr', 'Uint32Array', indptr.constructor.name);
  c.claim(gaps.length);
  return { kind: 'part', data: decodeColumns(gaps, indptr, cols, indexType(cols), failing(c)) };
}

/** Codes of 4 bits with the upper half of a row in front: codes of 8 bits. */
function readPages(c: NodeContext): Part {
  const cols = c.attributes.int('cols', 0, 1, MOST);
  const [low, pages] = [bytesOf(c, 0, 'low'), bytesOf(c, 1, 'pages')];
  const stride = codeBytes(cols, 4);
  if (low.length !== pages.length * stride) c.bad('low', `${pages.length} rows of ${stride} bytes`, String(low.length));
  const wrong = pages.findIndex((page) => page > 15);
  if (wrong >= 0) c.bad(`pages[${wrong}]`, '0..15', String(pages[wrong]));
  c.claim(pages.length * cols);
  const data = new Uint8Array(pages.length * cols);
  for (const [r, page] of pages.entries()) {
    for (let i = 0; i < cols; i++) data[r * cols + i] = (page << 4) | readCode(low, r * stride, i, 4);
  }
  return { kind: 'part', data };
}

const codeAttributes = (what: string) => ['type', 'scale', 'zero_point'].map((name) => `${what}_${name}`);
const WEIGHTS = [...['format', ...SIZES, 'min', 'max'], ...['x', 'y'].flatMap(codeAttributes)];
const LAYER = { inputs: [3, 8], optional: [1] } as const;

export const own: Readonly<Record<string, Operator>> = {
  'thinfer.Columns': { attributes: ['cols'], inputs: [2, 2], read: readColumns },
  'thinfer.Conv': {
    attributes: [...WEIGHTS, ...WINDOW_ATTRIBUTES, 'group', 'binary_padding'],
    ...LAYER,
    read: readConv,
  },
  'thinfer.FixedAdd': fixed('fixedAdd'),
  'thinfer.FixedMul': fixed('fixedMul'),
  'thinfer.FixedSub': fixed('fixedSub'),
  'thinfer.HuffmanDecode': { attributes: ['size', 'symbol_bits'], inputs: [2, 2], read: readHuffman },
  'thinfer.Pages': { attributes: ['cols'], inputs: [2, 2], read: readPages },
  'thinfer.Linear': { attributes: WEIGHTS, ...LAYER, read: readLinear },
};
