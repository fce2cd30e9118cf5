import type { Problem } from '../../plan/problem.js';
import {
  type BinaryNode,
  type Constant,
  type Graph,
  isBinary,
  isClamped,
  isCodeBinary,
  isLayer,
  type Node,
  transposeConstant,
  type ValueId,
} from '../ir.js';
import { computeWeightless, type WeightlessProblem } from '../reference.js';
import { countOf, inferNode, isConcrete, type Shape } from '../shapes.js';
import { stepsOf } from '../steps.js';
import { Rewriter } from './rewrite.js';

/** A folded constant may be this much larger than what it is computed from: broadcasts are left to run time. */
const LARGEST_GROWTH = 1 << 10;
/** Products of more multiplications are left to run time as well. */
const MOST_PRODUCTS = 1 << 22;

const isSmall = (p: Problem): boolean => p.op !== 'batchMatmul' || p.K * p.M * p.N <= MOST_PRODUCTS;

/**
 * The node's output for constant inputs, or undefined for layers, spatial operators, and what is left to run time.
 * @throws ThinferError `bad-shape` when the inputs do not fit the node
 */
export function evaluate(node: Node, inputs: readonly Constant[]): Constant | undefined {
  if (computesCodes(node)) return undefined;
  const dims: Shape = inferNode(
    node,
    inputs.map((input) => input.dims),
  );
  const count = countOf(dims);
  if (!isConcrete(dims) || count === undefined) return undefined;
  if (node.op === 'reshape') return { dims, data: inputs[0].data };
  if (node.op === 'transpose') return transposeConstant(inputs[0], node.perm);
  if (isLayer(node) || node.op === 'batchNorm' || 'layout' in node) return undefined;
  if (count > inputs.reduce((sum, { data }) => sum + data.length, LARGEST_GROWTH)) return undefined;
  const data = new Float32Array(count);
  if (count === 0) return { dims, data };
  const shapes = new Map<ValueId, readonly number[]>([[node.output, dims]]);
  for (const [i, id] of node.inputs.entries()) shapes.set(id, inputs[i].dims);
  for (const step of stepsOf(node, shapes)) {
    if (!isSmall(step.problem)) return undefined;
    const operands = step.inputs.map((id) => inputs[node.inputs.indexOf(id)].data);
    computeWeightless(step.problem as WeightlessProblem, operands, data);
  }
  return { dims, data };
}

/** Nodes that work on codes are left to run time, but those that move them; quantised weights are folded by the doors. */
function computesCodes(node: Node): boolean {
  return node.op === 'quantize' || node.op === 'dequantize' || node.op === 'lookup' || isCodeBinary(node);
}

/** True for nodes that return their input as it is. */
function isIdentity(node: Node, rewriter: Rewriter): boolean {
  if (node.op === 'clamp') return !isClamped(node.clamp);
  if (node.op === 'transpose') return node.perm.every((axis, i) => axis === i);
  if (isBinary(node)) return isNeutral(node, rewriter);
  if (node.op === 'concat') return node.inputs.length === 1;
  if (node.op !== 'reshape' && node.op !== 'expand' && node.op !== 'tile' && node.op !== 'slice') return false;
  if (node.op === 'slice' && !node.cuts.every(({ start, step }) => start === 0 && step === 1)) return false;
  const from = rewriter.shape(node.inputs[0]);
  const to = inferNode(node, [from]);
  return from.length === to.length && from.every((dim, i) => dim === to[i]);
}

/** x * 1, x / 1, x + 0 and x - 0, where the number does not broadcast x. */
function isNeutral(node: BinaryNode, rewriter: Rewriter): boolean {
  const neutral = { add: 0, sub: 0, mul: 1, div: 1 }[node.op as string];
  const constant = rewriter.constantOf(node.inputs[1]);
  if (neutral === undefined || !constant || isClamped(node.clamp)) return false;
  const rank = rewriter.shape(node.inputs[0]).length;
  return constant.data.length === 1 && constant.data[0] === neutral && constant.dims.length <= rank;
}

/** Computes operators without weights where all they read is constant, and drops nodes that change nothing. */
export function foldConstants(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((id) => rewriter.constantOf(id));
    const folded = inputs.every((input) => input !== undefined) ? evaluate(node, inputs as Constant[]) : undefined;
    if (folded) rewriter.setConstant(node.output, folded, rewriter.type(node.inputs[0]));
    else if (isIdentity(node, rewriter)) rewriter.replace(node.output, node.inputs[0]);
    else rewriter.emit(node);
  }
  return rewriter.finish();
}
