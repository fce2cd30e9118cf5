import { type Constant, type Graph, isLayer, isPlain, type LayerNode, type Node } from '../ir.js';
import type { Shape } from '../shapes.js';
import { Rewriter } from './rewrite.js';

/** The constant as one number for each of the layer's rows, or undefined when it also varies along another axis. */
function perRow({ dims, data }: Constant, layer: LayerNode, shape: Shape): Float32Array | undefined {
  const { rows } = layer.weights;
  if (dims.length > shape.length) return undefined;
  if (data.length === 1) return new Float32Array(rows).fill(data[0]);
  const axis = layer.op === 'conv2d' && layer.layout === 'NCHW' ? 1 : shape.length - 1;
  const varies = dims.findIndex((dim) => dim !== 1) + shape.length - dims.length;
  return varies === axis && data.length === rows ? data : undefined;
}

/** Folds `layer + constant`, `constant + layer` and `layer - constant` into the layer's bias. */
export function foldBias(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) if (!fold(node, rewriter)) rewriter.emit(node);
  return rewriter.finish();
}

function fold(node: Node, rewriter: Rewriter): boolean {
  if (node.op !== 'add' && node.op !== 'sub') return false;
  for (const [side, other] of node.op === 'add'
    ? [
        [0, 1],
        [1, 0],
      ]
    : [[0, 1]]) {
    const layer = rewriter.producer(node.inputs[side]);
    const constant = rewriter.constantOf(node.inputs[other]);
    if (!layer || !isLayer(layer) || !constant) continue;
    if (!isPlain(layer) || rewriter.uses(node.inputs[side]) !== 1) continue;
    const added = perRow(constant, layer, rewriter.shape(layer.output));
    if (!added) continue;
    const sign = node.op === 'sub' ? -1 : 1;
    const bias = added.map((x, row) => (layer.bias?.[row] ?? 0) + sign * x);
    rewriter.swap(layer, { ...layer, output: node.output, bias, clamp: node.clamp });
    return true;
  }
  return false;
}
