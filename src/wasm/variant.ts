import type { Weights } from '../formats/format.js';
import type { MatmulProblem, Problem } from '../plan/problem.js';
import type { Device, Layout, VariantBase } from '../plan/variant.js';

/** One call of an export over tiles 0 .. tiles(p) - 1. All of a stage is done before the next begins. */
export interface WasmStage<P extends Problem = Problem> {
  export: string;
  tiles(p: P): number;
}

/** A layout for WASM: operands become w0, w1, ... of the job in their order. */
export interface WasmLayout<W extends Weights = Weights> extends Layout<W> {
  /** N of a group is padded to whole panels of this many channels; so is the bias. */
  panel: number;
}

/** A row of the WASM table. */
export interface WasmVariant<P extends Problem = Problem> extends VariantBase<P> {
  layout?: WasmLayout<never>;
  stages: readonly WasmStage<P>[];
  /** The clamp that ends the kernel; absent: none. */
  clamp?(p: P): [min: number, max: number];
  /** The u32 fields of the job after the common ones, in the order of its class in asm/. */
  params(p: P, device: Device): number[];
  /** Scratch of one thread, and scratch that stages hand to each other. Default 0. */
  scratchBytes?(p: P): number;
  sharedBytes?(p: P): number;
}

/** Types a row by the problem it is for, for the table of all rows. */
export function row<P extends Problem>(variant: WasmVariant<P>): WasmVariant {
  return variant as unknown as WasmVariant;
}

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Rows of A that one tile packs: as many as fit half of a common L2 cache, in whole register tiles. */
export function rowBlockOf(p: MatmulProblem, MR: number, bytesPerRow: number): number {
  const fitting = Math.floor((256 * 1024) / bytesPerRow / MR) * MR;
  return Math.min(Math.max(fitting, MR), 32 * MR, roundUp(p.M, MR));
}

/** What a kernel's job says beyond the problem; 0 where the kernel does not read it. */
export interface JobFields {
  /** N is padded to whole panels of this many channels. */
  panel: number;
  rowBlock?: number;
  dotFlip?: number;
  steps?: number;
  groupSteps?: number;
  scaleGroups?: number;
  chunk?: number;
  weightZeros?: number;
  channelBlock?: number;
}

/** MatmulJob in asm/shared/job.ts, field by field. */
export function matmulParams(p: MatmulProblem, fields: JobFields): number[] {
  const w = p.window;
  const {
    panel,
    rowBlock = 0,
    dotFlip = 0,
    steps = 0,
    groupSteps = 0,
    scaleGroups = 0,
    chunk = 0,
    weightZeros = 0,
    channelBlock = 0,
  } = fields;
  return [
    ...[p.M, p.N, roundUp(p.N, panel), p.K, p.groups, p.channels],
    ...[w.inHeight, w.inWidth, w.kernelHeight, w.kernelWidth, w.strideHeight, w.strideWidth],
    ...[w.dilationHeight, w.dilationWidth, w.padTop, w.padLeft, w.outHeight, w.outWidth],
    ...[inputSize(p) / p.samples, p.M / p.samples, p.samples],
    ...[p.padValue, dotFlip, rowBlock, steps, groupSteps, scaleGroups, chunk, weightZeros, channelBlock],
  ];
}

/** Elements of the input. */
export const inputSize = ({ window: w, channels }: MatmulProblem): number =>
  w.batch * w.inHeight * w.inWidth * channels;

/** Nanoseconds of `macs` multiply-adds at `share` of the dense rate, or of reading `bytes`, whichever is longer. */
export function predictMs(device: Device, macs: number, share: number, bytes: number): number {
  const ns = Math.max(macs / (device.macsPerNs * share), bytes / device.bytesPerNs);
  return ns / 1e6 + device.dispatchMs;
}
