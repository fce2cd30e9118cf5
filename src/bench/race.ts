// Timing of several contestants that take turns, so that a change of the machine's speed meets all of them alike.

import { createRandom } from '../random.js';
import { type Timing, timingOf } from './statistics.js';

export interface Contestant {
  readonly name: string;
  /** One product. What it returns is awaited only when it is a promise. */
  run(): unknown;
}

export interface RaceOptions {
  rounds: number;
  /** Asked after each round: no more are needed. By contestant, the times of its turns. */
  enough?: (samples: readonly (readonly number[])[]) => boolean;
  /** A turn is as many runs as take about this long. */
  batchMs: number;
  /** Milliseconds after which an awaited run counts as hung. */
  timeoutMs: number;
}

/** Runs at least this long before it is timed: enough for V8 to compile its hot loops again, optimised. */
const WARM_UP_MS = 60;
const WARM_UP_RUNS = 3;
const MAX_RUNS = 100_000;

/** Rejects when `work` takes longer. A loop that never yields can't be interrupted from inside the page. */
export async function withTimeout<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took over ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
}

async function batch({ run }: Contestant, runs: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < runs; i++) {
    const pending = run();
    if (pending instanceof Promise) await pending;
  }
  return (performance.now() - start) / runs;
}

/** Runs a contestant until it is warm; milliseconds of one of its last runs. */
export async function warmUp(contestant: Contestant, { timeoutMs }: RaceOptions, forMs = WARM_UP_MS): Promise<number> {
  const { name } = contestant;
  const start = performance.now();
  let ms = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let runs = 0, step = 1; runs < WARM_UP_RUNS || performance.now() - start < forMs; runs += step) {
    if (runs > 0 && ms > 0) step = Math.min(Math.max(Math.round(5 / ms), 1), MAX_RUNS);
    ms = await withTimeout(batch(contestant, step), timeoutMs, name);
    least = Math.min(least, ms);
  }
  return least;
}

/**
 * The times of warm contestants.
 * @param estimates milliseconds of one run of each
 * @returns by contestant: its timing, or what it threw
 */
export async function race(
  contestants: readonly Contestant[],
  estimates: readonly number[],
  options: RaceOptions,
  onRound: (round: number) => Promise<void> = async () => {},
): Promise<(Timing | Error)[]> {
  const samples = contestants.map(() => [] as number[]);
  const failures: (Error | undefined)[] = contestants.map(() => undefined);
  const order = contestants.map((_, i) => i);
  const random = createRandom(1);
  for (let round = 0; round < options.rounds; round++) {
    await onRound(round);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.integer(0, i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    for (const i of order) {
      if (failures[i]) continue;
      const runs = Math.min(Math.max(Math.ceil(options.batchMs / estimates[i]), 1), MAX_RUNS);
      try {
        samples[i].push(await withTimeout(batch(contestants[i], runs), options.timeoutMs, contestants[i].name));
      } catch (error) {
        failures[i] = error instanceof Error ? error : new Error(String(error));
      }
    }
    if (options.enough?.(samples)) break;
  }
  return samples.map((times, i) => failures[i] ?? timingOf(times));
}
