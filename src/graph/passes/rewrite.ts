import type { ElementType } from '../../dtype.js';
import type { Constant, Graph, Node, Value, ValueId } from '../ir.js';
import { inferNode, type Shape } from '../shapes.js';
import { elementType, inferType } from '../types.js';

/**
 * A new graph written node by node from an old one. A pass walks the old nodes in order and emits what takes their
 * place; values that were replaced are replaced in everything emitted later, so the new nodes are sorted too.
 */
export class Rewriter {
  readonly #graph: Graph;
  readonly #nodes: Node[] = [];
  /** Where in #nodes a value's writer is. */
  readonly #writers = new Map<ValueId, number>();
  readonly #values: Map<ValueId, Value>;
  readonly #constants: Map<ValueId, Constant>;
  readonly #replaced = new Map<ValueId, ValueId>();
  readonly #uses = new Map<ValueId, number>();
  #next: number;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#values = new Map(graph.values);
    this.#constants = new Map(graph.constants);
    this.#next = [...graph.values.keys()].reduce((next, id) => Math.max(next, id + 1), 0);
    const used = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.map((output) => output.value)];
    for (const id of used) this.#uses.set(id, (this.#uses.get(id) ?? 0) + 1);
  }

  /** A new value, without a writer yet. Its shape is set when the node that writes it is emitted. */
  value(name: string): ValueId {
    const id = this.#next++;
    this.#values.set(id, { id, name, shape: [] });
    return id;
  }

  constant(name: string, { dims, data }: Constant, dtype: ElementType = 'float32'): ValueId {
    const id = this.value(name);
    this.setConstant(id, { dims, data }, dtype);
    return id;
  }

  /** Makes a value of the old graph a constant. Its writer must not be emitted. */
  setConstant(id: ValueId, constant: Constant, dtype: ElementType = 'float32'): void {
    this.#values.set(id, { ...this.#values.get(id)!, shape: constant.dims, dtype });
    this.#constants.set(id, constant);
  }

  /** Emits a node that reads the present values of its inputs. */
  emit(node: Node): void {
    this.#place(node, this.#nodes.length);
  }

  /** Puts `node` where `old` was emitted; it may write another value and reads what `old` read. */
  swap(old: Node, node: Node): void {
    const position = this.#writers.get(old.output)!;
    this.#writers.delete(old.output);
    this.#place(node, position);
  }

  #place(node: Node, position: number): void {
    const inputs = node.inputs.map((id) => this.current(id));
    const placed = { ...node, inputs };
    const shape = inferNode(
      placed,
      inputs.map((id) => this.shape(id)),
    );
    const dtype = inferType(
      placed,
      inputs.map((id) => this.type(id)),
    );
    this.#values.set(node.output, { ...this.#values.get(node.output)!, shape, dtype });
    this.#nodes[position] = placed;
    this.#writers.set(node.output, position);
  }

  /** Everything that reads `from` reads `to` from now on. */
  replace(from: ValueId, to: ValueId): void {
    this.#replaced.set(from, this.current(to));
  }

  current(id: ValueId): ValueId {
    return this.#replaced.get(id) ?? id;
  }

  /** The emitted node that writes what `id` stands for now. */
  producer(id: ValueId): Node | undefined {
    return this.#nodes[this.#writers.get(this.current(id)) ?? -1];
  }

  constantOf(id: ValueId): Constant | undefined {
    return this.#constants.get(this.current(id));
  }

  shape(id: ValueId): Shape {
    return this.#values.get(this.current(id))!.shape;
  }

  type(id: ValueId): ElementType {
    return elementType(this.#values.get(this.current(id))!);
  }

  name(id: ValueId): string {
    return this.#values.get(id)!.name;
  }

  /** Nodes and graph outputs that read the value in the old graph. */
  uses(id: ValueId): number {
    return this.#uses.get(id) ?? 0;
  }

  finish(): Graph {
    return removeDead({
      inputs: this.#graph.inputs,
      outputs: this.#graph.outputs.map(({ name, value }) => ({ name, value: this.current(value) })),
      values: this.#values,
      constants: this.#constants,
      nodes: this.#nodes,
    });
  }
}

/** Drops nodes, constants and values that no output needs. Graph inputs stay. */
export function removeDead(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map((output) => output.value));
  const nodes: Node[] = [];
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i];
    if (!needed.has(node.output)) continue;
    nodes.push(node);
    for (const id of node.inputs) needed.add(id);
  }
  for (const { value } of graph.inputs) needed.add(value);
  return {
    ...graph,
    values: new Map([...graph.values].filter(([id]) => needed.has(id))),
    constants: new Map([...graph.constants].filter(([id]) => needed.has(id))),
    nodes: nodes.reverse(),
  };
}
