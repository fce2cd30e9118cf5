import type { Problem } from '../../src/plan/problem.js';
import type { Device } from '../../src/plan/variant.js';

/** Threads that keep a GPU busy: fewer run at a proportional part of its rate. */
const BUSY_THREADS = 16384;

/** What a kernel does, as far as its time depends on it. */
export interface Work {
  /** Multiply-adds, with those of padding; other arithmetic counts as such. */
  macs: number;
  /** Part of the dense f32 rate that the kernel reaches when it keeps the GPU busy. */
  efficiency: number;
  threads: number;
  /** Bytes from and to memory. */
  bytes: number;
  dispatches: number;
}

/** Milliseconds: the slower of arithmetic and memory, and what each dispatch costs. */
export function predictMs(device: Device, { macs, efficiency, threads, bytes, dispatches }: Work): number {
  const busy = Math.min(1, threads / BUSY_THREADS);
  const computeNs = macs / (device.macsPerNs * efficiency * busy);
  const memoryNs = bytes / (device.bytesPerNs * Math.min(1, busy * 4));
  return Math.max(computeNs, memoryNs) / 1e6 + device.dispatchMs * dispatches;
}

/** Bytes that the device binds of one buffer, and that a buffer may have. */
export function limitsOf({ limits }: Device): { binding: number; buffer: number } {
  const { maxStorageBufferBindingSize: binding = 2 ** 27, maxBufferSize: buffer = 2 ** 28 } = limits ?? {};
  return { binding, buffer };
}

/** True when every buffer can be bound on the device, or which one is too large. */
export function fits(device: Device, buffers: Readonly<Record<string, number>>): true | string {
  const { binding, buffer } = limitsOf(device);
  const limit = Math.min(binding, buffer);
  for (const [name, bytes] of Object.entries(buffers)) {
    if (bytes > limit) return `${name} takes ${bytes} bytes, the device binds at most ${limit}`;
  }
  return true;
}

/** Constants of a sliding window that do not depend on the batch. */
export function windowConsts({ window: w }: Extract<Problem, { window: unknown }>): Record<string, number> {
  return {
    IN_HEIGHT: w.inHeight,
    IN_WIDTH: w.inWidth,
    OUT_HEIGHT: w.outHeight,
    OUT_WIDTH: w.outWidth,
    KERNEL_HEIGHT: w.kernelHeight,
    KERNEL_WIDTH: w.kernelWidth,
    STRIDE_HEIGHT: w.strideHeight,
    STRIDE_WIDTH: w.strideWidth,
    DILATION_HEIGHT: w.dilationHeight,
    DILATION_WIDTH: w.dilationWidth,
    PAD_TOP: w.padTop,
    PAD_LEFT: w.padLeft,
  };
}
