import type { BinaryWeights } from '../../src/formats/binary.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { lowBitSteps } from '../grouped/variants.js';
import { byteRows, depthwiseRow, forEachPanelRow, packTaps, panelCount } from '../shared/variants.js';

/** Bits as asm/binary/binary.ts reads them, scales f32 [panels][8], sums of signs i32 [panels][8]. */
const layout: WasmLayout<BinaryWeights> = {
  name: 'KN_n8k4_u1',
  panel: 8,
  pack({ bits, scale, cols }, p) {
    const steps = lowBitSteps(p);
    const words = Math.ceil(cols / 32);
    const codes = new Uint8Array(panelCount(p) * steps * 4);
    const scales = new Float32Array(panelCount(p) * 8);
    const sums = new Int32Array(panelCount(p) * 8);
    forEachPanelRow(p, (r, panel, n) => {
      let ones = 0;
      for (let k = 0; k < cols; k++) {
        const bit = (bits[r * words + (k >> 5)] >>> (k & 31)) & 1;
        ones += bit;
        codes[panel * steps * 4 + (k >> 4) * 16 + (n & 3) * 4 + (k & 3)] |= bit << (((k >> 2) & 3) * 2 + (n >> 2));
      }
      scales[panel * 8 + n] = scale[r];
      sums[panel * 8 + n] = 2 * ones - cols;
    });
    return { codes, scales, sums };
  },
};

const taps: WasmLayout<BinaryWeights> = {
  name: 'taps_n8_u1',
  panel: 1,
  pack({ bits, scale, cols }, p) {
    const words = Math.ceil(cols / 32);
    return packTaps(
      p,
      1,
      (r, k) => bits[r * words + (k >> 5)] >>> (k & 31),
      (r) => scale[r],
      () => 0,
      [-1, 1],
    );
  },
};

export const binary = [
  ...byteRows({
    format: 'binary',
    name: 'binary',
    layout,
    largest: 1,
    steps: lowBitSteps,
    decode: 1,
  }),
  depthwiseRow({ format: 'binary', name: 'binary', export: 'codes_depthwise', layout: taps, bits: 1 }),
];
