import type { DenseWeights } from '../../src/formats/dense.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import { matmulParams, predictMs, roundUp, row, type WasmLayout } from '../../src/wasm/variant.js';
import { forEachPanelRow, panelCount, panelRows } from '../shared/variants.js';

/** f32 panels [groups * paddedN / 8][K][8]; channels past N are 0. */
const panelsF32: WasmLayout<DenseWeights> = {
  name: 'KN_n8_f32',
  panel: 8,
  pack({ values }, p) {
    const { K } = p;
    const out = new Float32Array(panelCount(p) * K * 8);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < K; k++) out[(panel * K + k) * 8 + n] = values[r * K + k];
    });
    return { panels: out };
  },
};

/** f32 [taps][channels rounded up to 4]. */
const taps: WasmLayout<DenseWeights> = {
  name: 'taps_n4_f32',
  panel: 1,
  pack({ values, cols }, p) {
    const paddedN = Math.ceil(p.groups / 4) * 4;
    const out = new Float32Array(cols * paddedN);
    for (let n = 0; n < p.groups; n++) for (let t = 0; t < cols; t++) out[t * paddedN + n] = values[n * cols + t];
    return { taps: out };
  },
};

const BLOCK = 64;

export const dense = [
  ...panelRows({ format: 'dense', name: 'dense', layout: panelsF32 }),
  row<MatmulProblem>({
    name: 'dense_depthwise_4x4',
    ops: ['conv2d'],
    format: 'dense',
    layout: taps,
    supports: (p) => (p.N === 1 && p.groups === p.channels) || 'for depthwise convolutions with one output a channel',
    stages: [{ export: 'dense_depthwise', tiles: (p) => Math.ceil(p.M / BLOCK) }],
    clamp: (p) => p.clamp,
    params: (p) => matmulParams(p, { panel: roundUp(p.groups, 4) }),
    scratchBytes: (p) => tapsOf(p) * 16,
    cost: (p, device) => predictMs(device, p.M * p.groups * (p.K + 4), 0.5, p.M * p.groups * 8),
  }),
];
