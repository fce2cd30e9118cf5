// A thread of the pool: spins for work, sleeps when there is none for a while. Runs in Web Workers and in Node's;
// bundled into one text, of which the pool starts its workers.
import {
  CHUNK_MASK,
  functionsOf,
  holdingOf,
  instantiate,
  type Message,
  pause,
  SLEEPERS,
  STATE,
  type Start,
  work,
} from './control.js';

/** Spins about this long before it sleeps: waking takes a hundred times as long as noticing. */
const SPIN_MS = 0.2;
const SPINS_BETWEEN_CLOCKS = 200;

interface Port {
  postMessage(message: Message): void;
}

function serve({ module, memory, control, thread }: Start, port: Port): never {
  const kernels = [...functionsOf(module, instantiate(module, memory)).values()];
  const words = new Int32Array(memory.buffer, control);
  const holding = holdingOf(thread);
  port.postMessage('ready');
  for (;;) {
    const state = waitForWork(words);
    if (state === undefined) continue;
    Atomics.store(words, holding, 1);
    try {
      while (work(words, kernels, thread));
    } catch (error) {
      port.postMessage({ failed: String((error as Error)?.stack ?? error) });
    }
    Atomics.store(words, holding, 0);
  }
}

/** STATE when there are chunks to take; undefined after a sleep. */
function waitForWork(words: Int32Array): number | undefined {
  let state = 0;
  const until = performance.now() + SPIN_MS;
  do {
    for (let i = 0; i < SPINS_BETWEEN_CLOCKS; i++) {
      state = Atomics.load(words, STATE);
      if ((state & CHUNK_MASK) !== 0) return state;
      pause();
    }
  } while (performance.now() < until);
  Atomics.add(words, SLEEPERS, 1);
  Atomics.wait(words, STATE, state);
  Atomics.sub(words, SLEEPERS, 1);
  return undefined;
}

if (typeof process === 'object' && process.versions?.node) {
  const { parentPort } = await import('node:worker_threads');
  parentPort!.once('message', (start: Start) => serve(start, parentPort!));
} else {
  const port = globalThis as unknown as Port & { onmessage: (event: { data: Start }) => void };
  port.onmessage = ({ data }) => serve(data, port);
}
