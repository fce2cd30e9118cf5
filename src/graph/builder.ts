import type { ElementType } from '../dtype.js';
import { ThinferError } from '../errors.js';
import type { NewNode } from './emit.js';
import { evaluateIntegers, type IntegerConstant } from './integers.js';
import { type Constant, type Graph, isBinary, isLayer, type Node, type Value, type ValueId } from './ir.js';
import { evaluate } from './passes/constants.js';
import { removeDead } from './passes/rewrite.js';
import { badModel, Unsupported } from './refuse.js';
import { inferNode, type Shape } from './shapes.js';
import { elementType, inferType } from './types.js';

/** Integers up to this are exact in f32, in which everything is computed. */
const LARGEST_EXACT = 2 ** 24;

/** A model may ask for this many elements for each of its bytes (sparse tensors, shared weights), and this many. */
const ELEMENTS_PER_BYTE = 16;
const FREE_ELEMENTS = 1 << 24;

/** Operators that give integers for integers. */
const KEEPS_INTEGERS: ReadonlySet<Node['op']> = new Set([
  ...(['transpose', 'reshape', 'concat', 'slice', 'expand', 'tile', 'pad', 'gather', 'clamp'] as const),
]);

/** A graph while a door reads it from a file: what is known is computed at once. */
export class GraphBuilder {
  readonly values = new Map<ValueId, Value>();
  readonly constants = new Map<ValueId, Constant>();
  /** Constants that are integers, and values that hold integers when the graph runs. */
  readonly integers = new Map<ValueId, IntegerConstant>();
  readonly integral = new Set<ValueId>();
  /** Integers as f32, where a node that runs reads them. */
  protected readonly floats = new Map<ValueId, ValueId>();
  protected readonly nodes: Node[] = [];
  readonly #inputs: { name: string; value: ValueId }[] = [];
  readonly #layerNames = new Set<string>();
  /** Names of layers by their weights: those that one node of the model became and that share them share the name. */
  readonly #nameOfWeights = new Map<object, { name: string; output: string }>();
  readonly #capacity: number;
  #claimed = 0;

  /** @param fileBytes of the file: all constants together may have so many elements as are in proportion */
  constructor(fileBytes: number) {
    this.#capacity = FREE_ELEMENTS + ELEMENTS_PER_BYTE * fileBytes;
  }

  /** Counts elements that are about to be allocated. */
  claim(count: number, place: string): void {
    this.#claimed += count;
    if (this.#claimed <= this.#capacity) return;
    badModel(place, `at most ${this.#capacity} elements in all for a model of this size`, String(this.#claimed));
  }

  addValue(name: string, shape: Shape, dtype: ElementType = 'float32'): ValueId {
    const id = this.values.size;
    this.values.set(id, { id, name, shape, ...(dtype !== 'float32' && { dtype }) });
    return id;
  }

  addInput(name: string, shape: Shape, dtype: ElementType, isInteger: boolean): ValueId {
    const value = this.addValue(name, shape, dtype);
    this.#inputs.push({ name, value });
    if (isInteger) this.integral.add(value);
    return value;
  }

  addConstant(name: string, constant: Constant, dtype?: ElementType): ValueId {
    const id = this.addValue(name, constant.dims, dtype);
    this.constants.set(id, constant);
    return id;
  }

  addIntegers(name: string, integers: IntegerConstant): ValueId {
    const id = this.addValue(name, integers.dims);
    this.integers.set(id, integers);
    this.integral.add(id);
    return id;
  }

  /** A constant of one number; of the kind of another value, which may be integers. */
  addScalar(name: string, number: number, like: ValueId): ValueId {
    return this.integral.has(like) && Number.isInteger(number)
      ? this.addIntegers(name, { kind: 'integers', dims: [], data: [number] })
      : this.addConstant(name, { dims: [], data: Float32Array.of(number) });
  }

  markIntegers(id: ValueId): ValueId {
    this.integral.add(id);
    return id;
  }

  shape(id: ValueId): Shape {
    return this.values.get(id)!.shape;
  }

  type(id: ValueId): ElementType {
    return elementType(this.values.get(id)!);
  }

  /** The value itself, or an f32 constant of the same integers. */
  asFloats(id: ValueId): ValueId {
    const integers = this.integers.get(id);
    if (!integers) return id;
    const known = this.floats.get(id);
    if (known !== undefined) return known;
    const { name } = this.values.get(id)!;
    const wrong = integers.data.find((x) => typeof x === 'string' || Math.abs(x) > LARGEST_EXACT);
    if (wrong !== undefined) throw new Unsupported(`arithmetic on "${name}", where ${wrong} has no exact f32`);
    const made = this.addConstant(name, { dims: integers.dims, data: Float32Array.from(integers.data as number[]) });
    this.floats.set(id, made);
    this.integral.add(made);
    return made;
  }

  /** What a node reads. */
  protected inputsOf(node: Node): ValueId[] {
    return node.inputs.map((id) => this.asFloats(id));
  }

  /** A node's result where a door knows it in a way of its own. */
  protected fold(_node: Node, _name: string, _place: string): ValueId | undefined {
    return undefined;
  }

  /** The place of an error in a node. */
  protected placeOf(operator: string, node: string): string {
    return `${operator}: ${node}`;
  }

  /**
   * Adds a node, or its result where that is known now.
   * @param name of the output; the node is named `title`, or like it
   * @param place the operator in the file, for messages
   */
  emit(node: NewNode, name: string, title: string, place: string): ValueId {
    // Not yet a value of the graph: -1 stands for the output.
    const full: Node = { ...node, name: title || name, output: -1 };
    try {
      return this.#foldIntegers(full, name, place) ?? this.fold(full, name, place) ?? this.#add(full, name, place);
    } catch (error) {
      if (!(error instanceof ThinferError) || error.code !== 'bad-shape') throw error;
      const { expected, got, hint } = error;
      const where = this.placeOf(place, error.place);
      throw new ThinferError({ code: 'bad-model', place: where, expected, got, hint, cause: error });
    }
  }

  #foldIntegers(node: Node, name: string, place: string): ValueId | undefined {
    const integers = node.inputs.map((id) => this.integers.get(id));
    if (integers.length === 0 || !integers.every((constant) => constant !== undefined)) return undefined;
    const folded = evaluateIntegers(node, integers);
    if (!folded) return undefined;
    this.claim(folded.data.length, place);
    return this.addIntegers(name, folded);
  }

  #add(node: Node, name: string, place: string): ValueId {
    const inputs = this.inputsOf(node);
    const types = inputs.map((id) => this.type(id));
    const constants = inputs.map((id) => this.constants.get(id));
    if (constants.every((constant) => constant !== undefined)) {
      const folded = evaluate({ ...node, inputs }, constants);
      if (folded) {
        if (node.op !== 'reshape') this.claim(folded.data.length, place);
        return this.addConstant(name, folded, inferType(node, types));
      }
    }
    const shape = inferNode(
      { ...node, inputs },
      inputs.map((id) => this.shape(id)),
    );
    const output = this.addValue(name, shape, inferType(node, types));
    const placed: Node = { ...node, inputs, name: this.#nameOf(node, name, output), output };
    this.nodes.push(placed);
    const read = node.op === 'gather' ? inputs.slice(0, 1) : inputs;
    const keeps = KEEPS_INTEGERS.has(node.op) || isBinary(placed);
    if (keeps && read.every((id) => this.integral.has(id))) this.integral.add(output);
    return output;
  }

  /** Layers are addressed by name: one that is taken falls back to the output's, or gets the number of the output. */
  #nameOf(node: Node, output: string, id: ValueId): string {
    if (!isLayer(node)) return node.name;
    const shared = this.#nameOfWeights.get(node.weights);
    if (shared?.output === output) return shared.name;
    const name = [node.name, output].find((candidate) => !this.#layerNames.has(candidate)) ?? `${output}#${id}`;
    this.#layerNames.add(name);
    this.#nameOfWeights.set(node.weights, { name, output });
    return name;
  }

  finish(outputs: { name: string; value: ValueId }[]): Graph {
    const { values, constants, nodes } = this;
    return removeDead({ inputs: this.#inputs, outputs, values, constants, nodes });
  }
}
