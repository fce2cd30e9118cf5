import { conv2dProblem, linearProblem, weightFacts } from '../layers/problem.js';
import type { Activation, BinaryProblem, Problem, TransposeProblem } from '../plan/problem.js';
import { mergeDims, product } from '../plan/strides.js';
import { type BinaryNode, broadcastStrides, type Clamp, type Node, type ValueId } from './ir.js';
import { nodeWindow } from './shapes.js';

function activation([min, max]: Clamp): Activation {
  return { min, max };
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

function binary(node: BinaryNode, shapes: ReadonlyMap<ValueId, readonly number[]>): BinaryProblem {
  const dims = [...shapes.get(node.output)!];
  const [aStrides, bStrides] = node.inputs.map((id) => broadcastStrides(shapes.get(id)!, dims));
  const merged = mergeDims({ dims, strides: [aStrides, bStrides] });
  return {
    op: node.op,
    dims: merged.dims,
    aStrides: merged.strides[0],
    bStrides: merged.strides[1],
    clamp: [...node.clamp],
  };
}

/**
 * The work of one node for concrete shapes; undefined for a reshape, which is none. The node must be one that the
 * passes leave: NHWC, no batchNorm.
 * @throws ThinferError `bad-shape` when sizes are out of range
 */
export function problemOf(node: Node, shapes: ReadonlyMap<ValueId, readonly number[]>): Problem | undefined {
  const input = shapes.get(node.inputs[0])!;
  if ('layout' in node && node.layout !== 'NHWC') throw new TypeError(`${node.name} is NCHW: run the passes first`);
  switch (node.op) {
    case 'conv2d':
      return conv2dProblem(weightFacts(node.weights), node.weights, [input[0], input[1], input[2]], {
        ...node.window,
        groups: node.groups,
        channels: input[3],
        bias: node.bias,
        activation: activation(node.clamp),
        binaryPadding: node.binaryPadding,
      });
    case 'linear':
      return linearProblem(weightFacts(node.weights), node.weights, product(input.slice(0, -1)), {
        bias: node.bias,
        activation: activation(node.clamp),
      });
    case 'maxPool2d':
    case 'averagePool2d':
      return {
        op: node.op,
        channels: input[3],
        window: nodeWindow(node, node.window, [input[0], input[1], input[2]]),
        countIncludePad: node.countIncludePad,
      };
    case 'add':
    case 'sub':
    case 'mul':
    case 'div':
      return binary(node, shapes);
    case 'clamp':
      return { op: 'activation', size: product(input), clamp: [...node.clamp] };
    case 'softmax': {
      const start = input.length - node.tail;
      return { op: 'softmax', rows: product(input.slice(0, start)), cols: product(input.slice(start)) };
    }
    case 'transpose':
      return { op: 'transpose', ...mergePermutation(input, node.perm) };
    case 'reshape':
      return undefined;
    case 'batchNorm':
      throw new TypeError(`${node.name} is a batchNorm: run the passes first`);
  }
}
