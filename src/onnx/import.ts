import { fromBinary } from '@bufbuild/protobuf';
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
import {
  badModel,
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
  /** Integer constants as f32, where a node that runs reads them. */
  readonly #floats = new Map<ValueId, ValueId>();
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
    if (!tensor?.shape || !(FLOATS.includes(tensor.elemType) || isInteger)) {
      const got = tensor?.shape ? typeName(tensor.elemType) : 'no tensor with a shape';
      this.#unsupported.push(`${place}: ${got} (only tensors of floats, int32, int64 and bool with a shape)`);
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
    const id = this.#addValue(name, shape);
    if (isInteger) this.#integral.add(id);
    this.#inputs.push({ name, value: id });
    this.#bindings.set(name, { kind: 'value', id });
  }

  #readOutput(name: string): ValueId {
    try {
      return this.#asFloats(this.#valueOf(name, `graph.output "${name}"`));
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`output "${name}": ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      return -1;
    }
  }

  #addValue(name: string, shape: Shape): ValueId {
    const id = this.#values.size;
    this.#values.set(id, { id, name, shape });
    return id;
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
    return made.kind === 'integers' ? this.#addIntegers(name, made) : this.#addConstant(name, made);
  }

  /** The value itself, or an f32 constant of the same integers. */
  #asFloats(id: ValueId): ValueId {
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
    const isConstant = (input: number) => this.#constants.has(value(input)) || this.#integers.has(value(input));
    const dims = (input: number, what: string) => {
      const integers = this.#integers.get(value(input));
      if (integers) return integers.data;
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
        const constant = this.#constants.get(this.#asFloats(value(input)))!;
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
      const inputs = node.inputs.map((id) => this.#asFloats(id));
      const constants = inputs.map((id) => this.#constants.get(id));
      if (constants.every((constant) => constant !== undefined)) {
        const folded = evaluate({ ...full, inputs }, constants);
        if (folded) {
          if (node.op !== 'reshape') this.#claim(folded.data.length, place);
          return this.#addConstant(name, folded);
        }
      }
      const output = this.#addValue(name, []);
      const placed: Node = { ...full, inputs, name: this.#nameOf(full, name, output), output };
      const shape = inferNode(
        placed,
        inputs.map((id) => this.#values.get(id)!.shape),
      );
      this.#values.set(output, { id: output, name, shape });
      this.#nodes.push(placed);
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
