import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { Builder, ByteBuffer } from 'flatbuffers';
import type { Backend } from '../../src/backend.js';
import { ThinferError } from '../../src/errors.js';
import { formats } from '../../src/formats/index.js';
import { type Graph, isLayer, type Node } from '../../src/graph/ir.js';
import { Model as Runnable } from '../../src/graph/model.js';
import { optimize } from '../../src/graph/passes/index.js';
import { concretize } from '../../src/graph/shapes.js';
import { elementType } from '../../src/graph/types.js';
import { ModelProtoSchema } from '../../src/onnx/generated/onnx_pb.js';
import { readOnnx } from '../../src/onnx/index.js';
import { writeOnnx } from '../../src/onnx/write/index.js';
import { readSafetensors, toWeights } from '../../src/safetensors/index.js';
import { readTflite } from '../../src/tflite/index.js';
import { readFixture, untarGzip } from './fixtures.js';
import { Model } from './generated/tflite_generated.js';
import { OnnxWriter } from './onnx-writer.js';
import { createRandom, normals, type Random } from './random.js';
import { safetensorsFile, writeSafetensors } from './safetensors-writer.js';
import { tfliteCases } from './tflite-cases.js';

/*
 * Valid files whose numbers, names, lists and bytes are changed a little: what comes back is an answer or a typed error.
 */

export type FuzzedFormat = 'onnx' | 'domain' | 'tflite' | 'safetensors';

/** One valid file to start from, as a tree of fields. */
interface Seed {
  name: string;
  /** A new tree each time, for it is changed. */
  parse(): object;
  /** Throws where the tree is nothing that can be written. */
  write(tree: object): Uint8Array;
}

/** A field or an element. */
interface Place {
  holder: Record<string, unknown>;
  key: string;
}

const MOST_PLACES = 5000;
/** Longer lists are data: they are changed as a whole. */
const LONGEST_LIST = 64;

function places(root: object): Place[] {
  const found: Place[] = [];
  const visit = (holder: object) => {
    for (const key of Object.keys(holder)) {
      const value = (holder as Record<string, unknown>)[key];
      if (key.startsWith('$') || typeof value === 'function' || found.length >= MOST_PLACES) continue;
      found.push({ holder: holder as Record<string, unknown>, key });
      const isData = ArrayBuffer.isView(value) || (Array.isArray(value) && value.length > LONGEST_LIST);
      if (typeof value === 'object' && value !== null && !isData) visit(value);
    }
  };
  visit(root);
  return found;
}

const NUMBERS = [
  0,
  1,
  -1,
  2,
  3,
  4,
  5,
  7,
  8,
  9,
  100,
  127,
  128,
  255,
  256,
  65535,
  65536,
  2 ** 30,
  2 ** 31 - 1,
  -(2 ** 31),
];
const LARGE = [2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];
const FLOATS = [0.5, 1e-30, 1e30, Number.NaN, Number.POSITIVE_INFINITY];

const pick = <T>(random: Random, list: readonly T[]): T => list[random.integer(0, list.length - 1)];

/** Another value of the same kind. */
function other(random: Random, value: unknown, all: readonly Place[]): unknown {
  switch (typeof value) {
    case 'number':
      return random.next() < 0.3 ? value + random.integer(-2, 2) : pick(random, random.next() < 0.8 ? NUMBERS : FLOATS);
    case 'bigint':
      return random.next() < 0.7 ? BigInt(pick(random, NUMBERS)) : pick(random, LARGE);
    case 'boolean':
      return !value;
    case 'string': {
      const { holder, key } = pick(random, all);
      return typeof holder[key] === 'string' ? holder[key] : pick(random, ['', '__proto__', `${value}x`]);
    }
    default:
      return Array.isArray(value) ? otherList(random, value) : otherObject(random, value, all);
  }
}

function otherList(random: Random, list: unknown[]): unknown[] {
  const at = random.integer(0, Math.max(list.length - 1, 0));
  switch (random.integer(0, 4)) {
    case 0:
      return list.filter((_, i) => i !== at);
    case 1:
      return [...list.slice(0, at), ...list.slice(at, at + 1), ...list.slice(at)];
    case 2:
      return list.toReversed();
    case 3:
      return [];
    default:
      return list.slice(0, at);
  }
}

function otherObject(random: Random, value: unknown, all: readonly Place[]): unknown {
  if (value instanceof Uint8Array) {
    const bytes = value.slice(0, random.next() < 0.5 ? value.length : random.integer(0, value.length));
    if (bytes.length > 0) bytes[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
    return bytes;
  }
  if (value === null || random.next() < 0.3) return null;
  // One of the same kind from elsewhere.
  const { holder, key } = pick(random, all);
  const like = holder[key];
  return typeof like === 'object' && like?.constructor === value?.constructor ? like : value;
}

/** Whether one object is another, or has it inside. Files can't be written of objects that hold themselves. */
const reaches = (from: unknown, to: object): boolean =>
  from === to ||
  (typeof from === 'object' &&
    from !== null &&
    !ArrayBuffer.isView(from) &&
    Object.values(from).some((value) => reaches(value, to)));

function mutate(random: Random, seed: Seed): Uint8Array | undefined {
  const tree = seed.parse();
  for (let changes = random.integer(1, 3); changes > 0; changes--) {
    const all = places(tree);
    if (all.length === 0) break;
    const { holder, key } = pick(random, all);
    const value = other(random, holder[key], all);
    if (!reaches(value, holder)) holder[key] = value;
  }
  let bytes: Uint8Array;
  try {
    bytes = seed.write(tree);
  } catch {
    return undefined;
  }
  if (random.next() < 0.2 && bytes.length > 0) {
    bytes = bytes.slice(0, random.next() < 0.3 ? random.integer(0, bytes.length) : bytes.length);
    for (let i = random.integer(1, 4); i > 0 && bytes.length > 0; i--) {
      bytes[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
    }
  }
  return bytes;
}

async function onnxSeeds(): Promise<Seed[]> {
  const files = await untarGzip(await readFixture('test/data/onnx-node.tar.gz'));
  return [...files]
    .filter(([name]) => name.endsWith('model.onnx'))
    .map(([name, bytes]) => ({
      name,
      parse: () => fromBinary(ModelProtoSchema, bytes),
      write: (tree) => toBinary(ModelProtoSchema, tree as never),
    }));
}

/** A convolution and a matrix with weights in each of our formats, as they are and Huffman-coded. */
function domainSeeds(): Seed[] {
  const writer = new OnnxWriter().input('x', ['N', 4, 5, 5]);
  const weights = (count: number) => normals(createRandom(count), count, 1).map((x, i) => (i % 4 < 2 ? 0 : x));
  writer.floats('w', [8, 4, 3, 3], weights(288)).floats('b', [8], weights(8)).floats('v', [72, 6], weights(432));
  writer.node('Conv', ['x', 'w', 'b'], ['a']).node('Flatten', ['a'], ['f']).node('Gemm', ['f', 'v'], ['y']).output('y');
  const graph = optimize(readOnnx(writer.bytes()));
  return Object.keys(formats).flatMap((format) => {
    const nodes = graph.nodes.map((node): Node => {
      if (!isLayer(node) || node.weights.format !== 'dense') return node;
      const { rows, cols, values } = node.weights;
      return { ...node, weights: formats[format as 'csr'].pack(values, { rows, cols }) };
    });
    return [false, true].map((huffman): Seed => {
      const bytes = writeOnnx({ ...graph, nodes }, { huffman });
      return {
        name: `${format} ${huffman}`,
        parse: () => fromBinary(ModelProtoSchema, bytes),
        write: (tree) => toBinary(ModelProtoSchema, tree as never),
      };
    });
  });
}

function tfliteSeeds(): Seed[] {
  return tfliteCases().map(({ name, bytes }) => ({
    name,
    parse: () => Model.getRootAsModel(new ByteBuffer(bytes)).unpack(),
    write(tree) {
      const builder = new Builder(1024);
      builder.finish((tree as { pack(builder: Builder): number }).pack(builder), 'TFL3');
      return builder.asUint8Array().slice();
    },
  }));
}

function safetensorsSeeds(): Seed[] {
  const f32 = (shape: number[]) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i + 1);
    return { type: 'F32' as const, shape, data };
  };
  const i64 = (...sizes: number[]) => {
    return { type: 'I64' as const, shape: [sizes.length], data: BigInt64Array.from(sizes, BigInt) };
  };
  const layers = {
    packed: {
      'l.weight_packed': { type: 'I32' as const, shape: [2, 4], data: new Int32Array(8).fill(0x12345678) },
      'l.weight_scale': f32([2, 2]),
      'l.weight_zero_point': { type: 'I32' as const, shape: [1, 2], data: new Int32Array(2) },
      'l.weight_shape': i64(2, 32),
    },
    int8: {
      'l.weight': { type: 'I8' as const, shape: [2, 3], data: new Int8Array(6).fill(5) },
      'l.weight_scale': f32([2, 1]),
    },
    bitmask: {
      'l.shape': i64(2, 8),
      'l.bitmask': { type: 'U8' as const, shape: [2, 1], data: Uint8Array.of(0b10100101, 0b00011) },
      'l.compressed': f32([6]),
      'l.row_offsets': i64(0, 4),
    },
  };
  return Object.entries(layers).map(([name, tensors]) => {
    const bytes = writeSafetensors(tensors);
    const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = new TextDecoder().decode(bytes.subarray(8, start));
    return {
      name,
      parse: () => ({ header: JSON.parse(header), data: bytes.slice(start) }),
      write(tree) {
        const { header, data } = tree as { header: unknown; data: Uint8Array };
        return safetensorsFile(JSON.stringify(header), data);
      },
    };
  });
}

/** Work that a case may ask for before it is left unrun. */
const MOST_ELEMENTS = 1 << 18;

/** Runs a graph with small numbers where it is small; its outputs have the shapes that were inferred. */
async function runGraph(graph: Graph, backend: Backend): Promise<void> {
  const inputs: Record<string, { shape: number[]; data: Float32Array | Int8Array | Uint8Array | Int32Array }> = {};
  const shapes = new Map<number, readonly number[]>();
  const kinds = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array, int32: Int32Array };
  for (const { name, value } of graph.inputs) {
    const shape = graph.values.get(value)!.shape.map((dim) => (typeof dim === 'number' ? dim : 2));
    const size = shape.reduce((a, b) => a * b, 1);
    if (size > MOST_ELEMENTS) return;
    shapes.set(value, shape);
    const data = new kinds[elementType(graph.values.get(value)!)](size);
    for (let i = 0; i < size; i++) data[i] = i % 3;
    inputs[name] = { shape, data };
  }
  const concrete = concretize(graph, shapes);
  const elements = [...concrete.shapes.values()].reduce((sum, dims) => sum + dims.reduce((a, b) => a * b, 1), 0);
  if (elements > MOST_ELEMENTS) return;
  const model = await Runnable.create({ backends: [backend] }, graph);
  try {
    const outputs = await model.run(inputs);
    for (const { name, value } of graph.outputs) {
      const wanted = concrete.shapes.get(value)!;
      const got = outputs[name].shape;
      if (got.join() !== wanted.join()) throw new Error(`${name} has the shape [${got}], not [${wanted}]`);
    }
  } finally {
    model.free();
  }
}

const CODES = ['bad-model', 'unsupported', 'bad-weights', 'bad-shape', 'no-kernel', 'bad-argument', 'out-of-memory'];

/** Files of one format, changed, each by its number. */
export class Fuzzer {
  readonly #format: FuzzedFormat;
  readonly #seeds: Seed[];
  readonly #backend: Backend;

  private constructor(format: FuzzedFormat, seeds: Seed[], backend: Backend) {
    this.#format = format;
    this.#seeds = seeds;
    this.#backend = backend;
  }

  static async create(format: FuzzedFormat, backend: Backend): Promise<Fuzzer> {
    const seeds = { onnx: onnxSeeds, domain: domainSeeds, tflite: tfliteSeeds, safetensors: safetensorsSeeds };
    return new Fuzzer(format, await seeds[format](), backend);
  }

  /**
   * @returns what came of it; undefined for a change that can't be written
   * @throws what is no ThinferError, with the file's name
   */
  async attempt(random: Random): Promise<'answer' | 'refused' | undefined> {
    const seed = pick(random, this.#seeds);
    const bytes = mutate(random, seed);
    if (!bytes) return undefined;
    try {
      await this.#read(bytes);
      return 'answer';
    } catch (error) {
      if (error instanceof ThinferError && CODES.includes(error.code)) return 'refused';
      throw new Error(`${this.#format} ${seed.name}: ${error instanceof Error ? error.stack : error}`, {
        cause: error,
      });
    }
  }

  async #read(bytes: Uint8Array): Promise<void> {
    if (this.#format === 'safetensors') {
      const bag = readSafetensors(bytes);
      for (const tensor of bag.tensors.values()) if (tensor.data.byteLength > bytes.length) throw new Error('too long');
      toWeights(bag, 'l');
      return;
    }
    await runGraph(this.#format === 'tflite' ? readTflite(bytes) : readOnnx(bytes), this.#backend);
  }
}
