import { elementCount, ThinferError } from '../errors.js';
import { type CodeBits, codeBytes, readCode, writeCode } from '../formats/bits.js';
import type { Weights } from '../formats/format.js';
import { dense, int2, int4, int8Grouped, validate } from '../formats/index.js';
import { type Pattern, packPattern } from '../formats/pattern.js';
import type { SafeTensor, SafeTensors } from './read.js';

/** What the file does not say: it is in the model's config.json. */
export interface ToWeightsOptions {
  /** Bits of a packed weight. Default: those that fit the sizes of the tensors; 4 where several do. */
  bits?: 2 | 4 | 8;
}

const FLOATS = ['F32', 'F16', 'BF16', 'F64'];

function bad(place: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-model', place, expected, got, hint });
}

function unsupported(place: string, expected: string, got: string): never {
  throw new ThinferError({ code: 'unsupported', place, expected, got });
}

/** The tensors of one layer, by the last part of their names. */
class LayerTensors {
  readonly #bag: SafeTensors;
  readonly layer: string;

  constructor(bag: SafeTensors, layer: string) {
    this.#bag = bag;
    this.layer = layer;
  }

  find(part: string): SafeTensor | undefined {
    const { tensors } = this.#bag;
    return tensors.get(`${this.layer}.${part}`) ?? tensors.get(`${this.layer}.weight.${part}`);
  }

  place(part: string): string {
    return `layer "${this.layer}": ${part}`;
  }

  /** The tensor, which must be there and of one of these types. */
  get(part: string, types: readonly string[]): SafeTensor {
    const tensor = this.find(part);
    if (!tensor) return bad(this.place(part), 'a tensor', 'none');
    if (!types.includes(tensor.type)) unsupported(this.place(part), types.join(' or '), tensor.type);
    return tensor;
  }

  /** Rows and columns from a tensor that holds them. */
  shape(part: string): { rows: number; cols: number } {
    const { data } = this.get(part, ['I64', 'I32']);
    const sizes = Array.from(data as ArrayLike<number | bigint>, Number);
    if (sizes.length !== 2) unsupported(this.place(part), 'a matrix', `[${sizes.join(', ')}]`);
    if (!sizes.every((size) => size >= 1)) bad(this.place(part), 'sizes from 1', `[${sizes.join(', ')}]`);
    elementCount(sizes, this.place(part));
    return { rows: sizes[0], cols: sizes[1] };
  }

  /** Rows and columns of a tensor that must be a matrix. */
  matrix(part: string): { rows: number; cols: number } {
    const { shape } = this.find(part)!;
    if (shape.length !== 2) unsupported(this.place(part), 'a matrix', `[${shape.join(', ')}]`);
    return { rows: shape[0], cols: shape[1] };
  }
}

/** Scales [rows, groups], [rows] or one for all, as how many a row and the values. */
function readScale(layer: LayerTensors, rows: number): { groups: number; values: Float32Array } {
  const scale = layer.get('weight_scale', FLOATS);
  const values = scale.floats();
  if (values.length === 1) return { groups: 0, values };
  const [first, groups = 1] = scale.shape;
  if (scale.shape.length > 2 || first !== rows) {
    bad(layer.place('weight_scale'), `[1], [${rows}] or [${rows}, groups]`, `[${scale.shape.join(', ')}]`);
  }
  return { groups, values };
}

/** The group size with which a row of `cols` has that many groups. */
function groupSizeOf(layer: LayerTensors, cols: number, groups: number): number {
  if (groups === 0 || groups === 1) return cols;
  if (cols % groups === 0) return cols / groups;
  const found = [16, 32, 64, 128, 256].filter((size) => Math.ceil(cols / size) === groups);
  if (found.length !== 1) bad(layer.place('weight_scale'), `groups that divide ${cols} columns`, String(groups));
  return found[0];
}

/** Columns in another order than that of their groups are no format of ours. */
function requireGroupOrder(layer: LayerTensors, cols: number, groupSize: number): void {
  const order = layer.find('weight_g_idx');
  if (!order) return;
  const { data } = layer.get('weight_g_idx', ['I32', 'I64']);
  const plain = data.length === cols && Array.from(data, Number).every((g, k) => g === Math.floor(k / groupSize));
  if (!plain) unsupported(layer.place('weight_g_idx'), 'columns in the order of their groups', 'another order');
}

function bitsOf(layer: LayerTensors, cols: number, words: number, given: number | undefined): CodeBits {
  const fits = ([4, 8, 2] as const).filter((bits) => Math.ceil((cols * bits) / 32) === words);
  const bits = given === undefined ? fits[0] : fits.find((candidate) => candidate === given);
  if (bits !== undefined) return bits;
  const expected = `${cols} codes of ${given ?? '2, 4 or 8'} bits a row`;
  return bad(layer.place('weight_packed'), expected, `${words} words of 32 bits`);
}

/**
 * Zero points as codes from 0, [rows, groups]: int8 as they are, or packed along the rows like the weights along the
 * columns.
 */
function readZeroPoints(layer: LayerTensors, rows: number, groups: number, bits: CodeBits): Uint8Array | undefined {
  if (!layer.find('weight_zero_point')) return undefined;
  const { type, bytes, shape } = layer.get('weight_zero_point', ['I8', 'I32']);
  const middle = 2 ** (bits - 1);
  const wanted = type === 'I8' ? rows * groups : Math.ceil((rows * bits) / 32) * groups * 4;
  if (bytes.length !== wanted) {
    bad(layer.place('weight_zero_point'), `${type === 'I8' ? 'one' : 'packed ones'} a group`, `[${shape.join(', ')}]`);
  }
  const codes = new Uint8Array(rows * groups);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const bit = r * bits;
      const at = 4 * ((bit >> 5) * groups + g);
      codes[r * groups + g] =
        type === 'I8' ? bytes[r * groups + g] + middle : readCode(bytes, at, (bit & 31) / bits, bits);
    }
  }
  return codes;
}

/**
 * "pack-quantized": `weight_packed` I32 [rows, ceil(cols * bits / 32)], code k of a row from bit k * bits on, codes
 * signed plus 2^(bits - 1); `weight_scale`; `weight_zero_point` packed along the rows; `weight_shape`
 * (compressed_tensors/compressors/pack_quantized/helpers.py, pack_to_int32 and unpack_from_int32).
 */
function packQuantized(layer: LayerTensors, options: ToWeightsOptions): Weights {
  const { bytes, shape } = layer.get('weight_packed', ['I32']);
  const { rows, cols } = layer.shape('weight_shape');
  const words = shape[1];
  if (shape.length !== 2 || shape[0] !== rows) {
    bad(layer.place('weight_packed'), `a matrix of ${rows} rows`, `[${shape.join(', ')}]`);
  }
  const bits = bitsOf(layer, cols, words, options.bits);
  const { groups, values } = readScale(layer, rows);
  const groupSize = groupSizeOf(layer, cols, groups);
  requireGroupOrder(layer, cols, groupSize);
  const perRow = Math.max(groups, 1);
  const zeros = readZeroPoints(layer, rows, perRow, bits);
  if (bits === 8 && groups <= 1) {
    const codes = new Int8Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) codes[r * cols + c] = bytes[4 * r * words + c] - 128;
    }
    const weights = { format: 'int8' as const, rows, cols, codes, scale: values };
    return zeros ? { ...weights, zeroPoint: perRowZeros(zeros, values.length) } : weights;
  }
  const scale = groups === 0 ? new Float32Array(rows).fill(values[0]) : values;
  const codes = groupCodes(bytes, { rows, cols, groupSize, rowBytes: 4 * words, bits });
  const format = { 8: int8Grouped, 4: int4, 2: int2 }[bits].name;
  const weights = { format, rows, cols, groupSize, codes, scale } as Weights;
  if (!zeros) return weights;
  const stride = codeBytes(perRow, bits);
  const zeroPoint = new Uint8Array(rows * stride);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < perRow; g++) writeCode(zeroPoint, r * stride, g, bits, zeros[r * perRow + g] & (2 ** bits - 1));
  }
  return { ...weights, zeroPoint } as Weights;
}

/** Zero points of 8 bits: one a row, or one where there is one scale. */
function perRowZeros(codes: Uint8Array, count: number): Int8Array {
  return Int8Array.from(codes.subarray(0, count), (code) => code - 128);
}

/** Rows of codes with each group's on whole bytes: the file's own bytes where they lie like that. */
function groupCodes(
  bytes: Uint8Array,
  layout: { rows: number; cols: number; groupSize: number; rowBytes: number; bits: CodeBits },
): Uint8Array {
  const { rows, cols, groupSize, rowBytes, bits } = layout;
  const groups = Math.ceil(cols / groupSize);
  const groupBytes = codeBytes(groupSize, bits);
  if (groups * groupBytes === rowBytes && (groupSize * bits) % 8 === 0) return bytes;
  const codes = new Uint8Array(elementCount([rows, groups, groupBytes], 'codes'));
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const start = (r * groups + Math.floor(c / groupSize)) * groupBytes;
      writeCode(codes, start, c % groupSize, bits, readCode(bytes, r * rowBytes, c, bits));
    }
  }
  return codes;
}

/** "naive-quantized" and "int-quantized": `weight` I8 [rows, cols], `weight_scale` and `weight_zero_point` a row or one. */
function naiveQuantized(layer: LayerTensors): Weights {
  const codes = layer.get('weight', ['I8']).data as Int8Array;
  const { rows, cols } = layer.matrix('weight');
  const { groups, values } = readScale(layer, rows);
  if (groups > 1) unsupported(layer.place('weight_scale'), 'one scale a row', `${groups} groups a row`);
  const weights = { format: 'int8' as const, rows, cols, codes, scale: values };
  if (!layer.find('weight_zero_point')) return weights;
  return { ...weights, zeroPoint: layer.get('weight_zero_point', ['I8']).data as Int8Array };
}

/**
 * "sparse-bitmask" and "sparse-24-bitmask": `shape`; `bitmask` U8 [rows, ceil(cols / 8)], column c in bit c mod 8 of
 * byte floor(c / 8); `compressed`, the stored values row after row; `row_offsets`, where each row's begin, which 2:4
 * does without (compressed_tensors/compressors/sparse_compressors/, numpy.packbits with bitorder "little").
 */
function sparseBitmask(layer: LayerTensors): Weights {
  const { rows, cols } = layer.shape('shape');
  const mask = layer.get('bitmask', ['U8']);
  const stride = Math.ceil(cols / 8);
  if (mask.bytes.length !== rows * stride) {
    bad(layer.place('bitmask'), `[${rows}, ${stride}]`, `[${mask.shape.join(', ')}]`);
  }
  const compressed = layer.get('compressed', [...FLOATS, 'I8']);
  const pattern = packPattern(rows, cols, (r, c) => Boolean((mask.bytes[r * stride + (c >> 3)] >> (c & 7)) & 1));
  const { indptr, indices } = pattern;
  if (compressed.data.length !== indices.length) {
    bad(layer.place('compressed'), `${indices.length} values for the bits of bitmask`, String(compressed.data.length));
  }
  requireOffsets(layer, indptr);
  const shape = { rows, cols, indptr, indices };
  if (compressed.type === 'I8') {
    const { groups, values } = readScale(layer, rows);
    if (groups > 1) unsupported(layer.place('weight_scale'), 'one scale a row', `${groups} groups a row`);
    const scale = groups === 0 ? new Float32Array(rows).fill(values[0]) : values;
    if (layer.find('weight_zero_point')) unsupported(layer.place('weight_zero_point'), 'none with a bitmask', 'one');
    return { format: 'csrInt8', ...shape, blockCols: 1, codes: compressed.data as Int8Array, scale };
  }
  const values = compressed.floats();
  return arePairs(pattern, cols) ? nmOf(indices, rows, cols, values) : { format: 'csr', ...shape, values };
}

function requireOffsets(layer: LayerTensors, indptr: Uint32Array): void {
  if (!layer.find('row_offsets')) return;
  const { data } = layer.get('row_offsets', ['I64', 'I32']);
  const offsets = Array.from(data as ArrayLike<number | bigint>, Number);
  const wrong = offsets.length !== indptr.length - 1 ? 0 : offsets.findIndex((offset, row) => offset !== indptr[row]);
  if (wrong >= 0) {
    bad(layer.place(`row_offsets[${wrong}]`), `${indptr[wrong]}, as in bitmask`, String(offsets[wrong]));
  }
}

/** Whether every row stores two of every four columns. */
function arePairs({ indptr, indices }: Pattern, cols: number): boolean {
  if (cols % 4 !== 0 || !indptr.every((end, row) => end === (row * cols) / 2)) return false;
  const groups = cols / 4;
  return indices.every((column, i) => column >> 2 === (i >> 1) % groups);
}

function nmOf(indices: Pattern['indices'], rows: number, cols: number, values: Float32Array): Weights {
  const groups = cols / 4;
  const stride = codeBytes(groups, 4);
  const positions = new Uint8Array(rows * stride);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const at = 2 * (r * groups + g);
      writeCode(positions, r * stride, g, 4, (indices[at] & 3) | ((indices[at + 1] & 3) << 2));
    }
  }
  return { format: 'nm', rows, cols, values, positions };
}

/**
 * The weights of one layer in a format of ours, as the compressed-tensors library of vLLM lays them out
 * (https://github.com/vllm-project/compressed-tensors): `weight_packed` becomes int4, int2, int8 or int8Grouped; `weight` of 8 bits int8;
 * a bitmask csr, nm (two of every four) or csrInt8; `weight` of floats dense. Codes are not copied where they lie as
 * the format has them.
 * @param layer the layer's name, e.g. `model.layers.0.self_attn.q_proj`
 * @throws ThinferError `bad-model` for tensors that are missing or do not fit each other, `bad-weights` for values
 * that a format refuses, `unsupported` for layouts that have no format here
 */
export function toWeights(bag: SafeTensors, layer: string, options: ToWeightsOptions = {}): Weights {
  const tensors = new LayerTensors(bag, layer);
  return validate(convert(tensors, options), `layer "${layer}"`);
}

function convert(layer: LayerTensors, options: ToWeightsOptions): Weights {
  if (layer.find('weight_packed')) return packQuantized(layer, options);
  if (layer.find('bitmask')) return sparseBitmask(layer);
  const weight = layer.find('weight');
  if (!weight) {
    return bad(`layer "${layer.layer}"`, 'a tensor weight, weight_packed or bitmask below this name', 'none');
  }
  if (weight.type === 'I8') return naiveQuantized(layer);
  layer.get('weight', FLOATS);
  if (layer.find('weight_scale')) unsupported(layer.place('weight_scale'), 'none beside floats', 'one');
  return dense.pack(weight.floats(), layer.matrix('weight'));
}
