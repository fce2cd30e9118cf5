import { ThinferError } from '../../errors.js';
import type { Weights } from '../../formats/index.js';
import { quantizesActivations } from '../../formats/reference.js';
import { ofRow } from '../../formats/scales.js';
import { requireDtypes } from '../../layers/dtypes.js';
import { weightFacts } from '../../layers/problem.js';
import { floatBias, type Graph, givesFloats, isClamped, isLayer, type LayerNode, type QuantizeNode } from '../ir.js';
import { layerOptions } from '../steps.js';
import { dequantizedFrom } from './quantized-moves.js';
import { Rewriter } from './rewrite.js';

/**
 * Layers of 8-bit arithmetic read the codes before a `dequantize`, and give those behind a `quantize`: what stands
 * between `DequantizeLinear` and `QuantizeLinear` becomes QLinearConv or QLinearMatMul.
 */
export function fuseQuantizedLayers(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const from = node.op === 'quantize' ? rewriter.producer(node.inputs[0]) : undefined;
    const ended = node.op === 'quantize' && from && isLayer(from) ? withCodes(from, node, rewriter) : undefined;
    if (from && ended) rewriter.swap(from, ended);
    else rewriter.emit(isLayer(node) ? (onCodes(node, rewriter) ?? node) : node);
  }
  return rewriter.finish();
}

/** The layer on the codes that its input stands for. */
function onCodes(layer: LayerNode, rewriter: Rewriter): LayerNode | undefined {
  if (layer.inputCodes || !quantizesActivations(weightFacts(layer.weights))) return undefined;
  const from = dequantizedFrom(layer.inputs[0], rewriter);
  return from && { ...layer, inputs: [from.codes], inputCodes: from.quantization };
}

/** The layer with its outputs as the codes that they become, where its kernels give such. */
function withCodes(layer: LayerNode, node: QuantizeNode, rewriter: Rewriter): LayerNode | undefined {
  const { inputCodes } = layer;
  if (!inputCodes || !givesFloats(layer) || layer.nonlinearity || rewriter.uses(node.inputs[0]) !== 1) return undefined;
  const { quantization } = node;
  const bias = floatBias(layer);
  const sums = bias && inSums(bias, layer.weights, inputCodes.scale);
  if (bias && !sums) return undefined;
  const result = { dtype: quantization.dtype, quantization };
  const fused: LayerNode = { ...layer, output: node.output, bias: sums, result };
  return fits(fused) ? fused : undefined;
}

/** A bias of real numbers in units of the sums, or undefined where it does not fit int32. */
function inSums(bias: Float32Array, weights: Weights, inputScale: number): Int32Array | undefined {
  if (!('scale' in weights) || !(weights.scale instanceof Float32Array)) return undefined;
  const { scale } = weights;
  const sums = Array.from(bias, (x, r) => Math.round(x / (Math.fround(inputScale) * ofRow(scale, r))));
  return sums.every((x) => Math.abs(x) < 2 ** 31) ? Int32Array.from(sums) : undefined;
}

function fits(layer: LayerNode): boolean {
  const [min, max] = layer.clamp;
  const activation = isClamped(layer.clamp) ? { min, max } : 'none';
  try {
    requireDtypes(layer.weights, { ...layerOptions(layer), activation }, layer.name);
    return true;
  } catch (error) {
    if (error instanceof ThinferError) return false;
    throw error;
  }
}
