// What the pages are told and answer. Plain data: it crosses a process boundary.

import type { Difference } from '../../src/bench/answers.js';
import type { Timing } from '../../src/bench/statistics.js';
import type { Codes } from '../codes.js';

export interface Task {
  /** In MODELS. */
  model: string;
  /** Of the model's file, and of the one that the peer reads. */
  url: string;
  peerUrl: string;
  /** Where the peers' packages are. */
  peers: string;
  threads: number;
  /** What the codes of the input and outputs mean, where the peer's file takes and gives f32 instead. */
  codes?: { input: Codes | undefined; outputs: readonly (Codes | undefined)[] };
}

export interface SteadyTask extends Task {
  rounds: number;
  /** The package's modules by runtime: URLs. */
  ours: string;
  peer: string;
}

export interface Steady {
  /** Of ours, after `model.tune`. */
  ours: Timing;
  /** Of ours, as predicted times choose. */
  untuned: Timing;
  peer: Timing;
  difference: Difference;
}

export interface Cold {
  /** From the import of the script to the first answer. */
  ms: number;
  /** Of all WebAssembly memories. */
  wasmBytes: number;
  /** Some elements of each output. */
  samples: number[][];
}

export interface ColdRun extends Cold {
  /** Of all that was fetched from the start on. */
  transferBytes: number;
  /** The most that the page's process ever had in memory; undefined where the platform does not tell. */
  residentBytes: number | undefined;
}

export interface ModelPage {
  steady(task: SteadyTask): Promise<Steady>;
  cold(script: string, task: Task, isPeer: boolean): Promise<Cold>;
}
