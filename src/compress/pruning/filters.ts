import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import { describe, ThinferError } from '../../errors.js';
import { requireChoice } from '../../formats/checks.js';
import { dense } from '../../formats/index.js';
import { type Graph, isLayer, type LayerNode, type ValueId } from '../../graph/ir.js';
import { concretize } from '../../graph/shapes.js';
import { mapLayers, unitsOf, valuesOf } from '../layers.js';
import { groupsOf, MomentsCache, momentsOf } from '../products.js';
import type { Job, LayerChoice, Step } from '../step.js';
import { type ChannelClasses, channelClasses, inputChannels } from './channels.js';
import { orderByLoss } from './filter-losses.js';
import { requireShare } from './pattern.js';
import { percent } from './prune.js';
import { shrink } from './shrink.js';

export interface FilterOptions extends LayerChoice {
  /** The share of filters that go. */
  share: number;
  /** `layer`: of each group of layers whose channels belong together; `global`: of all filters together. Default `layer`. */
  scope?: 'layer' | 'global';
  /**
   * `l1`, `l2`: the norm of a filter, over the mean of its layer. `flops`: the l1 norm over the multiplications that go
   * with it, so that filters which cost much go first; `loss`: what is lost on calibration data where the others make up for
   * it (see `orderByLoss`), a share of each layer. Default `loss` where there is calibration data and the scope is `layer`,
   * else `l1`.
   */
  importance?: 'l1' | 'l2' | 'flops' | 'loss';
  /**
   * Whether the layers that read what is left make up for what went, by the least squares on calibration data (He et al. 2017,
   * Channel Pruning for Accelerating Very Deep Neural Networks). Default true where there is calibration data.
   */
  reconstruct?: boolean;
}

/** Channels that go together, with what writes and reads them. */
interface Filter {
  channel: number;
  score: number;
  /** What stands for its group of layers. */
  space: number;
}

/**
 * Removes filters, and with each the channel in every layer that it has to do with: rows, columns, biases, operands of sums
 * and concatenations. All shapes shrink; the network is a smaller dense one (Li et al. 2017, Pruning Filters for Efficient
 * ConvNets). Channels that are added to one another go together.
 * @param options or the share
 */
export function pruneFilters(options: number | FilterOptions): Step {
  const given: FilterOptions = typeof options === 'number' ? { share: options } : options;
  const { share, scope = 'layer', reconstruct } = given;
  requireShare(share, 'pruneFilters.share');
  requireChoice(scope, ['layer', 'global'], 'pruneFilters.scope');
  requireChoice(given.importance ?? 'l1', ['l1', 'l2', 'flops', 'loss'], 'pruneFilters.importance');
  if (given.importance === 'loss') requireChoice(scope, ['layer'], 'pruneFilters.scope');
  return {
    name: `prune ${percent(share)} of filters${reconstruct ? ', reconstructed' : ''}`,
    needs: reconstruct || given.importance === 'loss' ? 'calibration' : undefined,
    async apply(outer) {
      const { graph } = outer;
      // The choice and the reconstruction look at the same inputs.
      const job: Job = { ...outer, moments: outer.moments ?? new MomentsCache(graph) };
      const classes = channelClasses(graph);
      const chosen = new Set(unitsOf(graph, given, 'pruneFilters').flatMap(({ layers }) => layers));
      const { importance = job.calibration && scope === 'layer' ? 'loss' : 'l1' } = given;
      const filters = filtersOf(graph, classes, chosen, importance);
      requireFree(graph, classes, given.only ?? []);
      const dropped = await (importance === 'loss'
        ? leastLoss(job, classes, filters, share)
        : choose(filters, share, scope));
      const smaller = shrink(graph, classes, dropped);
      note(job, graph, smaller);
      if (reconstruct === false || !job.calibration) return smaller;
      return reconstructed(job, smaller, classes, dropped);
    },
  };
}

/** @throws ThinferError `bad-argument` for a layer that was named and can't lose a filter */
function requireFree(graph: Graph, classes: ChannelClasses, names: readonly string[]): void {
  for (const layer of graph.nodes.filter(isLayer)) {
    if (!names.includes(layer.name) || classes.of(layer.output)?.some((channel) => !classes.fixed(channel))) continue;
    throw new ThinferError({
      code: 'bad-argument',
      place: `pruneFilters: layer "${layer.name}"`,
      expected: 'a layer whose channels may go',
      got: 'one whose channels are those of an output or input of the model, or are mixed by what reads them',
    });
  }
}

/** Every class of channels that may go: all layers that write it are chosen ones. */
function filtersOf(
  graph: Graph,
  classes: ChannelClasses,
  chosen: ReadonlySet<LayerNode>,
  importance: NonNullable<FilterOptions['importance']>,
): Filter[] {
  const scores = new Map<number, number>();
  const spaces = new Map<number, number>();
  const kept = new Set<number>();
  const flops = importance === 'flops' ? flopsOf(graph, classes) : undefined;
  for (const layer of graph.nodes.filter(isLayer)) {
    const channels = classes.of(layer.output);
    if (!channels) continue;
    if (!chosen.has(layer)) for (const channel of channels) kept.add(channel);
    const norms = rowNorms(layer, importance === 'l2');
    const mean = norms.reduce((sum, x) => sum + x, 0) / norms.length || 1;
    const space = spaces.get(channels[0]) ?? channels[0];
    for (const [row, channel] of channels.entries()) {
      scores.set(channel, (scores.get(channel) ?? 0) + norms[row] / mean);
      spaces.set(channel, Math.min(spaces.get(channel) ?? space, space));
    }
  }
  return [...scores]
    .filter(([channel]) => !classes.fixed(channel) && !kept.has(channel))
    .map(([channel, score]) => ({
      channel,
      score: flops ? score / (flops.get(channel) ?? 1) : score,
      space: spaces.get(channel)!,
    }));
}

function rowNorms({ weights }: LayerNode, squared: boolean): Float64Array {
  const values = valuesOf(weights);
  const norms = new Float64Array(weights.rows);
  for (let i = 0; i < values.length; i++) {
    norms[Math.floor(i / weights.cols)] += squared ? values[i] ** 2 : Math.abs(values[i]);
  }
  return squared ? norms.map(Math.sqrt) : norms;
}

/** Multiplications of one sample that go with a channel, where it is written and where it is read. */
function flopsOf(graph: Graph, classes: ChannelClasses): Map<number, number> {
  const one = new Map(
    graph.inputs.map(({ value }) => [
      value,
      graph.values.get(value)!.shape.map((dim) => (typeof dim === 'number' ? dim : 1)),
    ]),
  );
  const { shapes } = concretize(graph, one);
  const flops = new Map<number, number>();
  const add = (channel: number, count: number) => flops.set(channel, (flops.get(channel) ?? 0) + count);
  for (const layer of graph.nodes.filter(isLayer)) {
    const pixels = shapes
      .get(layer.output)!
      .slice(0, -1)
      .reduce((a, b) => a * b, 1);
    const { rows, cols } = layer.weights;
    for (const channel of classes.of(layer.output) ?? []) add(channel, pixels * cols);
    const inputs = classes.of(layer.inputs[0]) ?? [];
    for (const channel of inputs) add(channel, (pixels * cols * rows) / groupsOf(layer) / inputs.length);
  }
  return flops;
}

function bySpace(filters: readonly Filter[]): Filter[][] {
  const spaces = new Map<number, Filter[]>();
  for (const filter of filters) spaces.set(filter.space, [...(spaces.get(filter.space) ?? []), filter]);
  return [...spaces.values()];
}

function leastLoss(job: Job, classes: ChannelClasses, filters: readonly Filter[], share: number): Promise<Set<number>> {
  const spaces = bySpace(filters).map((all) => ({
    channels: all.map(({ channel }) => channel),
    count: Math.floor(share * all.length),
  }));
  return orderByLoss(job, classes, spaces);
}

function choose(filters: readonly Filter[], share: number, scope: 'layer' | 'global'): Set<number> {
  const spaces = bySpace(filters);
  const least = (all: readonly Filter[], count: number) =>
    [...all].sort((a, b) => a.score - b.score || a.channel - b.channel).slice(0, count);
  if (scope === 'layer') {
    const gone = spaces.flatMap((all) => least(all, Math.floor(share * all.length)));
    return new Set(gone.map(({ channel }) => channel));
  }
  // No layer loses its last filter.
  const best = new Set(spaces.map((all) => least(all, all.length).at(-1)!));
  const free = filters.filter((filter) => !best.has(filter));
  return new Set(least(free, Math.floor(share * filters.length)).map(({ channel }) => channel));
}

function note(job: Job, before: Graph, after: Graph): void {
  const layers = new Map(after.nodes.filter(isLayer).map((layer) => [layer.name, layer.weights]));
  for (const { name, weights: then } of before.nodes.filter(isLayer)) {
    const now = layers.get(name);
    if (!now || (now.rows === then.rows && now.cols === then.cols)) continue;
    job.note({ layer: name, did: `${then.rows} x ${then.cols} shrunk to ${now.rows} x ${now.cols}` });
  }
}

/**
 * New weights of each layer that lost columns: W' = W G[:, S] G[S, S]^-1 with the second moments G of what all columns were
 * multiplied by, 1 for the bias among them, so that W' x[S] is nearest to W x.
 */
async function reconstructed(
  job: Job,
  smaller: Graph,
  classes: ChannelClasses,
  dropped: ReadonlySet<number>,
): Promise<Graph> {
  const { graph } = job;
  const columnsOf = (layer: LayerNode): number[] => {
    const channels = classes.of(layer.inputs[0] as ValueId)!;
    const channelOf = inputChannels(layer, 0, channels.length);
    return Array.from({ length: layer.weights.cols }, (_, c) => c).filter((c) => !dropped.has(channels[channelOf(c)]));
  };
  const units = unitsOf(graph, {}, 'pruneFilters').filter(({ layers }) => {
    const [layer] = layers;
    return layers.length === 1 && groupsOf(layer) === 1 && columnsOf(layer).length < layer.weights.cols;
  });
  const found = new Map<string, { values: Float32Array; shift: Float64Array }>();
  await momentsOf(job, units, ({ layers: [layer], weights }, [{ gram, mean }]) => {
    const rows = classes.of(layer.output)!;
    const keptRows = [...rows.keys()].filter((r) => !dropped.has(rows[r]));
    const values = valuesOf(weights);
    const all = keptRows.map((r) => values.subarray(r * weights.cols, (r + 1) * weights.cols));
    found.set(layer.name, leastSquares(all, gram, mean, columnsOf(layer)));
    job.progress(found.size / units.length, layer.name);
  });
  return mapLayers(smaller, (layer) => {
    const better = found.get(layer.name);
    if (!better) return layer;
    const { rows, cols } = layer.weights;
    const old = (layer.bias as Float32Array | undefined) ?? new Float32Array(rows);
    const bias = old.map((x, r) => x + better.shift[r]);
    return { ...layer, weights: dense.pack(better.values, { rows, cols }), bias };
  });
}

/** Of the mean square of a column, added so that columns that are always alike do no harm. */
const DAMPING = 1e-3;

function leastSquares(
  rows: readonly Float32Array[],
  gram: Float64Array,
  mean: Float64Array,
  kept: readonly number[],
): { values: Float32Array; shift: Float64Array } {
  const cols = mean.length;
  // Centred: the bias takes up what the means do.
  const covariance = (a: number, b: number) => gram[a * cols + b] - mean[a] * mean[b];
  const size = kept.length;
  const inner = Matrix.zeros(size, size);
  let trace = 0;
  for (let i = 0; i < size; i++) trace += covariance(kept[i], kept[i]);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      const value = (covariance(kept[i], kept[j]) + covariance(kept[j], kept[i])) / 2;
      inner.set(i, j, value);
      inner.set(j, i, value);
    }
    inner.set(i, i, inner.get(i, i) + (DAMPING * trace) / size + 1e-12);
  }
  const target = Matrix.zeros(size, rows.length);
  const gone = Array.from({ length: cols }, (_, c) => c).filter((c) => !kept.includes(c));
  // Only what went has to be made up for: W' = W[:, S] + the regression of the rest on S.
  for (let i = 0; i < size; i++) {
    for (const [r, row] of rows.entries()) {
      let sum = 0;
      for (const c of gone) sum += row[c] * covariance(c, kept[i]);
      target.set(i, r, sum);
    }
  }
  const cholesky = new CholeskyDecomposition(inner);
  if (!cholesky.isPositiveDefinite()) {
    const got = describe(size);
    const expected = 'second moments that can be inverted';
    throw new ThinferError({ code: 'bad-argument', place: 'pruneFilters.reconstruct', expected, got });
  }
  const extra = cholesky.solve(target);
  const values = new Float32Array(rows.length * size);
  const shift = new Float64Array(rows.length);
  for (const [r, row] of rows.entries()) {
    for (const c of gone) shift[r] += row[c] * mean[c];
    for (let i = 0; i < size; i++) {
      values[r * size + i] = row[kept[i]] + extra.get(i, r);
      shift[r] -= extra.get(i, r) * mean[kept[i]];
    }
  }
  return { values, shift };
}
