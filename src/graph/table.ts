import type { ElementType } from '../dtype.js';
import { type CodeBits, writeCode } from '../formats/bits.js';
import { binary, type Emitter, reshape } from './emit.js';
import type { Constant, ReshapeDim, ValueId } from './ir.js';
import { keepDims } from './reshape.js';
import type { Shape } from './shapes.js';

/** A table of numbers that are codes: real = scale * (code - zeroPoint). */
export interface Table {
  codes: {
    dims: readonly number[];
    dtype: 'uint8' | 'int8';
    bits: CodeBits;
    data: Uint8Array | Int8Array;
  };
  /** Neighbours along each dimension that share a scale. */
  blocks: readonly number[];
  /** Row-major over the blocks. */
  scale: Float32Array;
  /** As many as scales, or none: 0. */
  zeroPoint?: ArrayLike<number>;
}

export interface TableEmitter extends Emitter {
  shape(value: ValueId): Shape;
  /** A constant of the graph, of codes if `dtype` says so. */
  addConstant(constant: Constant, dtype?: ElementType): ValueId;
}

/** Codes that share bytes, rows of `perByte` times as many. */
function packRows({ codes }: Table, perByte: number): Uint8Array {
  const packed = new Uint8Array(codes.data.length / perByte);
  const bits = (8 / perByte) as CodeBits;
  for (let i = 0; i < codes.data.length; i++) writeCode(packed, 0, i, bits, codes.data[i] & (2 ** bits - 1));
  return packed;
}

/** Rows of codes: those of under 8 bits share bytes, and each of a byte's codes is looked up. */
function gatherCodes(c: TableEmitter, table: Table, indices: ValueId): ValueId {
  const { dims, dtype, bits, data } = table.codes;
  const [rows, cols] = dims;
  const perByte = cols % (8 / bits) === 0 ? 8 / bits : 1;
  if (perByte === 1) {
    const constant = c.addConstant({ dims, data: Float32Array.from(data) }, dtype);
    return c.emit({ op: 'gather', inputs: [constant, indices], axis: 0 });
  }
  const packed = { dims: [rows, cols / perByte], data: Float32Array.from(packRows(table, perByte)) };
  const bytes = c.emit({ op: 'gather', inputs: [c.addConstant(packed, 'uint8'), indices], axis: 0 });
  const shape = c.shape(bytes);
  const spare = 32 - bits;
  const parts = Array.from({ length: perByte }, (_, part) => {
    const codeOf = (byte: number) => {
      const high = (byte >> (part * bits)) << spare;
      return dtype === 'uint8' ? high >>> spare : high >> spare;
    };
    const lookup = Array.from({ length: 256 }, (_, byte) => codeOf(byte));
    const codes = c.emit({ op: 'lookup', inputs: [bytes], from: 'uint8', to: dtype, table: lookup });
    return reshape(c, codes, [...keepDims(shape), 1]);
  });
  const joined = c.emit({ op: 'concat', inputs: parts, axis: shape.length });
  return reshape(c, joined, [...keepDims(shape).slice(0, -1), cols]);
}

/**
 * Rows of a table that stays codes on the device: they, and their scales, are taken by the indices and multiplied then.
 * Undefined for tables of another shape than [rows, columns], and scales that this does not have.
 */
export function gatherTable(c: TableEmitter, table: Table, indices: ValueId): ValueId | undefined {
  const { codes, blocks, scale, zeroPoint } = table;
  const [rows, cols] = codes.dims;
  if (codes.dims.length !== 2 || rows * cols === 0 || c.shape(indices).length > 5) return undefined;
  const perRow = blocks[0] === 1 && rows > 1;
  const block = Math.min(blocks[1], cols);
  // A scale for every few columns of every row takes more room than the numbers.
  if ((!perRow && blocks[0] < rows) || cols % block !== 0 || (perRow && block < 8 && block < cols)) return undefined;
  const zero = zeroPoint?.[0] ?? 0;
  const sameZero = !zeroPoint || Array.prototype.every.call(zeroPoint, (other) => other === zero);
  const rowsOfCodes = gatherCodes(c, table, indices);
  const dequantize = { op: 'dequantize', inputs: [rowsOfCodes], zeroPoint: sameZero ? zero : 0 } as const;
  if (scale.length === 1) return c.emit({ ...dequantize, scale: scale[0] });
  const steps = c.emit({ ...dequantize, scale: 1 });
  const shape = keepDims(c.shape(steps));
  const outer = shape.slice(0, -1);
  const inBlocks: ReshapeDim[] = [...outer, cols / block, block];
  const dims = [scale.length / (cols / block), cols / block, 1];
  const along = (values: ArrayLike<number>): ValueId => {
    const constant = c.addConstant({ dims, data: Float32Array.from(values) });
    return perRow ? c.emit({ op: 'gather', inputs: [constant, indices], axis: 0 }) : constant;
  };
  let numbers = reshape(c, steps, inBlocks);
  if (!sameZero) numbers = binary(c, 'sub', numbers, along(zeroPoint!));
  return reshape(c, binary(c, 'mul', numbers, along(scale)), shape);
}
