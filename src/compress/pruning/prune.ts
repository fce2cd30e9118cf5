import { describe, ThinferError } from '../../errors.js';
import { requireChoice } from '../../formats/checks.js';
import type { Weights } from '../../formats/index.js';
import type { Graph } from '../../graph/ir.js';
import { atLayer, type Unit, unitsOf, valuesOf, withWeights } from '../layers.js';
import type { Job, LayerChoice, Step } from '../step.js';
import { type Importance, importanceOf, thresholdOf, zeroBlocks, zeroPairs } from './importance.js';
import { blockOf, type PrunePattern, packPattern, requirePattern, requireShare } from './pattern.js';

export interface PruneOptions extends LayerChoice {
  /** The share of weights that become 0. Of `2:4` it is 1/2. */
  sparsity?: number;
  /** `global`: one threshold for all layers; `layer`: the same share of each. Default `global`. */
  scope?: 'global' | 'layer';
  /** What goes together. Default `weights`. */
  pattern?: PrunePattern;
  /** Default `l1`. */
  importance?: Importance;
}

/**
 * Magnitude pruning: the weights (or blocks of weights) that are nearest to 0 become 0 (Han et al. 2015, Learning both
 * Weights and Connections for Efficient Neural Networks; 2:4: Mishra et al. 2021, Accelerating Sparse Deep Neural
 * Networks). With one global threshold layers lose what they can spare.
 * @param options or the sparsity
 */
export function prune(options: number | PruneOptions): Step {
  const given = typeof options === 'number' ? { sparsity: options } : options;
  const {
    pattern = 'weights',
    scope = 'global',
    importance = 'l1',
    sparsity = pattern === '2:4' ? 0.5 : undefined,
  } = given;
  requirePattern(pattern, 'prune');
  requireChoice(scope, ['global', 'layer'], 'prune.scope');
  requireChoice(importance, ['l0', 'l1', 'l2'], 'prune.importance');
  requireShare(sparsity, 'prune.sparsity');
  if (pattern === '2:4' && sparsity !== 0.5) {
    const got = describe(sparsity);
    throw new ThinferError({ code: 'bad-argument', place: 'prune.sparsity', expected: '0.5, which 2:4 is', got });
  }
  return {
    name: `prune ${pattern === '2:4' ? '2:4' : `${percent(sparsity)}${pattern === 'weights' ? '' : ` in ${pattern}`}`}`,
    apply(job) {
      const units = unitsOf(job.graph, given, 'prune');
      if (pattern === '2:4')
        return pruned(job, units, pattern, (values, unit) =>
          zeroPairs(values, unit.weights.cols, (i) => Math.abs(values[i])),
        );
      const block = blockOf(pattern);
      const scores = units.map(({ weights }) => importanceOf(valuesOf(weights), weights, block, importance));
      const cuts = scope === 'layer' ? scores.map((own) => cutOf([own], sparsity)[0]) : cutOf(scores, sparsity);
      return pruned(job, units, pattern, (values, { weights }, i) =>
        zeroBlocks(values, weights.cols, block, scores[i], cuts[i].threshold, cuts[i].atThreshold),
      );
    },
  };
}

export const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;

/** The share of each unit's blocks that go when a share of all blocks goes, those of least importance first. */
export function sharesOf(units: readonly Unit[], pattern: PrunePattern, share: number): number[] {
  const block = pattern === '2:4' ? ([1, 1] as const) : blockOf(pattern);
  const scores = units.map(({ weights }) => importanceOf(valuesOf(weights), weights, block, 'l1'));
  return cutOf(scores, share).map(({ threshold, atThreshold }, i) => {
    const below = scores[i].reduce((sum, score) => sum + Number(score < threshold), 0);
    return (below + atThreshold) / scores[i].length;
  });
}

/** Where to cut so that a share of all scores together is dropped: of those at the threshold, the first ones. */
function cutOf(scores: readonly Float64Array[], share: number): { threshold: number; atThreshold: number }[] {
  const all = new Float64Array(scores.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of scores) {
    all.set(part, at);
    at += part.length;
  }
  const count = Math.round(share * all.length);
  const threshold = thresholdOf(all, count);
  let left = count - all.reduce((sum, score) => sum + Number(score < threshold), 0);
  return scores.map((part) => {
    const here = Math.min(
      part.reduce((sum, score) => sum + Number(score === threshold), 0),
      left,
    );
    left -= here;
    return { threshold, atThreshold: here };
  });
}

function pruned(
  job: Job,
  units: readonly Unit[],
  pattern: PrunePattern,
  zero: (values: Float32Array, unit: Unit, index: number) => Float32Array,
): Graph {
  const replaced = new Map<Weights, Weights>();
  for (const [i, unit] of units.entries()) {
    job.progress(i / units.length, unit.name);
    const values = zero(valuesOf(unit.weights), unit, i);
    replaced.set(
      unit.weights,
      atLayer(unit.name, () => packPattern(values, unit.weights, pattern)),
    );
    notePruned(job, unit, values);
  }
  return withWeights(job.graph, replaced);
}

/** Notes how much of a unit is 0 now. */
export function notePruned(job: Pick<Job, 'note'>, { layers }: Unit, values: Float32Array): void {
  const zeros = values.reduce((count, x) => count + Number(x === 0), 0);
  for (const { name } of layers) job.note({ layer: name, did: `${percent(zeros / values.length)} pruned` });
}
