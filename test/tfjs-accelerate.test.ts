// accelerate: what is replaced, what is left alone, and what happens to a model afterwards.

import { loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ThinferError } from '../src/index.js';
import { hostNow } from '../src/tfjs/host.js';
import { type AccelerateOptions, accelerate, interceptKernels, keepCodes } from '../src/tfjs/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, normals } from './support/random.js';
import { BACKENDS, distance, GraphWriter, mobileNet, randomise, useBackend, windowAttributes } from './support/tfjs.js';

const CLOSE = 1e-5;
const wasm = { threads: 1 };

type Predicts = { predict(x: tf.Tensor): unknown };

async function predict(model: Predicts, x: tf.Tensor): Promise<Float32Array> {
  const y = model.predict(x) as tf.Tensor;
  const data = (await y.data()) as Float32Array;
  y.dispose();
  return data;
}

const numbers = (shape: number[], seed = 3) =>
  tf.tensor(
    normals(
      createRandom(seed),
      shape.reduce((product, dim) => product * dim, 1),
    ),
    shape,
  );

async function failure(work: Promise<unknown>): Promise<ThinferError> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, ThinferError);
    return error as ThinferError;
  }
  throw new Error('expected a ThinferError');
}

/** A bit of everything that is replaced. */
function mixed(): tfl.LayersModel {
  const input = tfl.input({ shape: [9, 8, 12] });
  const a = tfl.layers
    .separableConv2d({ filters: 12, kernelSize: 3, padding: 'same', activation: 'tanh', name: 'sep' })
    .apply(input);
  const b = tfl.layers
    .conv2d({ filters: 12, kernelSize: [3, 2], dilationRate: 2, padding: 'same', activation: 'elu', name: 'dilated' })
    .apply(input);
  const sum = tfl.layers.add().apply([a, b] as tfl.SymbolicTensor[]);
  const c = tfl.layers
    .conv2d({ filters: 5, kernelSize: 1, strides: 2, name: 'narrow' })
    .apply(sum) as tfl.SymbolicTensor;
  const norm = tfl.layers.batchNormalization({ name: 'norm' }).apply(c) as tfl.SymbolicTensor;
  const flat = tfl.layers.reshape({ targetShape: [20, 5] }).apply(norm);
  const d = tfl.layers
    .conv1d({ filters: 7, kernelSize: 3, strides: 2, activation: 'sigmoid', name: 'conv1d' })
    .apply(flat);
  const e = tfl.layers.dense({ units: 4, activation: 'swish', name: 'rows' }).apply(d);
  const f = tfl.layers.flatten().apply(e);
  const output = tfl.layers.dense({ units: 3, activation: 'softmax', name: 'head' }).apply(f) as tfl.SymbolicTensor;
  const model = tfl.model({ inputs: input, outputs: output });
  randomise(model, 4);
  return model;
}

/** A model accelerated, after its own answer. */
async function both(model: tfl.LayersModel, x: tf.Tensor, options: AccelerateOptions = {}) {
  const expected = await predict(model, x);
  const result = await accelerate(model, { tune: 'off', wasm, ...options });
  return { ...result, expected };
}

for (const backend of BACKENDS) {
  const why = await useBackend(backend);
  if (backend === 'webgpu' && !requireCapability('tfjs on webgpu', why === undefined, why ?? '')) continue;
  const test = suite(`accelerate on ${backend}`);
  test.before.each(async () => assert.is(await useBackend(backend), undefined));

  test('layers of all kinds, at several batch sizes', async () => {
    const model = mixed();
    const x = numbers([3, 9, 8, 12]);
    const { report, expected } = await both(model, x);
    assert.equal(report.kept, []);
    assert.equal(
      report.replaced.map(({ name, op }) => `${name} ${op}`),
      [
        'sep SeparableConv2D',
        'sep SeparableConv2D',
        'dilated Conv2D',
        'narrow Conv2D',
        'conv1d Conv1D',
        'rows Dense',
        'head Dense',
      ],
    );
    assert.equal(report.replaced[3].absorbed, ['norm']);
    assert.equal(report.notes, []);
    assert.ok(distance(await predict(model, x), expected) < CLOSE);
    const one = tf.slice(x, [0, 0, 0, 0], [1, 9, 8, 12]);
    assert.ok(distance(await predict(model, one), expected.slice(0, 3)) < CLOSE);
    tf.dispose([x, one]);
    model.dispose();
  });

  test('int8, csr and others by name; weights of zeros become csr by themselves', async () => {
    const model = mixed();
    randomise(model, 4, 0.2);
    const x = numbers([3, 9, 8, 12]);
    const formats = { '*': 'int8', head: { format: 'csr' }, dilated: 'auto', narrow: 'codebook' } as const;
    const { report, expected } = await both(model, x, { formats });
    const formatOf = (name: string) => report.replaced.findLast((row) => row.name === name)!.format;
    // Of the depthwise half of it.
    assert.is(report.replaced[0].format, 'dense');
    assert.equal(['sep', 'dilated', 'narrow', 'conv1d', 'head'].map(formatOf), [
      'int8',
      'csr',
      'codebook',
      'int8',
      'csr',
    ]);
    for (const { bytes, denseBytes, name } of report.replaced) if (name === 'dilated') assert.ok(bytes < denseBytes);
    assert.ok(distance(await predict(model, x), expected) < 0.2);
    x.dispose();
    model.dispose();
  });

  test('new weights are multiplied by tfjs, with all that was folded', async () => {
    const model = mixed();
    const x = numbers([2, 9, 8, 12]);
    const { unaccelerate } = await both(model, x);
    const layer = model.getLayer('norm');
    const changed = layer.getWeights().map((tensor) => tf.add(tensor, 0.25));
    layer.setWeights(changed);
    const actual = await predict(model, x);
    unaccelerate();
    const expected = await predict(model, x);
    assert.ok(distance(actual, expected) < CLOSE);
    tf.dispose([x, ...changed]);
    model.dispose();
  });

  test('1,000 predictions leave nothing behind', async () => {
    const model = tfl.sequential();
    model.add(tfl.layers.conv2d({ filters: 6, kernelSize: 3, activation: 'relu', inputShape: [6, 6, 2] }));
    model.add(tfl.layers.maxPooling2d({ poolSize: 2 }));
    model.add(tfl.layers.conv2d({ filters: 6, kernelSize: 1 }));
    model.add(tfl.layers.flatten());
    model.add(tfl.layers.dense({ units: 3 }));
    const before = { ...tf.memory() };
    const { expected } = await both(
      model,
      tf.tidy(() => tf.keep(numbers([1, 6, 6, 2]))),
    );
    const host = hostNow(tf.engine().backend)!;
    const [{ memory }] = host.runtime.backends;
    const values = normals(createRandom(3), 72);
    const once = () => tf.tidy(() => void model.predict(tf.tensor(values, [1, 6, 6, 2])));
    for (let i = 0; i < 10; i++) once();
    const [tensors, bytes] = [{ ...tf.memory() }, memory.bytes];
    for (let i = 0; i < 1000; i++) once();
    assert.is(tf.memory().numTensors, tensors.numTensors);
    assert.is(tf.memory().numDataBuffers, tensors.numDataBuffers);
    assert.is(tf.memory().numBytes, tensors.numBytes);
    host.flush();
    assert.is(host.runtime.backends[0].memory.bytes, bytes);
    const x = tf.tensor(values, [1, 6, 6, 2]);
    assert.ok(distance(await predict(model, x), expected) < CLOSE);
    x.dispose();
    model.dispose();
    // The kept input is all that is more, the model's weights all that is less.
    assert.is(tf.memory().numTensors, before.numTensors - 6 + 1);
    tf.engine().disposeVariables();
  });

  // SwiftShader would compile for seconds.
  if (backend !== 'webgpu')
    test('where our kernels can not run at the moment, tfjs computes the same from the packed weights', async () => {
      const model = mobileNet({ size: 32, alpha: 0.25, classes: 4 });
      randomise(model);
      const other = mixed();
      const [x, y] = [numbers([1, 32, 32, 3]), numbers([2, 9, 8, 12])];
      const { expected } = await both(model, x);
      const { expected: wanted } = await both(other, y);
      const host = hostNow(tf.engine().backend)!;
      const { run } = host;
      let asked = 0;
      host.run = () => {
        asked++;
        return undefined;
      };
      assert.ok(distance(await predict(model, x), expected) < CLOSE);
      assert.ok(distance(await predict(other, y), wanted) < CLOSE);
      assert.is(asked, 28 + 7);
      host.run = run;
      tf.dispose([x, y]);
      model.dispose();
      other.dispose();
    });

  test('timed on the device', async () => {
    const model = tfl.sequential({ layers: [tfl.layers.dense({ units: 8, inputShape: [24], name: 'only' })] });
    const x = numbers([3, 24]);
    const { expected, report } = await both(model, x, { tune: 'quick', shapes: [3, 24] });
    assert.equal(report.notes, []);
    assert.ok(distance(await predict(model, x), expected) < CLOSE);
    x.dispose();
    model.dispose();
  });

  test('the backend is as it was once the last model is gone', () => {
    const { backend } = tf.engine();
    assert.ok(!hostNow(backend));
    assert.not.ok(Object.hasOwn(backend, 'disposeData'));
  });

  test.run();
}

const test = suite('accelerate');
test.before.each(async () => assert.is(await useBackend('wasm'), undefined));

test('another model that shares layers is not changed; nor is training', async () => {
  const model = mixed();
  const x = numbers([2, 9, 8, 12]);
  const narrow = tfl.model({ inputs: model.inputs, outputs: model.getLayer('narrow').output as tfl.SymbolicTensor });
  const features = await predict(narrow, x);
  const { unaccelerate } = await both(model, x);
  assert.is(distance(await predict(narrow, x), features), 0);
  const { kernelNames } = await tf.profile(() => narrow.predict(x) as tf.Tensor);
  assert.not.ok(kernelNames.includes('ThinferOperator'));
  const y = tf.zeros([2, 3]);
  model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
  assert.type(model.evaluate(x, y) as tf.Scalar, 'object');
  unaccelerate();
  tf.dispose([x, y]);
  model.dispose();
});

test('models in models, outputs in the middle, several inputs', async () => {
  const inner = tfl.sequential({ name: 'inner' });
  inner.add(tfl.layers.conv2d({ filters: 4, kernelSize: 3, padding: 'same', inputShape: [6, 6, 3], name: 'first' }));
  const [a, b] = [tfl.input({ shape: [6, 6, 3] }), tfl.input({ shape: [4] })];
  const shared = tfl.layers.dense({ units: 5, name: 'shared' });
  const image = inner.apply(a) as tfl.SymbolicTensor;
  const relu = tfl.layers.reLU({ name: 'relu' }).apply(image);
  const pooled = tfl.layers.globalAveragePooling2d({}).apply(relu) as tfl.SymbolicTensor;
  const [one, two] = [shared.apply(pooled), shared.apply(b)] as tfl.SymbolicTensor[];
  const sum = tfl.layers.add().apply([one, two]) as tfl.SymbolicTensor;
  const model = tfl.model({ inputs: [a, b], outputs: [image, sum] });
  randomise(model, 2);
  const inputs = [numbers([2, 6, 6, 3]), numbers([2, 4])];
  const run = async () => {
    const outputs = model.predict(inputs) as tf.Tensor[];
    const data = await Promise.all(outputs.map((y) => y.data()));
    tf.dispose(outputs);
    return data;
  };
  const expected = await run();
  const { report } = await accelerate(model, { tune: 'off', wasm });
  assert.equal(
    report.replaced.map(({ name, absorbed }) => [name, absorbed.join()]),
    [
      ['first', ''],
      ['shared', ''],
    ],
  );
  for (const [i, data] of (await run()).entries()) assert.ok(distance(data, expected[i]) < CLOSE);
  tf.dispose(inputs);
  model.dispose();
});

for (const backend of ['wasm', 'cpu'] as const)
  test(`a graph on ${backend}: folded, open in the middle, with reasons`, async () => {
    assert.is(await useBackend(backend), undefined);
    const graph = new GraphWriter();
    const random = createRandom(8);
    const constant = (name: string, shape: number[], positive = false) => {
      const values = normals(
        random,
        shape.reduce((product, dim) => product * dim, 1),
        0.4,
      );
      return graph.constant(name, shape, positive ? values.map((v) => Math.abs(v) + 0.5) : values);
    };
    const x = graph.input('x', [-1, 7, 7, 3]);
    const conv = graph.node('conv', 'Conv2D', [x, constant('w', [3, 3, 3, 8])], windowAttributes(2, 'SAME'));
    const statistics = [
      constant('gamma', [8]),
      constant('beta', [8]),
      constant('mean', [8]),
      constant('variance', [8], true),
    ];
    const norm = graph.node('norm', 'FusedBatchNormV3', [conv, ...statistics], {
      epsilon: { f: 0.01 },
      is_training: { b: false },
    });
    const relu = graph.node('relu', 'Relu', [norm]);
    const explicit = {
      ...windowAttributes(1, 'VALID'),
      padding: { s: btoa('EXPLICIT') },
      explicit_paddings: { list: { i: [0, 0, 1, 0, 0, 2, 0, 0].map(String) } },
    };
    const padded = graph.node('padded', 'Conv2D', [relu, constant('v', [2, 3, 8, 4])], explicit);
    const flat = graph.node('flat', 'Reshape', [padded, graph.constant('shape', [2], Int32Array.of(-1, 16))]);
    // The wasm backend of tfjs computes something else than its cpu backend where it transposes and adds a bias.
    const transpose_b = { b: backend === 'cpu' };
    const product = graph.fused(
      'product',
      '_FusedMatMul',
      [flat, constant('m', transpose_b.b ? [10, 16] : [16, 10]), constant('c', [10])],
      ['BiasAdd', 'Sigmoid'],
      { transpose_b, transpose_a: { b: false } },
    );
    graph.node('pairs', 'MatMul', [product, product], { transpose_b: { b: true }, transpose_a: { b: false } });
    const model = await loadGraphModel(graph.handler());
    const image = numbers([2, 7, 7, 3]);
    const run = async () => {
      const outputs = model.execute(image, ['pairs', 'product', 'conv', 'relu']) as tf.Tensor[];
      const data = await Promise.all(outputs.map((y) => y.data()));
      tf.dispose(outputs);
      return data;
    };
    const expected = await run();
    const { report, unaccelerate } = await accelerate(model, { tune: 'quick', wasm });
    assert.equal(
      report.replaced.map(({ name, absorbed }) => [name, ...absorbed]),
      [['conv', 'norm', 'relu'], ['padded'], ['product']],
    );
    assert.equal(report.kept, [{ name: 'pairs', op: 'MatMul', why: 'weights are computed' }]);
    for (const [i, data] of (await run()).entries()) assert.ok(distance(data, expected[i]) < CLOSE, `output ${i}`);
    const { kernelNames } = await tf.profile(() => model.predict(image) as tf.Tensor);
    assert.not.ok(
      kernelNames.some((name) => /Conv|Norm|Fused/.test(name)),
      kernelNames.join(),
    );
    unaccelerate();
    for (const [i, data] of (await run()).entries()) assert.is(distance(data, expected[i]), 0);
    image.dispose();
    model.dispose();
  });

test('codes of a converted model stay codes', async () => {
  const random = createRandom(9);
  const graph = new GraphWriter();
  const x = graph.input('x', [-1, 8, 8, 16]);
  const codes = Uint8Array.from({ length: 3 * 3 * 16 * 12 }, () => random.integer(0, 255));
  const scale = Math.fround(0.013);
  const w = graph.quantized('w', [3, 3, 16, 12], codes, { dtype: 'uint8', scale, min: -117 * scale });
  const conv = graph.node('conv', 'Conv2D', [x, w], windowAttributes(1, 'SAME'));
  const statistics = ['g', 'b', 'm', 'v'].map((name) =>
    graph.constant(
      name,
      [12],
      Float32Array.from({ length: 12 }, () => 0.5 + random.next()),
    ),
  );
  const norm = graph.node('norm', 'FusedBatchNormV3', [conv, ...statistics], {
    epsilon: { f: 0.01 },
    is_training: { b: false },
  });
  const wide = Uint16Array.from({ length: 12 * 20 }, () => random.integer(0, 65535));
  const quantized = graph.quantized('m16', [1, 1, 12, 20], wide, { dtype: 'uint16', scale: 1e-4, min: -3 });
  graph.node('wide', 'Conv2D', [norm, quantized], windowAttributes(1, 'SAME'));
  const handler = keepCodes(graph.handler());
  const model = await loadGraphModel(handler);
  assert.equal([...handler.codes.keys()], ['w']);
  const image = numbers([1, 8, 8, 16]);
  const expected = await predict(model as never, image);
  const { report } = await accelerate(model, { tune: 'off', wasm, codes: handler });
  assert.equal(
    report.replaced.map(({ format }) => format),
    ['int8', 'dense'],
  );
  assert.ok(report.replaced[0].bytes < 0.3 * report.replaced[0].denseBytes);
  // Activations are rounded to 8 bits, the weights are as they were.
  assert.ok(distance(await predict(model as never, image), expected) < 0.02);
  image.dispose();
  model.dispose();
});

test('codes of a layers model, sharded', async () => {
  const plain = tfl.sequential({
    layers: [
      tfl.layers.dense({ units: 6, inputShape: [20], activation: 'relu', name: 'a' }),
      tfl.layers.dense({ units: 5, name: 'b' }),
    ],
  });
  randomise(plain);
  let saved: tf.io.ModelArtifacts | undefined;
  const keep = async (artifacts: tf.io.ModelArtifacts) => {
    saved = artifacts;
    return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
  };
  await plain.save(tf.io.withSaveHandler(keep));
  const { weightSpecs, weightData } = saved!;
  const bytes = new Uint8Array(weightData as ArrayBuffer);
  const random = createRandom(1);
  const codes = Uint8Array.from({ length: 20 * 6 }, () => random.integer(0, 255));
  const quantization = { dtype: 'uint8', scale: 0.01, min: -1.28 } as const;
  const handler = keepCodes({
    load: async () => ({
      ...saved,
      weightSpecs: [{ ...weightSpecs![0], quantization }, ...weightSpecs!.slice(1)],
      weightData: [codes.slice(0, 50).buffer, codes.slice(50).buffer, bytes.slice(4 * codes.length).buffer],
    }),
  });
  const model = await tfl.loadLayersModel(handler);
  const x = numbers([3, 20]);
  const { report, expected } = await both(model, x, { codes: handler });
  assert.equal(
    report.replaced.map(({ format }) => format),
    ['int8', 'dense'],
  );
  assert.ok(distance(await predict(model, x), expected) < 0.02);
  x.dispose();
  plain.dispose();
  model.dispose();
});

test('between layers of ours nothing goes through the memory of tfjs', async () => {
  const model = mobileNet({ size: 32, alpha: 0.25, classes: 4 });
  const { unaccelerate } = await accelerate(model, { tune: 'off', wasm });
  const { wasm: module } = tf.engine().backend as unknown as { wasm: { _malloc(bytes: number): number } };
  const x = numbers([1, 32, 32, 3]);
  const malloc = module._malloc;
  const sizes: number[] = [];
  module._malloc = (bytes) => {
    sizes.push(bytes);
    return malloc(bytes);
  };
  tf.dispose(model.predict(x) as tf.Tensor);
  module._malloc = malloc;
  // The slice of the batch; the last convolution's output for the pooling, its sums; the classifier's; softmax and a copy.
  assert.ok(sizes.length <= 8, sizes.join());
  x.dispose();
  // On another backend tfjs computes.
  const y = numbers([1, 32, 32, 3]);
  const expected = await predict(model, y);
  assert.is(await useBackend('cpu'), undefined);
  const { kernelNames } = await tf.profile(() => model.predict(y) as tf.Tensor);
  assert.not.ok(kernelNames.includes('ThinferOperator'));
  assert.ok(distance(await predict(model, y), expected) < CLOSE);
  assert.is(await useBackend('wasm'), undefined);
  assert.ok(distance(await predict(model, y), expected) < CLOSE);
  y.dispose();
  unaccelerate();
  model.dispose();
});

test('kernels are timed ahead where shapes are known, and what is wrong is refused', async () => {
  const model = mobileNet({ size: 32, alpha: 0.25, classes: 4 });
  randomise(model);
  const { report, unaccelerate } = await accelerate(model, { tune: 'quick', wasm });
  assert.equal(report.notes, []);
  assert.match(report.device, /wasm/);
  unaccelerate();
  unaccelerate();
  assert.match((await failure(accelerate(model, { formats: { nobody: 'csr' } }))).message, /nobody/);
  assert.match((await failure(accelerate(model, { formats: { '*': 'csv' as never } }))).message, /csv|csr/);
  assert.match((await failure(accelerate({} as never))).message, /LayersModel/);
  assert.match((await failure(accelerate(model, { tune: 'never' as never }))).message, /tune/);
  assert.match(
    (
      await failure(
        accelerate(model, {
          shapes: [
            [1, 2],
            [3, 4],
          ],
        }),
      )
    ).message,
    /shape/,
  );
  model.dispose();
});

test('calls of tf.matMul and tf.conv2d with chosen weights', async () => {
  const x = numbers([4, 30]);
  const [w, other] = [numbers([30, 7], 4), numbers([30, 7], 5)];
  const expected = await tf.matMul(x, w).data();
  const calls: (string | undefined)[] = [];
  const restore = await interceptKernels({
    accepts: ({ dataId }) => dataId === w.dataId,
    wasm,
    onCall: (_, why) => calls.push(why),
  });
  assert.ok(distance(await tf.matMul(x, w).data(), expected) < CLOSE);
  tf.matMul(x, other);
  assert.equal(calls, [undefined, 'not accepted']);
  restore();
  assert.is(distance(await tf.matMul(x, w).data(), expected), 0);
  tf.dispose([x, w, other]);
});

test.run();
