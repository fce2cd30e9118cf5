// What this machine can do at most: f32 multiply-adds in registers, and copies of memory, on every thread at once.
import type { Ceiling } from '../results.js';

/** Answers of asm/ceilings.ts on one thread, in G a second. */
export interface Rates {
  gmacs: number;
  gbytes: number;
}

/** The worker waits for a number of any kind, measures, and answers with its rates. */
interface Thread {
  go(): Promise<Rates>;
  end(): void;
}

const START_MS = 10_000;

async function startThread(script: string): Promise<Thread> {
  const threads = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  if (threads) {
    const worker = new threads.Worker(new URL(script));
    const once = (event: 'message') =>
      new Promise<never>((resolve, reject) => {
        worker.once(event, resolve as (value: unknown) => void);
        worker.once('error', reject);
      });
    await once('message');
    return {
      go() {
        const answer = once('message');
        worker.postMessage(0);
        return answer;
      },
      end: () => void worker.terminate(),
    };
  }
  const worker = new Worker(script, { type: 'module' });
  const next = () =>
    new Promise<Rates>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message || `${script} did not start`));
      setTimeout(() => reject(new Error(`${script} did not answer`)), START_MS);
    });
  await next();
  return {
    go() {
      const answer = next();
      worker.postMessage(0);
      return answer;
    },
    end: () => worker.terminate(),
  };
}

/** Rates of all threads together. */
export async function measureCeilings(
  script: string,
  threads: number,
): Promise<Omit<Ceiling, 'backend' | 'threads' | 'how'>> {
  const started = await Promise.all(Array.from({ length: threads }, () => startThread(script)));
  try {
    const rates = await Promise.all(started.map((thread) => thread.go()));
    const sum = (of: (rate: Rates) => number) => rates.reduce((total, rate) => total + of(rate), 0);
    return { gmacs: sum(({ gmacs }) => gmacs), gbytes: sum(({ gbytes }) => gbytes) };
  } finally {
    for (const thread of started) thread.end();
  }
}
