import type { ElementType } from '../dtype.js';
import { ThinferError } from '../errors.js';
import type { NewNode } from '../graph/emit.js';
import { evaluateIntegers, type IntegerConstant } from '../graph/integers.js';
import { type Constant, type Graph, isBinary, isLayer, type Node, type Value, type ValueId } from '../graph/ir.js';
import { evaluate } from '../graph/passes/constants.js';
import { removeDead } from '../graph/passes/rewrite.js';
import { inferNode, type Shape } from '../graph/shapes.js';
import { elementType, inferType } from '../graph/types.js';
import { badModel, Unsupported } from './errors.js';

/** Integers up to this are exact in f32, in which everything is computed. */
const LARGEST_EXACT = 2 ** 24;

/** Operators that give integers for integers. */
const KEEPS_INTEGERS: ReadonlySet<Node['op']> = new Set([
  ...(['transpose', 'reshape', 'concat', 'slice', 'expand', 'tile', 'pad', 'gather', 'clamp'] as const),
]);

/** A model may ask for this many elements for each of its bytes, and this many. */
const ELEMENTS_PER_BYTE = 16;
const FREE_ELEMENTS = 1 << 24;

/** A graph while it is read: what is known is computed at once. */
export class Builder {
  readonly #values = new Map<ValueId, Value>();
  readonly #constants = new Map<ValueId, Constant>();
  /** Constants that are integers, and values that hold integers when the graph runs. */
  readonly #integers = new Map<ValueId, IntegerConstant>();
  readonly #integral = new Set<ValueId>();
  /** Integer constants as f32, where a node that runs reads them. */
  readonly #floats = new Map<ValueId, ValueId>();
  readonly #nodes: Node[] = [];
  readonly #inputs: { name: string; value: ValueId }[] = [];
  readonly #layerNames = new Set<string>();
  /** Names of layers by their weights: those that share them share the name. */
  readonly #nameOfWeights = new Map<object, string>();
  #left: number;

  constructor(fileBytes: number) {
    this.#left = FREE_ELEMENTS + ELEMENTS_PER_BYTE * fileBytes;
  }

  /** Counts elements that are about to be allocated. */
  claim(count: number, place: string): void {
    this.#left -= count;
    if (this.#left < 0) badModel(place, 'elements in proportion to the size of the file', `${count} more than that`);
  }

  addInput(name: string, shape: Shape, dtype: ElementType, isInteger: boolean): ValueId {
    const value = this.#add(name, shape, dtype);
    this.#inputs.push({ name, value });
    if (isInteger) this.#integral.add(value);
    return value;
  }

  addConstant(name: string, constant: Constant, dtype: ElementType = 'float32'): ValueId {
    const id = this.#add(name, constant.dims, dtype);
    this.#constants.set(id, constant);
    return id;
  }

  addIntegers(name: string, integers: IntegerConstant): ValueId {
    const id = this.#add(name, integers.dims);
    this.#integers.set(id, integers);
    this.#integral.add(id);
    return id;
  }

  shape(id: ValueId): Shape {
    return this.#values.get(id)!.shape;
  }

  type(id: ValueId): ElementType {
    return elementType(this.#values.get(id)!);
  }

  constantOf(id: ValueId): Constant | undefined {
    return this.#constants.get(this.#integers.has(id) ? this.asFloats(id) : id);
  }

  integersOf(id: ValueId): IntegerConstant | undefined {
    return this.#integers.get(id);
  }

  holdsIntegers(id: ValueId): boolean {
    return this.#integral.has(id);
  }

  markIntegers(id: ValueId): ValueId {
    this.#integral.add(id);
    return id;
  }

  /** The value itself, or an f32 constant of the same integers. */
  asFloats(id: ValueId): ValueId {
    const integers = this.#integers.get(id);
    if (!integers) return id;
    const known = this.#floats.get(id);
    if (known !== undefined) return known;
    const { name } = this.#values.get(id)!;
    const wrong = integers.data.find((x) => typeof x === 'string' || Math.abs(x) > LARGEST_EXACT);
    if (wrong !== undefined) throw new Unsupported(`arithmetic on "${name}", where ${wrong} has no exact f32`);
    const made = this.addConstant(name, { dims: integers.dims, data: Float32Array.from(integers.data as number[]) });
    this.#floats.set(id, made);
    this.#integral.add(made);
    return made;
  }

  /**
   * Adds a node, or its result where that is known now.
   * @param name of the output; @param place the operator, for messages
   */
  emit(node: NewNode, name: string, place: string): ValueId {
    // Not yet a value of the graph: -1 stands for the output.
    const full = { ...node, name, output: -1 } as Node;
    try {
      const integers = node.inputs.map((id) => this.#integers.get(id));
      if (integers.length > 0 && integers.every((constant) => constant !== undefined)) {
        const folded = evaluateIntegers(full, integers);
        if (folded) {
          this.claim(folded.data.length, place);
          return this.addIntegers(name, folded);
        }
      }
      const inputs = node.inputs.map((id) => this.asFloats(id));
      const constants = inputs.map((id) => this.#constants.get(id));
      if (constants.every((constant) => constant !== undefined)) {
        const folded = evaluate({ ...full, inputs }, constants);
        if (folded) {
          if (node.op !== 'reshape') this.claim(folded.data.length, place);
          return this.addConstant(name, folded, this.type(inputs[0]));
        }
      }
      return this.#place(full, inputs, name);
    } catch (error) {
      if (!(error instanceof ThinferError) || error.code !== 'bad-shape') throw error;
      const { expected, got, hint } = error;
      throw new ThinferError({
        code: 'bad-model',
        place: `${place}: ${error.place}`,
        expected,
        got,
        hint,
        cause: error,
      });
    }
  }

  #place(node: Node, inputs: ValueId[], name: string): ValueId {
    const shape = inferNode(
      { ...node, inputs },
      inputs.map((id) => this.shape(id)),
    );
    const dtype = inferType(
      node,
      inputs.map((id) => this.type(id)),
    );
    const output = this.#add(name, shape, dtype);
    const placed: Node = { ...node, inputs, name: this.#nameOf(node, name, output), output };
    this.#nodes.push(placed);
    const read = node.op === 'gather' ? inputs.slice(0, 1) : inputs;
    const keeps = KEEPS_INTEGERS.has(node.op) || isBinary(placed);
    if (keeps && read.every((id) => this.#integral.has(id))) this.#integral.add(output);
    return output;
  }

  /** Layers are addressed by name: one that is taken gets the number of its output behind it. */
  #nameOf(node: Node, name: string, id: ValueId): string {
    if (!isLayer(node)) return name;
    const shared = this.#nameOfWeights.get(node.weights);
    if (shared !== undefined) return shared;
    const unique = this.#layerNames.has(name) ? `${name}#${id}` : name;
    this.#layerNames.add(unique);
    this.#nameOfWeights.set(node.weights, unique);
    return unique;
  }

  #add(name: string, shape: Shape, dtype: ElementType = 'float32'): ValueId {
    const id = this.#values.size;
    this.#values.set(id, { id, name, shape, ...(dtype !== 'float32' && { dtype }) });
    return id;
  }

  finish(outputs: { name: string; value: ValueId }[]): Graph {
    return removeDead({
      inputs: this.#inputs,
      outputs: outputs.map(({ name, value }) => ({ name, value: this.asFloats(value) })),
      values: this.#values,
      constants: this.#constants,
      nodes: this.#nodes,
    });
  }
}
