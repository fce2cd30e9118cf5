import * as tf from '@tensorflow/tfjs-core';
import { ThinferError } from '../errors.js';
import type { Weights } from '../formats/format.js';
import { formatOf } from '../formats/index.js';
import { automatic, packValues, type WeightSpec } from '../graph/pack.js';
import type { Pair, WindowOptions } from '../layers/geometry.js';
import type { Layer } from '../layers/layer.js';
import type { Activation } from '../plan/problem.js';
import { type Host, hostNow } from './host.js';

/** The operators of tfjs that we have kernels for. */
export type OperatorKind = 'matMul' | 'conv2d' | 'depthwiseConv2d';

/** One operator with constant weights. */
export interface OperatorSpec {
  kind: OperatorKind;
  /** [outputs, products]; see `packFilter`. */
  weights: Weights;
  bias?: Float32Array;
  activation?: Activation;
  /** Of convolutions. */
  window?: WindowOptions;
  /** Of depthwise convolutions: channels of the input. Default: one for each output. */
  channels?: number;
}

/** A filter of tfjs as a matrix [rows, cols] = [outputs, products]. */
export interface Filter {
  values: Float32Array;
  rows: number;
  cols: number;
}

/**
 * What tfjs multiplies by, as rows: [K, N] of matMul, HWIO of conv2d and HW(IM) of depthwiseConv2d are all [products,
 * outputs], row-major.
 * @param transposed it is [outputs, products] already (matMul with transposeB)
 */
export function filterOf(
  kind: OperatorKind,
  values: Float32Array,
  shape: readonly number[],
  transposed = false,
): Filter {
  const [last, beforeLast] = [shape.at(-1)!, shape.at(-2)!];
  const rows = transposed ? beforeLast : kind === 'depthwiseConv2d' ? last * beforeLast : last;
  const cols = rows === 0 ? 0 : values.length / rows;
  return { values: transposed ? values : transpose(values, cols, rows), rows, cols };
}

/** [a, b] to [b, a]. */
export function transpose(values: Float32Array, a: number, b: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) result[j * a + i] = values[i * b + j];
  return result;
}

/** How weights are stored: a format's name, or its options too. `auto`: zeros are left out where that pays. */
export type FormatSpec = 'auto' | WeightSpec['format'] | WeightSpec;

/** @param spec of `auto`, as `loadOnnx` decides it */
export function packFilter({ values, rows, cols }: Filter, spec: FormatSpec): Weights {
  const chosen =
    spec === 'auto' ? automatic(values, cols) : typeof spec === 'string' ? ({ format: spec } as WeightSpec) : spec;
  return packValues(values, { rows, cols }, chosen);
}

const KERNEL = 'ThinferOperator';

/** Thrown by the kernel where it can't run now. */
const NOT_NOW = Symbol('not now');

/** An operator of tfjs on our kernels: registered as a kernel of tfjs, so that tensors are tracked as ever. */
export class Operator {
  readonly spec: OperatorSpec;
  readonly host: Host;
  readonly layer: Layer;
  #freed = false;

  constructor(host: Host, spec: OperatorSpec) {
    this.host = host;
    this.spec = spec;
    const { kind, weights, bias, activation = 'none', window } = spec;
    const options = { bias, activation };
    if (kind === 'matMul') {
      this.layer = host.runtime.linearNow(weights, options);
    } else {
      const groups = kind === 'depthwiseConv2d' ? (spec.channels ?? weights.rows) : 1;
      this.layer = host.runtime.conv2dNow(weights, { ...options, ...window!, groups });
    }
    registerFor(host.name);
  }

  /** The shape that the layer sees of what tfjs has. */
  layerShape(shape: readonly number[]): readonly number[] {
    if (this.spec.kind !== 'matMul') return shape;
    const { cols } = this.spec.weights;
    if (shape.at(-1) !== cols) {
      const [expected, got] = [`[..., ${cols}]`, `[${shape.join(', ')}]`];
      throw new ThinferError({ code: 'bad-shape', place: 'matMul: x', expected, got });
    }
    return [shape.slice(0, -1).reduce((product, dim) => product * dim, 1), cols];
  }

  outputShape(shape: readonly number[]): readonly number[] {
    if (this.spec.kind === 'matMul') return [...shape.slice(0, -1), this.spec.weights.rows];
    return this.layer.outputShape(shape);
  }

  /** As a kernel of tfjs: undefined where it can't be done now. */
  runKernel(x: tf.TensorInfo): tf.TensorInfo | undefined {
    return this.host.run(this.layer, x, this.layerShape(x.shape), this.outputShape(x.shape));
  }

  /** On a tensor of tfjs; by tfjs's own operators where ours can't run now. */
  apply(x: tf.Tensor): tf.Tensor {
    return tf.tidy(() => this.#run(x) ?? applyUnpacked(this.spec, x));
  }

  #run(x: tf.Tensor): tf.Tensor | undefined {
    const { backend } = tf.engine();
    if (this.#freed || x.dtype !== 'float32' || hostNow(backend) !== this.host) return undefined;
    try {
      return tf.engine().runKernel(KERNEL, { x }, { operator: this } as never) as tf.Tensor;
    } catch (error) {
      if (error !== NOT_NOW) throw error;
      return undefined;
    }
  }

  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.host.flush();
    this.layer.free();
  }
}

const registered = new Set<string>();

function registerFor(backendName: string): void {
  if (registered.has(backendName)) return;
  registered.add(backendName);
  tf.registerKernel({
    kernelName: KERNEL,
    backendName,
    kernelFunc: ({ inputs, attrs }) => {
      const { operator } = attrs as unknown as { operator: Operator };
      const output = operator.runKernel(inputs.x as tf.TensorInfo);
      if (!output) throw NOT_NOW;
      return output;
    },
  });
}

/** The same by tfjs's operators, from unpacked weights: slow, and always possible. */
export function applyUnpacked(spec: OperatorSpec, x: tf.Tensor): tf.Tensor {
  const { kind, weights, bias, activation = 'none', window } = spec;
  return tf.tidy(() => {
    const { rows, cols } = weights;
    const values = transpose(formatOf(weights).unpack(weights as never), rows, cols);
    let y: tf.Tensor;
    if (kind === 'matMul') {
      const flat = tf.matMul(tf.reshape(x, [-1, cols]), tf.tensor2d(values, [cols, rows]));
      y = tf.reshape(flat, [...x.shape.slice(0, -1), rows]);
    } else {
      const [height, width] = pairOf(window!.kernel);
      const padded = padFor(window!, x as tf.Tensor4D);
      const pad = window!.padding === 'same' ? 'same' : 'valid';
      const [strides, dilations] = [pairOf(window!.stride), pairOf(window!.dilation)];
      if (kind === 'conv2d') {
        const filter = tf.tensor4d(values, [height, width, cols / (height * width), rows]);
        y = tf.conv2d(padded, filter, strides, pad, 'NHWC', dilations);
      } else {
        const { channels = rows } = spec;
        const filter = tf.tensor4d(values, [height, width, channels, rows / channels]);
        y = tf.depthwiseConv2d(padded, filter, strides, pad, 'NHWC', dilations);
      }
    }
    return activate(bias ? tf.add(y, tf.tensor1d(bias)) : y, activation);
  });
}

const pairOf = (pair: Pair | undefined): [number, number] =>
  typeof pair === 'object' ? [pair[0], pair[1]] : [pair ?? 1, pair ?? 1];

function padFor({ padding }: WindowOptions, x: tf.Tensor4D): tf.Tensor4D {
  if (padding === undefined || typeof padding === 'string') return x;
  const [top, left, bottom, right] = padding;
  return tf.pad(x, [
    [0, 0],
    [top, bottom],
    [left, right],
    [0, 0],
  ]);
}

/** Activations that end a layer of ours, in tfjs's operators. */
function activate(x: tf.Tensor, activation: Activation): tf.Tensor {
  if (typeof activation === 'object') return tf.minimum(tf.maximum(x, activation.min), activation.max);
  switch (activation) {
    case 'none':
      return x;
    case 'relu':
      return tf.relu(x);
    case 'relu6':
      return tf.relu6(x);
    case 'sigmoid':
      return tf.sigmoid(x);
    case 'tanh':
      return tf.tanh(x);
    case 'silu':
      return tf.mul(x, tf.sigmoid(x));
    case 'gelu':
      return tf.mul(x, tf.mul(0.5, tf.add(1, tf.erf(tf.div(x, Math.SQRT2)))));
    case 'geluTanh': {
      const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3))));
      return tf.mul(x, tf.mul(0.5, tf.add(1, tf.tanh(inner))));
    }
    case 'hardSwish':
      return tf.mul(x, tf.div(tf.relu6(tf.add(x, 3)), 6));
    default:
      throw new ThinferError({
        code: 'bad-argument',
        place: 'activation',
        expected: 'one that ends a layer',
        got: String(activation),
      });
  }
}
