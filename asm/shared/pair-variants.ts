import type { FormatName } from '../../src/formats/format.js';
import { inputSize, type MatmulProblem } from '../../src/plan/problem.js';
import type { Device, PackedOperands } from '../../src/plan/variant.js';
import {
  matmulParams,
  partsOf,
  predictMs,
  roundUp,
  row,
  rowBlockOf,
  type WasmLayout,
  type WasmStage,
} from '../../src/wasm/variant.js';
import {
  BYTE_INPUTS,
  BYTE_OUTPUTS,
  FEWEST_PANELS,
  forEachPanelRow,
  isDepthwise,
  outputs,
  panelCount,
  QUANTIZE,
  quantize,
  samplePartsOf,
} from './variants.js';
import { imageElements, imageSize, runsOf } from './windows-variants.js';

// What kernels on images of 16-bit integers (asm/shared/image.ts) have in common.

/** Values that one tile converts where images are the input as it lies: WIDEN_TILE in asm/shared/image.ts. */
const WIDEN_TILE = 4096;
/** Bytes of a Sample and of a Range in asm/int8/quantize.ts. */
const SAMPLE = 16;
const RANGE = 8;

/** True where images are the input as it lies. */
function asItLies(p: MatmulProblem, pixel: number): boolean {
  const { window: w } = p;
  const { width, height } = imageSize(p);
  const single = w.kernelHeight * w.kernelWidth * w.strideHeight * w.strideWidth === 1;
  return single && pixel === p.channels && width === w.inWidth && height === w.inHeight;
}

/**
 * The stages that make them.
 * @param pixelOf channels that a pixel has room for
 */
export function imageStages(pixelOf: (p: MatmulProblem) => number): WasmStage<MatmulProblem>[] {
  return [
    // Codes that arrive are read as they are, of either sign.
    ...quantize.map((stage) => ({
      export: stage.export,
      tiles: (p: MatmulProblem, device: Device) => (p.input.dtype === 'float32' ? stage.tiles(p, device) : 0),
    })),
    {
      export: 'widen_image',
      tiles: (p) =>
        asItLies(p, pixelOf(p))
          ? p.samples * Math.ceil(inputSize(p) / p.samples / WIDEN_TILE)
          : p.window.batch * imageSize(p).height,
    },
  ];
}

/** Scratch that they fill. */
export function imageBytes(p: MatmulProblem, device: Device, pixel: number): number {
  const codes = p.samples * (SAMPLE + samplePartsOf(p, device) * RANGE) + inputSize(p) + 128;
  return (p.input.dtype === 'float32' ? codes : 0) + roundUp(imageElements(p, pixel) * 2, 64) + 64;
}

/** Runs of taps, and the 16-bit pairs that one takes. */
function pairsOf(p: MatmulProblem): { runs: number; steps: number } {
  const { runs, length } = runsOf(p);
  return { runs, steps: Math.ceil(length / 2) };
}

/** Rows of the tile. */
const MR = 4;
/** Multiply-adds that cost as much as converting a value of the input, and as finishing an output. */
const WIDEN = 1;
const FINISH = 4;
/** The tile's speed over the dense f32 kernel's. */
const SPEED = { fused: 1.4, plain: 2.1 };

/** The row of a format of 8-bit weights for asm/shared/bytes/pairs.ts. */
export function pairsRow({ format, name, layout }: { format: FormatName; name: string; layout: WasmLayout<never> }) {
  const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, p.K * 2);
  const blocks = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
  const parts = (p: MatmulProblem, device: Device) => partsOf(device, blocks(p), Math.ceil(p.N / 8), FEWEST_PANELS);
  return row<MatmulProblem>({
    name: `${name}_gemm_${MR}x8_k2`,
    ops: ['linear', 'conv2d'],
    format,
    layout,
    inputs: BYTE_INPUTS,
    outputs: BYTE_OUTPUTS,
    requires: ['pairs'],
    stages: [
      ...imageStages((p) => p.channels),
      { export: 'int8_gemm_pairs', tiles: (p, device) => blocks(p) * parts(p, device) },
    ],
    clamp: (p) => p.clamp,
    params(p, device) {
      const { runs, steps } = pairsOf(p);
      return matmulParams(p, {
        panel: 8,
        rowBlock: rowBlock(p),
        parts: parts(p, device),
        sampleParts: samplePartsOf(p, device),
        steps,
        groupSteps: runs,
        chunk: p.channels,
        weightZeros: p.weights.symmetric === false ? 1 : 0,
      });
    },
    scratchBytes(p) {
      const { runs, steps } = pairsOf(p);
      return 256 + runs * 4 + rowBlock(p) * 8 + 64 + runs * steps * 32;
    },
    sharedBytes: (p, device) => imageBytes(p, device, p.channels),
    cost(p, device) {
      const { runs, steps } = pairsOf(p);
      const macs = roundUp(p.M, MR) * roundUp(p.N, 8) * runs * steps * 2 * p.groups;
      const speed = device.features.has('relaxed-simd') ? SPEED.fused : SPEED.plain;
      const image = inputSize(p) * (WIDEN + (p.input.dtype === 'float32' ? QUANTIZE : 0));
      const decoding = (blocks(p) / p.groups) * p.N * p.K * 2;
      return predictMs(device, macs / speed + image + decoding + outputs(p) * FINISH, 1, p.weights.bytes);
    },
  });
}

/** Weights as asm/shared/bytes/pairs.ts reads them. */
export function packPairs(
  p: MatmulProblem,
  codeOf: (r: number, k: number) => number,
  scaleOf: (r: number) => number,
  zeroOf: (r: number) => number,
): PackedOperands {
  const { runs, length } = runsOf(p);
  const steps = Math.ceil(length / 2);
  const count = panelCount(p);
  const panels = new Int8Array(count * runs * steps * 16);
  const scales = new Float32Array(count * 8);
  const zeros = new Int32Array(count * 8);
  forEachPanelRow(p, (r, panel, n) => {
    scales[panel * 8 + n] = scaleOf(r);
    zeros[panel * 8 + n] = zeroOf(r);
    for (let run = 0; run < runs; run++) {
      const base = (panel * runs + run) * steps * 16 + n * 2;
      // Past the end of a run stands a weight of 0.
      for (let i = 0; i < steps * 2; i++) {
        panels[base + (i >> 1) * 16 + (i & 1)] = i < length ? codeOf(r, run * length + i) : zeroOf(r);
      }
    }
  });
  return { panels, scales, zeros };
}

/** Lines of output a tile. */
const DEPTHWISE_OUTPUTS = 256;
/** Multiply-adds that cost as much as making eight channels' pairs of taps, and finishing an output. */
const INTERLEAVE = 4;

/** True for windows that asm/int8/depthwise.ts has a loop of its own for. */
const isSmall = ({ window: w }: MatmulProblem): boolean =>
  w.kernelHeight === 3 && w.kernelWidth === 3 && w.dilationHeight * w.dilationWidth === 1 && w.strideWidth <= 2;

const NOTHING = -1;

/** The taps of each pair, in the order of asm/int8/depthwise.ts. */
function tapPairsOf(p: MatmulProblem): number[] {
  if (!isSmall(p)) return Array.from({ length: roundUp(p.K, 2) }, (_, k) => (k < p.K ? k : NOTHING));
  const right = p.window.strideWidth === 2 ? [8, NOTHING] : [NOTHING, 8];
  return [0, 3, 1, 4, 2, 5, 6, 7, ...right];
}

/** The row of a format of 8-bit weights for asm/int8/depthwise.ts. */
export function depthwisePairsRow({ format, name, layout }: {
  format: FormatName;
  name: string;
  layout: WasmLayout<never>;
}) {
  const pixel = (p: MatmulProblem) => roundUp(p.channels, 8);
  const lines = ({ window: w }: MatmulProblem) => Math.ceil(DEPTHWISE_OUTPUTS / w.outWidth);
  return row<MatmulProblem>({
    name: `${name}_depthwise_1x8_k2`,
    ops: ['conv2d'],
    format,
    layout,
    inputs: BYTE_INPUTS,
    outputs: BYTE_OUTPUTS,
    supports: (p) => isDepthwise(p) || 'for depthwise convolutions with one output a channel',
    stages: [
      ...imageStages(pixel),
      { export: 'int8_depthwise', tiles: (p) => Math.ceil((p.window.batch * p.window.outHeight) / lines(p)) },
    ],
    clamp: (p) => p.clamp,
    params: (p, device) =>
      matmulParams(p, {
        panel: pixel(p),
        rowBlock: lines(p),
        sampleParts: samplePartsOf(p, device),
        steps: tapPairsOf(p).length / 2,
        chunk: pixel(p),
        weightZeros: p.weights.symmetric === false ? 1 : 0,
      }),
    scratchBytes: (p) => 256 + tapPairsOf(p).length * (4 + pixel(p) * 2),
    // Windows that move two columns read one pixel behind the last line.
    sharedBytes: (p, device) => imageBytes(p, device, pixel(p)) + pixel(p) * 2,
    cost(p, device) {
      const work = p.M * pixel(p) * (p.K + INTERLEAVE + FINISH);
      const image = inputSize(p) * (WIDEN + (p.input.dtype === 'float32' ? QUANTIZE : 0));
      return predictMs(device, work + image, 1, p.M * p.groups * 2);
    },
  });
}

/** Weights as asm/int8/depthwise.ts reads them. */
export function packTapPairs(
  p: MatmulProblem,
  codeOf: (r: number, k: number) => number,
  scaleOf: (r: number) => number,
  zeroOf: (r: number) => number,
): PackedOperands {
  const order = tapPairsOf(p);
  const padded = roundUp(p.groups, 8);
  const codes = new Int8Array(padded * order.length);
  const scales = new Float32Array(padded);
  const zeros = new Int32Array(padded);
  for (let r = 0; r < p.groups; r++) {
    scales[r] = scaleOf(r);
    zeros[r] = zeroOf(r);
    const base = (r >> 3) * order.length * 8 + (r & 7) * 2;
    for (const [i, tap] of order.entries()) {
      codes[base + (i >> 1) * 16 + (i & 1)] = tap === NOTHING ? zeroOf(r) : codeOf(r, tap);
    }
  }
  return { codes, scales, zeros };
}
