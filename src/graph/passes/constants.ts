import {
  broadcastStrides,
  type Constant,
  type Graph,
  gather,
  isBinary,
  isClamped,
  type Node,
  transposeConstant,
} from '../ir.js';
import { countOf, inferNode, isConcrete, type Shape } from '../shapes.js';
import { Rewriter } from './rewrite.js';

/** A folded constant may be this much larger than what it is computed from: broadcasts are left to run time. */
const LARGEST_GROWTH = 1 << 10;

const OPERATORS: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

/**
 * The node's output for constant inputs, or undefined for operators that are not folded.
 * @throws ThinferError `bad-shape` when the inputs do not fit the node
 */
export function evaluate(node: Node, inputs: readonly Constant[]): Constant | undefined {
  const dims: Shape = inferNode(
    node,
    inputs.map((input) => input.dims),
  );
  const count = countOf(dims);
  if (!isConcrete(dims) || count === undefined) return undefined;
  const [{ data }] = inputs;
  if (node.op === 'reshape') return { dims, data };
  if (node.op === 'transpose') return transposeConstant(inputs[0], node.perm);
  if (node.op === 'clamp') {
    const [min, max] = node.clamp;
    return { dims, data: data.map((x) => Math.min(Math.max(x, min), max)) };
  }
  if (!isBinary(node) || count > inputs[0].data.length + inputs[1].data.length + LARGEST_GROWTH) return undefined;
  const [a, b] = inputs.map((input) => gather(input.data, dims, broadcastStrides(input.dims, dims)));
  const [min, max] = node.clamp;
  const apply = OPERATORS[node.op];
  return { dims, data: a.map((x, i) => Math.min(Math.max(Math.fround(apply(x, b[i])), min), max)) };
}

/** True for nodes that return their input as it is. */
function isIdentity(node: Node, rewriter: Rewriter): boolean {
  if (node.op === 'clamp') return !isClamped(node.clamp);
  if (node.op === 'transpose') return node.perm.every((axis, i) => axis === i);
  if (node.op !== 'reshape') return false;
  const from = rewriter.shape(node.inputs[0]);
  const to = inferNode(node, [from]);
  return from.length === to.length && from.every((dim, i) => dim === to[i]);
}

/** Computes elementwise operators, transposes and reshapes of constants, and drops nodes that change nothing. */
export function foldConstants(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((id) => rewriter.constantOf(id));
    const folded = inputs.every((input) => input !== undefined) ? evaluate(node, inputs as Constant[]) : undefined;
    if (folded) rewriter.setConstant(node.output, folded);
    else if (isIdentity(node, rewriter)) rewriter.replace(node.output, node.inputs[0]);
    else rewriter.emit(node);
  }
  return rewriter.finish();
}
