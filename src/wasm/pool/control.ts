/**
 * The words that threads share, and how they take work: int32 indices into a block of shared memory, those that are
 * written often a cache line apart.
 *
 * A stage of a kernel is cut into chunks of tiles. STATE holds its number in the upper bits and the chunks that nobody
 * has taken in the lower 12. Who takes one writes STATE - 1 by compare-and-exchange, which fails when another was
 * faster or the stage is not the one whose parameters were read. So a thread that sleeps, or comes late, holds nobody
 * up: the others take its share.
 */
export const STATE = 0;
/** The stage's number, and in the lower 12 bits its chunks that are done. */
export const DONE = 16;
/** Threads in Atomics.wait. */
export const SLEEPERS = 32;
/** Number of the last stage in which a kernel threw, plus 1. */
export const FAILED = 48;
/** Parameters of the stage, written before STATE is. */
export const EXPORT = 64;
export const JOB = 65;
export const TILES = 66;
export const CHUNKS = 67;
/** Thread t's scratch begins at SCRATCH + t * SCRATCH_STRIDE; the caller of kernels is thread 0. */
export const SCRATCH = 68;
export const SCRATCH_STRIDE = 69;
/** One line for each worker, from thread 1 on: 1 while it may hold a chunk. */
const HOLDING = 80;
export const holdingOf = (thread: number): number => HOLDING + 16 * (thread - 1);

export const controlBytes = (workers: number): number => 4 * holdingOf(workers + 1);

const CHUNK_BITS = 12;
export const CHUNK_MASK = (1 << CHUNK_BITS) - 1;

/** STATE of a stage with `chunks` to take. Stages are counted modulo 2^20. */
export const stateOf = (stage: number, chunks: number): number => (stage << CHUNK_BITS) | chunks;

/** The number of the stage in a word that `stateOf` made. */
export const stageOf = (state: number): number => state >>> CHUNK_BITS;

type Kernel = (job: number, begin: number, end: number, scratch: number) => void;

/** What a worker is started with. */
export interface Start {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** Byte address of the control block. */
  control: number;
  /** From 1. */
  thread: number;
}

/** What a worker says: that it is ready, or what a kernel threw. */
export type Message = 'ready' | { failed: string };

/** The functions that a module exports, in one order on every thread. */
export function functionsOf(module: WebAssembly.Module, instance: WebAssembly.Instance): Map<string, Kernel> {
  const functions = new Map<string, Kernel>();
  for (const { name, kind } of WebAssembly.Module.exports(module)) {
    if (kind === 'function') functions.set(name, instance.exports[name] as Kernel);
  }
  return functions;
}

/** Instantiates the kernels over a memory. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): WebAssembly.Instance {
  const abort = () => {
    throw new Error('WASM abort');
  };
  return new WebAssembly.Instance(module, { env: { memory, abort } });
}

/** Takes a chunk of the stage that STATE shows and does it; false when there is none to take. */
export function work(words: Int32Array, kernels: readonly Kernel[], thread: number): boolean {
  const state = Atomics.load(words, STATE);
  const left = state & CHUNK_MASK;
  if (left === 0) return false;
  const kernel = kernels[words[EXPORT]];
  const job = words[JOB];
  const tiles = words[TILES];
  const chunks = words[CHUNKS];
  const scratch = (words[SCRATCH] >>> 0) + thread * words[SCRATCH_STRIDE];
  if (Atomics.compareExchange(words, STATE, state, state - 1) !== state) return true;
  const chunk = chunks - left;
  try {
    kernel(job, Math.floor((chunk * tiles) / chunks), Math.floor(((chunk + 1) * tiles) / chunks), scratch);
  } catch (error) {
    Atomics.store(words, FAILED, stageOf(state) + 1);
    throw error;
  } finally {
    finish(words, stageOf(state));
  }
  return true;
}

/** Counts a chunk of a stage as done, unless the stage was given up: a thread may come back from far away. */
function finish(words: Int32Array, stage: number): void {
  for (;;) {
    const done = Atomics.load(words, DONE);
    if (stageOf(done) !== stage || Atomics.compareExchange(words, DONE, done, done + 1) === done) return;
  }
}

/** A hint to the core that this thread spins, where the engine has one. */
export const pause: () => void = (Atomics as { pause?: () => void }).pause ?? (() => {});
