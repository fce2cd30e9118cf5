// What the page is told and answers. Plain data: it crosses a process boundary.

import type { Timing } from '../../src/bench/statistics.js';
import type { BackendName } from '../../test/support/tfjs.js';

/** How the weights of the accelerated model are stored. */
export type Mode = 'dense' | 'int8' | 'pruned90';

/**
 * MobileNetV1 as Keras builds it, batch norm and activations being layers; and as TensorFlow's converter leaves it, with
 * batch norm folded and bias and activation in the nodes of the convolutions.
 */
export type ModelKind = 'layers' | 'graph';

export interface Task {
  backend: BackendName;
  threads: number;
  rounds: number;
  /** Of MobileNetV1: pixels a side, and the width multiplier. */
  size: number;
  alpha: number;
  /** Time each layer by itself as well. */
  profile?: boolean;
}

export interface KernelTime {
  name: string;
  ms: number;
}

export interface ModeTiming {
  kind: ModelKind;
  mode: Mode;
  /** The same model as tfjs runs it. */
  tfjs: Timing;
  ours: Timing;
  /** Largest difference of the two answers over the largest number. */
  difference: number;
  /** The kernels of a run, each with the least time it took: what is slow, and what a busy machine does not change. */
  profile?: { tfjs: KernelTime[]; ours: KernelTime[] };
}

export interface TfjsPage {
  /** Starts tfjs for the first race; the others of the page run on the same backend. */
  race(task: Task, kind: ModelKind, mode: Mode): Promise<{ notes: string[]; timing: ModeTiming }>;
}
