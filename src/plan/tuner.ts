import { version } from '../../package.json';
import type { Backend, Operands } from '../backend.js';
import type { Bias } from '../formats/format.js';
import type { Form } from '../formats/forms.js';
import { calibrate } from './calibrate.js';
import { Choices, type ChoicesFile, deviceKey, type Effort, problemKey } from './choices.js';
import { clockStepMs } from './clock.js';
import { contest } from './contest.js';
import type { MatmulProblem } from './problem.js';
import { type Measured, select } from './select.js';
import type { ChoiceStorage } from './storage.js';
import { openBench, openTrial, type Trial } from './trial.js';
import type { Candidate, Device } from './variant.js';

/** Whether and how rows are timed: not at all, for a fraction of a second in the background, or all that may win. */
export type TuneMode = 'off' | Effort;

/** Work whose fastest row is looked for on one backend. */
export interface TuneJob {
  backend: Backend;
  /** As it was asked for: with the facts of the weights as they are. */
  problem: MatmulProblem;
  /** What the weights may be stored as, their own first. */
  forms: readonly Form[];
  bias?: Bias;
  /** A row that alone may run: there is nothing to time. */
  force?: string;
  /** False: whoever asked is gone. */
  alive(): boolean;
}

interface Thoroughness {
  rounds: number;
  turnMs: number;
  /** Rows predicted to take more times the best one's time are not timed, nor more rows than these. */
  reach: number;
  most: number;
  /** Forms of more bytes are not packed to be timed. */
  mostBytes: number;
}

const THOROUGHNESS: Record<Effort, Thoroughness> = {
  quick: { rounds: 7, turnMs: 0.5, reach: 2, most: 4, mostBytes: 2 ** 25 },
  full: { rounds: 21, turnMs: 3, reach: 8, most: 16, mostBytes: Number.POSITIVE_INFINITY },
};

/** The best dense row is timed too when its prediction is within this of the best: no layer shall be slower than it. */
const DENSE_REACH = 4;
/** A turn takes this many steps of the clock. */
const STEPS_A_TURN = 10;
/** Clocks that are coarser than this tell too little. */
const COARSEST_MS = 2;
/** A turn on a device without a clock of its own, where submission is timed as well. */
const FENCED_TURN_MS = 8;
/** Rows that this program has not timed before are warmed up for this long: engines take about that to optimise them. */
const FRESH_MS = 15;
/** Work between two breaks in which the program may go on. */
const SLICE_MS = 4;
/** A row whose answer differs from the incumbent's by more of its largest number is wrong here. */
const TOLERANCE = 1e-3;
/** The name under which storage has them: one for each version of the package. */
const STORED_AS = `choices ${version}`;
/** The part of the budget after which no further rival is packed. */
const PACKING_SHARE = 0.5;
/** Milliseconds of timing for one model, or for one problem of a layer. */
const BUDGET_MS = 300;

export interface TunerOptions {
  mode?: TuneMode;
  budgetMs?: number;
  storage?: ChoiceStorage;
}

/** Times rows on devices in the background, and remembers which was the fastest for what. */
export class Tuner {
  readonly mode: TuneMode;
  readonly budgetMs: number;
  readonly #storage: ChoiceStorage | undefined;
  readonly #backends: readonly Backend[];
  readonly #choices: Choices;
  readonly #queue: (() => Promise<void>)[] = [];
  /** Rows that were in a contest. */
  readonly #warm = new Set<string>();
  #working: Promise<void> | undefined;
  #loading: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(backends: readonly Backend[], { mode = 'quick', budgetMs = BUDGET_MS, storage }: TunerOptions = {}) {
    this.mode = mode;
    this.budgetMs = budgetMs;
    this.#storage = storage;
    this.#backends = backends;
    this.#choices = new Choices(version);
  }

  /** Reads what was stored. What is broken or of another version is dropped. Nothing is timed before it is read. */
  load(): Promise<void> {
    this.#loading = this.#load();
    return this.#loading;
  }

  async #load(): Promise<void> {
    try {
      const stored = await this.#storage?.load(STORED_AS);
      if (stored !== undefined) this.import(stored);
    } catch {}
  }

  /** What is known about a problem, for `select`. */
  measured(problem: MatmulProblem): (device: Device) => Measured | undefined {
    const key = problemKey(problem);
    return (device) => {
      const backend = this.#backends.find((one) => one.device === device);
      return backend && this.#choices.get(deviceKey(backend), key);
    };
  }

  export(): ChoicesFile {
    return this.#choices.toJSON();
  }

  /** @throws ThinferError `bad-argument` */
  import(file: unknown): number {
    const added = this.#choices.merge(file);
    for (const backend of this.#backends) Object.assign(backend.device, this.#choices.rates(deviceKey(backend)));
    return added;
  }

  /** True when timing could still tell something new about a problem. */
  isOpen(backend: Backend, problem: MatmulProblem, effort: Effort): boolean {
    const known = this.#choices.get(deviceKey(backend), problemKey(problem));
    return known === undefined || (known.effort === 'quick' && effort === 'full');
  }

  /** Does work when the program is idle, after what was put here before. Nothing is done in mode `off`. */
  later(work: (effort: Effort, budgetMs: number) => Promise<void>): void {
    const { mode } = this;
    if (mode === 'off' || this.#closed) return;
    this.#queue.push(() => work(mode, mode === 'full' ? Number.POSITIVE_INFINITY : this.budgetMs));
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    await pause();
    await this.#loading;
    for (let work = this.#queue.shift(); work && !this.#closed; work = this.#queue.shift()) {
      // What fails here fails for the caller too, where it is told.
      await work().catch(() => {});
    }
    this.#working = undefined;
    await this.save();
  }

  /** Resolves when nothing is left to be timed. */
  idle(): Promise<void> {
    return awake(async () => {
      await this.#loading;
      while (this.#working) await this.#working;
    });
  }

  /** Does work that somebody waits for, and stores what it brings. */
  async now(effort: Effort, work: (effort: Effort, budgetMs: number) => Promise<void>): Promise<void> {
    await awake(async () => {
      await this.#loading;
      await work(effort, effort === 'full' ? Number.POSITIVE_INFINITY : this.budgetMs);
    });
    await this.save();
  }

  /** Ends timing; nothing is lost that was measured. */
  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
  }

  /** Adds what was measured to what is stored. */
  async save(): Promise<void> {
    await this.#storage
      ?.update(STORED_AS, (old) => {
        const merged = new Choices(version);
        merged.merge(this.export());
        try {
          merged.merge(old);
        } catch {}
        return merged.toJSON();
      })
      .catch(() => {});
  }

  /**
   * Times the rows that may be the fastest for a job.
   * @returns milliseconds spent, and whether another row than before is the choice now
   */
  async tune(job: TuneJob, effort: Effort, budgetMs: number): Promise<{ spentMs: number; changed: boolean }> {
    const { backend, problem, forms, force } = job;
    const step = clockStepMs();
    if (force || step > COARSEST_MS || !this.isOpen(backend, problem, effort)) return { spentMs: 0, changed: false };
    // Once a device, and on nobody's budget.
    await this.#calibrate(backend, job);
    const start = performance.now();
    const measured = this.measured(problem);
    const { candidates } = select(problem, [backend], { forms, measured });
    const thoroughness = THOROUGHNESS[effort];
    const rivals = shortlist(candidates, thoroughness);
    const proceed = this.#proceed(job);
    const ring = await openRing(job, rivals, start + PACKING_SHARE * budgetMs, proceed);
    try {
      const clock = backend.device.backend === 'wasm' || backend.device.features.has('timestamp-query');
      const result = await contest(ring.trials, {
        rounds: thoroughness.rounds,
        turnMs: Math.max(clock ? thoroughness.turnMs : FENCED_TURN_MS, STEPS_A_TURN * step),
        budgetMs: budgetMs - (performance.now() - start),
        warmMs: ring.names.every((name) => this.#warm.has(name)) ? 0 : FRESH_MS,
        proceed,
      });
      if (!result) return { spentMs: performance.now() - start, changed: false };
      for (const name of ring.names) this.#warm.add(name);
      const timed = ring.names.flatMap((name, i) => (result.ms[i] ? [[name, result.ms[i]] as const] : []));
      const variant = ring.names[result.winner];
      this.#choices.set(deviceKey(backend), problemKey(problem), {
        variant,
        ms: Object.fromEntries(timed),
        effort,
      });
      return { spentMs: performance.now() - start, changed: result.winner !== 0 };
    } finally {
      ring.free();
    }
  }

  /** Rates that are not known yet are measured. */
  async #calibrate(backend: Backend, job: TuneJob): Promise<void> {
    const key = deviceKey(backend);
    if (this.#choices.rates(key)) return;
    // A device on which that fails keeps the rates that its kind is known for.
    const rates = await calibrate(backend, this.#proceed(job)).catch(() => undefined);
    if (!rates) return;
    Object.assign(backend.device, rates);
    this.#choices.setRates(key, rates);
  }

  /** Asked before each turn: gives way to the program now and then. */
  #proceed({ alive }: TuneJob): () => Promise<boolean> {
    let since = performance.now();
    return async () => {
      if (performance.now() - since > SLICE_MS) {
        await pause();
        since = performance.now();
      }
      return alive() && !this.#closed;
    };
  }
}

/** A turn of the event loop, which keeps no process alive that has nothing else to do. */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 0) as unknown as { unref?(): void };
    timer.unref?.();
  });
}

/** Keeps a process alive until work is done. */
async function awake(work: () => Promise<void>): Promise<void> {
  const alive = setInterval(() => {}, 1000);
  try {
    await work();
  } finally {
    clearInterval(alive);
  }
}

/** The rows worth timing: the chosen one first, then the best dense one, the likely before others. */
function shortlist(candidates: readonly Candidate[], { reach, most, mostBytes }: Thoroughness): Candidate[] {
  const able = candidates.filter(({ predictedMs }) => predictedMs < Infinity);
  const chosen = able.find((candidate) => candidate.chosen)!;
  const byPrediction = able.filter((candidate) => !candidate.chosen).sort((a, b) => a.predictedMs - b.predictedMs);
  const least = Math.min(...able.map(({ predictedMs }) => predictedMs));
  const light = byPrediction.filter(({ bytes = 0 }) => bytes <= mostBytes);
  const near = light.filter(({ predictedMs }) => predictedMs <= reach * least).slice(0, most - 1);
  const dense = light.find(({ format }) => format === 'dense');
  const safe = !dense || chosen.format === 'dense' || dense.predictedMs > Math.max(reach, DENSE_REACH) * least;
  return safe ? [chosen, ...near] : [chosen, dense, ...near.filter((candidate) => candidate !== dense)];
}

/** Rows made ready to be timed, and what they need. */
interface Ring {
  trials: Trial[];
  names: string[];
  free(): void;
}

/**
 * The rivals that run and give the same answer as the first.
 * @param deadline when no more of them are packed, beyond the first two
 */
async function openRing(
  { backend, problem, forms, bias }: TuneJob,
  rivals: readonly Candidate[],
  deadline: number,
  proceed: () => Promise<boolean>,
): Promise<Ring> {
  const bench = openBench(backend, problem);
  const packed = new Map<string, Operands>();
  const trials: Trial[] = [];
  const names: string[] = [];
  const free = () => {
    for (const trial of trials) trial.free();
    for (const operands of packed.values()) operands.free();
    bench.free();
  };
  let expected: ArrayLike<number> | undefined;
  for (const { variant: name } of rivals) {
    if (trials.length > 0 && !(await proceed())) break;
    if (trials.length > 1 && performance.now() > deadline) break;
    try {
      const { variant, problem: asked } = select(problem, [backend], { force: name, forms });
      const layout = backend.layoutOf(variant, asked);
      let operands = packed.get(layout);
      if (!operands) {
        const form = forms.find(({ facts }) => facts === (asked as MatmulProblem).weights)!;
        operands = backend.pack(variant, asked, form.make(), bias);
        packed.set(layout, operands);
      }
      const trial = await openTrial(bench, variant, asked as MatmulProblem, operands);
      await trial.run(1);
      const answer = await trial.read();
      if (expected && !agrees(answer, expected)) {
        trial.free();
        continue;
      }
      expected ??= answer;
      trials.push(trial);
      names.push(name);
    } catch (error) {
      // Without the incumbent there is nothing to compare with; a rival for which there is no room is none.
      if (trials.length > 0) continue;
      free();
      throw error;
    }
  }
  return { trials, names, free };
}

function agrees(answer: ArrayLike<number>, expected: ArrayLike<number>): boolean {
  let largest = 0;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]));
    worst = Math.max(worst, Math.abs(answer[i] - expected[i]));
  }
  return worst <= TOLERANCE * largest;
}
