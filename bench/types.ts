// What the page tells the script that drives it. Plain data: it crosses a process boundary.

import type { Timing } from '../src/bench/statistics.js';

/**
 * How a peer stores weights: what our formats are compared with. `codes` and `sums`: 8-bit weights as `int8`, activations
 * that are 8-bit codes already, and outputs that are codes or int32 sums; the others take and give f32.
 */
export type PeerKind = 'f32' | 'int8' | 'int4' | 'codes' | 'sums';
export type PeerName = 'tfjs' | 'ort' | 'litert';

export interface PageOptions {
  threads: number;
  /** Force a WASM module of ours; absent: the one that the probe chooses. */
  module?: string;
  peers: PeerName[];
  /** Formats to run, each a prefix of a recipe's name; empty: all. */
  only: string[];
  densities: number[];
  rounds: number;
  batchMs: number;
}

/** What is measured once a page. */
export interface PageFacts {
  module: string;
  device: string;
  features: string[];
  threads: number;
  /** Peers that loaded. */
  peers: PeerName[];
  notes: string[];
}

export interface OurTiming extends Timing {
  /** Name of the recipe, and of the format it makes. */
  recipe: string;
  format: string;
  density: number;
  variant: string;
  same: PeerKind | undefined;
  /** Multiply-adds that the format does, and that dense weights of the shape take. */
  macs: number;
  denseMacs: number;
  bytes: number;
  /** The largest |y - reference|, over the largest |reference|. */
  maxError: number;
  /** The row that selection by predicted time picks. */
  chosen: boolean;
}

export interface PeerTiming extends Timing {
  peer: PeerName;
  kind: PeerKind;
  /** The operator, as the peer names it. */
  what: string;
  maxError: number;
}

export interface ShapeTimings {
  shape: string;
  /** G operations a second of our dense kernel on panels that fit L1, in its fastest round of the race. */
  ceilingGops: number;
  ours: OurTiming[];
  peers: PeerTiming[];
  /** What did not run, and why. */
  notes: string[];
}

/** Sent before each step, so that a page that dies or hangs tells at which. */
export interface Step {
  type: 'step';
  /** Whose code runs next: a peer's name, `thinfer`, or `race` when all take turns. */
  who: string;
  what: string;
  /** Share of the shape's work that is done. */
  done: number;
}

/** A row of ours for an operator without weights, as the race timed it, and the same operator of peers. */
export interface OperatorTimings {
  operator: string;
  /** Bytes that are read and written at least: inputs and output. */
  bytes: number;
  ours: (Timing & { variant: string; maxError: number }) | undefined;
  peers: (Timing & { peer: PeerName; maxError: number })[];
  notes: string[];
}

/** What is asked about the scheduler: see docs/bench.md. */
export type StudyKind = 'cost' | 'guarantee' | 'crossover';

/** A row of ours for one form of the weights. */
export interface RivalTime {
  variant: string;
  format: string;
  predictedMs: number;
  /** Milliseconds in the fastest turn, and the median deviation of all turns. */
  ms: number;
  spread: number;
  /** False: it was far behind after the warm-up, and `ms` is from there. */
  raced: boolean;
}

export interface CostTimings {
  kind: 'cost';
  point: string;
  /** How many of the rows, the first, take the weights as they are. */
  own: number;
  rows: RivalTime[];
  /** The device's, calibrated. */
  rates: { macsPerNs: number; bytesPerNs: number; dispatchMs: number };
  notes: string[];
}

/** How the weights are multiplied: dense f32 does the same for `f32` only, dense int8 for `int8`. */
export type Arithmetic = 'f32' | 'int8' | 'bits';

export interface GuaranteeTimings {
  kind: 'guarantee';
  point: string;
  arithmetic: Arithmetic;
  /** Milliseconds that tuning took in all, and what it found a run of each row to take that it timed. */
  tuneMs: number;
  timed: Record<string, number>;
  /** 2: it looked slow in a first race. */
  races: number;
  tuned: RivalTime;
  /** The fastest row of all forms in the same arithmetic. */
  oracle: RivalTime;
  /** The tuned layer's time over the fastest row's, our best dense f32 row's and our best dense int8 row's. */
  overOracle: number;
  overDense: number | null;
  overInt8: number | null;
  dense: RivalTime | null;
  rows: RivalTime[];
  notes: string[];
}

export interface CrossoverTimings {
  kind: 'crossover';
  point: string;
  /** The fastest row of `dense`, `int8` and each sparse recipe. */
  best: Record<string, RivalTime>;
  notes: string[];
}

export type StudyTimings = CostTimings | GuaranteeTimings | CrossoverTimings;

export type Message =
  | Step
  | { type: 'facts'; facts: PageFacts }
  | { type: 'timings'; timings: ShapeTimings }
  | { type: 'operator'; timings: OperatorTimings }
  | { type: 'study'; timings: StudyTimings }
  | { type: 'failed'; error: string };

/** What the page offers to the script. Answers come as messages. */
export interface BenchPage {
  start(options: PageOptions): void;
  /** @param without operators of peers to leave out, as `peer what` */
  measure(shape: string, without: string[]): void;
  /** @param operator a name in bench/operators.ts */
  measureOperator(operator: string, without: string[]): void;
  /** @param point as bench/points.ts writes them */
  study(kind: StudyKind, point: string): void;
}

/** One row of the results file. */
export interface Row {
  op: 'linear' | 'conv2d';
  /** Name of the recipe: the format, with its width where there are several. */
  format: string;
  density: number;
  shape: string;
  threads: number;
  module: string;
  variant: string;
  /** Selection by predicted time picks this row. */
  chosen: boolean;
  ms: number;
  spread: number;
  /** 2 operations for each multiply-add that the format does. */
  gops: number;
  /** 2 operations for each multiply-add of dense weights of this shape. */
  effGops: number;
  /** gops over the f32 ceiling: our dense kernel on panels that fit L1, in the same race. */
  limitFraction: number;
  weightBytes: number;
  /** Keyed by peer and kind of weights, e.g. `ort-int8`. */
  peers: Record<string, { what: string; ms: number }>;
  /** The fastest peer's dense f32 time over ours. */
  vsBestDense: number | null;
  /** The fastest time of a peer with the same kind of weights over ours. */
  vsBestSame: number | null;
  /** The fastest of our own dense rows over this one. */
  vsOwnDense: number | null;
  maxError: number;
}

/** One operator of the results file of `--operators`. */
export interface OperatorRow {
  operator: string;
  threads: number;
  module: string;
  variant: string;
  ms: number;
  spread: number;
  /** G bytes a second of inputs and output. */
  gBps: number;
  peers: Partial<Record<PeerName, number>>;
  /** The fastest peer's time over ours. */
  vsBest: number | null;
  maxError: number;
}
