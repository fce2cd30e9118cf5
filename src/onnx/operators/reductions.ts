import { NO_CLAMP, type ReshapeDim, type ValueId } from '../../graph/ir.js';
import { formatShape } from '../../graph/shapes.js';
import type { Reduction } from '../../plan/problem.js';
import { product } from '../../plan/strides.js';
import { Unsupported } from '../tensor.js';
import {
  axesOf,
  axisOf,
  keepDims,
  type NodeContext,
  type Operator,
  range,
  reshape,
  sizeOf,
  squeeze,
} from './context.js';
import { binary, unary } from './elementwise.js';

/** A reduction over any axes, which stay as dimensions of 1. */
function reduce(c: NodeContext, input: ValueId, reduction: Reduction, given: readonly number[]): ValueId {
  const rank = c.shape(input).length;
  const axes = [...given].sort((a, b) => a - b);
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

/** What comes before and after a reduction: some are put together from others. */
interface Composed {
  reduction: Reduction;
  before?: (c: NodeContext, input: ValueId) => ValueId;
  after?: (c: NodeContext, reduced: ValueId) => ValueId;
}

/** @param inputFrom the operator set from which axes are an input */
function reduction(inputFrom: number, { reduction, before, after }: Composed): Operator {
  return {
    attributes: ['axes', 'keepdims', 'noop_with_empty_axes'],
    inputs: [1, 2],
    read(c) {
      const input = c.value(0);
      const rank = c.shape(input).length;
      const none = c.attributes.int('noop_with_empty_axes', 0, 0, 1) === 1;
      const given = axesOf(c, rank, inputFrom);
      const axes = given && given.length > 0 ? given : none ? [] : range(rank);
      if (axes.length === 0 && none && !before && !after) return input;
      const reduced = reduce(c, before ? before(c, input) : input, reduction, axes);
      const finished = after ? after(c, reduced) : reduced;
      return c.attributes.int('keepdims', 1, 0, 1) === 1 ? finished : squeeze(c, finished, axes);
    },
  };
}

/** x less its largest over axes, so that powers do not overflow, and the log of the sum of e to what is left. */
function logSumExp(c: NodeContext, input: ValueId, axes: readonly number[]) {
  const largest = reduce(c, input, 'max', axes);
  const rest = binary(c, 'sub', input, largest);
  const log = unary(c, 'log', reduce(c, unary(c, 'exp', rest), 'sum', axes));
  return { largest, rest, log };
}

const readLogSumExp = (c: NodeContext): ValueId => {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const axes = axesOf(c, rank, 18) ?? range(rank);
  const { log, largest } = logSumExp(c, input, axes);
  const result = binary(c, 'add', log, largest);
  return c.attributes.int('keepdims', 1, 0, 1) === 1 ? result : squeeze(c, result, axes);
};

function readLogSoftmax(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const axis = axisOf(c, c.opset < 13 ? 1 : -1, rank);
  // Before opset 13, all dimensions from the axis on are normalised together.
  const axes = c.opset < 13 ? range(rank).slice(axis) : [axis];
  const { rest, log } = logSumExp(c, input, axes);
  return binary(c, 'sub', rest, log);
}

function arg(reduction: 'argMax' | 'argMin'): Operator {
  return {
    attributes: ['axis', 'keepdims', 'select_last_index'],
    inputs: [1, 1],
    read(c) {
      const input = c.value(0);
      const axis = axisOf(c, 0, c.shape(input).length);
      const last = c.attributes.int('select_last_index', 0, 0, 1) === 1;
      let found: ValueId;
      if (last) {
        // The first from the end.
        const size = sizeOf(c, input, axis);
        const cuts = [{ axis, start: size - 1, end: -size - 1, step: -1 }];
        const reversed = c.emit({ op: 'slice', inputs: [input], cuts });
        const index = c.emit({ op: 'reduce', reduction, inputs: [reversed], axes: [axis] });
        found = binary(c, 'sub', { number: size - 1 }, index);
      } else {
        found = c.emit({ op: 'reduce', reduction, inputs: [input], axes: [axis] });
      }
      c.markIntegers(found);
      if (c.attributes.int('keepdims', 1, 0, 1) === 1) return found;
      return c.markIntegers(squeeze(c, found, [axis]));
    },
  };
}

/** y scale + bias; in the kernel that makes y where both are constants as long as its rows. */
function normalize(
  c: NodeContext,
  input: ValueId,
  tail: number,
  center: boolean,
  epsilon: number,
  scaleInput: number,
  biasInput: number,
): ValueId {
  const shape = c.shape(input);
  const rows = shape.slice(shape.length - tail);
  const node = { op: 'normalize', tail, epsilon, center } as const;
  const isRow = (i: number) => {
    if (!c.has(i)) return true;
    const dims = c.shape(c.value(i));
    return c.isConstant(i) && dims.length === tail && dims.every((dim, axis) => dim === rows[axis]);
  };
  if (c.has(scaleInput) && isRow(scaleInput) && isRow(biasInput)) {
    const scale = c.constant(scaleInput, 'scale').data;
    const isNeutral = scale.every((s) => s === 1) && !c.has(biasInput);
    if (isNeutral) return c.emit({ ...node, inputs: [input] });
    const data = new Float32Array(2 * scale.length);
    data.set(scale);
    if (c.has(biasInput)) data.set(c.constant(biasInput, 'bias').data, scale.length);
    c.claim(data.length);
    return c.emit({ ...node, inputs: [input, c.addConstant({ dims: [2, scale.length], data })] });
  }
  let y = c.emit({ ...node, inputs: [input] });
  if (c.has(scaleInput)) y = binary(c, 'mul', y, c.value(scaleInput));
  return c.has(biasInput) ? binary(c, 'add', y, c.value(biasInput)) : y;
}

function rowNorm(center: boolean): Operator {
  return {
    attributes: ['axis', 'epsilon', 'stash_type'],
    inputs: [2, 3],
    read(c) {
      const input = c.value(0);
      const rank = c.shape(input).length;
      const axis = axisOf(c, -1, rank);
      const epsilon = c.attributes.float('epsilon', 1e-5);
      const y = normalize(c, input, rank - axis, center, epsilon, 1, center ? 2 : 9);
      if (c.outputCount === 1 || !center) return y;
      // Mean and 1 / deviation, for who asks; nodes that nobody reads are dropped.
      const axes = range(rank).slice(axis);
      const mean = reduce(c, input, 'mean', axes);
      const rest = binary(c, 'sub', input, mean);
      const variance = reduce(c, binary(c, 'mul', rest, rest), 'mean', axes);
      return [y, mean, unary(c, 'reciprocal', unary(c, 'sqrt', binary(c, 'add', variance, { number: epsilon })))];
    },
  };
}

/** A constant or value of one element a channel, as one that broadcasts over the channels of dimension 1. */
function perChannel(c: NodeContext, input: number, rank: number): ValueId {
  const dims = c.shape(c.value(input));
  if (dims.length !== 1) c.bad('scale', '1 dimension', formatShape(dims));
  return reshape(c, c.value(input), [...keepDims(dims), ...new Array<ReshapeDim>(rank - 2).fill(1)]);
}

function readInstanceNorm(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  if (rank < 3) c.bad('input', 'at least 3 dimensions', String(rank));
  const epsilon = c.attributes.float('epsilon', 1e-5);
  const y = c.emit({ op: 'normalize', inputs: [input], tail: rank - 2, center: true, epsilon });
  return binary(c, 'add', binary(c, 'mul', y, perChannel(c, 1, rank)), perChannel(c, 2, rank));
}

function readGroupNorm(c: NodeContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  const channels = sizeOf(c, input, 1);
  const groups = c.attributes.int('num_groups', 1, 1, channels);
  if (channels % groups !== 0) c.bad('num_groups', `a divisor of ${channels}`, String(groups));
  const epsilon = c.attributes.float('epsilon', 1e-5);
  const [batch] = keepDims(shape, [0]);
  const split = reshape(c, input, [batch, groups, 'infer']);
  const y = c.emit({ op: 'normalize', inputs: [split], tail: 1, center: true, epsilon });
  const back = (value: ValueId, inner: ReshapeDim[]) => reshape(c, value, [batch, ...inner]);
  const rest = shape.slice(2).map((dim): ReshapeDim => (typeof dim === 'number' ? dim : { name: dim }));
  // Before opset 21, scale and bias are those of groups.
  if (c.shape(c.value(1))[0] === groups && groups !== channels) {
    const affine = binary(c, 'add', binary(c, 'mul', y, perChannel(c, 1, 3)), perChannel(c, 2, 3));
    return back(affine, [channels, ...rest]);
  }
  const whole = back(y, [channels, ...rest]);
  const rank = shape.length;
  return binary(c, 'add', binary(c, 'mul', whole, perChannel(c, 1, rank)), perChannel(c, 2, rank));
}

function readLpNorm(c: NodeContext): ValueId {
  const input = c.value(0);
  const axis = axisOf(c, -1, c.shape(input).length);
  const p = c.attributes.int('p', 2, 1, 2);
  const norm = p === 2 ? reduce(c, input, 'l2', [axis]) : reduce(c, unary(c, 'abs', input), 'sum', [axis]);
  return binary(c, 'div', input, norm);
}

/** Local response normalisation: x / (bias + alpha / size * sum of squares of neighbouring channels)^beta. */
function readLrn(c: NodeContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  if (shape.length !== 4) throw new Unsupported(`an input of ${shape.length} dimensions (only images)`);
  const size = c.attributes.int('size', 1, 1, 1 << 10);
  const [alpha, beta, bias] = [1e-4, 0.75, 1].map((x, i) => c.attributes.float(['alpha', 'beta', 'bias'][i], x));
  // Channels as the height of an image one pixel high each, so that a pooling sums over them.
  const flat = reshape(c, binary(c, 'mul', input, input), [
    ...keepDims(shape, [0]),
    1,
    ...keepDims(shape, [1]),
    'infer',
  ]);
  const before = Math.floor((size - 1) / 2);
  const window = { kernel: [size, 1], padding: [before, 0, size - 1 - before, 0] } as const;
  const mean = c.emit({ op: 'averagePool2d', inputs: [flat], layout: 'NCHW', window, countIncludePad: true });
  const squares = reshape(
    c,
    mean,
    shape.map((dim, axis): ReshapeDim => (typeof dim === 'number' ? dim : axis === 0 ? { axes: [0] } : { name: dim })),
  );
  const scaled = binary(c, 'add', binary(c, 'mul', squares, { number: alpha }), { number: bias });
  return binary(c, 'div', input, binary(c, 'pow', scaled, { number: beta }));
}

/** x * mask, where the mask of a triangle is a constant. */
function readTrilu(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  if (rank < 2) c.bad('input', 'at least 2 dimensions', String(rank));
  const [rows, cols] = [sizeOf(c, input, rank - 2), sizeOf(c, input, rank - 1)];
  const k = c.has(1) ? (c.integers(1, 'k')[0] ?? 0) : 0;
  const upper = c.attributes.int('upper', 1, 0, 1) === 1;
  c.claim(product([rows, cols]));
  const inside = (i: number) =>
    upper ? (i % cols) - Math.floor(i / cols) >= k : (i % cols) - Math.floor(i / cols) <= k;
  const data = Float32Array.from({ length: rows * cols }, (_, i) => Number(inside(i)));
  return c.emit({ op: 'keep', inputs: [input, c.addConstant({ dims: [rows, cols], data })], clamp: NO_CLAMP });
}

const LP = { attributes: ['axis', 'p'], inputs: [1, 1], read: readLpNorm } as const;
const NORM = ['epsilon'];

/** Operators that reduce axes, and those that normalise by what they reduce. */
export const reductions: Readonly<Record<string, Operator>> = {
  ArgMax: arg('argMax'),
  ArgMin: arg('argMin'),
  GroupNormalization: { attributes: [...NORM, 'num_groups', 'stash_type'], inputs: [3, 3], read: readGroupNorm },
  InstanceNormalization: { attributes: NORM, inputs: [3, 3], read: readInstanceNorm },
  LRN: { attributes: ['alpha', 'beta', 'bias', 'size'], inputs: [1, 1], read: readLrn },
  LayerNormalization: rowNorm(true),
  LogSoftmax: { attributes: ['axis'], inputs: [1, 1], read: readLogSoftmax },
  LpNormalization: LP,
  RMSNormalization: rowNorm(false),
  ReduceL1: reduction(18, { reduction: 'sum', before: (c, x) => unary(c, 'abs', x) }),
  ReduceL2: reduction(18, { reduction: 'l2' }),
  ReduceLogSum: reduction(18, { reduction: 'sum', after: (c, x) => unary(c, 'log', x) }),
  ReduceLogSumExp: { attributes: ['axes', 'keepdims', 'noop_with_empty_axes'], inputs: [1, 2], read: readLogSumExp },
  ReduceMax: reduction(18, { reduction: 'max' }),
  ReduceMean: reduction(18, { reduction: 'mean' }),
  ReduceMin: reduction(18, { reduction: 'min' }),
  ReduceProd: reduction(18, { reduction: 'prod' }),
  ReduceSum: reduction(13, { reduction: 'sum' }),
  ReduceSumSquare: reduction(18, { reduction: 'sumSquare' }),
  SimplifiedLayerNormalization: rowNorm(false),
  Trilu: { attributes: ['upper'], inputs: [1, 2], read: readTrilu },
};
