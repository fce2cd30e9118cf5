import { type BinaryNode, type Graph, isBinary, type Node, type ValueId } from '../../graph/ir.js';
import type { Context } from './context.js';

// The graph has integers as f32; ONNX wants such as int64 where they are indices.

/** Nodes that give integers for integers, and that ONNX has for both. */
const KEEPS: ReadonlySet<Node['op']> = new Set([
  ...(['transpose', 'reshape', 'concat', 'slice', 'expand', 'tile', 'clamp', 'gather'] as const),
  ...(['add', 'sub', 'mul', 'min', 'max'] as const),
]);

/** The values that indices are made of. */
export function integersOf(graph: Graph, producers: ReadonlyMap<ValueId, Node>): Set<ValueId> {
  const wanted = new Set<ValueId>();
  const want = (id: ValueId) => {
    if (wanted.has(id)) return;
    wanted.add(id);
    const node = producers.get(id);
    if (!node || !KEEPS.has(node.op)) return;
    for (const input of node.op === 'gather' ? node.inputs.slice(0, 1) : node.inputs) want(input);
  };
  for (const node of graph.nodes) if (node.op === 'gather') want(node.inputs[1]);
  // What is no integer can't be written as one.
  for (const [id, { data }] of graph.constants) if (!data.every(Number.isInteger)) wanted.delete(id);
  return wanted;
}

/** x - x rem 1, where that is read as an integer: a cast. */
export function isTruncation(c: Context, node: BinaryNode): boolean {
  if (node.op !== 'sub' || !c.wantsIntegers.has(node.output)) return false;
  const rest = c.producers.get(node.inputs[1]);
  if (!rest || !isBinary(rest) || rest.op !== 'rem' || !c.isPart(rest) || !c.isPart(node)) return false;
  const one = c.values.constant(rest.inputs[1]);
  return rest.inputs[0] === node.inputs[0] && one?.data.length === 1 && one.data[0] === 1;
}
