// What was measured of each form, so that forms can be compared.
import { median } from '../src/median.js';
import type { Config } from './engine.js';

export interface Measured {
  ms: number;
  bytes: number;
}

/** Runs that the median is taken of. */
const WINDOW = 61;

/** Medians by model, threads, backend and form. */
export class Records {
  readonly #byKey = new Map<string, Measured>();
  #times: number[] = [];
  #key = '';

  /** From here on runs are of this. The first ones of another form don't count: engines still compile them. */
  begin(file: string, threads: number, config: Config): void {
    this.#key = keyOf(file, threads, config);
    this.#times = [];
  }

  add(times: readonly number[], bytes: number): void {
    this.#times = [...this.#times, ...times].slice(-WINDOW);
    this.#byKey.set(this.#key, { ms: median(this.#times), bytes });
  }

  /** Forgets what was measured before kernels were timed. */
  restart(): void {
    this.#times = [];
  }

  get current(): Measured | undefined {
    return this.#byKey.get(this.#key);
  }

  of(file: string, threads: number, config: Config): Measured | undefined {
    return this.#byKey.get(keyOf(file, threads, config));
  }
}

function keyOf(file: string, threads: number, { backend, form }: Config): string {
  return JSON.stringify([file, backend, backend === 'wasm' ? threads : 0, form]);
}
