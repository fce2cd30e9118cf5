// From times to the rows of the results file and the tables on screen.

import Table from 'cli-table3';
import pc from 'picocolors';
import { describeShape, parseShape } from './shapes.js';
import type {
  OperatorRow,
  OperatorTimings,
  OurTiming,
  PageFacts,
  PeerKind,
  PeerTiming,
  Row,
  ShapeTimings,
} from './types.js';

const OPERATIONS_PER_MS = 1e6;
const gops = (macs: number, ms: number): number => (2 * macs) / (ms * OPERATIONS_PER_MS);

const fastest = (times: readonly { ms: number }[]): number | null =>
  times.length > 0 ? Math.min(...times.map(({ ms }) => ms)) : null;
const over = (theirs: number | null, ms: number): number | null => (theirs === null ? null : theirs / ms);

export function rowsOf({ shape, ours, peers, ceilingGops }: ShapeTimings, facts: PageFacts): Row[] {
  const ofKind = (kind: PeerKind | undefined) => peers.filter((peer) => peer.kind === kind);
  const bestDense = fastest(ofKind('f32'));
  const ownDense = fastest(ours.filter(({ recipe }) => recipe === 'dense'));
  return ours.map((timing: OurTiming): Row => {
    const { recipe, density, variant, chosen, ms, spread, macs, denseMacs, bytes, same, maxError } = timing;
    const shown = peers.filter(({ kind }) => kind === 'f32' || kind === same);
    return {
      op: parseShape(shape).op,
      format: recipe,
      density,
      shape,
      threads: facts.threads,
      module: facts.module,
      variant,
      chosen,
      ms,
      spread,
      gops: gops(macs, ms),
      effGops: gops(denseMacs, ms),
      limitFraction: gops(macs, ms) / ceilingGops,
      weightBytes: bytes,
      peers: Object.fromEntries(shown.map(({ peer, kind, what, ms }) => [`${peer}-${kind}`, { what, ms }])),
      vsBestDense: over(bestDense, ms),
      vsBestSame: over(fastest(ofKind(same)), ms),
      vsOwnDense: over(ownDense, ms),
      maxError,
    };
  });
}

const ratio = (value: number | null): string => (value === null ? '-' : `${value.toFixed(2)} x`);
export const ratioCell = (value: number | null): string => {
  if (value === null) return '-';
  return value >= 1 ? pc.green(ratio(value)) : pc.red(ratio(value));
};
export const digits = (value: number): string => value.toFixed(value < 0.1 ? 4 : value < 10 ? 3 : 1);
export const percent = (value: number): string => `${(100 * value).toFixed(0)} %`;

/** A table whose first `left` columns are text. */
export const tableOf = (head: readonly string[], left: number) =>
  new Table({
    head: head.map((title) => pc.bold(title)),
    colAligns: head.map((_, i) => (i < left ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });

const HEAD = ['kernel', 'weights', 'ms', '+-', 'G/s', 'G/s dense', 'limit', 'vs f32', 'vs same', 'vs own', 'error'];

/** The table of one shape: our rows, the fastest of each kind of weights in bold, then the peers. */
export function shapeTable(timings: ShapeTimings, rows: readonly Row[]): string {
  const table = tableOf(HEAD, 2);
  const weights = ({ format, density }: Row) => (density < 1 ? `${format} ${percent(density)}` : format);
  const best = new Map<string, number>();
  for (const row of rows) best.set(weights(row), Math.min(best.get(weights(row)) ?? Number.POSITIVE_INFINITY, row.ms));
  for (const row of rows) {
    const kernel = `${row.variant}${row.chosen ? ' *' : ''}`;
    table.push([
      best.get(weights(row)) === row.ms ? pc.bold(kernel) : kernel,
      weights(row),
      digits(row.ms),
      percent(row.spread / row.ms),
      row.gops.toFixed(1),
      row.effGops.toFixed(1),
      percent(row.limitFraction),
      ratioCell(row.vsBestDense),
      ratioCell(row.vsBestSame),
      ratioCell(row.vsOwnDense),
      row.maxError.toExponential(0),
    ]);
  }
  const denseMacs = timings.ours[0]?.denseMacs ?? macsOf(timings.shape);
  for (const peer of timings.peers) table.push(peerCells(peer, denseMacs));
  const notes = timings.notes.map((note) => pc.dim(`  ${note}`));
  return [pc.bold(describeShape(timings.shape)), table.toString(), ...notes].join('\n');
}

function peerCells({ peer, what, kind, ms, spread, maxError }: PeerTiming, denseMacs: number): string[] {
  const rate = gops(denseMacs, ms).toFixed(1);
  const cells = [`${peer} ${what}`, kind, digits(ms), percent(spread / ms), rate, rate, '', '', '', ''];
  return [...cells, maxError.toExponential(0)].map((cell) => pc.cyan(cell));
}

/** Multiply-adds of dense weights. */
export function macsOf(text: string): number {
  const shape = parseShape(text);
  if (shape.op === 'linear') return shape.M * shape.K * shape.N;
  const { height, width, stride, kernel, channels, groups, outputs } = shape;
  return (Math.ceil(height / stride) * Math.ceil(width / stride) * kernel ** 2 * channels * outputs) / groups;
}

export function operatorRows(timings: readonly OperatorTimings[], { threads, module }: PageFacts): OperatorRow[] {
  return timings.flatMap(({ operator, bytes, ours, peers }) => {
    if (!ours) return [];
    const { variant, ms, spread, maxError } = ours;
    return {
      operator,
      threads,
      module,
      variant,
      ms,
      spread,
      gBps: bytes / (ms * OPERATIONS_PER_MS),
      peers: Object.fromEntries(peers.map(({ peer, ms }) => [peer, ms])),
      vsBest: over(fastest(peers), ms),
      maxError,
    };
  });
}

/** A row for each operator. */
export function operatorTable(rows: readonly OperatorRow[], timings: readonly OperatorTimings[]): string {
  const names = [...new Set(timings.flatMap(({ peers }) => peers.map(({ peer }) => peer)))];
  const table = tableOf(['operator', 'kernel', 'us', '+-', 'GB/s', ...names, 'vs best', 'error'], 2);
  const us = (ms: number | undefined) => (ms === undefined ? '-' : (1000 * ms).toFixed(1));
  for (const { operator, variant, ms, spread, gBps, peers, vsBest, maxError } of rows) {
    const theirs = names.map((name) => us(peers[name]));
    const cells = [operator, variant, us(ms), percent(spread / ms), gBps.toFixed(1), ...theirs];
    table.push([...cells, ratioCell(vsBest), maxError.toExponential(0)]);
  }
  const notes = timings.flatMap(({ notes }) => notes.map((note) => pc.dim(`  ${note}`)));
  return [table.toString(), ...notes].join('\n');
}
