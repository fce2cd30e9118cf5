import type { CsrWeights } from '../../src/formats/csr.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, packEntries, sparseRow } from '../shared/sparse/variants.js';

/** Entries for strips of S rows of A; values f32 in their order. See asm/shared/sparse/entries.ts. */
const entries = (S: number, unit: number): WasmLayout<CsrWeights> => ({
  name: `csr_x${S}`,
  panel: 4,
  pack(weights, p) {
    const shape = { sumBytes: S * 4, wordBytes: S * 4, unit };
    const { sources, ...packed } = packEntries(weights, p, blockingOf(p, S * 4), shape);
    const values = Float32Array.from(sources, (source) => (source < 0 ? 0 : weights.values[source]));
    return { ...packed, values };
  },
});

const common = { format: 'csr' } as const;

export const csr = [
  // Without fused multiply-add the products of 32 columns need registers that there are not.
  sparseRow({
    ...common,
    name: 'csr_spmm_32x1',
    requires: ['relaxed-simd'],
    S: 32,
    layout: entries(32, 2),
    share: 0.82,
    rowCost: 70,
  }),
  sparseRow({ ...common, name: 'csr_spmm_16x1', S: 16, layout: entries(16, 2), share: 0.8, rowCost: 90 }),
  sparseRow({ ...common, name: 'csr_spmm_4x1', S: 4, layout: entries(4, 4), share: 0.36, rowCost: 50 }),
  sparseRow({ ...common, name: 'csr_gemv_1x1', S: 1, layout: entries(1, 4), share: 0.125, rowCost: 105 }),
];
