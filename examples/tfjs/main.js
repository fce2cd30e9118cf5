import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { accelerate } from 'thinfer/tfjs';

const say = (line) => document.getElementById('said').append(`${line}\n`);
const time = (model, x) => {
  const start = performance.now();
  for (let i = 0; i < 10; i++) tf.tidy(() => model.predict(x).dataSync());
  return (performance.now() - start) / 10;
};

setWasmPaths('tfjs-wasm/');
await tf.setBackend('wasm');
const model = await loadLayersModel('model/model.json');
const x = tf.randomNormal([1, 64, 64, 3]);
say(`tfjs: ${time(model, x).toFixed(1)} ms`);

// The one line that a program needs more: the model goes on as it did, on our kernels.
const { report } = await accelerate(model, { shapes: [1, 64, 64, 3] });

say(`thinfer: ${time(model, x).toFixed(1)} ms`);
for (const { name, format, absorbed } of report.replaced) say(`${name}: ${[format, ...absorbed].join(', ')}`);
for (const { name, why } of report.kept) say(`${name} is left to tfjs: ${why}`);
say('done');
