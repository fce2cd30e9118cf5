import { fromBinary } from '@bufbuild/protobuf';
import { describe, MAX_ELEMENTS, ThinferError } from '../errors.js';
import type { Dim, Graph, ValueId } from '../graph/ir.js';
import { Attributes } from './attributes.js';
import { OnnxBuilder } from './builder.js';
import type { PartArray } from './domain.js';
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type TensorProto,
  TensorProto_DataType,
  type ValueInfoProto,
} from './generated/onnx_pb.js';
import type { Made, NodeContext } from './operators/context.js';
import { OPERATORS } from './operators/index.js';
import {
  badModel,
  CODE_TYPES,
  FLOATS,
  type OnnxTensor,
  readElements,
  readSparse,
  readTensor,
  toInteger,
  typeName,
  Unsupported,
} from './tensor.js';

const OLDEST_OPSET = 7;

/** Types of inputs that are integers, and become f32. */
const INTEGER_TYPES: readonly number[] = [
  TensorProto_DataType.INT32,
  TensorProto_DataType.INT64,
  TensorProto_DataType.BOOL,
];

/** What a name of the model stands for. `lost`: made by a node that could not be imported; `absent`: not computed. */
type Binding =
  | { kind: 'value'; id: ValueId }
  | { kind: 'initializer'; read(): OnnxTensor }
  | { kind: 'lost' }
  | { kind: 'absent'; what: string };

/** Thrown when a node reads what an unsupported node would have made: it is not to blame itself. */
class Lost extends Error {}

/** @throws ThinferError `bad-model` for what is no protobuf of a model */
export function parseModel(bytes: Uint8Array): ModelProto {
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
  readonly #built: OnnxBuilder;
  readonly #bindings = new Map<string, Binding>();
  /** Initializers as typed arrays, for operators of our own domain. */
  readonly #elements = new Map<string, () => PartArray>();
  readonly #parts = new Map<string, PartArray>();
  readonly #unsupported: string[] = [];

  constructor(opset: number, modelBytes: number) {
    this.#opset = opset;
    this.#built = new OnnxBuilder(modelBytes);
  }

  read(graph: GraphProto): Graph {
    if (graph.output.length === 0) badModel('graph.output', 'at least one output', 'none');
    const nodes = sortNodes(graph);
    this.#readInitializers(graph);
    for (const input of graph.input) this.#readInput(input);
    for (const node of nodes) this.#readNode(node);
    const outputs = graph.output.map((output) => ({ name: output.name, value: this.#readOutput(output) }));
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
    return this.#built.finish(outputs);
  }

  #readInitializers(graph: GraphProto): void {
    const claim = this.#built.claim.bind(this.#built);
    const bind = (name: string, read: (place: string) => OnnxTensor, tensor?: TensorProto) => {
      const place = `initializer "${name}"`;
      if (name === '' || this.#bindings.has(name))
        badModel(place, 'a name that no other value has', JSON.stringify(name));
      this.#bindings.set(name, { kind: 'initializer', read: () => read(place) });
      if (tensor) this.#elements.set(name, () => readElements(tensor, place, claim));
    };
    for (const tensor of graph.initializer) bind(tensor.name, (place) => readTensor(tensor, place, claim), tensor);
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
    const id = this.#built.addInput(name, shape, isCode ? code.dtype : 'float32', isInteger || isCode);
    this.#bindings.set(name, { kind: 'value', id });
  }

  /** Codes and sums stay such; integers of 8 bits that were computed as f32 become codes. */
  #readOutput({ name, type }: ValueInfoProto): ValueId {
    try {
      const built = this.#built;
      const id = this.#valueOf(name, `graph.output "${name}"`);
      if (built.type(id) !== 'float32') return built.operand(id);
      const floats = built.asFloats(id);
      const declared = type?.value.case === 'tensorType' ? CODE_TYPES[type.value.value.elemType] : undefined;
      if (declared?.bits !== 8 || !built.integral.has(floats)) return floats;
      const quantization = { dtype: declared.dtype, scale: 1, zeroPoint: 0 };
      return built.emit({ op: 'quantize', inputs: [floats], quantization }, name, '', `output "${name}"`);
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`output "${name}": ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      return -1;
    }
  }

  /** What a name stands for; an initializer is read when it is first asked for. */
  #valueOf(name: string, place: string): ValueId {
    const binding = this.#bindings.get(name);
    if (!binding) {
      return badModel(place, 'a value that is an input, an initializer or made by a node', JSON.stringify(name));
    }
    if (binding.kind === 'lost') throw new Lost();
    if (binding.kind === 'absent') throw new Unsupported(binding.what);
    if (binding.kind === 'value' && this.#built.parts.has(binding.id)) {
      return badModel(place, 'a tensor', `${JSON.stringify(name)}, which only operators of thinfer read`);
    }
    if (binding.kind === 'value') return binding.id;
    const id = this.#built.idOf(name, binding.read());
    this.#bindings.set(name, { kind: 'value', id });
    return id;
  }

  #partOf(name: string, place: string): PartArray {
    const binding = this.#bindings.get(name);
    if (binding?.kind === 'lost') throw new Lost();
    const made = binding?.kind === 'value' ? this.#built.parts.get(binding.id) : undefined;
    const data = this.#parts.get(name) ?? made ?? this.#elements.get(name)?.();
    if (!data) return badModel(place, 'an initializer', JSON.stringify(name));
    this.#parts.set(name, data);
    return data;
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
          made[i] === undefined ? { kind: 'absent', what } : { kind: 'value', id: this.#built.idOf(output, made[i]) };
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
    const { optional = [] } = operator;
    const missing = proto.input.slice(0, least).some((name, i) => name === '' && !optional.includes(i));
    if (inputCount < least || inputCount > most || missing) {
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
      [this.#built.constants, this.#built.integers, this.#built.codes, this.#built.quantized].some((kind) =>
        kind.has(value(input)),
      );
    const dims = (input: number, what: string) => {
      const integers = this.#built.integers.get(value(input)) ?? this.#built.codes.get(value(input));
      if (integers) return Array.from<Dim>(integers.data);
      if (this.#built.constants.has(value(input))) badModel(`${place}: ${what}`, 'integers', 'floats');
      throw new Unsupported(`${what} ("${inputName(input)}") that is not constant`);
    };
    const claim = this.#built.claim.bind(this.#built);
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
        const constant = this.#built.numbers(value(input), place)!;
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
      isInteger: (input) => this.#built.integers.has(value(input)),
      holdsIntegers: (id) => this.#built.integral.has(id),
      shape: (value) => this.#built.shape(value),
      type: (value) => this.#built.type(value),
      integerType: (input) => this.#built.integers.get(value(input))?.type,
      codes: (input) => this.#built.codes.get(value(input)),
      quantized: (input) => this.#built.quantized.get(value(input)),
      isSparse: (input) => this.#built.sparse.has(value(input)),
      weightsOf: (first, end, how, make) =>
        this.#built.weightsOf(JSON.stringify([how, ...proto.input.slice(first, end)]), make),
      codesBehind: (input) => this.#built.codesBehind(value(input)),
      part: (input, what) => this.#partOf(inputName(input), `${place}: ${what}`),
      emit: (node) => this.#built.emit(node, outputName(proto), proto.name, place),
      number: (id) => {
        const constant = this.#built.constants.get(id) ?? this.#built.integers.get(id);
        const number = constant?.data.length === 1 ? constant.data[0] : undefined;
        return typeof number === 'number' ? number : undefined;
      },
      addConstant: (constant, dtype) => this.#built.addConstant(outputName(proto), constant, dtype),
      addScalar: (number, like = -1) => this.#built.addScalar(outputName(proto), number, like),
      markIntegers: (id) => this.#built.markIntegers(id),
      readTensor: (tensor) => readTensor(tensor, place, claim),
      readSparse: (tensor) => readSparse(tensor, place, claim),
      claim: (count) => this.#built.claim(count, place),
      bad: (what, expected, got) => badModel(`${place}: ${what}`, expected, got),
    };
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
  return readModel(parseModel(view), view.length);
}

/**
 * Reads a parsed model.
 * @param bytes of the model and of files beside it: what it declares is measured by them
 * @throws ThinferError as `readOnnx` does
 */
export function readModel(model: ModelProto, bytes: number): Graph {
  if (!model.graph) badModel('model', 'a graph', 'none', 'Is this an ONNX file?');
  return new Importer(opsetOf(model), bytes).read(model.graph);
}
