import { describe, ThinferError } from '../../errors.js';
import type { LayerNode } from '../../graph/ir.js';
import { timeChange } from '../auto/timing.js';
import { atLayer, unitsOf, valuesOf } from '../layers.js';
import type { Job, LayerChoice, Step } from '../step.js';
import { type Candidate, CP, type Method, type Part, partName, SVD, TUCKER, withParts } from './parts.js';

/**
 * How far layers are reduced: a rank; the least that keeps a share of the squares of all weights (`energy`); or the most that
 * takes at most a share of the layer's weights (`size`), or of its time as it is measured here (`time`).
 */
export type Rank = number | { energy: number } | { size: number } | { time: number };

export interface LowRankOptions extends LayerChoice {
  /** Default: `{ energy: 0.9 }`. */
  rank?: Rank;
}

export interface TuckerOptions extends LayerChoice {
  /** A pair is that of inputs and that of outputs. */
  rank?: Rank | readonly [inputs: number, outputs: number];
}

/**
 * Truncated singular value decomposition: a linear layer as two, through as many numbers as the rank (Xue et al. 2013,
 * Restructuring of deep neural network acoustic models with singular value decomposition); a convolution as one to fewer
 * channels and a 1 x 1 back (Zhang et al. 2016, Accelerating Very Deep Convolutional Networks, its linear case). A layer of which
 * that would take more weights stays.
 */
export function svd(options: LowRankOptions = {}): Step {
  return lowRank(SVD, options, 'svd');
}

/**
 * Tucker-2: a convolution as a 1 x 1 to fewer channels, a smaller kernel, and a 1 x 1 to its outputs (Kim et al. 2016,
 * Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications).
 */
export function tucker2(options: TuckerOptions = {}): Step {
  return lowRank(TUCKER, options, 'tucker2');
}

/**
 * CP: a convolution as a 1 x 1 to as many channels as there are terms, a depthwise kernel, and a 1 x 1 to its outputs
 * (Lebedev et al. 2015, Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition, with both dimensions of the
 * kernel as one).
 */
export function cp(options: LowRankOptions = {}): Step {
  return lowRank(CP, options, 'cp');
}

const RULES = ['energy', 'size', 'time'] as const;

function requireRank(rank: TuckerOptions['rank'], place: string, pair: boolean): void {
  const wrong = (expected: string): never => {
    throw new ThinferError({ code: 'bad-argument', place: `${place}.rank`, expected, got: describe(rank) });
  };
  const isRank = (x: unknown) => Number.isInteger(x) && (x as number) >= 1;
  if (Array.isArray(rank)) {
    if (!pair || rank.length !== 2 || !rank.every(isRank)) wrong(pair ? 'two integers from 1' : 'one rank');
  } else if (typeof rank === 'object' && rank !== null) {
    const keys = Object.keys(rank);
    const share = Object.values(rank)[0];
    const known = keys.length === 1 && (RULES as readonly string[]).includes(keys[0]);
    if (!known || !(share > 0 && share <= 1)) wrong(`an integer, or one of ${RULES.join(', ')} with a share in (0, 1]`);
  } else if (!isRank(rank)) wrong('an integer from 1, or a rule');
}

function lowRank(method: Method, options: TuckerOptions, place: string): Step {
  const { rank = { energy: 0.9 } } = options;
  requireRank(rank, place, method === TUCKER);
  const how = typeof rank === 'number' || Array.isArray(rank) ? `rank ${rank}` : Object.entries(rank).flat().join(' ');
  return {
    name: `${method.name}, ${how}`,
    async apply(job) {
      const units = unitsOf(job.graph, options, place);
      const factored = new Map<LayerNode, readonly Part[]>();
      for (const [i, { name, weights, layers }] of units.entries()) {
        job.progress(i / units.length, name);
        const [layer] = layers;
        const note = (did: string, more = {}) => {
          for (const each of layers) job.note({ layer: each.name, did, ...more });
        };
        const dense = weights.format === 'dense' || weights.format === 'f16';
        const why = dense ? method.refuses(layer) : `${weights.format} already`;
        if (why !== undefined) {
          if (options.only?.includes(name)) refuse(place, name, why);
          note(`stays: ${why}`);
          continue;
        }
        const values = valuesOf(weights);
        const chosen = await choose(job, method, layer, values, rank);
        if (!chosen) {
          note('stays: nothing to gain');
          continue;
        }
        const { candidate, evidence } = chosen;
        const parts = atLayer(name, () => candidate.parts());
        for (const each of layers) {
          factored.set(each, parts);
          const into = parts.map((_, index) => partName(each, index));
          const energy = candidate.energy();
          const did = `${method.name} of ${candidate.name}, keeps ${(100 * energy).toFixed(1)} %`;
          job.note({
            layer: each.name,
            did,
            into,
            evidence: { energy, size: candidate.size / values.length, ...evidence },
          });
        }
      }
      return withParts(job.graph, factored);
    },
  };
}

function refuse(place: string, name: string, why: string): never {
  throw new ThinferError({
    code: 'bad-argument',
    place: `${place}: layer "${name}"`,
    expected: 'a layer that can be factorised so',
    got: why,
  });
}

interface Chosen {
  candidate: Candidate;
  evidence?: Record<string, unknown>;
}

/** The candidate that a rule asks for; undefined where the layer as it is takes no more. */
async function choose(
  job: Job,
  method: Method,
  layer: LayerNode,
  values: Float32Array,
  rank: NonNullable<TuckerOptions['rank']>,
): Promise<Chosen | undefined> {
  const smaller = (candidate: Candidate): Chosen | undefined =>
    candidate.size < values.length ? { candidate } : undefined;
  if (typeof rank === 'number') return smaller(method.at(layer, values, rank));
  if ('length' in rank) return smaller(method.at(layer, values, rank));
  const candidates = method.candidates(layer, values).filter(({ size }) => size < values.length);
  if (candidates.length === 0) return undefined;
  if ('energy' in rank) {
    const at = await firstOf(candidates, async (candidate) => candidate.energy() >= rank.energy);
    return at < candidates.length ? { candidate: candidates[at] } : undefined;
  }
  if ('size' in rank) {
    const past = await firstOf(candidates, async ({ size }) => size > rank.size * values.length);
    return { candidate: candidates[Math.max(past - 1, 0)] };
  }
  const times: { candidate: string; ms: number; of: number }[] = [];
  const past = await firstOf(candidates, async (candidate) => {
    job.signal?.throwIfAborted();
    const graph = withParts(job.graph, new Map([[layer, candidate.parts()]]));
    const { before, after } = await timeChange(await job.runtime(), job.graph, graph, job.signal);
    times.push({ candidate: candidate.name, ms: after, of: before });
    return after > rank.time * before;
  });
  // Where not even the least is fast enough, the layer stays.
  return past === 0 ? undefined : { candidate: candidates[past - 1], evidence: { times } };
}

/** The first item that something is true of, by halving: it is true of all behind it. */
async function firstOf<T>(items: readonly T[], isTrue: (item: T) => Promise<boolean>): Promise<number> {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (await isTrue(items[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}
