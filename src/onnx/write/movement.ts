import type {
  ConcatNode,
  Dim,
  ExpandNode,
  GatherNode,
  Node,
  PadNode,
  ResampleNode,
  ReshapeNode,
  SliceNode,
  TileNode,
  ValueId,
} from '../../graph/ir.js';
import { inferNode, isConcrete, type Shape } from '../../graph/shapes.js';
import { product } from '../../plan/strides.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { type Context, Refused, type Stage } from './context.js';
import type { Attributes, AttributeValue } from './file.js';
import { takesMovedColumns } from './layers.js';
import { keepsMemory, type Order } from './values.js';
import { MOVABLE } from './weights.js';

const { FLOAT, INT64 } = TensorProto_DataType;

/** Nodes that move elements of any kind. */
export function writeMovement(c: Context, node: Node): ValueId {
  switch (node.op) {
    case 'transpose':
      return c.values.alias(node.output, node.inputs[0], node.perm);
    case 'reshape':
      return writeReshape(c, node);
    case 'concat':
      return writeConcat(c, node);
    case 'slice':
      return writeSlice(c, node);
    case 'expand':
      return writeExpand(c, node);
    case 'tile':
      return writeTile(c, node);
    case 'pad':
      return writePad(c, node);
    case 'gather':
      return writeGather(c, node);
    case 'resample':
      return writeResample(c, node);
    default:
      throw new Refused('no form in ONNX');
  }
}

/** The type in which values are moved together: the one that all have, f32 where they differ. */
function typeOf(c: Context, ids: readonly ValueId[]): number {
  const own = c.values.ownType(ids[0]);
  const moving = ids.filter((id) => !c.values.constant(id));
  const common = (moving.length > 0 ? c.values.types(moving[0]) : []).find((type) =>
    moving.every((id) => c.values.has(id, type)),
  );
  const constant = moving.length === 0 && ids.every((id) => c.wantsIntegers.has(id)) ? INT64 : own;
  const type = common ?? constant;
  const exact = ids.every((id) => c.values.constant(id)?.data.every(Number.isInteger) ?? true);
  return own !== FLOAT || exact ? type : FLOAT;
}

function writeReshape(c: Context, node: ReshapeNode): ValueId {
  const [input] = node.inputs;
  const from = c.values.shape(input);
  const to = c.values.shape(node.output);
  const preferred = c.prefer(node.inputs);
  const moved = preferred.some((axis, i) => axis !== i);
  const perm = from.length === 4 ? movesOnes(from, to) : undefined;
  // What only moves dimensions of 1 is a transpose to other layouts: where an image is in the file already, nothing.
  if (perm && !c.values.constant(input)) return c.values.alias(node.output, input, perm);
  const order = moved && keepsMemory(preferred, from) ? preferred : c.values.plain(input);
  if (moved && order !== preferred && flatten(c, node, preferred)) return node.output;
  const type = typeOf(c, node.inputs);
  const name = c.values.get(input, order, type);
  const shape = order.map((axis) => from[axis]);
  const { dims, attributes } = target(c, node, shape, to);
  return c.write(node, [name, dims], [{ opType: 'Reshape', attributes }], undefined, type);
}

/** A reshape as the permutation of dimensions that it is, of which only those of 1 move; undefined for others. */
function movesOnes(from: Shape, to: Shape): number[] | undefined {
  if (from.length !== to.length || from.join() === to.join()) return undefined;
  const large = (shape: Shape) => shape.flatMap((dim, axis) => (dim === 1 ? [] : [axis]));
  const ones = (shape: Shape) => shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []));
  const [a, b] = [large(from), large(to)];
  if (a.length !== b.length || a.some((axis, i) => from[axis] !== to[b[i]])) return undefined;
  const perm = new Array<number>(from.length);
  for (const [i, axis] of b.entries()) perm[axis] = a[i];
  for (const [i, axis] of ones(to).entries()) perm[axis] = ones(from)[i];
  return perm;
}

/**
 * The sizes that a tensor of `shape` is brought to: those that an input dimension has are copied, one that follows from
 * the others is left open, and what is neither is computed.
 */
function target(c: Context, node: ReshapeNode, shape: Shape, to: Shape): { dims: string; attributes: Attributes } {
  const literal = to.includes(0);
  const copies = to.map((dim, i) => !literal && typeof dim === 'string' && shape[i] === dim);
  const open = to.flatMap((dim, i) => (typeof dim === 'string' && !copies[i] ? [i] : []));
  if (literal) c.file.need(14);
  const attributes = literal ? { allowzero: 1 } : {};
  const sizes = (inferred: boolean) =>
    to.map((dim, i) => (typeof dim === 'number' ? dim : copies[i] ? 0 : inferred ? -1 : Number.NaN));
  if (open.length === 0) return { dims: c.file.integers(sizes(false)), attributes };
  const inferable = open.length === 1 && !literal;
  if (inferable) {
    const again = inferNode(
      { ...node, target: to.map((dim, i) => (copies[i] ? { axes: [i] } : i === open[0] ? 'infer' : (dim as number))) },
      [shape],
    );
    if (again[open[0]] === to[open[0]]) return { dims: c.file.integers(sizes(true)), attributes };
  }
  try {
    return { dims: c.sizes(to), attributes };
  } catch (error) {
    if (!(error instanceof Refused) || !inferable) throw error;
    return { dims: c.file.integers(sizes(true)), attributes };
  }
}

/**
 * An image that is flattened for layers only, in the order that the file has it in: their columns are moved instead. True
 * where that is done.
 */
function flatten(c: Context, node: ReshapeNode, order: Order): boolean {
  const [input] = node.inputs;
  const shape = c.values.shape(input);
  const to = c.values.shape(node.output);
  const start = to.length - 1;
  const tail: Shape = shape.slice(start);
  const readers = c.graph.nodes.filter(({ inputs }) => inputs.includes(node.output));
  if (!isConcrete(tail)) return false;
  const count = product(tail);
  const fits =
    to[start] === count &&
    count < 2 ** 24 &&
    order.slice(0, start).every((axis, i) => axis === i && to[i] === shape[i]) &&
    readers.length === c.uses(node.output) &&
    readers.every(
      (reader) => reader.op === 'linear' && MOVABLE.has(reader.weights.format) && takesMovedColumns(c, reader),
    );
  if (!fits) return false;
  const columns = c.values.columns(
    tail,
    order.slice(start).map((axis) => axis - start),
  );
  const dims = to.map((dim, i) => (i === start ? (dim as number) : typeof dim === 'number' ? dim : 0));
  const name = c.values.nameFor(node.output);
  const type = c.values.ownType(input);
  c.file.node('Reshape', [c.values.get(input, order, type), c.file.integers(dims)], name, {}, node.name);
  c.flattened.set(node.output, { name, columns });
  return true;
}

function writeConcat(c: Context, node: ConcatNode): ValueId {
  const order = c.prefer(node.inputs);
  const type = typeOf(c, node.inputs);
  const inputs = node.inputs.map((id) => c.values.get(id, order, type));
  const stage: Stage = { opType: 'Concat', attributes: { axis: order.indexOf(node.axis) } };
  return c.write(node, inputs, [stage], order, type);
}

function writeSlice(c: Context, node: SliceNode): ValueId {
  const order = c.prefer(node.inputs);
  const type = typeOf(c, node.inputs);
  const { cuts } = node;
  const inputs = [
    c.values.get(node.inputs[0], order, type),
    c.sizes(cuts.map(({ start }) => start)),
    c.sizes(cuts.map(({ end }) => end)),
    c.file.integers(cuts.map(({ axis }) => order.indexOf(axis))),
    c.file.integers(cuts.map(({ step }) => step)),
  ];
  return c.write(node, inputs, [{ opType: 'Slice' }], order, type);
}

function writeExpand(c: Context, node: ExpandNode): ValueId {
  const [input] = node.inputs;
  const rank = c.values.shape(node.output).length;
  const own = c.values.shape(input).length;
  const order = own === rank && node.target.length === rank ? c.prefer(node.inputs) : c.values.plain(input);
  const type = typeOf(c, node.inputs);
  const dims = own === rank && node.target.length === rank ? order.map((axis) => node.target[axis]) : node.target;
  const inputs = [c.values.get(input, order, type), c.sizes(dims as readonly Dim[])];
  return c.write(node, inputs, [{ opType: 'Expand' }], own === rank ? order : undefined, type);
}

function writeTile(c: Context, node: TileNode): ValueId {
  const order = c.prefer(node.inputs);
  const type = typeOf(c, node.inputs);
  const repeats = c.file.integers(order.map((axis) => node.repeats[axis]));
  return c.write(node, [c.values.get(node.inputs[0], order, type), repeats], [{ opType: 'Tile' }], order, type);
}

function writePad(c: Context, node: PadNode): ValueId {
  const [input, value] = node.inputs;
  const order = c.prefer([input]);
  const type = c.values.ownType(input);
  const of = (sizes: readonly number[]) => order.map((axis) => sizes[axis]);
  const inputs = [
    c.values.get(input, order, type),
    c.file.integers([...of(node.before), ...of(node.after)]),
    ...(value === undefined
      ? []
      : [c.values.constant(value) ? c.values.scalar(value, type) : oneNumber(c, value, type)]),
  ];
  return c.write(node, inputs, [{ opType: 'Pad', attributes: { mode: node.mode } }], order, type);
}

/** A value of one element without dimensions. */
function oneNumber(c: Context, id: ValueId, type: number): string {
  const name = c.values.get(id, c.values.plain(id), type);
  if (c.values.shape(id).length === 0) return name;
  const scalar = c.file.unique(`${name}.scalar`);
  return c.file.node('Reshape', [name, c.file.integers([], [0])], scalar, {}, scalar);
}

function writeGather(c: Context, node: GatherNode): ValueId {
  const [input, indices] = node.inputs;
  const type = typeOf(c, [input]);
  const inputs = [
    c.values.get(input, c.values.plain(input), type),
    c.values.get(indices, c.values.plain(indices), INT64),
  ];
  return c.write(node, inputs, [{ opType: 'Gather', attributes: { axis: node.axis } }], undefined, type);
}

/** Whether two nodes resample an image's axes alike, so that they are one Resize. */
export function resampledBefore(c: Context, node: ResampleNode): ResampleNode | undefined {
  const before = c.producers.get(node.inputs[0]);
  if (before?.op !== 'resample' || !c.isPart(before) || before.axis === node.axis) return undefined;
  const alike =
    before.mode === node.mode &&
    before.coordinates === node.coordinates &&
    before.rounding === node.rounding &&
    before.cubic === node.cubic &&
    typeof before.size === typeof node.size;
  return alike && before.axis < node.axis ? before : undefined;
}

/** An order of an image in which what is resampled comes last: runtimes interpolate those sides only. */
function sidesLast(c: Context, chain: readonly ResampleNode[], preferred: Order): Order {
  const [input] = chain[0].inputs;
  if (preferred.length !== 4) return preferred;
  const orders = [preferred, c.values.plain(input), [0, 3, 1, 2]];
  return orders.find((order) => chain.every(({ axis }) => order.indexOf(axis) >= 2)) ?? preferred;
}

function writeResample(c: Context, last: ResampleNode): ValueId {
  const chain = [last];
  for (let before = resampledBefore(c, last); before; before = resampledBefore(c, before)) chain.unshift(before);
  const [input] = chain[0].inputs;
  const order = last.mode === 'nearest' ? c.prefer([input]) : sidesLast(c, chain, c.prefer([input]));
  const type = c.values.ownType(input);
  const shape = c.values.shape(input);
  const { mode, coordinates, rounding, cubic } = last;
  c.file.need(13);
  const attributes: Record<string, AttributeValue> = {
    mode,
    coordinate_transformation_mode: coordinates,
    ...(mode === 'nearest' && { nearest_mode: rounding }),
    ...(mode === 'cubic' && { cubic_coeff_a: { float: cubic } }),
  };
  const name = c.values.get(input, order, type);
  const sized = chain.flatMap(({ axis, size }) => (typeof size === 'object' ? [] : [{ axis, size }]));
  let inputs: string[];
  if (sized.length === 0) {
    const scaleOf = new Map(chain.map(({ axis, size }) => [axis, (size as { scale: number }).scale]));
    const scales = Float32Array.from(order, (axis) => scaleOf.get(axis) ?? 1);
    inputs = [name, '', c.file.small(FLOAT, scales, [scales.length])];
  } else if (isConcrete(shape) && sized.every(({ size }) => typeof size === 'number')) {
    const sizes = order.map((axis) => sized.find((one) => one.axis === axis)?.size ?? shape[axis]);
    inputs = [name, '', '', c.file.integers(sizes as number[])];
  } else {
    c.file.need(18);
    attributes.axes = sized.map(({ axis }) => order.indexOf(axis));
    inputs = [name, '', '', c.sizes(sized.map(({ size }) => size))];
  }
  return c.write(last, inputs, [{ opType: 'Resize', attributes }], order, type);
}
