import type { Weights } from '../../formats/index.js';
import { stridesOf } from '../../plan/strides.js';
import {
  type BinaryNode,
  type CodeBinaryNode,
  denseValues,
  type Graph,
  gather,
  inversePermutation,
  isBinary,
  isCodeBinary,
  isDense,
  type LinearNode,
  type Node,
  type ReshapeDim,
  type ReshapeNode,
  type TransposeNode,
  transposeConstant,
  type ValueId,
} from '../ir.js';
import type { Shape } from '../shapes.js';
import { Rewriter } from './rewrite.js';

const NCHW_TO_NHWC = [0, 2, 3, 1];
const NHWC_TO_NCHW = [0, 3, 1, 2];

/** Makes every convolution and pooling NHWC, between a transpose before it and one after it. */
export function toNhwc(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (!('layout' in node) || node.layout === 'NHWC') {
      rewriter.emit(node);
      continue;
    }
    const before = rewriter.value(`${rewriter.name(node.inputs[0])}.nhwc`);
    const after = rewriter.value(`${rewriter.name(node.output)}.nhwc`);
    emitTranspose(rewriter, node.inputs[0], NCHW_TO_NHWC, before);
    rewriter.emit({ ...node, layout: 'NHWC', inputs: [before], output: after });
    emitTranspose(rewriter, after, NHWC_TO_NCHW, node.output);
  }
  return rewriter.finish();
}

function emitTranspose(rewriter: Rewriter, from: ValueId, perm: readonly number[], output: ValueId): void {
  const name = `${rewriter.name(output)}.transpose`;
  rewriter.emit({ op: 'transpose', name, inputs: [from], output, perm });
}

function transposeInto(rewriter: Rewriter, id: ValueId): TransposeNode | undefined {
  const producer = rewriter.producer(id);
  return producer?.op === 'transpose' ? producer : undefined;
}

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}

/**
 * Moves transposes towards the outputs, past clamps, softmax and elementwise operators (whose constants are transposed
 * instead), until they meet their inverse and cancel. Reshapes move past clamps too, so that `foldFlatten` sees them
 * next to their linear layer.
 */
export function sinkTransposes(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'transpose') {
      if (!sink(node, rewriter)) rewriter.emit(node);
    } else if (!raise(node, rewriter)) {
      merge(node, rewriter);
    }
  }
  return rewriter.finish();
}

/** Emits transpose(transpose(x)) as one transpose of x, or x itself. */
function merge(node: TransposeNode, rewriter: Rewriter): void {
  const from = transposeInto(rewriter, node.inputs[0]);
  const perm = node.perm.map((axis) => from?.perm[axis] ?? axis);
  if (from && perm.every((axis, i) => axis === i)) rewriter.replace(node.output, from.inputs[0]);
  else rewriter.emit({ ...node, inputs: from?.inputs ?? node.inputs, perm });
}

/**
 * transpose(a op b), where a is the inverse transpose of x, as x op transpose(b): one transpose fewer, and b's may meet
 * its own inverse.
 */
function raise(node: TransposeNode, rewriter: Rewriter): boolean {
  const from = rewriter.producer(node.inputs[0]);
  if (!from || !(isBinary(from) || isCodeBinary(from)) || rewriter.uses(node.inputs[0]) !== 1) return false;
  const inverse = inversePermutation(node.perm);
  const matches = from.inputs.map((id) => {
    const transpose = transposeInto(rewriter, id);
    return transpose && same(transpose.perm, inverse) ? transpose : undefined;
  });
  const fullRank = from.inputs.every((id) => rewriter.shape(id).length === node.perm.length);
  if (!fullRank || matches.every((match) => match === undefined)) return false;
  const inputs = from.inputs.map((id, i) => {
    const match = matches[i];
    if (match) return match.inputs[0];
    const raised = rewriter.value(`${rewriter.name(id)}.nhwc`);
    merge(
      { op: 'transpose', name: `${rewriter.name(raised)}.transpose`, inputs: [id], output: raised, perm: node.perm },
      rewriter,
    );
    return raised;
  });
  rewriter.emit({ ...from, inputs, output: node.output });
  return true;
}

/**
 * Emits `op(transpose(x))` as `transpose(op(x))` when the operator allows it.
 * @param again try the same once more with what is then before it: a reshape may hide a transpose
 */
function sink(node: Node, rewriter: Rewriter, again = true): boolean {
  const moved = isBinary(node) || isCodeBinary(node) ? sinkBinary(node, rewriter) : sinkOther(node, rewriter);
  if (!moved) return false;
  const before = rewriter.value(`${rewriter.name(node.output)}.moved`);
  const inner = { ...moved.node, output: before };
  if (!again || !sink(inner, rewriter, false)) rewriter.emit(inner);
  rewriter.emit({ ...moved.by, inputs: [before], output: node.output });
  return true;
}

/** A function of one number, or of one code. */
const isPointwise = ({ op }: Node): boolean =>
  op === 'clamp' || op === 'activation' || op === 'quantize' || op === 'dequantize' || op === 'lookup';

interface Moved {
  /** The operator on what was transposed. */
  node: Node;
  /** The node that goes behind it. */
  by: TransposeNode | ReshapeNode;
}

function sinkOther(node: Node, rewriter: Rewriter): Moved | undefined {
  const from = rewriter.producer(node.inputs[0]);
  if (from?.op === 'reshape' && isPointwise(node)) {
    return { node: { ...node, inputs: from.inputs }, by: from };
  }
  if (from?.op !== 'transpose') return undefined;
  const inputs =
    node.op === 'concat'
      ? node.inputs.map((id) => beforeTranspose(id, from.perm, rewriter))
      : [from.inputs[0], ...node.inputs.slice(1)];
  const permuted = permute(node, from.perm);
  if (!permuted || inputs.includes(undefined)) return undefined;
  return { node: { ...permuted, inputs: inputs as ValueId[] }, by: from };
}

/** What a value is a transpose of: of a constant another one, and of one number everywhere the same in another shape. */
function beforeTranspose(id: ValueId, perm: readonly number[], rewriter: Rewriter): ValueId | undefined {
  const from = rewriter.producer(id);
  if (from?.op === 'transpose' && same(from.perm, perm)) return from.inputs[0];
  const inverse = inversePermutation(perm);
  const name = `${rewriter.name(id)}.transposed`;
  const number = from?.op === 'expand' ? rewriter.constantOf(from.inputs[0]) : undefined;
  const shape = rewriter.shape(id);
  if (from?.op === 'expand' && number?.data.length === 1 && shape.length === perm.length) {
    const scalar = rewriter.constant(name, { dims: [], data: number.data }, rewriter.type(id));
    const output = rewriter.value(name);
    rewriter.emit({ ...from, inputs: [scalar], output, target: inverse.map((axis) => shape[axis]) });
    return output;
  }
  const constant = rewriter.constantOf(id);
  return constant && constant.dims.length === perm.length
    ? rewriter.constant(name, transposeConstant(constant, inverse), rewriter.type(id))
    : undefined;
}

/** The node as it works on x instead of transpose(x), or undefined where it can't. */
function permute(node: Node, perm: readonly number[]): Node | undefined {
  switch (node.op) {
    case 'clamp':
    case 'activation':
    case 'quantize':
    case 'dequantize':
    case 'lookup':
      return node;
    case 'softmax':
    case 'normalize': {
      // Rows must stay rows: the permutation may mix dimensions of the tail only with each other.
      const start = perm.length - node.tail;
      const separate = perm.every((axis, i) => axis >= start === i >= start);
      const inOrder = node.op === 'softmax' || perm.every((axis, i) => i < start || axis === i);
      return separate && inOrder ? node : undefined;
    }
    case 'concat':
    case 'resample':
      return { ...node, axis: perm[node.axis] };
    case 'slice':
      return { ...node, cuts: node.cuts.map((cut) => ({ ...cut, axis: perm[cut.axis] })) };
    case 'pad': {
      const inverse = inversePermutation(perm);
      const of = (sizes: readonly number[]) => inverse.map((axis) => sizes[axis]);
      return { ...node, before: of(node.before), after: of(node.after) };
    }
    case 'reduce': {
      const axes = node.axes.map((axis) => perm[axis]).sort((a, b) => a - b);
      // Kernels reduce neighbours.
      return axes.at(-1)! - axes[0] === axes.length - 1 ? { ...node, axes } : undefined;
    }
    default:
      return undefined;
  }
}

function sinkBinary(node: BinaryNode | CodeBinaryNode, rewriter: Rewriter): Moved | undefined {
  const transposes = node.inputs.map((id) => transposeInto(rewriter, id));
  const by = transposes[0] ?? transposes[1];
  if (!by) return undefined;
  const rank = by.perm.length;
  const inputs: ValueId[] = [];
  for (const [i, id] of node.inputs.entries()) {
    const transpose = transposes[i];
    const constant = rewriter.constantOf(id);
    if (transpose && same(transpose.perm, by.perm)) inputs.push(transpose.inputs[0]);
    else if (constant && constant.dims.length <= rank) inputs.push(transposeOperand(id, rank, by.perm, rewriter));
    else return undefined;
  }
  return { node: { ...node, inputs }, by };
}

/** A constant that broadcasts against transpose(x) as one that broadcasts against x. */
function transposeOperand(id: ValueId, rank: number, perm: readonly number[], rewriter: Rewriter): ValueId {
  const { dims, data } = rewriter.constantOf(id)!;
  if (dims.every((dim) => dim === 1)) return rewriter.current(id);
  const padded = [...new Array<number>(rank - dims.length).fill(1), ...dims];
  return rewriter.constant(
    `${rewriter.name(rewriter.current(id))}.transposed`,
    transposeConstant({ dims: padded, data }, inversePermutation(perm)),
    rewriter.type(id),
  );
}

/**
 * `linear(reshape(transpose(x)))`, a flattened NCHW image, as `linear(reshape(x))` with the columns of the weights
 * permuted: no transpose is left to run.
 */
export function foldFlatten(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) if (node.op !== 'linear' || !flatten(node, rewriter)) rewriter.emit(node);
  return rewriter.finish();
}

function flatten(node: LinearNode, rewriter: Rewriter): boolean {
  const reshape = rewriter.producer(node.inputs[0]);
  const transpose = reshape?.op === 'reshape' ? transposeInto(rewriter, reshape.inputs[0]) : undefined;
  if (reshape?.op !== 'reshape' || !transpose || !(isDense(node) || node.weights.format === 'int8')) return false;
  const { perm } = transpose;
  const start = tailStart(rewriter.shape(transpose.output), node.weights.cols);
  if (start === undefined) return false;
  const separate = perm.every((axis, i) => (i < start ? axis === i : axis >= start));
  if (!separate) return false;

  // Column c of the new weights is the element at x's tail index c; find where the transposed tail has it.
  const tail = (rewriter.shape(transpose.output) as readonly number[]).slice(start);
  const toTransposed = inversePermutation(perm.slice(start).map((axis) => axis - start));
  const strides = stridesOf(tail);
  const { rows, cols } = node.weights;
  const dims = [rows, ...toTransposed.map((axis) => tail[axis])];
  const order = [cols, ...toTransposed.map((axis) => strides[axis])];
  const { weights } = node;
  const permuted: Weights =
    weights.format === 'int8'
      ? { ...weights, codes: gather(weights.codes, dims, order) }
      : { format: 'dense', rows, cols, values: gather(denseValues(node), dims, order) };

  const flat = rewriter.value(`${rewriter.name(reshape.output)}.nhwc`);
  const target = reshape.target.map(
    (dim): ReshapeDim =>
      typeof dim === 'object' && 'axes' in dim ? { ...dim, axes: dim.axes.map((axis) => perm[axis]) } : dim,
  );
  rewriter.emit({ op: 'reshape', name: `${reshape.name}.nhwc`, inputs: transpose.inputs, output: flat, target });
  rewriter.emit({ ...node, inputs: [flat], weights: permuted });
  return true;
}

/** Where the dimensions start whose product is `count`, or undefined when there is no such place. */
function tailStart(shape: Shape, count: number): number | undefined {
  for (let start = shape.length - 1, product = 1; start >= 0; start--) {
    const dim = shape[start];
    if (typeof dim !== 'number') return undefined;
    product *= dim;
    if (product === count) {
      // Leading ones may belong to the tail too; take them so that a permutation among them stays inside.
      while (start > 0 && shape[start - 1] === 1) start--;
      return start;
    }
  }
  return undefined;
}

/** Products read their operands through transposes: those that only they wanted go. */
export function fuseTransposes(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'batchMatmul') {
      rewriter.emit(node);
      continue;
    }
    const from = node.inputs.map((id) => transposeInto(rewriter, id));
    const composed = from.map((transpose, i) => {
      const { [i]: perm } = node.perms;
      return transpose ? (perm?.map((axis) => transpose.perm[axis]) ?? transpose.perm) : perm;
    });
    const inputs = from.map((transpose, i) => transpose?.inputs[0] ?? node.inputs[i]);
    rewriter.emit({ ...node, inputs, perms: [composed[0], composed[1]] });
  }
  return rewriter.finish();
}

/** Transposes that only move dimensions of size 1 leave every element in its place: they become reshapes. */
export function transposeToReshape(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const shape = rewriter.shape(node.inputs[0]);
    if (node.op !== 'transpose' || !keepsOrder(node.perm, shape)) {
      rewriter.emit(node);
      continue;
    }
    const { name, inputs, output, perm } = node;
    const target = perm.map((axis): ReshapeDim => {
      const dim = shape[axis];
      return typeof dim === 'number' ? dim : { axes: [axis] };
    });
    rewriter.emit({ op: 'reshape', name, inputs, output, target });
  }
  return rewriter.finish();
}

function keepsOrder(perm: readonly number[], shape: Shape): boolean {
  const moved = perm.filter((axis) => shape[axis] !== 1);
  return moved.every((axis, i) => i === 0 || moved[i - 1] < axis);
}
