import { describe, ThinferError } from '../errors.js';
import type { Graph } from '../graph/ir.js';
import { Model } from '../graph/model.js';
import { requireCalibration } from './observe.js';
import type { Job } from './step.js';

/** What a compressed model does on the calibration data, beside the model that it comes from. */
export interface Comparison {
  /** ||y' - y|| / ||y|| of all outputs together. */
  error: number;
  /** Samples whose class (see Calibration.labels) is the same in both, 0..1. */
  agreement: number;
  /** Samples whose class is that of their label, 0..1. With labels only. */
  accuracy?: { before: number; after: number };
}

/** What a graph answers on the calibration data. */
export interface Answers {
  /** By batch, the numbers of all outputs. */
  values: readonly Float32Array[];
  /** By batch, the class of each sample. */
  classes: readonly Int32Array[];
}

type Where = Pick<Job, 'calibration' | 'runtime' | 'signal'>;

/** Runs a graph on every batch. */
export async function answersOf(graph: Graph, { calibration, runtime, signal }: Where): Promise<Answers> {
  const { batches } = requireCalibration({ calibration }, 'compress');
  const model = await Model.create(await runtime(), graph);
  const values: Float32Array[] = [];
  const classes: Int32Array[] = [];
  try {
    for (const batch of batches) {
      const outputs = await model.run(batch, { signal });
      const all = graph.outputs.map(({ name }) => outputs[name]);
      values.push(concatenated(all.map(({ data }) => data)));
      classes.push(all.length > 0 ? argMaxima(all[0].data, all[0].shape.at(-1) ?? 1) : new Int32Array());
    }
  } finally {
    model.free();
  }
  return { values, classes };
}

function concatenated(parts: readonly ArrayLike<number>[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Where the largest of every `size` numbers is. */
function argMaxima(data: ArrayLike<number>, size: number): Int32Array {
  return Int32Array.from({ length: size > 0 ? data.length / size : 0 }, (_, row) => {
    let best = 0;
    for (let i = 1; i < size; i++) if (data[row * size + i] > data[row * size + best]) best = i;
    return best;
  });
}

/** @throws ThinferError `bad-argument` when a batch has not as many labels as samples */
export function accuracyOf({ classes }: Answers, labels: readonly ArrayLike<number>[]): number {
  let right = 0;
  let count = 0;
  for (const [i, batch] of classes.entries()) {
    if (labels[i].length !== batch.length) {
      throw new ThinferError({
        code: 'bad-argument',
        place: `calibration.labels[${i}]`,
        expected: `${batch.length} labels, one for each row of the first output`,
        got: describe(labels[i].length),
      });
    }
    for (let s = 0; s < batch.length; s++) if (batch[s] === labels[i][s]) right++;
    count += batch.length;
  }
  return right / count;
}

/** What a graph answers beside what another did. */
export function compareAnswers(then: Answers, now: Answers, labels?: readonly ArrayLike<number>[]): Comparison {
  let error = 0;
  let size = 0;
  for (const [i, values] of then.values.entries()) {
    for (let k = 0; k < values.length; k++) {
      error += (now.values[i][k] - values[k]) ** 2;
      size += values[k] ** 2;
    }
  }
  const comparison: Comparison = {
    error: error === 0 ? 0 : Math.sqrt(error / size),
    agreement: accuracyOf(now, then.classes),
  };
  if (labels) comparison.accuracy = { before: accuracyOf(then, labels), after: accuracyOf(now, labels) };
  return comparison;
}

export async function compare(before: Graph, after: Graph, where: Where): Promise<Comparison> {
  const then = await answersOf(before, where);
  return compareAnswers(then, await answersOf(after, where), where.calibration?.labels);
}
