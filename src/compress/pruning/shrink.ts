// A graph without some of its channels.

import { dense } from '../../formats/index.js';
import {
  type Constant,
  floatBias,
  type Graph,
  isLayer,
  type LayerNode,
  type Node,
  type ReshapeDim,
} from '../../graph/ir.js';
import { Rewriter } from '../../graph/passes/rewrite.js';
import { isPruned, packSparse, valuesOf } from '../layers.js';
import { type ChannelClasses, inputChannels } from './channels.js';

/** The graph with the rows and columns of weights, and the elements of constants, of some classes of channels left out. */
export function shrink(graph: Graph, classes: ChannelClasses, dropped: ReadonlySet<number>): Graph {
  const rewriter = new Rewriter(graph);
  /** Indices of a value's last dimension that stay, where some go. */
  const keptOf = (id: number): number[] | undefined => {
    const channels = classes.of(id);
    if (!channels?.some((channel) => dropped.has(channel))) return undefined;
    return [...channels.keys()].filter((i) => !dropped.has(channels[i]));
  };
  const sliced = new Map<string, number>();
  const slice = (id: number, kept: readonly number[]): number => {
    const key = `${id} ${kept.join()}`;
    const constant = graph.constants.get(id)!;
    const known = sliced.get(key) ?? rewriter.constant(`${rewriter.name(id)}.kept`, sliceLast(constant, kept));
    sliced.set(key, known);
    return known;
  };
  for (const node of graph.nodes) {
    const kept = keptOf(node.output);
    if (isLayer(node)) {
      const layer = shrinkLayer(graph, node, kept, keptOf(node.inputs[0]));
      rewriter.emit(layer);
      continue;
    }
    const size = graph.values.get(node.output)!.shape.at(-1);
    const inputs = node.inputs.map((id) => {
      const own = graph.constants.get(id)?.dims.at(-1);
      return kept && own === size ? slice(id, kept) : id;
    });
    rewriter.emit(resized({ ...node, inputs }, kept?.length));
  }
  return rewriter.finish();
}

function sliceLast({ dims, data }: Constant, kept: readonly number[]): Constant {
  const size = dims[dims.length - 1];
  const rows = data.length / size;
  const out = Float32Array.from({ length: rows * kept.length }, (_, i) => {
    return data[Math.floor(i / kept.length) * size + kept[i % kept.length]];
  });
  return { dims: [...dims.slice(0, -1), kept.length], data: out };
}

/** Nodes that say how large their last dimension is. */
function resized(node: Node, size: number | undefined): Node {
  if (node.op !== 'reshape' || size === undefined) return node;
  const target = node.target.map(
    (dim, i): ReshapeDim => (i === node.target.length - 1 && dim !== 'infer' ? size : dim),
  );
  return { ...node, target };
}

function shrinkLayer(
  graph: Graph,
  layer: LayerNode,
  keptRows: readonly number[] | undefined,
  keptInputs: readonly number[] | undefined,
): LayerNode {
  if (!keptRows && !keptInputs) return layer;
  const { rows, cols } = layer.weights;
  const channels = graph.values.get(layer.inputs[0])!.shape.at(-1) as number;
  const grouped = layer.op === 'conv2d' && layer.groups > 1;
  const stays = new Set(keptInputs ?? Array.from({ length: channels }, (_, i) => i));
  // Of a depthwise layer the columns are taps: what goes are groups, and those are rows.
  const channelOf = inputChannels(layer, 0, channels);
  const keptCols = Array.from({ length: cols }, (_, col) => col).filter((col) => grouped || stays.has(channelOf(col)));
  const all = keptRows ?? Array.from({ length: rows }, (_, i) => i);
  const values = valuesOf(layer.weights);
  const left = new Float32Array(all.length * keptCols.length);
  let at = 0;
  for (const row of all) for (const col of keptCols) left[at++] = values[row * cols + col];
  const shape = { rows: all.length, cols: keptCols.length };
  const weights = isPruned(layer.weights) ? packSparse(left, shape) : dense.pack(left, shape);
  const bias = floatBias(layer);
  const shrunk = { ...layer, weights, bias: bias && Float32Array.from(all, (row) => bias[row]) };
  return grouped && shrunk.op === 'conv2d' ? { ...shrunk, groups: stays.size } : shrunk;
}
