// The page in which a model is timed. What runs it is imported when it is asked for, so that a cold start has all of it.

import { race, warmUp } from '../../src/bench/race.js';
import { toCodes, toNumbers } from '../codes.js';
import { MODELS } from './list.js';
import type { Elements, Open, Opened, Wanted } from './runtime.js';
import type { Cold, Difference, ModelPage, SteadyTask, Task } from './types.js';

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

/** @throws Error when answers differ by more than the model's tolerance */
function compare(ours: readonly Elements[], theirs: readonly Elements[], name: string): Difference {
  const { tolerance = 1e-5 } = MODELS[name];
  const difference: Difference = { relative: 0, codes: 0, wrong: 0 };
  if (ours.length !== theirs.length) throw new Error(`${ours.length} outputs, the peer has ${theirs.length}`);
  for (const [i, want] of theirs.entries()) {
    const got = ours[i];
    if (got.length !== want.length) throw new Error(`output ${i}: ${got.length} elements, not ${want.length}`);
    let largest = 0;
    let most = 0;
    for (let j = 0; j < want.length; j++) {
      const error = Math.abs(got[j] - want[j]);
      if (Number.isNaN(error)) throw new Error(`output ${i}[${j}] is ${got[j]}, not ${want[j]}`);
      largest = Math.max(largest, Math.abs(want[j]));
      most = Math.max(most, error);
      if (!(got instanceof Float32Array) && error > 0) difference.wrong++;
    }
    if (got instanceof Float32Array) difference.relative = Math.max(difference.relative, most / largest);
    else difference.codes = Math.max(difference.codes, most);
  }
  if (!(difference.relative <= tolerance)) throw new Error(`off by ${difference.relative} of the largest`);
  if (difference.codes > 0) throw new Error(`${difference.wrong} codes differ, by up to ${difference.codes}`);
  return difference;
}

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

/** Tells of every memory that is made or exported from now on. */
function watchMemories(): ReadonlySet<WebAssembly.Memory> {
  const memories = new Set<WebAssembly.Memory>();
  WebAssembly.Memory = class extends WebAssembly.Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.add(this);
    }
  };
  const { prototype } = WebAssembly.Instance;
  const { get } = Object.getOwnPropertyDescriptor(prototype, 'exports')!;
  Object.defineProperty(prototype, 'exports', {
    get() {
      const exports: WebAssembly.Exports = get!.call(this);
      for (const value of Object.values(exports)) {
        // Those that were imported are known already, under another prototype.
        if (Object.prototype.toString.call(value) === '[object WebAssembly.Memory]') {
          memories.add(value as WebAssembly.Memory);
        }
      }
      return exports;
    },
  });
  return memories;
}

async function cold(script: string, task: Task, isPeer: boolean): Promise<Cold> {
  const wanted = wantedOf(task, isPeer);
  const memories = watchMemories();
  const start = performance.now();
  const opened = await (await openFrom(script))(wanted);
  const outputs = await opened.run();
  const ms = performance.now() - start;
  const wasmBytes = [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  const samples = (isPeer ? asOurs(outputs, task) : outputs).map((data) => {
    const step = Math.ceil(data.length / SAMPLES);
    return Array.from(data).filter((_, i) => i % step === 0);
  });
  return { ms, wasmBytes, samples };
}

globalThis.models = { steady, cold };
