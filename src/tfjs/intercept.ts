import * as tf from '@tensorflow/tfjs-core';
import { ThinferError } from '../errors.js';
import type { WasmOptions } from '../wasm/module.js';
import { activationOf } from './activations.js';
import { acquireHost, hostNow, releaseHost } from './host.js';
import { type FormatSpec, filterOf, Operator, type OperatorKind, type OperatorSpec, packFilter } from './operator.js';

export interface InterceptOptions {
  /** How weights are packed. Default `auto`. */
  format?: FormatSpec;
  /** Which second operands are weights: what they hold must not change. */
  accepts(weights: tf.TensorInfo): boolean;
  wasm?: WasmOptions;
  /** Told of each call: whether it ran on our kernels, or why not. */
  onCall?(kernel: string, why: string | undefined): void;
}

type Inputs = Readonly<Record<string, tf.TensorInfo | undefined>>;
type Attributes = Readonly<Record<string, unknown>>;

/** A call of one of tfjs's kernels, read. */
interface Call {
  x: tf.TensorInfo;
  filter: tf.TensorInfo;
  bias: tf.TensorInfo | undefined;
  kind: OperatorKind;
  window?: OperatorSpec['window'];
  transposed?: boolean;
  /** The last two dimensions of x have to be exchanged first. */
  transposeX?: boolean;
  activation: string;
}

/** Kernels of tfjs by their names in its registry. */
const KERNELS: Readonly<Record<string, (inputs: Inputs, attributes: Attributes) => Call | string>> = {
  [tf.Conv2D]: (inputs, attributes) => convolution('conv2d', inputs, attributes),
  [tf.FusedConv2D]: (inputs, attributes) => convolution('conv2d', inputs, attributes),
  [tf.DepthwiseConv2dNative]: (inputs, attributes) => convolution('depthwiseConv2d', inputs, attributes),
  [tf.FusedDepthwiseConv2D]: (inputs, attributes) => convolution('depthwiseConv2d', inputs, attributes),
  [tf.BatchMatMul]: product,
  [tf._FusedMatMul]: product,
};

function convolution(kind: 'conv2d' | 'depthwiseConv2d', inputs: Inputs, attributes: Attributes): Call | string {
  const { x, filter, bias } = inputs;
  const { strides, pad, dilations, dataFormat, dimRoundingMode, activation } = attributes;
  if (dataFormat !== undefined && dataFormat !== 'NHWC' && dataFormat !== 'channelsLast') return 'channels come first';
  if (dimRoundingMode && dimRoundingMode !== 'floor') return `sizes are rounded by ${dimRoundingMode}`;
  const padding = paddingOf(pad);
  if (!padding) return `padding ${JSON.stringify(pad)}`;
  const [height, width, inputs1, multiplier] = filter!.shape;
  if (kind === 'conv2d' && x!.shape[3] !== inputs1) return 'grouped channels';
  if (multiplier === 0) return 'no outputs';
  const window = { kernel: [height, width] as const, stride: pairOf(strides), dilation: pairOf(dilations), padding };
  return { x: x!, filter: filter!, bias, kind, window, activation: (activation as string) ?? 'linear' };
}

function paddingOf(pad: unknown): NonNullable<OperatorSpec['window']>['padding'] | undefined {
  if (pad === 'same' || pad === 'valid') return pad;
  if (typeof pad === 'number') return Number.isInteger(pad) && pad >= 0 ? [pad, pad, pad, pad] : undefined;
  const [, rows, cols] = pad as number[][];
  return [rows[0], cols[0], rows[1], cols[1]];
}

const pairOf = (value: unknown): [number, number] =>
  Array.isArray(value) ? [value[0], value[1]] : [Number(value ?? 1), Number(value ?? 1)];

function product(inputs: Inputs, { transposeA, transposeB, activation }: Attributes): Call | string {
  const { a, b, bias } = inputs;
  if (b!.shape.length > a!.shape.length) return 'the right operand has more dimensions';
  if (b!.shape.slice(0, -2).some((dim) => dim !== 1)) return 'the right operand is several matrices';
  const [inner, cols] = [a!.shape.at(transposeA ? -2 : -1), b!.shape.at(transposeB ? -1 : -2)];
  if (inner !== cols) return 'the operands do not fit';
  return {
    x: a!,
    filter: b!,
    bias,
    kind: 'matMul',
    transposed: Boolean(transposeB),
    transposeX: Boolean(transposeA),
    activation: (activation as string) ?? 'linear',
  };
}

/** tfjs's kernels for activations that ours don't end with. */
const AFTERWARDS: Readonly<Record<string, string>> = { elu: tf.Elu, prelu: tf.Prelu, leakyrelu: tf.LeakyRelu };

/**
 * For code that calls `tf.conv2d`, `tf.matMul` and their like itself: on the backend that tfjs uses now, calls whose
 * weights are accepted run on our kernels, packed at their first use, until the weights are disposed. All others run as
 * before: on WebGPU those too whose weights tfjs has used before, and keeps on the GPU only.
 * @returns what ends it
 */
export async function interceptKernels(options: InterceptOptions): Promise<() => void> {
  const { backendName, backend } = tf.engine();
  const host = await acquireHost(options.wasm);
  // Or why the format can't hold the weights.
  const packed = new Map<tf.DataId, Map<string, Operator | string>>();
  const free = (dataId: tf.DataId) => {
    for (const operator of packed.get(dataId)?.values() ?? []) if (typeof operator !== 'string') operator.free();
    packed.delete(dataId);
  };
  const disposeData = backend.disposeData;
  backend.disposeData = (dataId: tf.DataId, force?: boolean) => {
    const gone = disposeData.call(backend, dataId as object, force);
    if (gone) free(dataId);
    return gone;
  };
  const originals: tf.KernelConfig[] = [];
  for (const [kernelName, read] of Object.entries(KERNELS)) {
    const original = tf.getKernel(kernelName, backendName);
    if (!original) continue;
    originals.push(original);
    const kernelFunc: tf.KernelFunc = (call) => {
      const answer =
        hostNow(call.backend) === host ? run(read, call.inputs, call.attrs ?? {}) : 'another instance of the backend';
      if (typeof answer !== 'string') {
        options.onCall?.(kernelName, undefined);
        return answer;
      }
      options.onCall?.(kernelName, answer);
      return original.kernelFunc(call);
    };
    replaceKernel({ ...original, kernelFunc });
  }

  function run(read: (typeof KERNELS)[string], inputs: Inputs, attributes: Attributes): tf.TensorInfo | string {
    const call = read(inputs, attributes);
    if (typeof call === 'string') return call;
    const { x, filter, bias, activation } = call;
    const tensors = [x, filter, ...(bias ? [bias] : [])];
    if (tensors.some(({ dtype }) => dtype !== 'float32')) return 'not f32';
    if (tensors.some(({ shape }) => shape.includes(0))) return 'nothing to compute';
    const rows = rowsOf(call);
    const perChannel =
      !bias || (bias.shape.at(-1) === rows && bias.shape.reduce((size, dim) => size * dim, 1) === rows);
    if (!perChannel) return 'biases are not one a channel';
    const after = AFTERWARDS[activation];
    if (activationOf(activation) === undefined && !after) return `activation ${activation}`;
    if (!options.accepts(filter)) return 'not accepted';
    const operator = operatorOf(call);
    if (typeof operator === 'string') return operator;
    const input = call.transposeX ? transposed(x) : x;
    const y = operator.runKernel(input);
    if (input !== x) backend.disposeData(input.dataId as object);
    if (!y) return 'other work is under way';
    return after ? finish(y, after, inputs, attributes) : y;
  }

  function operatorOf(call: Call): Operator | string {
    const { filter, bias, kind, window, transposed, activation } = call;
    const operators = packed.get(filter.dataId) ?? new Map<string, Operator | string>();
    packed.set(filter.dataId, operators);
    const biasId = (bias?.dataId as { id?: number })?.id;
    const key = JSON.stringify([kind, filter.shape, window, transposed, activation, biasId]);
    let operator = operators.get(key);
    if (operator === undefined) {
      try {
        operator = makeOperator(call) ?? 'weights that only the GPU has';
      } catch (error) {
        if (!(error instanceof ThinferError && error.code === 'bad-weights')) throw error;
        operator = error.message;
      }
      operators.set(key, operator);
    }
    return operator;
  }

  function makeOperator({ filter, bias, kind, window, transposed, activation }: Call): Operator | undefined {
    const values = host.read(filter.dataId);
    const biases = bias && host.read(bias.dataId);
    if (!values || (bias && !biases)) return undefined;
    const matrix = filterOf(kind, values, filter.shape, transposed);
    return new Operator(host, {
      kind,
      weights: packFilter(matrix, options.format ?? 'auto'),
      bias: biases,
      activation: activationOf(activation) ?? 'none',
      window,
      channels: kind === 'depthwiseConv2d' ? filter.shape[2] : undefined,
    });
  }

  function transposed(x: tf.TensorInfo): tf.TensorInfo {
    const perm = x.shape.map((_, axis) => axis);
    perm.push(...perm.splice(-2).reverse());
    const { kernelFunc } = tf.getKernel(tf.Transpose, backendName);
    return kernelFunc({ inputs: { x }, attrs: { perm }, backend }) as tf.TensorInfo;
  }

  function finish(x: tf.TensorInfo, kernelName: string, inputs: Inputs, attributes: Attributes): tf.TensorInfo {
    const alpha = inputs.preluActivationWeights;
    const kernel = tf.getKernel(kernelName, backendName);
    const y = kernel.kernelFunc({
      inputs: (kernelName === tf.Prelu ? { x, alpha } : { x }) as tf.NamedTensorInfoMap,
      attrs: kernelName === tf.LeakyRelu ? { alpha: attributes.leakyreluAlpha as number } : {},
      backend,
    }) as tf.TensorInfo;
    backend.disposeData(x.dataId as object);
    return y;
  }

  return () => {
    for (const original of originals) replaceKernel(original);
    backend.disposeData = disposeData;
    for (const dataId of [...packed.keys()]) free(dataId);
    releaseHost(host);
  };
}

function rowsOf({ kind, filter: { shape }, transposed }: Call): number {
  if (kind === 'depthwiseConv2d') return shape[2] * shape[3];
  return transposed ? shape.at(-2)! : shape.at(-1)!;
}

/** Without the warning of tfjs that there is one already. */
function replaceKernel(config: tf.KernelConfig): void {
  tf.unregisterKernel(config.kernelName, config.backendName);
  tf.registerKernel(config);
}
