// thinDense, thinConv2D, thinDepthwiseConv2D: layers of tfjs over packed weights.

import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { csr, int8, ThinferError } from '../src/index.js';
import {
  type FormatSpec,
  thinConv2D,
  thinDense,
  thinDepthwiseConv2D,
  thinModel,
  thinReady,
} from '../src/tfjs/index.js';
import { readWeights, writeWeights } from '../src/tfjs/serial.js';
import { requireCapability } from './support/capability.js';
import { PACKERS } from './support/formats.js';
import { createRandom, normals } from './support/random.js';
import { BACKENDS, distance, useBackend } from './support/tfjs.js';

const random = createRandom(5);
const conv = normals(random, 3 * 3 * 3 * 8, 0.3);
const depthwise = normals(random, 3 * 3 * 8 * 2, 0.3);
const dense = normals(random, 5 * 5 * 16 * 10, 0.1);
const biases = { conv: normals(random, 8), depthwise: normals(random, 16), dense: normals(random, 10) };

/** The same network of tfjs's layers. */
function plainModel(): tfl.LayersModel {
  const model = tfl.sequential();
  model.add(
    tfl.layers.conv2d({
      filters: 8,
      kernelSize: 3,
      strides: 2,
      padding: 'same',
      activation: 'relu',
      inputShape: [10, 10, 3],
    }),
  );
  model.add(tfl.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, padding: 'same', activation: 'elu' }));
  model.add(tfl.layers.flatten());
  model.add(tfl.layers.dense({ units: 10, activation: 'softmax' }));
  const weights = [
    tf.tensor4d(conv, [3, 3, 3, 8]),
    tf.tensor1d(biases.conv),
    tf.tensor4d(depthwise, [3, 3, 8, 2]),
    tf.tensor1d(biases.depthwise),
    tf.tensor2d(dense, [400, 10]),
    tf.tensor1d(biases.dense),
  ];
  model.setWeights(weights);
  tf.dispose(weights);
  return model;
}

function ofThinLayers(format: FormatSpec): tfl.LayersModel {
  const input = tfl.input({ shape: [10, 10, 3] });
  const layers = [
    thinConv2D({
      filters: 8,
      kernelSize: 3,
      strides: 2,
      padding: 'same',
      activation: 'relu',
      kernel: conv,
      bias: biases.conv,
      format,
    }),
    thinDepthwiseConv2D({
      kernelSize: 3,
      depthMultiplier: 2,
      padding: 'same',
      activation: 'elu',
      kernel: depthwise,
      bias: biases.depthwise,
      format,
    }),
    tfl.layers.flatten(),
    thinDense({ units: 10, activation: 'softmax', kernel: dense, bias: biases.dense, format }),
  ];
  const output = layers.reduce((x, layer) => layer.apply(x) as tfl.SymbolicTensor, input);
  return tfl.model({ inputs: input, outputs: output });
}

const predict = async (model: tfl.LayersModel, x: tf.Tensor) => {
  const y = model.predict(x) as tf.Tensor;
  const data = await y.data();
  y.dispose();
  return data;
};

const image = () => tf.tensor(normals(createRandom(3), 2 * 10 * 10 * 3), [2, 10, 10, 3]);

for (const backend of BACKENDS) {
  const why = await useBackend(backend);
  if (backend === 'webgpu' && !requireCapability('tfjs on webgpu', why === undefined, why ?? '')) continue;
  const test = suite(`thin layers on ${backend}`);
  test.before.each(async () => assert.is(await useBackend(backend), undefined));

  test('before the kernels are there tfjs computes; then ours give the same', async () => {
    const x = image();
    const plain = plainModel();
    const expected = await predict(plain, x);
    const model = ofThinLayers('dense');
    assert.ok(distance(await predict(model, x), expected) < 1e-5);
    await thinReady();
    const { kernelNames } = await tf.profile(() => model.predict(x) as tf.Tensor);
    assert.ok(kernelNames.includes('ThinferOperator'), kernelNames.join());
    assert.not.ok(
      kernelNames.some((name) => /Conv|MatMul/.test(name)),
      kernelNames.join(),
    );
    assert.ok(distance(await predict(model, x), expected) < 1e-5);
    tf.dispose(x);
    plain.dispose();
    model.dispose();
  });

  for (const format of ['csr', 'int8', { format: 'codebook', entries: 16 }] as FormatSpec[]) {
    const name = typeof format === 'string' ? format : 'codebook';
    test(`saved and loaded: ${name}`, async () => {
      await thinReady();
      const x = image();
      const model = ofThinLayers(format);
      const before = await predict(model, x);
      let saved: tf.io.ModelArtifacts | undefined;
      await model.save(
        tf.io.withSaveHandler(async (artifacts) => {
          saved = artifacts;
          return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
        }),
      );
      const { weightSpecs, weightData, modelTopology } = saved!;
      const bytes = (weightData as ArrayBuffer).byteLength;
      const full = 4 * (conv.length + depthwise.length + dense.length);
      if (name !== 'csr') assert.ok(bytes < 0.4 * full, `${bytes} bytes of ${full}`);
      // As a file has it.
      const topology = JSON.parse(JSON.stringify(modelTopology));
      const loaded = await tfl.loadLayersModel(tf.io.fromMemory({ modelTopology: topology, weightSpecs, weightData }));
      assert.is(distance(await predict(loaded, x), before), 0);
      tf.dispose(x);
      loaded.dispose();
      model.dispose();
    });
  }

  test('a model is made thin, saved, loaded and accelerated', async () => {
    const x = image();
    const plain = plainModel();
    const expected = await predict(plain, x);
    const formats = { '*': 'int8' } as const;
    const model = await thinModel(plain, { formats });
    const classes = model.layers.map((layer) => layer.getClassName());
    assert.equal(classes, ['ThinConv2D', 'DepthwiseConv2D', 'Flatten', 'ThinDense']);
    const actual = await predict(model, x);
    assert.ok(distance(actual, expected) < 0.05);
    assert.ok(distance(await predict(plain, x), expected) === 0);
    const handler = { artifacts: undefined as tf.io.ModelArtifacts | undefined };
    await model.save(
      tf.io.withSaveHandler(async (artifacts) => {
        handler.artifacts = artifacts;
        return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
      }),
    );
    const { weightSpecs, weightData, modelTopology } = handler.artifacts!;
    const topology = JSON.parse(JSON.stringify(modelTopology));
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory({ modelTopology: topology, weightSpecs, weightData }));
    assert.is(distance(await predict(loaded, x), actual), 0);
    tf.dispose(x);
    for (const one of [plain, model, loaded]) one.dispose();
  });

  test('tf.sequential takes packed weights; nothing is left behind', async () => {
    await thinReady();
    const tensors = tf.memory().numTensors;
    const kernel = Float32Array.from({ length: 6 * 40 }, (_, i) => (i % 3 ? 0 : i / 100));
    const packed = csr.pack(kernel, { rows: 6, cols: 40 });
    const model = tfl.sequential({ layers: [thinDense({ units: 6, packed, inputShape: [40] })] });
    assert.equal(model.outputs[0].shape, [null, 6]);
    const values = normals(createRandom(1), 80);
    const y = tf.tidy(() => model.predict(tf.tensor2d(values, [2, 40])) as tf.Tensor);
    const expected = Array.from({ length: 12 }, (_, i) =>
      values
        .slice(40 * Math.floor(i / 6))
        .reduce((sum, v, k) => (k < 40 ? sum + v * kernel[(i % 6) * 40 + k] : sum), 0),
    );
    assert.ok(distance(await y.data(), expected) < 1e-5);
    y.dispose();
    model.dispose();
    assert.is(tf.memory().numTensors, tensors);
  });

  test.run();
}

const serial = suite('weights as words');

for (const [name, pack] of Object.entries(PACKERS)) {
  serial(name, () => {
    const weights = pack(normals(createRandom(2), 12 * 64, 0.2), { rows: 12, cols: 64 });
    const { layout, words } = writeWeights(weights);
    assert.equal(readWeights(JSON.parse(JSON.stringify(layout)), words, 'x'), weights);
  });
}

serial('what does not fit is refused', () => {
  const { layout, words } = writeWeights(int8.pack(normals(createRandom(2), 24), { rows: 4, cols: 6 }));
  const refuses = (work: () => unknown, text: RegExp) => {
    try {
      work();
    } catch (error) {
      assert.instance(error, ThinferError);
      assert.match((error as Error).message, text);
      return;
    }
    assert.unreachable();
  };
  refuses(() => readWeights(layout, words.slice(1), 'x'), /words/);
  refuses(() => readWeights({ ...layout, codes: ['f64', 3] as never }, words, 'x'), /codes/);
  refuses(() => readWeights({ ...layout, codes: ['i8', -1] }, words, 'x'), /length/);
  refuses(() => readWeights(null as never, words, 'x'), /object/);
  refuses(() => thinDense({ units: 5, packed: { ...layout } }), /outputs/);
  refuses(() => thinDense({ units: 5 }), /packed/);
  refuses(() => thinDense({ units: 4, packed: { ...layout }, bias: new Float32Array(3) }), /bias/);
});

serial.run();
