import type { TernaryWeights } from '../../src/formats/ternary.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { lowBitSteps, packLowBit } from '../grouped/variants.js';
import { byteChunk, byteRows, depthwiseRow, packTaps } from '../shared/variants.js';

const codeOf =
  ({ codes, cols }: TernaryWeights) =>
  (r: number, k: number) =>
    (codes[r * Math.ceil(cols / 4) + (k >> 2)] >> ((k & 3) * 2)) & 3;

/** int2's layout with one group a row and zero point 1. */
const layout: WasmLayout<TernaryWeights> = {
  name: 'KN_n8k4_t2',
  panel: 8,
  pack(weights, p) {
    return packLowBit(
      p,
      2,
      1,
      byteChunk(1),
      codeOf(weights),
      (r) => weights.scale[r],
      () => 1,
    );
  },
};

const taps: WasmLayout<TernaryWeights> = {
  name: 'taps_n8_t2',
  panel: 1,
  pack(weights, p) {
    return packTaps(
      p,
      2,
      codeOf(weights),
      (r) => weights.scale[r],
      () => 0,
      [-1, 0, 1, 0],
    );
  },
};

export const ternary = [
  ...byteRows({
    format: 'ternary',
    name: 'ternary',
    export: 'int2',
    layout,
    largest: 1,
    zeroCode: 1,
    steps: lowBitSteps,
    decode: 1,
  }),
  depthwiseRow({ format: 'ternary', name: 'ternary', export: 'codes_depthwise', layout: taps, bits: 2 }),
];
