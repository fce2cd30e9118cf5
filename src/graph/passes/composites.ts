import type { BinaryOperator, UnaryFunction } from '../../plan/problem.js';
import {
  type BinaryNode,
  type Constant,
  type Graph,
  isBinary,
  isClamped,
  NO_CLAMP,
  type Node,
  type ValueId,
} from '../ir.js';
import { Rewriter } from './rewrite.js';

/*
 * Functions that exporters write as several operators, found again: each matcher looks at the node that ends one and
 * says what it is a function of.
 */

/** A node of one operator. */
type NodeOf<T extends Node['op']> = T extends BinaryOperator ? BinaryNode : Extract<Node, { op: T }>;

interface Found {
  nonlinearity: UnaryFunction;
  input: ValueId;
}

/** Finds x by what has been emitted before a node. */
class Matcher {
  constructor(readonly rewriter: Rewriter) {}

  /** The node that makes a value, if it is `op` and ends with no clamp. */
  made<T extends Node['op']>(id: ValueId, op: T): NodeOf<T> | undefined {
    const node = this.rewriter.producer(id);
    if (node?.op !== op || ('clamp' in node && op !== 'clamp' && isClamped(node.clamp))) return undefined;
    return node as NodeOf<T>;
  }

  /** A number, within what rounding to f32 leaves of it. */
  is(id: ValueId, number: number): boolean {
    const data = this.rewriter.constantOf(id)?.data;
    return data?.length === 1 && Math.abs(data[0] - number) <= 1e-5 * Math.abs(number);
  }

  same(a: ValueId, b: ValueId): boolean {
    return this.rewriter.current(a) === this.rewriter.current(b);
  }

  /** What `op` combines with a number, on either side. */
  with(id: ValueId, op: 'add' | 'mul', number: number): ValueId | undefined {
    const node = this.made(id, op);
    const side = node?.inputs.findIndex((input) => this.is(input, number)) ?? -1;
    return side < 0 ? undefined : node?.inputs[1 - side];
  }

  /** x / number, or x * (1 / number). */
  quotient(id: ValueId, number: number): ValueId | undefined {
    const node = this.made(id, 'div');
    if (node && this.is(node.inputs[1], number)) return node.inputs[0];
    return this.with(id, 'mul', 1 / number);
  }

  of(id: ValueId, f: UnaryFunction): ValueId | undefined {
    const node = this.made(id, 'activation');
    return node?.nonlinearity === f ? node.inputs[0] : undefined;
  }
}

/** The factors of a product, any of which may itself be one. */
function factors(m: Matcher, node: Node): ValueId[] {
  return node.inputs.flatMap((id) => {
    const inner = m.made(id, 'mul');
    return inner && m.rewriter.uses(id) === 1 ? inner.inputs : [id];
  });
}

/** min(max(x / 6 + 1 / 2, 0), 1), or 6 times that. */
function hardSigmoid(m: Matcher, id: ValueId, times: 1 | 6): ValueId | undefined {
  const node = m.rewriter.producer(id);
  if (!node || !('clamp' in node) || node.clamp[0] !== 0 || Math.abs(node.clamp[1] - times) > 1e-6) return undefined;
  // The clamp is a node of its own, or already part of the addition.
  const sum = node.op === 'clamp' ? m.made(node.inputs[0], 'add') : node.op === 'add' ? node : undefined;
  const side = sum?.inputs.findIndex((input) => m.is(input, times / 2)) ?? -1;
  if (!sum || side < 0) return undefined;
  const scaled = sum.inputs[1 - side];
  return times === 6 ? scaled : m.quotient(scaled, 6);
}

/** x sigmoid(x) and x hardSigmoid(x) */
function gated(m: Matcher, node: Node): Found | undefined {
  for (const [x, gate] of [node.inputs, [...node.inputs].reverse()]) {
    const linear = m.of(gate, 'sigmoid');
    if (linear !== undefined && m.same(linear, x)) return { nonlinearity: 'silu', input: x };
    const hard = hardSigmoid(m, gate, 1);
    if (hard !== undefined && m.same(hard, x)) return { nonlinearity: 'hardSwish', input: x };
  }
  return undefined;
}

/** x clamp(x + 3, 0, 6) / 6, with the division before or after the product. */
function hardSwish(m: Matcher, id: ValueId): Found | undefined {
  const product = m.made(id, 'mul');
  if (!product) return undefined;
  for (const [x, gate] of [product.inputs, [...product.inputs].reverse()]) {
    const hard = hardSigmoid(m, gate, 6);
    if (hard !== undefined && m.same(hard, x)) return { nonlinearity: 'hardSwish', input: x };
  }
  return undefined;
}

/** 1 + erf(x / sqrt 2), and 1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)) */
function gelu(m: Matcher, node: Node): Found | undefined {
  const parts = factors(m, node);
  const half = parts.findIndex((id) => m.is(id, 0.5));
  // With the half inside of one of the factors: x * (0.5 * (1 + ...)) and (x * 0.5) * (1 + ...) are flattened as well.
  if (parts.length !== 3 || half < 0) return undefined;
  const [a, b] = parts.filter((_, i) => i !== half);
  for (const [x, sum] of [
    [a, b],
    [b, a],
  ]) {
    const inner = m.with(sum, 'add', 1);
    if (inner === undefined) continue;
    const scaled = m.of(inner, 'erf');
    const exact = scaled === undefined ? undefined : m.quotient(scaled, Math.SQRT2);
    if (exact !== undefined && m.same(exact, x)) return { nonlinearity: 'gelu', input: x };
    const bent = m.of(inner, 'tanh');
    const cubic = bent === undefined ? undefined : m.with(bent, 'mul', Math.sqrt(2 / Math.PI));
    if (cubic !== undefined && isCubic(m, cubic, x)) return { nonlinearity: 'geluTanh', input: x };
  }
  return undefined;
}

/** x + 0.044715 x^3 */
function isCubic(m: Matcher, id: ValueId, x: ValueId): boolean {
  const sum = m.made(id, 'add');
  const side = sum?.inputs.findIndex((input) => m.same(input, x)) ?? -1;
  if (!sum || side < 0) return false;
  let factors = [sum.inputs[1 - side]];
  for (let depth = 0; depth < 3; depth++) {
    factors = factors.flatMap((factor) => (m.same(factor, x) ? [factor] : (m.made(factor, 'mul')?.inputs ?? [factor])));
  }
  const xs = factors.filter((factor) => m.same(factor, x)).length;
  return xs === 3 && factors.length === 4 && factors.some((factor) => m.is(factor, 0.044715));
}

function find(m: Matcher, node: Node): Found | undefined {
  if (!isBinary(node) || isClamped(node.clamp)) return undefined;
  if (node.op === 'mul') {
    const side = node.inputs.findIndex((id) => m.is(id, 1 / 6));
    const scaled = side < 0 ? undefined : hardSwish(m, node.inputs[1 - side]);
    return gated(m, node) ?? gelu(m, node) ?? scaled ?? hardSwishOfQuotient(m, node);
  }
  if (node.op === 'div' && m.is(node.inputs[1], 6)) return hardSwish(m, node.inputs[0]);
  return undefined;
}

/** a - b floor(a / b), which is a mod b. */
function isModulo(m: Matcher, node: Node): node is BinaryNode {
  const product = node.op === 'sub' ? m.made(node.inputs[1], 'mul') : undefined;
  if (!product) return false;
  const [a] = node.inputs;
  return product.inputs.some((id, side) => {
    const quotient = m.made(m.of(id, 'floor') ?? -1, 'div');
    return quotient && m.same(quotient.inputs[0], a) && m.same(quotient.inputs[1], product.inputs[1 - side]);
  });
}

/** What a truth value is true of: 1 - (x = 0) is it of x. */
function truthOf(m: Matcher, id: ValueId): ValueId {
  const negated = m.made(id, 'sub');
  const isZero = negated && m.is(negated.inputs[0], 1) ? m.made(negated.inputs[1], 'equal') : undefined;
  const zero = isZero && m.rewriter.constantOf(isZero.inputs[1]);
  const alike = isZero && m.rewriter.shape(isZero.inputs[0]).join() === m.rewriter.shape(id).join();
  return alike && zero?.data.length === 1 && zero.data[0] === 0 ? isZero.inputs[0] : id;
}

/** Operands of which only the truth counts, by operator. */
const READS_TRUTH: Partial<Record<Node['op'], readonly number[]>> = {
  and: [0, 1],
  or: [0, 1],
  xor: [0, 1],
  keep: [1],
  drop: [1],
};

/** x (clamp(x + 3, 0, 6) / 6) */
function hardSwishOfQuotient(m: Matcher, node: Node): Found | undefined {
  for (const [x, gate] of [node.inputs, [...node.inputs].reverse()]) {
    const clamped = m.quotient(gate, 6);
    const hard = clamped === undefined ? undefined : hardSigmoid(m, clamped, 6);
    if (hard !== undefined && m.same(hard, x)) return { nonlinearity: 'hardSwish', input: x };
  }
  return undefined;
}

/** Finds SiLU, hard-swish, GELU and the modulo where they are written as several operators, and truth values. */
export function findActivations(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  const matcher = new Matcher(rewriter);
  for (const node of graph.nodes) {
    const found = find(matcher, node);
    const sameShape = found && rewriter.shape(found.input).join() === graph.values.get(node.output)!.shape.join();
    const truths = READS_TRUTH[node.op];
    if (isModulo(matcher, node)) {
      const product = rewriter.producer(node.inputs[1])!;
      const divisor = product.inputs.find((id) => matcher.of(id, 'floor') === undefined)!;
      rewriter.emit({ ...node, op: 'mod', inputs: [node.inputs[0], divisor] });
    } else if (truths) {
      const inputs = node.inputs.map((id, i) => (truths.includes(i) ? truthOf(matcher, id) : id));
      rewriter.emit({ ...node, inputs });
    } else if (!found || !sameShape) rewriter.emit(node);
    else {
      const { nonlinearity, input } = found;
      rewriter.emit({
        op: 'activation',
        name: node.name,
        nonlinearity,
        inputs: [input],
        output: node.output,
        clamp: NO_CLAMP,
      });
    }
  }
  return rewriter.finish();
}

/** The last dimensions that a mean is taken of, or undefined. */
function meanOf(m: Matcher, id: ValueId): { input: ValueId; tail: number } | undefined {
  const node = m.made(id, 'reduce');
  if (node?.reduction !== 'mean') return undefined;
  const rank = m.rewriter.shape(node.inputs[0]).length;
  const tail = node.axes.length;
  return node.axes.every((axis) => axis >= rank - tail) ? { input: node.inputs[0], tail } : undefined;
}

interface Normalized {
  input: ValueId;
  tail: number;
  center: boolean;
  epsilon: number;
}

/** d d, or d^2, as what d is. */
function squareOf(m: Matcher, id: ValueId): ValueId | undefined {
  const product = m.made(id, 'mul');
  return product && m.same(product.inputs[0], product.inputs[1]) ? product.inputs[0] : undefined;
}

/** sqrt(mean(d^2) + epsilon): d and what it is a mean over. */
function deviation(m: Matcher, id: ValueId): { of: ValueId; tail: number; epsilon: number } | undefined {
  const sum = m.made(m.of(id, 'sqrt') ?? -1, 'add');
  if (!sum) return undefined;
  for (const [variance, epsilon] of [sum.inputs, [...sum.inputs].reverse()]) {
    const data = m.rewriter.constantOf(epsilon)?.data;
    const mean = meanOf(m, variance);
    const of = mean && squareOf(m, mean.input);
    if (data?.length === 1 && mean && of !== undefined) return { of, tail: mean.tail, epsilon: data[0] };
  }
  return undefined;
}

/** d / sqrt(mean(d^2) + epsilon), or d times its reciprocal, where d is x - mean(x), or x itself. */
function normalized(m: Matcher, node: Node): Normalized | undefined {
  const candidates: [ValueId, ValueId][] = [];
  if (node.op === 'div') candidates.push([node.inputs[0], node.inputs[1]]);
  if (node.op === 'mul') {
    for (const [d, factor] of [node.inputs, [...node.inputs].reverse()]) {
      const inverted = m.of(factor, 'reciprocal');
      const quotient = m.made(factor, 'div');
      if (inverted !== undefined) candidates.push([d, inverted]);
      else if (quotient && m.is(quotient.inputs[0], 1)) candidates.push([d, quotient.inputs[1]]);
    }
  }
  for (const [d, root] of candidates) {
    const found = deviation(m, root);
    if (!found) continue;
    const { tail, epsilon } = found;
    const [difference, other] = [m.made(d, 'sub'), m.made(found.of, 'sub')];
    const alike =
      m.same(found.of, d) ||
      (difference && other && difference.inputs.every((input, i) => m.same(input, other.inputs[i])));
    if (!alike) continue;
    const mean = difference && meanOf(m, difference.inputs[1]);
    if (difference && mean?.tail === tail && m.same(mean.input, difference.inputs[0])) {
      return { input: mean.input, tail, center: true, epsilon };
    }
    return { input: d, tail, center: false, epsilon };
  }
  return undefined;
}

/** Finds layer and root-mean-square normalisation where they are written as reductions and arithmetic. */
export function findNormalizations(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  const matcher = new Matcher(rewriter);
  for (const node of graph.nodes) {
    const found = isBinary(node) && !isClamped(node.clamp) ? normalized(matcher, node) : undefined;
    if (!found) {
      rewriter.emit(node);
      continue;
    }
    const { input, tail, center, epsilon } = found;
    rewriter.emit({
      op: 'normalize',
      name: node.name,
      inputs: [input],
      output: node.output,
      tail,
      center,
      epsilon,
    });
  }
  return rewriter.finish();
}

/** The constant as one row of `cols`, or undefined where it is none. */
function asRow(constant: Constant | undefined, dims: readonly number[]): Float32Array | undefined {
  if (!constant) return undefined;
  if (constant.data.length === 1 && dims.every((dim) => dim === 1)) return constant.data;
  const own = constant.dims.slice(constant.dims.findIndex((dim) => dim !== 1));
  const wanted = dims.slice(dims.findIndex((dim) => dim !== 1));
  return own.length === wanted.length && own.every((dim, i) => dim === wanted[i]) ? constant.data : undefined;
}

/** Folds a product with, and then a sum with, constant rows into the normalisation before. */
export function foldAffine(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (
      !isBinary(node) ||
      isClamped(node.clamp) ||
      (node.op !== 'mul' && node.op !== 'add') ||
      !affine(node, rewriter)
    ) {
      rewriter.emit(node);
    }
  }
  return rewriter.finish();
}

function affine(node: Node, rewriter: Rewriter): boolean {
  for (const [id, other] of [node.inputs, [...node.inputs].reverse()]) {
    const from = rewriter.producer(id);
    if (from?.op !== 'normalize' || rewriter.uses(id) !== 1) continue;
    const shape = rewriter.shape(id);
    const rows = shape.slice(shape.length - from.tail);
    const constant = rewriter.constantOf(other);
    const row = asRow(constant, rows as number[]);
    if (!row || constant!.dims.length > shape.length || rows.some((dim) => typeof dim !== 'number')) continue;
    const cols = row.length;
    const before = from.inputs.length > 1 ? rewriter.constantOf(from.inputs[1])?.data : undefined;
    if (from.inputs.length > 1 && !before) continue;
    const data = new Float32Array(2 * cols).fill(1, 0, cols);
    if (before) data.set(before);
    for (let i = 0; i < cols; i++) {
      if (node.op === 'add') data[cols + i] += row[i];
      else {
        data[i] *= row[i];
        data[cols + i] *= row[i];
      }
    }
    const scale = rewriter.constant(`${node.name}.affine`, { dims: [2, cols], data });
    rewriter.swap(from, { ...from, output: node.output, inputs: [from.inputs[0], scale] });
    return true;
  }
  return false;
}
