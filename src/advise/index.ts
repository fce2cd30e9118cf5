// What compressions of a model's layers would bring on this device, measured before anybody trains for them.

import type { Backend } from '../backend.js';
import { describe, ThinferError } from '../errors.js';
import type { Form } from '../formats/forms.js';
import type { Model } from '../graph/model.js';
import { weightFacts } from '../layers/problem.js';
import { problemKey } from '../plan/choices.js';
import { contest, lowerMedian } from '../plan/contest.js';
import type { MatmulProblem } from '../plan/problem.js';
import type { Runtime } from '../runtime.js';
import { asPart, COMPRESSIONS, type Compression, type Part } from './compressions.js';
import { type Prepared, prepare } from './prepare.js';

export { COMPRESSIONS, type Compression } from './compressions.js';

/** What one compression of a layer would bring. */
export interface AdviceOption {
  /** In words, e.g. `prune to 90 % zeros (csr)`. */
  compression: string;
  /** Rows that would run, joined by ` + ` where a layer becomes two; absent where there is none. */
  variant?: string;
  /** Bytes of the packed weights. */
  bytes?: number;
  /** Milliseconds of the kernel. */
  ms?: number;
  /** The present kernel's time over this one's, both timed in turns. */
  speedUp?: number;
  /** Why it was not timed. */
  reason?: string;
}

/** Advice about one layer, or several that do the same work. */
export interface Advice {
  /** Its name; of several, joined by commas. */
  layer: string;
  /** Sizes, in words. */
  what: string;
  /** What runs now. */
  now: { variant: string; format: string; bytes: number; ms: number };
  /** The fastest first. */
  options: AdviceOption[];
}

export interface AdviseOptions {
  /** Which compressions to try, by their names. Default: all of COMPRESSIONS. */
  only?: readonly string[];
  /** Called before each piece of work: how much of it is done, 0..1, and what comes. */
  onProgress?: (done: number, what: string) => void;
  signal?: AbortSignal;
}

const ROUNDS = 7;
const TURN_MS = 2;

/** A layer of a model's plan, with those that do the same. */
interface Subject {
  names: string[];
  backend: Backend;
  problem: MatmulProblem;
  variant: string;
}

/**
 * Measures, for each layer of a model at the sizes of its last run, what compressions of its weights would bring on the
 * device it runs on. Weights are made up: only their pattern matters for time. Whether the network stays accurate is for
 * training to tell.
 * @throws ThinferError `bad-argument` for a model that has no plan yet, or names that are no compressions; the signal's
 * reason when it is aborted
 */
export async function advise(runtime: Runtime, model: Model, options: AdviseOptions = {}): Promise<Advice[]> {
  const { only, onProgress = () => {}, signal } = options;
  const unknown = only?.find((name) => !COMPRESSIONS.some((compression) => compression.name === name));
  if (unknown !== undefined) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'advise.only',
      expected: `names out of ${COMPRESSIONS.map(({ name }) => name).join(', ')}`,
      got: describe(unknown),
    });
  }
  const compressions = COMPRESSIONS.filter(({ name }) => only?.includes(name) ?? true);
  const subjects = subjectsOf(runtime, model);
  const advice: Advice[] = [];
  let done = 0;
  for (const subject of subjects) {
    const { names, problem, variant } = subject;
    const measured: AdviceOption[] = [];
    const times: number[] = [];
    for (const compression of compressions) {
      onProgress(done++ / (subjects.length * compressions.length), `${names[0]}: ${compression.name}`);
      signal?.throwIfAborted();
      const { option, nowMs } = await measure(subject, compression, signal);
      measured.push(option);
      if (nowMs !== undefined) times.push(nowMs);
    }
    const { format, bytes } = problem.weights;
    advice.push({
      layer: names.join(', '),
      what: describeProblem(problem),
      now: { variant, format, bytes, ms: times.length > 0 ? lowerMedian(times) : Number.NaN },
      options: measured.sort((a, b) => (b.speedUp ?? 0) - (a.speedUp ?? 0)),
    });
  }
  onProgress(1, '');
  return advice;
}

function subjectsOf(runtime: Runtime, model: Model): Subject[] {
  const report = model.report();
  if (!report) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'advise: model',
      expected: 'a model that has run, so that its sizes are known',
      got: 'one that has not',
    });
  }
  const subjects = new Map<string, Subject>();
  for (const { name, problem, backend: on, variant } of report.nodes) {
    if (!problem) continue;
    const backend = runtime.backends.find(({ device }) => device.backend === on)!;
    const key = `${on} ${variant} ${problemKey(problem)}`;
    const known = subjects.get(key);
    if (known) known.names.push(name);
    else subjects.set(key, { names: [name], backend, problem, variant });
  }
  return [...subjects.values()];
}

function describeProblem({ op, M, N, K, groups, channels, window: w }: MatmulProblem): string {
  if (op === 'linear') return `linear ${M} x ${K} -> ${N}`;
  const grouped = groups > 1 ? `, ${groups} groups` : '';
  return `conv2d ${w.kernelHeight}x${w.kernelWidth}, ${w.inHeight}x${w.inWidth}x${channels} -> ${N * groups}${grouped}`;
}

/** Times the layer as it is and as it would be, in turns. */
async function measure(
  { backend, problem, variant }: Subject,
  { name, parts }: Compression,
  signal: AbortSignal | undefined,
): Promise<{ option: AdviceOption; nowMs?: number }> {
  const planned = parts(problem);
  if (typeof planned === 'string') return { option: { compression: name, reason: planned } };
  const open: { free(): void }[] = [];
  try {
    const now = await prepare(backend, ...madeOf(asPart(problem)), open, variant);
    const others: Prepared[] = [];
    for (const part of planned) others.push(await prepare(backend, ...madeOf(part), open));
    const together = {
      async run(times: number) {
        let ms = 0;
        for (const { trial } of others) ms += await trial.run(times);
        return ms;
      },
    };
    const result = await contest([now.trial, together], {
      rounds: ROUNDS,
      turnMs: TURN_MS,
      budgetMs: Number.POSITIVE_INFINITY,
      proceed: () => !signal?.aborted,
    });
    signal?.throwIfAborted();
    const [nowMs, ms] = result!.ms;
    const option: AdviceOption = {
      compression: name,
      variant: others.map((other) => other.variant).join(' + '),
      bytes: others.reduce((sum, { bytes }) => sum + bytes, 0),
      ms,
      speedUp: nowMs! / ms!,
    };
    return { option, nowMs };
  } catch (error) {
    if (!(error instanceof ThinferError) || (error.code !== 'no-kernel' && error.code !== 'out-of-memory')) throw error;
    return { option: { compression: name, reason: error.code === 'no-kernel' ? 'no kernel runs it' : 'no room' } };
  } finally {
    for (const item of open.reverse()) item.free();
  }
}

/** A part's problem, with the one form that its weights have. */
function madeOf({ problem, make }: Part): [problem: MatmulProblem, forms: [Form]] {
  const weights = make();
  return [problem, [{ facts: weightFacts(weights), make: () => weights }]];
}
