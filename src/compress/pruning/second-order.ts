import { requireChoice } from '../../formats/checks.js';
import { atLayer, type Unit, unitsOf, valuesOf } from '../layers.js';
import { eachWithMoments, inverseFactor, type Moments, type Sequence } from '../products.js';
import type { Job, LayerChoice, Step } from '../step.js';
import { sweep } from '../sweep.js';
import { thresholdOf, zeroBlocks, zeroPairs } from './importance.js';
import { blockOf, type PrunePattern, packPattern, requirePattern, requireShare } from './pattern.js';
import { notePruned, percent, sharesOf } from './prune.js';

export interface SecondOrderOptions extends LayerChoice, Sequence {
  /** The share of weights that become 0. Of `2:4` it is 1/2. */
  sparsity?: number;
  /**
   * `layer`: the same share of each layer. `global`: of each as much as one threshold of |w| for all layers would take,
   * which spares the layers that have few weights to spare. Default `global`.
   */
  scope?: 'global' | 'layer';
  /** What goes together. Default `weights`. */
  pattern?: PrunePattern;
}

export interface ObsOptions extends SecondOrderOptions {
  /** What is added to the diagonal of the Hessian, over its mean. Default 0.01. */
  damping?: number;
}

function settings(options: number | SecondOrderOptions, place: string) {
  const given = typeof options === 'number' ? { sparsity: options } : options;
  const { pattern = 'weights', scope = 'global', sparsity = pattern === '2:4' ? 0.5 : undefined } = given;
  requirePattern(pattern, place);
  requireShare(sparsity, `${place}.sparsity`);
  const what = pattern === '2:4' ? '2:4' : `${percent(sparsity)}${pattern === 'weights' ? '' : ` in ${pattern}`}`;
  requireChoice(scope, ['global', 'layer'], `${place}.scope`);
  const shareOf = (job: Job) => {
    const units = unitsOf(job.graph, given, place);
    const shares = scope === 'layer' || pattern === '2:4' ? [] : sharesOf(units, pattern, sparsity);
    return (unit: Unit) => shares[units.findIndex(({ weights }) => weights === unit.weights)] ?? sparsity;
  };
  return { given, pattern, what, shareOf };
}

/**
 * Optimal Brain Damage (LeCun, Denker and Solla 1990): a weight matters as much as h w^2 / 2, with the diagonal h of the
 * Hessian. It is that of the layer's own squared error, the mean square of what the weight is multiplied by on
 * calibration data, so that nothing has to be differentiated.
 * @param options or the sparsity
 */
export function obd(options: number | SecondOrderOptions): Step {
  const { given, pattern, what, shareOf } = settings(options, 'obd');
  return {
    name: `prune ${what} by saliency`,
    needs: 'calibration',
    apply(job) {
      const share = shareOf(job);
      return eachWithMoments(job, given, 'obd', (unit, moments) => {
        const { rows, cols } = unit.weights;
        const values = valuesOf(unit.weights);
        const rowsAGroup = rows / moments.length;
        const saliency = (i: number) => {
          const { gram } = moments[Math.floor(i / cols / rowsAGroup)];
          const c = i % cols;
          return gram[c * cols + c] * values[i] ** 2;
        };
        const left = drop(values, rows, cols, saliency, pattern, share(unit));
        notePruned(job, unit, left);
        return atLayer(unit.name, () => packPattern(left, unit.weights, pattern));
      });
    },
  };
}

function drop(
  values: Float32Array,
  rows: number,
  cols: number,
  score: (i: number) => number,
  pattern: PrunePattern,
  sparsity: number,
): Float32Array {
  if (pattern === '2:4') return zeroPairs(values, cols, score);
  const block = blockOf(pattern);
  const across = Math.ceil(cols / block[1]);
  const scores = new Float64Array(Math.ceil(rows / block[0]) * across);
  for (let i = 0; i < values.length; i++) {
    const r = Math.floor(i / cols);
    scores[Math.floor(r / block[0]) * across + Math.floor((i - r * cols) / block[1])] += score(i);
  }
  const count = Math.round(sparsity * scores.length);
  const threshold = thresholdOf(scores, count);
  const below = scores.reduce((sum, x) => sum + Number(x < threshold), 0);
  return zeroBlocks(values, cols, block, scores, threshold, count - below);
}

/** Columns whose pruned weights are chosen together. */
const CHOSEN_TOGETHER = 128;

/**
 * Optimal Brain Surgeon layer by layer, in SparseGPT's form (see `sweep`): weights are pruned where the outputs on
 * calibration data lose least, w^2 / U_ii^2, and the weights that stay make up for them. No training.
 * @param options or the sparsity
 */
export function obs(options: number | ObsOptions): Step {
  const { given, pattern, what, shareOf } = settings(options, 'obs');
  const { damping = 0.01 } = given as ObsOptions;
  return {
    name: `prune ${what} by OBS`,
    needs: 'calibration',
    apply(job) {
      const share = shareOf(job);
      return eachWithMoments(job, given, 'obs', (unit, moments) =>
        atLayer(unit.name, () => {
          const { rows, cols } = unit.weights;
          const values = Float64Array.from(valuesOf(unit.weights));
          const size = values.length / moments.length;
          for (const [g, moment] of moments.entries()) {
            const part = values.subarray(g * size, (g + 1) * size);
            pruneGroup(part, rows / moments.length, cols, moment, {
              pattern,
              sparsity: share(unit),
              damping,
            });
          }
          const left = Float32Array.from(values);
          notePruned(job, unit, left);
          return packPattern(left, unit.weights, pattern);
        }),
      );
    },
  };
}

function pruneGroup(
  values: Float64Array,
  rows: number,
  cols: number,
  { gram }: Moments,
  { pattern, sparsity, damping }: { pattern: PrunePattern; sparsity: number; damping: number },
): void {
  const factor = inverseFactor(gram, cols, damping, 'obs.damping');
  // What is 0 already stays so, and counts as pruned.
  const dropped = Uint8Array.from(values, (x) => Number(x === 0));
  const prepare = (from: number) => {
    const width = Math.min(CHOSEN_TOGETHER, cols - from);
    const part = new Float32Array(rows * width);
    const score = (i: number) => {
      const c = from + (i % width);
      const at = Math.floor(i / width) * cols + c;
      return dropped[at] ? 0 : (values[at] / factor[c * cols + c]) ** 2;
    };
    for (let i = 0; i < part.length; i++) part[i] = values[Math.floor(i / width) * cols + from + (i % width)] || 1;
    const left = drop(part, rows, width, score, pattern, sparsity);
    for (let i = 0; i < left.length; i++) {
      if (left[i] === 0) dropped[Math.floor(i / width) * cols + from + (i % width)] = 1;
    }
  };
  const choose = (value: number, r: number, c: number) => (dropped[r * cols + c] ? 0 : value);
  sweep({ values, rows, cols, factor, prepare, every: CHOSEN_TOGETHER, choose });
}
