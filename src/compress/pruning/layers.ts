import { describe, requireInteger, ThinferError } from '../../errors.js';
import { type Graph, isClamped, isLayer, type LayerNode, NO_CLAMP, type Node, type ValueId } from '../../graph/ir.js';
import { optimize } from '../../graph/passes/index.js';
import { Rewriter } from '../../graph/passes/rewrite.js';
import { answersOf } from '../compare.js';
import { unitsOf } from '../layers.js';
import type { LayerChoice, Step } from '../step.js';
import { lossOf } from './by-layer.js';

export interface LayerRemovalOptions extends LayerChoice {
  /** How many layers go at most. */
  count: number;
  /** None goes that would make the model worse than this, in all: see `lossOf`. Default: no limit. */
  maxLoss?: number;
}

/**
 * Removes whole layers: those that the model misses least, one after the other, each found by trying all that are left on
 * the calibration data. A layer may go whose output has the shape of its input, so that it is passed on as it is; of a branch
 * that is added to its own input the whole branch goes (layer dropping, as in Elkerdawy et al. 2020, To Filter Prune, or to
 * Layer Prune, That Is The Question).
 */
export function removeLayers(options: LayerRemovalOptions): Step {
  const { count, maxLoss = Number.POSITIVE_INFINITY } = options;
  requireInteger(count, 'removeLayers.count', { min: 1 });
  return {
    name: `remove ${count} ${count === 1 ? 'layer' : 'layers'}`,
    needs: 'calibration',
    async apply(job) {
      const names = new Set(
        unitsOf(job.graph, options, 'removeLayers').flatMap(({ layers }) => layers.map(({ name }) => name)),
      );
      const free = candidates(job.graph, names);
      const fixed = options.only?.find((name) => !free.some((layer) => layer.name === name));
      if (fixed !== undefined || free.length === 0) {
        throw new ThinferError({
          code: 'bad-argument',
          place: 'removeLayers',
          expected: 'layers whose output has the shape of their input, or that end a branch added to its own input',
          got: fixed === undefined ? 'none' : describe(fixed),
        });
      }
      const float = await answersOf(job.graph, job);
      let graph = job.graph;
      for (let gone = 0; gone < count; gone++) {
        const left = candidates(graph, names);
        const tried: { layer: string; loss: number }[] = [];
        let best: { layer: LayerNode; graph: Graph; loss: number } | undefined;
        for (const [i, layer] of left.entries()) {
          job.progress((gone + i / left.length) / count, layer.name);
          const without = withoutLayer(graph, layer);
          const loss = lossOf(job, float, await answersOf(without, job));
          tried.push({ layer: layer.name, loss });
          if (!(loss >= (best?.loss ?? Number.POSITIVE_INFINITY))) best = { layer, graph: without, loss };
        }
        if (!best || !(best.loss <= maxLoss)) break;
        const stays = new Set(best.graph.nodes.map(({ name }) => name));
        for (const { name } of graph.nodes.filter(isLayer)) {
          if (!stays.has(name)) job.note({ layer: name, did: 'removed', into: [], evidence: { tried } });
        }
        graph = best.graph;
      }
      return graph;
    },
  };
}

function candidates(graph: Graph, names: ReadonlySet<string>): LayerNode[] {
  return graph.nodes.filter(isLayer).filter((layer) => names.has(layer.name) && replacement(graph, layer));
}

/** What stands for a node's output without a layer: the value, and what is still applied to it. */
function replacement(graph: Graph, layer: LayerNode): { node: Node; value: ValueId } | undefined {
  const shape = (id: ValueId) => graph.values.get(id)!.shape.join();
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(layer.output));
  const output = graph.outputs.some(({ value }) => value === layer.output);
  const [sum] = readers;
  if (!output && readers.length === 1 && sum.op === 'add' && sum.inputs[0] !== sum.inputs[1]) {
    const other = sum.inputs.find((id) => id !== layer.output)!;
    if (!graph.constants.has(other) && shape(other) === shape(sum.output) && reaches(graph, layer, other)) {
      return { node: sum, value: other };
    }
  }
  return shape(layer.inputs[0]) === shape(layer.output) ? { node: layer, value: layer.inputs[0] } : undefined;
}

/** True where a layer is computed from a value: a branch from it. */
function reaches(graph: Graph, layer: LayerNode, from: ValueId): boolean {
  const writers = new Map(graph.nodes.map((node) => [node.output, node]));
  const seen = new Set<ValueId>();
  const open = [...layer.inputs];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (id === from) return true;
    if (seen.has(id)) continue;
    seen.add(id);
    open.push(...(writers.get(id)?.inputs ?? []));
  }
  return false;
}

function withoutLayer(graph: Graph, layer: LayerNode): Graph {
  const { node: gone, value } = replacement(graph, layer)!;
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node !== gone) {
      rewriter.emit(node);
      continue;
    }
    const { name, output } = node;
    const clamp = 'clamp' in node ? node.clamp : NO_CLAMP;
    const nonlinearity = isLayer(node) ? node.nonlinearity : undefined;
    if (nonlinearity) rewriter.emit({ op: 'activation', name, inputs: [value], output, nonlinearity, clamp });
    else if (isClamped(clamp)) rewriter.emit({ op: 'clamp', name: `${name}.clamp`, inputs: [value], output, clamp });
    else rewriter.replace(output, value);
  }
  return optimize(rewriter.finish());
}
