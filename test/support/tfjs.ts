// tfjs in tests: its backends, and models built in code.

import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { createRandom } from './random.js';

export type BackendName = 'cpu' | 'wasm' | 'webgpu';

const inNode = typeof process === 'object' && Boolean(process.versions?.node);

/** Makes tfjs use a backend; why not, where it can't. */
export async function useBackend(name: BackendName): Promise<string | undefined> {
  if (name === 'cpu') await import('@tensorflow/tfjs-backend-cpu');
  if (name === 'wasm') {
    const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
    if (!inNode) setWasmPaths('/node_modules/@tensorflow/tfjs-backend-wasm/dist/');
    // Its threads are started from a blob that imports another, which the page forbids.
    tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  }
  if (name === 'webgpu') {
    if (inNode) return 'tfjs takes its GPU from the page';
    if (!(await navigator.gpu?.requestAdapter())) return 'no adapter';
    await import('@tensorflow/tfjs-backend-webgpu');
  }
  return (await tf.setBackend(name)) ? undefined : `tfjs does not start its ${name} backend`;
}

/** Random numbers in place of all weights of a model; variances stay positive. */
export function randomise(model: tfl.LayersModel, seed = 1, density = 1): void {
  const random = createRandom(seed);
  for (const layer of model.layers) {
    const weights = layer.getWeights().map((old, i) => {
      const isVariance = layer.getClassName() === 'BatchNormalization' && i === layer.getWeights().length - 1;
      const products = old.shape.slice(0, -1).reduce((product: number, dim) => product * (dim ?? 1), 1);
      const scale = old.shape.length > 1 ? 1.5 / Math.sqrt(products) : 0.3;
      const values = Float32Array.from({ length: old.size }, () => {
        const value = scale * (2 * random.next() - 1);
        if (isVariance) return 0.5 + random.next();
        return old.shape.length > 1 && random.next() > density ? 0 : value;
      });
      return tf.tensor(values, old.shape);
    });
    layer.setWeights(weights);
    tf.dispose(weights);
  }
}

/** MobileNetV1 (Howard et al. 2017), as Keras builds it. */
export function mobileNet({ size = 224, alpha = 1, classes = 1000 } = {}): tfl.LayersModel {
  const width = (channels: number) => Math.max(Math.round(channels * alpha), 8);
  const model = tfl.sequential();
  const block = () => {
    model.add(tfl.layers.batchNormalization());
    model.add(tfl.layers.reLU({ maxValue: 6 }));
  };
  const pad = (inputShape?: number[]) =>
    model.add(
      tfl.layers.zeroPadding2d({
        padding: [
          [0, 1],
          [0, 1],
        ],
        inputShape,
      }),
    );
  pad([size, size, 3]);
  model.add(tfl.layers.conv2d({ filters: width(32), kernelSize: 3, strides: 2, useBias: false }));
  block();
  const plan: [filters: number, stride: number][] = [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
    [512, 1],
    [512, 1],
    [512, 1],
    [512, 1],
    [512, 1],
    [1024, 2],
    [1024, 1],
  ];
  for (const [filters, strides] of plan) {
    if (strides === 2) pad();
    const padding = strides === 2 ? 'valid' : 'same';
    model.add(tfl.layers.depthwiseConv2d({ kernelSize: 3, strides, padding, useBias: false }));
    block();
    model.add(tfl.layers.conv2d({ filters: width(filters), kernelSize: 1, useBias: false }));
    block();
  }
  model.add(tfl.layers.globalAveragePooling2d({}));
  model.add(tfl.layers.dense({ units: classes, activation: 'softmax', name: 'predictions' }));
  return model;
}
