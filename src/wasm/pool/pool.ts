import workerSource from 'thinfer:worker';
import { ThinferError } from '../../errors.js';
import {
  CHUNKS,
  controlBytes,
  DONE,
  EXPORT,
  FAILED,
  functionsOf,
  holdingOf,
  JOB,
  type Message,
  pause,
  SCRATCH,
  SCRATCH_STRIDE,
  SLEEPERS,
  STATE,
  type Start,
  stateOf,
  TILES,
  work,
} from './control.js';

/** Chunks that a thread gets of a stage, when there are tiles enough: what evens out unequal tiles and late threads. */
const CHUNKS_A_THREAD = 4;
/** The caller spins so long for the last chunks of others; then it gives way, so that news of a dead worker arrives. */
const SPIN_MS = 20;
const POLL_MS = 1;
/** What a kernel threw in a worker arrives as a message. */
const MESSAGE_MS = 200;
/** A worker that does not answer its start for so long is left out. */
const START_MS = 5000;
/** A chunk that takes longer is taken for lost: browsers don't tell of a worker's end. */
const STALL_MS = 30_000;

/** What Web Workers and Node's have in common, made alike. */
interface Thread {
  post(start: Start): void;
  onMessage(listener: (message: Message) => void): void;
  /** Called once, when it can't work any more. */
  onEnd(listener: (why: string) => void): void;
  /** Lets the program end while the thread is idle. */
  unref(): void;
  /** Resolves when it has stopped, where that can be known. */
  terminate(): Promise<unknown> | undefined;
}

async function startNodeThread(url: string | undefined): Promise<Thread> {
  // Not an import: bundlers for browsers would stumble over it.
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  const worker = new Worker(new URL(url ?? `data:text/javascript,${encodeURIComponent(workerSource)}`));
  return {
    post: (start) => worker.postMessage(start),
    onMessage: (listener) => void worker.on('message', listener),
    onEnd: (listener) => {
      worker.once('error', (error) => listener(String((error as Error)?.message ?? error)));
      worker.once('exit', (code) => listener(`exit code ${code}`));
    },
    unref: () => worker.unref(),
    terminate: () => worker.terminate(),
  };
}

async function startWebThread(url: string | undefined): Promise<Thread> {
  const blob = url ?? URL.createObjectURL(new Blob([workerSource], { type: 'text/javascript' }));
  const worker = new Worker(blob, { type: 'module' });
  return {
    post: (start) => worker.postMessage(start),
    onMessage: (listener) => {
      worker.onmessage = ({ data }) => {
        if (url === undefined) URL.revokeObjectURL(blob);
        listener(data);
      };
    },
    onEnd: (listener) => {
      worker.onerror = (event) => listener(event.message || 'the worker did not start');
    },
    unref: () => {},
    terminate: () => {
      worker.terminate();
      return undefined;
    },
  };
}

const threw = (got: string) =>
  new ThinferError({
    code: 'worker-failed',
    place: 'WASM thread',
    expected: 'a kernel that returns',
    got,
    hint: 'The output is not complete. The thread goes on.',
  });

const nap = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));

interface Member {
  readonly thread: Thread;
  /** From 1; names its scratch and its line of the control block. */
  readonly index: number;
  /** Why it is no more. */
  ended: string | undefined;
  /** Why it was given up: it is about to end. */
  dropped: string | undefined;
}

/** True in pages that are cross-origin isolated, and in Node. */
export function canShareMemory(): boolean {
  if (typeof SharedArrayBuffer !== 'function') return false;
  return (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated ?? true;
}

/**
 * Threads that run the tiles of a stage together with the caller, over one shared memory. Nobody waits for a thread
 * that sleeps; the caller waits for those that hold a chunk only.
 */
export class Pool {
  readonly #words: Int32Array;
  readonly #kernels: ((job: number, begin: number, end: number, scratch: number) => void)[];
  readonly #numbers: Map<string, number>;
  readonly #members: Member[] = [];
  readonly #stallMs: number;
  #stage = 0;
  #failure = '';
  /** What a kernel threw in a worker. */
  #thrown = '';

  private constructor(words: Int32Array, instance: WebAssembly.Instance, module: WebAssembly.Module, stallMs: number) {
    this.#words = words;
    this.#stallMs = stallMs;
    const functions = functionsOf(module, instance);
    this.#kernels = [...functions.values()];
    this.#numbers = new Map([...functions.keys()].map((name, i) => [name, i]));
  }

  /**
   * Starts workers and waits until each is ready or has failed to start; those that fail are left out.
   * @param control address of `controlBytes(workers)` bytes of `memory`, all 0
   * @param url of the worker's script; default: the copy inlined in the package
   * @param stallMs a worker that is not done with a chunk after so long counts as dead
   */
  static async start(
    { module, memory, control }: Omit<Start, 'thread'>,
    instance: WebAssembly.Instance,
    workers: number,
    { url, stallMs = STALL_MS }: { url?: string; stallMs?: number } = {},
  ): Promise<Pool> {
    const words = new Int32Array(memory.buffer, control, controlBytes(workers) / 4);
    const pool = new Pool(words, instance, module, stallMs);
    const startThread = typeof process === 'object' && process.versions?.node ? startNodeThread : startWebThread;
    const indices = Array.from({ length: workers }, (_, i) => i + 1);
    await Promise.all(
      indices.map(async (index) => {
        try {
          const thread = await startThread(url);
          await pool.#join(thread, index, { module, memory, control, thread: index });
        } catch (error) {
          pool.#failure = String((error as Error)?.message ?? error);
        }
      }),
    );
    return pool;
  }

  async #join(thread: Thread, index: number, start: Start): Promise<void> {
    const member: Member = { thread, index, ended: undefined, dropped: undefined };
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${START_MS} ms`)), START_MS);
        thread.onMessage((message) => {
          if (message === 'ready') resolve();
          else this.#thrown = message.failed;
        });
        thread.onEnd((why) => {
          member.ended ??= member.dropped ?? why;
          reject(new Error(why));
        });
        thread.post(start);
      });
    } catch (error) {
      void thread.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    thread.unref();
    this.#members.push(member);
  }

  /** Threads that work, the caller's among them. */
  get threads(): number {
    return 1 + this.#members.filter(({ ended }) => ended === undefined).length;
  }

  /** Why a worker did not start. */
  get failure(): string {
    return this.#failure;
  }

  /** Runs tiles 0 .. tiles - 1 of an export in the caller's thread. */
  runAlone(name: string, job: number, tiles: number, scratch: number): void {
    this.#kernels[this.#numbers.get(name)!](job, 0, tiles, scratch);
  }

  /**
   * Runs tiles 0 .. tiles - 1 of an export. Done when it returns undefined; else when the promise resolves, which
   * happens only where another thread takes long over its last chunk.
   * @param scratch of thread 0; that of thread t begins t * stride bytes later
   * @throws ThinferError `worker-failed`, also by the promise: when a worker ended, or a kernel threw in one
   */
  run(name: string, job: number, tiles: number, scratch: number, stride: number): Promise<void> | undefined {
    if (tiles < 2 || this.threads === 1) {
      this.runAlone(name, job, tiles, scratch);
      return undefined;
    }
    const { chunks, thrown } = this.#share(name, job, tiles, scratch, stride);
    const finished = this.#spin(chunks, SPIN_MS) ? undefined : this.#wait(chunks);
    if (!finished && thrown === undefined && !this.#failed()) return undefined;
    return this.#settle(finished, thrown);
  }

  /**
   * As `run`, for callers that can't give way: it spins until all chunks are done.
   * @throws ThinferError `worker-failed` when a kernel threw in a worker, or when one is not done after `stallMs`
   */
  runNow(name: string, job: number, tiles: number, scratch: number, stride: number): void {
    if (tiles < 2 || this.threads === 1) {
      this.runAlone(name, job, tiles, scratch);
      return;
    }
    const { chunks, thrown } = this.#share(name, job, tiles, scratch, stride);
    const finished = this.#spin(chunks, this.#stallMs);
    if (thrown !== undefined) throw thrown;
    if (finished && !this.#failed()) return;
    for (const member of finished ? [] : this.#members) if (this.#holds(member)) this.#drop(member);
    throw threw(finished ? 'one that threw' : `one that takes over ${this.#stallMs} ms`);
  }

  /** Offers a stage to all threads, and does chunks of it until none is left to take. */
  #share(name: string, job: number, tiles: number, scratch: number, stride: number) {
    const number = this.#numbers.get(name)!;
    const { threads } = this;
    const words = this.#words;
    const chunks = Math.min(tiles, CHUNKS_A_THREAD * threads);
    words[EXPORT] = number;
    words[JOB] = job;
    words[TILES] = tiles;
    words[CHUNKS] = chunks;
    words[SCRATCH] = scratch;
    words[SCRATCH_STRIDE] = stride;
    this.#stage = (this.#stage + 1) & 0xfffff;
    Atomics.store(words, DONE, stateOf(this.#stage, 0));
    Atomics.store(words, STATE, stateOf(this.#stage, chunks));
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, STATE);
    let thrown: unknown;
    for (;;) {
      try {
        if (!work(words, this.#kernels, 0)) break;
      } catch (error) {
        thrown = error;
      }
    }
    return { chunks, thrown };
  }

  /** True when all chunks are done before patience ends. */
  #spin(chunks: number, patienceMs: number): boolean {
    const words = this.#words;
    const all = stateOf(this.#stage, chunks);
    const until = performance.now() + patienceMs;
    do {
      for (let i = 0; i < 1000; i++) {
        if (Atomics.load(words, DONE) === all) return true;
        pause();
      }
    } while (performance.now() < until);
    return false;
  }

  #failed(): boolean {
    return Atomics.load(this.#words, FAILED) === this.#stage + 1;
  }

  async #settle(finished: Promise<void> | undefined, thrown: unknown): Promise<void> {
    await finished;
    if (thrown !== undefined) throw thrown;
    if (!this.#failed()) return;
    for (const until = performance.now() + MESSAGE_MS; this.#thrown === '' && performance.now() < until; ) await nap();
    const got = this.#thrown || 'one that threw';
    this.#thrown = '';
    throw threw(got);
  }

  #holds({ index }: Member): boolean {
    return Atomics.load(this.#words, holdingOf(index)) !== 0;
  }

  async #wait(chunks: number): Promise<void> {
    const words = this.#words;
    const all = stateOf(this.#stage, chunks);
    const deadline = performance.now() + this.#stallMs;
    for (;;) {
      if (Atomics.load(words, DONE) === all) return;
      if (performance.now() > deadline) for (const member of this.#members) if (this.#holds(member)) this.#drop(member);
      const holders = this.#members.filter((member) => this.#holds(member));
      const dead = holders.find(({ ended }) => ended !== undefined);
      // The living ones write to memory that the caller will free: they finish first.
      if (dead && holders.every(({ ended }) => ended !== undefined)) {
        for (const { index } of holders) Atomics.store(words, holdingOf(index), 0);
        throw new ThinferError({
          code: 'worker-failed',
          place: `WASM thread ${dead.index}`,
          expected: 'a worker that finishes its part',
          got: `one that ended (${dead.ended})`,
          hint: `The next call runs on ${this.threads} thread${this.threads > 1 ? 's' : ''}.`,
        });
      }
      await nap();
    }
  }

  #drop(member: Member): void {
    if (member.dropped) return;
    member.dropped = `not done with its part after ${this.#stallMs} ms`;
    // Node tells when the thread has stopped; browsers stop it soon.
    void Promise.resolve(member.thread.terminate()).then(() => {
      member.ended ??= member.dropped;
    });
  }

  /** Ends the workers. */
  free(): void {
    for (const member of this.#members) {
      member.ended ??= 'freed';
      void member.thread.terminate();
    }
  }
}
