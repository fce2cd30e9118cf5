import { Presets, SingleBar } from 'cli-progress';

/** Shown from here on: what is done by then needs no bar. */
const PATIENCE_MS = 1000;

export interface Progress {
  /** @param done 0..1 */
  update(done: number, what: string): void;
  stop(): void;
}

/** A bar on standard error, for work that takes longer than a second. Where nobody looks, a line for each step. */
export function progress(quiet = false): Progress {
  if (quiet) return { update: () => {}, stop: () => {} };
  const from = performance.now();
  const format = '{bar} {percentage} % | {eta_formatted} left | {what}';
  const options = { format, hideCursor: true, clearOnComplete: true, stream: process.stderr };
  const bar = new SingleBar(options, Presets.shades_classic);
  let last = '';
  return {
    update(done, what) {
      if (performance.now() - from < PATIENCE_MS) return;
      if (process.stderr.isTTY) {
        if (!bar.isActive) bar.start(1, done, { what });
        else bar.update(done, { what });
      } else if (what && what !== last) {
        console.error(`${(100 * done).toFixed(0)} % ${what}`);
        last = what;
      }
    },
    stop: () => bar.stop(),
  };
}
