import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { Weights } from '../formats/index.js';
import type { CodesHandler, KeptCodes } from './codes.js';
import { type Formats, packFound, requireNames } from './found.js';
import { thinReady } from './layers.js';
import { findInLayers, type LayersModel } from './layers-model.js';
import { type WeightsLayout, writeWeights } from './serial.js';

export interface ThinModelOptions {
  /** As of `accelerate`. */
  formats?: Formats;
  /** The handler that the model was loaded with, if it was one of `keepCodes`. */
  codes?: CodesHandler;
}

/** The layers that have a thin one. */
const THIN: Readonly<Record<string, string>> = {
  Dense: 'ThinDense',
  Conv2D: 'ThinConv2D',
  DepthwiseConv2D: 'ThinDepthwiseConv2D',
};

/** A layer in the configuration of a model, its keys as Python writes them. */
interface LayerConfig {
  class_name: string;
  config: { name: string; layers?: LayerConfig[]; packed?: WeightsLayout };
}

/**
 * A copy of a model whose `Dense`, `Conv2D` and `DepthwiseConv2D` layers hold packed weights: to be saved and shipped, as
 * `model.save` writes them packed. Layers that a format leaves dense stay what they are. The model that was given stays too.
 * @throws ThinferError `bad-argument` for names and formats, `bad-weights` where a format can't hold a layer's weights
 */
export async function thinModel(model: tfl.LayersModel, options: ThinModelOptions = {}): Promise<tfl.LayersModel> {
  await thinReady();
  const { formats = 'auto' } = options;
  const codes = options.codes?.codes ?? new Map<string, KeptCodes>();
  const { sites, kept } = await findInLayers(model as unknown as LayersModel, codes, false);
  requireNames(formats, [...sites.map(({ layer }) => layer.name), ...kept.map(({ name }) => name)]);
  const packed = new Map<string, Weights>();
  for (const { layer, found } of sites) {
    if (!THIN[layer.getClassName()]) continue;
    const weights = packFound(found[0], formats);
    if (weights.format !== 'dense') packed.set(layer.name, weights);
  }
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
    }),
  );
  const { modelTopology, ...artifacts } = saved!;
  const topology = JSON.parse(JSON.stringify(modelTopology));
  const layouts = new Map<string, Int32Array>();
  rewrite((topology.model_config ?? topology) as LayerConfig, packed, layouts);
  const weights = await packedWeights(artifacts, layouts);
  return tfl.loadLayersModel(tf.io.fromMemory({ modelTopology: topology, ...weights }));
}

/** Makes the named layers of a configuration thin ones. */
function rewrite(entry: LayerConfig, packed: ReadonlyMap<string, Weights>, words: Map<string, Int32Array>): void {
  for (const inner of entry.config.layers ?? []) {
    rewrite(inner, packed, words);
    const weights = THIN[inner.class_name] ? packed.get(inner.config.name) : undefined;
    if (!weights) continue;
    const written = writeWeights(weights);
    words.set(inner.config.name, written.words);
    inner.class_name = THIN[inner.class_name];
    const keys = Object.entries(written.layout).map(([key, value]) => [snakeCase(key), value]);
    inner.config.packed = Object.fromEntries(keys);
  }
}

const snakeCase = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The weights of a model with those of the named layers packed. */
async function packedWeights(
  { weightSpecs, weightData }: tf.io.ModelArtifacts,
  words: ReadonlyMap<string, Int32Array>,
): Promise<Pick<tf.io.ModelArtifacts, 'weightSpecs' | 'weightData'>> {
  const tensors = tf.io.decodeWeights(tf.io.CompositeArrayBuffer.join(weightData), weightSpecs!);
  const named: { name: string; tensor: tf.Tensor }[] = [];
  for (const { name } of weightSpecs!) {
    const [layer, weight] = [name.slice(0, name.lastIndexOf('/')), name.slice(name.lastIndexOf('/') + 1)];
    const packed = words.get(layer);
    const isKernel = packed && /^(depthwise_)?kernel$/.test(weight);
    const tensor = isKernel ? tf.tensor1d(packed, 'int32') : tensors[name];
    named.push({ name: isKernel ? `${layer}/packed` : name, tensor });
  }
  try {
    const { data, specs } = await tf.io.encodeWeights(named);
    return { weightSpecs: specs, weightData: data };
  } finally {
    tf.dispose([tensors, named.map(({ tensor }) => tensor)]);
  }
}
