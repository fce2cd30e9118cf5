import { dense, type Weights } from '../../formats/index.js';
import { floatBias, type Graph, isLayer, type LayerNode, type Node, type ValueId } from '../../graph/ir.js';
import { isPruned, mapLayers, unitsOf, valuesOf } from '../layers.js';
import type { LayerChoice, Step } from '../step.js';

export interface EqualizeOptions extends LayerChoice {
  /** Times that all pairs are gone through. Default 20. */
  passes?: number;
}

/** Two layers with the channels of the first's output between them. */
interface Pair {
  first: LayerNode;
  second: LayerNode;
}

/** Ranges of rows and columns that are 0 have no scale. */
const ratio = (a: number, b: number): number => (a > 0 && b > 0 ? Math.sqrt(a / b) : 1);

/**
 * Cross-layer equalisation: a channel between two layers is scaled so that its weights before and after it have ranges of
 * the same size, W1 / s and W2 s with s = sqrt(r1 / r2), which changes no output where the function between them is linear
 * for positive factors (none, ReLU): one scale a tensor then fits all channels (Nagel et al. 2019, Data-Free Quantization
 * through Weight Equalization and Bias Correction). Also for activations' sake before `static`. Weights become dense.
 */
export function equalize(options: EqualizeOptions = {}): Step {
  const { passes = 20 } = options;
  return {
    name: 'equalise',
    apply(job) {
      const units = unitsOf(job.graph, options, 'equalize').filter(
        ({ layers, weights }) => layers.length === 1 && !isPruned(weights),
      );
      const pairs = pairsOf(job.graph, new Set(units.map(({ layers }) => layers[0])));
      const values = new Map<LayerNode, Float32Array>();
      const biases = new Map<LayerNode, Float32Array | undefined>();
      for (const layer of new Set(pairs.flatMap(({ first, second }) => [first, second]))) {
        values.set(layer, valuesOf(layer.weights).slice());
        biases.set(layer, floatBias(layer)?.slice());
      }
      for (let pass = 0; pass < passes; pass++) {
        job.progress(pass / passes, '');
        for (const { first, second } of pairs)
          balance(first, values.get(first)!, biases.get(first), second, values.get(second)!);
      }
      for (const { first, second } of pairs) job.note({ layer: first.name, did: `equalised with "${second.name}"` });
      const packed = new Map<LayerNode, Weights>(
        [...values].map(([layer, data]) => [
          layer,
          dense.pack(data, { rows: layer.weights.rows, cols: layer.weights.cols }),
        ]),
      );
      return mapLayers(job.graph, (layer) => {
        const weights = packed.get(layer);
        return weights ? { ...layer, weights, bias: biases.get(layer) } : layer;
      });
    },
  };
}

function balance(
  first: LayerNode,
  w1: Float32Array,
  bias: Float32Array | undefined,
  second: LayerNode,
  w2: Float32Array,
): void {
  const { rows: channels, cols } = first.weights;
  const channelOf = columnChannels(second, channels);
  const r2 = new Float64Array(channels);
  for (let i = 0; i < w2.length; i++) r2[channelOf(i)] = Math.max(r2[channelOf(i)], Math.abs(w2[i]));
  const scale = Float64Array.from({ length: channels }, (_, c) => {
    let r1 = 0;
    for (let i = c * cols; i < (c + 1) * cols; i++) r1 = Math.max(r1, Math.abs(w1[i]));
    return ratio(r1, r2[c]);
  });
  for (let i = 0; i < w1.length; i++) w1[i] /= scale[Math.floor(i / cols)];
  if (bias) for (let c = 0; c < channels; c++) bias[c] /= scale[c];
  for (let i = 0; i < w2.length; i++) w2[i] *= scale[channelOf(i)];
}

/** Which channel of its input a weight is multiplied by. */
function columnChannels(layer: LayerNode, channels: number): (index: number) => number {
  const { rows, cols } = layer.weights;
  if (layer.op === 'linear' || layer.groups === 1) return (i) => (i % cols) % channels;
  const groupChannels = channels / layer.groups;
  const groupRows = rows / layer.groups;
  return (i) => Math.floor(Math.floor(i / cols) / groupRows) * groupChannels + (i % groupChannels);
}

/** Pairs of layers whose first one's output goes nowhere else, by nodes that keep channels apart and positive factors. */
function pairsOf(graph: Graph, chosen: ReadonlySet<LayerNode>): Pair[] {
  const readers = new Map<ValueId, Node[]>();
  for (const node of graph.nodes) {
    for (const id of node.inputs) readers.set(id, [...(readers.get(id) ?? []), node]);
  }
  const outputs = new Set(graph.outputs.map(({ value }) => value));
  const pairs: Pair[] = [];
  for (const first of chosen) {
    const [min, max] = first.clamp;
    if (first.nonlinearity || max !== Number.POSITIVE_INFINITY || (min !== 0 && min !== Number.NEGATIVE_INFINITY))
      continue;
    for (let id = first.output; ; ) {
      const [next, ...others] = readers.get(id) ?? [];
      if (!next || others.length > 0 || outputs.has(id)) break;
      if (isLayer(next)) {
        if (chosen.has(next)) pairs.push({ first, second: next });
        break;
      }
      const pools = next.op === 'maxPool2d' || next.op === 'averagePool2d';
      if (!pools && !(next.op === 'reshape' && keepsChannels(graph, next))) break;
      id = next.output;
    }
  }
  return pairs;
}

/** A reshape that flattens pixels with channels last, or changes nothing but dimensions of 1. */
function keepsChannels(graph: Graph, { inputs, output }: Node): boolean {
  const from = graph.values.get(inputs[0])!.shape.at(-1);
  const to = graph.values.get(output)!.shape.at(-1);
  return typeof from === 'number' && typeof to === 'number' && to % from === 0;
}
