import { readCode } from '../../formats/bits.js';
import { cumulate, gatherElements, gatherNd, MOST_TOP, topK } from '../../graph/gather.js';
import type { ValueId } from '../../graph/ir.js';
import { range } from '../../graph/reshape.js';
import { formatShape } from '../../graph/shapes.js';
import { gatherTable } from '../../graph/table.js';
import { dequantize, type QuantizedTensor } from '../quantized.js';
import { type CodeTensor, Unsupported } from '../tensor.js';
import { axisOf, type NodeContext, type Operator, squeeze } from './context.js';
import { toFloats } from './elementwise.js';

// Operators that find elements by more than one index, or by their order.

function found(value: ValueId | undefined, what: string): ValueId {
  if (value === undefined) throw new Unsupported(what);
  return value;
}

const MAX_SIZE = 2 ** 30;
const { MAX_SAFE_INTEGER } = Number;

/** A function of codes, as the table that they are indices of: negative ones count from its end, as their bytes do. */
function tableOfCodes(c: NodeContext): ValueId | undefined {
  const table = c.codes(0);
  const codes = table?.bits === 8 && table.dims.join() === '256' ? c.codesBehind(1) : undefined;
  if (!table || codes === undefined) return undefined;
  const from = c.type(codes) as 'uint8' | 'int8';
  return c.emit({ op: 'lookup', inputs: [codes], from, to: table.dtype, table: [...table.data] });
}

function readGather(c: NodeContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  const rank = shape.length;
  if (rank === 0) c.bad('input', 'at least one dimension', 'none');
  const axis = axisOf(c, 0, rank);
  const lookup = tableOfCodes(c);
  if (lookup !== undefined) return lookup;
  const indices = c.isInteger(1) ? c.integers(1, 'indices') : undefined;
  const size = shape[axis];
  for (const index of indices ?? []) {
    if (typeof size === 'number' && (index >= size || index < -size)) {
      c.bad('indices', `integers in ${-size}..${size - 1}`, String(index));
    }
  }
  // One index is a slice; without dimensions of its own it takes the axis away.
  const indexRank = c.shape(c.value(1)).length;
  if (indices?.length === 1 && indexRank <= 1) {
    const [start] = indices;
    const end = start === -1 ? MAX_SAFE_INTEGER : start + 1;
    const row = c.emit({ op: 'slice', inputs: [input], cuts: [{ axis, start, end, step: 1 }] });
    return indexRank === 0 ? squeeze(c, row, [axis]) : row;
  }
  const table = axis === 0 && !indices ? c.quantized(0) : undefined;
  const rows = table && gatherTable(c, table, toFloats(c, c.value(1)));
  return rows ?? c.emit({ op: 'gather', inputs: [input, c.value(1)], axis });
}

/** Codes of a tensor of bytes whose last dimension has two of 4 bits a byte. */
function nibblesOf({ dims, data }: CodeTensor, columns: number): CodeTensor {
  const rows = data.length / Math.max(dims.at(-1) ?? 1, 1);
  const rowBytes = Math.ceil(columns / 2);
  const nibbles = new Uint8Array(rows * columns);
  for (let i = 0; i < nibbles.length; i++) {
    nibbles[i] = readCode(data as Uint8Array, Math.floor(i / columns) * rowBytes, i % columns, 4);
  }
  return { kind: 'codes', dims: [...dims.slice(0, -1), columns], dtype: 'uint8', bits: 4, data: nibbles };
}

/**
 * Rows of a table with scales for blocks: 4-bit integers, or bytes of two codes or one. Those of bytes have the middle
 * of the codes for a zero point where none is given.
 */
function readGatherBlocks(c: NodeContext): ValueId {
  const bits = c.attributes.int('bits', 4);
  const stored = c.codes(0);
  if (!stored) throw new Unsupported('a table that is no constant of codes');
  if (stored.bits === 2 || (bits !== 4 && bits !== 8) || (stored.bits === 4 && bits !== 4)) {
    throw new Unsupported(`a table of ${bits} bits in elements of ${stored.bits}`);
  }
  const ofBytes = stored.bits === 8;
  const isPacked = ofBytes && bits === 4;
  if (ofBytes && stored.dtype !== 'uint8') throw new Unsupported('a table of signed bytes');
  const codes = isPacked ? nibblesOf(stored, 2 * (stored.dims.at(-1) ?? 0)) : stored;
  const rank = codes.dims.length;
  const axisOfName = (name: string, fallback: number) => {
    const axis = c.attributes.int(name, fallback, -rank, rank - 1);
    return axis < 0 ? axis + rank : axis;
  };
  const [axis, quantizeAxis] = [axisOfName('gather_axis', 0), axisOfName('quantize_axis', 1)];
  const block = c.attributes.int('block_size', 128, 1, MAX_SIZE);
  const blocks = codes.dims.map((_, i) => (i === quantizeAxis ? block : 1));
  const scales = codes.dims.map((dim, i) => Math.ceil(dim / blocks[i]));
  const { dims, data: scale } = c.constant(2, 'scales');
  if (formatShape(dims) !== formatShape(scales)) c.bad('scales', formatShape(scales), formatShape(dims));
  const given = c.has(3) ? c.codes(3) : undefined;
  if (c.has(3) && !given) throw new Unsupported('zero points that are no constant of codes');
  const rowBytes = Math.ceil((scales.at(-1) ?? 0) / 2);
  const zeroDims = isPacked ? [...scales.slice(0, -1), rowBytes] : scales;
  if (given && formatShape(given.dims) !== formatShape(zeroDims)) {
    c.bad('zero_points', formatShape(zeroDims), formatShape(given.dims));
  }
  const zeros = given && (isPacked ? nibblesOf(given, scales.at(-1)!) : given).data;
  const zeroPoint = zeros ?? (ofBytes ? new Float32Array(scale.length).fill(2 ** (bits - 1)) : undefined);
  const table: QuantizedTensor = { kind: 'quantized', codes, blocks, scale, zeroPoint };
  const rows = axis === 0 && !c.isInteger(1) ? gatherTable(c, table, toFloats(c, c.value(1))) : undefined;
  if (rows !== undefined) return rows;
  c.claim(codes.data.length);
  return c.emit({ op: 'gather', inputs: [c.addConstant(dequantize(table)), c.value(1)], axis });
}

function readGatherElements(c: NodeContext): ValueId {
  const input = c.value(0);
  const [shape, wanted] = [c.shape(input), c.shape(c.value(1))];
  const axis = axisOf(c, 0, shape.length);
  if (wanted.length !== shape.length) c.bad('indices', `${shape.length} dimensions`, String(wanted.length));
  for (const [i, size] of wanted.entries()) {
    if (i !== axis && Number(size) > Number(shape[i])) c.bad('indices', `at most ${shape[i]} along ${i}`, String(size));
  }
  return found(gatherElements(c, input, toFloats(c, c.value(1)), axis), 'dimensions that are open');
}

function readGatherNd(c: NodeContext): ValueId {
  const [shape, wanted] = [c.shape(c.value(0)), c.shape(c.value(1))];
  const batchDims = c.attributes.int('batch_dims', 0, 0, 8);
  if (batchDims >= wanted.length || !range(batchDims).every((i) => shape[i] === wanted[i])) {
    c.bad('batch_dims', 'dimensions that data and indices share', String(batchDims));
  }
  return found(gatherNd(c, c.value(0), toFloats(c, c.value(1)), batchDims), 'dimensions that are open, or too many');
}

function readCumulate(c: NodeContext): ValueId {
  const input = toFloats(c, c.value(0));
  const rank = c.shape(input).length;
  const [given] = c.integers(1, 'axis');
  if (!(given >= -rank && given < rank)) c.bad('axis', `an integer in ${-rank}..${rank - 1}`, String(given));
  const flag = (name: string) => c.attributes.int(name, 0, 0, 1) === 1;
  const how = { exclusive: flag('exclusive'), reverse: flag('reverse') };
  const sums = found(
    cumulate(c, input, given < 0 ? given + rank : given, how),
    'an axis that is open or over 2048 long',
  );
  return c.holdsIntegers(input) ? c.markIntegers(sums) : sums;
}

function readTopK(c: NodeContext): ValueId[] {
  const input = toFloats(c, c.value(0));
  const rank = c.shape(input).length;
  const axis = axisOf(c, -1, rank);
  const [count] = c.opset < 10 ? [c.attributes.int('k', 0)] : c.integers(1, 'k');
  const largest = c.attributes.int('largest', 1, 0, 1) === 1;
  const perm = range(rank);
  [perm[axis], perm[rank - 1]] = [rank - 1, axis];
  const swap = (value: ValueId) => (axis === rank - 1 ? value : c.emit({ op: 'transpose', inputs: [value], perm }));
  const top = topK(c, swap(input), count, largest);
  if (!top) throw new Unsupported(`k = ${count} (only 1 to ${MOST_TOP}, of an axis whose size is known)`);
  const values = swap(top[0]);
  return [c.holdsIntegers(input) ? c.markIntegers(values) : values, c.markIntegers(swap(top[1]))];
}

export const gathers: Readonly<Record<string, Operator>> = {
  CumSum: { attributes: ['exclusive', 'reverse'], inputs: [2, 2], read: readCumulate },
  Gather: { attributes: ['axis'], inputs: [2, 2], read: readGather },
  GatherElements: { attributes: ['axis'], inputs: [2, 2], read: readGatherElements },
  GatherND: { attributes: ['batch_dims'], inputs: [2, 2], read: readGatherNd },
  TopK: { attributes: ['axis', 'k', 'largest', 'sorted'], inputs: [1, 2], read: readTopK },
  'com.microsoft.GatherBlockQuantized': {
    attributes: ['bits', 'block_size', 'gather_axis', 'quantize_axis'],
    inputs: [3, 4],
    read: readGatherBlocks,
  },
};
