import type { Int8Weights } from '../../src/formats/int8.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { depthwisePairsRow, packPairs, packTapPairs, pairsRow } from '../shared/pair-variants.js';
import { byteRows, forEachPanelRow, panelCount } from '../shared/variants.js';

const of = (list: ArrayLike<number>, r: number) => list[list.length === 1 ? 0 : r];

/** int8 panels [panels][ceil(K / 4)][8][4]; scales, sums of codes and zero points [panels][8]. */
const panelsInt8: WasmLayout<Int8Weights> = {
  name: 'KN_n8k4_i8',
  panel: 8,
  pack({ codes, scale, zeroPoint }, p) {
    const { K } = p;
    const steps = Math.ceil(K / 4);
    const count = panelCount(p);
    const panels = new Int8Array(count * steps * 32);
    const scales = new Float32Array(count * 8);
    const sums = new Int32Array(count * 8);
    const zeros = new Int32Array(count * 8);
    forEachPanelRow(p, (r, panel, n) => {
      const base = panel * steps * 32 + n * 4;
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const code = codes[r * K + k];
        sum += code;
        panels[base + (k >> 2) * 32 + (k & 3)] = code;
      }
      scales[panel * 8 + n] = scale[scale.length === 1 ? 0 : r];
      sums[panel * 8 + n] = sum;
      if (zeroPoint) zeros[panel * 8 + n] = zeroPoint[zeroPoint.length === 1 ? 0 : r];
    });
    return { panels, scales, sums, zeros };
  },
};

/** int8 panels of pairs, see runsOf in asm/shared/pair-variants.ts; scales and zero points [panels][8]. */
const pairsInt8: WasmLayout<Int8Weights> = {
  name: 'KN_n8k2_i8',
  panel: 8,
  pack({ codes, scale, zeroPoint }, p) {
    const { K } = p;
    const zeroOf = (r: number) => (zeroPoint ? of(zeroPoint, r) : 0);
    return packPairs(
      p,
      (r, k) => codes[r * K + k],
      (r) => of(scale, r),
      zeroOf,
    );
  },
};

/** int8 [channels / 8][pairs of taps][8][2]. */
const tapPairs: WasmLayout<Int8Weights> = {
  name: 'taps_n8k2_i8',
  panel: 1,
  pack({ codes, scale, zeroPoint, cols }, p) {
    return packTapPairs(
      p,
      (r, k) => codes[r * cols + k],
      (r) => of(scale, r),
      (r) => (zeroPoint ? of(zeroPoint, r) : 0),
    );
  },
};

export const int8 = [
  ...byteRows({ format: 'int8', name: 'int8', layout: panelsInt8, largest: 128, pairsGemm: false }),
  pairsRow({ format: 'int8', name: 'int8', layout: pairsInt8 }),
  depthwisePairsRow({ format: 'int8', name: 'int8', layout: tapPairs }),
];
