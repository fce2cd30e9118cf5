import * as tf from '@tensorflow/tfjs-core';
import type { Activation } from '../plan/problem.js';
import { activationOf } from './activations.js';
import type { KeptCodes } from './codes.js';
import { type Affine, batchNorm, type Found, type Kept } from './found.js';

/** What is used of a variable of tfjs-layers. */
interface LayerVariable {
  /** As a file has it: `name` is made unique in the program. */
  readonly originalName: string;
  read(): tf.Tensor;
}

interface LayerNode {
  outboundLayer: Layer;
  inboundLayers: Layer[];
}

/** What is used of a layer of tfjs-layers. */
export interface Layer {
  readonly name: string;
  readonly inboundNodes: LayerNode[];
  readonly outboundNodes: LayerNode[];
  getClassName(): string;
  call(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor | tf.Tensor[];
  invokeCallHook?(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): void;
  layers?: Layer[];
  outputs?: { sourceLayer: Layer }[];
  kernel?: LayerVariable;
  depthwiseKernel?: LayerVariable;
  pointwiseKernel?: LayerVariable;
  bias?: LayerVariable | null;
  gamma?: LayerVariable;
  beta?: LayerVariable;
  movingMean?: LayerVariable;
  movingVariance?: LayerVariable;
  epsilon?: number;
  axis?: number;
  activation?: { getClassName(): string; apply(x: tf.Tensor): tf.Tensor } | null;
  strides?: number[];
  padding?: string | number[][];
  dataFormat?: string;
  dilationRate?: number | number[];
  depthMultiplier?: number;
  maxValue?: number | null;
  /** Of wrappers such as TimeDistributed and Bidirectional. */
  layer?: Layer;
}

/** What is used of tf.LayersModel. */
export interface LayersModel extends Layer {
  layers: Layer[];
  inputs: { shape: (number | null)[]; dtype: string }[];
  outputs: { sourceLayer: Layer }[];
  predict(x: tf.Tensor | tf.Tensor[], args?: object): tf.Tensor | tf.Tensor[];
  dispose(): unknown;
}

/** What one layer of a model is replaced by: its operators one after the other. */
export interface LayerSite {
  layer: Layer;
  found: Found[];
  /** What tfjs still applies, as our kernels don't end with it. */
  rest: ((x: tf.Tensor) => tf.Tensor) | undefined;
  /** Layers that need not run: padding before, batch norm and activation behind. */
  absorbed: Layer[];
  /** Weights as they were when it was made: others are multiplied by tfjs. */
  variables: { variable: LayerVariable; dataId: tf.DataId }[];
}

const REPLACED = ['Dense', 'Conv2D', 'DepthwiseConv2D', 'SeparableConv2D', 'Conv1D'];
/** Layers with weights that are worth a word in the report. */
const WEIGHTED = [...REPLACED, 'Conv2DTranspose', 'Conv3D', 'LSTM', 'GRU', 'SimpleRNN', 'Embedding', 'RNN'];

/** All layers of a model, those of models in it too. */
function layersOf(model: Layer): Layer[] {
  return (model.layers ?? []).flatMap((layer) => (layer.layers ? [layer, ...layersOf(layer)] : [layer]));
}

/** Layers whose output somebody outside the graph may want. */
function outputLayers(model: Layer): Set<Layer> {
  const models = [model, ...layersOf(model).filter((layer) => layer.layers)];
  return new Set(models.flatMap((one) => one.outputs ?? []).map(({ sourceLayer }) => sourceLayer));
}

/**
 * What can be replaced in a model, and what not and why.
 * @param fold what stands before and behind into it
 */
export async function findInLayers(
  model: LayersModel,
  codes: ReadonlyMap<string, KeptCodes>,
  fold = true,
): Promise<{ sites: LayerSite[]; kept: Kept[] }> {
  const outputs = outputLayers(model);
  const sites: LayerSite[] = [];
  const kept: Kept[] = [];
  const taken = new Set<Layer>();
  for (const layer of new Set(layersOf(model))) {
    const op = layer.getClassName();
    if (layer.layer && WEIGHTED.includes(layer.layer.getClassName())) {
      kept.push({ name: layer.name, op, why: `wraps a ${layer.layer.getClassName()}` });
      continue;
    }
    if (!WEIGHTED.includes(op)) continue;
    const why = REPLACED.includes(op) ? whyNot(layer) : `no kernel for ${op}`;
    if (why) kept.push({ name: layer.name, op, why });
    else sites.push(await siteOf(layer, fold ? outputs : 'all', codes, taken));
  }
  return { sites, kept };
}

function whyNot(layer: Layer): string | undefined {
  if (layer.dataFormat === 'channelsFirst') return 'channels come first';
  if (layer.padding === 'causal') return 'causal padding';
  const kernel = layer.kernel ?? layer.depthwiseKernel;
  if (!kernel) return 'it has no weights yet: build the model first';
  if (kernel.read().dtype !== 'float32') return `weights of ${kernel.read().dtype}`;
  return undefined;
}

/** Layers whose output is wanted as it is. */
type Outputs = ReadonlySet<Layer> | 'all';

async function siteOf(
  layer: Layer,
  outputs: Outputs,
  codes: ReadonlyMap<string, KeptCodes>,
  taken: Set<Layer>,
): Promise<LayerSite> {
  const variables: LayerSite['variables'] = [];
  const read = async (variable: LayerVariable | null | undefined) => {
    if (!variable) return undefined;
    const tensor = variable.read();
    variables.push({ variable, dataId: tensor.dataId });
    return {
      values: (await tensor.data()) as Float32Array,
      shape: tensor.shape,
      codes: codes.get(variable.originalName),
    };
  };
  const op = layer.getClassName();
  const absorbed: Layer[] = [];
  const activationName = layer.activation?.getClassName();
  let activation = activationOf(activationName);
  const rest = activation === undefined ? (x: tf.Tensor) => layer.activation!.apply(x) : undefined;

  const padding = op === 'Dense' ? undefined : paddingBefore(layer, outputs, taken);
  if (padding) absorbed.push(padding.layer);
  let affine: Affine | undefined;
  if (activation === 'none') {
    let last = layer;
    const norm = nextOf(last, outputs);
    if (norm?.getClassName() === 'BatchNormalization' && foldable(norm, layer)) {
      const [mean, variance, gamma, beta] = [
        await read(norm.movingMean),
        await read(norm.movingVariance),
        await read(norm.gamma),
        await read(norm.beta),
      ];
      affine = batchNorm(mean!.values, variance!.values, gamma?.values, beta?.values, norm.epsilon!);
      absorbed.push(norm);
      last = norm;
    }
    const next = nextOf(last, outputs);
    const after = next && activationOfLayer(next);
    if (after !== undefined) {
      activation = after;
      absorbed.push(next!);
    }
  }
  for (const one of absorbed) taken.add(one);

  const names = absorbed.map(({ name }) => name);
  const bias = (await read(layer.bias))?.values;
  const last = { bias, activation, affine, absorbed: names };
  const first = { name: layer.name, op };
  const found: Found[] = [];
  if (op === 'Dense') {
    found.push({ ...first, ...last, kind: 'matMul', ...(await read(layer.kernel))! });
  } else if (op === 'Conv2D') {
    const kernel = (await read(layer.kernel))!;
    found.push({ ...first, ...last, kind: 'conv2d', ...kernel, window: windowOf(layer, kernel.shape, padding?.edges) });
  } else if (op === 'Conv1D') {
    const kernel = (await read(layer.kernel))!;
    const shape = [1, ...kernel.shape];
    found.push({ ...first, ...last, kind: 'conv2d', ...kernel, shape, window: windowOf(layer, shape, undefined) });
  } else {
    const kernel = (await read(layer.depthwiseKernel))!;
    const depthwise = {
      kind: 'depthwiseConv2d' as const,
      ...kernel,
      channels: kernel.shape[2],
      window: windowOf(layer, kernel.shape, padding?.edges),
    };
    if (op === 'DepthwiseConv2D') {
      found.push({ ...first, ...last, ...depthwise });
    } else {
      found.push({ ...first, absorbed: [], ...depthwise });
      const pointwise = (await read(layer.pointwiseKernel))!;
      found.push({ ...first, ...last, kind: 'conv2d', ...pointwise, window: { kernel: 1 } });
    }
  }
  return { layer, found, rest, absorbed, variables };
}

const pair = (value: number | number[] | undefined | null): [number, number] => {
  const list = typeof value === 'number' ? [value] : (value ?? [1]);
  // Of one dimension: that of the width.
  return list.length === 1 ? [1, list[0]] : [list[0], list[1]];
};

function windowOf(layer: Layer, shape: readonly number[], edges: Edges | undefined): Found['window'] {
  // tfjs's DepthwiseConv2D has the option and does not read it.
  const dilation = layer.getClassName() === 'DepthwiseConv2D' ? undefined : layer.dilationRate;
  const square = (value: number | number[] | undefined | null) =>
    typeof value === 'number' && layer.getClassName() !== 'Conv1D' ? [value, value] : value;
  return {
    kernel: [shape[0], shape[1]],
    stride: pair(square(layer.strides)),
    dilation: pair(square(dilation)),
    padding: edges ?? (layer.padding === 'same' ? 'same' : 'valid'),
  };
}

type Edges = readonly [top: number, left: number, bottom: number, right: number];

/** The only layer that reads what this one gives, if it reads nothing else and is used nowhere else. */
function nextOf(layer: Layer, outputs: Outputs): Layer | undefined {
  if (outputs === 'all' || outputs.has(layer) || layer.inboundNodes.length !== 1 || layer.outboundNodes.length !== 1)
    return undefined;
  const [{ outboundLayer, inboundLayers }] = layer.outboundNodes;
  return outboundLayer.inboundNodes.length === 1 && inboundLayers.length === 1 ? outboundLayer : undefined;
}

function paddingBefore(layer: Layer, outputs: Outputs, taken: ReadonlySet<Layer>) {
  if (layer.padding !== 'valid' || layer.inboundNodes.length !== 1) return undefined;
  const [before] = layer.inboundNodes[0].inboundLayers;
  if (before?.getClassName() !== 'ZeroPadding2D' || before.dataFormat !== 'channelsLast') return undefined;
  if (taken.has(before) || nextOf(before, outputs) !== layer) return undefined;
  const [[top, bottom], [left, right]] = before.padding as number[][];
  const edges: Edges = [top, left, bottom, right];
  return { layer: before, edges };
}

function foldable(norm: Layer, layer: Layer): boolean {
  const rank = layer.getClassName() === 'Conv1D' ? 3 : 4;
  return layer.getClassName() === 'Dense' ? norm.axis === -1 : norm.axis === -1 || norm.axis === rank - 1;
}

function activationOfLayer(layer: Layer): Activation | undefined {
  const op = layer.getClassName();
  if (op === 'ReLU') {
    const { maxValue } = layer;
    return maxValue === null || maxValue === undefined ? 'relu' : { min: 0, max: maxValue };
  }
  if (op !== 'Activation' || !layer.activation) return undefined;
  const activation = activationOf(layer.activation.getClassName());
  return activation === 'none' ? undefined : activation;
}

/** Runs a site's operators, given as functions. */
export function applySite(site: LayerSite, steps: readonly ((x: tf.Tensor) => tf.Tensor)[], x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const flat = site.layer.getClassName() === 'Conv1D';
    let y: tf.Tensor = flat ? tf.reshape(x, [x.shape[0], 1, x.shape[1]!, x.shape[2]!]) : x;
    for (const step of steps) y = step(y);
    if (flat) y = tf.reshape(y, [y.shape[0], y.shape[2]!, y.shape[3]!]);
    return site.rest ? site.rest(y) : y;
  });
}
