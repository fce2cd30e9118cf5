import type { DenseWeights } from '../../src/formats/dense.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { panelRows } from '../shared/variants.js';

/** f32 panels [groups * paddedN / 8][K][8]; channels past N are 0. */
const panelsF32: WasmLayout<DenseWeights> = {
  name: 'KN_n8_f32',
  panel: 8,
  pack({ values }, p) {
    const { N, K, groups } = p;
    const panels = Math.ceil(N / 8);
    const out = new Float32Array(groups * panels * K * 8);
    for (let r = 0; r < groups * N; r++) {
      const n = r % N;
      const base = (Math.floor(r / N) * panels + (n >> 3)) * K * 8 + (n & 7);
      for (let k = 0; k < K; k++) out[base + k * 8] = values[r * K + k];
    }
    return { panels: out };
  },
};

export const dense = panelRows({ format: 'dense', name: 'dense', layout: panelsF32 });
