import { codeRange } from '../formats/activations.js';
import type { Weights } from '../formats/format.js';
import { outputRange } from '../formats/outputs.js';
import { inputSize, isMatmul, type MatmulProblem, NONLINEARITIES, outputSize, type Problem } from '../plan/problem.js';
import type { StridedDims } from '../plan/strides.js';
import type { Device, Layout, VariantBase } from '../plan/variant.js';

/**
 * Tiles 0 .. tiles - 1 of an export, which the threads share: each may be done at any time by any of them. All of a
 * stage is done before the next begins.
 */
export interface WasmStage<P extends Problem = Problem> {
  export: string;
  tiles(p: P, device: Device): number;
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
  scratchBytes?(p: P, device: Device): number;
  sharedBytes?(p: P, device: Device): number;
}

const NO_CLAMP: [number, number] = [-Infinity, Infinity];

/** Completes a row for the table of all rows: its `cost` is that of one thread, and the table's that of all. */
export function row<P extends Problem>(variant: WasmVariant<P>): WasmVariant {
  const completed: WasmVariant<P> = {
    ...variant,
    stages: variant.format ? [...variant.stages, activateOutput as WasmStage<P>] : variant.stages,
    // The stages before do not clamp what a nonlinearity is still to be applied to.
    clamp(p) {
      const later = variant.format && (p as MatmulProblem).nonlinearity;
      return later ? NO_CLAMP : (variant.clamp?.(p) ?? NO_CLAMP);
    },
    cost(p, device) {
      const ms = variant.cost(p, device);
      const tiles = variant.stages.at(-1)!.tiles(p, device);
      return device.dispatchMs + (ms - device.dispatchMs) * busiestShare(tiles, device.threads ?? 1);
    },
  };
  return completed as unknown as WasmVariant;
}

/** The part of the tiles that the thread with the most does. */
const busiestShare = (tiles: number, threads: number): number => (tiles === 0 ? 1 : Math.ceil(tiles / threads) / tiles);

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Rows of A that one tile packs: as many as fit half of a common L2 cache, or `bytes`, in whole register tiles. */
export function rowBlockOf(p: MatmulProblem, MR: number, bytesPerRow: number, bytes = 256 * 1024): number {
  const fitting = Math.floor(bytes / bytesPerRow / MR) * MR;
  return Math.min(Math.max(fitting, MR), 32 * MR, roundUp(p.M, MR));
}

/** Tiles that a thread should find at least. */
const TILES_A_THREAD = 4;

/**
 * Parts that N is cut into, so that threads have tiles enough; each part packs rows of A anew.
 * @param blocks of rows of A, of all groups
 * @param panels of one group, and the fewest that are worth packing for
 */
export function partsOf(device: Device, blocks: number, panels: number, fewest: number): number {
  const { threads = 1 } = device;
  if (threads === 1) return 1;
  return Math.max(Math.min(Math.ceil((TILES_A_THREAD * threads) / blocks), Math.floor(panels / fewest)), 1);
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
  zeroCode?: number;
  channelBlock?: number;
  parts?: number;
  sampleParts?: number;
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
    zeroCode = 0,
    channelBlock = 0,
    parts = 1,
    sampleParts = 1,
  } = fields;
  return [
    ...[p.M, p.N, roundUp(p.N, panel), p.K, p.groups, p.channels],
    ...[w.inHeight, w.inWidth, w.kernelHeight, w.kernelWidth, w.strideHeight, w.strideWidth],
    ...[w.dilationHeight, w.dilationWidth, w.padTop, w.padLeft, w.outHeight, w.outWidth],
    ...[inputSize(p) / p.samples, p.M / p.samples, p.samples],
    ...[p.padValue, dotFlip, rowBlock, steps, groupSteps, scaleGroups, chunk, weightZeros, zeroCode],
    channelBlock,
    parts,
    sampleParts,
    ...activationParams(p),
    ...inputFields(p, dotFlip),
    ...outputFields(p),
  ];
}

/** The bits of an f32, for a job. */
export const floatBits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0];

/** Rows that kernels of two operands walk: the innermost dimension, if both step through it by 0 or 1; else rows of one. */
export function rowsOf({ dims, strides }: StridedDims): StridedDims {
  if (strides.every((s) => s.at(-1)! === 0 || s.at(-1)! === 1)) return { dims, strides };
  return { dims: [...dims, 1], strides: strides.map((s) => [...s, 0]) };
}

/** Floats of a tile of asm/activation/activation.ts. */
export const ACTIVATION_BLOCK = 4096;

/** The nonlinearity's number, 0 for none, and the bits of the clamp that follows it. */
function activationParams({ nonlinearity, clamp }: MatmulProblem): number[] {
  if (!nonlinearity) return [0, 0, 0];
  return [1 + NONLINEARITIES.indexOf(nonlinearity), ...new Uint32Array(Float32Array.from(clamp).buffer)];
}

/** The stage that ends a matmul with a nonlinearity; no tiles without one. */
const activateOutput: WasmStage = {
  export: 'activate_output',
  tiles: (p) => (isMatmul(p) && p.nonlinearity ? Math.ceil(outputSize(p) / ACTIVATION_BLOCK) : 0),
};

/** What an engine wants taken off unsigned codes: 128 where its dot is signed. */
export const dotFlipOf = ({ features }: Device): number => (features.has('sdot') ? 128 : 0);

/** True for codes that are multiplied where they lie: unsigned, or signed where the dot is. */
export const readsCodes = ({ input: { dtype } }: MatmulProblem, dotFlip: number): boolean =>
  dtype === (dotFlip ? 'int8' : 'uint8');

/** inputKind and the given Sample, in codes as they are multiplied. */
function inputFields(p: MatmulProblem, dotFlip: number): number[] {
  const { dtype, quantization } = p.input;
  if (dtype === 'bits') return [INPUT_KINDS.bits, 0, 0, 0];
  if (!quantization) return [INPUT_KINDS.float32, 0, 0, 0];
  const kind = dtype === 'float32' ? 'givenScale' : readsCodes(p, dotFlip) ? 'codes' : 'flippedCodes';
  const zeroPoint = quantization.zeroPoint - codeRange(quantization.dtype)[0] - dotFlip;
  return [INPUT_KINDS[kind], ...new Uint32Array(Float32Array.of(0, quantization.scale).buffer), zeroPoint];
}

/** outputKind, zero point and clamp of integer outputs. */
function outputFields(p: MatmulProblem): number[] {
  const { dtype, quantization } = p.output;
  if (dtype === 'float32' || dtype === 'bits') return [OUTPUT_KINDS[dtype], 0, 0, 0];
  return [OUTPUT_KINDS[dtype], quantization?.zeroPoint ?? 0, ...outputRange(p)];
}

/** InputKind and OutputKind in asm/shared/job.ts. */
const INPUT_KINDS = { float32: 0, givenScale: 1, codes: 2, flippedCodes: 3, bits: 4 };
const OUTPUT_KINDS = { float32: 0, int32: 1, uint8: 2, int8: 3, bits: 4 };

/** Bytes that stay in caches between two runs, and how much faster than memory those are: a Zen 4's L2 and part of L3. */
const CACHED_BYTES = 2 ** 23;
const CACHE_SPEED = 4;

/**
 * Milliseconds of `macs` multiply-adds at `share` of the dense rate, or of reading `bytes` so many times, whichever is
 * longer.
 */
export function predictMs(device: Device, macs: number, share: number, bytes: number, passes = 1): number {
  const cached = Math.min(bytes, CACHED_BYTES);
  const read = (passes * (cached / CACHE_SPEED + bytes - cached)) / device.bytesPerNs;
  const ns = Math.max(macs / (device.macsPerNs * share), read);
  return ns / 1e6 + device.dispatchMs;
}
