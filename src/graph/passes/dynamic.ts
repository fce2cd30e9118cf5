import type { Int8Weights } from '../../formats/index.js';
import { SMALLEST_SCALE } from '../../formats/scales.js';
import {
  type BinaryNode,
  denseValues,
  type Graph,
  isDense,
  isLayer,
  isPlain,
  type LayerNode,
  type Node,
  type ValueId,
} from '../ir.js';
import { perRow } from './bias.js';
import { Rewriter } from './rewrite.js';

/**
 * What onnxruntime's quantize_dynamic writes for a layer, DynamicQuantizeLinear, MatMulInteger or ConvInteger, and a
 * multiplication by both scales, as one int8 layer, which quantises its input itself: a sample at a time instead of all
 * together. The weights that MatMulInteger left as integers in f32 become codes again.
 */
export function foldDynamic(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) rewriter.emit(fold(node, rewriter) ?? node);
  return rewriter.finish();
}

function fold(node: Node, rewriter: Rewriter): LayerNode | undefined {
  if (node.op !== 'mul') return undefined;
  for (const [left, right] of [node.inputs, [...node.inputs].reverse()]) {
    const layer = rewriter.producer(left);
    if (!layer || !isLayer(layer) || !isDense(layer) || !isPlain(layer) || layer.bias || layer.inputCodes) continue;
    const input = quantizedBy(layer.inputs[0], rewriter);
    const scales = input && scaleOf(right, input.scale, layer, rewriter);
    const weights = scales && pack(layer, scales);
    if (weights) return { ...layer, inputs: [input.x], output: node.output, clamp: node.clamp, weights };
  }
  return undefined;
}

function binaryOf(id: ValueId, op: BinaryNode['op'], rewriter: Rewriter): BinaryNode | undefined {
  const node = rewriter.producer(id);
  return node?.op === op ? (node as BinaryNode) : undefined;
}

/** The value that became codes of a scale of 1 and is f32 again. */
function throughCodes(id: ValueId, rewriter: Rewriter): ValueId {
  const back = rewriter.producer(id);
  if (back?.op !== 'dequantize' || back.scale !== 1 || back.zeroPoint !== 0) return rewriter.current(id);
  const codes = rewriter.producer(back.inputs[0]);
  const plain = codes?.op === 'quantize' && codes.quantization.scale === 1 && codes.quantization.zeroPoint === 0;
  return plain ? rewriter.current(codes.inputs[0]) : rewriter.current(id);
}

/** x and its scale, of codes less their zero point: round(x / scale) + zero - zero. */
function quantizedBy(id: ValueId, rewriter: Rewriter): { x: ValueId; scale: ValueId } | undefined {
  const centred = binaryOf(id, 'sub', rewriter);
  const codes = centred && binaryOf(throughCodes(centred.inputs[0], rewriter), 'add', rewriter);
  if (!centred || codes?.clamp[0] !== 0 || codes.clamp[1] !== 255) return undefined;
  if (throughCodes(centred.inputs[1], rewriter) !== rewriter.current(codes.inputs[1])) return undefined;
  const steps = rewriter.producer(codes.inputs[0]);
  const quotient = steps?.op === 'activation' && steps.nonlinearity === 'round' ? steps.inputs[0] : undefined;
  const division = quotient === undefined ? undefined : binaryOf(quotient, 'div', rewriter);
  return division && { x: rewriter.current(division.inputs[0]), scale: rewriter.current(division.inputs[1]) };
}

/** The scale of each row of the weights, where a value is that times the scale of the input. */
function scaleOf(id: ValueId, scale: ValueId, layer: LayerNode, rewriter: Rewriter): Float32Array | undefined {
  const both = binaryOf(id, 'mul', rewriter);
  if (!both) return undefined;
  const side = both.inputs.findIndex((input) => rewriter.current(input) === scale);
  const constant = side < 0 ? undefined : rewriter.constantOf(both.inputs[1 - side]);
  return constant && perRow(constant, layer, rewriter.shape(layer.output));
}

/** Integers that fit 8 bits with a zero point a row, as such. */
function pack(layer: LayerNode, scale: Float32Array): Int8Weights | undefined {
  const values = denseValues(layer);
  const { rows, cols } = layer.weights;
  if (!scale.every((s) => s >= SMALLEST_SCALE && s < Infinity)) return undefined;
  const codes = new Int8Array(rows * cols);
  const zeroPoint = new Int8Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * cols, (r + 1) * cols);
    const min = row.reduce((least, x) => Math.min(least, x), 0);
    const max = row.reduce((most, x) => Math.max(most, x), 0);
    if (max - min > 255 || !row.every(Number.isInteger)) return undefined;
    zeroPoint[r] = Math.min(Math.max(0, -128 - min), 127 - max);
    for (let k = 0; k < cols; k++) codes[r * cols + k] = row[k] + zeroPoint[r];
  }
  const weights: Int8Weights = { format: 'int8', rows, cols, codes, scale: Float32Array.from(scale) };
  return zeroPoint.some((zero) => zero !== 0) ? { ...weights, zeroPoint } : weights;
}
