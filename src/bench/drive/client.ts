import type { Answers, Methods } from '../page/types.js';
import type { ClientFacts } from '../results.js';

/** A fresh page, or process of Node: nothing of an earlier one is left. */
export interface Place {
  call<M extends keyof Methods>(method: M, ...args: Parameters<Methods[M]>): Promise<Answers[M]>;
  /** The most that its process ever had resident, where that can be known. */
  peakBytes(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** Where things are measured. */
export interface Client extends Pick<ClientFacts, 'browser' | 'remote' | 'flags'> {
  /** @param onStep told of what is done there, 0..1 */
  open(onStep?: (done: number, what: string) => void): Promise<Place>;
  close(): Promise<void>;
}

/** No answer for so long: the page hangs. */
export const HANG_MS = 300_000;
