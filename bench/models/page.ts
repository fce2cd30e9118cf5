// The page in which a model is timed. What runs it is imported when it is asked for, so that a cold start has all of it.

import { type Difference, type Elements, requireAlike } from '../../src/bench/answers.js';
import { sizeOf, watchMemories } from '../../src/bench/page/memories.js';
import { race, warmUp } from '../../src/bench/race.js';
import { toCodes, toNumbers } from '../codes.js';
import { MODELS } from './list.js';
import type { Open, Opened, Wanted } from './runtime.js';
import type { Cold, ModelPage, SteadyTask, Task } from './types.js';

declare global {
  var models: ModelPage;
}

const TIMEOUT_MS = 60_000;
/** A turn of the race is about so long. */
const BATCH_MS = 20;
/** Elements of an output that are compared after a cold start. */
const SAMPLES = 64;

const openFrom = async (script: string): Promise<Open> => (await import(script)).open;

function wantedOf(task: Task, isPeer: boolean): Wanted {
  const { shape, input: make } = MODELS[task.model];
  const { url, peerUrl, peers, threads, codes } = task;
  const input = make();
  const meaning = isPeer ? codes?.input : undefined;
  return { url: isPeer ? peerUrl : url, peers, shape, threads, input: meaning ? toNumbers(input, meaning) : input };
}

/** What a peer's outputs are in the model that ours reads. */
const asOurs = (outputs: readonly Elements[], { codes }: Task): Elements[] =>
  outputs.map((data, i) => {
    const meaning = codes?.outputs[i];
    return meaning ? toCodes(data as Float32Array, meaning) : data;
  });

const compare = (ours: readonly Elements[], theirs: readonly Elements[], name: string): Difference =>
  requireAlike(ours, theirs, MODELS[name].tolerance ?? 1e-5);

async function steady(task: SteadyTask): Promise<Awaited<ReturnType<ModelPage['steady']>>> {
  const opened: Opened[] = [];
  try {
    const ours = await openFrom(task.ours);
    const wanted = wantedOf(task, false);
    const [tuned, untuned] = [await ours(wanted), await ours({ ...wanted, tune: 'off' })];
    opened.push(tuned, untuned);
    const peer = await (await openFrom(task.peer))(wantedOf(task, true));
    opened.push(peer);
    const theirs = asOurs(await peer.run(), task);
    compare(await untuned.run(), theirs, task.model);
    await tuned.tune!();
    const difference = compare(await tuned.run(), theirs, task.model);
    const contestants = [
      { name: 'thinfer', run: () => tuned.run() },
      { name: 'thinfer untuned', run: () => untuned.run() },
      { name: 'peer', run: () => peer.run() },
    ];
    const options = { rounds: task.rounds, batchMs: BATCH_MS, timeoutMs: TIMEOUT_MS };
    const estimates: number[] = [];
    for (const contestant of contestants) estimates.push(await warmUp(contestant, options));
    const [first, second, third] = await race(contestants, estimates, options);
    for (const timing of [first, second, third]) if (timing instanceof Error) throw timing;
    type Timings = Exclude<typeof first, Error>;
    return { ours: first as Timings, untuned: second as Timings, peer: third as Timings, difference };
  } finally {
    for (const { free } of opened) free();
  }
}

async function cold(script: string, task: Task, isPeer: boolean): Promise<Cold> {
  const wanted = wantedOf(task, isPeer);
  const memories = watchMemories();
  const start = performance.now();
  const opened = await (await openFrom(script))(wanted);
  const outputs = await opened.run();
  const ms = performance.now() - start;
  const wasmBytes = sizeOf(memories);
  const samples = (isPeer ? asOurs(outputs, task) : outputs).map((data) => {
    const step = Math.ceil(data.length / SAMPLES);
    return Array.from(data).filter((_, i) => i % step === 0);
  });
  return { ms, wasmBytes, samples };
}

globalThis.models = { steady, cold };
