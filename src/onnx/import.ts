import { fromBinary } from '@bufbuild/protobuf';
import type { ElementType } from '../dtype.js';
import { describe, MAX_ELEMENTS, ThinferError } from '../errors.js';
import { evaluateIntegers, type IntegerConstant } from '../graph/integers.js';
import {
  type Constant,
  type Dim,
  type Graph,
  isBinary,
  isLayer,
  type Node,
  type Value,
  type ValueId,
} from '../graph/ir.js';
import { evaluate } from '../graph/passes/constants.js';
import { removeDead } from '../graph/passes/rewrite.js';
import { inferNode, type Shape } from '../graph/shapes.js';
import { elementType, inferType, moves, takesCodes } from '../graph/types.js';
import { Attributes } from './attributes.js';
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  TensorProto_DataType,
  type ValueInfoProto,
} from './generated/onnx_pb.js';
import type { Made, NewNode, NodeContext } from './operators/context.js';
import { OPERATORS } from './operators/index.js';
import { dequantize, type QuantizedTensor, transposed } from './quantized.js';
import {
  badModel,
  CODE_TYPES,
  type CodeTensor,
  FLOATS,
  type OnnxTensor,
  readSparse,
  readTensor,
  toInteger,
  typeName,
  Unsupported,
} from './tensor.js';

const OLDEST_OPSET = 7;
/** A model may ask for this many f32 elements for each of its bytes (sparse tensors, shared weights), and this many. */
const ELEMENTS_PER_BYTE = 16;
const FREE_ELEMENTS = 1 << 24;

/** Integers up to this are exact in f32, in which everything is computed. */
const LARGEST_EXACT = 2 ** 24;

/** Types of inputs that are integers, and become f32. */
const INTEGER_TYPES: readonly number[] = [
  TensorProto_DataType.INT32,
  TensorProto_DataType.INT64,
  TensorProto_DataType.BOOL,
];

/** Arithmetic whose results leave the range of 8-bit integers, where ONNX wraps. */
const LEAVES_BYTES: ReadonlySet<Node['op']> = new Set(['add', 'sub', 'mul', 'div', 'pow'] as const);

/** Operators that give integers for integers. */
const KEEPS_INTEGERS: ReadonlySet<Node['op']> = new Set([
  ...(['transpose', 'reshape', 'concat', 'slice', 'expand', 'tile', 'pad', 'gather', 'clamp'] as const),
]);

/** What a name of the model stands for. `lost`: made by a node that could not be imported; `absent`: not computed. */
type Binding =
  | { kind: 'value'; id: ValueId }
  | { kind: 'initializer'; read(): OnnxTensor }
  | { kind: 'lost' }
  | { kind: 'absent'; what: string };

/** Thrown when a node reads what an unsupported node would have made: it is not to blame itself. */
class Lost extends Error {}

function parse(bytes: Uint8Array): ModelProto {
  try {
    return fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false });
  } catch (cause) {
    throw new ThinferError({
      code: 'bad-model',
      place: 'model',
      expected: `${bytes.length} bytes of ONNX protobuf`,
      got: cause instanceof Error ? cause.message : String(cause),
      hint: 'Was the file cut short, or is it of another format?',
      cause,
    });
  }
}

function opsetOf(model: ModelProto): number {
  const entry = model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx');
  if (!entry) badModel('opset_import', 'a version of the default operator set', 'none');
  const version = toInteger(entry.version, 'opset_import', 0, 2 ** 31 - 1);
  if (version < OLDEST_OPSET) {
    throw new ThinferError({
      code: 'unsupported',
      place: 'opset_import',
      expected: `operator set ${OLDEST_OPSET} or newer`,
      got: String(version),
      hint: 'onnx.version_converter brings a model to a newer one.',
    });
  }
  return version;
}

/** The first output that a node names. */
function outputName({ output }: NodeProto): string {
  return output.find((name) => name !== '') ?? '';
}

function titleOf(node: NodeProto): string {
  const name = node.name || outputName(node) || '?';
  return `node "${name.slice(0, 120)}" (${node.opType.slice(0, 60)})`;
}

/**
 * The nodes that the graph's outputs need, sorted so that each follows those whose outputs it reads.
 * @throws ThinferError `bad-model` when two nodes write one value or nodes wait for each other
 */
function sortNodes(graph: GraphProto): NodeProto[] {
  const writers = new Map<string, NodeProto>();
  for (const node of graph.node) {
    for (const output of node.output) {
      if (output === '') continue;
      if (writers.has(output)) badModel(titleOf(node), 'outputs that no other node has', JSON.stringify(output));
      writers.set(output, node);
    }
  }
  const sorted: NodeProto[] = [];
  const state = new Map<NodeProto, 'open' | 'done'>();
  for (const { name } of graph.output) {
    // Depth first without recursion: a chain of nodes may be longer than the stack.
    const stack: { node: NodeProto; next: number }[] = [];
    const visit = (value: string) => {
      const node = writers.get(value);
      if (!node || state.get(node) === 'done') return;
      if (state.get(node) === 'open') badModel(titleOf(node), 'a graph without cycles', 'one through this node');
      state.set(node, 'open');
      stack.push({ node, next: 0 });
    };
    visit(name);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.input.length) {
        visit(top.node.input[top.next++]);
      } else {
        stack.pop();
        state.set(top.node, 'done');
        sorted.push(top.node);
      }
    }
  }
  return sorted;
}

class Importer {
  readonly #opset: number;
  readonly #values = new Map<ValueId, Value>();
  readonly #constants = new Map<ValueId, Constant>();
  /** Constants that are integers, and values that hold integers when the graph runs. */
  readonly #integers = new Map<ValueId, IntegerConstant>();
  readonly #integral = new Set<ValueId>();
  /** Integers as f32, where a node that runs reads them. */
  readonly #floats = new Map<ValueId, ValueId>();
  /** Constants that are codes, and those of f32 that the model has as codes: they are made when something reads them. */
  readonly #codes = new Map<ValueId, CodeTensor>();
  readonly #quantized = new Map<ValueId, QuantizedTensor>();
  readonly #nodes: Node[] = [];
  readonly #inputs: { name: string; value: ValueId }[] = [];
  readonly #bindings = new Map<string, Binding>();
  readonly #layerNames = new Set<string>();
  /** Names of layers by their weights: those that share them share the name. */
  readonly #nameOfWeights = new Map<object, string>();
  readonly #unsupported: string[] = [];
  readonly #capacity: number;
  #claimed = 0;

  constructor(opset: number, modelBytes: number) {
    this.#opset = opset;
    this.#capacity = FREE_ELEMENTS + ELEMENTS_PER_BYTE * modelBytes;
  }

  read(graph: GraphProto): Graph {
    if (graph.output.length === 0) badModel('graph.output', 'at least one output', 'none');
    const nodes = sortNodes(graph);
    this.#readInitializers(graph);
    for (const input of graph.input) this.#readInput(input);
    for (const node of nodes) this.#readNode(node);
    const outputs = graph.output.map(({ name }) => ({ name, value: this.#readOutput(name) }));
    if (new Set(outputs.map(({ name }) => name)).size !== outputs.length) {
      badModel('graph.output', 'outputs with different names', outputs.map(({ name }) => name).join(', '));
    }
    if (this.#unsupported.length > 0) {
      throw new ThinferError({
        code: 'unsupported',
        place: 'model',
        expected: 'operators, attributes and types that thinfer runs',
        got: this.#unsupported.join('; '),
        hint: 'docs/graph.md lists what is supported.',
      });
    }
    return removeDead({
      inputs: this.#inputs,
      outputs,
      values: this.#values,
      constants: this.#constants,
      nodes: this.#nodes,
    });
  }

  #claim(count: number, place: string): void {
    this.#claimed += count;
    if (this.#claimed <= this.#capacity) return;
    badModel(place, `at most ${this.#capacity} elements in all for a model of this size`, String(this.#claimed));
  }

  #readInitializers(graph: GraphProto): void {
    const claim = this.#claim.bind(this);
    const bind = (name: string, read: (place: string) => OnnxTensor) => {
      const place = `initializer "${name}"`;
      if (name === '' || this.#bindings.has(name))
        badModel(place, 'a name that no other value has', JSON.stringify(name));
      this.#bindings.set(name, { kind: 'initializer', read: () => read(place) });
    };
    for (const tensor of graph.initializer) bind(tensor.name, (place) => readTensor(tensor, place, claim));
    for (const tensor of graph.sparseInitializer) {
      bind(tensor.values?.name ?? '', (place) => readSparse(tensor, place, claim));
    }
  }

  /** An input that is an initializer too only has a default value: it is a constant here. */
  #readInput({ name, type }: ValueInfoProto): void {
    const place = `input "${name}"`;
    const bound = this.#bindings.get(name);
    if (bound?.kind === 'initializer') return;
    if (name === '' || bound) badModel(place, 'a name that no other value has', JSON.stringify(name));
    const tensor = type?.value.case === 'tensorType' ? type.value.value : undefined;
    const isInteger = INTEGER_TYPES.includes(tensor?.elemType ?? 0);
    const code = CODE_TYPES[tensor?.elemType ?? 0];
    const isCode = code?.bits === 8;
    if (!tensor?.shape || !(FLOATS.includes(tensor.elemType) || isInteger || isCode)) {
      const got = tensor?.shape ? typeName(tensor.elemType) : 'no tensor with a shape';
      this.#unsupported.push(
        `${place}: ${got} (only tensors of floats, uint8, int8, int32, int64 and bool with a shape)`,
      );
      this.#bindings.set(name, { kind: 'lost' });
      return;
    }
    if (tensor.shape.dim.length > 8) badModel(place, 'at most 8 dimensions', String(tensor.shape.dim.length));
    const shape = tensor.shape.dim.map(({ value }, axis): Dim => {
      if (value.case === 'dimParam' && value.value !== '') return value.value;
      // Some exporters write -1 where they mean an open dimension.
      if (value.case !== 'dimValue' || value.value === -1n) return `${name}.${axis}`;
      return toInteger(value.value, `${place}.dim[${axis}]`, 0, MAX_ELEMENTS);
    });
    const id = this.#addValue(name, shape, isCode ? code.dtype : undefined);
    if (isInteger || isCode) this.#integral.add(id);
    this.#inputs.push({ name, value: id });
    this.#bindings.set(name, { kind: 'value', id });
  }

  #readOutput(name: string): ValueId {
    try {
      const id = this.#valueOf(name, `graph.output "${name}"`);
      return this.#type(id) === 'float32' ? this.#asFloats(id) : this.#operand(id);
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`output "${name}": ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      return -1;
    }
  }

  #addValue(name: string, shape: Shape, dtype?: ElementType): ValueId {
    const id = this.#values.size;
    this.#values.set(id, dtype && dtype !== 'float32' ? { id, name, shape, dtype } : { id, name, shape });
    return id;
  }

  #type(id: ValueId): ElementType {
    return elementType(this.#values.get(id)!);
  }

  #addConstant(name: string, constant: Constant): ValueId {
    const id = this.#addValue(name, constant.dims);
    this.#constants.set(id, constant);
    return id;
  }

  #addIntegers(name: string, integers: IntegerConstant): ValueId {
    const id = this.#addValue(name, integers.dims);
    this.#integers.set(id, integers);
    this.#integral.add(id);
    return id;
  }

  #addCodes(name: string, codes: CodeTensor): ValueId {
    const id = this.#addValue(name, codes.dims, codes.dtype);
    this.#codes.set(id, codes);
    this.#integral.add(id);
    return id;
  }

  #addQuantized(name: string, quantized: QuantizedTensor): ValueId {
    const id = this.#addValue(name, quantized.codes.dims);
    this.#quantized.set(id, quantized);
    return id;
  }

  /** What a name stands for; an initializer is read when it is first asked for. */
  #valueOf(name: string, place: string): ValueId {
    const binding = this.#bindings.get(name);
    if (!binding) {
      return badModel(place, 'a value that is an input, an initializer or made by a node', JSON.stringify(name));
    }
    if (binding.kind === 'lost') throw new Lost();
    if (binding.kind === 'absent') throw new Unsupported(binding.what);
    if (binding.kind === 'value') return binding.id;
    const id = this.#idOf(name, binding.read());
    this.#bindings.set(name, { kind: 'value', id });
    return id;
  }

  #idOf(name: string, made: Made): ValueId {
    if (typeof made === 'number') return made;
    switch (made.kind) {
      case 'integers':
        return this.#addIntegers(name, made);
      case 'codes':
        return this.#addCodes(name, made);
      case 'quantized':
        return this.#addQuantized(name, made);
      default:
        return this.#addConstant(name, made);
    }
  }

  /** A value that a node reads as it is: a constant of codes becomes one of the graph. */
  #operand(id: ValueId): ValueId {
    const codes = this.#codes.get(id);
    if (codes && !this.#constants.has(id)) {
      this.#constants.set(id, { dims: codes.dims, data: Float32Array.from(codes.data) });
    }
    return id;
  }

  /** The numbers of a constant of any kind. */
  #numbers(id: ValueId, place: string): Constant | undefined {
    const codes = this.#codes.get(id);
    const quantized = this.#quantized.get(id);
    if (codes) return { dims: codes.dims, data: Float32Array.from(codes.data) };
    if (!quantized) return this.#constants.get(this.#asFloats(id));
    const known = this.#constants.get(id);
    if (known) return known;
    this.#claim(quantized.codes.data.length, place);
    const constant = dequantize(quantized);
    this.#constants.set(id, constant);
    return constant;
  }

  /** The same integers as f32. */
  #toFloats(id: ValueId): ValueId {
    const known = this.#floats.get(id);
    if (known !== undefined) return known;
    const { name, shape } = this.#values.get(id)!;
    const codes = this.#codes.get(id);
    const output = codes
      ? this.#addConstant(name, { dims: codes.dims, data: Float32Array.from(codes.data) })
      : this.#addValue(name, shape);
    if (!codes)
      this.#nodes.push({ op: 'dequantize', name: `${name}.cast`, inputs: [id], output, scale: 1, zeroPoint: 0 });
    this.#floats.set(id, output);
    this.#integral.add(output);
    return output;
  }

  /** A constant that the model has as codes. Those with one scale stay codes: what reads them may do so too. */
  #fromQuantized(id: ValueId, quantized: QuantizedTensor): ValueId {
    const { codes, scale, zeroPoint } = quantized;
    const known = this.#floats.get(id);
    if (known !== undefined) return known;
    if (scale.length !== 1 || codes.bits !== 8) {
      this.#numbers(id, 'quantized constant');
      return id;
    }
    const { name } = this.#values.get(id)!;
    const inputs = [this.#operand(this.#addCodes(name, codes))];
    const output = this.#addValue(name, codes.dims);
    const meaning = { scale: scale[0], zeroPoint: zeroPoint?.[0] ?? 0 };
    this.#nodes.push({ op: 'dequantize', name: `${name}.dequantize`, inputs, output, ...meaning });
    this.#floats.set(id, output);
    return output;
  }

  /** The value itself, or f32 of the same numbers. */
  #asFloats(id: ValueId): ValueId {
    const quantized = this.#quantized.get(id);
    if (quantized) return this.#fromQuantized(id, quantized);
    if (this.#type(id) !== 'float32') return this.#toFloats(id);
    const integers = this.#integers.get(id);
    if (!integers) return id;
    const { name } = this.#values.get(id)!;
    const known = this.#floats.get(id);
    if (known !== undefined) return known;
    const wrong = integers.data.find((x) => typeof x === 'string' || Math.abs(x) > LARGEST_EXACT);
    if (wrong !== undefined) throw new Unsupported(`arithmetic on "${name}", where ${wrong} has no exact f32`);
    const made = this.#addConstant(name, { dims: integers.dims, data: Float32Array.from(integers.data as number[]) });
    this.#floats.set(id, made);
    this.#integral.add(made);
    return made;
  }

  #readNode(proto: NodeProto): void {
    const place = titleOf(proto);
    const used = proto.output.filter((output) => output !== '');
    try {
      const made = this.#importNode(proto, place);
      for (const [i, output] of proto.output.entries()) {
        if (output === '') continue;
        const what = `"${output}", a further output of ${place}`;
        const binding: Binding =
          made[i] === undefined ? { kind: 'absent', what } : { kind: 'value', id: this.#idOf(output, made[i]) };
        this.#bindings.set(output, binding);
      }
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`${place}: ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      for (const output of used) this.#bindings.set(output, { kind: 'lost' });
    }
  }

  #importNode(proto: NodeProto, place: string): Made[] {
    const { domain, opType } = proto;
    const isDefault = domain === '' || domain === 'ai.onnx';
    const title = isDefault ? opType : `${domain}.${opType}`;
    if (!Object.hasOwn(OPERATORS, title)) {
      throw new Unsupported(isDefault ? 'unknown operator' : `operator of the domain ${domain.slice(0, 60)}`);
    }
    const operator = OPERATORS[title];
    const attributes = new Attributes(proto.attribute, place);
    const unknown = attributes.names.filter((name) => !operator.attributes.includes(name));
    if (unknown.length > 0) throw new Unsupported(`attribute ${unknown.join(', ').slice(0, 200)}`);
    const inputCount = proto.input.findLastIndex((name) => name !== '') + 1;
    const [least, most] = operator.inputs;
    if (inputCount < least || inputCount > most || proto.input.slice(0, least).includes('')) {
      badModel(
        place,
        `${least === most ? least : `${least} to ${most}`} inputs`,
        JSON.stringify(proto.input.slice(0, 8)),
      );
    }
    if (outputName(proto) === '') badModel(place, 'an output', 'none');
    const made = operator.read(this.#context(proto, attributes, inputCount, place));
    return Array.isArray(made) ? made : [made];
  }

  #context(proto: NodeProto, attributes: Attributes, inputCount: number, place: string): NodeContext {
    const inputName = (input: number) => proto.input[input];
    const value = (input: number) => this.#valueOf(inputName(input), place);
    const isConstant = (input: number) =>
      [this.#constants, this.#integers, this.#codes, this.#quantized].some((kind) => kind.has(value(input)));
    const dims = (input: number, what: string) => {
      const integers = this.#integers.get(value(input)) ?? this.#codes.get(value(input));
      if (integers) return Array.from<Dim>(integers.data);
      if (this.#constants.has(value(input))) badModel(`${place}: ${what}`, 'integers', 'floats');
      throw new Unsupported(`${what} ("${inputName(input)}") that is not constant`);
    };
    const claim = this.#claim.bind(this);
    return {
      opset: this.#opset,
      attributes,
      inputCount,
      outputCount: proto.output.length,
      has: (input) => input < inputCount && inputName(input) !== '',
      value,
      isConstant,
      constant: (input, what, ranks) => {
        if (!isConstant(input)) throw new Unsupported(`${what} ("${inputName(input)}") that is not constant`);
        const constant = this.#numbers(value(input), place)!;
        if (ranks && !ranks.includes(constant.dims.length)) {
          badModel(`${place}: ${what}`, `${ranks.join(' or ')} dimensions`, `[${constant.dims.join(', ')}]`);
        }
        return constant;
      },
      integers: (input, what) =>
        dims(input, what).map((dim) => {
          if (typeof dim === 'number') return dim;
          throw new Unsupported(`${what} ("${inputName(input)}") with the open dimension ${dim}`);
        }),
      dims,
      isInteger: (input) => this.#integers.has(value(input)),
      holdsIntegers: (id) => this.#integral.has(id),
      shape: (value) => this.#values.get(value)!.shape,
      type: (value) => this.#type(value),
      integerType: (input) => this.#integers.get(value(input))?.type,
      codes: (input) => this.#codes.get(value(input)),
      quantized: (input) => this.#quantized.get(value(input)),
      emit: (node) => this.#emit(node, proto, place),
      addConstant: (constant) => this.#addConstant(outputName(proto), constant),
      addScalar: (number, like = -1) =>
        this.#integral.has(like) && Number.isInteger(number)
          ? this.#addIntegers(outputName(proto), { kind: 'integers', dims: [], data: [number] })
          : this.#addConstant(outputName(proto), { dims: [], data: Float32Array.of(number) }),
      markIntegers: (id) => {
        this.#integral.add(id);
        return id;
      },
      readTensor: (tensor) => readTensor(tensor, place, claim),
      readSparse: (tensor) => readSparse(tensor, place, claim),
      claim: (count) => this.#claim(count, place),
      bad: (what, expected, got) => badModel(`${place}: ${what}`, expected, got),
    };
  }

  /** Adds a node, or its result where that is known now. */
  #emit(node: NewNode, proto: NodeProto, place: string): ValueId {
    const name = outputName(proto);
    // Not yet a value of the graph: -1 stands for the output.
    const full: Node = { ...node, name: proto.name || name, output: -1 };
    try {
      const integers = node.inputs.map((id) => this.#integers.get(id));
      if (integers.every((constant) => constant !== undefined)) {
        const folded = evaluateIntegers(full, integers);
        if (folded) {
          this.#claim(folded.data.length, place);
          return this.#addIntegers(name, folded);
        }
      }
      const folded = this.#moveCodes(full, name, place);
      if (folded !== undefined) return folded;
      const inputs = this.#inputsOf(full);
      const constants = inputs.map((id) => this.#constants.get(id));
      if (constants.every((constant) => constant !== undefined)) {
        const folded = evaluate({ ...full, inputs }, constants);
        if (folded) {
          if (node.op !== 'reshape') this.#claim(folded.data.length, place);
          return this.#addConstant(name, folded);
        }
      }
      const types = inputs.map((id) => this.#type(id));
      const output = this.#addValue(name, []);
      const placed: Node = { ...full, inputs, name: this.#nameOf(full, name, output), output };
      const shape = inferNode(
        placed,
        inputs.map((id) => this.#values.get(id)!.shape),
      );
      const dtype = inferType(placed, types);
      this.#values.set(output, dtype === 'float32' ? { id: output, name, shape } : { id: output, name, shape, dtype });
      this.#nodes.push(placed);
      if (dtype !== 'float32') this.#integral.add(output);
      const read = node.op === 'gather' ? inputs.slice(0, 1) : inputs;
      const keeps = KEEPS_INTEGERS.has(node.op) || isBinary(placed);
      if (keeps && read.every((id) => this.#integral.has(id))) this.#integral.add(output);
      return output;
    } catch (error) {
      if (!(error instanceof ThinferError) || error.code !== 'bad-shape') throw error;
      const { expected, got, hint } = error;
      throw new ThinferError({ code: 'bad-model', place: error.place, expected, got, hint, cause: error });
    }
  }

  /** What a node reads: codes where it takes them, else f32. */
  #inputsOf(node: Node): ValueId[] {
    const floats = () => node.inputs.map((id) => this.#asFloats(id));
    if (isBinary(node) && LEAVES_BYTES.has(node.op)) {
      const bytes = node.inputs.find((id) => this.#type(id) === 'uint8' || this.#type(id) === 'int8');
      if (bytes !== undefined) throw new Unsupported(`arithmetic on ${this.#type(bytes)}, which may wrap`);
    }
    if (!takesCodes(node)) return floats();
    const [first, ...others] = node.inputs;
    const type = this.#type(first);
    if (type === 'float32') return floats();
    if (node.op === 'gather') return [this.#operand(first), ...others.map((id) => this.#asFloats(id))];
    // A border's number is written as what it surrounds.
    if (node.op === 'pad' && others.length > 0) {
      const value = this.#numbers(others[0], node.name);
      if (!value) return floats();
      const constant = this.#addValue(node.name, value.dims, type);
      this.#constants.set(constant, value);
      return [first, constant];
    }
    if (moves(node) && node.inputs.some((id) => this.#type(id) !== type)) return floats();
    return node.inputs.map((id) => this.#operand(id));
  }

  /** Moves constants of codes, which stay such; undefined for whatever else. */
  #moveCodes(node: Node, name: string, place: string): ValueId | undefined {
    const [first] = node.inputs;
    const quantized = this.#quantized.get(first);
    if (node.op === 'transpose' && quantized) return this.#addQuantized(name, transposed(quantized, node.perm));
    const codes = this.#codes.get(first);
    if (!codes || !moves(node)) return undefined;
    const constants = node.inputs.map((id) => this.#numbers(id, place));
    if (!constants.every((constant) => constant !== undefined)) return undefined;
    const folded = evaluate(node, constants);
    if (!folded) return undefined;
    this.#claim(folded.data.length, place);
    const data = codes.dtype === 'uint8' ? Uint8Array.from(folded.data) : Int8Array.from(folded.data);
    return this.#addCodes(name, { ...codes, dims: [...folded.dims], data });
  }

  /** Layers are addressed by name: one that is taken falls back to the output's, which is unique in the model. */
  #nameOf(node: Node, output: string, id: ValueId): string {
    if (!isLayer(node)) return node.name;
    const shared = this.#nameOfWeights.get(node.weights);
    if (shared !== undefined) return shared;
    const name = [node.name, output].find((candidate) => !this.#layerNames.has(candidate)) ?? `${output}#${id}`;
    this.#layerNames.add(name);
    this.#nameOfWeights.set(node.weights, name);
    return name;
  }
}

/**
 * Reads an ONNX model into a graph, as the model has it: nothing is optimised.
 * @throws ThinferError `bad-model` naming the place for a file that is corrupt or contradicts itself; `unsupported`
 * naming every operator, attribute and type that thinfer does not run
 */
export function readOnnx(bytes: Uint8Array | ArrayBuffer): Graph {
  const view = bytes instanceof Uint8Array ? bytes : bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : undefined;
  if (!view) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'loadOnnx: bytes',
      expected: 'a Uint8Array or ArrayBuffer',
      got: describe(bytes),
      hint: 'Pass the contents of the file, e.g. await (await fetch(url)).arrayBuffer().',
    });
  }
  const model = parse(view);
  if (!model.graph) badModel('model', 'a graph', 'none', 'Is this an ONNX file?');
  return new Importer(opsetOf(model), view.length).read(model.graph);
}
