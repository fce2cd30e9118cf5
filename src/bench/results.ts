// The results file of thinfer bench. Plain data; other tools may write and read it.
import type { NodeReport, PlacementReport, TransferReport } from '../graph/model.js';
import type { BackendName } from '../plan/variant.js';
import type { Difference } from './answers.js';
import type { Timing } from './statistics.js';

/** Rises when a reader of old files would misread new ones. */
export const RESULTS_VERSION = 1;

export interface ResultsFile {
  kind: 'thinfer-bench';
  version: number;
  /** One for each call of the command, in whatever order files were merged. */
  runs: BenchRun[];
}

export interface BenchRun {
  /** Unlike every other run's. */
  id: string;
  /** ISO 8601. */
  date: string;
  /** Version of the package. */
  thinfer: string;
  machine: Machine;
  client: ClientFacts;
  options: RunOptions;
  /** What this machine can do at most, as small kernels found it in this run. */
  ceilings: Ceiling[];
  models: ModelRow[];
  /** Of `thinfer bench shapes`. */
  shapes?: ShapeRow[];
  /** Of `thinfer bench shapes --crossover`. */
  crossover?: CrossoverRow[];
  notes: string[];
}

/** Where the command ran. With a browser elsewhere, `client` says what measured. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryBytes: number;
  platform: string;
  node: string;
}

export interface ClientFacts {
  /** `chrome`, `firefox` or `node`, with the version. */
  browser: string;
  userAgent: string;
  /** Logical cores, as it tells. */
  cores: number;
  /** Shared memory, and so threads and fine timers, is allowed. */
  isolated: boolean;
  /** Of WebGPU: vendor, architecture, description; absent where there is none. */
  adapter?: string;
  /** What the user calls the device. */
  name?: string;
  /** A browser that ran already, on this machine or another. */
  remote: boolean;
  /** Switches that it was started with. */
  flags: string[];
}

/** The device that measured: what the command's machine is called means nothing where the browser ran elsewhere. */
export const deviceOf = ({ client, machine }: Pick<BenchRun, 'client' | 'machine'>): string =>
  client.name ?? (client.remote ? client.userAgent || 'another device' : machine.cpu);

export interface RunOptions {
  /** At most so many turns in a race. */
  rounds: number;
  budgetMs: number;
  /** Half the width of the interval, over the median, that is narrow enough. */
  precision: number;
  tolerance: number;
  coldStarts: number;
  peers: Partial<Record<PeerName, string>>;
}

export type PeerName = 'ort' | 'litert' | 'tfjs';
export type RuntimeName = 'thinfer' | PeerName;

export interface Ceiling {
  backend: BackendName;
  threads: number;
  /** Multiply-adds a nanosecond, and bytes read and written a nanosecond: G a second. */
  gmacs: number;
  gbytes: number;
  /** How they were found. */
  how: string;
}

/** A model on one backend with one number of threads. */
export interface ModelRow {
  model: string;
  /** Of the file, and its SHA-256: models of one name may differ. */
  bytes: number;
  hash: string;
  backend: BackendName;
  threads: number;
  device: string;
  /** What answers were compared with. */
  reference: string;
  /** Ours first. */
  runtimes: RuntimeRow[];
  layers: LayerRow[];
  placements: PlacementReport[];
  transfers: TransferReport[];
  /** Of ours. */
  weightBytes: number;
  denseBytes: number;
  activationBytes: number;
}

export interface RuntimeRow {
  name: RuntimeName;
  version: string;
  /** Runs one after the other, warm, in turns with the others. */
  warm?: Timing;
  /** To the reference. */
  difference?: Difference;
  cold?: Cold;
  /** Why there is no time. `wrong`: its answer was. */
  failed?: string;
  wrong?: boolean;
}

/** From nothing to the first answer, each part after the one before. */
export interface Cold {
  /** Medians of the starts, in milliseconds; the interval is of their sum. */
  phases: Phases;
  ms: number;
  low: number;
  high: number;
  starts: number;
  /** Of everything that came over the network, where the browser tells. */
  transferBytes?: number;
  /** Sizes of all WebAssembly memories after the first answer. */
  wasmBytes: number;
  /** The most that the page's process, or Node's, ever had resident; where the platform tells. */
  residentBytes?: number;
}

export interface Phases {
  /** Download and evaluation of the runtime's script. */
  script: number;
  /** Download of the model. */
  model: number;
  /** Start of the runtime: its WebAssembly compiled, or the GPU asked for a device. */
  start: number;
  /** The model read, its weights packed, its kernels compiled. Peers that start on their first model do both here. */
  load: number;
  /** The first run. */
  first: number;
}

export const PHASES = ['script', 'model', 'start', 'load', 'first'] as const satisfies (keyof Phases)[];

/** A node of the graph as it runs: NodeReport with its time measured in runs of the whole model. */
export interface LayerRow
  extends Pick<NodeReport, 'name' | 'op' | 'shape' | 'backend' | 'variant' | 'format' | 'predictedMs' | 'candidates'> {
  /** Milliseconds in runs in which each node is waited for: the mean of the middle half of them. */
  ms: number;
  /** Layers with weights: multiply-adds that are done, and those of dense weights. */
  macs?: number;
  denseMacs?: number;
  /** Bytes of input, weights and output. */
  bytes?: number;
}

/** A product or convolution of `bench shapes`: one kernel of ours, or one operator of a peer. */
export interface ShapeRow {
  shape: string;
  threads: number;
  runtime: RuntimeName;
  /** How weights are stored, and the share that is not zero. */
  weights: string;
  density: number;
  kernel: string;
  /** Of ours: what selection takes. */
  chosen: boolean;
  timing: Timing;
  /** Multiply-adds a nanosecond that are done, and of dense weights. */
  gmacs: number;
  denseGmacs: number;
  /** The largest difference to the float64 reference, over its largest number. */
  error: number;
}

/** The fastest kernel of a format at a density. */
export interface CrossoverRow {
  shape: string;
  threads: number;
  weights: string;
  density: number;
  ms: number;
}
