// What a model should answer, computed node by node in float64.

import { type Array32, interpret } from '../../graph/interpret.js';
import { type Graph, isLayer } from '../../graph/ir.js';
import { concretize } from '../../graph/shapes.js';
import { asElements, elementType } from '../../graph/types.js';
import { product } from '../../plan/strides.js';
import type { Elements } from '../answers.js';

/** Multiply-adds that the oracle does in some ten seconds. Larger models are compared with a peer's answer. */
const MOST_MACS = 2e9;

export interface Reference {
  outputs: { name: string; shape: number[]; data: Elements }[];
  /** Undefined: they are made up of another runtime's answer. */
  said: string;
}

function macsOf(graph: Graph, inputs: Readonly<Record<string, Array32>>): number {
  const sizes = new Map(graph.inputs.map(({ name, value }) => [value, inputs[name].dims]));
  const { shapes, nodes } = concretize(graph, sizes);
  return nodes.reduce((sum, node) => {
    if (!isLayer(node)) return sum;
    const outputs = product(shapes.get(node.output)!);
    return sum + outputs * node.weights.cols;
  }, 0);
}

/** @returns undefined for a model that is too large */
export function referenceOf(
  graph: Graph,
  inputs: Readonly<Record<string, { shape: readonly number[]; data: Elements }>>,
): Reference['outputs'] | undefined {
  const arrays = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, data }]) => [name, { dims: shape, data: Float32Array.from(data) }]),
  );
  if (macsOf(graph, arrays) > MOST_MACS) return undefined;
  const answers = interpret(graph, arrays);
  return graph.outputs.map(({ name, value }) => {
    const { dims, data } = answers[name];
    return { name, shape: [...dims], data: asElements(elementType(graph.values.get(value)!), data) as Elements };
  });
}
