import type { Int2Weights, Int4Weights, Int8GroupedWeights } from '../../src/formats/grouped.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { PackedOperands } from '../../src/plan/variant.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { byteChunk, byteRows, depthwiseRow, forEachPanelRow, packTaps, panelCount } from '../shared/variants.js';

/** Steps of 4 along K, K rounded up to 16: whole vectors of codes. */
export const lowBitSteps = (p: MatmulProblem): number => Math.ceil(p.K / 16) * 4;

const groupSteps = (p: MatmulProblem): number => {
  const groupSize = p.weights.groupSize ?? p.K;
  return groupSize === p.K ? lowBitSteps(p) : groupSize / 4;
};

/**
 * Where code k of channel n lies in the panels of asm/grouped/grouped.ts: byte, and bits to shift. A vector of 16 bytes
 * holds 8 / bits vectors of the decoded panel, the first in the lowest bits.
 */
export function placeOf(
  bits: 2 | 4,
  steps: number,
  panel: number,
  n: number,
  k: number,
): [byte: number, shift: number] {
  const perByte = 8 / bits;
  const vector = (k >> 2) * 2 + (n >> 2);
  const byte = ((panel * steps * 2) / perByte + Math.floor(vector / perByte)) * 16 + (n & 3) * 4 + (k & 3);
  return [byte, (vector % perByte) * bits];
}

/**
 * Codes, scales f32 [panels][groups][8], zero points u8 the same, and the sums of code - zeroPoint as w2 of
 * asm/shared/bytes/: i32 [panels][8] of one group a row, else i8 [panels][groups][chunks][8][2].
 */
export function packLowBit(
  p: MatmulProblem,
  bits: 2 | 4,
  groups: number,
  chunk: number,
  codeOf: (r: number, k: number) => number,
  scaleOf: (r: number, group: number) => number,
  zeroPointOf: (r: number, group: number) => number,
): PackedOperands {
  const steps = lowBitSteps(p);
  const panels = panelCount(p);
  const groupSize = groups === 1 ? steps * 4 : p.weights.groupSize!;
  const codes = new Uint8Array((panels * steps * 32 * bits) / 8);
  const scales = new Float32Array(panels * groups * 8);
  const chunks = Math.ceil(groupSize / 4 / chunk);
  const sums = new Int32Array(panels * (groups === 1 ? 1 : groups * chunks) * 8);
  const zeros = new Uint8Array(panels * groups * 8);
  forEachPanelRow(p, (r, panel, n) => {
    for (let g = 0; g < groups; g++) {
      const at = (panel * groups + g) * 8 + n;
      const zeroPoint = zeroPointOf(r, g);
      scales[at] = scaleOf(r, g);
      zeros[at] = zeroPoint;
      for (let k = g * groupSize; k < Math.min((g + 1) * groupSize, steps * 4); k++) {
        // What lies past K decodes to zero.
        const code = k < p.K ? codeOf(r, k) : zeroPoint;
        const [byte, shift] = placeOf(bits, steps, panel, n, k);
        codes[byte] |= code << shift;
        const piece = groups === 1 ? panel : (panel * groups + g) * chunks + Math.floor((k % groupSize) / 4 / chunk);
        sums[piece * 8 + n] += code - zeroPoint;
      }
    }
  });
  if (groups === 1) return { codes, scales, sums, zeros };
  const halves = new Int8Array(sums.length * 2);
  for (let i = 0; i < sums.length; i++) {
    halves[2 * i] = sums[i] >> 1;
    halves[2 * i + 1] = sums[i] - halves[2 * i];
  }
  return { codes, scales, halves, zeros };
}

/** Largest |code - zeroPoint|. */
const largest = (bits: 2 | 4) => (p: MatmulProblem) => (p.weights.symmetric ? 2 ** (bits - 1) : 2 ** bits - 1);

/** Reads codes, and zero points, of either width. */
function reader({ codes, zeroPoint, cols, groupSize }: Int4Weights | Int2Weights, bits: 2 | 4) {
  const groups = Math.ceil(cols / groupSize);
  const blob = Math.ceil((groupSize * bits) / 8);
  const zeroBytes = Math.ceil((groups * bits) / 8);
  const mask = (1 << bits) - 1;
  const read = (bytes: Uint8Array, base: number, i: number) =>
    (bytes[base + ((i * bits) >> 3)] >> ((i * bits) & 7)) & mask;
  return {
    groups,
    codeOf: (r: number, k: number) => read(codes, (r * groups + Math.floor(k / groupSize)) * blob, k % groupSize),
    zeroOf: (r: number, g: number) => (zeroPoint ? read(zeroPoint, r * zeroBytes, g) : 1 << (bits - 1)),
  };
}

/** Columns that share a scale, rows that have one of their own padded or not. */
const columnsOf = ({ K, weights }: MatmulProblem): number => Math.min(weights.groupSize ?? K, K);

/**
 * As int8 has them (asm/int8/variants.ts), codes and zero points less 128; scales, sums of codes and zero points
 * [panels][groups][8].
 */
const panelsOfBytes: WasmLayout<Int8GroupedWeights> = {
  name: 'KN_n8k4_g8',
  panel: 8,
  pack({ cols, groupSize, codes, scale, zeroPoint }, p) {
    const groups = Math.ceil(cols / groupSize);
    const steps = Math.ceil(cols / 4);
    const panels = new Int8Array(panelCount(p) * steps * 32);
    const scales = new Float32Array(panelCount(p) * groups * 8);
    const sums = new Int32Array(scales.length);
    const zeros = new Int32Array(scales.length);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < cols; k++) {
        const code = codes[r * groups * groupSize + k] - 128;
        panels[(panel * steps + (k >> 2)) * 32 + n * 4 + (k & 3)] = code;
        sums[(panel * groups + Math.floor(k / groupSize)) * 8 + n] += code;
      }
      for (let g = 0; g < groups; g++) {
        const at = (panel * groups + g) * 8 + n;
        scales[at] = scale[r * groups + g];
        zeros[at] = zeroPoint ? zeroPoint[r * groups + g] - 128 : 0;
      }
    });
    return { panels, scales, sums, zeros };
  },
};

const tapsOfBytes: WasmLayout<Int8GroupedWeights> = {
  name: 'taps_n8_g8',
  panel: 1,
  pack({ groupSize, codes, scale, zeroPoint }, p) {
    return packTaps(
      p,
      8,
      (r, k) => codes[r * groupSize + k] - 128,
      (r) => scale[r],
      (r) => (zeroPoint ? zeroPoint[r] - 128 : 0),
    );
  },
};

const layout = (bits: 2 | 4): WasmLayout<Int4Weights | Int2Weights> => ({
  name: `KN_n8k4_u${bits}`,
  panel: 8,
  pack(weights, p) {
    const { groups, codeOf, zeroOf } = reader(weights, bits);
    const scaleOf = (r: number, g: number) => weights.scale[r * groups + g];
    return packLowBit(p, bits, groups, byteChunk(largest(bits)(p)), codeOf, scaleOf, zeroOf);
  },
});

const taps = (bits: 2 | 4): WasmLayout<Int4Weights | Int2Weights> => ({
  name: `taps_n8_u${bits}`,
  panel: 1,
  pack(weights, p) {
    const { codeOf, zeroOf } = reader(weights, bits);
    const values = Array.from({ length: 1 << bits }, (_, code) => code);
    return packTaps(
      p,
      bits,
      codeOf,
      (r) => weights.scale[r],
      (r) => zeroOf(r, 0),
      values,
    );
  },
});

const depthwise = (format: 'int8Grouped' | 'int4' | 'int2', bits: 2 | 4 | 8) =>
  depthwiseRow({
    format,
    name: format,
    export: 'codes_depthwise',
    layout: bits === 8 ? tapsOfBytes : taps(bits),
    supports: (p) => p.K <= (p.weights.groupSize ?? p.K) || 'for one group of scales a row',
    bits,
  });

export const grouped = [
  ...byteRows({
    format: 'int8Grouped',
    name: 'int8Grouped',
    export: 'int8',
    layout: panelsOfBytes,
    largest: 128,
    groupSteps: (p) => Math.ceil(columnsOf(p) / 4),
  }),
  ...byteRows({
    format: 'int4',
    name: 'int4',
    layout: layout(4),
    largest: largest(4),
    zeroCode: 8,
    steps: lowBitSteps,
    groupSteps,
    decode: 2,
  }),
  ...byteRows({
    format: 'int2',
    name: 'int2',
    layout: layout(2),
    largest: largest(2),
    zeroCode: 2,
    steps: lowBitSteps,
    groupSteps,
    decode: 1,
  }),
  depthwise('int8Grouped', 8),
  depthwise('int4', 4),
  depthwise('int2', 2),
];
