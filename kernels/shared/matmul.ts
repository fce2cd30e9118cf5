import { byteLength, type DType, storedLength } from '../../src/dtype.js';
import type { FormatName } from '../../src/formats/format.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Device, Layout, VariantBase } from '../../src/plan/variant.js';
import type { Consts, Stage, WebgpuVariant } from '../../src/webgpu/variant.js';
import { activationConsts, activationSnippets } from './activation.js';
import { fits, limitsOf, predictMs, windowConsts } from './cost.js';
import direct from './direct.wgsl';
import foldGrouped from './fold_grouped.wgsl';
import foldPlain from './fold_plain.wgsl';
import gemm from './gemm.wgsl';
import gemv from './gemv.wgsl';
import gemvSubgroup from './gemv_subgroup.wgsl';
import rowsConv from './rows_conv.wgsl';
import rowsLinear from './rows_linear.wgsl';
import storeBits from './store_bits.wgsl';
import storeBytes from './store_bytes.wgsl';
import storeF32 from './store_f32.wgsl';
import storeI32 from './store_i32.wgsl';
import sumsPlain from './sums_plain.wgsl';

/*
 * A matmul shader is put together from a way to walk over the problem (gemm, gemv, direct), where rows of A lie
 * (rows_linear, rows_conv), and an arithmetic: what elements are, how they are multiplied, and how a sum becomes an
 * output. Formats differ in their arithmetic only.
 */

export type MatmulVariant = WebgpuVariant<MatmulProblem>;

/** Input pixels: rows of A in linear. */
export function pixelsOf({ window }: MatmulProblem): number {
  return window.batch * window.inHeight * window.inWidth;
}

/** Input channels of one group. */
export function groupChannels({ channels, groups }: MatmulProblem): number {
  return channels / groups;
}

/** Whether some window reaches outside the image. */
export function hasPadding({ window: w }: MatmulProblem): boolean {
  return w.padTop + w.padLeft + w.padBottom + w.padRight > 0;
}

/** Whether output pixels are input pixels: then A is the input as it lies. */
function isPointwise(p: MatmulProblem): boolean {
  const { strideHeight, strideWidth } = p.window;
  return tapsOf(p) === 1 && strideHeight === 1 && strideWidth === 1 && !hasPadding(p);
}

export interface RowSource {
  rows: string;
  /** Elements of a row. */
  depth: number;
  consts: Consts;
}

/** Rows of A one after the other, `depth` elements each. */
export function plainRows(p: MatmulProblem, depth: number): RowSource {
  const consts = { GROUPS: p.groups, CHANNELS: depth, DEPTH: depth, ALIGNED: depth % 4 === 0 };
  return { rows: rowsLinear, depth, consts };
}

/** Where rows of A lie when a pixel holds `channels` elements of each group. */
export function rowSource(p: MatmulProblem, channels: number): RowSource {
  if (isPointwise(p)) return plainRows(p, channels);
  const depth = tapsOf(p) * channels;
  const consts = { GROUPS: p.groups, CHANNELS: channels, DEPTH: depth, ALIGNED: channels % 4 === 0 };
  return { rows: rowsConv, depth, consts: { ...consts, ...windowConsts(p) } };
}

export interface Arithmetic extends Pick<VariantBase, 'inputs' | 'outputs'> {
  format: FormatName;
  /** Start of the names of its rows; default: the format. */
  name?: string;
  /** End of the names of its rows. */
  isa: string;
  /** WGSL extensions that its snippets enable, and features of the device that they need. */
  enables?: readonly string[];
  requires?: readonly string[];
  // biome-ignore lint/suspicious/noExplicitAny: each arithmetic knows the weights of its format
  layout: Layout<any>;
  /** Elements of one pixel of one group. */
  channels(p: MatmulProblem): number;
  /** Where rows of A lie, when not in pixels of so many channels. */
  rowSource?(p: MatmulProblem): RowSource;
  /** Elements that share a scale in each row of the weights: a multiple of 4; undefined: the sums need no scales. */
  span?(p: MatmulProblem): number | undefined;
  /**
   * WGSL that defines Element, Sum, activation, activation_quad, padding, load_weights, weight_quad, multiply_add, dot_add,
   * finish; and where there is a span Total, GroupQuad, row_zero, group_quad, add_quad, add_group.
   */
  snippets(p: MatmulProblem): string[];
  consts?(p: MatmulProblem): Consts;
  /** Dispatches that prepare the activations. */
  before?(p: MatmulProblem): Stage[];
  scratch?(p: MatmulProblem): Record<string, number>;
  /** Whether the arithmetic is for these weights of its format; default: for all. */
  supports?(p: MatmulProblem): true | string;
  /** Bytes that each row of W has in those operands that have rows; `bias` has 4. */
  rowBytes(p: MatmulProblem): Record<string, number>;
  /** Multiply-adds of weights and activations relative to dense f32. */
  rate: number | ((p: MatmulProblem) => number);
}

/** A way to walk over the problem. */
export interface Walk {
  name: string;
  source: string;
  /** WGSL for arithmetics with a span and without. */
  fold?: { grouped: string; plain: string };
  /** WGSL extensions that the source enables, and features of the device that it needs. */
  enables?: readonly string[];
  requires?: readonly string[];
  threads: number;
  /** @param spans how many spans a row of the weights has, where they have scales by group */
  consts(p: MatmulProblem, spans?: number): Consts;
  workgroups(p: MatmulProblem, spans?: number): number;
  /** Multiply-adds, with those of padding. */
  macs(p: MatmulProblem, spans?: number): number;
  /** How often the weights are read. */
  passes(p: MatmulProblem): number;
  /** Part of the device's rate that it reaches. */
  efficiency: number | ((device: Device) => number);
}

/**
 * @param per vectors of 4 rows of A and of W that a thread holds
 * @param side threads along M and N
 */
function gemmWalk(
  per: readonly [M: number, N: number],
  side: readonly [M: number, N: number],
  tileK: number,
  efficiency: Walk['efficiency'],
): Walk {
  const tileM = 4 * per[0] * side[0];
  const tileN = 4 * per[1] * side[1];
  const tilesM = (p: MatmulProblem) => Math.ceil(p.M / tileM);
  const tilesN = (p: MatmulProblem) => Math.ceil(p.N / tileN);
  const workgroups = (p: MatmulProblem) => tilesM(p) * tilesN(p) * p.groups;
  return {
    name: `gemm_${tileM}x${tileN}_k${tileK}`,
    source: gemm,
    fold: { grouped: foldGrouped, plain: foldPlain },
    threads: side[0] * side[1],
    consts: (p) => ({
      TILE_K: tileK,
      PER_M: per[0],
      PER_N: per[1],
      SIDE_M: side[0],
      SIDE_N: side[1],
      TILES_N: tilesN(p),
    }),
    workgroups,
    macs: (p) => workgroups(p) * tileM * tileN * p.K,
    passes: () => 1,
    efficiency,
  };
}

function gemvWalk(rows: 1 | 4, efficiency: number): Walk {
  const threads = 64;
  /** A lane takes a whole span: where there are few, fewer lanes share a row. */
  const lanesOf = (spans = 16) => (spans > 8 ? 16 : spans > 4 ? 8 : 4);
  const tilesN = (p: MatmulProblem, lanes: number) => Math.ceil((p.N * lanes) / threads);
  const tilesM = (p: MatmulProblem) => Math.ceil(p.M / rows);
  const workgroups = (p: MatmulProblem, spans?: number) => tilesM(p) * tilesN(p, lanesOf(spans)) * p.groups;
  return {
    name: `gemv_${rows}x4`,
    source: gemv,
    threads,
    consts(p, spans) {
      const lanes = lanesOf(spans);
      return { MR: rows, NR: threads / lanes, LANES: lanes, TILES_N: tilesN(p, lanes) };
    },
    workgroups,
    macs(p, spans) {
      const lanes = lanesOf(spans);
      const steps = spans ? Math.ceil(spans / lanes) * (p.K / spans) : Math.ceil(p.K / (4 * lanes)) * 4;
      return workgroups(p, spans) * rows * threads * steps;
    },
    passes: tilesM,
    efficiency,
  };
}

const SUBGROUP_THREADS = 64;

/** Rows of few, with sums that meet by subgroup: a workgroup takes 4 rows of W, which share the loads of A. */
const subgroupWalk: Walk = {
  name: 'gemv_1x4_sg',
  source: gemvSubgroup,
  enables: ['subgroups'],
  requires: ['subgroups', 'subgroup_id'],
  threads: SUBGROUP_THREADS,
  consts: (p) => ({ NR: 4, TILES_N: Math.ceil(p.N / 4) }),
  workgroups: (p) => p.M * Math.ceil(p.N / 4) * p.groups,
  macs(p, spans) {
    const steps = spans
      ? Math.ceil(spans / SUBGROUP_THREADS) * (p.K / spans)
      : Math.ceil(p.K / (4 * SUBGROUP_THREADS)) * 4;
    return p.M * Math.ceil(p.N / 4) * p.groups * 4 * SUBGROUP_THREADS * steps;
  },
  passes: (p) => p.M,
  efficiency: 0.15,
};

/** Outputs of a thread. */
const directPer = ({ output: { dtype } }: MatmulProblem): number => (dtype === 'uint8' || dtype === 'int8' ? 4 : 1);

const directWalk: Walk = {
  name: 'direct_1x1',
  source: direct,
  threads: 64,
  consts: (p) => ({ PER: directPer(p) }),
  workgroups: (p) => Math.ceil((p.M * p.N * p.groups) / 64 / directPer(p)),
  macs: (p) => p.M * p.N * p.groups * Math.ceil(p.K / 4) * 4,
  passes: () => 1,
  efficiency: 0.04,
};

/** Integrated GPUs of this kind have few registers a thread: smaller tiles suit them better than the others. */
const onIntel = (device: Device, there: number, elsewhere: number) => (/intel/i.test(device.label) ? there : elsewhere);

const gemm128x64 = gemmWalk([2, 2], [16, 8], 16, (device) => onIntel(device, 0.3, 0.75));
const gemm64x64 = gemmWalk([2, 2], [8, 8], 16, (device) => onIntel(device, 0.35, 0.7));
const gemm32x64 = gemmWalk([1, 2], [8, 8], 16, 0.5);
const gemm32x32 = gemmWalk([1, 1], [8, 8], 32, 0.4);
const gemv1 = gemvWalk(1, 0.12);
const gemv4 = gemvWalk(4, 0.2);

/** Every way to walk, largest tiles first. Of two that memory limits alike, the first is chosen. */
export const WALKS: readonly Walk[] = [
  gemm128x64,
  gemm64x64,
  gemm32x64,
  gemm32x32,
  subgroupWalk,
  gemv1,
  gemv4,
  directWalk,
];
export const MAIN_WALKS: readonly Walk[] = [gemm64x64, gemm32x32, gemv1, gemv4, directWalk];
/** For weights of few bits, which are read most often for one row of A. */
export const GEMV_WALKS: readonly Walk[] = [subgroupWalk, ...MAIN_WALKS];
/** For formats that multiply as one that has them all. */
export const SHARED_WALKS: readonly Walk[] = [subgroupWalk, gemm64x64, gemm32x32, gemv1, directWalk];
/** For fallbacks. */
export const FEW_WALKS: readonly Walk[] = [gemm32x32, gemv1, directWalk];
/** For fallbacks of those: they run every problem. */
export const LEAST_WALKS: readonly Walk[] = [gemm32x32, gemv1];

/** Bytes that any matmul reads and writes beside its weights. */
export function matmulBuffers(p: MatmulProblem): { input: number; output: number } {
  const bytesOf = (dtype: DType, shape: number[]) => byteLength(dtype, storedLength(dtype, shape));
  return {
    input: bytesOf(p.input.dtype, [pixelsOf(p), p.channels]),
    output: bytesOf(p.output.dtype, [p.M, p.N * p.groups]),
  };
}

const STORES: Record<DType, string> = {
  float32: storeF32,
  int32: storeI32,
  uint8: storeBytes,
  int8: storeBytes,
  bits: storeBits,
};

/** WGSL that defines Output, store and store_quad. */
export const storeOf = ({ output }: MatmulProblem): string => STORES[output.dtype];

/** Output channels that one dispatch computes, and what it binds of each operand that has rows: [offset, bytes]. */
interface Part {
  first: number;
  count: number;
  slices?: Record<string, [offset: number, bytes: number]>;
}

/**
 * The output channels in parts whose operands the device can bind: one where it can bind them whole. undefined: there
 * are none. Parts begin at multiples of 64 rows, so that every offset is a multiple of 256 bytes.
 */
function partsOf(p: MatmulProblem, device: Device, rowBytes: Record<string, number>): Part[] | undefined {
  const rows = p.groups * p.N;
  const sizes = { ...rowBytes, bias: 4 };
  const largest = Math.max(...Object.values(sizes));
  const { binding, buffer } = limitsOf(device);
  if (rows * largest <= Math.min(binding, buffer)) return [{ first: 0, count: rows }];
  const most = Math.floor(binding / largest / 64) * 64;
  if (p.groups > 1 || most === 0 || rows * largest > buffer) return undefined;
  return Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
    const first = i * most;
    const count = Math.min(most, rows - first);
    const slices = Object.entries(sizes).map(([name, bytes]) => [name, [first * bytes, count * bytes]]);
    return { first, count, slices: Object.fromEntries(slices) };
  });
}

/** The rows of one arithmetic. */
export const matmulRows = (arithmetic: Arithmetic, walks: readonly Walk[] = WALKS): MatmulVariant[] =>
  walks.map((walk) => matmulRow(arithmetic, walk));

/** The row of an arithmetic and a walk. */
export function matmulRow(arithmetic: Arithmetic, walk: Walk): MatmulVariant {
  const { format, name: prefix = format, isa, requires, inputs, outputs, layout, rate } = arithmetic;
  const sourceOf = (p: MatmulProblem) => arithmetic.rowSource?.(p) ?? rowSource(p, arithmetic.channels(p));
  const operandBytes = (p: MatmulProblem) =>
    p.groups * p.N * Object.values(arithmetic.rowBytes(p)).reduce((total, bytes) => total + bytes, 0);
  const spansOf = (p: MatmulProblem) => {
    const span = arithmetic.span?.(p);
    return span && Math.ceil(sourceOf(p).depth / span);
  };
  const name = `${prefix}_${walk.name}_${isa}`;
  return {
    name,
    ops: ['linear', 'conv2d'],
    format,
    requires: walk.requires ? [...walk.requires, ...(requires ?? [])] : requires,
    inputs,
    outputs,
    layout,
    supports(p, device) {
      const suits = arithmetic.supports?.(p) ?? true;
      if (suits !== true) return suits;
      if (!partsOf(p, device, arithmetic.rowBytes(p))) return fits(device, { weights: operandBytes(p) });
      return fits(device, { ...matmulBuffers(p), ...arithmetic.scratch?.(p) });
    },
    stages(p, device) {
      const { rows, depth, consts } = sourceOf(p);
      const span = arithmetic.span?.(p);
      const fold = walk.fold ? [span ? walk.fold.grouped : walk.fold.plain] : [];
      const sums = span ? fold : [sumsPlain, ...fold];
      const spans = spansOf(p);
      const parts = partsOf(p, device, arithmetic.rowBytes(p)) ?? [];
      return [
        ...(arithmetic.before?.(p) ?? []),
        ...parts.map(({ first, count, slices }): Stage => {
          const part = { ...p, N: count / p.groups };
          return {
            label: name,
            source: walk.source,
            enables: [...(walk.enables ?? []), ...(arithmetic.enables ?? [])],
            snippets: [...arithmetic.snippets(p), ...sums, rows, ...activationSnippets(p), storeOf(p)],
            consts: {
              OUTPUTS: p.groups * p.N,
              N: part.N,
              ...consts,
              QUADS: Math.ceil(depth / 4),
              GROUPED: span !== undefined,
              SPAN: span ?? 4,
              THREADS: walk.threads,
              ...walk.consts(part, spans),
              ...arithmetic.consts?.(p),
              ...activationConsts(p),
            },
            params: [p.M, first],
            slices,
            workgroups: walk.workgroups(part, spans),
          };
        }),
      ];
    },
    scratch: arithmetic.scratch,
    cost(p, device) {
      const { input, output } = matmulBuffers(p);
      const before = arithmetic.before?.(p).length ?? 0;
      const spans = spansOf(p);
      return predictMs(device, {
        macs: walk.macs(p, spans),
        efficiency:
          (typeof walk.efficiency === 'number' ? walk.efficiency : walk.efficiency(device)) *
          (typeof rate === 'number' ? rate : rate(p)),
        threads: walk.workgroups(p, spans) * walk.threads,
        bytes: input + output + operandBytes(p) * walk.passes(p) + (before > 0 ? input : 0),
        dispatches: before + 1,
      });
    },
  };
}
