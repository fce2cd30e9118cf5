import type { Graph } from '../graph/ir.js';
import type { ModelInputs } from '../graph/model.js';
import type { Runtime } from '../runtime.js';
import type { MomentsCache } from './products.js';

/** Inputs of a model as it sees them in use. */
export interface Calibration {
  /** What `model.run` takes, once each. */
  batches: readonly ModelInputs[];
  /**
   * For each batch, the class of each of its samples: the place of the largest number in the last dimension of the model's
   * first output. With them accuracy is measured, without them how far outputs move.
   */
  labels?: readonly ArrayLike<number>[];
}

/** One method of compression with its settings: from a graph to one that takes less. */
export interface Step {
  /** With its settings, for reports: `prune 90 %`. */
  readonly name: string;
  /** Whether there has to be a `job.calibration`. */
  readonly needs?: 'calibration';
  /**
   * The graph of the job with weights in other formats, or other nodes. Pure: neither the graph nor an array that it holds
   * is written to. What layers do at the end is in the formats of their weights: a layer of csr weights stays sparse and
   * one of int8 weights multiplies integers, and a step that comes later starts from that (see `valuesOf` and `isPruned`
   * in layers.ts): zeros stay zeros.
   * @throws ThinferError for what can't be done, naming the layer
   */
  apply(job: Job): Promise<Graph> | Graph;
}

/** What was done to a layer by a step. */
export interface Note {
  /** Absent: evidence for what was done to the model as a whole. */
  layer?: string;
  /** In words: `80 % pruned`, or why nothing was done. */
  did: string;
  /** Layers that took its place, where it is not there any more: none where it was left out. */
  into?: readonly string[];
  /** What the step found out for its choice, for those who want to know. */
  evidence?: Readonly<Record<string, unknown>>;
}

/** What a step works on. */
export interface Job {
  /** Optimised (`optimize` of src/graph/passes): images are NHWC, batch normalisations folded, activations fused. */
  readonly graph: Graph;
  readonly calibration?: Calibration;
  /** To run the graph on; made when it is asked for, unless the caller has one. */
  runtime(): Promise<Runtime>;
  /** How much of the step is done, 0..1, and what comes. Throws the signal's reason when it is aborted. */
  progress(done: number, what: string): void;
  note(note: Note): void;
  readonly signal?: AbortSignal;
  /** What several steps on the same graph found out about it. */
  readonly moments?: MomentsCache;
}

/** Which layers a step may change, by name. Default: all of f32. */
export interface LayerChoice {
  only?: readonly string[];
  except?: readonly string[];
}
