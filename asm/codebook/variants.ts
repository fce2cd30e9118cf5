import type { CodebookWeights } from '../../src/formats/codebook.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { placeOf } from '../grouped/variants.js';
import { byteRows, forEachPanelRow, panelCount, panelRows } from '../shared/variants.js';

/** Nibbles [panels][ceil(K / 4)][16 bytes] and the codebook as four byte planes: see asm/codebook/codebook.ts. */
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
    return { codes: out, planes };
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

const rows = (entries: 16 | 256, layout: WasmLayout<CodebookWeights>, decode: number) =>
  panelRows({
    format: 'codebook',
    name: `codebook${entries}`,
    layout,
    supports: (p: MatmulProblem) =>
      (p.weights.entries === entries && p.weights.centroids !== 'int8') || `for ${entries} f32 centroids`,
    decode,
  });

/** Codes as asm/codebook/codebook.ts reads them for int8 centroids; scales, sums of centroids i32 [panels][8], table. */
const int8Centroids = (entries: 16 | 256): WasmLayout<CodebookWeights> => ({
  name: `KN_n8k4_c${entries}`,
  panel: 8,
  pack({ codes, codebook, scale, cols }, p) {
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
          const code = codes[r * rowBytes + k];
          out[(panel * steps + (k >> 2)) * 32 + n * 4 + (k & 3)] = code;
          sums[panel * 8 + n] += codebook[code];
        }
      }
      scales[panel * 8 + n] = scale![scale!.length === 1 ? 0 : r];
    });
    return { codes: out, scales, sums, table: codebook };
  },
});

const int8Rows = (entries: 16 | 256, decode: number) =>
  byteRows({
    format: 'codebook',
    name: `codebook${entries}i8`,
    layout: int8Centroids(entries),
    supports: (p: MatmulProblem) =>
      (p.weights.entries === entries && p.weights.centroids === 'int8') || `for ${entries} int8 centroids`,
    largest: 128,
    decode,
  });

export const codebook = [...rows(16, nibbles, 2), ...rows(256, bytes, 6), ...int8Rows(16, 1), ...int8Rows(256, 4)];
