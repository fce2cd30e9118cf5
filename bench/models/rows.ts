// What pages measured as rows of results and tables.
import pc from 'picocolors';
import { median } from '../../src/median.js';
import { digits, percent, ratioCell, tableOf } from '../rows.js';
import { MODELS, type ModelKind } from './list.js';
import type { ColdRun, Steady } from './types.js';

/** How many times as fast as the peer a kind of model should be. */
export const TARGETS: Record<ModelKind, number> = { float: 1.3, int8: 1.5, pruned: 3 };
/** The most that a cold start should take of the peer's. */
export const COLD_TARGET = 0.25;

export interface SteadyRow extends Steady {
  model: string;
  kind: ModelKind;
  threads: number;
  peerName: string;
  /** The peer's time over ours, tuned and not. */
  ratio: number;
  untunedRatio: number;
}

/** Medians of the repetitions. */
export interface ColdSide {
  ms: number;
  transferBytes: number;
  wasmBytes: number;
  residentBytes: number | undefined;
}

export interface ColdRow {
  model: string;
  peerName: string;
  ours: ColdSide;
  peer: ColdSide;
  /** Our time over the peer's. */
  share: number;
}

export const steadyRow = (model: string, threads: number, peerName: string, steady: Steady): SteadyRow => ({
  model,
  kind: MODELS[model].kind,
  threads,
  peerName,
  ...steady,
  ratio: steady.peer.ms / steady.ours.ms,
  untunedRatio: steady.peer.ms / steady.untuned.ms,
});

const known = (runs: readonly ColdRun[]) =>
  runs.flatMap(({ residentBytes }) => (residentBytes === undefined ? [] : [residentBytes]));

const side = (runs: readonly ColdRun[]): ColdSide => ({
  ms: median(runs.map(({ ms }) => ms)),
  transferBytes: median(runs.map(({ transferBytes }) => transferBytes)),
  wasmBytes: median(runs.map(({ wasmBytes }) => wasmBytes)),
  residentBytes: known(runs).length > 0 ? median(known(runs)) : undefined,
});

export function coldRow(model: string, peerName: string, ours: readonly ColdRun[], peer: readonly ColdRun[]): ColdRow {
  const [first, second] = [side(ours), side(peer)];
  return { model, peerName, ours: first, peer: second, share: first.ms / second.ms };
}

const mark = (text: string, good: boolean) => (good ? pc.green(text) : pc.red(text));

export function steadyTable(rows: readonly SteadyRow[]): string {
  const table = tableOf(
    ['model', 'kind', 'peer', 'ms', '+-', 'untuned ms', 'peer ms', 'vs peer', 'target', 'difference'],
    3,
  );
  for (const { model, kind, peerName, ours, untuned, peer, ratio, difference } of rows) {
    const target = TARGETS[kind];
    table.push([
      model,
      kind,
      peerName,
      digits(ours.ms),
      percent(ours.spread / ours.ms),
      digits(untuned.ms),
      digits(peer.ms),
      mark(ratioCell(ratio), ratio >= target),
      `${target} x`,
      difference.relative > 0 ? difference.relative.toExponential(0) : 'none',
    ]);
  }
  return table.toString();
}

const megabytes = (bytes: number | undefined) => (bytes === undefined ? '-' : (bytes / 1e6).toFixed(1));

export function coldTable(rows: readonly ColdRow[]): string {
  const table = tableOf(
    ['model', 'peer', 'ms', 'peer ms', 'share', 'MB', 'peer MB', 'peak MB', 'peer peak', 'WASM MB', 'peer WASM'],
    2,
  );
  for (const { model, peerName, ours, peer, share } of rows) {
    const below = (ours.residentBytes ?? 0) <= (peer.residentBytes ?? 0);
    table.push([
      model,
      peerName,
      digits(ours.ms),
      digits(peer.ms),
      mark(percent(share), share <= COLD_TARGET),
      megabytes(ours.transferBytes),
      megabytes(peer.transferBytes),
      mark(megabytes(ours.residentBytes), below),
      megabytes(peer.residentBytes),
      megabytes(ours.wasmBytes),
      megabytes(peer.wasmBytes),
    ]);
  }
  return table.toString();
}
