import type { Weights } from '../formats/format.js';
import { GraphBuilder } from '../graph/builder.js';
import type { NewNode } from '../graph/emit.js';
import { type Constant, isBinary, type Node, type ValueId } from '../graph/ir.js';
import { evaluate } from '../graph/passes/constants.js';
import { Unsupported } from '../graph/refuse.js';
import { moves, takesCodes } from '../graph/types.js';
import type { PartArray } from './domain.js';
import type { Made } from './operators/context.js';
import { dequantize, type QuantizedTensor, transposed } from './quantized.js';
import type { CodeTensor } from './tensor.js';

/** Arithmetic whose results leave the range of 8-bit integers, where ONNX wraps. */
const LEAVES_BYTES: ReadonlySet<Node['op']> = new Set(['add', 'sub', 'mul', 'div', 'pow'] as const);

/** The graph of an ONNX model, in which constants may be codes. */
export class OnnxBuilder extends GraphBuilder {
  /** Constants that are codes, and those of f32 that the model has as codes: they are made when something reads them. */
  readonly codes = new Map<ValueId, CodeTensor>();
  readonly quantized = new Map<ValueId, QuantizedTensor>();
  /** Constants that the model has as sparse tensors. */
  readonly sparse = new Set<ValueId>();
  /** Typed arrays that operators of our own domain make of others. */
  readonly parts = new Map<ValueId, PartArray>();
  /** Weights that were made, for the next layer that wants the same. */
  readonly #weights = new Map<string, Weights>();

  #addCodes(name: string, codes: CodeTensor): ValueId {
    const id = this.addValue(name, codes.dims, codes.dtype);
    this.codes.set(id, codes);
    this.integral.add(id);
    return id;
  }

  #addQuantized(name: string, quantized: QuantizedTensor): ValueId {
    const id = this.addValue(name, quantized.codes.dims);
    this.quantized.set(id, quantized);
    return id;
  }

  idOf(name: string, made: Made): ValueId {
    if (typeof made === 'number') return made;
    switch (made.kind) {
      case 'integers':
        return this.addIntegers(name, made);
      case 'codes':
        return this.#addCodes(name, made);
      case 'quantized':
        return this.#addQuantized(name, made);
      case 'part': {
        const id = this.addValue(name, [made.data.length]);
        this.parts.set(id, made.data);
        return id;
      }
      default: {
        const id = this.addConstant(name, made);
        if (made.sparse) this.sparse.add(id);
        return id;
      }
    }
  }

  /** Weights that layers share, made once. @param how of which values, and by what */
  weightsOf(how: string, make: () => Weights): Weights {
    const weights = this.#weights.get(how) ?? make();
    this.#weights.set(how, weights);
    return weights;
  }

  /** The codes that a value is the plain numbers of: of a cast. */
  codesBehind(id: ValueId): ValueId | undefined {
    const node = this.nodes.findLast(({ output }) => output === id);
    if (node?.op !== 'dequantize' || node.scale !== 1 || node.zeroPoint !== 0) return undefined;
    const type = this.type(node.inputs[0]);
    return type === 'uint8' || type === 'int8' ? node.inputs[0] : undefined;
  }

  /** A value that a node reads as it is: a constant of codes becomes one of the graph. */
  operand(id: ValueId): ValueId {
    const codes = this.codes.get(id);
    if (codes && !this.constants.has(id)) {
      this.constants.set(id, { dims: codes.dims, data: Float32Array.from(codes.data) });
    }
    return id;
  }

  /** The numbers of a constant of any kind. */
  numbers(id: ValueId, place: string): Constant | undefined {
    const codes = this.codes.get(id);
    const quantized = this.quantized.get(id);
    if (codes) return { dims: codes.dims, data: Float32Array.from(codes.data) };
    if (!quantized) return this.constants.get(this.asFloats(id));
    const known = this.constants.get(id);
    if (known) return known;
    this.claim(quantized.codes.data.length, place);
    const constant = dequantize(quantized);
    this.constants.set(id, constant);
    return constant;
  }

  /** The same integers as f32. */
  #toFloats(id: ValueId): ValueId {
    const known = this.floats.get(id);
    if (known !== undefined) return known;
    const { name, shape } = this.values.get(id)!;
    const codes = this.codes.get(id);
    const output = codes
      ? this.addConstant(name, { dims: codes.dims, data: Float32Array.from(codes.data) })
      : this.addValue(name, shape);
    if (!codes)
      this.nodes.push({ op: 'dequantize', name: `${name}.cast`, inputs: [id], output, scale: 1, zeroPoint: 0 });
    this.floats.set(id, output);
    this.integral.add(output);
    return output;
  }

  /** A constant that the model has as codes. Those with one scale stay codes: what reads them may do so too. */
  #fromQuantized(id: ValueId, quantized: QuantizedTensor): ValueId {
    const { codes, scale, zeroPoint } = quantized;
    const known = this.floats.get(id);
    if (known !== undefined) return known;
    if (scale.length !== 1 || codes.bits !== 8) {
      this.numbers(id, 'quantized constant');
      return id;
    }
    const { name } = this.values.get(id)!;
    const inputs = [this.operand(this.#addCodes(name, codes))];
    const output = this.addValue(name, codes.dims);
    const meaning = { scale: scale[0], zeroPoint: zeroPoint?.[0] ?? 0 };
    this.nodes.push({ op: 'dequantize', name: `${name}.dequantize`, inputs, output, ...meaning });
    this.floats.set(id, output);
    return output;
  }

  /** The value itself, or f32 of the same numbers. */
  override asFloats(id: ValueId): ValueId {
    const quantized = this.quantized.get(id);
    if (quantized) return this.#fromQuantized(id, quantized);
    return this.type(id) === 'float32' ? super.asFloats(id) : this.#toFloats(id);
  }

  override emit(node: NewNode, name: string, title: string, place: string): ValueId {
    const id = super.emit(node, name, title, place);
    if (this.type(id) !== 'float32') this.integral.add(id);
    return id;
  }

  /** Nodes are named as those of the file. */
  protected override placeOf(_operator: string, node: string): string {
    return node;
  }

  /** What a node reads: codes where it takes them, else f32. */
  protected override inputsOf(node: Node): ValueId[] {
    const floats = () => node.inputs.map((id) => this.asFloats(id));
    if (isBinary(node) && LEAVES_BYTES.has(node.op)) {
      const bytes = node.inputs.find((id) => this.type(id) === 'uint8' || this.type(id) === 'int8');
      if (bytes !== undefined) throw new Unsupported(`arithmetic on ${this.type(bytes)}, which may wrap`);
    }
    if (!takesCodes(node)) return floats();
    const [first, ...others] = node.inputs;
    const type = this.type(first);
    if (type === 'float32') return floats();
    if (node.op === 'gather') return [this.operand(first), ...others.map((id) => this.asFloats(id))];
    // A border's number is written as what it surrounds.
    if (node.op === 'pad' && others.length > 0) {
      const value = this.numbers(others[0], node.name);
      if (!value) return floats();
      const constant = this.addValue(node.name, value.dims, type);
      this.constants.set(constant, value);
      return [first, constant];
    }
    if (moves(node) && node.inputs.some((id) => this.type(id) !== type)) return floats();
    return node.inputs.map((id) => this.operand(id));
  }

  /** Moves constants of codes, which stay such; undefined for whatever else. */
  protected override fold(node: Node, name: string, place: string): ValueId | undefined {
    const [first] = node.inputs;
    const quantized = this.quantized.get(first);
    if (node.op === 'transpose' && quantized) return this.#addQuantized(name, transposed(quantized, node.perm));
    const codes = this.codes.get(first);
    if (!codes || !moves(node)) return undefined;
    const constants = node.inputs.map((id) => this.numbers(id, place));
    if (!constants.every((constant) => constant !== undefined)) return undefined;
    const folded = evaluate(node, constants);
    if (!folded) return undefined;
    this.claim(folded.data.length, place);
    const data = codes.dtype === 'uint8' ? Uint8Array.from(folded.data) : Int8Array.from(folded.data);
    return this.#addCodes(name, { ...codes, dims: [...folded.dims], data });
  }
}
