// thinfer/tfjs: models of tfjs on our kernels give what they gave before.

import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { accelerate } from '../src/tfjs/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, normals } from './support/random.js';
import { type BackendName, mobileNet, randomise, useBackend } from './support/tfjs.js';

/** Largest difference, over the largest value. */
function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.is(actual.length, expected.length);
  let most = 0;
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    most = Math.max(most, Math.abs(expected[i]));
    const difference = Math.abs(actual[i] - expected[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst / most;
}

/** f32 sums in another order, over some layers. */
const CLOSE = 1e-5;

async function predict(model: tfl.LayersModel, x: tf.Tensor): Promise<Float32Array> {
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

for (const backend of ['cpu', 'wasm', 'webgpu'] as BackendName[]) {
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

  test.run();
}
