// Files that the writer makes, run by onnxruntime-web: what it writes in ONNX's own operators means there what it means here.
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formats } from '../src/formats/index.js';
import { type Graph, isLayer, type Node } from '../src/graph/ir.js';
import { Model } from '../src/graph/model.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { type WriteOptions, writeOnnx, writeOnnxFiles } from '../src/onnx/write/index.js';
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
      if (type === 'int64') return [name, new ort.Tensor('int64', BigInt64Array.from(data, (x) => BigInt(x)), shape)];
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
    const wrong = got.findIndex((x, i) => !(Object.is(x, data[i]) || x === data[i] || Math.abs(x - data[i]) <= allowed));
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

parity.run();
