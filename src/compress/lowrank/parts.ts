import { Matrix } from 'ml-matrix';
import type { DenseWeights } from '../../formats/index.js';
import { type Conv2dNode, type Graph, isLayer, type LayerNode, NO_CLAMP } from '../../graph/ir.js';
import { Rewriter } from '../../graph/passes/rewrite.js';
import {
  type Canonical,
  type CanonicalTerms,
  canonical,
  type Decomposition,
  decompose,
  type Kernel,
  squares,
  type Tucker,
  type TuckerBases,
  tucker,
} from './factors.js';

/** One of the layers that take a layer's place: its weights, and for convolutions its window and groups. */
export interface Part {
  weights: DenseWeights;
  /** Of convolutions: that of the layer, or 1 x 1. */
  window: 'own' | 'point';
  groups?: number;
}

/** One way to factorise a layer. */
export interface Candidate {
  /** In words: `rank 12`. */
  name: string;
  /** The share of the squares of all weights that it keeps. */
  energy(): number;
  /** Weights of all parts together. */
  size: number;
  parts(): Part[];
}

/** A method of factorising. Candidates keep more and take more one after the other. */
export interface Method {
  name: string;
  /** Why a layer can't be factorised so; undefined where it can. */
  refuses(layer: LayerNode): string | undefined;
  candidates(layer: LayerNode, values: Float32Array): Candidate[];
  /** The candidate of a given rank. */
  at(layer: LayerNode, values: Float32Array, rank: number | readonly [number, number]): Candidate;
}

/** [rows, cols] as weights. */
function weightsOf(matrix: Matrix): DenseWeights {
  const { rows, columns: cols } = matrix;
  return { format: 'dense', rows, cols, values: Float32Array.from(matrix.to1DArray()) };
}

function kernelSize({ window: { kernel } }: Conv2dNode): [height: number, width: number] {
  return typeof kernel === 'object' ? [kernel[0], kernel[1]] : [kernel, kernel];
}

function kernelOf(layer: Conv2dNode, values: Float32Array): Kernel {
  const [height, width] = kernelSize(layer);
  const taps = height * width;
  return { outputs: layer.weights.rows, taps, inputs: layer.weights.cols / taps, values };
}

const clampRank = (rank: number, most: number): number => Math.min(Math.max(Math.round(rank), 1), most);

const inGroups = (layer: LayerNode): string | undefined =>
  layer.op === 'conv2d' && layer.groups > 1 ? 'a convolution in groups' : undefined;

/** A layer as two: to few channels, and from those to its own. */
export const SVD: Method = {
  name: 'SVD',
  refuses: inGroups,
  candidates(layer, values) {
    const { rows, cols } = layer.weights;
    const made = decomposition(rows, cols, values);
    return Array.from({ length: Math.min(rows, cols) }, (_, i) => svdAt(layer, made, i + 1));
  },
  at(layer, values, rank) {
    const { rows, cols } = layer.weights;
    const most = Math.min(rows, cols);
    return svdAt(layer, decomposition(rows, cols, values), clampRank(typeof rank === 'number' ? rank : rank[1], most));
  },
};

const decomposition = (rows: number, cols: number, values: Float32Array): Decomposition =>
  decompose(Matrix.from1DArray(rows, cols, values as unknown as number[]));

function svdAt(layer: LayerNode, { energies, at }: Decomposition, rank: number): Candidate {
  const { rows, cols } = layer.weights;
  const sum = (list: Float64Array) => list.reduce((total, x) => total + x, 0);
  return {
    name: `rank ${rank}`,
    energy: () => sum(energies.subarray(0, rank)) / (sum(energies) || 1),
    size: rank * (rows + cols),
    parts() {
      const { left, right } = at(rank);
      const [first, second] = [weightsOf(right), weightsOf(left)];
      return [
        { weights: first, window: 'own' },
        { weights: second, window: 'point' },
      ];
    },
  };
}

/** Shares of the channels that Tucker-2 is tried with. */
const SHARES = 32;

/** Fewer channels before, a smaller kernel, and more channels behind. */
export const TUCKER: Method = {
  name: 'Tucker-2',
  refuses: (layer) => notSpatial(layer) ?? inGroups(layer),
  candidates(layer, values) {
    const kernel = kernelOf(layer as Conv2dNode, values);
    const { outputs, inputs } = kernel;
    const bases = tucker(kernel);
    const ranks = new Map<string, [number, number]>();
    for (let k = 1; k <= SHARES; k++) {
      const pair: [number, number] = [Math.ceil((k * inputs) / SHARES), Math.ceil((k * outputs) / SHARES)];
      ranks.set(pair.join(), pair);
    }
    return [...ranks.values()].map(([inputRank, outputRank]) => tuckerAt(kernel, bases, inputRank, outputRank));
  },
  at(layer, values, rank) {
    const kernel = kernelOf(layer as Conv2dNode, values);
    const [inputRank, outputRank] = typeof rank === 'number' ? [rank, rank] : rank;
    const { inputs, outputs } = kernel;
    return tuckerAt(kernel, tucker(kernel), clampRank(inputRank, inputs), clampRank(outputRank, outputs));
  },
};

function tuckerAt(kernel: Kernel, bases: TuckerBases, inputRank: number, outputRank: number): Candidate {
  const { outputs, taps, inputs, values } = kernel;
  let made: Tucker | undefined;
  return {
    name: `ranks ${inputRank} and ${outputRank}`,
    energy: () => (made ? squares(made.core.values) / (squares(values) || 1) : bases.energy(outputRank, inputRank)),
    size: inputs * inputRank + inputRank * taps * outputRank + outputRank * outputs,
    parts() {
      made ??= bases.at(outputRank, inputRank);
      const { core, in: input, out } = made;
      const middle = { rows: outputRank, cols: taps * inputRank, values: Float32Array.from(core.values) };
      return [
        { weights: weightsOf(input.transpose()), window: 'point' },
        { weights: { format: 'dense', ...middle }, window: 'own' },
        { weights: weightsOf(out), window: 'point' },
      ];
    },
  };
}

/** Terms of CP that are tried: each a fourth more than the one before. */
function termCounts(most: number): number[] {
  const counts: number[] = [];
  for (let count = 1; count < most; count = Math.ceil(count * 1.25)) counts.push(count);
  return [...counts, most];
}

/** Channels, a depthwise kernel over each, and channels again. */
export const CP: Method = {
  name: 'CP',
  refuses: (layer) => notSpatial(layer) ?? inGroups(layer),
  candidates(layer, values) {
    const kernel = kernelOf(layer as Conv2dNode, values);
    const { outputs, taps, inputs } = kernel;
    // With more terms than this there is nothing to gain.
    const most = Math.max(Math.floor((outputs * taps * inputs) / (outputs + taps + inputs)), 1);
    const found = canonical(kernel);
    return termCounts(most).map((terms) => cpAt(kernel, found, terms));
  },
  at(layer, values, rank) {
    const kernel = kernelOf(layer as Conv2dNode, values);
    return cpAt(kernel, canonical(kernel), Math.max(typeof rank === 'number' ? rank : rank[1], 1));
  },
};

function cpAt({ outputs, taps, inputs }: Kernel, found: CanonicalTerms, terms: number): Candidate {
  let made: Canonical | undefined;
  return {
    name: `${terms} terms`,
    energy: () => (made ?? found.quick(terms)).energy,
    size: terms * (outputs + taps + inputs),
    parts() {
      made ??= found.at(terms);
      return [
        { weights: weightsOf(made.in.transpose()), window: 'point' },
        { weights: weightsOf(made.taps.transpose()), window: 'own', groups: terms },
        { weights: weightsOf(made.out), window: 'point' },
      ];
    },
  };
}

function notSpatial(layer: LayerNode): string | undefined {
  if (layer.op !== 'conv2d') return 'no convolution';
  const [height, width] = kernelSize(layer);
  return height * width === 1 ? 'a kernel of one pixel' : undefined;
}

/** Names of the parts of a layer. */
export const partName = (layer: LayerNode, index: number): string => `${layer.name}.${index + 1}`;

/** The graph with parts in the place of layers: the last has the bias and whatever ends the layer. */
export function withParts(graph: Graph, factored: ReadonlyMap<LayerNode, readonly Part[]>): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const parts = isLayer(node) ? factored.get(node) : undefined;
    if (!parts || !isLayer(node)) {
      rewriter.emit(node);
      continue;
    }
    let { inputs } = node;
    for (const [i, { weights, window, groups = 1 }] of parts.entries()) {
      const last = i === parts.length - 1;
      const { bias, nonlinearity, sparse: _, ...rest } = node;
      const output = last ? node.output : rewriter.value(`${rewriter.name(node.output)}.${i + 1}`);
      const ends = last ? { bias, nonlinearity } : { clamp: NO_CLAMP };
      const part = { ...rest, ...ends, name: partName(node, i), inputs, output, weights };
      const size = node.op === 'conv2d' && window === 'own' ? node.window : { kernel: [1, 1] as const };
      rewriter.emit(part.op === 'conv2d' ? { ...part, window: size, groups } : part);
      inputs = [output];
    }
  }
  return rewriter.finish();
}
