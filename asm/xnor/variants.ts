import type { XnorWeights } from '../../src/formats/xnor.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Device } from '../../src/plan/variant.js';
import { matmulParams, partsOf, predictMs, roundUp, row, rowBlockOf, type WasmLayout } from '../../src/wasm/variant.js';

const nibblesOf = (p: MatmulProblem) => Math.ceil(p.channels / p.groups / 4);

/** Nibbles of 32 channels in 16 bytes, scales, and the sum of signs of each tap: see asm/xnor/xnor.ts. */
const nibbles: WasmLayout<XnorWeights> = {
  name: 'KN_k4n32_u1',
  panel: 32,
  pack({ bits, scale, cols }, p) {
    const { N, groups } = p;
    const words = Math.ceil(cols / 32);
    const taps = tapsOf(p);
    const channels = p.channels / groups;
    const depth = taps * nibblesOf(p);
    const blocks = Math.ceil(N / 32);
    const paddedN = blocks * 32;
    const out = new Uint8Array(groups * blocks * depth * 16);
    const scales = new Float32Array(groups * paddedN);
    const tapSums = new Int32Array(taps * groups * paddedN);
    for (let r = 0; r < groups * N; r++) {
      const group = Math.floor(r / N);
      const n = r % N;
      const channel = group * paddedN + n;
      const base = (group * blocks + (n >> 5)) * depth * 16 + (n & 15);
      scales[channel] = scale[r];
      for (let tap = 0; tap < taps; tap++) {
        let ones = 0;
        for (let c = 0; c < channels; c++) {
          const k = tap * channels + c;
          const bit = (bits[r * words + (k >> 5)] >>> (k & 31)) & 1;
          ones += bit;
          out[base + (tap * nibblesOf(p) + (c >> 2)) * 16] |= bit << ((c & 3) + (n & 16 ? 4 : 0));
        }
        tapSums[tap * groups * paddedN + channel] = 2 * ones - channels;
      }
    }
    return { nibbles: out, scales, tapSums };
  },
};

const depthOf = (p: MatmulProblem) => tapsOf(p) * nibblesOf(p);
const pixels = (p: MatmulProblem) => p.window.batch * p.window.inHeight * p.window.inWidth;
const rowBlock = (p: MatmulProblem) => rowBlockOf(p, 4, depthOf(p));
const blocks = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
const parts = (p: MatmulProblem, device: Device) => partsOf(device, blocks(p), Math.ceil(p.N / 32), 2);

export const xnor = [
  row<MatmulProblem>({
    name: 'xnor_bgemm_4x32_lut',
    ops: ['linear', 'conv2d'],
    format: 'xnor',
    layout: nibbles,
    inputs: ['float32', 'bits'],
    outputs: ['float32', 'bits'],
    // Tiles write whole words.
    supports: (p) =>
      p.output.dtype !== 'bits' || p.groups === 1 || p.N % 32 === 0 || 'groups of 32 n outputs, for output as bits',
    stages: [
      { export: 'xnor_binarize', tiles: pixels },
      { export: 'xnor_bgemm_4x32_lut', tiles: (p, device) => blocks(p) * parts(p, device) },
    ],
    clamp: (p) => p.clamp,
    params: (p, device) => matmulParams(p, { panel: 32, rowBlock: rowBlock(p), parts: parts(p, device) }),
    scratchBytes: (p) => 512 + rowBlock(p) * (tapsOf(p) * 4 + depthOf(p)) + nibblesOf(p) + 80,
    sharedBytes: (p) => pixels(p) * p.groups * nibblesOf(p) + 64,
    cost(p, device) {
      const macs = roundUp(p.M, 4) * roundUp(p.N, 32) * depthOf(p) * 4 * p.groups;
      return predictMs(device, macs + pixels(p) * p.channels * 8, 6, p.weights.bytes);
    },
  }),
];
