import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { describe, ThinferError } from '../errors.js';
import { validate, type Weights } from '../formats/index.js';
import { type Pair, type WindowOptions, windowGeometry } from '../layers/geometry.js';
import type { WasmOptions } from '../wasm/module.js';
import { activationOf } from './activations.js';
import { acquireHost, type Host, hostNow, releaseHost, retainHost } from './host.js';
import {
  applyUnpacked,
  type FormatSpec,
  filterOf,
  Operator,
  type OperatorKind,
  type OperatorSpec,
  packFilter,
} from './operator.js';
import { layoutWords, readWeights, requireLayout, type WeightsLayout, writeWeights } from './serial.js';

type LayerArgs = ConstructorParameters<typeof tfl.layers.Layer>[0];
type Shape = (number | null)[];

/** The weights of a thin layer: packed, or those of tfjs's own layer with the format to pack them in. */
export interface ThinArgs extends Omit<LayerArgs & object, 'weights'> {
  /** Packed weights [outputs, products], of convolutions in the order OHWI: `csr.pack(...)` and the like. */
  packed?: Weights | WeightsLayout;
  /** The kernel of a tfjs layer, in its order: [inputs, units], HWIO, or HWIM of a depthwise convolution. */
  kernel?: Float32Array;
  /** How `kernel` is packed. Default `auto`. */
  format?: FormatSpec;
  /** One an output. Default: none. */
  bias?: Float32Array;
  /** True for a layer that is read from a file and has its bias there. */
  useBias?: boolean;
  /** Any of tfjs's. */
  activation?: string;
  inputShape?: Shape;
  batchInputShape?: Shape;
  name?: string;
}

export interface ThinDenseArgs extends ThinArgs {
  units: number;
}

interface ThinWindowArgs extends ThinArgs {
  kernelSize: Pair;
  strides?: Pair;
  padding?: 'valid' | 'same';
  dilationRate?: Pair;
}

export interface ThinConv2DArgs extends ThinWindowArgs {
  filters: number;
}

export interface ThinDepthwiseConv2DArgs extends ThinWindowArgs {
  /** Outputs a channel. Default 1. */
  depthMultiplier?: number;
}

const isPacked = (packed: Weights | WeightsLayout): packed is Weights =>
  Object.values(packed).some((value) => ArrayBuffer.isView(value));

/** What the three layers have in common: packed weights as a weight of tfjs, and an operator made of them. */
abstract class ThinLayer extends tfl.layers.Layer {
  protected abstract readonly kind: OperatorKind;
  readonly #layout: WeightsLayout;
  readonly #activation: string;
  readonly #rest: tfl.layers.Layer | undefined;
  /** Until the layer is built. */
  #initial: { words: Int32Array; bias?: Float32Array } | undefined;
  readonly #useBias: boolean;
  #packed!: ReturnType<tfl.layers.Layer['addWeight']>;
  #bias: ReturnType<tfl.layers.Layer['addWeight']> | undefined;
  /** What was read of the weights last. */
  #read: { dataIds: (tf.DataId | undefined)[]; spec: OperatorSpec } | undefined;
  #operator: Operator | undefined;
  #opening = false;
  #disposed = false;

  constructor(kind: OperatorKind, args: ThinArgs, outputs: number | undefined, kernelShape: readonly number[]) {
    super(args as LayerArgs);
    const { packed, kernel, format = 'auto', bias, activation = 'linear' } = args;
    const place = `layer ${this.name}`;
    let weights: Weights | undefined;
    if (kernel) weights = packFilter(filterOf(kind, kernel, filterShape(kernel, kernelShape, place)), format);
    else if (packed && isPacked(packed)) weights = validate(packed, `${place}: packed`);
    if (weights) {
      const { layout, words } = writeWeights(weights);
      this.#layout = layout;
      this.#initial = { words, bias };
    } else {
      requireLayout(packed, `${place}: packed`);
      this.#layout = packed;
    }
    const { rows } = this.#layout;
    if (outputs !== undefined && rows !== outputs)
      refuse(`${place}: packed.rows`, `${outputs} outputs`, describe(rows));
    if (bias && bias.length !== rows) refuse(`${place}: bias`, `${rows} numbers`, String(bias.length));
    this.#useBias = args.useBias ?? bias !== undefined;
    this.#activation = activation;
    if (activationOf(activation) === undefined) {
      this.#rest = tfl.layers.activation({ activation: activation as never });
    }
  }

  /** Of the operator: what is not the weights. */
  protected abstract window(): Pick<OperatorSpec, 'window' | 'channels'>;

  get rows(): number {
    return this.#layout.rows as number;
  }

  get cols(): number {
    return this.#layout.cols as number;
  }

  override build(_inputShape: Shape | Shape[]): void {
    const zeros = tfl.initializers.zeros();
    // Words of 4 bytes: tfjs moves and saves int32 bit by bit.
    this.#packed = this.addWeight('packed', [layoutWords(this.#layout)], 'int32', zeros, undefined, false);
    if (this.#useBias) this.#bias = this.addWeight('bias', [this.rows], 'float32', zeros, undefined, false);
    const { words, bias } = this.#initial ?? {};
    tf.tidy(() => {
      if (words) this.#packed.write(tf.tensor1d(words, 'int32'));
      if (bias) this.#bias?.write(tf.tensor1d(bias));
    });
    this.#initial = undefined;
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor {
    this.invokeCallHook(inputs, kwargs as never);
    const x = Array.isArray(inputs) ? inputs[0] : inputs;
    return tf.tidy(() => {
      const spec = this.#spec();
      const y = this.#operatorNow(spec)?.apply(x) ?? applyUnpacked(spec, x);
      return this.#rest ? (this.#rest.call(y, {}) as tf.Tensor) : y;
    });
  }

  /** Reads the weights of tfjs anew when they are others than before. */
  #spec(): OperatorSpec {
    const variables = [this.#packed.read(), this.#bias?.read()];
    const dataIds = variables.map((tensor) => tensor?.dataId);
    if (this.#read?.dataIds.every((dataId, i) => dataId === dataIds[i])) return this.#read.spec;
    const [words, bias] = variables.map((tensor) => tensor?.dataSync());
    const weights = readWeights(this.#layout, Int32Array.from(words as Int32Array), `layer ${this.name}: packed`);
    const spec: OperatorSpec = {
      kind: this.kind,
      weights,
      bias: bias && Float32Array.from(bias),
      activation: activationOf(this.#activation) ?? 'none',
      ...this.window(),
    };
    this.#read = { dataIds, spec };
    return spec;
  }

  /** On the backend that tfjs uses now; undefined until its host is open. */
  #operatorNow(spec: OperatorSpec): Operator | undefined {
    const host = hostNow(tf.engine().backend);
    const operator = this.#operator;
    if (operator && operator.host === host && operator.spec === spec) return operator;
    this.#drop();
    if (host) {
      retainHost(host);
      this.#operator = new Operator(host, spec);
    } else if (!this.#opening) {
      this.#opening = true;
      // Until then, and where there is no host for this backend, tfjs computes.
      void thinReady()
        .catch(() => {})
        .finally(() => {
          this.#opening = false;
        });
    }
    return this.#operator;
  }

  #drop(): void {
    if (!this.#operator) return;
    const { host } = this.#operator;
    this.#operator.free();
    this.#operator = undefined;
    releaseHost(host);
  }

  override dispose(): ReturnType<tfl.layers.Layer['dispose']> {
    const result = super.dispose();
    if (result.refCountAfterDispose === 0 && !this.#disposed) {
      this.#disposed = true;
      this.#drop();
    }
    return result;
  }

  override getConfig(): tf.serialization.ConfigDict {
    const config = super.getConfig();
    const own = { packed: this.#layout, activation: this.#activation, useBias: this.#useBias };
    return Object.assign(config, own) as tf.serialization.ConfigDict;
  }
}

function filterShape(kernel: Float32Array, known: readonly number[], place: string): number[] {
  const size = known.reduce((product, dim) => product * (dim || 1), 1);
  const open = kernel.length / size;
  if (!Number.isInteger(open)) refuse(`${place}: kernel`, `a multiple of ${size} numbers`, String(kernel.length));
  return known.map((dim) => dim || open);
}

function refuse(place: string, expected: string, got: string): never {
  throw new ThinferError({ code: 'bad-argument', place, expected, got });
}

const pairOf = (pair: Pair | undefined): [number, number] =>
  typeof pair === 'object' ? [pair[0], pair[1]] : [pair ?? 1, pair ?? 1];

/** `tf.layers.dense` over packed weights. */
export class ThinDense extends ThinLayer {
  static readonly className = 'ThinDense';
  protected readonly kind = 'matMul';

  constructor(args: ThinDenseArgs) {
    super('matMul', args, args.units, [0, args.units]);
  }

  protected window() {
    return {};
  }

  override computeOutputShape(inputShape: Shape): Shape {
    return [...inputShape.slice(0, -1), this.rows];
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { ...super.getConfig(), units: this.rows };
  }
}

abstract class ThinWindow extends ThinLayer {
  readonly #args: ThinWindowArgs;

  constructor(kind: OperatorKind, args: ThinWindowArgs, outputs: number | undefined, kernelShape: readonly number[]) {
    super(kind, args, outputs, kernelShape);
    this.#args = args;
  }

  protected window(): { window: WindowOptions; channels?: number } {
    const { kernelSize, strides, padding = 'valid', dilationRate } = this.#args;
    return { window: { kernel: kernelSize, stride: strides, dilation: dilationRate, padding } };
  }

  override computeOutputShape([batch, height, width]: Shape): Shape {
    const { window } = this.window();
    const place = `layer ${this.name}`;
    const of = (size: number | null, axis: 'outHeight' | 'outWidth') =>
      size === null ? null : windowGeometry(window, [1, height ?? size, width ?? size], place)[axis];
    return [batch, of(height, 'outHeight'), of(width, 'outWidth'), this.rows];
  }

  override getConfig(): tf.serialization.ConfigDict {
    const { kernelSize, strides, padding = 'valid', dilationRate } = this.#args;
    const own = {
      kernelSize: pairOf(kernelSize),
      strides: pairOf(strides),
      dilationRate: pairOf(dilationRate),
      padding,
    };
    return { ...super.getConfig(), ...own };
  }
}

/** `tf.layers.conv2d` over packed weights; channels last. */
export class ThinConv2D extends ThinWindow {
  static readonly className = 'ThinConv2D';
  protected readonly kind = 'conv2d';

  constructor(args: ThinConv2DArgs) {
    super('conv2d', args, args.filters, [...pairOf(args.kernelSize), 0, args.filters]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { ...super.getConfig(), filters: this.rows };
  }
}

/** `tf.layers.depthwiseConv2d` over packed weights; channels last. */
export class ThinDepthwiseConv2D extends ThinWindow {
  static readonly className = 'ThinDepthwiseConv2D';
  protected readonly kind = 'depthwiseConv2d';
  readonly #multiplier: number;

  constructor(args: ThinDepthwiseConv2DArgs) {
    const { depthMultiplier = 1 } = args;
    super('depthwiseConv2d', args, undefined, [...pairOf(args.kernelSize), 0, depthMultiplier]);
    this.#multiplier = depthMultiplier;
  }

  protected override window() {
    return { ...super.window(), channels: this.rows / this.#multiplier };
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { ...super.getConfig(), depthMultiplier: this.#multiplier };
  }
}

for (const layer of [ThinDense, ThinConv2D, ThinDepthwiseConv2D]) tf.serialization.registerClass(layer as never);

export const thinDense = (args: ThinDenseArgs): ThinDense => new ThinDense(args);
export const thinConv2D = (args: ThinConv2DArgs): ThinConv2D => new ThinConv2D(args);
export const thinDepthwiseConv2D = (args: ThinDepthwiseConv2DArgs): ThinDepthwiseConv2D =>
  new ThinDepthwiseConv2D(args);

const kept = new WeakSet<Host>();

/**
 * Makes our kernels ready for the backend that tfjs uses now. Layers that run before compute with tfjs's own operators:
 * the same answers, slowly.
 */
export async function thinReady({ wasm }: { wasm?: WasmOptions } = {}): Promise<void> {
  const host = await acquireHost(wasm);
  if (kept.has(host)) releaseHost(host);
  kept.add(host);
}
