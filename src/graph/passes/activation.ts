import { NONLINEARITIES, type Nonlinearity } from '../../plan/problem.js';
import { composeClamp, type Graph, isBinary, isLayer, isPlain, type Node } from '../ir.js';
import { Rewriter } from './rewrite.js';

const endsLayers = (f: string): f is Nonlinearity => (NONLINEARITIES as readonly string[]).includes(f);

/** `from` with what `node` does to its output, or undefined where it can't do that itself. */
function fuse(from: Node, node: Node): Node | undefined {
  if (node.op === 'clamp') {
    const takesClamp = isLayer(from) || isBinary(from) || from.op === 'clamp' || from.op === 'activation';
    // Sums have no clamp but that of their scale.
    if (isLayer(from) && from.result?.dtype === 'int32') return undefined;
    return takesClamp ? { ...from, output: node.output, clamp: composeClamp(from.clamp, node.clamp) } : undefined;
  }
  if (node.op !== 'activation' || !isLayer(from) || !isPlain(from)) return undefined;
  const { nonlinearity, clamp, output } = node;
  return endsLayers(nonlinearity) ? { ...from, output, nonlinearity, clamp } : undefined;
}

/**
 * Fuses each clamp (Relu, Clip) into the layer, elementwise operator or clamp that feeds it alone, and each function that
 * can end a layer into that layer.
 */
export function fuseActivation(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const from = rewriter.producer(node.inputs[0]);
    const fused = from && rewriter.uses(node.inputs[0]) === 1 ? fuse(from, node) : undefined;
    if (from && fused) rewriter.swap(from, fused);
    else rewriter.emit(node);
  }
  return rewriter.finish();
}
