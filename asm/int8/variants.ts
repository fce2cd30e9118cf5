import type { Int8Weights } from '../../src/formats/int8.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Device } from '../../src/plan/variant.js';
import { matmulParams, predictMs, roundUp, row, rowBlockOf, tapsOf, type WasmLayout } from '../../src/wasm/variant.js';

/** int8 panels [groups * paddedN / 8][ceil(K / depth)][8][depth]; scales and zero points [groups * paddedN]. */
const panelsInt8 = (depth: 2 | 4): WasmLayout<Int8Weights> => ({
  name: `KN_n8k${depth}_i8`,
  panel: 8,
  pack({ codes, scale, zeroPoint }, p) {
    const { N, K, groups } = p;
    const panels = Math.ceil(N / 8);
    const steps = Math.ceil(K / depth);
    const out = new Int8Array(groups * panels * steps * 8 * depth);
    const scales = new Float32Array(groups * panels * 8);
    const zeros = new Int32Array(groups * panels * 8);
    const sums = new Int32Array(groups * panels * 8);
    for (let r = 0; r < groups * N; r++) {
      const n = r % N;
      const panel = Math.floor(r / N) * panels + (n >> 3);
      const channel = panel * 8 + (n & 7);
      const base = panel * steps * 8 * depth + (n & 7) * depth;
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const code = codes[r * K + k];
        sum += code;
        out[base + Math.floor(k / depth) * 8 * depth + (k % depth)] = code;
      }
      scales[channel] = scale[scale.length === 1 ? 0 : r];
      if (zeroPoint) zeros[channel] = zeroPoint[zeroPoint.length === 1 ? 0 : r];
      sums[channel] = sum;
    }
    return { panels: out, scales, zeros, sums };
  },
});

/** Largest K whose int32 sums cannot overflow: each product is at most 255 * 255. */
const LARGEST_K = Math.floor((2 ** 31 - 1) / (255 * 255));
const supports = (p: MatmulProblem): true | string => p.K <= LARGEST_K || `K is over ${LARGEST_K}: int32 may overflow`;

const quantize = { export: 'int8_quantize', tiles: (p: MatmulProblem) => p.samples };
const inputSize = (p: MatmulProblem) => p.window.batch * p.window.inHeight * p.window.inWidth * p.channels;
const sharedBytes = (p: MatmulProblem) => p.samples * 16 + inputSize(p) + 64;
const dotFlip = (device: Device) => (device.features.has('sdot') ? 128 : 0);
/** Quantising a value costs about as much as this many multiply-adds. */
const QUANTIZE = 6;
const macs = (p: MatmulProblem, MR: number) =>
  roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups + inputSize(p) * QUANTIZE;

const common = { ops: ['linear', 'conv2d'], format: 'int8', sharedBytes, supports } as const;
const wideBytes = (p: MatmulProblem) => roundUp(p.K, 8) * 2 + 32;
const gemvTiles = (p: MatmulProblem) => p.groups * Math.ceil(p.N / 8);

const gemm = (name: string, MR: number, depth: 2 | 4, share: number, requires: string[]) => {
  const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, p.K * (depth === 2 ? 2 : 1));
  return row<MatmulProblem>({
    ...common,
    name,
    requires,
    layout: panelsInt8(depth),
    stages: [quantize, { export: name, tiles: (p) => p.groups * Math.ceil(p.M / rowBlock(p)) }],
    clamp: (p) => p.clamp,
    params: (p, device) => matmulParams(p, { panel: 8, rowBlock: rowBlock(p), dotFlip: dotFlip(device) }),
    scratchBytes: (p) =>
      tapsOf(p) * 4 + 5 * wideBytes(p) + rowBlock(p) * (16 + wideBytes(p)) + roundUp(p.K, 8) * 16 + 512,
    cost: (p, device) => predictMs(device, macs(p, MR), share, p.weights.bytes),
  });
};

const gemv = (name: string, depth: 2 | 4, share: number, requires: string[]) =>
  row<MatmulProblem>({
    ...common,
    name,
    requires,
    layout: panelsInt8(depth),
    stages: [quantize, { export: name, tiles: gemvTiles }],
    clamp: (p) => p.clamp,
    params: (p, device) => matmulParams(p, { panel: 8, dotFlip: dotFlip(device) }),
    scratchBytes: (p) => tapsOf(p) * 4 + wideBytes(p) + 512,
    cost: (p, device) => predictMs(device, macs({ ...p }, 1), share, p.M * p.weights.bytes),
  });

export const int8 = [
  gemm('int8_gemm_4x8_k2', 4, 2, 1.6, []),
  gemv('int8_gemv_1x8_k2', 2, 1, []),
  gemm('int8_gemm_6x8_k4_dot', 6, 4, 3.4, ['fast-dot']),
  gemv('int8_gemv_1x8_k4_dot', 4, 2, ['fast-dot']),
];
