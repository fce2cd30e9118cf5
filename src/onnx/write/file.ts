import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { Dim } from '../../graph/ir.js';
import {
  AttributeProto_AttributeType,
  type AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  SparseTensorProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProtoSchema,
} from '../generated/onnx_pb.js';

/** An integer, integers, or a string; floats say so. */
export type AttributeValue = number | readonly number[] | string | { float: number };
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>;

/** Thrown where an operator needs a newer operator set than the one that is written: the file is begun again with it. */
export class NeedsOpset extends Error {
  constructor(readonly opset: number) {
    super(`operator set ${opset}`);
  }
}

/** The first operator set of each version of the file format (ONNX specification, Versioning). */
const IR_VERSIONS: readonly (readonly [opset: number, version: number])[] = [
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [0, 6],
];

/** Data in a file beside the model begins at multiples of this, so that it can be mapped. */
const ALIGNMENT = 64;

/** A tensor whose bytes are made when the file is written. */
interface Initializer {
  name: string;
  dims: readonly number[];
  type: number;
  bytes(): Uint8Array;
}

interface Sparse {
  name: string;
  dims: readonly number[];
  /** What is stored, and where in the tensor, ascending. */
  entries(): { values: Float32Array; places: ArrayLike<number> };
}

/** Where the bytes of large tensors go. */
export interface External {
  /** The name by which the model knows the file. */
  name: string;
  /** Tensors from this many bytes on. */
  from: number;
  parts: Uint8Array[];
}

const encoder = new TextEncoder();

export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** An ONNX file while it is written: nodes, tensors, and names that are each given once. */
export class OnnxFile {
  readonly #nodes: MessageInitShape<typeof NodeProtoSchema>[] = [];
  readonly #initializers: Initializer[] = [];
  readonly #sparse: Sparse[] = [];
  readonly #inputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  readonly #outputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  readonly #names = new Set<string>();
  readonly #domains = new Set<string>();
  /** Names of nodes, those that are kept for layers among them. */
  readonly #nodeNames = new Set<string>();
  readonly #kept: Set<string>;
  /** What was written of an object, by what it was written as. */
  readonly #once = new Map<object, Map<string, string>>();
  /** Names of small constants by their contents. */
  readonly #known = new Map<string, string>();

  /** @param kept names of nodes that only layers get, the first of each that wants it */
  constructor(
    readonly opset: number,
    kept: Iterable<string>,
  ) {
    this.#kept = new Set(kept);
  }

  /** @throws NeedsOpset where the file is of an older one */
  need(opset: number): void {
    if (this.opset < opset) throw new NeedsOpset(opset);
  }

  /** A name that no other value has: this one, or one like it. */
  unique(name: string): string {
    const base = name || 'value';
    let free = base;
    for (let i = 1; this.#names.has(free); i++) free = `${base}#${i}`;
    this.#names.add(free);
    return free;
  }

  #nodeName(name: string, isLayer: boolean): string {
    if (isLayer) this.#kept.delete(name);
    let free = name;
    for (let i = 1; this.#nodeNames.has(free) || this.#kept.has(free); i++) free = `${name}#${i}`;
    this.#nodeNames.add(free);
    return free;
  }

  /**
   * @param opType of another domain: with that before it
   * @param name no two nodes have one: all but layers may get one like it
   */
  node(
    opType: string,
    input: readonly string[],
    output: string,
    attributes: Attributes = {},
    name = output,
    isLayer = false,
  ): string {
    const parts = opType.split('.');
    const domain = parts.slice(0, -1).join('.');
    if (domain) this.#domains.add(domain);
    const attribute = Object.entries(attributes).flatMap(([key, value]) =>
      value === undefined ? [] : [attributeOf(key, value)],
    );
    const title = this.#nodeName(name, isLayer);
    this.#nodes.push({ opType: parts.at(-1), domain, name: title, input: [...input], output: [output], attribute });
    return output;
  }

  /** A tensor, its bytes made last: what is begun again costs nothing. */
  initializer(name: string, dims: readonly number[], type: number, bytes: () => Uint8Array): string {
    const unique = this.unique(name);
    this.#initializers.push({ name: unique, dims, type, bytes });
    return unique;
  }

  /** What `make` writes of an object that several nodes may have, written once. */
  once<T extends string | undefined>(object: object, as: string, make: () => T): T {
    const names = this.#once.get(object) ?? new Map<string, string>();
    this.#once.set(object, names);
    const name = (names.get(as) as T | undefined) ?? make();
    if (name !== undefined) names.set(as, name);
    return name;
  }

  /** A tensor of one dimension. */
  array(name: string, data: ArrayBufferView & { length: number }, type: number): string {
    return this.once(data, `${type}`, () => this.initializer(name, [data.length], type, () => bytesOf(data)));
  }

  sparse(name: string, dims: readonly number[], entries: Sparse['entries']): string {
    const unique = this.unique(name);
    this.#sparse.push({ name: unique, dims, entries });
    return unique;
  }

  /** A constant of a few numbers, written once. */
  small(type: number, data: ArrayBufferView, dims: readonly number[]): string {
    const bytes = bytesOf(data);
    const key = `${type} ${dims.join()} ${bytes.join()}`;
    let name = this.#known.get(key);
    if (name === undefined) {
      name = this.initializer('const', dims, type, () => bytes);
      this.#known.set(key, name);
    }
    return name;
  }

  /** One f32. */
  number(value: number): string {
    return this.small(TensorProto_DataType.FLOAT, Float32Array.of(value), []);
  }

  /** int64 of one dimension, or of none. */
  integers(values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.small(TensorProto_DataType.INT64, BigInt64Array.from(values, BigInt), dims);
  }

  input(name: string, shape: readonly Dim[], type: number): void {
    this.#inputs.push(valueInfo(name, shape, type));
  }

  output(name: string, shape: readonly Dim[], type: number): void {
    this.#outputs.push(valueInfo(name, shape, type));
  }

  /** Gives the value that a node makes another name, everywhere. False where it is no node's, or an output already. */
  rename(from: string, to: string): boolean {
    const writer = this.#nodes.find(({ output }) => output![0] === from);
    if (!writer || this.#outputs.some(({ name }) => name === from)) return false;
    for (const node of this.#nodes) {
      node.input = node.input!.map((name) => (name === from ? to : name));
      node.output = node.output!.map((name) => (name === from ? to : name));
    }
    return true;
  }

  bytes(external?: External): Uint8Array<ArrayBuffer> {
    const tensor = ({ name, dims, type, bytes }: Initializer): TensorProto =>
      create(TensorProtoSchema, {
        name,
        dims: dims.map(BigInt),
        dataType: type,
        ...(external ? placed(external, bytes()) : { rawData: bytes() }),
      });
    const sparse = this.#sparse.map(({ name, dims, entries }) => {
      const { values, places } = entries();
      const indices = BigInt64Array.from({ length: places.length }, (_, i) => BigInt(places[i]));
      const part = (partName: string, type: number, data: Float32Array | BigInt64Array) =>
        tensor({ name: partName, dims: [data.length], type, bytes: () => bytesOf(data) });
      return create(SparseTensorProtoSchema, {
        dims: dims.map(BigInt),
        values: part(name, TensorProto_DataType.FLOAT, values),
        indices: part('', TensorProto_DataType.INT64, indices),
      });
    });
    const read = new Set([...this.#nodes.flatMap(({ input }) => input!), ...this.#outputs.map(({ name }) => name!)]);
    const graph = create(GraphProtoSchema, {
      name: 'thinfer',
      node: this.#nodes,
      initializer: this.#initializers.filter(({ name }) => read.has(name)).map(tensor),
      sparseInitializer: sparse,
      input: this.#inputs,
      output: this.#outputs,
    });
    const irVersion = IR_VERSIONS.find(([opset]) => this.opset >= opset)![1];
    const others = [...this.#domains].map((domain) => ({ domain, version: 1n }));
    const model = create(ModelProtoSchema, {
      irVersion: BigInt(irVersion),
      producerName: 'thinfer',
      graph,
      opsetImport: [{ domain: '', version: BigInt(this.opset) }, ...others],
    });
    return toBinary(ModelProtoSchema, model);
  }
}

/** Where a tensor's bytes are: in the model, or at the end of the file beside it. */
function placed({ name, from, parts }: External, bytes: Uint8Array): MessageInitShape<typeof TensorProtoSchema> {
  if (bytes.length < from) return { rawData: bytes };
  const end = parts.reduce((sum, { length }) => sum + length, 0);
  const padding = (ALIGNMENT - (end % ALIGNMENT)) % ALIGNMENT;
  if (padding > 0) parts.push(new Uint8Array(padding));
  parts.push(bytes);
  const fields = { location: name, offset: String(end + padding), length: String(bytes.length) };
  return {
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(fields).map(([key, value]) => ({ key, value })),
  };
}

function attributeOf(name: string, value: AttributeValue): MessageInitShape<typeof AttributeProtoSchema> {
  const Type = AttributeProto_AttributeType;
  if (typeof value === 'number') return { name, type: Type.INT, i: BigInt(value) };
  if (typeof value === 'string') return { name, type: Type.STRING, s: encoder.encode(value) };
  if ('float' in value) return { name, type: Type.FLOAT, f: value.float };
  return { name, type: Type.INTS, ints: value.map(BigInt) };
}

function valueInfo(name: string, shape: readonly Dim[], type: number): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((size) =>
    typeof size === 'number'
      ? ({ value: { case: 'dimValue', value: BigInt(size) } } as const)
      : ({ value: { case: 'dimParam', value: size } } as const),
  );
  return { name, type: { value: { case: 'tensorType', value: { elemType: type, shape: { dim } } } } };
}
