import { codeBytes, writeCode } from '../formats/bits.js';
import type { AnyGrouped, Int8Weights } from '../formats/index.js';
import { int2, int4, int8Grouped } from '../formats/index.js';
import { SMALLEST_SCALE } from '../formats/scales.js';
import { type Constant, gather } from '../graph/ir.js';
import { product, stridesOf } from '../plan/strides.js';
import type { CodeTensor } from './tensor.js';

/** A constant of numbers that the model has as codes: real = scale * (code - zeroPoint). */
export interface QuantizedTensor {
  kind: 'quantized';
  codes: CodeTensor;
  /** Neighbours along each dimension that share a scale: 1, a block, or all of them. */
  blocks: readonly number[];
  /** Row-major over the blocks. */
  scale: Float32Array;
  /** As many as scales, or none: 0. */
  zeroPoint?: ArrayLike<number>;
}

/** Calls `visit` for every element, row-major, with the index of the block's scale. */
export function eachScale(
  dims: readonly number[],
  blocks: readonly number[],
  visit: (at: number, scale: number) => void,
): void {
  const strides = stridesOf(dims.map((dim, axis) => Math.ceil(dim / blocks[axis])));
  const index = new Array<number>(dims.length).fill(0);
  const count = product(dims);
  for (let at = 0; at < count; at++) {
    let scale = 0;
    for (let axis = 0; axis < dims.length; axis++) scale += Math.floor(index[axis] / blocks[axis]) * strides[axis];
    visit(at, scale);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      if (++index[axis] < dims[axis]) break;
      index[axis] = 0;
    }
  }
}

/** The numbers, as DequantizeLinear gives them. */
export function dequantize(tensor: QuantizedTensor): Constant {
  const { codes, blocks, scale, zeroPoint } = tensor;
  return dequantizeNumbers(codes.dims, codes.data, blocks, scale, zeroPoint);
}

/** The same of integers of any size. */
export function dequantizeNumbers(
  dims: readonly number[],
  integers: ArrayLike<number>,
  blocks: readonly number[],
  scale: Float32Array,
  zeroPoint?: ArrayLike<number>,
): Constant {
  const data = new Float32Array(integers.length);
  eachScale(dims, blocks, (at, s) => {
    data[at] = Math.fround(integers[at] - (zeroPoint?.[s] ?? 0)) * scale[s];
  });
  return { dims, data };
}

/** The tensor with its dimensions permuted. */
export function transposed(tensor: QuantizedTensor, perm: readonly number[]): QuantizedTensor {
  const { codes, blocks, scale, zeroPoint } = tensor;
  const scales = codes.dims.map((dim, axis) => Math.ceil(dim / blocks[axis]));
  return {
    ...tensor,
    codes: { ...codes, dims: perm.map((axis) => codes.dims[axis]), data: permute(codes.data, codes.dims, perm) },
    blocks: perm.map((axis) => blocks[axis]),
    scale: permute(scale, scales, perm),
    zeroPoint: zeroPoint && permute(Float32Array.from(zeroPoint), scales, perm),
  };
}

function permute<T extends Float32Array | Uint8Array | Int8Array>(
  data: T,
  dims: readonly number[],
  perm: readonly number[],
): T {
  const strides = stridesOf(dims);
  return gather(
    data,
    perm.map((axis) => dims[axis]),
    perm.map((axis) => strides[axis]),
  );
}

/** Formats with scales by groups of columns, by the bits of their codes. */
export const GROUPED = { 8: int8Grouped, 4: int4, 2: int2 } as const;

/** Columns that may share a scale of those. */
export const GROUPS: readonly number[] = [16, 32, 64, 128, 256];

/**
 * The codes as the packed weights of a layer, [dims[0], all others together], or undefined where no format has scales
 * that lie like these: they may differ from row to row, and from group to group of columns.
 */
export function packMatrix(tensor: QuantizedTensor): Int8Weights | AnyGrouped | undefined {
  const { codes, blocks, scale } = tensor;
  const [rows] = codes.dims;
  const cols = product(codes.dims.slice(1));
  if (rows * cols === 0 || !scale.every((s) => Math.abs(s) < Infinity)) return undefined;
  const wholeRows = codes.dims.every((dim, axis) => axis === 0 || blocks[axis] >= dim);
  const groupSize = wholeRows ? cols : blocks[1];
  if (!wholeRows && !(codes.dims.length === 2 && GROUPS.includes(groupSize))) return undefined;
  if (codes.bits === 8 && wholeRows) return int8Weights(tensor, rows, cols);
  return groupedWeights(tensor, rows, cols, groupSize);
}

/** Scales (or zero points) one a row, or the one of all. */
function perRow(values: ArrayLike<number>, rows: number, block: number): number[] {
  return values.length === 1 ? [values[0]] : Array.from({ length: rows }, (_, r) => values[Math.floor(r / block)]);
}

function int8Weights(tensor: QuantizedTensor, rows: number, cols: number): Int8Weights | undefined {
  const { codes, blocks, scale, zeroPoint = new Float32Array(scale.length) } = tensor;
  if (scale.some((s) => !(s >= SMALLEST_SCALE))) return undefined;
  const less = codes.dtype === 'uint8' ? 128 : 0;
  const data = codes.data instanceof Int8Array ? codes.data : Int8Array.from(codes.data, (code) => code - less);
  const zeros = Int8Array.from(perRow(zeroPoint, rows, blocks[0]), (zero) => zero - less);
  const weights: Int8Weights = {
    format: 'int8',
    rows,
    cols,
    codes: data,
    scale: Float32Array.from(perRow(scale, rows, blocks[0])),
  };
  if (zeros.some((zero) => zero !== 0)) weights.zeroPoint = zeros;
  return weights;
}

function groupedWeights(tensor: QuantizedTensor, rows: number, cols: number, groupSize: number): AnyGrouped {
  const { codes, blocks, scale, zeroPoint } = tensor;
  const { bits } = codes;
  const middle = 2 ** (bits - 1);
  // Codes are unsigned.
  const more = codes.dtype === 'int8' ? middle : 0;
  const groups = Math.ceil(cols / groupSize);
  const groupBytes = codeBytes(groupSize, bits);
  const zeroBytes = codeBytes(groups, bits);
  const packed = new Uint8Array(rows * groups * groupBytes);
  const scales = new Float32Array(rows * groups);
  const zeros = new Uint8Array(rows * zeroBytes);
  for (let r = 0; r < rows; r++) {
    const first = Math.floor(r / blocks[0]) * groups;
    for (let g = 0; g < groups; g++) {
      scales[r * groups + g] = scale[first + g];
      writeCode(zeros, r * zeroBytes, g, bits, (zeroPoint?.[first + g] ?? 0) + more);
    }
    for (let k = 0; k < cols; k++) {
      const group = r * groups + Math.floor(k / groupSize);
      writeCode(packed, group * groupBytes, k % groupSize, bits, codes.data[r * cols + k] + more);
    }
  }
  return {
    format: GROUPED[bits].name,
    rows,
    cols,
    groupSize,
    codes: packed,
    scale: scales,
    zeroPoint: zeros,
  };
}
