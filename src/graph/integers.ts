import { BINARY_FUNCTIONS } from '../plan/functions.js';
import type { BinaryOperator } from '../plan/problem.js';
import { product } from '../plan/strides.js';
import { type Dim, isBinary, isLayer, type Node, type ValueId } from './ir.js';
import { computeWeightless, eachIndex, referenceCopy, type WeightlessProblem } from './reference.js';
import { factorsOf, inferNode, isConcrete, multiplyDims } from './shapes.js';
import { stepsOf } from './steps.js';

/*
 * Arithmetic on integers that a model knows when it is read: shapes, axes, indices. It is exact up to 2^53, and goes on
 * with the names of open dimensions as far as their arithmetic is clear.
 */

/** Integers, with open dimensions by their names. */
export interface IntegerConstant {
  kind: 'integers';
  dims: readonly number[];
  data: readonly Dim[];
  /** The data type that the model has them in, where it says so. */
  type?: number;
}

/** Shape arithmetic has few elements; what has more is no shape. */
const MOST_ELEMENTS = 1 << 16;

/** a op b, or undefined where that depends on what an open dimension is. */
export function dimArithmetic(op: BinaryOperator, a: Dim, b: Dim): Dim | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const result = BINARY_FUNCTIONS[op](a, b);
    return op === 'div' ? Math.trunc(result) : result;
  }
  switch (op) {
    case 'add':
      return a === 0 ? b : b === 0 ? a : undefined;
    case 'sub':
      return b === 0 ? a : a === b ? 0 : undefined;
    case 'mul':
      return multiplyDims([a, b]);
    case 'div':
      return divide(a, b);
    case 'min':
    case 'max':
      return a === b ? a : undefined;
    // A size is not negative.
    case 'equal':
      return a === b ? 1 : Number(a) < 0 || Number(b) < 0 ? 0 : undefined;
    case 'less':
    case 'lessOrEqual':
      return a === b ? Number(op === 'lessOrEqual') : Number(a) < 0 ? 1 : Number(b) < 0 ? 0 : undefined;
    case 'keep':
      return typeof b !== 'number' ? undefined : b !== 0 ? a : 0;
    case 'drop':
      return typeof b !== 'number' ? undefined : b === 0 ? a : 0;
    default:
      return undefined;
  }
}

function divide(a: Dim, b: Dim): Dim | undefined {
  const left = factorsOf(a);
  for (const factor of factorsOf(b)) {
    if (factor === 1) continue;
    const same = left.indexOf(factor);
    const multiple = left.findIndex(
      (other) => typeof other === 'number' && typeof factor === 'number' && factor !== 0 && other % factor === 0,
    );
    if (same >= 0) left.splice(same, 1);
    else if (multiple >= 0) left[multiple] = (left[multiple] as number) / (factor as number);
    else return undefined;
  }
  return multiplyDims(left);
}

/**
 * The node's output for known integers, or undefined where it can't be known now.
 * @throws ThinferError `bad-shape` when the inputs do not fit the node
 */
export function evaluateIntegers(node: Node, inputs: readonly IntegerConstant[]): IntegerConstant | undefined {
  const dims = inferNode(
    node,
    inputs.map((input) => input.dims),
  );
  if (!isConcrete(dims) || product(dims) > MOST_ELEMENTS) return undefined;
  if (isLayer(node) || node.op === 'transpose' || node.op === 'batchNorm' || 'layout' in node) return undefined;
  if (node.op === 'reshape') return { kind: 'integers', dims, data: inputs[0].data };
  const data = new Array<Dim>(product(dims)).fill(0);
  if (data.length === 0) return { kind: 'integers', dims, data };
  const shapes = new Map<ValueId, readonly number[]>([[node.output, dims]]);
  for (const [i, id] of node.inputs.entries()) shapes.set(id, inputs[i].dims);
  for (const step of stepsOf(node, shapes)) {
    const operands = step.inputs.map((id) => inputs[node.inputs.indexOf(id)].data);
    const { problem } = step;
    if (problem.op === 'copy') referenceCopy(problem, operands[0], data);
    else if (isBinary(node) && 'aStrides' in problem) {
      let i = 0;
      let known = true;
      eachIndex(problem.dims, [problem.aStrides, problem.bStrides], ([a, b]) => {
        const result = dimArithmetic(node.op, operands[0][a], operands[1][b]);
        known &&= result !== undefined && !Number.isNaN(result);
        data[i++] = result ?? 0;
      });
      if (!known) return undefined;
    } else if (problem.op === 'gather') {
      const [from, at] = operands;
      if (problem.outer !== 1 || problem.inner !== 1 || !at.every((index) => typeof index === 'number'))
        return undefined;
      for (const [i, index] of at.entries()) data[i] = from[index < 0 ? index + problem.size : index] ?? 0;
    } else {
      const numbers = operands.map((operand) => Float64Array.from(operand as number[]));
      if (numbers.some((operand) => operand.some(Number.isNaN))) return undefined;
      const out = new Float64Array(data.length);
      computeWeightless(problem as WeightlessProblem, numbers, out);
      data.splice(0, data.length, ...out);
    }
  }
  return { kind: 'integers', dims, data };
}
