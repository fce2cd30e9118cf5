import {
  type BatchNormNode,
  denseValues,
  floatBias,
  type Graph,
  isDense,
  isLayer,
  isPlain,
  type LayerNode,
  NO_CLAMP,
} from '../ir.js';
import { Rewriter } from './rewrite.js';

/** The layer followed by the normalisation as one layer: W' = scale * W, bias' = scale * bias + shift. */
function fold(layer: LayerNode, { output, scale, shift }: BatchNormNode): LayerNode {
  const { rows, cols } = layer.weights;
  const values = denseValues(layer).map((w, i) => w * scale[Math.floor(i / cols)]);
  const given = floatBias(layer);
  const bias = Float32Array.from({ length: rows }, (_, row) => (given?.[row] ?? 0) * scale[row] + shift[row]);
  return { ...layer, output, weights: { format: 'dense', rows, cols, values }, bias };
}

/** Folds each batchNorm into the convolution or linear layer that feeds it alone. */
export function foldBatchNorm(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const from = node.op === 'batchNorm' ? rewriter.producer(node.inputs[0]) : undefined;
    const folds =
      from &&
      isLayer(from) &&
      isDense(from) &&
      isPlain(from) &&
      rewriter.uses(node.inputs[0]) === 1 &&
      channelAxis(from, rewriter) === 1;
    if (node.op === 'batchNorm' && folds) rewriter.swap(from, fold(from, node));
    else rewriter.emit(node);
  }
  return rewriter.finish();
}

/** The dimension of a layer's output that its rows are. */
function channelAxis(layer: LayerNode, rewriter: Rewriter): number {
  if (layer.op === 'conv2d') return layer.layout === 'NCHW' ? 1 : 3;
  return rewriter.shape(layer.output).length - 1;
}

/** What is left of batchNorm becomes a multiplication and an addition with a constant a channel. */
export function lowerBatchNorm(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'batchNorm') {
      rewriter.emit(node);
      continue;
    }
    const dims = rewriter
      .shape(node.inputs[0])
      .map((_, axis) => (axis === 1 ? node.scale.length : 1))
      .slice(1);
    const scale = rewriter.constant(`${node.name}.scale`, { dims, data: node.scale });
    const shift = rewriter.constant(`${node.name}.shift`, { dims, data: node.shift });
    const scaled = rewriter.value(`${node.name}.scaled`);
    rewriter.emit({
      op: 'mul',
      name: `${node.name}.scale`,
      inputs: [node.inputs[0], scale],
      output: scaled,
      clamp: NO_CLAMP,
    });
    rewriter.emit({ op: 'add', name: node.name, inputs: [scaled, shift], output: node.output, clamp: NO_CLAMP });
  }
  return rewriter.finish();
}
