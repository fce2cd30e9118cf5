// What a change of a graph's layers does to the time of a run, on this device.

import { prepare } from '../../advise/prepare.js';
import { ThinferError } from '../../errors.js';
import { type Graph, isLayer, type LayerNode, type ValueId } from '../../graph/ir.js';
import type { ModelInputs } from '../../graph/model.js';
import { Model } from '../../graph/model.js';
import { concretize } from '../../graph/shapes.js';
import { stepsOf } from '../../graph/steps.js';
import { elementType } from '../../graph/types.js';
import { formsFor } from '../../layers/forms.js';
import { contest } from '../../plan/contest.js';
import { isMatmul, type MatmulProblem } from '../../plan/problem.js';
import type { Runtime } from '../../runtime.js';

const ROUNDS = 9;
const TURN_MS = 1;
const WARM_MS = 15;

/** The sizes that are timed: of a batch of one where that is open. */
export function sizesOf(graph: Graph): Map<ValueId, readonly number[]> {
  const shapes = new Map<ValueId, readonly number[]>();
  for (const { name, value } of graph.inputs) {
    const shape = graph.values.get(value)!.shape.map((dim, axis) => (axis === 0 && typeof dim !== 'number' ? 1 : dim));
    if (shape.some((dim) => typeof dim !== 'number')) {
      throw new ThinferError({
        code: 'bad-argument',
        place: `auto: input "${name}"`,
        expected: 'a model whose sizes are known but for the batch',
        got: `[${shape.join(', ')}]`,
      });
    }
    shapes.set(value, shape as number[]);
  }
  return shapes;
}

/** Layers of a graph that another does not have so. */
function newLayers(graph: Graph, other: Graph): LayerNode[] {
  const known = new Set(other.nodes);
  return graph.nodes.filter(isLayer).filter((node) => !known.has(node));
}

function problemsOf(graph: Graph, layers: readonly LayerNode[]): { layer: LayerNode; problem: MatmulProblem }[] {
  const { shapes } = concretize(graph, sizesOf(graph));
  const typeOf = (id: ValueId) => elementType(graph.values.get(id)!);
  return layers.flatMap((layer) => {
    const [{ problem }] = stepsOf(layer, shapes, typeOf);
    return isMatmul(problem) ? [{ layer, problem }] : [];
  });
}

/**
 * Milliseconds of the layers that two graphs do not share, timed in turns on the first backend: the least of all turns, as
 * whatever else the machine does can only add to it.
 */
export interface LayerTimes {
  before: number;
  after: number;
}

/**
 * Times what changed between two graphs, with each layer's weights in the form that is predicted to be the fastest.
 * @throws ThinferError `no-kernel` where nothing runs a layer
 */
export async function timeChange(
  runtime: Runtime,
  before: Graph,
  after: Graph,
  signal?: AbortSignal,
): Promise<LayerTimes> {
  const [backend] = runtime.backends;
  const open: { free(): void }[] = [];
  try {
    const prepared = async (graph: Graph, other: Graph) => {
      const all = [];
      for (const { layer, problem } of problemsOf(graph, newLayers(graph, other))) {
        all.push(await prepare(backend, problem, formsFor(layer.weights, problem.output.dtype), open, '', layer.bias));
      }
      return all;
    };
    const [then, now] = [await prepared(before, after), await prepared(after, before)];
    if (then.length === 0) return { before: 0, after: 0 };
    const least = [then, now].map(() => Number.POSITIVE_INFINITY);
    const inTurn = [then, now].map((all, i) => ({
      async run(times: number) {
        let ms = 0;
        for (const { trial } of all) ms += await trial.run(times);
        // Of a clock with coarse steps a short turn says nothing.
        if (ms * times >= TURN_MS / 2) least[i] = Math.min(least[i], ms);
        return ms;
      },
    }));
    const result = await contest(inTurn, {
      rounds: ROUNDS,
      turnMs: TURN_MS,
      budgetMs: Number.POSITIVE_INFINITY,
      warmMs: WARM_MS,
      proceed: () => !signal?.aborted,
    });
    signal?.throwIfAborted();
    const [was, is] = least.map((ms, i) => (Number.isFinite(ms) ? ms : result!.ms[i]!));
    return { before: was, after: is };
  } finally {
    for (const item of open.reverse()) item.free();
  }
}

/** Milliseconds of whole runs of several graphs, taking turns: of each the fastest turn. */
export async function timeModels(runtime: Runtime, graphs: readonly Graph[], rounds = 30): Promise<number[]> {
  const models: Model[] = [];
  const times = graphs.map(() => [] as number[]);
  try {
    for (const graph of graphs) models.push(await Model.create(runtime, graph));
    const inputs = graphs.map(inputsFor);
    for (const [i, model] of models.entries()) {
      await model.run(inputs[i]);
      await model.tune({ effort: 'quick' });
      await model.run(inputs[i]);
    }
    for (let round = 0; round < rounds; round++) {
      for (const [i, model] of models.entries()) {
        // As often as takes some milliseconds, so that the clock's steps do not matter.
        const start = performance.now();
        let runs = 0;
        do {
          await model.run(inputs[i]);
          runs++;
        } while (performance.now() - start < 5);
        times[i].push((performance.now() - start) / runs);
      }
    }
  } finally {
    for (const model of models) model.free();
  }
  return times.map((all) => Math.min(...all));
}

function inputsFor(graph: Graph): ModelInputs {
  const sizes = sizesOf(graph);
  return Object.fromEntries(
    graph.inputs.map(({ name, value }) => {
      const shape = sizes.get(value)!;
      const length = shape.reduce((a, b) => a * b, 1);
      const dtype = elementType(graph.values.get(value)!);
      const number = (i: number) => ((i * 31) % 17) / 17;
      const data =
        dtype === 'float32'
          ? Float32Array.from({ length }, (_, i) => number(i))
          : new { uint8: Uint8Array, int8: Int8Array, int32: Int32Array, bits: Int32Array }[dtype](length);
      return [name, { shape, data }];
    }),
  );
}
