// What values hold when a graph runs on calibration data.

import { describe, ThinferError } from '../errors.js';
import { readInputs } from '../graph/inputs.js';
import type { Graph, ValueId } from '../graph/ir.js';
import { Model } from '../graph/model.js';
import { concretize } from '../graph/shapes.js';
import { product } from '../plan/strides.js';
import type { Calibration, Job } from './step.js';

/** What a run needs: a job, or the part of it that is there before there is one. */
export type Observer = Pick<Job, 'graph' | 'calibration' | 'runtime' | 'signal'>;

/** One value in one batch. */
export interface Observation {
  data: Float32Array;
  shape: readonly number[];
  /** Of the calibration. */
  batch: number;
}

/** Values of this many bytes are read in one run: others wait for the next, so that memory is a few layers'. */
const MOST_BYTES = 2 ** 26;

/**
 * The calibration of a job.
 * @throws ThinferError `bad-argument` when there is none
 */
export function requireCalibration({ calibration }: Pick<Job, 'calibration'>, place: string): Calibration {
  if (calibration) return calibration;
  throw new ThinferError({
    code: 'bad-argument',
    place,
    expected: 'calibration data',
    got: 'none',
    hint: 'Pass some tens or hundreds of typical inputs: { calibration: { batches: [{ image }] } }.',
  });
}

/**
 * Checks that batches fit the inputs of a graph, and labels the batches.
 * @throws ThinferError `bad-argument` or `bad-shape`, naming the batch
 */
export function checkCalibration(graph: Graph, { batches, labels }: Calibration): void {
  const wrong = (place: string, expected: string, got: string): never => {
    throw new ThinferError({ code: 'bad-argument', place: `calibration.${place}`, expected, got });
  };
  if (!Array.isArray(batches) || batches.length === 0) {
    wrong('batches', 'an array of inputs of the model, at least one', describe(batches));
  }
  if (labels && labels.length !== batches.length) {
    wrong('labels', `labels for each of ${batches.length} batches`, `${labels.length}`);
  }
  for (let i = 0; i < batches.length; i++) atBatch(i, () => readInputs(graph, batches[i]));
}

function atBatch<T>(index: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    const { code, expected, got, hint } = error;
    const place = error.place.replace(/^model\.run: /, '');
    throw new ThinferError({
      code,
      place: `calibration.batches[${index}]: ${place}`,
      expected,
      got,
      hint,
      cause: error,
    });
  }
}

/**
 * Runs the graph on every batch and shows what values hold, a few values at a time: all batches of a value before the
 * next group of values.
 * @throws ThinferError `bad-argument` without calibration and where a value is not finite
 */
export async function observe(
  { graph, calibration, runtime, signal }: Observer,
  ids: readonly ValueId[],
  visit: (id: ValueId, observation: Observation) => void | Promise<void>,
): Promise<void> {
  const { batches } = requireCalibration({ calibration }, 'compress');
  for (const group of groupsOf(graph, batches[0], [...new Set(ids)])) {
    const outputs = group.map((value) => ({ name: `v${value}`, value }));
    const model = await Model.create(await runtime(), { ...graph, outputs });
    try {
      for (const [batch, inputs] of batches.entries()) {
        signal?.throwIfAborted();
        const held = await model.run(inputs, { signal });
        for (const { name, value } of outputs) {
          const { data, shape } = held[name];
          const floats = data instanceof Float32Array ? data : Float32Array.from(data);
          requireFinite(floats, graph.values.get(value)!.name, batch);
          await visit(value, { data: floats, shape, batch });
        }
      }
    } finally {
      model.free();
    }
  }
}

function groupsOf(graph: Graph, batch: Calibration['batches'][number], ids: readonly ValueId[]): ValueId[][] {
  const { shapes } = concretize(graph, readInputs(graph, batch).shapes);
  const groups: ValueId[][] = [];
  let room = 0;
  for (const id of ids) {
    const bytes = 4 * product(shapes.get(id)!);
    if (bytes > room) {
      groups.push([]);
      room = MOST_BYTES;
    }
    groups.at(-1)!.push(id);
    room -= bytes;
  }
  return groups;
}

function requireFinite(data: Float32Array, name: string, batch: number): void {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] - data[i];
  if (sum === 0) return;
  const at = data.findIndex((x) => !Number.isFinite(x));
  throw new ThinferError({
    code: 'bad-argument',
    place: `calibration.batches[${batch}]: value "${name}"[${at}]`,
    expected: 'finite numbers in every layer',
    got: String(data[at]),
    hint: 'Take the batch out, or look where the model makes such numbers of it.',
  });
}
