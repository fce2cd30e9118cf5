// tfjs in tests: its backends, and models built in code.

import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import * as assert from 'uvu/assert';
import { createRandom } from './random.js';

export type BackendName = 'cpu' | 'wasm' | 'webgpu';

/** tfjs takes its GPU from the page: in Node there is none for it. */
export const BACKENDS: readonly BackendName[] =
  typeof process === 'undefined' ? ['cpu', 'wasm', 'webgpu'] : ['cpu', 'wasm'];

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

const BLOCKS: readonly [filters: number, stride: number][] = [
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
  for (const [filters, strides] of BLOCKS) {
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

/** A file of the repository, here or from the server of the page. */
async function readAsset(path: string): Promise<ArrayBuffer> {
  if (!inNode) return (await fetch(`/${path}`)).arrayBuffer();
  const { readFile } = await import('node:fs/promises');
  const bytes = await readFile(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

/** A model in a folder: model.json and the one file of weights beside it. */
export function fromFolder(folder: string): tf.io.IOHandler {
  return {
    load: async () => {
      const json = JSON.parse(new TextDecoder().decode(await readAsset(`${folder}/model.json`)));
      const [{ paths, weights }] = json.weightsManifest as tf.io.WeightsManifestConfig;
      const { modelTopology, format, generatedBy, convertedBy, signature } = json;
      const weightData = await readAsset(`${folder}/${paths[0]}`);
      return { modelTopology, format, generatedBy, convertedBy, signature, weightSpecs: weights, weightData };
    },
  };
}

/** A node of a graph, as the converter writes them. */
interface WrittenNode {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, unknown>;
}

/** Puts a graph of tfjs-converter together. */
export class GraphWriter {
  readonly nodes: WrittenNode[] = [];
  readonly weightSpecs: tf.io.WeightsManifestEntry[] = [];
  readonly #data: Uint8Array[] = [];

  input(name: string, shape: readonly number[]): string {
    const dims = shape.map((size) => ({ size: String(size) }));
    this.nodes.push({
      name,
      op: 'Placeholder',
      attr: { dtype: { type: 'DT_FLOAT' }, shape: { shape: { dim: dims } } },
    });
    return name;
  }

  constant(name: string, shape: number[], values: Float32Array | Int32Array): string {
    const dtype = values instanceof Int32Array ? 'int32' : 'float32';
    this.nodes.push({ name, op: 'Const', attr: { dtype: { type: dtype === 'int32' ? 'DT_INT32' : 'DT_FLOAT' } } });
    this.weightSpecs.push({ name, shape, dtype });
    this.#data.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return name;
  }

  /** A constant as 8-bit or 16-bit codes. */
  quantized(
    name: string,
    shape: number[],
    codes: Uint8Array | Uint16Array,
    quantization: { scale?: number; min?: number; dtype: 'uint8' | 'uint16' | 'float16' },
  ): string {
    this.nodes.push({ name, op: 'Const', attr: { dtype: { type: 'DT_FLOAT' } } });
    this.weightSpecs.push({
      name,
      shape,
      dtype: 'float32',
      quantization: { original_dtype: 'float32', ...quantization } as never,
    });
    this.#data.push(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
    return name;
  }

  node(name: string, op: string, input: string[], attr: Record<string, unknown> = {}): string {
    this.nodes.push({ name, op, input, attr: { T: { type: 'DT_FLOAT' }, ...attr } });
    return name;
  }

  /** What makes a product with constant weights and what ends it one node. */
  fused(name: string, op: string, input: string[], ops: string[], attr: Record<string, unknown> = {}): string {
    const list = { list: { s: ops.map((text) => btoa(text)) } };
    const args = input.length - 2;
    return this.node(name, op, input, { ...attr, fused_ops: list, num_args: { i: String(args) } });
  }

  handler(): tf.io.IOHandler {
    const weightData = new Uint8Array(this.#data.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#data) {
      weightData.set(part, at);
      at += part.length;
    }
    const modelTopology = { node: this.nodes, versions: { producer: 1 } };
    return tf.io.fromMemory({ modelTopology, weightSpecs: this.weightSpecs, weightData: weightData.buffer });
  }
}

/** Attributes of a convolution. */
export const windowAttributes = (stride: number, padding: 'SAME' | 'VALID') => ({
  strides: { list: { i: [1, stride, stride, 1].map(String) } },
  dilations: { list: { i: ['1', '1', '1', '1'] } },
  padding: { s: btoa(padding) },
  data_format: { s: btoa('NHWC') },
});

/** MobileNetV1 as TensorFlow's converter leaves it: batch norm folded, bias and ReLU6 in the nodes of the convolutions. */
export function mobileNetGraph({ size = 224, alpha = 1, classes = 1000, density = 1 } = {}): GraphWriter {
  const graph = new GraphWriter();
  const random = createRandom(1);
  const weights = (name: string, shape: number[], products: number, kept = 1) => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    const scale = 1.5 / Math.sqrt(products);
    const value = () => (random.next() > kept ? 0 : scale * (2 * random.next() - 1));
    return graph.constant(name, shape, Float32Array.from({ length: count }, value));
  };
  const width = (channels: number) => Math.max(Math.round(channels * alpha), 8);
  let x = graph.input('image', [-1, size, size, 3]);
  let channels = 3;
  const conv = (name: string, filters: number, kernel: number, stride: number) => {
    const w = weights(`${name}/w`, [kernel, kernel, channels, filters], kernel * kernel * channels, density);
    const b = weights(`${name}/b`, [filters], 10);
    x = graph.fused(name, '_FusedConv2D', [x, w, b], ['BiasAdd', 'Relu6'], windowAttributes(stride, 'SAME'));
    channels = filters;
  };
  conv('conv1', width(32), 3, 2);
  for (const [i, [filters, stride]] of BLOCKS.entries()) {
    const w = weights(`dw${i}/w`, [3, 3, channels, 1], 9);
    const b = weights(`dw${i}/b`, [channels], 10);
    x = graph.fused(
      `dw${i}`,
      'FusedDepthwiseConv2dNative',
      [x, w, b],
      ['BiasAdd', 'Relu6'],
      windowAttributes(stride, 'SAME'),
    );
    conv(`pw${i}`, width(filters), 1, 1);
  }
  const axes = graph.constant('axes', [2], Int32Array.of(1, 2));
  x = graph.node('pool', 'Mean', [x, axes], { keep_dims: { b: false } });
  const w = weights('predictions/w', [channels, classes], channels, density);
  x = graph.node('logits', 'MatMul', [x, w]);
  x = graph.node('bias', 'BiasAdd', [x, weights('predictions/b', [classes], 10)]);
  graph.node('predictions', 'Softmax', [x]);
  return graph;
}

/** Largest difference, over the largest value. */
export function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
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
