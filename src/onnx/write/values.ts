import {
  type Constant,
  type Graph,
  gather,
  inversePermutation,
  transposeConstant,
  type Value,
  type ValueId,
} from '../../graph/ir.js';
import { range } from '../../graph/reshape.js';
import type { Shape } from '../../graph/shapes.js';
import { elementType } from '../../graph/types.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { bytesOf, type OnnxFile } from './file.js';

const { BOOL, FLOAT, INT32, INT64, INT8, UINT8 } = TensorProto_DataType;

/** ONNX's types by ours. */
const TYPES = { float32: FLOAT, uint8: UINT8, int8: INT8, int32: INT32 } as const;

/** Dimension i of a tensor in the file is dimension order[i] of the value. */
export type Order = readonly number[];

/** One tensor of the file that holds a value. */
interface Held {
  order: Order;
  type: number;
  name: string;
}

/** A value as a transpose of the one that the file has: dimension i of it is dimension perm[i] of `root`. */
interface Alias {
  root: ValueId;
  perm: Order;
}

/** The inverse of a permutation that `then` is applied to: (a then b)[i] = a[b[i]]. */
const compose = (a: Order, b: Order): number[] => b.map((axis) => a[axis]);

const sameOrder = (a: Order, b: Order): boolean => a.length === b.length && a.every((axis, i) => axis === b[i]);

/** Whether a permutation moves dimensions of size 1 only, so that every element stays where it is. */
export function keepsMemory(order: Order, shape: Shape): boolean {
  const moved = order.filter((axis) => shape[axis] !== 1);
  return moved.every((axis, i) => i === 0 || moved[i - 1] < axis);
}

/**
 * The tensors that hold the values of a graph. A value may be in the file several times: with its dimensions in one order
 * and another, as numbers and as integers. What is asked for and not there is made from what is: transposed, cast.
 */
export class Values {
  readonly #graph: Graph;
  readonly #file: OnnxFile;
  readonly #held = new Map<ValueId, Held[]>();
  readonly #aliases = new Map<ValueId, Alias>();

  constructor(graph: Graph, file: OnnxFile) {
    this.#graph = graph;
    this.#file = file;
  }

  value(id: ValueId): Value {
    return this.#graph.values.get(id)!;
  }

  shape(id: ValueId): Shape {
    return this.value(id).shape;
  }

  constant(id: ValueId): Constant | undefined {
    return this.#graph.constants.get(id);
  }

  /** The type of a value whose tensors are not numbers that may be integers. */
  ownType(id: ValueId): number {
    return TYPES[elementType(this.value(id))];
  }

  /** Its dimensions as the graph has them. */
  plain(id: ValueId): Order {
    return range(this.shape(id).length);
  }

  /** Whether a value of f32 comes as truth values or integers too. */
  has(id: ValueId, type: number): boolean {
    return this.constant(id) !== undefined || this.#of(id).some((held) => held.type === type);
  }

  /** Whether the value is in the file. */
  isWritten(id: ValueId): boolean {
    return this.constant(id) !== undefined || this.#of(id).length > 0;
  }

  /** The types that the file has the value in, those made first in front. */
  types(id: ValueId): number[] {
    return this.#of(id).map(({ type }) => type);
  }

  /** Orders in which the file has the value, those made first in front. */
  orders(id: ValueId): Order[] {
    const { perm } = this.#aliasOf(id);
    const back = inversePermutation(perm);
    return this.#of(id).map(({ order }) => compose(back, order));
  }

  #aliasOf(id: ValueId): Alias {
    return this.#aliases.get(id) ?? { root: id, perm: this.plain(id) };
  }

  #of(id: ValueId): Held[] {
    return this.#held.get(this.#aliasOf(id).root) ?? [];
  }

  /** Makes `output` the transpose of `input`: no node until somebody asks for it in an order that is not there. */
  alias(output: ValueId, input: ValueId, perm: Order): ValueId {
    const { root, perm: before } = this.#aliasOf(input);
    this.#aliases.set(output, { root, perm: compose(before, perm) });
    return output;
  }

  /** Says that a tensor of the file holds the value. */
  set(id: ValueId, name: string, order: Order = this.plain(id), type: number = this.ownType(id)): ValueId {
    const { root, perm } = this.#aliasOf(id);
    const held = this.#held.get(root) ?? [];
    held.push({ order: compose(perm, order), type, name });
    this.#held.set(root, held);
    return id;
  }

  /** Says that a tensor has another name now. */
  rename(from: string, to: string): void {
    for (const held of [...this.#held.values()].flat()) if (held.name === from) held.name = to;
  }

  /** A free name for a tensor that is to hold the value. */
  nameFor(id: ValueId, order: Order = this.plain(id), ending = ''): string {
    const { name } = this.value(id);
    const isPlain = order.every((axis, i) => axis === i);
    return this.#file.unique(`${isPlain ? name : name.replace(/\.nhwc$/, '')}${ending}`);
  }

  /** The tensor with the value in this order and type. */
  get(id: ValueId, order: Order = this.plain(id), type: number = this.ownType(id)): string {
    const constant = this.constant(id);
    if (constant) return this.#constant(id, constant, order, type);
    const { root, perm } = this.#aliasOf(id);
    const wanted = compose(perm, order);
    const held = this.#of(id);
    const find = (fits: (held: Held) => boolean) => held.find(fits);
    const exact = find((h) => h.type === type && sameOrder(h.order, wanted));
    if (exact) return exact.name;
    const inOrder = find((h) => sameOrder(h.order, wanted));
    const from = inOrder ?? find((h) => h.type === type) ?? held[0];
    if (!from) throw new TypeError(`${this.value(id).name} is not in the file`);
    const keep = (name: string, made: Partial<Held>) => {
      this.#held.get(root)!.push({ ...from, ...made, name });
      return name;
    };
    if (!inOrder) {
      const back = inversePermutation(from.order);
      const name = this.#file.unique(`${from.name}.transpose`);
      this.#file.node('Transpose', [from.name], name, { perm: compose(back, wanted) }, name);
      keep(name, { order: wanted });
      return from.type === type ? name : this.get(id, order, type);
    }
    const name = this.#file.unique(`${from.name}.cast`);
    this.#file.node('Cast', [from.name], name, { to: type }, name);
    return keep(name, { type });
  }

  #constant(id: ValueId, { dims, data }: Constant, order: Order, type: number): string {
    const held = this.#held.get(id) ?? [];
    const known = held.find((h) => h.type === type && sameOrder(h.order, order));
    if (known) return known.name;
    const shape = order.map((axis) => dims[axis]);
    const elements = () => bytesOf(toType(type, transposeConstant({ dims, data }, order).data));
    const { name } = this.value(id);
    const isSmall = data.length === 1;
    const made = isSmall
      ? this.#file.small(type, toType(type, data), shape)
      : this.#file.initializer(name, shape, type, elements);
    this.#held.set(id, [...held, { order, type, name: made }]);
    return made;
  }

  /** A constant's elements with leading dimensions of 1, so that it has as many as what it is combined with. */
  widened(id: ValueId, order: Order, type: number): string {
    const { dims, data } = this.constant(id)!;
    if (data.length === 1 && dims.length === 0) return this.get(id, [], type);
    const padded = [...new Array<number>(order.length - dims.length).fill(1), ...dims];
    if (padded.length === dims.length) return this.get(id, order, type);
    if (data.length === 1) return this.#file.small(type, toType(type, data), []);
    const moved = () => transposeConstant({ dims: padded, data }, order).data;
    const shape = order.map((axis) => padded[axis]);
    return this.#file.initializer(this.value(id).name, shape, type, () => bytesOf(toType(type, moved())));
  }

  /** One number that is a constant. */
  scalar(id: ValueId, type: number): string {
    return this.#file.small(type, toType(type, this.constant(id)!.data), []);
  }

  /** The column of a row-major tensor of a value's last dimensions that each one of the tensor in `order` is. */
  columns(shape: readonly number[], order: Order): Int32Array {
    const count = shape.reduce((a, b) => a * b, 1);
    const iota = Float32Array.from({ length: count }, (_, i) => i);
    return Int32Array.from(gather(iota, ...stridesIn(shape, order)));
  }
}

function stridesIn(shape: readonly number[], order: Order): [dims: number[], strides: number[]] {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  return [order.map((axis) => shape[axis]), order.map((axis) => strides[axis])];
}

/** Numbers as the elements of a type of ONNX. */
export function toType(type: number, data: ArrayLike<number>): ArrayBufferView {
  switch (type) {
    case UINT8:
      return Uint8Array.from(data);
    case BOOL:
      return Uint8Array.from(data, (x) => Number(x !== 0));
    case INT8:
      return Int8Array.from(data);
    case INT32:
      return Int32Array.from(data);
    case INT64:
      return BigInt64Array.from(data as ArrayLike<number> & Iterable<number>, (x) => BigInt(x));
    default:
      return Float32Array.from(data);
  }
}
