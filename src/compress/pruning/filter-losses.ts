import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import type { Graph } from '../../graph/ir.js';
import { type Unit, unitsOf, valuesOf } from '../layers.js';
import { groupsOf, inverseFactor, type Moments, momentsOf } from '../products.js';
import type { Job } from '../step.js';
import { type ChannelClasses, inputChannels } from './channels.js';

const DAMPING = 0.01;

/** A layer that reads channels, with what is left of its weights and of the inverse of its inputs' second moments. */
interface Reader {
  rows: number;
  cols: number;
  values: Float64Array;
  inverse: Float64Array;
  /** Columns of each class of channels. */
  columns: ReadonlyMap<number, readonly number[]>;
  /** The mean square of the outputs: losses of layers are compared by their share of it. */
  energy: number;
}

/**
 * The order in which channels go, least loss first: what is lost in the outputs of the layers that read a channel when all
 * its columns C go and the others make up for it, sum over rows of w_C ([H^-1]_CC)^-1 w_C^T, over the mean square of the
 * outputs; H^-1 and the weights are updated after each. Optimal Brain Surgeon for groups of weights (Kurtic et al. 2023,
 * ZipLM: Inference-Aware Structured Pruning of Language Models).
 * @param counts of classes that may go, and how many of them
 */
export async function orderByLoss(
  job: Job,
  classes: ChannelClasses,
  spaces: readonly { channels: readonly number[]; count: number }[],
): Promise<Set<number>> {
  const readers = await readersOf(job, job.graph, classes);
  const dropped = new Set<number>();
  for (const [i, { channels, count }] of spaces.entries()) {
    job.progress(0.5 + (0.4 * i) / spaces.length, `${count} of ${channels.length} filters`);
    const left = new Set(channels);
    const here = readers.filter(({ columns }) => channels.some((channel) => columns.has(channel)));
    for (let n = 0; n < count; n++) {
      let best: { channel: number; loss: number } | undefined;
      for (const channel of left) {
        const loss = here.reduce((sum, reader) => sum + lossOf(reader, channel), 0);
        if (!(loss >= (best?.loss ?? Number.POSITIVE_INFINITY))) best = { channel, loss };
      }
      if (!best) break;
      left.delete(best.channel);
      dropped.add(best.channel);
      for (const reader of here) remove(reader, best.channel);
    }
  }
  return dropped;
}

async function readersOf(job: Job, graph: Graph, classes: ChannelClasses): Promise<Reader[]> {
  const units = unitsOf(graph, {}, 'pruneFilters').filter(
    ({ layers }) => layers.length === 1 && groupsOf(layers[0]) === 1,
  );
  const readers: Reader[] = [];
  await momentsOf(job, units, (unit, [moments]) => {
    job.progress((0.5 * readers.length) / units.length, unit.name);
    const channels = classes.of(unit.layers[0].inputs[0]);
    if (channels?.some((channel) => !classes.fixed(channel))) readers.push(readerOf(unit, channels, moments));
  });
  return readers;
}

function readerOf({ layers: [layer], weights }: Unit, channels: readonly number[], { gram }: Moments): Reader {
  const { rows, cols } = weights;
  const channelOf = inputChannels(layer, 0, channels.length);
  const columns = new Map<number, number[]>();
  for (let c = 0; c < cols; c++) {
    const channel = channels[channelOf(c)];
    columns.set(channel, [...(columns.get(channel) ?? []), c]);
  }
  const factor = inverseFactor(gram, cols, DAMPING, 'pruneFilters');
  const inverse = new Float64Array(cols * cols);
  // U^T U, row by row of U.
  for (let k = 0; k < cols; k++) {
    for (let i = k; i < cols; i++) {
      const u = factor[k * cols + i];
      if (u !== 0) for (let j = k; j < cols; j++) inverse[i * cols + j] += u * factor[k * cols + j];
    }
  }
  const values = Float64Array.from(valuesOf(weights));
  let energy = 0;
  for (let i = 0; i < cols; i++) {
    for (let r = 0; r < rows; r++) energy += values[r * cols + i] ** 2 * gram[i * cols + i];
  }
  return { rows, cols, values, inverse, columns, energy: energy || 1 };
}

/** ([H^-1]_CC)^-1 */
function blockInverse({ inverse, cols }: Reader, C: readonly number[]): Matrix {
  const block = new Matrix(C.length, C.length);
  // Symmetric to the last bit, which updates do not keep.
  const mean = (a: number, b: number) => (inverse[a * cols + b] + inverse[b * cols + a]) / 2;
  for (const [i, a] of C.entries()) for (const [j, b] of C.entries()) block.set(i, j, mean(a, b));
  return new CholeskyDecomposition(block).solve(Matrix.eye(C.length));
}

function lossOf(reader: Reader, channel: number): number {
  const C = reader.columns.get(channel);
  if (!C) return 0;
  const { rows, cols, values, energy } = reader;
  const middle = blockInverse(reader, C);
  let loss = 0;
  for (let r = 0; r < rows; r++) {
    for (const [i, a] of C.entries()) {
      for (const [j, b] of C.entries()) loss += values[r * cols + a] * middle.get(i, j) * values[r * cols + b];
    }
  }
  return loss / energy;
}

/** Takes columns out: the weights and the inverse are those of what is left. */
function remove(reader: Reader, channel: number): void {
  const C = reader.columns.get(channel);
  if (!C) return;
  const { rows, cols, values, inverse } = reader;
  const middle = blockInverse(reader, C);
  // ([H^-1]_CC)^-1 H^-1[C, :]
  const step = C.map((_, i) => {
    const row = new Float64Array(cols);
    for (const [j, b] of C.entries()) {
      const factor = middle.get(i, j);
      for (let c = 0; c < cols; c++) row[c] += factor * inverse[b * cols + c];
    }
    return row;
  });
  const subtract = (matrix: Float64Array, count: number) => {
    for (let r = 0; r < count; r++) {
      const row = matrix.subarray(r * cols, (r + 1) * cols);
      const taken = C.map((c) => row[c]);
      for (const [i, amount] of taken.entries()) {
        if (amount !== 0) for (let c = 0; c < cols; c++) row[c] -= amount * step[i][c];
      }
    }
  };
  subtract(values, rows);
  subtract(inverse, cols);
  // What is gone is 0 but for rounding, and its block has to be inverted no more.
  for (const c of C) {
    for (let r = 0; r < rows; r++) values[r * cols + c] = 0;
    for (let k = 0; k < cols; k++) inverse[c * cols + k] = inverse[k * cols + c] = 0;
  }
  (reader.columns as Map<number, readonly number[]>).delete(channel);
}
