import type { FormatName } from '../../src/formats/format.js';
import { inputSize, type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Device, PackedOperands } from '../../src/plan/variant.js';
import {
  dotFlipOf,
  matmulParams,
  partsOf,
  predictMs,
  readsCodes,
  roundUp,
  row,
  rowBlockOf,
  type WasmLayout,
  type WasmVariant,
} from '../../src/wasm/variant.js';
import { imageElements, imageSize, isPadded, runsOf } from './windows-variants.js';

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

/** Finding a row's pixels under one tap, for one group of channels, costs as much as this many multiply-adds. */
const GATHER = 100;

const gathering = (p: MatmulProblem) => p.M * p.groups * tapsOf(p) * GATHER;

/** Finishing an output, at the end of a tile and of a product of one row, costs as much as this many multiply-adds. */
const FINISH_TILE = 3;
const FINISH_ROW = 10;
/** The same where sums of integers become f32. */
const FINISH_SUM = 40;
/** Packing a value of A as pairs of integers. */
const PACK_BYTE = 6;

export const outputs = (p: MatmulProblem) => p.M * p.N * p.groups;

/**
 * Bytes between windows from which rows of A are packed, where there are panels enough to walk them: 128x3072x256 takes 1.6 x
 * as long where they lie, and from here on no shape was slower packed.
 */
const FAR_BYTES = 3000;

const packsRows = (p: MatmulProblem): boolean => p.channels * p.window.strideWidth * 4 >= FAR_BYTES && p.N >= 64;

/** Panels of 8 channels for which a thread packs rows of A of its own. */
export const FEWEST_PANELS = 8;

/** The rows of a format whose weights become f32 panels. */
export function panelRows({ format, name, layout, supports, decode = 0 }: PanelFormat): WasmVariant[] {
  const common = { ops: ['linear', 'conv2d'], format, layout, supports, clamp: (p: MatmulProblem) => p.clamp } as const;
  const decodes = (p: MatmulProblem) => p.N * p.K * p.groups * decode;

  const gemm = (MR: 6 | 4, requires: string) => {
    // Where decoding is dear it pays to pack more rows, though fewer other things stay in L2.
    const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, p.K * 4, (decode > 2 ? 512 : 512) * 1024);
    const blocks = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
    const parts = (p: MatmulProblem, device: Device) => partsOf(device, blocks(p), Math.ceil(p.N / 8), FEWEST_PANELS);
    return row<MatmulProblem>({
      ...common,
      name: `${name}_gemm_${MR}x8`,
      requires: [requires],
      stages: [
        { export: 'pad_image', tiles: (p) => (isPadded(p) ? p.window.batch * imageSize(p).height : 0) },
        { export: `${name}_gemm`, tiles: (p, device) => blocks(p) * parts(p, device) },
      ],
      params: (p, device) =>
        matmulParams(p, {
          panel: 8,
          rowBlock: rowBlock(p),
          parts: parts(p, device),
          groupSteps: runsOf(p).runs,
          chunk: isPadded(p) ? 1 : 0,
          steps: packsRows(p) ? 1 : 0,
        }),
      scratchBytes: (p) =>
        320 + (runsOf(p).runs * (1 + MR) + rowBlock(p)) * 4 + p.K * 32 + (packsRows(p) ? rowBlock(p) * p.K * 4 : 0),
      sharedBytes: (p) => (isPadded(p) ? imageElements(p, p.channels) * 4 : 0),
      cost(p, device) {
        const macs = roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups;
        const image = (isPadded(p) ? inputSize(p) : 0) + (packsRows(p) ? p.M * p.K : 0);
        const work = macs + (decodes(p) * blocks(p)) / p.groups + image + outputs(p) * FINISH_TILE;
        return predictMs(device, work, 0.9, p.weights.bytes);
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
      scratchBytes: (p) => 32 + tapsOf(p) * 4 + 64 + p.K * 4 + 64 + 128 * 32 + 128,
      cost(p, device) {
        const macs = p.M * roundUp(p.N, 8) * p.K * p.groups;
        // Decoded in registers, not stored.
        const lookUps = (decodes(p) / (decode || 1)) * Math.max(decode - 1, 0);
        const work = macs + lookUps * p.M + gathering(p) + outputs(p) * FINISH_ROW;
        return predictMs(device, work, 0.6, p.weights.bytes, p.M);
      },
    }),
  ];
}

/** What a format adds to the kernels of asm/shared/bytes/: where its panels of signed bytes come from. */
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
  /** False: for 8-bit weights without a byte dot there is a row of asm/shared/bytes/pairs.ts. */
  pairsGemm?: boolean;
}

/** What kernels of 8-bit arithmetic read and write. */
export const BYTE_INPUTS = ['float32', 'uint8', 'int8'] as const;
export const BYTE_OUTPUTS = ['float32', 'int32', 'uint8', 'int8'] as const;
/** Quantising a value of the input costs about as much as this many multiply-adds. */
export const QUANTIZE = 9;
/** Values that one tile quantises where the quantisation is given: GIVEN_TILE in asm/int8/quantize.ts. */
const GIVEN_TILE = 4096;
/** Bytes of RowFacts, Sample and Range in asm/. */
const FACTS = 16;
const SAMPLE = 16;
const RANGE = 8;

/** Values of a sample that are worth a tile of their own. */
const SAMPLE_PART = 16384;

/** Parts that a sample is quantised in by what it holds: more than one where samples are too few for the threads. */
export function samplePartsOf(p: MatmulProblem, { threads = 1 }: Device): number {
  if (threads === 1 || p.input.quantization || p.samples === 0) return 1;
  const worth = Math.floor(inputSize(p) / p.samples / SAMPLE_PART);
  return Math.max(Math.min(worth, Math.ceil((4 * threads) / p.samples)), 1);
}

/** The stages that make 8-bit codes of the input; codes that are read where they lie need none. */
export const quantize = [
  {
    export: 'int8_ranges',
    tiles(p: MatmulProblem, device: Device) {
      const parts = samplePartsOf(p, device);
      return parts === 1 ? 0 : p.samples * parts;
    },
  },
  {
    export: 'int8_quantize',
    tiles(p: MatmulProblem, device: Device) {
      if (readsCodes(p, dotFlipOf(device))) return 0;
      return p.input.quantization ? Math.ceil(inputSize(p) / GIVEN_TILE) : p.samples * samplePartsOf(p, device);
    },
  },
];

/** Scratch that they fill. */
export function codesBytes(p: MatmulProblem, device: Device): number {
  if (readsCodes(p, dotFlipOf(device))) return 0;
  const parts = samplePartsOf(p, device);
  return p.samples * (SAMPLE + (parts === 1 ? 0 : parts * RANGE)) + inputSize(p) + 64;
}

/** The kernels a byte format has on the modules, and their speed over the dense f32 kernel's. */
const BYTE_KERNELS = {
  dot: { MR: 6, isa: 'k4_dot', requires: 'fast-dot', pairs: false, gemm: 3.7, gemv: 2.1 },
  maddubs: { MR: 4, isa: 'k4_maddubs', requires: 'maddubs', pairs: false, gemm: 3.1, gemv: 1.25 },
  pairs: { MR: 4, isa: 'k2', requires: 'pairs', pairs: true, gemm: 1.75, gemv: 0.97 },
  plainPairs: { MR: 4, isa: 'k2', requires: 'plain-simd', pairs: true, gemm: 2.1, gemv: 1.07 },
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
  const packed = (p: MatmulProblem) => inputSize(p) * QUANTIZE + p.M * p.K * p.groups * PACK_BYTE;
  const macs = (p: MatmulProblem, MR: number) => roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups;
  const params = (p: MatmulProblem, device: Device, rowBlock: number, parts = 1) =>
    matmulParams(p, {
      panel: 8,
      rowBlock,
      parts,
      dotFlip: dotFlipOf(device),
      sampleParts: samplePartsOf(p, device),
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
    inputs: BYTE_INPUTS,
    outputs: BYTE_OUTPUTS,
    supports: f.supports,
    clamp: (p: MatmulProblem) => p.clamp,
    sharedBytes: codesBytes,
  } as const;
  return kernels.flatMap((kernel) => {
    const { MR, isa, requires, pairs, ...speed } = BYTE_KERNELS[kernel];
    const stepBytes = pairs ? 8 : 4;
    const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, steps(p) * stepBytes);
    const blocks = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
    const parts = (p: MatmulProblem, device: Device) => partsOf(device, blocks(p), Math.ceil(p.N / 8), FEWEST_PANELS);
    const flat = (p: MatmulProblem) => steps(p) * stepBytes + 64;
    const sumBytes = (p: MatmulProblem) => 4 * scaleGroups(p);
    const rows = [
      row<MatmulProblem>({
        ...common,
        name: `${f.name}_gemm_${MR}x8_${isa}`,
        requires: [requires],
        stages: [...quantize, { export: `${exported}_gemm`, tiles: (p, device) => blocks(p) * parts(p, device) }],
        params: (p, device) => params(p, device, rowBlock(p), parts(p, device)),
        scratchBytes: (p) =>
          MR * (tapsOf(p) * 4 + 4 + flat(p) + 64) +
          rowBlock(p) * (FACTS + steps(p) * stepBytes + sumBytes(p)) +
          steps(p) * 96 +
          512,
        cost(p, device) {
          const work = (macs(p, MR) * (1 + 2 / groupSteps(p))) / speed.gemm + packed(p);
          const ends = gathering(p) + outputs(p) * FINISH_SUM;
          // Pairs of 16-bit integers are one more pass over the panel.
          const decoding = (blocks(p) / p.groups) * p.N * p.K * (decode + (pairs ? 2 : 0));
          return predictMs(device, work + decoding + ends, 1, p.weights.bytes);
        },
      }),
      row<MatmulProblem>({
        ...common,
        name: `${f.name}_gemv_1x8_${isa}`,
        requires: [requires],
        supports: (p) => (p.M <= 64 ? (f.supports?.(p) ?? true) : 'M is over 64'),
        stages: [...quantize, { export: `${exported}_gemv`, tiles: (p) => p.groups * Math.ceil(p.N / 8) }],
        params: (p, device) => params(p, device, 0),
        scratchBytes: (p) =>
          tapsOf(p) * 4 + p.M * (FACTS + 32 + flat(p) + steps(p) + 128 + sumBytes(p)) + 128 * 32 + 512,
        cost(p, device) {
          const products = (p.M * p.N * p.K * p.groups * (1 + 2 / groupSteps(p))) / speed.gemv;
          // Module B decodes in registers.
          const decoding = device.features.has('maddubs') ? 0 : p.groups * p.N * p.K * decode;
          const work = products + inputSize(p) * QUANTIZE + decoding + gathering(p) + outputs(p) * FINISH_SUM;
          return predictMs(device, work, 1, p.weights.bytes);
        },
      }),
    ];
    return kernel === 'pairs' && f.pairsGemm === false ? rows.slice(1) : rows;
  });
}

/** What a format adds to the kernels of asm/shared/depthwise.ts. */
export interface DepthwiseFormat {
  format: FormatName;
  /** The row is `<name>_depthwise_4x8`. */
  name: string;
  export: 'dense_depthwise' | 'f16_depthwise' | 'codes_depthwise' | 'codebook_depthwise';
  layout: WasmLayout<never>;
  supports?: (p: MatmulProblem) => true | string;
  /** Bits of a code; absent: weights are f32. */
  bits?: number;
}

export const isDepthwise = (p: MatmulProblem): boolean => p.op === 'conv2d' && p.N === 1 && p.groups === p.channels;

/** One output a channel: sums of integers stay below 2^24 up to this many taps. */
const MOST_TAPS = 256;

/** The row of a format for depthwise convolutions. */
export function depthwiseRow({ format, name, export: exported, layout, supports, bits = 0 }: DepthwiseFormat) {
  const scaled = exported === 'codes_depthwise';
  const paddedN = (p: MatmulProblem) => roundUp(p.groups, bits ? 8 : 4);
  // Lines of output a tile: weights are decoded, and lines of input centred, once a tile.
  const lines = ({ window: w }: MatmulProblem) => Math.max(bits ? 16 : 1, Math.ceil((bits ? 256 : 64) / w.outWidth));
  const tiles = (p: MatmulProblem) => Math.ceil((p.window.batch * p.window.outHeight) / lines(p));
  const reach = ({ window: w }: MatmulProblem) => (w.kernelHeight - 1) * w.dilationHeight + 1;
  const columns = ({ window: w }: MatmulProblem) =>
    (w.outWidth - 1) * w.strideWidth + (w.kernelWidth - 1) * w.dilationWidth + 1;
  // A line's pixels that are a power of two apart share few sets of L1: copied, they are an odd number of cache lines apart.
  const pixelBytes = (p: MatmulProblem) =>
    scaled || (p.channels % 256 === 0 && p.window.inWidth > 4) ? (Math.ceil(p.channels / 16) | 1) * 64 : 0;
  return row<MatmulProblem>({
    name: `${name}_depthwise_4x8`,
    ops: ['conv2d'],
    format,
    layout,
    ...(scaled && { inputs: BYTE_INPUTS, outputs: BYTE_OUTPUTS }),
    supports(p) {
      if (!isDepthwise(p)) return 'for depthwise convolutions with one output a channel';
      if (scaled && p.K > MOST_TAPS) return `for at most ${MOST_TAPS} taps`;
      return supports?.(p) ?? true;
    },
    stages: [...(scaled ? quantize : []), { export: exported, tiles }],
    clamp: (p) => p.clamp,
    params: (p, device) =>
      matmulParams(p, {
        panel: paddedN(p),
        rowBlock: lines(p),
        dotFlip: scaled ? dotFlipOf(device) : 0,
        sampleParts: scaled ? samplePartsOf(p, device) : 1,
        steps: bits,
        chunk: pixelBytes(p),
      }),
    scratchBytes: (p) =>
      384 +
      tapsOf(p) * 16 +
      p.window.kernelHeight * columns(p) * 4 +
      (p.K + 1) * paddedN(p) * 4 +
      (p.output.dtype === 'float32' ? 0 : (p.window.outWidth * (p.channels + 8) + 48) * 4) +
      reach(p) * p.window.inWidth * pixelBytes(p),
    sharedBytes: (p, device) => (scaled ? codesBytes(p, device) : 0),
    cost(p, device) {
      const work = p.M * p.groups * (p.K + 4) + (scaled ? inputSize(p) * QUANTIZE : 0);
      return predictMs(device, work, scaled ? 0.54 : 0.4, p.M * p.groups * 8);
    },
  });
}

/**
 * Weights of depthwise convolutions as codes, as asm/shared/depthwise.ts reads them: [taps][channels rounded up to 8] of
 * `bits` bits; scales and zero points f32 [channels rounded up to 8]; what the codes mean f32 [1 << bits], or nothing
 * where bytes are signed weights.
 */
export function packTaps(
  p: MatmulProblem,
  bits: 1 | 2 | 4 | 8,
  codeOf: (r: number, k: number) => number,
  scaleOf: (r: number) => number,
  zeroOf: (r: number) => number,
  values?: ArrayLike<number>,
): PackedOperands {
  const paddedN = roundUp(p.groups, 8);
  const codes = new Uint8Array((p.K * paddedN * bits) / 8);
  const scales = new Float32Array(paddedN);
  const zeros = new Float32Array(paddedN);
  for (let r = 0; r < p.groups; r++) {
    scales[r] = scaleOf(r);
    zeros[r] = zeroOf(r);
    for (let k = 0; k < p.K; k++) {
      const bit = (k * paddedN + r) * bits;
      codes[bit >> 3] |= (codeOf(r, k) & ((1 << bits) - 1)) << (bit & 7);
    }
  }
  return values ? { codes, scales, zeros, values: Float32Array.from(values) } : { codes, scales, zeros };
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
