import type { ValueId } from '../../graph/ir.js';
import { range } from '../../graph/reshape.js';
import type { Reduction } from '../../plan/problem.js';
import { BuiltinOptions, L2NormOptions, ReducerOptions } from '../generated/tflite_generated.js';
import { activate, axisOf, binary, type Operator, type OperatorContext, squeeze, unary } from './context.js';

/** A reduction over any axes, which stay as dimensions of 1. */
function reduce(c: OperatorContext, input: ValueId, reduction: Reduction, given: readonly number[]): ValueId {
  const rank = c.shape(input).length;
  const axes = [...new Set(given)].sort((a, b) => a - b);
  if (axes.length === 0) return input;
  const between = range(rank).slice(axes[0], axes.at(-1)! + 1);
  const neighbours = between.every((axis) => axes.includes(axis) || c.shape(input)[axis] === 1);
  if (neighbours) return c.emit({ op: 'reduce', reduction, inputs: [input], axes });
  // The reduced axes are brought together at the end, and back as dimensions of 1.
  const perm = [...range(rank).filter((axis) => !axes.includes(axis)), ...axes];
  const moved = c.emit({ op: 'transpose', inputs: [input], perm });
  const reduced = c.emit({ op: 'reduce', reduction, inputs: [moved], axes: range(rank).slice(rank - axes.length) });
  return c.emit({ op: 'transpose', inputs: [reduced], perm: range(rank).map((axis) => perm.indexOf(axis)) });
}

function reduction(kind: Reduction): Operator {
  return {
    inputs: [2, 2],
    read(c) {
      const input = c.value(0);
      const rank = c.shape(input).length;
      const axes = c.integers(1, 'axes').map((axis) => axisOf(c, axis, rank));
      const reduced = reduce(c, input, kind, axes);
      const keeps = c.options(BuiltinOptions.ReducerOptions, new ReducerOptions())?.keepDims() ?? false;
      return keeps ? reduced : squeeze(c, reduced, [...new Set(axes)]);
    },
  };
}

function arg(kind: 'argMax' | 'argMin'): Operator {
  return {
    inputs: [2, 2],
    read(c) {
      const input = c.value(0);
      const [given] = c.integers(1, 'axis');
      const axis = axisOf(c, given, c.shape(input).length);
      const found = c.markIntegers(c.emit({ op: 'reduce', reduction: kind, inputs: [input], axes: [axis] }));
      return c.markIntegers(squeeze(c, found, [axis]));
    },
  };
}

/** x less its largest over the last axis, so that powers do not overflow, less the log of the sum of e to that. */
function readLogSoftmax(c: OperatorContext): ValueId {
  const input = c.value(0);
  const last = [axisOf(c, -1, c.shape(input).length)];
  const rest = binary(c, 'sub', input, reduce(c, input, 'max', last));
  return binary(c, 'sub', rest, unary(c, 'log', reduce(c, unary(c, 'exp', rest), 'sum', last)));
}

/** The norm is at least this (tensorflow/lite/kernels/l2norm.cc). */
const SMALLEST_NORM = 1e-6;

function readL2Norm(c: OperatorContext): ValueId {
  const input = c.value(0);
  const norm = reduce(c, input, 'l2', [axisOf(c, -1, c.shape(input).length)]);
  const options = c.options(BuiltinOptions.L2NormOptions, new L2NormOptions());
  const result = binary(c, 'div', input, binary(c, 'max', norm, { number: SMALLEST_NORM }));
  return activate(c, result, options?.fusedActivationFunction());
}

export const reductions: Readonly<Record<string, Operator>> = {
  ARG_MAX: arg('argMax'),
  ARG_MIN: arg('argMin'),
  L2_NORMALIZATION: { inputs: [1, 1], read: readL2Norm },
  LOG_SOFTMAX: { inputs: [1, 1], read: readLogSoftmax },
  MEAN: reduction('mean'),
  REDUCE_ALL: reduction('min'),
  REDUCE_ANY: reduction('max'),
  REDUCE_MAX: reduction('max'),
  REDUCE_MIN: reduction('min'),
  REDUCE_PROD: reduction('prod'),
  SUM: reduction('sum'),
};
