// What steps do with the layers of a graph.

import { describe, ThinferError } from '../errors.js';
import { csr, dense, formatOf, type Weights } from '../formats/index.js';
import { type Graph, givesFloats, isLayer, type LayerNode } from '../graph/ir.js';
import type { LayerChoice } from './step.js';

/** Weights with the layers that they are the weights of: several only where layers share them. */
export interface Unit {
  /** Of the first of the layers. */
  name: string;
  weights: Weights;
  layers: readonly LayerNode[];
}

/**
 * The weights of a graph that a step may change, in the order in which they are met: of f32 layers, which neither take
 * codes nor give any.
 * @throws ThinferError `bad-argument` for names that are no layer's, and layers that were named and are none of f32
 */
export function unitsOf(graph: Graph, { only, except }: LayerChoice, place: string): Unit[] {
  const layers = graph.nodes.filter(isLayer);
  const names = layers.map(({ name }) => name);
  const unknown = [...(only ?? []), ...(except ?? [])].find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: `layers out of ${names.map((name) => JSON.stringify(name)).join(', ') || '(the model has none)'}`,
      got: describe(unknown),
    });
  }
  const units = new Map<Weights, LayerNode[]>();
  for (const layer of layers) units.set(layer.weights, [...(units.get(layer.weights) ?? []), layer]);
  return [...units.values()]
    .filter((shared) => {
      const named = shared.find(({ name }) => only?.includes(name));
      const floats = shared.every((layer) => !layer.inputCodes && givesFloats(layer));
      if (named && !floats) {
        const got = 'one of codes';
        throw new ThinferError({
          code: 'bad-argument',
          place: `${place}: layer "${named.name}"`,
          expected: 'a layer of f32',
          got,
        });
      }
      return floats && (named || !only) && !shared.some(({ name }) => except?.includes(name));
    })
    .map((shared) => ({ name: shared[0].name, weights: shared[0].weights, layers: shared }));
}

/** What weights in any format stand for, [rows, cols]: not to be written to, those of dense weights are not copied. */
export function valuesOf(weights: Weights): Float32Array {
  return weights.format === 'dense' ? weights.values : formatOf(weights).unpack(weights);
}

const SPARSE = ['csr', 'bcsr', 'nm', 'csrInt8', 'csrCodebook'] as const satisfies Weights['format'][];

/** True for weights that a step before has pruned, or that came so: their zeros have to stay. */
export function isPruned({ format }: Weights): boolean {
  return (SPARSE as readonly string[]).includes(format);
}

export function bytesOf(weights: Weights): number {
  return formatOf(weights).bytes(weights);
}

/** csr where that takes fewer bytes, else dense: zeros in it are still there for the scheduler to find. */
export function packSparse(values: Float32Array, shape: { rows: number; cols: number }): Weights {
  const { rows, cols } = shape;
  const sparse = csr.pack(values, { rows, cols });
  return bytesOf(sparse) < 4 * values.length ? sparse : dense.pack(values, { rows, cols });
}

/** The graph with other weights; layers that share weights still do. */
export function withWeights(graph: Graph, replaced: ReadonlyMap<Weights, Weights>): Graph {
  if (replaced.size === 0) return graph;
  return mapLayers(graph, (layer) => {
    const weights = replaced.get(layer.weights);
    return weights ? { ...layer, weights } : layer;
  });
}

export function mapLayers(graph: Graph, change: (layer: LayerNode) => LayerNode): Graph {
  return { ...graph, nodes: graph.nodes.map((node) => (isLayer(node) ? change(node) : node)) };
}

/** Runs `work` on a layer: errors of ours name it. */
export function atLayer<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    const { code, expected, got, hint } = error;
    throw new ThinferError({ code, place: `layer "${name}": ${error.place}`, expected, got, hint, cause: error });
  }
}

/** ||a - b|| / ||b||; 0 where both are zeros. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let error = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    error += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return error === 0 ? 0 : Math.sqrt(error / size);
}
