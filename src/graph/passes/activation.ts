import { composeClamp, type Graph, isBinary, isLayer } from '../ir.js';
import { Rewriter } from './rewrite.js';

/** Fuses each clamp (Relu, Clip) into the layer, elementwise operator or clamp that feeds it alone. */
export function fuseActivation(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const from = node.op === 'clamp' ? rewriter.producer(node.inputs[0]) : undefined;
    const fuses =
      from && (isLayer(from) || isBinary(from) || from.op === 'clamp') && rewriter.uses(node.inputs[0]) === 1;
    if (node.op === 'clamp' && fuses) {
      rewriter.swap(from, { ...from, output: node.output, clamp: composeClamp(from.clamp, node.clamp) });
    } else {
      rewriter.emit(node);
    }
  }
  return rewriter.finish();
}
