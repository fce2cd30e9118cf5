import type { DataByDType, DType, TensorData } from './dtype.js';
import type { Bias, Weights } from './formats/format.js';
import type { Problem } from './plan/problem.js';
import type { Device, VariantBase } from './plan/variant.js';

/** Memory on a device. Made and freed by its backend only. */
export interface DeviceBuffer {
  readonly bytes: number;
  /** WebGPU: what it is, for a caller who goes on with it on the same device. */
  readonly gpu?: GPUBuffer;
}

/** Weights and bias packed for one layout, on the device. Shared by every variant that names the layout. */
export interface Operands {
  readonly layout: string;
  readonly bytes: number;
  free(): void;
}

/** A variant made ready for one problem: pipelines compiled, parameters written. */
export interface Kernel {
  readonly variant: string;
  readonly problem: Problem;
  /** Frees what belongs to this kernel alone; operands and cached pipelines stay. */
  free(): void;
}

/** Kernels in order, on one device. Nothing is read back between them. */
export interface Pass {
  /** C = kernel(inputs). The output may not be one of the inputs. */
  run(kernel: Kernel, inputs: readonly DeviceBuffer[], output: DeviceBuffer): void;
  /** Resolves when the work is done (WASM: it already is) or throws ThinferError `device-lost`. */
  submit(): Promise<void>;
  /**
   * Milliseconds that the kernels took, after `submit` of a pass that was begun with `timed`: on the GPU by its own
   * clock. Undefined where the device has none.
   */
  readonly elapsedMs?: number | undefined;
}

/**
 * One way to compute: WASM or WebGPU. A backend owns device memory and turns rows of its table into
 * kernels. It chooses nothing: selection happened before it is called.
 */
export interface Backend<V extends VariantBase = VariantBase> {
  readonly device: Device;
  /** The table: every row of every format. */
  readonly variants: readonly V[];
  /** Bytes on the device now, and the most there ever were. */
  readonly memory: { readonly bytes: number; readonly peakBytes: number };

  /** Throws ThinferError `out-of-memory` when the device has no room. */
  createBuffer(bytes: number, label: string): DeviceBuffer;
  freeBuffer(buffer: DeviceBuffer): void;
  write(buffer: DeviceBuffer, data: TensorData): void;
  /** The first `length` stored elements of a buffer: f32, or of another dtype. */
  read<D extends DType = 'float32'>(buffer: DeviceBuffer, length: number, dtype?: D): Promise<DataByDType[D]>;

  /** Name of the layout in which a matmul row wants its weights for this problem. */
  layoutOf(variant: V, problem: Problem): string;
  /** Packs validated weights and bias for a row's layout and puts them on the device. */
  pack(variant: V, problem: Problem, weights: Weights, bias: Bias | undefined): Operands;
  /**
   * Begins what `prepare` does for as long as it takes, such as compiling, so that it goes on while weights are packed.
   * Failures come from `prepare`.
   */
  warm?(variant: V, problem: Problem, weights?: Weights): void;
  /** @param operands of the layout that the row names; absent for operators without weights */
  prepare(variant: V, problem: Problem, operands?: Operands): Promise<Kernel>;
  beginPass(options?: { timed?: boolean }): Pass;
  /** As `prepare`, without a promise; undefined while a pass waits for another thread. Absent: only promises. */
  prepareNow?(variant: V, problem: Problem, operands?: Operands): Kernel | undefined;
  /**
   * Runs a kernel before it returns; on WebGPU it encodes it into `pass`, which the caller ends and submits.
   * @returns false while a pass waits for another thread: then nothing was done
   */
  runNow?(kernel: Kernel, inputs: readonly DeviceBuffer[], output: DeviceBuffer, pass?: GPUComputePassEncoder): boolean;
  /**
   * After the error `device-lost`: opens the device anew, once for all who ask. True when it works again; operands,
   * kernels and buffers of before are of no use and have to be made again. Absent where devices don't get lost.
   */
  recover?(): Promise<boolean>;
  free(): void;
}
