import { codeBytes, readCode, writeCode } from '../../formats/bits.js';
import type { Int4Weights, Int8Weights, Weights } from '../../formats/index.js';
import { type Conv2dNode, gather, type LayerNode } from '../../graph/ir.js';
import { stridesOf } from '../../plan/strides.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { CODE_TYPES } from '../tensor.js';
import { bytesOf, type OnnxFile } from './file.js';

const { FLOAT, FLOAT16, INT8 } = TensorProto_DataType;
const INT4 = 22;

/** How weights [rows, cols] lie in a tensor of ONNX: its dimensions, and the steps from one element of each to the next. */
export interface Arrangement {
  dims: readonly number[];
  strides: readonly number[];
  /** The dimension that rows are. */
  rowAxis: number;
}

export function kernelOf({ window: { kernel } }: Conv2dNode): [height: number, width: number] {
  return typeof kernel === 'object' ? [kernel[0], kernel[1]] : [kernel, kernel];
}

/** OIHW of a convolution, [rows, cols] of Gemm with transB, or [cols, rows] of MatMul. */
export function arrange(node: LayerNode, transposed: boolean): Arrangement {
  const { rows, cols } = node.weights;
  if (node.op === 'linear') {
    return transposed
      ? { dims: [rows, cols], strides: [cols, 1], rowAxis: 0 }
      : { dims: [cols, rows], strides: [1, cols], rowAxis: 1 };
  }
  const [height, width] = kernelOf(node);
  const channels = cols / (height * width);
  return { dims: [rows, channels, height, width], strides: [cols, 1, width * channels, channels], rowAxis: 0 };
}

function rearranged<T extends Float32Array | Int8Array | Uint8Array>(data: T, { dims, strides }: Arrangement): T {
  return strides.join() === stridesOf(dims).join() ? data : gather(data, dims, strides);
}

/** The entries of csr in the order of a tensor. */
function entriesOf(weights: Weights & { format: 'csr' }, { dims, strides }: Arrangement) {
  const { rows, cols, indptr, indices, values } = weights;
  const own = stridesOf(dims);
  // An element of [rows, cols] by its index along each dimension, those of the largest steps first.
  const axes = dims.map((_, axis) => axis).sort((a, b) => strides[b] - strides[a] || dims[a] - dims[b]);
  const places = new Float64Array(values.length);
  for (let r = 0; r < rows; r++) {
    for (let i = indptr[r]; i < indptr[r + 1]; i++) {
      let rest = r * cols + indices[i];
      for (const axis of axes) {
        if (dims[axis] === 1) continue;
        places[i] += Math.floor(rest / strides[axis]) * own[axis];
        rest %= strides[axis];
      }
    }
  }
  const order = Array.from(places.keys()).sort((a, b) => places[a] - places[b]);
  return { values: Float32Array.from(order, (i) => values[i]), places: Float64Array.from(order, (i) => places[i]) };
}

/** int4 with one scale a row as one code a byte, 0..15. */
function unpackRows({ rows, cols, codes }: Int4Weights): Uint8Array {
  const stride = codeBytes(cols, 4);
  const all = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) all[r * cols + c] = readCode(codes, r * stride, c, 4);
  return all;
}

/** Codes 0..15 as INT4, -8..7: two share a byte. */
function packInt4(codes: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(codeBytes(codes.length, 4));
  for (let i = 0; i < codes.length; i++) writeCode(bytes, 0, i, 4, codes[i] ^ 8);
  return bytes;
}

/** The codes of 8-bit weights alone. */
export function codesTensor(file: OnnxFile, name: string, { codes }: Int8Weights, at: Arrangement): string {
  const bytes = () => bytesOf(rearranged(codes, at));
  const as = `codes ${at.dims.join()} ${at.strides.join()}`;
  return file.once(codes, as, () => file.initializer(`${name}.weight.codes`, at.dims, INT8, bytes));
}

/** The tensor of a layer's weights as f32, as ONNX's own operators read it; undefined where there is no such form. */
export function standardWeights(file: OnnxFile, node: LayerNode, at: Arrangement): string | undefined {
  const as = `${at.dims.join()} ${at.strides.join()}`;
  return file.once(node.weights, as, () => writeStandard(file, node, at));
}

function writeStandard(file: OnnxFile, { name, weights }: LayerNode, at: Arrangement): string | undefined {
  const { dims } = at;
  const title = `${name}.weight`;
  const dequantize = (codes: string, scale: Float32Array, zeros: string | undefined, axis: number): string => {
    const perRow = scale.length > 1;
    if (perRow) file.need(13);
    const scales = file.initializer(`${title}.scale`, perRow ? [scale.length] : [], FLOAT, () => bytesOf(scale));
    const output = file.unique(title);
    const inputs = [codes, scales, ...(zeros === undefined ? [] : [zeros])];
    return file.node('DequantizeLinear', inputs, output, perRow ? { axis } : {}, output);
  };
  switch (weights.format) {
    case 'dense':
      return file.initializer(title, dims, FLOAT, () => bytesOf(rearranged(weights.values, at)));
    case 'f16': {
      const { halves } = weights;
      // Two bytes each, through f32 as numbers of 16 bits.
      const moved = () => Uint16Array.from(rearranged(Float32Array.from(halves), at));
      const stored = file.initializer(`${title}.f16`, dims, FLOAT16, () => bytesOf(moved()));
      const output = file.unique(title);
      return file.node('Cast', [stored], output, { to: FLOAT }, output);
    }
    case 'csr':
      return file.sparse(title, dims, () => entriesOf(weights, at));
    case 'int8': {
      const { scale, zeroPoint } = weights;
      if (zeroPoint && zeroPoint.length !== scale.length) return undefined;
      const stored = codesTensor(file, name, weights, at);
      const zeroDims = scale.length > 1 ? [scale.length] : [];
      const zeros = zeroPoint && file.initializer(`${title}.zero_point`, zeroDims, INT8, () => bytesOf(zeroPoint));
      return dequantize(stored, scale, zeros, at.rowAxis);
    }
    case 'int4': {
      const { rows, cols, groupSize, scale, zeroPoint } = weights;
      if (groupSize !== cols || !CODE_TYPES[INT4]) return undefined;
      file.need(21);
      const codes = () => packInt4(rearranged(unpackRows(weights), at));
      const stored = file.initializer(`${title}.codes`, dims, INT4, codes);
      const zeros = () => packInt4(Uint8Array.from({ length: rows }, (_, r) => readCode(zeroPoint!, r, 0, 4)));
      const zeroName = zeroPoint && file.initializer(`${title}.zero_point`, [rows], INT4, zeros);
      const scales = file.initializer(`${title}.scale`, [rows], FLOAT, () => bytesOf(scale));
      const output = file.unique(title);
      const inputs = zeroName === undefined ? [stored, scales] : [stored, scales, zeroName];
      return file.node('DequantizeLinear', inputs, output, { axis: at.rowAxis }, output);
    }
    default:
      return undefined;
  }
}

/** Blocks of columns that MatMulNBits takes. */
const BLOCKS: readonly number[] = [16, 32, 64, 128, 256];

/** The inputs and attributes of MatMulNBits behind the activations, for weights that it has a form for. */
export function nBits(file: OnnxFile, { name, op, weights }: LayerNode) {
  if (op !== 'linear' || (weights.format !== 'int4' && weights.format !== 'int2')) return undefined;
  const { rows, cols, groupSize, codes, scale, zeroPoint } = weights;
  if (!BLOCKS.includes(groupSize)) return undefined;
  const bits = weights.format === 'int4' ? 4 : 2;
  const groups = Math.ceil(cols / groupSize);
  const bytes = (part: string, dims: number[], data: Uint8Array) =>
    file.initializer(`${name}.weight.${part}`, dims, TensorProto_DataType.UINT8, () => bytesOf(data));
  const inputs = [
    bytes('codes', [rows, groups, codeBytes(groupSize, bits)], codes),
    file.initializer(`${name}.weight.scale`, [rows * groups], FLOAT, () => bytesOf(scale)),
    ...(zeroPoint ? [bytes('zero_points', [rows * codeBytes(groups, bits)], zeroPoint)] : []),
  ];
  return { inputs, attributes: { K: cols, N: rows, bits, block_size: groupSize } };
}

/** The same weights of another order of columns: column j is column `columns[j]` of before. */
export function permuteColumns(weights: Weights, columns: Int32Array): Weights {
  const { rows, cols } = weights;
  const all = <T extends Float32Array | Int8Array | Uint16Array>(data: T): T => {
    const out = new (data.constructor as new (length: number) => T)(data.length);
    for (let r = 0; r < rows; r++) for (let j = 0; j < cols; j++) out[r * cols + j] = data[r * cols + columns[j]];
    return out;
  };
  switch (weights.format) {
    case 'dense':
      return { ...weights, values: all(weights.values) };
    case 'f16':
      return { ...weights, halves: all(weights.halves) };
    case 'int8':
      return { ...weights, codes: all(weights.codes) };
    case 'csr': {
      const to = new Int32Array(cols);
      for (let j = 0; j < cols; j++) to[columns[j]] = j;
      const { indptr } = weights;
      const indices = weights.indices.slice();
      const values = weights.values.slice();
      for (let r = 0; r < rows; r++) {
        const row = Array.from({ length: indptr[r + 1] - indptr[r] }, (_, i) => indptr[r] + i);
        row.sort((a, b) => to[weights.indices[a]] - to[weights.indices[b]]);
        for (const [i, from] of row.entries()) {
          indices[indptr[r] + i] = to[weights.indices[from]];
          values[indptr[r] + i] = weights.values[from];
        }
      }
      return { ...weights, indices, values };
    }
    default:
      throw new TypeError(`columns of ${weights.format}`);
  }
}

/** Formats whose columns `permuteColumns` moves, and those that the reader moves back. */
export const MOVABLE: ReadonlySet<Weights['format']> = new Set(['dense', 'f16', 'int8', 'csr'] as const);
