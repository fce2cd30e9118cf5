import type { CodebookWeights } from '../../src/formats/codebook.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { PackedOperands } from '../../src/plan/variant.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { placeOf } from '../grouped/variants.js';
import { byteRows, depthwiseRow, forEachPanelRow, packTaps, panelCount, panelRows } from '../shared/variants.js';

/** Nibbles [panels][ceil(K / 4)][16 bytes] and the codebook as four byte planes and in pairs: see asm/codebook/codebook.ts. */
const nibbles: WasmLayout<CodebookWeights> = {
  name: 'KN_k4n8_u4',
  panel: 8,
  pack({ codes, codebook }, p) {
    const { K } = p;
    const blocks = Math.ceil(K / 4);
    const rowBytes = Math.ceil(K / 2);
    const out = new Uint8Array(panelCount(p) * blocks * 16);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < K; k++) {
        const code = (codes[r * rowBytes + (k >> 1)] >> ((k & 1) * 4)) & 15;
        out[(panel * blocks + (k >> 2)) * 16 + (k & 1) * 8 + n] |= code << (k & 2 ? 4 : 0);
      }
    });
    const bytes = new Uint8Array(codebook.buffer, codebook.byteOffset, codebook.byteLength);
    const planes = new Uint8Array(64);
    for (let i = 0; i < 64; i++) planes[(i & 3) * 16 + (i >> 2)] = bytes[i];
    const pairs = new Float32Array(512);
    for (let i = 0; i < 256; i++) pairs.set([codebook[i & 15], codebook[i >> 4]], i * 2);
    return { codes: out, planes, pairs };
  },
};

/** Bytes [panels][K][8] and the codebook as f32 [256]. */
const bytes: WasmLayout<CodebookWeights> = {
  name: 'KN_n8_u8',
  panel: 8,
  pack({ codes, codebook }, p) {
    const { K } = p;
    const out = new Uint8Array(panelCount(p) * K * 8);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < K; k++) out[(panel * K + k) * 8 + n] = codes[r * K + k];
    });
    return { codes: out, codebook };
  },
};

const isFor = (entries: 16 | 256, centroids: 'f32' | 'int8') => (p: MatmulProblem) =>
  (p.weights.entries === entries && (p.weights.centroids ?? 'f32') === centroids) ||
  `for ${entries} ${centroids} centroids`;

const rows = (entries: 16 | 256, layout: WasmLayout<CodebookWeights>, decode: number) =>
  panelRows({
    format: 'codebook',
    name: `codebook${entries}`,
    layout,
    supports: isFor(entries, 'f32'),
    decode,
  });

/**
 * Scales, sums of centroids i32 [panels][8], and for 16 entries codes as asm/codebook/codebook.ts reads them and the
 * table; for 256 the centroids themselves as int8 panels, of as many bytes as the codes.
 */
const int8Centroids = (entries: 16 | 256): WasmLayout<CodebookWeights> => ({
  name: `KN_n8k4_c${entries}`,
  panel: 8,
  pack({ codes, codebook, scale, cols }, p): PackedOperands {
    const steps = Math.ceil(cols / 4);
    const rowBytes = entries === 16 ? Math.ceil(cols / 2) : cols;
    const out = new Uint8Array((panelCount(p) * steps * 32 * (entries === 16 ? 4 : 8)) / 8);
    const scales = new Float32Array(panelCount(p) * 8);
    const sums = new Int32Array(panelCount(p) * 8);
    forEachPanelRow(p, (r, panel, n) => {
      for (let k = 0; k < cols; k++) {
        if (entries === 16) {
          const code = (codes[r * rowBytes + (k >> 1)] >> ((k & 1) * 4)) & 15;
          const [byte, shift] = placeOf(4, steps, panel, n, k);
          out[byte] |= code << shift;
          sums[panel * 8 + n] += codebook[code];
        } else {
          const centroid = codebook[codes[r * rowBytes + k]];
          out[(panel * steps + (k >> 2)) * 32 + n * 4 + (k & 3)] = centroid;
          sums[panel * 8 + n] += centroid;
        }
      }
      scales[panel * 8 + n] = scale![scale!.length === 1 ? 0 : r];
    });
    const panels = { codes: out, scales, sums };
    return entries === 16 ? { ...panels, table: codebook } : panels;
  },
});

const int8Rows = (entries: 16 | 256, decode: number) =>
  byteRows({
    format: 'codebook',
    name: `codebook${entries}i8`,
    export: entries === 16 ? 'codebook16i8' : 'int8',
    layout: int8Centroids(entries),
    supports: isFor(entries, 'int8'),
    largest: 128,
    decode,
  });

/** Codes of depthwise convolutions; 256 int8 centroids take the codes' place, as they are no larger. */
const taps = (entries: 16 | 256, centroids: 'f32' | 'int8'): WasmLayout<CodebookWeights> => ({
  name: `taps_n8_c${entries}_${centroids}`,
  panel: 1,
  pack({ codes, codebook, scale, cols }, p) {
    const codeOf = (r: number, k: number) =>
      entries === 256 ? codes[r * cols + k] : (codes[r * Math.ceil(cols / 2) + (k >> 1)] >> ((k & 1) * 4)) & 15;
    const replaced = entries === 256 && centroids === 'int8';
    return packTaps(
      p,
      entries === 16 ? 4 : 8,
      replaced ? (r, k) => codebook[codeOf(r, k)] : codeOf,
      (r) => (scale ? scale[scale.length === 1 ? 0 : r] : 1),
      () => 0,
      replaced ? undefined : codebook,
    );
  },
});

const depthwise = (entries: 16 | 256, centroids: 'f32' | 'int8') =>
  depthwiseRow({
    format: 'codebook',
    name: `codebook${entries}${centroids === 'int8' ? 'i8' : ''}`,
    export: centroids === 'int8' ? 'codes_depthwise' : 'codebook_depthwise',
    layout: taps(entries, centroids),
    supports: isFor(entries, centroids),
    bits: entries === 16 ? 4 : 8,
  });

export const codebook = [
  ...rows(16, nibbles, 2),
  ...rows(256, bytes, 4),
  ...int8Rows(16, 1),
  ...int8Rows(256, 0),
  depthwise(16, 'f32'),
  depthwise(256, 'f32'),
  depthwise(16, 'int8'),
  depthwise(256, 'int8'),
];
