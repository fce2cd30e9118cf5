import type { CodebookWeights } from '../../src/formats/codebook.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { panelRows } from '../shared/variants.js';

/** Nibbles [panels][ceil(K / 4)][16 bytes] and the codebook as four byte planes: see asm/codebook/codebook.ts. */
const nibbles: WasmLayout<CodebookWeights> = {
  name: 'KN_k4n8_u4',
  panel: 8,
  pack({ codes, codebook }, p) {
    const { N, K, groups } = p;
    const panels = Math.ceil(N / 8);
    const blocks = Math.ceil(K / 4);
    const rowBytes = Math.ceil(K / 2);
    const out = new Uint8Array(groups * panels * blocks * 16);
    for (let r = 0; r < groups * N; r++) {
      const n = r % N;
      const base = (Math.floor(r / N) * panels + (n >> 3)) * blocks * 16 + (n & 7);
      for (let k = 0; k < K; k++) {
        const code = (codes[r * rowBytes + (k >> 1)] >> ((k & 1) * 4)) & 15;
        out[base + (k >> 2) * 16 + (k & 1) * 8] |= code << (k & 2 ? 4 : 0);
      }
    }
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
    const { N, K, groups } = p;
    const panels = Math.ceil(N / 8);
    const out = new Uint8Array(groups * panels * K * 8);
    for (let r = 0; r < groups * N; r++) {
      const n = r % N;
      const base = (Math.floor(r / N) * panels + (n >> 3)) * K * 8 + (n & 7);
      for (let k = 0; k < K; k++) out[base + k * 8] = codes[r * K + k];
    }
    return { codes: out, codebook };
  },
};

const rows = (entries: 16 | 256, layout: WasmLayout<CodebookWeights>, decode: number) =>
  panelRows({
    format: 'codebook',
    name: `codebook${entries}`,
    layout,
    supports: (p: MatmulProblem) => p.weights.entries === entries || `for ${entries} entries`,
    decode,
  });

export const codebook = [...rows(16, nibbles, 2), ...rows(256, bytes, 6)];
