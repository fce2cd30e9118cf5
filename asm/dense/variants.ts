import type { DenseWeights } from '../../src/formats/dense.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { depthwiseRow, forEachPanelRow, panelCount, panelRows } from '../shared/variants.js';

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

export const dense = [
  ...panelRows({ format: 'dense', name: 'dense', layout: panelsF32 }),
  depthwiseRow({ format: 'dense', name: 'dense', export: 'dense_depthwise', layout: taps }),
];
