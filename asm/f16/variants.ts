import type { F16Weights } from '../../src/formats/f16.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { depthwiseRow, forEachPanelRow, panelCount, panelRows } from '../shared/variants.js';

/** Where channel n of eight lies among their halves: word n % 4, low for the first four. */
const placeOf = (n: number): number => (n & 3) * 2 + (n >> 2);

/** Halves [panels][K][4][2]: see asm/f16/f16.ts. */
const panels: WasmLayout<F16Weights> = {
  name: 'KN_n8_f16',
  panel: 8,
  pack({ halves }, p) {
    const { K } = p;
    const out = new Uint16Array(panelCount(p) * K * 8);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < K; k++) out[(panel * K + k) * 8 + placeOf(n)] = halves[r * K + k];
    });
    return { panels: out };
  },
};

/** Halves [taps][channels rounded up to 8], eight channels alike. */
const taps: WasmLayout<F16Weights> = {
  name: 'taps_n8_f16',
  panel: 1,
  pack({ halves, cols }, p) {
    const paddedN = Math.ceil(p.groups / 8) * 8;
    const out = new Uint16Array(cols * paddedN);
    for (let n = 0; n < p.groups; n++) {
      const place = (n & ~7) + placeOf(n & 7);
      for (let t = 0; t < cols; t++) out[t * paddedN + place] = halves[n * cols + t];
    }
    return { taps: out };
  },
};

export const f16 = [
  ...panelRows({ format: 'f16', name: 'f16', layout: panels, decode: 2 }),
  depthwiseRow({ format: 'f16', name: 'f16', export: 'f16_depthwise', layout: taps, bits: 16 }),
];
