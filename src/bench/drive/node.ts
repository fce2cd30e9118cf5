import { fork } from 'node:child_process';
import type { Answer, Question } from '../page/node.js';
import type { Answers, Methods } from '../page/types.js';
import { withTimeout } from '../race.js';
import { type Client, HANG_MS, type Place } from './client.js';

/** @param script src/bench/page/node.ts, bundled */
export function nodeClient(script: string, flags: string[]): Client {
  return {
    browser: `node ${process.versions.node}`,
    remote: false,
    flags,
    async open(onStep = () => {}): Promise<Place> {
      const child = fork(script, [], { execArgv: flags, serialization: 'advanced' });
      let peak = 0;
      let next = 0;
      const waiting = new Map<number, (answer: Answer | Error) => void>();
      child.on('message', (answer: Answer) => {
        if ('done' in answer) return onStep(answer.done, answer.what);
        waiting.get(answer.id)?.(answer);
      });
      child.on('exit', (code, signal) => {
        for (const settle of waiting.values()) settle(new Error(`Node ended: ${signal ?? `exit code ${code}`}`));
      });
      return {
        async call<M extends keyof Methods>(method: M, ...args: Parameters<Methods[M]>): Promise<Answers[M]> {
          const id = next++;
          const answer = new Promise<Answer | Error>((resolve) => {
            waiting.set(id, resolve);
          });
          child.send({ id, method, args } satisfies Question);
          const got = await withTimeout(answer, HANG_MS, method);
          waiting.delete(id);
          if (got instanceof Error) throw got;
          if ('error' in got) throw new Error(got.error);
          if ('value' in got) {
            peak = got.peakBytes;
            return got.value as Answers[M];
          }
          throw new Error(`no answer to ${method}`);
        },
        peakBytes: async () => peak || undefined,
        async close() {
          child.removeAllListeners('exit');
          // Threads may keep it alive.
          child.kill('SIGKILL');
        },
      };
    },
    async close() {},
  };
}
