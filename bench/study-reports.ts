// What the studies say: tables for a terminal, and the figures for the results file.

import pc from 'picocolors';
import { parsePoint } from './points.js';
import { least } from './rivals.js';
import { percent, tableOf } from './rows.js';
import type { CostTimings, CrossoverTimings, GuaranteeTimings, RivalTime } from './types.js';

export interface Report {
  text: string;
  /** A short table for docs/scheduler.md. */
  markdown: string;
  summary: object;
}

const markdownOf = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** A predicted best that takes this many times the measured best's time is a miss. */
const MISSED = 1.1;
/** What takes this many times dense's time is slower than it. */
const SLOWER = 1.05;
const LISTED = 40;

/** The value below which a share of a list lies. */
function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
}

const times = (value: number): string => `${value.toFixed(2)} x`;
const us = (ms: number): string => (1000 * ms).toFixed(1);
const share = (hits: number, of: number): string => (of > 0 ? `${percent(hits / of)} of ${of}` : '-');

/** By what `keyOf` says, in order of first appearance. */
function groupBy<T>(list: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

const recipeOf = ({ point }: { point: string }): string => parsePoint(point).recipe;

// --- cost model --------------------------------------------------------------------------------------------------

/** What the predicted best costs over the measured best, of some rows. */
function lossOf(rows: readonly RivalTime[]): { loss: number; predicted: RivalTime; best: RivalTime } {
  const predicted = least(rows, ({ predictedMs }) => predictedMs);
  const best = least(rows, ({ ms }) => ms);
  return { loss: predicted.ms / best.ms, predicted, best };
}

export function costReport(timings: readonly CostTimings[]): Report {
  const judged = timings.map((one) => ({
    ...one,
    format: lossOf(one.rows.slice(0, one.own)),
    all: lossOf(one.rows),
    ratios: one.rows.filter(({ raced }) => raced).map(({ predictedMs, ms }) => predictedMs / ms),
  }));
  type Judged = (typeof judged)[number];
  const hits = (list: readonly Judged[], which: 'format' | 'all') =>
    list.filter((one) => one[which].loss <= MISSED).length;
  const figures = (list: readonly Judged[]) => {
    const ratios = list.flatMap((one) => one.ratios);
    return {
      points: list.length,
      within10OwnFormat: hits(list, 'format') / list.length,
      within10AllForms: hits(list, 'all') / list.length,
      predictedOverMeasured: {
        median: quantile(ratios, 0.5),
        least: Math.min(...ratios),
        most: Math.max(...ratios),
      },
    };
  };
  const table = tableOf(['weights', 'best in format', 'best of all forms', 'predicted / measured', 'least', 'most'], 1);
  const groups = [...groupBy(judged, recipeOf), ['all', judged] as const];
  for (const [name, list] of groups) {
    const { median, least, most } = figures(list).predictedOverMeasured;
    const cells = [share(hits(list, 'format'), list.length), share(hits(list, 'all'), list.length)];
    table.push([name, ...cells, times(median), times(least), times(most)]);
  }
  const misses = judged
    .flatMap((one) => {
      const [worse, where] =
        one.format.loss > one.all.loss ? ([one.format, 'format'] as const) : ([one.all, 'all'] as const);
      const { loss, predicted, best } = worse;
      if (loss <= MISSED) return [];
      return [{ point: one.point, where, loss, predicted: predicted.variant, best: best.variant }];
    })
    .sort((a, b) => b.loss - a.loss);
  const list = misses
    .slice(0, LISTED)
    .map(({ point, loss, predicted, best }) => `  ${times(loss)}  ${point}: ${predicted}, fastest ${best}`);
  const more = misses.length > LISTED ? [`  and ${misses.length - LISTED} more`] : [];
  const byRow = rowTable(timings);
  const [rates] = timings.map((one) => one.rates);
  const calibration = `calibrated: ${rates.macsPerNs.toFixed(1)} multiply-adds and ${rates.bytesPerNs.toFixed(1)} bytes a ns, ${us(rates.dispatchMs)} us a dispatch`;
  const { median, least, most } = figures(judged).predictedOverMeasured;
  const markdown = markdownOf(
    [
      'points',
      'predicted best within 10 % of the best in its format',
      '... of all forms',
      'predicted / measured: median, least, most',
    ],
    [
      [
        String(judged.length),
        percent(hits(judged, 'format') / judged.length),
        percent(hits(judged, 'all') / judged.length),
        [median, least, most].map(times).join(', '),
      ],
    ],
  );
  return {
    text: [calibration, table, byRow, pc.bold('misses'), ...list, ...more].join('\n'),
    markdown,
    summary: { rates, all: figures(judged), byWeights: mapValues(groupBy(judged, recipeOf), figures), misses },
  };
}

/** Predicted over measured, by row: where a cost function is off. */
function rowTable(timings: readonly CostTimings[]): string {
  const raced = timings.flatMap(({ rows }) => rows.filter((row) => row.raced));
  const table = tableOf(['kernel', 'times', 'predicted / measured', '10 %', '90 %'], 1);
  for (const [name, list] of groupBy(raced, ({ variant }) => variant)) {
    const ratios = list.map(({ predictedMs, ms }) => predictedMs / ms);
    const cells = [0.5, 0.1, 0.9].map((part) => times(quantile(ratios, part)));
    table.push([name, String(list.length), ...cells]);
  }
  return table.toString();
}

const mapValues = <T, R>(map: Map<string, T>, value: (item: T) => R): Record<string, R> =>
  Object.fromEntries([...map].map(([key, item]) => [key, value(item)]));

// --- guarantee ---------------------------------------------------------------------------------------------------

/** What layers may become without a change of their answers. */
const CLASSES = { f32: 'f32 arithmetic', int8: '8-bit arithmetic', bits: 'binary arithmetic' } as const;

export function guaranteeReport(timings: readonly GuaranteeTimings[]): Report {
  const slower = (list: readonly GuaranteeTimings[], than: 'overDense' | 'overInt8') =>
    list.filter((one) => (one[than] ?? 0) > SLOWER);
  const figures = (list: readonly GuaranteeTimings[]) => {
    const over = list.map(({ overOracle }) => overOracle);
    const spent = list.map(({ tuneMs }) => tuneMs);
    return {
      points: list.length,
      slowerThanDense: slower(list, 'overDense').length,
      slowerThanInt8: slower(list, 'overInt8').length,
      overOracle: { median: quantile(over, 0.5), p90: quantile(over, 0.9), most: Math.max(...over) },
      within5OfOracle: over.filter((value) => value <= SLOWER).length / list.length,
      tuneMs: { median: quantile(spent, 0.5), p90: quantile(spent, 0.9), most: Math.max(...spent) },
      racedTwice: list.filter(({ races }) => races > 1).length,
    };
  };
  const head = [
    'weights',
    'points',
    'slower than dense',
    '... int8',
    'within 5 %',
    'median',
    '90 %',
    'most',
    'tuning ms',
  ];
  const table = tableOf(head, 1);
  const lines = [...groupBy(timings, recipeOf), ...groupBy(timings, ({ arithmetic }) => CLASSES[arithmetic])];
  for (const [name, list] of lines) {
    const { points, slowerThanDense, slowerThanInt8, overOracle, within5OfOracle, tuneMs } = figures(list);
    const over = [overOracle.median, overOracle.p90, overOracle.most].map(times);
    const compared = list.some(({ overInt8 }) => overInt8 !== null) ? String(slowerThanInt8) : '-';
    const cells = [String(points), String(slowerThanDense), compared, percent(within5OfOracle), ...over];
    table.push([name, ...cells, tuneMs.median.toFixed(0)]);
  }
  const broken = slower(
    timings.filter(({ arithmetic }) => arithmetic === 'f32'),
    'overDense',
  );
  const promise =
    broken.length === 0
      ? pc.green('no layer of f32 arithmetic is slower than our own dense by more than 5 %')
      : pc.red(`${broken.length} layers of f32 arithmetic are slower than our own dense by more than 5 %`);
  const described = broken.map(
    ({ point, overDense, tuned, dense }) =>
      `  ${times(overDense!)}  ${point}: ${tuned.variant} ${us(tuned.ms)} us, ${dense!.variant} ${us(dense!.ms)} us`,
  );
  const far = [...timings].sort((a, b) => b.overOracle - a.overOracle).filter(({ overOracle }) => overOracle > MISSED);
  const left = far
    .slice(0, LISTED)
    .map(
      ({ point, overOracle, tuned, oracle }) =>
        `  ${times(overOracle)}  ${point}: ${tuned.variant}, fastest ${oracle.variant}, predicted ${times(oracle.predictedMs / tuned.predictedMs)} of it`,
    );
  const markdown = markdownOf(
    [
      'layers of',
      'points',
      'slower than own dense f32',
      '... dense int8',
      'over the oracle: median, 90 %, most',
      'tuning, median ms',
    ],
    [...groupBy(timings, ({ arithmetic }) => CLASSES[arithmetic])].map(([name, list]) => {
      const { points, slowerThanDense, slowerThanInt8, overOracle, tuneMs } = figures(list);
      const over = [overOracle.median, overOracle.p90, overOracle.most].map(times).join(', ');
      const int8 = list.some(({ overInt8 }) => overInt8 !== null) ? String(slowerThanInt8) : '-';
      return [name, String(points), String(slowerThanDense), int8, over, tuneMs.median.toFixed(0)];
    }),
  );
  return {
    markdown,
    text: [table, promise, ...described, pc.bold('over 10 % behind the oracle'), ...left].join('\n'),
    summary: {
      all: figures(timings),
      byArithmetic: mapValues(
        groupBy(timings, ({ arithmetic }) => arithmetic),
        figures,
      ),
      byWeights: mapValues(groupBy(timings, recipeOf), figures),
    },
  };
}

// --- crossover ---------------------------------------------------------------------------------------------------

interface Curve {
  density: number;
  best: CrossoverTimings['best'];
}

function curvesOf(timings: readonly CrossoverTimings[]): Map<string, Curve[]> {
  const curves = new Map<string, Curve[]>();
  for (const [shape, list] of groupBy(timings, ({ point }) => point.split(' ')[0])) {
    const ofShape = list.map(({ point, best }) => ({ density: parsePoint(point).density, best }));
    curves.set(
      shape,
      ofShape.sort((a, b) => a.density - b.density),
    );
  }
  return curves;
}

/**
 * The density at which a series takes as long as another: between two measured ones on straight lines in logarithms.
 * @returns 0 when it is never faster; the last density when it always is
 */
function crossing(curve: readonly Curve[], series: string, other: string): number {
  const logs = curve.map(({ density, best }) => [Math.log(density), Math.log(best[series].ms / best[other].ms)]);
  const first = logs.findIndex(([, over]) => over > 0);
  if (first === 0) return 0;
  if (first < 0) return curve.at(-1)!.density;
  const [[x0, y0], [x1, y1]] = [logs[first - 1], logs[first]];
  return Math.exp(x0 + ((x1 - x0) * -y0) / (y1 - y0));
}

export function crossoverReport(timings: readonly CrossoverTimings[]): Report {
  const curves = curvesOf(timings);
  const series = Object.keys(timings[0].best).filter((name) => name !== 'dense' && name !== 'int8');
  const columns = series.flatMap((name) => ['dense', 'int8'].map((other) => [name, other] as const));
  const head = ['shape', ...columns.map(([name, other]) => `${name} < ${other}`)];
  const lines: string[][] = [];
  const summary: Record<string, Record<string, number>> = {};
  for (const [shape, curve] of curves) {
    const found = columns.map(([name, other]) => crossing(curve, name, other));
    const last = curve.at(-1)!.density;
    lines.push([
      shape,
      ...found.map((density) =>
        density === 0 ? 'never' : density === last ? `to ${percent(last)}` : percent(density),
      ),
    ]);
    summary[shape] = Object.fromEntries(columns.map(([name, other], i) => [`${name} ${other}`, found[i]]));
  }
  const table = tableOf(head, 1);
  table.push(...lines);
  return { text: table.toString(), markdown: markdownOf(head, lines), summary };
}
