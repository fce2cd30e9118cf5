import { cumulate, gatherBatches, gatherNd, MOST_TOP, topK } from '../../graph/gather.js';
import type { ValueId } from '../../graph/ir.js';
import { Unsupported } from '../../graph/refuse.js';
import { range } from '../../graph/reshape.js';
import { gatherTable } from '../../graph/table.js';
import { BuiltinOptions, CumsumOptions, GatherOptions, TensorType } from '../generated/tflite_generated.js';
import { alongDimension, isQuantized, storedElements } from '../tensor.js';
import { axisOf, numberOf, type Operator, type OperatorContext } from './context.js';

// Operators that find elements by indices, or by their order.

const MAX_DIMENSIONS = 8;

function readGather(c: OperatorContext): ValueId {
  const options = c.options(BuiltinOptions.GatherOptions, new GatherOptions());
  const input = c.value(0);
  const shape = c.shape(input);
  const axis = axisOf(c, options?.axis() ?? 0, shape.length);
  const found = c.shape(c.value(1));
  const given = options?.batchDims() ?? 0;
  const batchDims = given < 0 ? given + found.length : given;
  if (batchDims !== 0) {
    const shared = batchDims > 0 && batchDims <= axis && batchDims <= found.length;
    if (!shared || !range(batchDims).every((i) => shape[i] === found[i])) {
      c.bad('batch_dims', 'dimensions that input and indices share, before the axis', String(given));
    }
    const gathered = gatherBatches(c, input, c.value(1), axis, batchDims);
    if (gathered === undefined) throw new Unsupported('batch dimensions that are open');
    return gathered;
  }
  if (c.isInteger(1)) {
    const size = shape[axis];
    const wrong = c.integers(1, 'indices').find((i) => i < 0 || (typeof size === 'number' && i >= size));
    if (wrong !== undefined) c.bad('indices', `integers below ${size}`, String(wrong));
  }
  if (shape.length + c.shape(c.value(1)).length - 1 > MAX_DIMENSIONS) c.bad('indices', 'fewer dimensions', 'too many');
  return c.emit({ op: 'gather', inputs: [input, c.value(1)], axis });
}

function readGatherNd(c: OperatorContext): ValueId {
  const gathered = gatherNd(c, c.value(0), c.value(1), 0);
  if (gathered === undefined) throw new Unsupported('indices or dimensions that are open, or too many of them');
  return gathered;
}

/** Rows of a table, which stay codes. */
function readEmbedding(c: OperatorContext): ValueId {
  const tensor = c.tensor(1);
  const { data, shape, quantization, type, sparsity } = tensor;
  if (data && isQuantized(tensor) && !sparsity && shape.length === 2 && type !== TensorType.INT16) {
    const { scale, zeroPoint, dimension } = quantization!;
    const bits = type === TensorType.INT4 ? 4 : 8;
    const stored = storedElements(tensor, 'table');
    c.claim(stored.length);
    const dtype = type === TensorType.UINT8 ? ('uint8' as const) : ('int8' as const);
    const codes = { dims: shape, dtype, bits, data: stored as Int8Array } as const;
    const scales = Float32Array.from(alongDimension(scale, shape[dimension] ?? 1, 'table scales'));
    const zeros = alongDimension(zeroPoint, scales.length, 'table zero points');
    const blocks = shape.map((size, i) => (scales.length > 1 && i === dimension ? 1 : Math.max(size, 1)));
    const zeroPoints = scales.map((_, i) => zeros[zeros.length === 1 ? 0 : i]);
    const rows = gatherTable(c, { codes, blocks, scale: scales, zeroPoint: zeroPoints }, c.value(0));
    if (rows !== undefined) return rows;
  }
  return c.emit({ op: 'gather', inputs: [c.value(1), c.value(0)], axis: 0 });
}

function readCumulate(c: OperatorContext): ValueId {
  const options = c.options(BuiltinOptions.CumsumOptions, new CumsumOptions());
  const input = c.value(0);
  const axis = axisOf(c, numberOf(c, 1, 'axis'), c.shape(input).length);
  const how = { exclusive: options?.exclusive() ?? false, reverse: options?.reverse() ?? false };
  const sums = cumulate(c, input, axis, how);
  if (sums === undefined) throw new Unsupported('an axis that is open or long');
  return c.holdsIntegers(input) ? c.markIntegers(sums) : sums;
}

function readTopK(c: OperatorContext): ValueId[] {
  const count = numberOf(c, 1, 'k');
  const found = topK(c, c.value(0), count, true);
  if (found === undefined) throw new Unsupported(`the largest ${count} of an axis (only 1 to ${MOST_TOP})`);
  return [found[0], c.markIntegers(found[1])];
}

export const gathers: Readonly<Record<string, Operator>> = {
  CUMSUM: { inputs: [2, 2], read: readCumulate },
  EMBEDDING_LOOKUP: { inputs: [2, 2], read: readEmbedding },
  GATHER: { inputs: [2, 2], read: readGather, moves: true },
  GATHER_ND: { inputs: [2, 2], read: readGatherNd, moves: true },
  TOPK_V2: { inputs: [2, 2], read: readTopK },
};
