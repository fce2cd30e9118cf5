// One model in one runtime, as every entry of this folder opens it.
import type { Elements } from '../../src/bench/answers.js';
import type { TuneMode } from '../../src/plan/tuner.js';

export type { Elements };

export interface Wanted {
  /** Of the model's file. */
  url: string;
  /** Where the peers' packages are. */
  peers: string;
  shape: readonly number[];
  input: Float32Array | Int8Array;
  threads: number;
  tune?: TuneMode;
}

export interface Opened {
  /** Times kernels, where the runtime does. */
  tune?(): Promise<void>;
  /** A run of the model with its outputs in JavaScript. */
  run(): Promise<Elements[]>;
  free(): void;
}

export type Open = (wanted: Wanted) => Promise<Opened>;

export async function bytesOf(url: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
