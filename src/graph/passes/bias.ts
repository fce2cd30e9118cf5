import {
  type Constant,
  denseValues,
  floatBias,
  type Graph,
  isBinary,
  isDense,
  isLayer,
  isPlain,
  type LayerNode,
  type Node,
} from '../ir.js';
import type { Shape } from '../shapes.js';
import { Rewriter } from './rewrite.js';

/** The constant as one number for each of the layer's rows, or undefined when it also varies along another axis. */
export function perRow({ dims, data }: Constant, layer: LayerNode, shape: Shape): Float32Array | undefined {
  const { rows } = layer.weights;
  if (dims.length > shape.length) return undefined;
  if (data.length === 1) return new Float32Array(rows).fill(data[0]);
  const axis = layer.op === 'conv2d' && layer.layout === 'NCHW' ? 1 : shape.length - 1;
  const varies = dims.findIndex((dim) => dim !== 1) + shape.length - dims.length;
  return varies === axis && data.length === rows ? data : undefined;
}

/**
 * Folds what is done to a layer by a constant a row into its weights and bias: `layer + constant`, `layer - constant`,
 * `layer * constant` and `layer / constant`, and where it makes no difference the other way round.
 */
export function foldBias(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) if (!fold(node, rewriter)) rewriter.emit(node);
  return rewriter.finish();
}

function fold(node: Node, rewriter: Rewriter): boolean {
  if (!isBinary(node) || !['add', 'sub', 'mul', 'div'].includes(node.op)) return false;
  const sides = node.op === 'add' || node.op === 'mul' ? [0, 1] : [0];
  for (const side of sides) {
    const id = node.inputs[side];
    const layer = rewriter.producer(id);
    const constant = rewriter.constantOf(node.inputs[1 - side]);
    if (!layer || !isLayer(layer) || !constant || !isPlain(layer) || rewriter.uses(id) !== 1) continue;
    const operand = perRow(constant, layer, rewriter.shape(layer.output));
    if (!operand) continue;
    const isSum = node.op === 'add' || node.op === 'sub';
    if (!isSum && !isDense(layer)) continue;
    // What is infinite is left to be so when it runs: weights have to be finite.
    if (!isSum && !operand.every((x) => Number.isFinite(node.op === 'div' ? 1 / x : x))) continue;
    const folded = isSum
      ? withBias(layer, operand, node.op === 'sub' ? -1 : 1)
      : scaled(layer, operand, node.op === 'div');
    rewriter.swap(layer, { ...folded, output: node.output, clamp: node.clamp });
    return true;
  }
  return false;
}

function withBias(layer: LayerNode, added: Float32Array, sign: number): LayerNode {
  const bias = floatBias(layer);
  return { ...layer, bias: added.map((x, row) => (bias?.[row] ?? 0) + sign * x) };
}

function scaled(layer: LayerNode, factor: Float32Array, inverse: boolean): LayerNode {
  const { rows, cols } = layer.weights;
  const by = factor.map((x) => (inverse ? 1 / x : x));
  const values = denseValues(layer).map((w, i) => w * by[Math.floor(i / cols)]);
  const bias = floatBias(layer)?.map((x, row) => x * by[row]);
  return { ...layer, weights: { format: 'dense', rows, cols, values }, bias };
}
