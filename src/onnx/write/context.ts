import { type Clamp, type Dim, type Graph, isClamped, isLayer, type Node, type ValueId } from '../../graph/ir.js';
import { factorsOf } from '../../graph/shapes.js';
import type { UnaryFunction } from '../../plan/problem.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import type { Attributes, OnnxFile } from './file.js';
import { integersOf } from './integers.js';
import { type Order, Values } from './values.js';

/** Thrown for what ONNX and our domain have no form for; collected, so that one error names all of a graph. */
export class Refused extends Error {}

/** One operator of several that a node becomes: applied to what the one before gives. */
export interface Stage {
  opType: string;
  /** Behind the value that it is applied to. */
  more?: readonly string[];
  /** Its inputs, where it reads what came before that value too. */
  inputs?: (value: string, before: string) => string[];
  attributes?: Attributes;
}

/** A graph while it is written. */
export class Context {
  readonly values: Values;
  readonly huffman: boolean;
  readonly portable: boolean;
  /** Nodes by what they write. */
  readonly producers: ReadonlyMap<ValueId, Node>;
  /** How often a value is read, by nodes and as an output. */
  readonly #uses = new Map<ValueId, number>();
  /** Values of f32 that somebody reads as integers. */
  readonly wantsIntegers: ReadonlySet<ValueId>;
  /** Images that were flattened in the order that the file has them in: the columns of the layers that follow. */
  readonly flattened = new Map<ValueId, { name: string; columns: Int32Array }>();
  /** Numbers that codes stand for. */
  readonly #dequantized = new Map<string, string>();
  readonly #sizes = new Map<string, string>();

  constructor(
    readonly graph: Graph,
    readonly file: OnnxFile,
    /** Whether codes are stored Huffman-coded, and whether what only rounds differently has standard forms. */
    { huffman = false, portable = false }: { huffman?: boolean; portable?: boolean },
  ) {
    this.huffman = huffman;
    this.portable = portable;
    this.values = new Values(graph, file);
    this.producers = new Map(graph.nodes.map((node) => [node.output, node]));
    const read = [...graph.nodes.flatMap(({ inputs }) => inputs), ...graph.outputs.map(({ value }) => value)];
    for (const id of read) this.#uses.set(id, (this.#uses.get(id) ?? 0) + 1);
    this.wantsIntegers = integersOf(graph, this.producers);
  }

  uses(id: ValueId): number {
    return this.#uses.get(id) ?? 0;
  }

  /** Whether only one node reads what a node makes, as it makes it: then that may be written as part of it. */
  isPart(node: Node): boolean {
    return this.uses(node.output) === 1 && !('clamp' in node && isClamped(node.clamp));
  }

  /** Writes a value by one operator after the other, the first of them on `inputs`; the last gives the value. */
  write(
    node: Node,
    inputs: readonly string[],
    stages: readonly Stage[],
    order: Order = this.values.plain(node.output),
    type: number = this.values.ownType(node.output),
  ): ValueId {
    let [before] = inputs;
    let current = before;
    for (const [i, stage] of stages.entries()) {
      const { opType, more = [], attributes } = stage;
      const given = i === 0 ? inputs : (stage.inputs?.(current, before) ?? [current, ...more]);
      const last = i === stages.length - 1;
      const output = this.values.nameFor(node.output, order, last ? '' : `.${opType.split('.').at(-1)}`);
      const title = i === 0 ? node.name : output;
      this.file.node(opType, given, output, attributes, title, i === 0 && isLayer(node));
      before = current;
      current = output;
    }
    return this.values.set(node.output, current, order, type);
  }

  /** What a clamp is in ONNX. */
  clamp(clamp: Clamp): Stage[] {
    const [min, max] = clamp;
    if (!isClamped(clamp)) return [];
    if (min === 0 && max === Number.POSITIVE_INFINITY) return [{ opType: 'Relu' }];
    const bound = (x: number) => (Number.isFinite(x) ? this.file.number(x) : '');
    return [{ opType: 'Clip', more: max === Number.POSITIVE_INFINITY ? [bound(min)] : [bound(min), bound(max)] }];
  }

  /** A function of one number. */
  unary(f: UnaryFunction): Stage[] {
    switch (f) {
      case 'hardSwish':
        this.file.need(14);
        return [{ opType: 'HardSwish' }];
      case 'gelu':
      case 'geluTanh':
        this.file.need(20);
        return [{ opType: 'Gelu', attributes: { approximate: f === 'gelu' ? 'none' : 'tanh' } }];
      case 'silu':
        return [{ opType: 'Sigmoid' }, { opType: 'Mul', inputs: (gate, x) => [x, gate] }];
      default:
        return [{ opType: UNARY_NAMES[f] }];
    }
  }

  /** The numbers that codes stand for. */
  dequantized(id: ValueId, order: Order, scale: number, zeroPoint: number): string {
    const key = `${id} ${order.join()} ${scale} ${zeroPoint}`;
    const known = this.#dequantized.get(key);
    if (known !== undefined) return known;
    const codes = this.values.get(id, order);
    const name = this.file.unique(`${codes}.real`);
    this.#dequantized.set(key, name);
    return this.file.node('DequantizeLinear', [codes, ...this.meaning(scale, zeroPoint, id)], name, {}, name);
  }

  /** A scale and zero point as inputs of operators on the codes of a value. */
  meaning(scale: number, zeroPoint: number, codes: ValueId | 'uint8' | 'int8'): [scale: string, zeroPoint: string] {
    const { UINT8, INT8, INT32 } = TensorProto_DataType;
    const type = codes === 'uint8' ? UINT8 : codes === 'int8' ? INT8 : this.values.ownType(codes);
    if (type === INT32 && zeroPoint !== 0) throw new Refused('a zero point of int32 sums');
    const Type = { [UINT8]: Uint8Array, [INT8]: Int8Array, [INT32]: Int32Array }[type as number]!;
    return [this.file.number(scale), this.file.small(type, Type.of(zeroPoint), [])];
  }

  /** The order in which the file has most of these values that are no constants. */
  prefer(ids: readonly ValueId[]): Order {
    const { values } = this;
    const moving = ids.filter((id) => !values.constant(id));
    const [first = ids[0]] = moving;
    const orders = moving.map((id) => values.orders(id));
    const has = (order: Order) => orders.filter((list) => list.some((other) => other.join() === order.join())).length;
    const candidates = orders.flat();
    const best = Math.max(...candidates.map(has));
    return candidates.find((order) => has(order) === best) ?? values.plain(first);
  }

  /** Sizes as int64, of which some may be open: those are taken from a value that has them. */
  sizes(dims: readonly Dim[]): string {
    if (dims.every((dim) => typeof dim === 'number')) return this.file.integers(dims);
    const parts = dims.map((dim) => (typeof dim === 'number' ? this.file.integers([dim]) : this.#openSize(dim)));
    if (parts.length === 1) return parts[0];
    const name = this.file.unique('sizes');
    return this.file.node('Concat', parts, name, { axis: 0 }, name);
  }

  #openSize(dim: string): string {
    const known = this.#sizes.get(dim);
    if (known !== undefined) return known;
    const name = this.#findSize(dim) ?? this.#productOf(dim);
    this.#sizes.set(dim, name);
    return name;
  }

  /** The open dimension of an input, or of a value that was written before. */
  #findSize(dim: string): string | undefined {
    const written = [...this.graph.inputs, ...this.graph.nodes.map(({ output }) => ({ value: output }))];
    for (const { value } of written) {
      const axis = this.values.shape(value).indexOf(dim);
      if (axis < 0 || !this.values.isWritten(value) || this.values.constant(value)) continue;
      const [order] = this.values.orders(value);
      const [type] = this.values.types(value);
      const shape = this.file.unique('shape');
      this.file.node('Shape', [this.values.get(value, order, type)], shape, {}, shape);
      const size = this.file.unique('size');
      return this.file.node('Gather', [shape, this.file.integers([order.indexOf(axis)])], size, { axis: 0 }, size);
    }
    return undefined;
  }

  #productOf(dim: string): string {
    const factors = factorsOf(dim);
    if (factors.length < 2) throw new Refused(`the open dimension ${dim}, which no value before it has`);
    return factors
      .map((factor) => (typeof factor === 'number' ? this.file.integers([factor]) : this.#openSize(factor)))
      .reduce((a, b) => {
        const name = this.file.unique('size');
        return this.file.node('Mul', [a, b], name, {}, name);
      });
  }
}

/** Functions that are one operator in every set from 9 on. */
const UNARY_NAMES: Readonly<Record<Exclude<UnaryFunction, 'hardSwish' | 'gelu' | 'geluTanh' | 'silu'>, string>> = {
  sigmoid: 'Sigmoid',
  tanh: 'Tanh',
  exp: 'Exp',
  log: 'Log',
  sqrt: 'Sqrt',
  reciprocal: 'Reciprocal',
  abs: 'Abs',
  erf: 'Erf',
  elu: 'Elu',
  softplus: 'Softplus',
  floor: 'Floor',
  ceil: 'Ceil',
  round: 'Round',
  sign: 'Sign',
  sin: 'Sin',
  cos: 'Cos',
};
