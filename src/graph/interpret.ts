import type { ElementType } from '../dtype.js';
import { compute } from './compute.js';
import { type Graph, isLayer, type Node, transposeConstant, type ValueId } from './ir.js';
import { concretize } from './shapes.js';
import { stepsOf, type TypeOf } from './steps.js';
import { asElements, elementType } from './types.js';

export interface Array32 {
  dims: readonly number[];
  /** Codes and sums as floats of the same integers. */
  data: Float32Array;
}

const TO_NHWC = [0, 2, 3, 1];
const TO_NCHW = [0, 3, 1, 2];

/**
 * Computes a graph node by node with the oracles, whatever passes ran on it: NCHW and batchNorm too. What passes and
 * kernels must not change.
 */
export function interpret(graph: Graph, inputs: Readonly<Record<string, Array32>>): Record<string, Array32> {
  const ids = new Map(graph.inputs.map(({ name, value }) => [value, inputs[name]]));
  const { shapes, nodes } = concretize(graph, new Map([...ids].map(([id, { dims }]) => [id, dims])));
  const values = new Map<ValueId, Array32>([...graph.constants, ...ids]);
  for (const node of nodes) {
    const operands = node.inputs.map((id) => values.get(id)!);
    const dims = shapes.get(node.output)!;
    const typeOf: TypeOf = (id) => elementType(graph.values.get(id)!);
    values.set(node.output, { dims, data: evaluate(node, operands, dims, typeOf) });
  }
  return Object.fromEntries(graph.outputs.map(({ name, value }) => [name, values.get(value)!]));
}

function evaluate(node: Node, operands: Array32[], dims: readonly number[], typeOf: TypeOf): Float32Array {
  if (node.op === 'reshape') return operands[0].data;
  if (node.op === 'batchNorm') {
    const [{ data }] = operands;
    const pixels = dims.slice(2).reduce((a, b) => a * b, 1);
    const channel = (i: number) => Math.floor(i / pixels) % dims[1];
    return data.map((x, i) => x * node.scale[channel(i)] + node.shift[channel(i)]);
  }
  if ('layout' in node && node.layout === 'NCHW') {
    const image = transposeConstant(operands[0], TO_NHWC);
    const out = TO_NHWC.map((axis) => dims[axis]);
    const data = evaluate({ ...node, layout: 'NHWC' }, [image], out, typeOf);
    return transposeConstant({ dims: out, data }, TO_NCHW).data;
  }
  const shapes = new Map([[node.output, dims], ...node.inputs.map((id, i) => [id, operands[i].dims] as const)]);
  const out = new Float32Array(dims.reduce((a, b) => a * b, 1));
  for (const { problem, inputs } of stepsOf(node, shapes, typeOf)) {
    const arrays = inputs.map((id) => asElements(typeOf(id) as ElementType, operands[node.inputs.indexOf(id)].data));
    compute(problem, arrays, out, isLayer(node) ? node : undefined);
  }
  return out;
}
