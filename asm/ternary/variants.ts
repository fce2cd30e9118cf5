import type { TernaryWeights } from '../../src/formats/ternary.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { lowBitSteps, packLowBit } from '../grouped/variants.js';
import { byteChunk, byteRows } from '../shared/variants.js';

/** int2's layout with one group a row and zero point 1. */
const layout: WasmLayout<TernaryWeights> = {
  name: 'KN_n8k4_t2',
  panel: 8,
  pack({ codes, scale, cols }, p) {
    const rowBytes = Math.ceil(cols / 4);
    return packLowBit(
      p,
      2,
      1,
      byteChunk(1),
      (r, k) => (codes[r * rowBytes + (k >> 2)] >> ((k & 3) * 2)) & 3,
      (r) => scale[r],
      () => 1,
    );
  },
};

export const ternary = byteRows({
  format: 'ternary',
  name: 'ternary',
  export: 'int2',
  layout,
  largest: 1,
  zeroCode: 1,
  steps: lowBitSteps,
  decode: 1,
});
