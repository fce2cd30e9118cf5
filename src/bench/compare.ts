// Two files of results: what became slower or faster by more than noise.
import {
  type BenchRun,
  deviceOf,
  type ModelRow,
  type ResultsFile,
  type RuntimeName,
  type RuntimeRow,
} from './results.js';

export type Verdict = 'slower' | 'faster' | 'same' | 'broken' | 'mended' | 'only before' | 'only after';

export interface Comparison {
  /** Model, backend and threads, or a shape; and the machine where there are several. */
  what: string;
  metric: 'warm' | 'cold' | 'layer' | 'weights';
  before?: Quantity;
  after?: Quantity;
  /** After over before. */
  ratio?: number;
  verdict: Verdict;
}

/** Milliseconds, bytes, or a ratio to a peer's milliseconds, with what it is likely to be between. */
export interface Quantity {
  value: number;
  low: number;
  high: number;
}

export interface CompareOptions {
  /** Changes below this share of the value are nothing, however sure. */
  threshold: number;
  /** Times over this peer's in the same race, so that the speed of the machine does not count. */
  relative?: Exclude<RuntimeName, 'thinfer'>;
}

interface Entry {
  what: string;
  metric: Comparison['metric'];
  /** Undefined: it was tried and failed. */
  quantity: Quantity | undefined;
}

/** Cold starts that are compared. */
const FEW = 3;

type Times = { ms: number; low: number; high: number };

const quantityOf = ({ ms, low, high }: Times): Quantity => ({ value: ms, low, high });

/** Ours over a peer's. */
const over = (ours: Times, theirs: Times): Quantity => ({
  value: ours.ms / theirs.ms,
  low: ours.low / theirs.high,
  high: ours.high / theirs.low,
});

/** `Chrome/156.0` is `Chrome`: versions are among what is compared. */
const family = (browser: string): string => browser.split(/[/ ]/)[0].toLowerCase();

const placeOf = (run: BenchRun): string => `${family(run.client.browser)}, ${deviceOf(run)}`;

function modelEntries(row: ModelRow, where: string, relative: CompareOptions['relative']): Entry[] {
  const threads = row.backend === 'wasm' ? `, ${row.threads} thread${row.threads > 1 ? 's' : ''}` : '';
  const what = `${row.model}, ${row.backend}${threads}${where}`;
  const [ours] = row.runtimes;
  const peer = row.runtimes.find(({ name }) => name === relative);
  const entries: Entry[] = [];
  for (const metric of ['warm', 'cold'] as const) {
    const [mine, theirs]: RuntimeRow[typeof metric][] = [ours[metric], peer?.[metric]];
    // So few starts say nothing of how they vary.
    if (metric === 'cold' && (ours.cold?.starts ?? FEW) < FEW) continue;
    if (ours.failed) entries.push({ what, metric, quantity: undefined });
    else if (mine && !relative) entries.push({ what, metric, quantity: quantityOf(mine) });
    else if (mine && theirs) entries.push({ what, metric, quantity: over(mine, theirs) });
  }
  const { weightBytes: value } = row;
  if (!ours.failed) entries.push({ what, metric: 'weights', quantity: { value, low: value, high: value } });
  return entries;
}

function entriesOf({ runs }: ResultsFile, named: boolean, relative: CompareOptions['relative']): Map<string, Entry> {
  const entries = runs.flatMap((run) => {
    const where = named ? ` (${placeOf(run)})` : '';
    const models = run.models.flatMap((row) => modelEntries(row, where, relative));
    const shapes = (run.shapes ?? []).flatMap((row): Entry[] => {
      if (row.runtime !== 'thinfer' || !row.chosen || relative) return [];
      const what = `${row.shape}, ${row.weights} ${Math.round(100 * row.density)} %, ${row.threads} threads${where}`;
      return [{ what, metric: 'layer', quantity: quantityOf(row.timing) }];
    });
    return [...models, ...shapes];
  });
  // Of several runs of the same, the last.
  return new Map(entries.map((entry) => [`${entry.metric} ${entry.what}`, entry]));
}

function verdictOf(before: Entry | undefined, after: Entry | undefined, threshold: number): Verdict {
  if (!before) return 'only after';
  if (!after) return 'only before';
  if (!before.quantity) return after.quantity ? 'mended' : 'same';
  if (!after.quantity) return 'broken';
  const [a, b] = [before.quantity, after.quantity];
  if (b.low > a.high && b.value > a.value * (1 + threshold)) return 'slower';
  if (b.high < a.low && b.value < a.value * (1 - threshold)) return 'faster';
  return 'same';
}

/** Everything that either file has, what became worse first. */
export function compareResults(before: ResultsFile, after: ResultsFile, options: CompareOptions): Comparison[] {
  const { threshold, relative } = options;
  // One run each: whatever machine it was, there is nothing to mix up.
  const named = before.runs.length > 1 || after.runs.length > 1;
  const [first, second] = [before, after].map((file) => entriesOf(file, named, relative));
  const comparisons = [...new Set([...first.keys(), ...second.keys()])].map((key): Comparison => {
    const [a, b] = [first.get(key), second.get(key)];
    const { what, metric } = (a ?? b)!;
    const ratio = a?.quantity && b?.quantity ? b.quantity.value / a.quantity.value : undefined;
    return { what, metric, before: a?.quantity, after: b?.quantity, ratio, verdict: verdictOf(a, b, threshold) };
  });
  const order: Verdict[] = ['broken', 'slower', 'mended', 'faster', 'same', 'only before', 'only after'];
  return comparisons.sort(
    (a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || a.what.localeCompare(b.what),
  );
}

export const isRegression = ({ verdict }: Comparison): boolean => verdict === 'slower' || verdict === 'broken';

/** What makes times hard to compare: other machines, or the same one at another speed. */
export function doubtsOf(before: ResultsFile, after: ResultsFile): string[] {
  const doubts: string[] = [];
  const places = (file: ResultsFile) => new Set(file.runs.map(placeOf));
  const [first, second] = [places(before), places(after)];
  if (![...first].some((place) => second.has(place))) {
    doubts.push(`Measured in different places: ${[...first].join('; ')} and ${[...second].join('; ')}.`);
  }
  for (const run of before.runs) {
    const measured = new Set(run.models.map(({ model }) => model));
    const other = after.runs.find(
      (one) => placeOf(one) === placeOf(run) && one.models.some(({ model }) => measured.has(model)),
    );
    for (const { backend, threads, gmacs } of run.ceilings) {
      const then = other?.ceilings.find((one) => one.backend === backend && one.threads === threads);
      const ratio = then ? then.gmacs / gmacs : 1;
      if (Math.abs(ratio - 1) < 0.1) continue;
      doubts.push(
        `${placeOf(run)}: the machine itself was at ${(100 * ratio).toFixed(0)} % of its speed before (${backend}, ${threads}).`,
      );
    }
  }
  return doubts;
}
