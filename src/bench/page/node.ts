// The same in a process of Node, asked by messages.
import { methods } from './methods.js';
import type { Methods } from './types.js';

export interface Question {
  id: number;
  method: keyof Methods;
  args: unknown[];
}

export type Answer =
  | { id: number; value: unknown; peakBytes: number }
  | { id: number; error: string }
  | { done: number; what: string };

const here = methods((done, what) => void process.send!({ done, what } satisfies Answer));

process.on('message', ({ id, method, args }: Question) => {
  const call = here[method] as (...args: unknown[]) => Promise<unknown>;
  const peakBytes = () => 1024 * process.resourceUsage().maxRSS;
  call(...args).then(
    (value) => process.send!({ id, value, peakBytes: peakBytes() } satisfies Answer),
    (error) => process.send!({ id, error: String(error?.message ?? error) } satisfies Answer),
  );
});
