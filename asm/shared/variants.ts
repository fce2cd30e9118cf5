import type { FormatName } from '../../src/formats/format.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Device } from '../../src/plan/variant.js';
import {
  inputSize,
  matmulParams,
  predictMs,
  roundUp,
  row,
  rowBlockOf,
  type WasmLayout,
  type WasmVariant,
} from '../../src/wasm/variant.js';

/** What a format adds to the kernels of asm/shared/gemm_f32.ts: where its f32 panels of 8 channels come from. */
export interface PanelFormat {
  format: FormatName;
  /** Rows are `<name>_gemm_6x8`, `<name>_gemm_4x8`, `<name>_gemv_1x8`; exports `<name>_gemm` and `<name>_gemv`. */
  name: string;
  layout: WasmLayout<never>;
  supports?: (p: MatmulProblem) => true | string;
  /** Multiply-adds that decoding one weight costs as much as; absent: the panels are read as they are. */
  decode?: number;
}

/** The rows of a format whose weights become f32 panels. */
export function panelRows({ format, name, layout, supports, decode = 0 }: PanelFormat): WasmVariant[] {
  const common = { ops: ['linear', 'conv2d'], format, layout, supports, clamp: (p: MatmulProblem) => p.clamp } as const;
  const decodes = (p: MatmulProblem) => p.N * p.K * p.groups * decode;

  const gemm = (MR: 6 | 4, requires: string) => {
    const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, p.K * 4);
    const tiles = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
    return row<MatmulProblem>({
      ...common,
      name: `${name}_gemm_${MR}x8`,
      requires: [requires],
      stages: [{ export: `${name}_gemm`, tiles }],
      params: (p) => matmulParams(p, { panel: 8, rowBlock: rowBlock(p) }),
      scratchBytes: (p) => tapsOf(p) * MR * 4 + 64 + rowBlock(p) * p.K * 4 + p.K * 32 + 128,
      cost(p, device) {
        const macs = roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups;
        return predictMs(device, macs + (decodes(p) * tiles(p)) / p.groups, 0.9, p.weights.bytes);
      },
    });
  };

  return [
    gemm(6, 'relaxed-simd'),
    gemm(4, 'plain-simd'),
    row<MatmulProblem>({
      ...common,
      name: `${name}_gemv_1x8`,
      stages: [{ export: `${name}_gemv`, tiles: (p) => p.groups * Math.ceil(p.N / 8) }],
      params: (p) => matmulParams(p, { panel: 8 }),
      scratchBytes: (p) => tapsOf(p) * 4 + 64 + p.K * 4 + 64 + p.K * 32 + 128,
      cost(p, device) {
        const macs = p.M * roundUp(p.N, 8) * p.K * p.groups;
        return predictMs(device, macs + decodes(p) * p.M, 0.6, p.M * p.weights.bytes);
      },
    }),
  ];
}

/** What a format adds to the kernels of asm/shared/gemm_i8.ts: where its panels of signed bytes come from. */
export interface ByteFormat {
  format: FormatName;
  /** Rows are `<name>_gemm_...` and `<name>_gemv_...`; exports `<export>_gemm` and `<export>_gemv`. */
  name: string;
  export?: string;
  layout: WasmLayout<never>;
  supports?: (p: MatmulProblem) => true | string;
  /**
   * Largest |weight|. Up to 16, module B sums 16-bit products of bytes; for all 8 bits (128) it multiplies pairs of
   * 16-bit integers.
   */
  largest: number | ((p: MatmulProblem) => number);
  /** Steps of 4 along K, and how many of them share a scale; default: ceil(K / 4), all. */
  steps?: (p: MatmulProblem) => number;
  groupSteps?: (p: MatmulProblem) => number;
  /** Code of a weight of 0, where the codes are unsigned and all rows have the same. */
  zeroCode?: number;
  /** Bytes that a weight is decoded to, for its cost: 0 when the layout is the panel itself. */
  decode?: number;
}

/** Quantising a value of the input costs about as much as this many multiply-adds. */
const QUANTIZE = 6;
/** Bytes of RowFacts and Sample in asm/. */
const FACTS = 16;
const SAMPLE = 16;

/** The kernels a byte format has on the modules, and their speed over the dense f32 kernel's. */
const BYTE_KERNELS = {
  dot: { MR: 6, isa: 'k4_dot', requires: 'fast-dot', pairs: false, gemm: 3.4, gemv: 2 },
  maddubs: { MR: 4, isa: 'k4_maddubs', requires: 'maddubs', pairs: false, gemm: 2.6, gemv: 1.2 },
  pairs: { MR: 4, isa: 'k2', requires: 'pairs', pairs: true, gemm: 1.5, gemv: 0.9 },
  plainPairs: { MR: 4, isa: 'k2', requires: 'plain-simd', pairs: true, gemm: 1.9, gemv: 1 },
} as const;

/** Steps of 4 along K that maddubs may add up in 16 bits: |code| <= 255 times |weight|, twice, a step. */
export function byteChunk(largest: number): number {
  const steps = Math.max(Math.floor(32767 / (2 * 255 * largest)), 1);
  // Low-bit formats have whole vectors of 4 steps.
  return steps < 4 ? steps : steps & ~3;
}

/** The rows of a format whose weights become panels of signed bytes. */
export function byteRows(f: ByteFormat): WasmVariant[] {
  const exported = f.export ?? f.name;
  const decode = f.decode ?? 0;
  const steps = f.steps ?? ((p) => Math.ceil(p.K / 4));
  const groupSteps = f.groupSteps ?? steps;
  const scaleGroups = (p: MatmulProblem) => Math.ceil(steps(p) / groupSteps(p));
  const { largest } = f;
  const largestOf = typeof largest === 'number' ? () => largest : largest;
  const kernels = largest === 128 ? (['dot', 'pairs'] as const) : (['dot', 'maddubs', 'plainPairs'] as const);
  const quantize = { export: 'int8_quantize', tiles: (p: MatmulProblem) => p.samples };
  const macs = (p: MatmulProblem, MR: number) => roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups;
  const params = (p: MatmulProblem, device: Device, rowBlock: number) =>
    matmulParams(p, {
      panel: 8,
      rowBlock,
      dotFlip: device.features.has('sdot') ? 128 : 0,
      steps: steps(p),
      groupSteps: groupSteps(p),
      scaleGroups: scaleGroups(p),
      chunk: byteChunk(largestOf(p)),
      weightZeros: p.weights.symmetric === false ? 1 : 0,
      zeroCode: f.zeroCode,
    });
  const common = {
    ops: ['linear', 'conv2d'],
    format: f.format,
    layout: f.layout,
    supports: f.supports,
    clamp: (p: MatmulProblem) => p.clamp,
    sharedBytes: (p: MatmulProblem) => p.samples * SAMPLE + inputSize(p) + 64,
  } as const;
  return kernels.flatMap((kernel) => {
    const { MR, isa, requires, pairs, ...speed } = BYTE_KERNELS[kernel];
    const stepBytes = pairs ? 8 : 4;
    const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, steps(p) * stepBytes);
    const tiles = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
    const flat = (p: MatmulProblem) => steps(p) * stepBytes + 64;
    return [
      row<MatmulProblem>({
        ...common,
        name: `${f.name}_gemm_${MR}x8_${isa}`,
        requires: [requires],
        stages: [quantize, { export: `${exported}_gemm`, tiles }],
        params: (p, device) => params(p, device, rowBlock(p)),
        scratchBytes: (p) =>
          MR * (tapsOf(p) * 4 + 4 + flat(p) + 64) + rowBlock(p) * (FACTS + steps(p) * stepBytes) + steps(p) * 96 + 512,
        cost(p, device) {
          const work = (macs(p, MR) * (1 + 2 / groupSteps(p))) / speed.gemm + inputSize(p) * QUANTIZE;
          return predictMs(device, work + (tiles(p) / p.groups) * p.N * p.K * decode, 1, p.weights.bytes);
        },
      }),
      row<MatmulProblem>({
        ...common,
        name: `${f.name}_gemv_1x8_${isa}`,
        requires: [requires],
        supports: (p) => (p.M <= 64 ? (f.supports?.(p) ?? true) : 'M is over 64'),
        stages: [quantize, { export: `${exported}_gemv`, tiles: (p) => p.groups * Math.ceil(p.N / 8) }],
        params: (p, device) => params(p, device, 0),
        scratchBytes: (p) => tapsOf(p) * 4 + p.M * (FACTS + 32 + flat(p) + steps(p) + 128) + 128 * 32 + 512,
        cost(p, device) {
          const work = (p.M * p.N * p.K * p.groups) / speed.gemv + inputSize(p) * QUANTIZE;
          return predictMs(device, work + p.groups * p.N * p.K * decode, 1, p.weights.bytes);
        },
      }),
    ];
  });
}

/** Calls `put` for each weight k of each row of a panel layout: panel of 8 channels, channel in it. */
export function forEachPanelRow(p: MatmulProblem, put: (row: number, panel: number, channel: number) => void): void {
  const panels = Math.ceil(p.N / 8);
  for (let r = 0; r < p.groups * p.N; r++) {
    const n = r % p.N;
    put(r, Math.floor(r / p.N) * panels + (n >> 3), n & 7);
  }
}

/** Panels of 8 channels of all groups. */
export const panelCount = (p: MatmulProblem): number => p.groups * Math.ceil(p.N / 8);
