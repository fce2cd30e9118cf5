// Rows that could do the same work, ours alone, timed as the tuner times them: many runs a pass, taking turns.

import type { Backend, Operands } from '../src/backend.js';
import { type RaceOptions, race, warmUp } from '../src/bench/race.js';
import type { Weights } from '../src/formats/format.js';
import { type Form, formsOf } from '../src/formats/forms.js';
import { weightFacts } from '../src/layers/problem.js';
import type { MatmulProblem } from '../src/plan/problem.js';
import { type Bench, openBench, openTrial, type Trial } from '../src/plan/trial.js';
import type { VariantBase } from '../src/plan/variant.js';
import { runnable } from './ours.js';
import { problemOf } from './problems.js';
import type { Shape } from './shapes.js';
import type { RivalTime } from './types.js';

export interface Rival {
  variant: VariantBase;
  problem: MatmulProblem;
  form: Form;
  /** It is in the race while it is near the fastest of one of these. */
  groups: string[];
  /** It is in the race whatever it takes. */
  keep?: boolean;
}

/** Rows that take this many times the time of their groups' fastest are not raced. */
const NEAR = 1.5;
/** Rows whose first runs take this many times the time of the fastest so far are not warmed up. */
const HOPELESS = 10;
/** ... if it takes as long as this: shorter ones may wait for something once. */
const LONG_MS = 3;
/** Milliseconds for which a row is warmed up that ran in this page before. */
const AGAIN_MS = 15;
/** A pass takes about this long: what it costs to begin one doesn't show. */
const PASS_MS = 0.5;

const warm = new Set<string>();

/** Each row for each form of the weights, their own first, that runs here. */
export function rivalsOf(
  backend: Backend,
  shape: Shape,
  weights: Weights,
  groups: (form: Form, i: number) => string[],
): Rival[] {
  const problem = problemOf(shape, weights);
  return formsOf(weights, problem.weights).flatMap((form, i) => {
    const asked = { ...problem, weights: form.facts };
    return runnable(backend, asked).map((variant) => ({ variant, problem: asked, form, groups: groups(form, i) }));
  });
}

/** Weights as they are, as a form of their own. */
export const formOf = (weights: Weights): Form => ({ facts: weightFacts(weights), make: () => weights });

export const predictedMs = ({ device }: Backend, { variant, problem }: Rival): number =>
  variant.cost(problem as never, device);

/** The one with the lowest value. */
export const least = <T>(list: readonly T[], value: (item: T) => number): T =>
  list.reduce((best, item) => (value(item) < value(best) ? item : best));

/** Rivals made ready, to be raced any number of times. */
export interface Field {
  /** @param only some of the rivals; those that are not among them keep their times */
  race(rounds: number, only?: readonly Rival[]): Promise<RivalTime[]>;
  free(): void;
}

interface Runner {
  trial: Trial;
  repeats: number;
  /** Milliseconds of one run. */
  estimate: number;
}

/** Packs, warms up and estimates. */
export async function openField(
  backend: Backend,
  rivals: readonly Rival[],
  options: RaceOptions,
  notes: string[],
): Promise<Field> {
  const bench = openBench(backend, rivals[0].problem);
  const packed = new Map<Form, Map<string, Operands>>();
  const runners: (Runner | undefined)[] = rivals.map(() => undefined);
  let fastest = Number.POSITIVE_INFINITY;
  // The likely first, so that the hopeless are known early.
  const order = [...rivals.keys()].sort((a, b) => predictedMs(backend, rivals[a]) - predictedMs(backend, rivals[b]));
  for (const i of order) {
    const { variant } = rivals[i];
    try {
      runners[i] = await openRunner(backend, bench, rivals[i], packed, fastest, options);
      fastest = Math.min(fastest, runners[i].estimate);
    } catch (error) {
      notes.push(`${variant.name}: ${(error as Error).message}`);
    }
  }
  const groups = new Map<string, number>();
  for (const [i, rival] of rivals.entries()) {
    const { estimate = Number.POSITIVE_INFINITY } = runners[i] ?? {};
    for (const group of rival.groups) groups.set(group, Math.min(groups.get(group) ?? Infinity, estimate));
  }
  const isNear = (rival: Rival, { estimate }: Runner) =>
    rival.keep || rival.groups.some((group) => estimate <= NEAR * groups.get(group)!);
  const times = rivals.map((rival, i): RivalTime => {
    const { variant, form } = rival;
    const { estimate: ms = Number.POSITIVE_INFINITY } = runners[i] ?? {};
    const facts = { variant: variant.name, format: form.facts.format, predictedMs: predictedMs(backend, rival) };
    return { ...facts, ms, spread: 0, raced: false };
  });
  return {
    async race(rounds, only = rivals) {
      const running = [...rivals.keys()].filter(
        (i) => runners[i] && isNear(rivals[i], runners[i]) && only.includes(rivals[i]),
      );
      const contestants = running.map((i) => {
        const { trial, repeats } = runners[i]!;
        return { name: rivals[i].variant.name, run: () => trial.run(repeats) };
      });
      const estimates = running.map((i) => runners[i]!.repeats * runners[i]!.estimate);
      const results = await race(contestants, estimates, { ...options, rounds });
      for (const [at, i] of running.entries()) {
        const result = results[at];
        if (result instanceof Error) throw result;
        const { repeats } = runners[i]!;
        Object.assign(times[i], { ms: result.best / repeats, spread: result.spread / repeats, raced: true });
      }
      return times;
    },
    free() {
      for (const runner of runners) runner?.trial.free();
      for (const layouts of packed.values()) for (const operands of layouts.values()) operands.free();
      bench.free();
    },
  };
}

async function openRunner(
  backend: Backend,
  bench: Bench,
  { variant, problem, form }: Rival,
  packed: Map<Form, Map<string, Operands>>,
  fastest: number,
  options: RaceOptions,
): Promise<Runner> {
  const layouts = packed.get(form) ?? new Map<string, Operands>();
  packed.set(form, layouts);
  const layout = backend.layoutOf(variant, problem);
  const operands = layouts.get(layout) ?? backend.pack(variant, problem, form.make(), undefined);
  layouts.set(layout, operands);
  const trial = await openTrial(bench, variant, problem, operands);
  // The engine may compile in the first run.
  const first = Math.min(await trial.run(1), await trial.run(1));
  if (first > Math.max(HOPELESS * fastest, LONG_MS)) return { trial, repeats: 1, estimate: first };
  const repeats = Math.max(Math.round(PASS_MS / Math.max(await trial.run(1), PASS_MS / 1000)), 1);
  const contestant = { name: variant.name, run: () => trial.run(repeats) };
  const ms = await warmUp(contestant, options, warm.has(variant.name) ? AGAIN_MS : undefined);
  warm.add(variant.name);
  return { trial, repeats, estimate: ms / repeats };
}
