// The forms that weights can be switched to, and what each makes of the layers of a network.
import { dense } from '../src/formats/index.js';
import { denseValues, type Graph, isDense, isLayer, type LayerNode } from '../src/graph/ir.js';
import type { WeightSpec, WeightsSpec } from '../src/graph/pack.js';

export const FORMS = [
  { name: 'file', label: 'As in the file', hint: 'nothing is changed; zeros are left out where that pays' },
  { name: 'dense', label: 'Dense f32', hint: 'every weight as 32 bits, zeros too: what others are compared with' },
  { name: 'sparse', label: 'Pruned', hint: 'only weights that are not zero (csr); the slider drops more' },
  { name: 'int8', label: 'int8', hint: '8-bit weights, a scale a row; multiplies 8-bit activations' },
  { name: 'int4', label: 'int4', hint: '4-bit weights, a scale for 32 of them' },
  { name: 'codebook', label: 'Codebook', hint: '16 shared f32 values a layer, 4-bit indices' },
  { name: 'ternary', label: 'Ternary', hint: '-1, 0 or 1 times a scale; first and last layer dense' },
  { name: 'binary', label: 'Binary', hint: '-1 or 1 times a scale; first and last layer dense' },
  { name: 'xnor', label: 'XNOR', hint: 'one-bit weights and one-bit activations; first and last layer dense' },
] as const;

export type FormName = (typeof FORMS)[number]['name'];

export const labelOf = (form: FormName): string => FORMS.find(({ name }) => name === form)!.label;

/** Which weights are dropped: a share of those of all layers, or of one. */
export interface Pruning {
  /** 0..1 */
  share: number;
  /** The name of a layer; absent: all of them together, so that those with small weights lose more. */
  layer?: string;
}

/** A layer as the page shows it. */
export interface LayerFacts {
  name: string;
  label: string;
  cols: number;
  weights: number;
  /** Of them, those that are not zero. */
  nonZeros: number;
}

/** Shorter rows gain nothing from one bit a weight. */
const LOW_BIT_MIN_COLS = 64;
/** So small that it changes no sum, and no zero. */
const NEXT_TO_ZERO = 1e-30;

/** Layers whose weights may take another form; those that a file has packed stay as they are. */
export const openLayers = (graph: Graph): LayerNode[] => graph.nodes.filter(isLayer).filter(isDense);

/** `3: conv2d 64 x 288`: names in files can be very long. */
export function labelOfLayer({ op, weights: { rows, cols } }: LayerNode, index: number): string {
  return `${index + 1}: ${op === 'linear' ? 'linear' : 'conv'} ${rows} × ${cols}`;
}

export function factsOf(graph: Graph): LayerFacts[] {
  return openLayers(graph).map((layer, i) => {
    const values = denseValues(layer);
    return {
      name: layer.name,
      label: labelOfLayer(layer, i),
      cols: layer.weights.cols,
      weights: values.length,
      nonZeros: values.reduce((count, w) => count + Number(w !== 0), 0),
    };
  });
}

/** Layers that one bit or two a weight are for: neither the first nor the last, nor those of short rows. */
const takesLowBits = (cols: number, index: number, layers: readonly unknown[]): boolean =>
  index > 0 && index < layers.length - 1 && cols >= LOW_BIT_MIN_COLS;

/** Why a form makes no sense for a network; undefined when it does. */
export function obstacle(form: FormName, layers: readonly LayerFacts[]): string | undefined {
  if (form === 'file') return undefined;
  if (layers.length === 0) return 'the file has its weights packed, and they run as they are';
  const lowBit = form === 'ternary' || form === 'binary' || form === 'xnor';
  if (!lowBit || layers.some(({ cols }, i) => takesLowBits(cols, i, layers))) return undefined;
  return `no layer between the first and the last has rows of ${LOW_BIT_MIN_COLS} weights or more`;
}

/**
 * A graph whose layers run dense: kernels find zeros and leave them out, which is right and not what a yardstick should do.
 */
export function withoutZeros(graph: Graph): Graph {
  const nodes = graph.nodes.map((node) => {
    if (!isLayer(node) || !isDense(node)) return node;
    const { rows, cols } = node.weights;
    const values = denseValues(node).map((w) => (w === 0 ? NEXT_TO_ZERO : w));
    return { ...node, weights: dense.pack(values, { rows, cols }) };
  });
  return { ...graph, nodes };
}

/** Finds the magnitude up to which weights are dropped. Sorted magnitudes are kept: moving a slider sorts nothing again. */
export class Thresholds {
  readonly #sorted = new Map<string, Float32Array>();

  of(layers: readonly LayerNode[], { share, layer }: Pruning): number {
    const sorted = this.#sortedOf(layers, layer);
    const dropped = Math.min(Math.round(share * sorted.length), sorted.length - 1);
    return dropped > 0 ? sorted[dropped - 1] : 0;
  }

  #sortedOf(layers: readonly LayerNode[], name: string | undefined): Float32Array {
    const key = name ?? '';
    let sorted = this.#sorted.get(key);
    if (!sorted) {
      const chosen = layers.filter((layer) => name === undefined || layer.name === name).map(denseValues);
      sorted = new Float32Array(chosen.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const values of chosen) {
        sorted.set(values.map(Math.abs), at);
        at += values.length;
      }
      sorted.sort();
      this.#sorted.set(key, sorted);
    }
    return sorted;
  }
}

/** What is to be done with each layer. */
export function specOf(graph: Graph, form: FormName, pruning: Pruning, thresholds: Thresholds): WeightsSpec {
  const layers = openLayers(graph);
  if (layers.length === 0) return 'auto';
  const every = (spec: WeightSpec): WeightsSpec => ({ '*': spec });
  switch (form) {
    case 'file':
      return 'auto';
    case 'sparse': {
      const spec: WeightSpec = { format: 'csr', threshold: thresholds.of(layers, pruning) };
      return pruning.layer === undefined ? every(spec) : { [pruning.layer]: spec };
    }
    case 'dense':
    case 'int8':
    case 'int4':
      return every({ format: form });
    case 'codebook':
      return every({ format: 'codebook', entries: 16 });
    default: {
      const kept = layers.filter(({ weights: { cols } }, i) => !takesLowBits(cols, i, layers));
      return {
        ...Object.fromEntries(kept.map(({ name }) => [name, { format: 'dense' } as WeightSpec])),
        '*': { format: form },
      };
    }
  }
}
