import { fromBinary } from '@bufbuild/protobuf';
import { describe, MAX_ELEMENTS, ThinferError } from '../errors.js';
import { type Constant, type Dim, type Graph, isLayer, type Node, type Value, type ValueId } from '../graph/ir.js';
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
import { type NewNode, type NodeContext, OPERATORS } from './operators.js';
import { badModel, type OnnxTensor, readSparse, readTensor, toInteger, typeName, Unsupported } from './tensor.js';

const OLDEST_OPSET = 7;
/** A model may ask for this many f32 elements for each of its bytes (sparse tensors, shared weights), and this many. */
const ELEMENTS_PER_BYTE = 16;
const FREE_ELEMENTS = 1 << 24;

/** What a name of the model stands for. `lost`: made by a node that could not be imported; `absent`: not computed. */
type Binding =
  | { kind: 'value'; id: ValueId }
  | { kind: 'integers'; dims: number[]; data: number[] }
  | { kind: 'initializer'; read(): OnnxTensor }
  | { kind: 'lost' }
  | { kind: 'absent'; what: string };

/** What a name turned out to be. */
type Found = Extract<Binding, { kind: 'value' | 'integers' }>;

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

function titleOf(node: NodeProto): string {
  const name = node.name || node.output.find((output) => output !== '') || '?';
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
  readonly #nodes: Node[] = [];
  readonly #inputs: { name: string; value: ValueId }[] = [];
  readonly #bindings = new Map<string, Binding>();
  readonly #layerNames = new Set<string>();
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
    if (tensor?.elemType !== TensorProto_DataType.FLOAT || !tensor.shape) {
      const got = tensor?.shape ? typeName(tensor.elemType) : 'no tensor with a shape';
      this.#unsupported.push(`${place}: ${got} (only f32 tensors with a shape)`);
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
    this.#inputs.push({ name, value: id });
    this.#bindings.set(name, { kind: 'value', id });
  }

  #readOutput(name: string): ValueId {
    try {
      return this.#valueOf(name, `graph.output "${name}"`);
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

  /** What a name stands for; an initializer is read when it is first asked for. */
  #bindingOf(name: string, place: string): Found {
    const binding = this.#bindings.get(name);
    if (!binding) {
      return badModel(place, 'a value that is an input, an initializer or made by a node', JSON.stringify(name));
    }
    if (binding.kind === 'lost') throw new Lost();
    if (binding.kind === 'absent') throw new Unsupported(binding.what);
    if (binding.kind !== 'initializer') return binding;
    const read = this.#bind(name, binding.read());
    this.#bindings.set(name, read);
    return read;
  }

  #bind(name: string, made: ValueId | OnnxTensor): Found {
    if (typeof made === 'number') return { kind: 'value', id: made };
    if (made.kind === 'integers') return made;
    return { kind: 'value', id: this.#addConstant(name, made) };
  }

  #valueOf(name: string, place: string): ValueId {
    const binding = this.#bindingOf(name, place);
    if (binding.kind === 'integers') throw new Unsupported(`arithmetic on the integers "${name}"`);
    return binding.id;
  }

  #readNode(proto: NodeProto): void {
    const place = titleOf(proto);
    const used = proto.output.filter((output) => output !== '');
    try {
      const outputs = this.#importNode(proto, place);
      this.#bindings.set(proto.output[0], outputs);
      for (const output of used.slice(1)) {
        this.#bindings.set(output, { kind: 'absent', what: `"${output}", a further output of ${place}` });
      }
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`${place}: ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      for (const output of used) this.#bindings.set(output, { kind: 'lost' });
    }
  }

  #importNode(proto: NodeProto, place: string): Binding {
    const { domain, opType } = proto;
    if (domain !== '' && domain !== 'ai.onnx') throw new Unsupported(`operator of the domain ${domain.slice(0, 60)}`);
    if (!Object.hasOwn(OPERATORS, opType)) throw new Unsupported('unknown operator');
    const operator = OPERATORS[opType];
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
    if (!proto.output[0]) badModel(place, 'an output', 'none');
    return this.#bind(proto.output[0], operator.read(this.#context(proto, attributes, inputCount, place)));
  }

  #context(proto: NodeProto, attributes: Attributes, inputCount: number, place: string): NodeContext {
    const inputName = (input: number) => proto.input[input];
    const isConstant = (input: number) => {
      const binding = this.#bindingOf(inputName(input), place);
      return binding.kind === 'integers' || this.#constants.has(binding.id);
    };
    const claim = this.#claim.bind(this);
    return {
      opset: this.#opset,
      attributes,
      inputCount,
      has: (input) => input < inputCount && inputName(input) !== '',
      value: (input) => this.#valueOf(inputName(input), place),
      isConstant,
      constant: (input, what, ranks) => {
        if (!isConstant(input)) throw new Unsupported(`${what} ("${inputName(input)}") that is not constant`);
        const constant = this.#constants.get(this.#valueOf(inputName(input), place))!;
        if (ranks && !ranks.includes(constant.dims.length)) {
          badModel(`${place}: ${what}`, `${ranks.join(' or ')} dimensions`, `[${constant.dims.join(', ')}]`);
        }
        return constant;
      },
      integers: (input, what) => {
        const binding = this.#bindingOf(inputName(input), place);
        if (binding.kind === 'integers') return binding.data;
        if (this.#constants.has(binding.id)) badModel(`${place}: ${what}`, 'integers', 'floats');
        throw new Unsupported(`${what} ("${inputName(input)}") that is not constant`);
      },
      shape: (value) => this.#values.get(value)!.shape,
      emit: (node) => this.#emit(node, proto, place),
      addConstant: (constant) => this.#addConstant(proto.output[0], constant),
      readTensor: (tensor) => readTensor(tensor, place, claim),
      readSparse: (tensor) => readSparse(tensor, place, claim),
      claim: (count) => this.#claim(count, place),
      bad: (what, expected, got) => badModel(`${place}: ${what}`, expected, got),
    };
  }

  /** Adds a node, or its result where that is known now. */
  #emit(node: NewNode, proto: NodeProto, place: string): ValueId {
    const constants = node.inputs.map((id) => this.#constants.get(id));
    const full: Node = { ...node, name: proto.name || proto.output[0], output: -1 };
    try {
      if (constants.every((constant) => constant !== undefined)) {
        const folded = evaluate(full, constants);
        if (folded) {
          if (node.op !== 'reshape') this.#claim(folded.data.length, place);
          return this.#addConstant(proto.output[0], folded);
        }
      }
      const output = this.#addValue(proto.output[0], []);
      const placed: Node = { ...full, name: this.#nameOf(full, proto.output[0], output), output };
      const shape = inferNode(
        placed,
        node.inputs.map((id) => this.#values.get(id)!.shape),
      );
      this.#values.set(output, { id: output, name: proto.output[0], shape });
      this.#nodes.push(placed);
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
    const name = [node.name, output].find((candidate) => !this.#layerNames.has(candidate)) ?? `${output}#${id}`;
    this.#layerNames.add(name);
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
