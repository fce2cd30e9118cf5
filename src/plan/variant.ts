import type { DType } from '../dtype.js';
import type { FormatName, Weights } from '../formats/format.js';
import type { MatmulProblem, Problem } from './problem.js';

export type BackendName = 'wasm' | 'webgpu';

/** What a backend can do on this machine: facts that selection and cost models read. */
export interface Device {
  backend: BackendName;
  /** For people and cache keys, e.g. `wasm B (x64, relaxed SIMD)` or `nvidia hopper`. */
  label: string;
  /** Capabilities that `Variant.requires` names. */
  features: ReadonlySet<string>;
  /** Multiply-adds a nanosecond of the dense f32 kernel at full rate. */
  macsPerNs: number;
  /** Bytes a nanosecond from memory. */
  bytesPerNs: number;
  /** Milliseconds of one dispatch. */
  dispatchMs: number;
  /** Milliseconds of one run whatever it does: submit and read-back. */
  runMs: number;
  /** To and from memory of its own: milliseconds of any transfer, and the rate. Absent: it works in the host's memory. */
  transfer?: { writeMs: number; readMs: number; bytesPerNs: number };
  /** WASM: threads that share the tiles of a stage. */
  threads?: number;
  /** WebGPU: the device's limits. */
  limits?: Record<string, number>;
  /** WebGPU with subgroup matrices. */
  matrices?: SubgroupMatrices;
}

/** Matrices that a subgroup multiplies: left [M, K] times right [K, N]. */
export interface SubgroupMatrix {
  /** Of the elements that are multiplied, and of the result's: `f16`, `f32`, `i8`, `i32` and so on. */
  component: string;
  result: string;
  M: number;
  N: number;
  K: number;
}

export interface SubgroupMatrices {
  /** The most threads that a subgroup may have. */
  threads: number;
  configs: readonly SubgroupMatrix[];
}

/** What rows of every backend's table have in common. */
export interface VariantBase<P extends Problem = Problem> {
  /** `<format>_<op>_<MR>x<NR>[_k<KB>][_<isa>]`: table name, test title, GPU label, bench row and log line. */
  name: string;
  ops: readonly P['op'][];
  /** Weight format; absent for operators without weights. */
  format?: FormatName;
  /** Device features without which the row can't run. */
  requires?: readonly string[];
  /** Why a device that has those can't run it either, whatever the problem. */
  obstacle?(device: Device): string | undefined;
  /**
   * What the row takes as its first operand, and gives. Default: f32, for linear and conv2d quantised at run time if at
   * all; a row of theirs that takes `uint8` and `int8` quantises f32 by given scales as well.
   */
  inputs?: readonly DType[];
  outputs?: readonly DType[];
  /** True, or why not; asked when dtypes suit. */
  supports?(p: P, device: Device): true | string;
  /** Predicted milliseconds, without Device.runMs. */
  cost(p: P, device: Device): number;
}

/** Typed arrays in the order that a kernel reads its weights: the layout's operands. */
export type PackedOperands = Record<
  string,
  Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array
>;

/** How a variant wants its weights; rows that name the same layout share one packed copy. */
export interface Layout<W extends Weights = Weights> {
  name: string;
  pack(weights: W, p: MatmulProblem): PackedOperands;
}

/** Selection's answer about one variant. */
export interface Candidate {
  variant: string;
  backend: BackendName;
  device: string;
  /** linear and conv2d: how it stores the weights, and their bytes. */
  format?: FormatName;
  bytes?: number;
  /** Milliseconds of one run, submission included; infinite where it can't run. */
  predictedMs: number;
  /** The same from timing on the device, where it was timed. */
  measuredMs?: number;
  chosen: boolean;
  /** Why it was chosen or why not. */
  reason: string;
}
