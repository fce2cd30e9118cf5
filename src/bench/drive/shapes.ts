// thinfer bench shapes: the page of bench/page.ts, as npm run build puts it into the package.
import { parsePoint, pointText } from '../../../bench/points.js';
import { parseShape } from '../../../bench/shapes.js';
import type { CrossoverTimings, PageOptions, PeerKind, ShapeTimings, StudyTimings } from '../../../bench/types.js';
import { crossoverRows } from '../file.js';
import type { CrossoverRow, PeerName, ShapeRow } from '../results.js';
import { type Measure, type Outcome, runShapes, type Venue } from './shape-pages.js';

export interface ShapesOptions {
  shapes: readonly string[];
  /** Beginnings of recipes' names; empty: all. */
  only: string[];
  densities: number[];
  threads: readonly number[];
  peers: PeerName[];
  rounds: number;
  batchMs: number;
}

type Say = (done: number, what: string) => void;

/** What peers' weights are called in results. */
const KINDS: Readonly<Record<PeerKind, string>> = {
  f32: 'f32',
  int8: 'int8',
  int4: 'int4',
  codes: 'int8 codes',
  sums: 'int8 sums',
};

export const denseMacs = (text: string): number => {
  const shape = parseShape(text);
  if (shape.op === 'linear') return shape.M * shape.K * shape.N;
  const { height, width, channels, outputs, kernel, stride, groups } = shape;
  const pixels = Math.ceil(height / stride) * Math.ceil(width / stride);
  return (pixels * outputs * kernel ** 2 * channels) / groups;
};

function rowsOf({ shape, ours, peers }: ShapeTimings, threads: number): ShapeRow[] {
  const macs = denseMacs(shape);
  const perNs = (count: number, ms: number) => count / ms / 1e6;
  const timing = ({ ms, low, high, spread, best }: ShapeRow['timing']) => ({ ms, low, high, spread, best });
  return [
    ...ours.map(
      (one): ShapeRow => ({
        shape,
        threads,
        runtime: 'thinfer',
        weights: one.recipe,
        density: one.density,
        kernel: one.variant,
        chosen: one.chosen,
        timing: timing(one),
        gmacs: perNs(one.macs, one.ms),
        denseGmacs: perNs(macs, one.ms),
        error: one.maxError,
      }),
    ),
    ...peers.map(
      (one): ShapeRow => ({
        shape,
        threads,
        runtime: one.peer,
        weights: KINDS[one.kind],
        density: 1,
        kernel: one.what,
        chosen: false,
        timing: timing(one),
        gmacs: perNs(macs, one.ms),
        denseGmacs: perNs(macs, one.ms),
        error: one.maxError,
      }),
    ),
  ];
}

const pageOptions = ({ only, densities, peers, rounds, batchMs }: ShapesOptions, threads: number): PageOptions => ({
  threads,
  peers,
  only,
  densities,
  rounds,
  batchMs,
});

async function eachThreads<T>(
  venue: Venue,
  options: ShapesOptions,
  items: readonly string[],
  measure: Measure<T>,
  say: Say,
): Promise<Outcome<T>[]> {
  const outcomes: Outcome<T>[] = [];
  const total = options.threads.length * items.length;
  for (const [i, threads] of options.threads.entries()) {
    const onProgress: Say = (done, text) => {
      const what = text.replace(/ round \d+ of \d+/, '');
      say((i * items.length + done) / total, what && `${what}, ${threads} threads`);
    };
    outcomes.push(await runShapes(venue, pageOptions(options, threads), items, measure, onProgress));
  }
  return outcomes;
}

const notesOf = (outcomes: readonly Outcome<{ notes: string[] }>[], nameOf: (at: number, i: number) => string) =>
  outcomes.flatMap(({ facts, notes, timings }, at) => [
    ...facts.notes,
    ...notes,
    ...timings.flatMap((timing, i) => timing.notes.map((note) => `${nameOf(at, i)}: ${note}`)),
  ]);

/** Kernels of ours and peers' operators at some sizes. */
export async function benchShapes(
  venue: Venue,
  options: ShapesOptions,
  say: Say,
): Promise<{ shapes: ShapeRow[]; notes: string[]; browser: string }> {
  const outcomes = await eachThreads<ShapeTimings>(
    venue,
    options,
    options.shapes,
    (page, shape, without) => page.measure(shape, without),
    say,
  );
  const shapes = outcomes.flatMap(({ facts, timings }) => timings.flatMap((one) => rowsOf(one, facts.threads)));
  const notes = notesOf(outcomes, (at, i) => outcomes[at].timings[i].shape);
  return { shapes, notes, browser: outcomes[0].browserVersion };
}

/** The fastest kernel of each sparse format, of dense and of int8, from almost no weights to most. */
export async function benchCrossover(
  venue: Venue,
  options: ShapesOptions,
  say: Say,
): Promise<{ crossover: CrossoverRow[]; notes: string[]; browser: string }> {
  const points = options.shapes.flatMap((shape) => options.densities.map((density) => pointText(shape, density)));
  for (const point of points) parsePoint(point);
  const outcomes = await eachThreads<StudyTimings>(
    venue,
    { ...options, peers: [], only: [] },
    points,
    (page, point) => page.study('crossover', point),
    say,
  );
  const crossover = outcomes.flatMap(({ facts, timings }) =>
    crossoverRows(timings as CrossoverTimings[], facts.threads),
  );
  const notes = notesOf(outcomes, (at, i) => outcomes[at].timings[i].point);
  return { crossover, notes, browser: outcomes[0].browserVersion };
}
