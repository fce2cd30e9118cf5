import type { DType, ElementType } from '../dtype.js';
import { outputRange } from '../formats/outputs.js';
import { conv2dProblem, linearProblem, type MatmulOptions, weightFacts } from '../layers/problem.js';
import type {
  BinaryProblem,
  CodeBinaryProblem,
  CopyProblem,
  GatherProblem,
  MatmulProblem,
  Moved,
  PoolProblem,
  Problem,
  ResampleProblem,
  TransposeProblem,
} from '../plan/problem.js';
import { mergeDims, product, stridesOf } from '../plan/strides.js';
import {
  type BatchMatmulNode,
  type BinaryNode,
  broadcastStrides,
  type CodeBinaryNode,
  isBinary,
  isCodeBinary,
  type LayerNode,
  type Node,
  type PadNode,
  type PoolNode,
  type ValueId,
} from './ir.js';
import { resampleTable } from './resample.js';
import { cutRange, nodeWindow } from './shapes.js';

/** One kernel's part of a node: C = problem(inputs), where C is the node's output, in which it may write a part only. */
export interface NodeStep {
  problem: Problem;
  inputs: readonly ValueId[];
}

type Shapes = ReadonlyMap<ValueId, readonly number[]>;

/** What values hold. */
export type TypeOf = (id: ValueId) => ElementType;

const allFloats: TypeOf = () => 'float32';

/** The problem with what it moves, where that is not f32. */
function moving<P extends Moved>(problem: P, dtype: ElementType): P {
  return dtype === 'float32' ? problem : { ...problem, dtype };
}

/** The problem of a layer with what is applied to its output. */
function ending(problem: MatmulProblem, { nonlinearity, clamp }: LayerNode): MatmulProblem {
  return { ...problem, nonlinearity, clamp: [...clamp] };
}

/** What a layer takes and gives, as options of the problem. */
export function layerOptions({ bias, inputCodes, result }: LayerNode): MatmulOptions {
  return { bias, input: inputCodes, output: result && (result.quantization ?? (result.dtype as 'float32' | 'int32')) };
}

/** Codes of a pool: those of maxPool2d stay what they are, whatever they mean. */
function poolCodes({ op, codes }: PoolNode, dtype: DType): Pick<PoolProblem, 'codes'> {
  if (op === 'averagePool2d') return codes ? { codes } : {};
  if (dtype !== 'uint8' && dtype !== 'int8') return {};
  const same = { dtype, scale: 1, zeroPoint: 0 };
  return { codes: { input: same, output: same } };
}

/** Dimensions of size 1 are dropped, and neighbours that stay neighbours merged: kernels see the fewest dimensions. */
function mergePermutation(dims: readonly number[], perm: readonly number[]): Omit<TransposeProblem, 'op'> {
  const moved = perm.filter((axis) => dims[axis] !== 1);
  const runs: number[][] = [];
  for (const axis of moved) {
    const run = runs.at(-1);
    const between = run ? dims.slice(run.at(-1)! + 1, Math.max(axis, run.at(-1)! + 1)) : [];
    if (run && run.at(-1)! < axis && between.every((dim) => dim === 1)) run.push(axis);
    else runs.push([axis]);
  }
  if (runs.length === 0) return { dims: [1], perm: [0] };
  const byInput = [...runs].sort((a, b) => a[0] - b[0]);
  return {
    dims: byInput.map((run) => product(run.map((axis) => dims[axis]))),
    perm: runs.map((run) => byInput.indexOf(run)),
  };
}

function broadcast(
  node: BinaryNode | CodeBinaryNode,
  shapes: Shapes,
): Pick<BinaryProblem, 'dims' | 'aStrides' | 'bStrides'> {
  const dims = [...shapes.get(node.output)!];
  const [aStrides, bStrides] = node.inputs.map((id) => broadcastStrides(shapes.get(id)!, dims));
  const merged = mergeDims({ dims, strides: [aStrides, bStrides] });
  return { dims: merged.dims, aStrides: merged.strides[0], bStrides: merged.strides[1] };
}

function binary(node: BinaryNode, shapes: Shapes): BinaryProblem {
  return { op: node.op, ...broadcast(node, shapes), clamp: [...node.clamp] };
}

function codeBinary(node: CodeBinaryNode, shapes: Shapes): CodeBinaryProblem {
  const { op, a, b, quantization: output } = node;
  const clamp = outputRange({ output: { dtype: output.dtype, quantization: output }, clamp: [...node.clamp] });
  return { op, ...broadcast(node, shapes), a, b, output, clamp };
}

/** A copy into all of an output of these dimensions. */
function copyInto(dims: readonly number[], from: number, fromStrides: readonly number[]): CopyProblem {
  return { op: 'copy', dims: [...dims], from, fromStrides: [...fromStrides], to: 0, toStrides: stridesOf(dims) };
}

/** The fewest dimensions, for kernels that take only some. */
function merge(problem: CopyProblem): CopyProblem {
  const {
    dims,
    strides: [fromStrides, toStrides],
  } = mergeDims({ dims: problem.dims, strides: [problem.fromStrides, problem.toStrides] });
  return { ...problem, dims, fromStrides, toStrides };
}

const dot = (index: readonly number[], strides: readonly number[]): number =>
  index.reduce((sum, at, axis) => sum + at * strides[axis], 0);

/** Part of an axis of a padded output: `count` indices from `to`, read from `from` on at `step`. */
interface Run {
  to: number;
  from: number;
  count: number;
  step: number;
}

/** An axis of `size` with a border, in runs. Of a constant border there are none. */
function paddedAxis({ mode }: PadNode, size: number, before: number, after: number): Run[] {
  const inside = {
    to: Math.max(before, 0),
    from: Math.max(-before, 0),
    count: size + Math.min(before, 0) + Math.min(after, 0),
    step: 1,
  };
  const runs = [inside];
  if (mode === 'constant') return runs;
  const step = mode === 'edge' ? 0 : -1;
  const [first, last] = { edge: [0, 1], reflect: [before, 2], symmetric: [before - 1, 1] }[mode];
  if (before > 0) runs.push({ to: 0, from: first, count: before, step });
  if (after > 0) runs.push({ to: before + size, from: size - last, count: after, step });
  return runs;
}

function pad(node: PadNode, shapes: Shapes): NodeStep[] {
  const [input, value] = node.inputs;
  const from = shapes.get(input)!;
  const to = shapes.get(node.output)!;
  const [fromStrides, toStrides] = [stridesOf(from), stridesOf(to)];
  let parts: Run[][] = [[]];
  for (const [axis, size] of from.entries()) {
    const runs = paddedAxis(node, size, node.before[axis], node.after[axis]);
    parts = parts.flatMap((part) => runs.map((run) => [...part, run]));
  }
  const steps = parts
    .filter((part) => part.every(({ count }) => count > 0))
    .map((part): NodeStep => {
      const problem: CopyProblem = {
        op: 'copy',
        dims: part.map(({ count }) => count),
        from: dot(
          part.map((run) => run.from),
          fromStrides,
        ),
        fromStrides: part.map(({ step }, axis) => step * fromStrides[axis]),
        to: dot(
          part.map((run) => run.to),
          toStrides,
        ),
        toStrides,
      };
      return { problem: merge(problem), inputs: [input] };
    });
  if (node.mode !== 'constant') return steps;
  const fill = copyInto([product(to)], 0, [0]);
  return [{ problem: fill, inputs: [value] }, ...steps];
}

function batchMatmul(node: BatchMatmulNode, shapes: Shapes): Problem {
  const batch = shapes.get(node.output)!.slice(0, -2);
  const operands = node.inputs.map((id, i) => {
    const given = shapes.get(id)!;
    const perm = node.perms[i] ?? given.map((_, axis) => axis);
    const strides = stridesOf(given);
    const missing = batch.length - (perm.length - 2);
    const [row, col] = perm.slice(-2);
    return {
      dims: [given[row], given[col]],
      batch: batch.map((_, axis) => {
        const source = perm[axis - missing];
        return axis < missing || given[source] === 1 ? 0 : strides[source];
      }),
      row: strides[row],
      col: strides[col],
    };
  });
  const [{ dims: aDims, ...a }, { dims: bDims, ...b }] = operands;
  const merged = mergeDims({ dims: [...batch], strides: [a.batch, b.batch] });
  return {
    op: 'batchMatmul',
    batch: merged.dims,
    M: aDims[0],
    N: bDims[1],
    K: aDims[1],
    a: { ...a, batch: merged.strides[0] },
    b: { ...b, batch: merged.strides[1] },
  };
}

/**
 * The work of one node for concrete shapes, in order; none for a reshape. The node must be one that the passes leave:
 * NHWC, no batchNorm, no open dimensions.
 * @throws ThinferError `bad-shape` when sizes are out of range
 */
export function stepsOf(node: Node, shapes: Shapes, typeOf: TypeOf = allFloats): NodeStep[] {
  if (node.op === 'reshape') return [];
  if (node.op !== 'pad' && node.op !== 'concat') {
    return [{ problem: problemOf(node, shapes, typeOf), inputs: node.inputs }];
  }
  const steps =
    node.op === 'pad' ? pad(node, shapes) : concat(node.inputs, node.axis, shapes.get(node.output)!, shapes);
  const dtype = typeOf(node.inputs[0]);
  return steps.map(({ problem, inputs }) => ({ problem: moving(problem as CopyProblem, dtype), inputs }));
}

function concat(inputs: readonly ValueId[], axis: number, to: readonly number[], shapes: Shapes): NodeStep[] {
  const strides = stridesOf(to);
  let start = 0;
  return inputs.flatMap((id) => {
    const from = shapes.get(id)!;
    const problem: CopyProblem = {
      op: 'copy',
      dims: [...from],
      from: 0,
      fromStrides: stridesOf(from),
      to: start * strides[axis],
      toStrides: strides,
    };
    start += from[axis];
    return product(from) === 0 ? [] : [{ problem: merge(problem), inputs: [id] }];
  });
}

/** The one problem of a node that is neither a reshape nor put together from parts. */
function problemOf(node: Node, shapes: Shapes, typeOf: TypeOf): Problem {
  const input = shapes.get(node.inputs[0])!;
  const dtype = typeOf(node.inputs[0]);
  const output = shapes.get(node.output)!;
  if ('layout' in node && node.layout !== 'NHWC') throw new TypeError(`${node.name} is NCHW: run the passes first`);
  if (isBinary(node)) return binary(node, shapes);
  if (isCodeBinary(node)) return codeBinary(node, shapes);
  switch (node.op) {
    case 'conv2d': {
      const options = {
        ...node.window,
        groups: node.groups,
        channels: input[3],
        ...layerOptions(node),
        binaryPadding: node.binaryPadding,
      };
      const image = [input[0], input[1], input[2]] as const;
      return ending(conv2dProblem(weightFacts(node.weights), node.weights, image, options, dtype), node);
    }
    case 'linear': {
      const rows = product(input.slice(0, -1));
      return ending(linearProblem(weightFacts(node.weights), node.weights, rows, layerOptions(node), dtype), node);
    }
    case 'maxPool2d':
    case 'averagePool2d':
      return {
        op: node.op,
        channels: input[3],
        window: nodeWindow(node, node.window, [input[0], input[1], input[2]]),
        countIncludePad: node.countIncludePad,
        ...poolCodes(node, dtype),
      };
    case 'clamp':
      return { op: 'activation', size: product(input), clamp: [...node.clamp] };
    case 'activation':
      return { op: 'activation', size: product(input), nonlinearity: node.nonlinearity, clamp: [...node.clamp] };
    case 'softmax': {
      const start = input.length - node.tail;
      return { op: 'softmax', rows: product(input.slice(0, start)), cols: product(input.slice(start)) };
    }
    case 'normalize': {
      const start = input.length - node.tail;
      const { epsilon, center } = node;
      const [rows, cols] = [product(input.slice(0, start)), product(input.slice(start))];
      return { op: 'normalize', rows, cols, epsilon, center, affine: node.inputs.length > 1 };
    }
    case 'transpose':
      return moving<TransposeProblem>({ op: 'transpose', ...mergePermutation(input, node.perm) }, dtype);
    case 'slice': {
      const strides = stridesOf(input);
      let from = 0;
      const steps = [...strides];
      for (const cut of node.cuts) {
        from += cutRange(cut, input[cut.axis]).first * strides[cut.axis];
        steps[cut.axis] *= cut.step;
      }
      return merge(moving(copyInto(output, from, steps), dtype));
    }
    case 'expand':
      return merge(moving(copyInto(output, 0, broadcastStrides(input, output)), dtype));
    case 'tile': {
      const strides = stridesOf(input);
      const dims = input.flatMap((dim, axis) => [node.repeats[axis], dim]);
      const from = strides.flatMap((stride) => [0, stride]);
      return merge(moving(copyInto(dims, 0, from), dtype));
    }
    case 'gather': {
      const [outer, inner] = [product(input.slice(0, node.axis)), product(input.slice(node.axis + 1))];
      const count = product(shapes.get(node.inputs[1])!);
      return moving<GatherProblem>({ op: 'gather', outer, size: input[node.axis], inner, count }, dtype);
    }
    case 'resample': {
      const { axis } = node;
      const [inSize, outSize] = [input[axis], output[axis]];
      const [outer, inner] = [product(input.slice(0, axis)), product(input.slice(axis + 1))];
      const table = resampleTable(node, inSize, outSize);
      if (dtype !== 'float32' && table.taps !== 1) throw new TypeError(`${node.name} mixes codes`);
      return moving<ResampleProblem>({ op: 'resample', outer, inSize, outSize, inner, ...table }, dtype);
    }
    case 'reduce': {
      const first = Math.min(...node.axes);
      const past = Math.max(...node.axes) + 1;
      const size = product(input.slice(first, past));
      if (size !== product(node.axes.map((axis) => input[axis]))) {
        throw new TypeError(`${node.name} reduces axes that are no neighbours`);
      }
      const [outer, inner] = [product(input.slice(0, first)), product(input.slice(past))];
      return { op: 'reduce', reduction: node.reduction, outer, size, inner };
    }
    case 'batchMatmul':
      return batchMatmul(node, shapes);
    case 'quantize':
      return { op: 'quantize', size: product(input), output: node.quantization };
    case 'dequantize': {
      if (dtype === 'float32') throw new TypeError(`${node.name} reads f32`);
      return { op: 'dequantize', size: product(input), dtype, scale: node.scale, zeroPoint: node.zeroPoint };
    }
    case 'lookup':
      return { op: 'lookup', size: product(input), input: node.from, output: node.to, table: node.table };
    default:
      throw new TypeError(`${node.name} is a ${node.op}: run the passes first`);
  }
}
