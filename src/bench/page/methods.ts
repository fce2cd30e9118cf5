// What a page, or a process of Node, measures.
import { asData } from '../../dtype.js';
import { type Elements, requireAlike, WrongAnswer } from '../answers.js';
import { type Contestant, race, warmUp, withTimeout } from '../race.js';
import type { Phases } from '../results.js';
import { timingOf } from '../statistics.js';
import { bytesOf } from './bytes.js';
import { measureCeilings } from './ceilings.js';
import { sizeOf, watchMemories } from './memories.js';
import type { Contender, Data, Methods, Open, Opened, Task, Wanted, WarmResult, WarmTask } from './types.js';

/** Told of what is done next. */
export type Say = (done: number, what: string) => void;

/** A turn of the race is about so long. */
const BATCH_MS = 20;
/** Fewer turns make no interval. */
const LEAST_ROUNDS = 6;
const TIMEOUT_MS = 120_000;
/** Runs node by node: milliseconds of one, in which kernels are repeated, and how many. */
const PROFILE_MS = 40;
const MOST_REPEATS = 50;
const PROFILE_RUNS = 24;
const PROFILE_BUDGET_MS = 1000;

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n')[0];

async function dataOf({ url, dtype }: Data): Promise<Elements> {
  return asData(dtype, (await bytesOf(url)).buffer) as Elements;
}

async function wantedOf(task: Task, { model, entry = '', codes }: Contender): Promise<Wanted> {
  const inputs = await Promise.all(
    task.inputs.map(async (input) => ({ name: input.name, shape: input.shape, data: await dataOf(input) })),
  );
  return { ...task, model, entry, codes, inputs };
}

const openFrom = async (script: string): Promise<Open> => (await import(script)).open;

/** Every interval is as narrow as it should be. */
function narrow(samples: readonly (readonly number[])[], { precision }: WarmTask): boolean {
  return samples.every((times) => {
    if (times.length === 0) return true;
    const { ms, low, high } = timingOf(times);
    return high - low <= 2 * precision * ms;
  });
}

async function warm(task: WarmTask, say: Say): Promise<WarmResult> {
  const result: WarmResult = {
    device: '',
    contenders: task.contenders.map(() => ({})),
    layers: [],
    plan: { placements: [], transfers: [], weightBytes: 0, denseBytes: 0, activationBytes: 0 },
  };
  const opened: (Opened | undefined)[] = [];
  let expected = task.expected && (await Promise.all(task.expected.map(dataOf)));
  try {
    for (const [i, contender] of task.contenders.entries()) {
      const { name, script } = contender;
      say((0.3 * i) / task.contenders.length, `${name}: load and check`);
      try {
        const wanted = await wantedOf(task, contender);
        const open = await openFrom(script);
        const one = await withTimeout(
          open(wanted, () => {}),
          TIMEOUT_MS,
          name,
        );
        opened[i] = one;
        const check = async () => {
          const answer = await withTimeout(one.run(), TIMEOUT_MS, name);
          // The runtime may use its memory again.
          expected ??= answer.map((data) => data.slice());
          const [tolerance, codes] = i === 0 ? [task.tolerance, 0] : [task.peerTolerance, 1];
          result.contenders[i].difference = requireAlike(answer, expected, tolerance, codes);
        };
        await check();
        if (one.tune) {
          await one.tune();
          // Other kernels may run now.
          await check();
        }
      } catch (error) {
        result.contenders[i].failed = messageOf(error);
        if (error instanceof WrongAnswer) result.contenders[i].wrong = true;
        opened[i]?.free();
        opened[i] = undefined;
      }
    }
    await raceAll(task, opened, result, say);
    const [ours] = opened;
    if (ours?.profile) {
      say(0.9, 'thinfer: node by node');
      const ms = Math.max(result.contenders[0].warm?.ms ?? 1, 0.01);
      const repeats = Math.min(Math.ceil(PROFILE_MS / ms), MOST_REPEATS);
      const runs = Math.round(PROFILE_BUDGET_MS / (repeats * ms));
      Object.assign(result, await ours.profile(Math.min(Math.max(runs, 3), PROFILE_RUNS), repeats));
      result.device = ours.device ?? '';
    }
    return result;
  } finally {
    for (const one of opened) one?.free();
  }
}

async function raceAll(task: WarmTask, opened: readonly (Opened | undefined)[], result: WarmResult, say: Say) {
  const { rounds, budgetMs } = task;
  const options = { rounds, batchMs: BATCH_MS, timeoutMs: TIMEOUT_MS };
  const running = [...task.contenders.keys()].filter((i) => opened[i]);
  const contestants: Contestant[] = running.map((i) => ({
    name: task.contenders[i].name,
    run: () => opened[i]!.run(),
  }));
  const estimates: number[] = [];
  for (const contestant of contestants) {
    say(0.3, `${contestant.name}: warm up`);
    estimates.push(await warmUp(contestant, options));
  }
  const from = performance.now();
  const spent = () => performance.now() - from;
  const enough = (samples: readonly (readonly number[])[]) => {
    const turns = Math.max(...samples.map(({ length }) => length), 0);
    return turns >= LEAST_ROUNDS && (spent() > budgetMs || narrow(samples, task));
  };
  const onRound = async (round: number) => {
    const share = Math.max(round / rounds, Math.min(spent() / budgetMs, 1));
    say(0.35 + 0.55 * share, 'race');
  };
  const timings = await race(contestants, estimates, { ...options, enough }, onRound);
  for (const [at, timing] of timings.entries()) {
    const contender = result.contenders[running[at]];
    if (timing instanceof Error) contender.failed = messageOf(timing);
    else contender.warm = timing;
  }
}

/** Bytes that came over the network; undefined where the engine does not tell. */
function transferred(): number | undefined {
  const entries = (performance.getEntriesByType?.('resource') ?? []) as PerformanceResourceTiming[];
  const bytes = entries.reduce((sum, { transferSize = 0 }) => sum + transferSize, 0);
  return bytes || undefined;
}

async function cold(task: Task, contender: Contender) {
  // Inputs are there before: they are not what is measured.
  const wanted = await wantedOf(task, contender);
  performance.clearResourceTimings?.();
  const memories = watchMemories();
  const phases: Phases = { script: 0, model: 0, start: 0, load: 0, first: 0 };
  let last = performance.now();
  const done = (phase: keyof Phases) => {
    const now = performance.now();
    phases[phase] = now - last;
    last = now;
  };
  // A peer's module imports its package itself, after ours, which is small: both are its script.
  if (contender.entry) await import(contender.entry);
  const open = await openFrom(contender.script);
  done('script');
  const opened = await open(wanted, done);
  await opened.run();
  done('first');
  return { phases, transferBytes: transferred(), wasmBytes: sizeOf(memories) };
}

async function adapterName(): Promise<string | undefined> {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return undefined;
  const { vendor, architecture, device, description } = adapter.info;
  return [vendor, architecture, device, description].filter(Boolean).join(' ') || 'without a name';
}

export const methods = (say: Say): Methods => ({
  async facts() {
    const { userAgent = 'Node', hardwareConcurrency: cores = 1 } = globalThis.navigator ?? {};
    const isolated = typeof SharedArrayBuffer === 'function' && (globalThis.crossOriginIsolated ?? true);
    return { userAgent, cores, isolated, adapter: await adapterName() };
  },
  ceilings: measureCeilings,
  warm: (task) => warm(task, say),
  cold,
});
