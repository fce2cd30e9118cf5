// thinfer/tfjs: models of tfjs on our kernels give what they gave before.

import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { accelerate } from '../src/tfjs/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, normals } from './support/random.js';
import { BACKENDS, distance, fromFolder, mobileNet, mobileNetGraph, randomise, useBackend } from './support/tfjs.js';

/** f32 sums in another order, over some layers. */
const CLOSE = 1e-5;

async function predict(model: tfl.LayersModel | GraphModel, x: tf.Tensor): Promise<Float32Array> {
  const y = model.predict(x) as tf.Tensor;
  const data = (await y.data()) as Float32Array;
  y.dispose();
  return data;
}

const input = (shape: number[], seed = 3) =>
  tf.tensor(
    normals(
      createRandom(seed),
      shape.reduce((product, dim) => product * dim, 1),
    ),
    shape,
  );

for (const backend of BACKENDS) {
  const why = await useBackend(backend);
  if (backend === 'webgpu' && !requireCapability('tfjs on webgpu', why === undefined, why ?? '')) continue;
  const test = suite(`tfjs on ${backend}`);
  test.before.each(async () => assert.is(await useBackend(backend), undefined));

  test('MobileNetV1: batch norm, activations and padding are folded', async () => {
    const model = mobileNet({ size: 32, alpha: 0.25, classes: 10 });
    randomise(model);
    const x = input([2, 32, 32, 3]);
    const expected = await predict(model, x);
    const { report, unaccelerate } = await accelerate(model, { tune: 'off' });
    assert.is(report.kept.length, 0, JSON.stringify(report.kept));
    assert.is(report.replaced.length, 28);
    assert.is(report.replaced[0].absorbed.length, 3);
    assert.equal(report.notes, []);
    assert.ok(distance(await predict(model, x), expected) < CLOSE);
    unaccelerate();
    assert.is(distance(await predict(model, x), expected), 0);
    x.dispose();
    model.dispose();
  });

  test('MobileNetV1 as a graph', async () => {
    const model = await loadGraphModel(mobileNetGraph({ size: 32, alpha: 0.25, classes: 10 }).handler());
    const x = input([2, 32, 32, 3]);
    const expected = await predict(model, x);
    const { report, unaccelerate } = await accelerate(model, { tune: 'off' });
    assert.is(report.kept.length, 0, JSON.stringify(report.kept));
    assert.is(report.replaced.length, 28);
    assert.equal(report.replaced.at(-1)!.absorbed, ['bias']);
    assert.equal(report.notes, []);
    assert.ok(distance(await predict(model, x), expected) < CLOSE);
    unaccelerate();
    assert.is(distance(await predict(model, x), expected), 0);
    x.dispose();
    model.dispose();
  });

  // Elsewhere it takes a minute: plain JavaScript is slow, and SwiftShader compiles for long.
  if (backend === 'wasm' || process.env.TEST_ALL)
    test('@spotify/basic-pitch', async () => {
      const model = await loadGraphModel(fromFolder('node_modules/@spotify/basic-pitch/model'));
      const x = input([1, 43844, 1]);
      const outputs = () => model.execute(x, ['Identity', 'Identity_1', 'Identity_2']) as tf.Tensor[];
      const expected = outputs();
      const { report } = await accelerate(model, { tune: 'off', shapes: [1, 43844, 1] });
      assert.is(report.kept.length, 0, JSON.stringify(report.kept));
      assert.is(report.replaced.length, 32);
      const actual = outputs();
      for (const [i, y] of actual.entries()) {
        assert.ok(distance(await y.data(), await expected[i].data()) < 1e-3, `output ${i}`);
      }
      tf.dispose([x, expected, actual]);
      model.dispose();
    });

  if (backend !== 'cpu')
    test('@upscalerjs/default-model', async () => {
      const model = await tfl.loadLayersModel(fromFolder('node_modules/@upscalerjs/default-model/models'));
      const x = input([1, 12, 12, 3]);
      const expected = await predict(model, x);
      const { report } = await accelerate(model, { tune: 'off', shapes: [1, 12, 12, 3] });
      assert.is(report.kept.length, 0, JSON.stringify(report.kept));
      assert.equal(report.notes, []);
      assert.ok(distance(await predict(model, x), expected) < CLOSE);
      x.dispose();
      model.dispose();
    });

  test.run();
}
