// What is asked of a page, or of a process of Node, and what it answers. Plain data: it crosses a process boundary.
import type { Codes } from '../../../bench/codes.js';
import type { ElementType } from '../../dtype.js';
import type { BackendName } from '../../plan/variant.js';
import type { Difference, Elements } from '../answers.js';
import type { Ceiling, ClientFacts, LayerRow, ModelRow, Phases, RuntimeName } from '../results.js';
import type { Timing } from '../statistics.js';

/** An input, or what an output should be: elements at a URL. */
export interface Data {
  name: string;
  shape: number[];
  dtype: ElementType;
  url: string;
}

/** One runtime's part in a task. */
export interface Contender {
  name: RuntimeName;
  /** Of our module that opens it. */
  script: string;
  /** Of the peer's own module. */
  entry?: string;
  /** Of the model's file. */
  model: string;
  /** What codes of the task's inputs and outputs stand for, where the contender's file takes and gives f32 instead. */
  codes?: { inputs: (Codes | undefined)[]; outputs: (Codes | undefined)[] };
}

export interface Task {
  backend: BackendName;
  threads: number;
  inputs: Data[];
  /** Names of the outputs, in order. */
  outputs: string[];
}

export interface WarmTask extends Task {
  contenders: Contender[];
  /** Right answers; absent: those of the first contender. */
  expected?: Data[];
  /** Ours and a peer's may differ from the right answers by so much. */
  tolerance: number;
  peerTolerance: number;
  rounds: number;
  budgetMs: number;
  precision: number;
}

export interface WarmResult {
  device: string;
  contenders: { warm?: Timing; difference?: Difference; failed?: string; wrong?: boolean }[];
  layers: LayerRow[];
  plan: Pick<ModelRow, 'placements' | 'transfers' | 'weightBytes' | 'denseBytes' | 'activationBytes'>;
  /** The rates of a GPU, calibrated. */
  rates?: { macsPerNs: number; bytesPerNs: number };
}

export interface ColdResult {
  phases: Phases;
  transferBytes?: number;
  wasmBytes: number;
}

export interface Methods {
  facts(): Promise<Pick<ClientFacts, 'userAgent' | 'cores' | 'isolated' | 'adapter'>>;
  ceilings(script: string, threads: number): Promise<Omit<Ceiling, 'backend' | 'threads' | 'how'>>;
  warm(task: WarmTask): Promise<WarmResult>;
  cold(task: Task, contender: Contender): Promise<ColdResult>;
}

/** What methods answer. */
export type Answers = { [M in keyof Methods]: Awaited<ReturnType<Methods[M]>> };

/** What a runtime's module gets. */
export interface Wanted extends Omit<Task, 'inputs'> {
  model: string;
  entry: string;
  codes: Contender['codes'];
  inputs: { name: string; shape: number[]; data: Elements }[];
}

/** A model in a runtime. */
export interface Opened {
  device?: string;
  /** Times kernels, where the runtime does. */
  tune?(): Promise<void>;
  /** One run, with its outputs in JavaScript, in the order of the task. */
  run(): Promise<Elements[]>;
  /** Milliseconds of each node, of `runs` in which each kernel is repeated, and what the plan is: ours only. */
  profile?(runs: number, repeats: number): Promise<Pick<WarmResult, 'layers' | 'plan' | 'rates'>>;
  free(): void;
}

/** @param done is told of each phase that is over, but the first and last */
export type Open = (wanted: Wanted, done: (phase: 'model' | 'start' | 'load') => void) => Promise<Opened>;
