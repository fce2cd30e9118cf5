import type { FormatName } from '../../src/formats/format.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import type { Consts, Stage, WebgpuVariant } from '../../src/webgpu/variant.js';
import { activationConsts, activationSnippets } from './activation.js';
import { fits, predictMs, windowConsts } from './cost.js';
import direct from './direct.wgsl';
import gemm from './gemm.wgsl';
import gemv from './gemv.wgsl';
import rowsConv from './rows_conv.wgsl';
import rowsLinear from './rows_linear.wgsl';

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

/** Where rows of A lie when a pixel holds `channels` elements of each group. */
export function rowSource(p: MatmulProblem, channels: number): { rows: string; consts: Consts } {
  const consts = {
    GROUPS: p.groups,
    CHANNELS: channels,
    DEPTH: tapsOf(p) * channels,
    ALIGNED: channels % 4 === 0,
  };
  if (isPointwise(p)) return { rows: rowsLinear, consts };
  return { rows: rowsConv, consts: { ...consts, ...windowConsts(p) } };
}

export interface Arithmetic {
  format: FormatName;
  /** End of the names of its rows. */
  isa: string;
  requires?: readonly string[];
  // biome-ignore lint/suspicious/noExplicitAny: each arithmetic knows the weights of its format
  layout: Layout<any>;
  /** Elements of one pixel of one group. */
  channels(p: MatmulProblem): number;
  /** WGSL that defines Element, Sum, activation, activation_quad, padding, load_weights, weight_quad, multiply_add, dot_add, finish. */
  snippets(p: MatmulProblem): string[];
  consts?(p: MatmulProblem): Consts;
  /** Dispatches that prepare the activations. */
  before?(p: MatmulProblem): Stage[];
  scratch?(p: MatmulProblem): Record<string, number>;
  /** Whether the arithmetic is for these weights of its format; default: for all. */
  supports?(p: MatmulProblem): true | string;
  /** Bytes of the largest operand. */
  operandBytes(p: MatmulProblem): number;
  /** Multiply-adds of weights and activations relative to dense f32. */
  rate: number;
}

/** A way to walk over the problem. */
interface Walk {
  name: string;
  source: string;
  threads: number;
  consts(p: MatmulProblem): Consts;
  workgroups(p: MatmulProblem): number;
  /** Multiply-adds, with those of padding. */
  macs(p: MatmulProblem): number;
  /** How often the weights are read. */
  passes(p: MatmulProblem): number;
  efficiency: number;
}

/** @param per vectors of 4 rows a thread holds: 2 makes tiles of 64 x 64, 1 of 32 x 32 */
function gemmWalk(per: 1 | 2, efficiency: number): Walk {
  const tile = 32 * per;
  const tileK = 1024 / tile;
  const tilesM = (p: MatmulProblem) => Math.ceil(p.M / tile);
  const tilesN = (p: MatmulProblem) => Math.ceil(p.N / tile);
  const workgroups = (p: MatmulProblem) => tilesM(p) * tilesN(p) * p.groups;
  return {
    name: `gemm_${tile}x${tile}_k${tileK}`,
    source: gemm,
    threads: 64,
    consts: (p) => ({ TILE: tile, TILE_K: tileK, PER: per, SIDE: 8, TILES_N: tilesN(p) }),
    workgroups,
    macs: (p) => workgroups(p) * tile * tile * p.K,
    passes: () => 1,
    efficiency,
  };
}

function gemvWalk(rows: 1 | 4, efficiency: number): Walk {
  const lanes = 16;
  const tilesN = (p: MatmulProblem) => Math.ceil(p.N / 4);
  const tilesM = (p: MatmulProblem) => Math.ceil(p.M / rows);
  const workgroups = (p: MatmulProblem) => tilesM(p) * tilesN(p) * p.groups;
  return {
    name: `gemv_${rows}x4`,
    source: gemv,
    threads: 4 * lanes,
    consts: (p) => ({ MR: rows, NR: 4, LANES: lanes, TILES_N: tilesN(p) }),
    workgroups,
    macs: (p) => workgroups(p) * rows * 4 * Math.ceil(p.K / (4 * lanes)) * 4 * lanes,
    passes: tilesM,
    efficiency,
  };
}

const directWalk: Walk = {
  name: 'direct_1x1',
  source: direct,
  threads: 64,
  consts: () => ({}),
  workgroups: (p) => Math.ceil((p.M * p.N * p.groups) / 64),
  macs: (p) => p.M * p.N * p.groups * Math.ceil(p.K / 4) * 4,
  passes: () => 1,
  efficiency: 0.04,
};

/** Every way to walk, largest tiles first. */
export const WALKS: readonly Walk[] = [
  gemmWalk(2, 0.7),
  gemmWalk(1, 0.4),
  gemvWalk(1, 0.12),
  gemvWalk(4, 0.2),
  directWalk,
];
/** For arithmetics that are a fallback. */
export const FEW_WALKS: readonly Walk[] = [gemmWalk(1, 0.4), gemvWalk(1, 0.12), directWalk];

/** Bytes that any matmul reads and writes beside its weights. */
export function matmulBuffers(p: MatmulProblem): { input: number; output: number } {
  return { input: 4 * pixelsOf(p) * p.channels, output: 4 * p.M * p.N * p.groups };
}

/** The rows of one arithmetic. */
export function matmulRows(arithmetic: Arithmetic, walks: readonly Walk[] = WALKS): MatmulVariant[] {
  const { format, isa, requires, layout } = arithmetic;
  return walks.map((walk): MatmulVariant => {
    const name = `${format}_${walk.name}_${isa}`;
    return {
      name,
      ops: ['linear', 'conv2d'],
      format,
      requires,
      layout,
      supports(p, device) {
        const suits = arithmetic.supports?.(p) ?? true;
        if (suits !== true) return suits;
        return fits(device, { ...matmulBuffers(p), weights: arithmetic.operandBytes(p), ...arithmetic.scratch?.(p) });
      },
      stages(p) {
        const { rows, consts } = rowSource(p, arithmetic.channels(p));
        return [
          ...(arithmetic.before?.(p) ?? []),
          {
            label: name,
            source: walk.source,
            snippets: [...arithmetic.snippets(p), rows, ...activationSnippets(p)],
            consts: {
              N: p.N,
              ...consts,
              QUADS: Math.ceil((tapsOf(p) * arithmetic.channels(p)) / 4),
              THREADS: walk.threads,
              ...walk.consts(p),
              ...arithmetic.consts?.(p),
              ...activationConsts(p),
            },
            params: [p.M],
            workgroups: walk.workgroups(p),
          },
        ];
      },
      scratch: arithmetic.scratch,
      cost(p, device) {
        const { input, output } = matmulBuffers(p);
        const before = arithmetic.before?.(p).length ?? 0;
        return predictMs(device, {
          macs: walk.macs(p),
          efficiency: walk.efficiency * arithmetic.rate,
          threads: walk.workgroups(p) * walk.threads,
          bytes: input + output + arithmetic.operandBytes(p) * walk.passes(p) + (before > 0 ? input : 0),
          dispatches: before + 1,
        });
      },
    };
  });
}
