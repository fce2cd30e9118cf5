import { methods } from './methods.js';
import type { Methods } from './types.js';

declare global {
  var thinferBench: Methods;
  /** Installed by the command, where it can. */
  var thinferSay: ((done: number, what: string) => unknown) | undefined;
}

globalThis.thinferBench = methods((done, what) => void globalThis.thinferSay?.(done, what));
