import { describe, ThinferError } from '../../errors.js';
import type { Graph } from '../../graph/ir.js';
import { type Answers, answersOf, compareAnswers } from '../compare.js';
import { unitsOf } from '../layers.js';
import type { Job, LayerChoice, Step } from '../step.js';
import type { PrunePattern } from './pattern.js';
import { requireShare } from './pattern.js';
import { prune } from './prune.js';
import { obs } from './second-order.js';

export interface ByLayerOptions extends LayerChoice {
  /** How far the model may move, in all: see `lossOf`. */
  maxLoss: number;
  /** Shares that are tried for each layer, rising. Default 0.3 to 0.95. */
  sparsities?: readonly number[];
  /** Default `weights`. */
  pattern?: PrunePattern;
  /** Default `magnitude`. */
  method?: 'magnitude' | 'obs';
}

const SPARSITIES = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/**
 * How much worse answers are: with labels the share of samples that are not right any more, without the relative error of
 * the outputs.
 */
export function lossOf(job: Pick<Job, 'calibration'>, before: Answers, now: Answers): number {
  const { error, accuracy } = compareAnswers(before, now, job.calibration?.labels);
  return accuracy ? accuracy.before - accuracy.after : error;
}

/**
 * Prunes one layer after the other, each as far as the whole model bears it: after every step the model is evaluated on the
 * calibration data with the layers before as they are by then. The n-th of N layers may use n / N of the loss allowed, so
 * that the first do not use it up; those with the most weights come first (Han et al. 2015: sensitivity a layer).
 */
export function pruneByLayer(options: ByLayerOptions): Step {
  const { maxLoss, sparsities = SPARSITIES, pattern, method = 'magnitude' } = options;
  if (!(typeof maxLoss === 'number' && maxLoss >= 0)) {
    const place = 'pruneByLayer.maxLoss';
    throw new ThinferError({ code: 'bad-argument', place, expected: 'a number from 0', got: describe(maxLoss) });
  }
  for (const [i, sparsity] of sparsities.entries()) requireShare(sparsity, `pruneByLayer.sparsities[${i}]`);
  return {
    name: `prune layer by layer, loss at most ${maxLoss}`,
    needs: 'calibration',
    async apply(job) {
      const units = unitsOf(job.graph, options, 'pruneByLayer').sort(
        (a, b) => b.weights.rows * b.weights.cols - a.weights.rows * a.weights.cols,
      );
      const float = await answersOf(job.graph, job);
      let graph = job.graph;
      for (const [i, { name, layers }] of units.entries()) {
        const allowed = (maxLoss * (i + 1)) / units.length;
        const tried: { sparsity: number; loss: number }[] = [];
        let best: Graph | undefined;
        for (const sparsity of [...sparsities].sort((a, b) => a - b)) {
          job.progress((i + sparsity) / units.length, `${name}: ${sparsity}`);
          const only = layers.map((layer) => layer.name);
          const step = (method === 'obs' ? obs : prune)({ sparsity, pattern, scope: 'layer', only });
          const next = await step.apply({ ...job, graph, note: () => {}, progress: () => {} });
          const loss = lossOf(job, float, await answersOf(next, job));
          tried.push({ sparsity, loss });
          if (!(loss <= allowed)) break;
          best = next;
        }
        const kept = best ? tried.findLast(({ loss }) => loss <= allowed)!.sparsity : 0;
        for (const layer of layers)
          job.note({ layer: layer.name, did: `${Math.round(100 * kept)} % pruned`, evidence: { tried } });
        graph = best ?? graph;
      }
      return graph;
    },
  };
}
