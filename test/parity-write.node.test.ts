// Files that the writer makes, run by onnxruntime-web: what it writes in ONNX's own operators means there what it means here.
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type FormatName, formats } from '../src/formats/index.js';
import { type Graph, isLayer, type Node } from '../src/graph/ir.js';
import { Model } from '../src/graph/model.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { type WriteOptions, writeOnnx } from '../src/onnx/write/index.js';
import { createRuntime } from '../src/runtime.js';
import { readTflite } from '../src/tflite/index.js';
import { readFashion, readFixture, untarGzip } from './support/fixtures.js';
import { readNodeTest } from './support/onnx-node.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';
import { tfliteFiles } from './support/tflite-files.js';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

const parity = suite('onnx writer: parity with onnxruntime-web');

type Arrays = Record<string, { shape: readonly number[]; data: Float32Array | Int8Array | Uint8Array | Int32Array }>;

const TYPES = { Float32Array: 'float32', Int8Array: 'int8', Uint8Array: 'uint8', Int32Array: 'int32' } as const;

async function theirs(bytes: Uint8Array, inputs: Arrays): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(bytes);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, data }]) => {
      const wanted = session.inputMetadata.find((meta) => meta.name === name);
      const type = wanted?.isTensor ? wanted.type : 'float32';
      if (type === 'int64')
        return [
          name,
          new ort.Tensor(
            'int64',
            BigInt64Array.from(data, (x) => BigInt(x)),
            shape,
          ),
        ];
      return [name, new ort.Tensor(TYPES[data.constructor.name as keyof typeof TYPES], data as never, shape)];
    }),
  );
  const outputs = await session.run(feeds);
  await session.release();
  return outputs as Record<string, ort.Tensor>;
}

/** Runs the graph here and what is written of it there. */
async function agree(graph: Graph, inputs: Arrays, { relative = 2e-5, codes = 0, ...options }: Limits = {}) {
  const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] });
  const model = await Model.create(runtime, graph);
  const ours = await model.run(inputs as never);
  const answers = await theirs(writeOnnx(graph, options), inputs);
  for (const [name, { shape, data }] of Object.entries(ours)) {
    assert.equal([...answers[name].dims], [...shape], name);
    const got = Float64Array.from(answers[name].data as ArrayLike<number | bigint>, Number);
    const magnitude = got.reduce((most, x) => Math.max(most, Number.isFinite(x) ? Math.abs(x) : 0), 1);
    const allowed = data instanceof Float32Array ? relative * magnitude : codes;
    const wrong = got.findIndex(
      (x, i) => !(Object.is(x, data[i]) || x === data[i] || Math.abs(x - data[i]) <= allowed),
    );
    if (wrong >= 0) assert.unreachable(`${name}[${wrong}] = ${data[wrong]} here, ${got[wrong]} there`);
  }
  model.free();
  runtime.free();
}

interface Limits extends WriteOptions {
  /** Of the largest number: sums in another order. */
  relative?: number;
  codes?: number;
}

for (const name of ['float', 'pruned90', 'student']) {
  parity(`fashion_${name}`, async () => {
    const { images } = await readFashion(16);
    const graph = optimize(readOnnx(await readFixture(`models/fashion_${name}.onnx`)));
    await agree(graph, { image: { shape: [16, 1, 28, 28], data: images } });
  });
}

parity('the files of TFLite', async () => {
  for (const { name, bytes, inputs } of (await tfliteFiles(readFixture)).filter(({ name }) => name.endsWith(' 2'))) {
    // Its convolutions quantise f32 activations here, which no standard operator does in the same way.
    if (name.startsWith('kws_dscnn_f32')) continue;
    const graph = optimize(readTflite(bytes));
    const [{ shape, data }] = inputs;
    // Sums of codes are rounded by LiteRT in fixed point and by onnxruntime in f32, each layer by one at most.
    const limits = { portable: true, codes: 3 };
    await agree(graph, { [graph.inputs[0].name]: { shape, data: data as Float32Array } }, limits);
  }
});

parity('every graph of the ONNX node tests, optimised and written, gives the outputs of the ONNX project', async () => {
  const files = await untarGzip(await readFixture('test/data/onnx-node.tar.gz'));
  const names = [...files.keys()].filter((path) => path.endsWith('/model.onnx')).map((path) => path.split('/')[0]);
  const wrong: string[] = [];
  for (const name of names) {
    const { bytes, inputs, outputs } = readNodeTest((file) => files.get(`${name}/${file}`)!);
    try {
      const answers = await theirs(writeOnnx(optimize(readOnnx(bytes))), inputs as Arrays);
      for (const { name: output, shape, data } of outputs) {
        const got = Float64Array.from(answers[output].data as ArrayLike<number | bigint>, Number);
        assert.equal([...answers[output].dims], shape);
        const differs = (x: number, i: number) =>
          !Object.is(x, got[i]) && x !== got[i] && !(Math.abs(x - got[i]) <= 1e-4 * (1 + Math.abs(x)));
        assert.is(data.findIndex(differs), -1, output);
      }
    } catch (error) {
      wrong.push(`${name}: ${error}`);
    }
  }
  assert.equal(wrong, []);
  assert.ok(names.length > 400);
});

/** A convolution, one in groups, and a matrix, their weights in a format that ONNX has. */
function network(pack: (node: Node & { op: 'conv2d' | 'linear' }) => Node): Graph {
  const random = createRandom(6);
  const writer = new OnnxWriter(13).input('x', ['N', 4, 8, 7]);
  const weights = (name: string, ...dims: number[]) => {
    const count = dims.reduce((a, b) => a * b, 1);
    writer.floats(
      name,
      dims,
      normals(random, count, 0.3).map((x, i) => (i % 3 === 0 ? x : 0)),
    );
    return name;
  };
  writer.node('Conv', ['x', weights('w1', 16, 4, 3, 3), weights('b1', 16)], ['a'], { pads: [1, 1, 1, 1] });
  writer.node('Relu', ['a'], ['b']).node('Conv', ['b', weights('w2', 16, 8, 3, 3)], ['c'], { group: 2 });
  writer.node('Sigmoid', ['c'], ['s']).node('Mul', ['c', 's'], ['d']).node('Flatten', ['d'], ['e']);
  writer.node('Gemm', ['e', weights('w3', 480, 12), weights('b3', 12)], ['y']).output('y');
  const graph = optimize(readOnnx(writer.bytes()));
  return { ...graph, nodes: graph.nodes.map((node) => (isLayer(node) ? pack(node) : node)) };
}

/**
 * Formats of 8-bit arithmetic quantise activations here; there they are f32: what differs is their rounding to 255 steps, in
 * three layers.
 */
const STANDARD: [format: FormatName, options: object, relative: number][] = [
  ['f16', {}, 1e-5],
  ['csr', {}, 1e-5],
  ['int8', {}, 0.03],
  ['int8', { symmetric: false }, 0.03],
  ['int8', { perChannel: false }, 0.03],
];

for (const [format, options, relative] of STANDARD) {
  parity(`${format} ${JSON.stringify(options)}`, async () => {
    const graph = network((node) => {
      const { rows, cols } = node.weights;
      if (node.weights.format !== 'dense') return node;
      return { ...node, weights: formats[format].pack(node.weights.values, { rows, cols, ...options } as never) };
    });
    await agree(graph, { x: { shape: [3, 4, 8, 7], data: normals(createRandom(2), 672) } }, { relative });
  });
}

for (const [format, groupSize] of [
  ['int4', 32],
  ['int4', 480],
  ['int4', 128],
  ['int2', 32],
] as const) {
  parity(`${format} in groups of ${groupSize}`, async () => {
    const graph = network((node) => {
      const { rows, cols } = node.weights;
      // Groups of a convolution are in our own domain.
      if (node.weights.format !== 'dense' || node.op === 'conv2d') return node;
      return { ...node, weights: formats[format].pack(node.weights.values, { rows, cols, groupSize }) };
    });
    await agree(graph, { x: { shape: [3, 4, 8, 7], data: normals(createRandom(2), 672) } }, { relative: 0.03 });
  });
}

parity.run();
