// Activations as codes whose meaning is known before the model runs.

import { quantizesActivations } from '../../formats/reference.js';
import { type Graph, isBinary, isLayer, type LayerNode, type Node, type ValueId } from '../../graph/ir.js';
import { optimize } from '../../graph/passes/index.js';
import { Rewriter } from '../../graph/passes/rewrite.js';
import { elementType, moves } from '../../graph/types.js';
import { weightFacts } from '../../layers/problem.js';
import type { Quantization } from '../../plan/problem.js';
import { observe } from '../observe.js';
import type { Job } from '../step.js';
import { Histogram } from './histogram.js';
import { quantizationOf, type RangeOptions, rangeOf } from './ranges.js';

/**
 * Gives layers of 8-bit arithmetic codes to read, and codes to write where what follows reads codes: by the ranges that
 * values have on calibration data. A `quantize` and a `dequantize` behind each of the values is all that is written here;
 * the passes make integer layers, tables and sums of that, as of the QDQ models of other tools.
 */
export async function quantizeActivations(
  job: Job,
  names: ReadonlySet<string>,
  { dtype = 'uint8', ...options }: RangeOptions & { dtype?: Quantization['dtype'] },
): Promise<Graph> {
  const { graph } = job;
  const layers = graph.nodes.filter(isLayer).filter((layer) => names.has(layer.name) && takesCodes(layer));
  const values = codedValues(graph, layers);
  const histograms = new Map([...values].map((id) => [id, new Histogram()]));
  job.progress(0.5, 'ranges of activations');
  await observe(job, [...values], (id, { data }) => histograms.get(id)!.add(data));
  const quantizations = new Map(
    [...histograms].map(([id, histogram]) => {
      const range = rangeOf(histogram, options, { levels: 256, symmetric: false });
      return [id, quantizationOf(range, dtype)] as const;
    }),
  );
  for (const { name, inputs } of layers) {
    const input = quantizations.get(rootOf(graph, inputs[0]));
    job.note({ layer: name, did: 'static activations', evidence: { input } });
  }
  return optimize(withCodes(graph, quantizations));
}

/** 8-bit arithmetic with f32 in and out, as it is still. */
function takesCodes(layer: LayerNode): boolean {
  return layer.inputCodes === undefined && quantizesActivations(weightFacts(layer.weights));
}

/** The value whose elements a value has: what a node that only moves elements, or picks the largest, read. */
function rootOf(graph: Graph, id: ValueId): ValueId {
  const writers = writersOf(graph);
  let root = id;
  for (;;) {
    const node = writers.get(root);
    const same = node && ((moves(node) && node.inputs.length === 1) || node.op === 'maxPool2d');
    if (!same) return root;
    root = node.inputs[0];
  }
}

const known = new WeakMap<Graph, Map<ValueId, Node>>();

function writersOf(graph: Graph): Map<ValueId, Node> {
  const writers = known.get(graph) ?? new Map(graph.nodes.map((node) => [node.output, node]));
  known.set(graph, writers);
  return writers;
}

/**
 * Values that become codes: what the layers read, and what sums, averages and functions of one number read whose result is
 * such a value.
 */
function codedValues(graph: Graph, layers: readonly LayerNode[]): Set<ValueId> {
  const values = new Set<ValueId>();
  const add = (id: ValueId) => {
    const root = rootOf(graph, id);
    const float = elementType(graph.values.get(root)!) === 'float32';
    if (float && !graph.constants.has(root)) values.add(root);
  };
  for (const { inputs } of layers) add(inputs[0]);
  for (const node of [...graph.nodes].reverse()) {
    if (!values.has(node.output) || !passesCodes(node)) continue;
    for (const id of node.inputs) add(id);
  }
  return values;
}

/** Nodes between values of codes that the passes make work on codes. */
function passesCodes(node: Node): boolean {
  if (isBinary(node)) return node.op === 'add' || node.op === 'mul';
  return ['averagePool2d', 'concat', 'activation', 'clamp'].includes(node.op);
}

function withCodes(graph: Graph, quantizations: ReadonlyMap<ValueId, Quantization>): Graph {
  const rewriter = new Rewriter(graph);
  const code = (id: ValueId) => {
    const quantization = quantizations.get(id);
    if (!quantization) return;
    const name = rewriter.name(id);
    const codes = rewriter.value(`${name}.codes`);
    const real = rewriter.value(`${name}.real`);
    const { scale, zeroPoint } = quantization;
    rewriter.emit({ op: 'quantize', name: `${name}.quantize`, inputs: [id], output: codes, quantization });
    rewriter.emit({ op: 'dequantize', name: `${name}.dequantize`, inputs: [codes], output: real, scale, zeroPoint });
    rewriter.replace(id, real);
  };
  for (const { value } of graph.inputs) code(value);
  for (const node of graph.nodes) {
    rewriter.emit(node);
    code(node.output);
  }
  return rewriter.finish();
}
