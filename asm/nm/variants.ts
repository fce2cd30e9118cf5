import { readCode, writeCode } from '../../src/formats/bits.js';
import type { NmWeights } from '../../src/formats/nm.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, sparseRow } from '../shared/sparse/variants.js';
import { forEachPanelRow, panelCount } from '../shared/variants.js';

/** [256][16]: bytes of the four floats at the positions that a byte names, each of 2 bits. */
const picks = Uint8Array.from({ length: 4096 }, (_, i) => {
  const position = ((i >> 4) >> (2 * ((i & 15) >> 2))) & 3;
  return 4 * position + (i & 3);
});

/** Panels of 8 channels: values [groups][2][8], positions [groups][2][8 of 2 bits]. See asm/nm/nm.ts. */
const panels: WasmLayout<NmWeights> = {
  name: 'nm_n8k4',
  panel: 4,
  pack({ cols, values, positions }, p) {
    const groups = Math.ceil(cols / 4);
    const bytes = Math.ceil(groups / 2);
    const panelValues = new Float32Array(panelCount(p) * groups * 16);
    const places = new Uint8Array(panelCount(p) * groups * 4);
    forEachPanelRow(p, (r, panel, n) => {
      for (let g = 0; g < groups; g++) {
        const pair = readCode(positions, r * bytes, g, 4);
        for (const second of [0, 1]) {
          const at = (panel * groups + g) * 2 + second;
          panelValues[at * 8 + n] = values[(r * groups + g) * 2 + second];
          writeCode(places, at * 2, n, 2, second ? pair >> 2 : pair & 3);
        }
      }
    });
    return { values: panelValues, places, picks };
  },
};

/** Rows of A in a strip. */
const S = 16;

/** Values, four for each byte of positions, and positions, in the order of the blocks. See asm/nm/nm.ts. */
const positions: WasmLayout<NmWeights> = {
  name: 'nm_n1k8',
  panel: 4,
  pack({ rows, cols, values, positions }, p) {
    const groups = Math.ceil(cols / 4);
    const bytes = Math.ceil(groups / 2);
    const { chunk, channelBlock } = blockingOf(p, S * 4);
    const ordered = new Float32Array(rows * bytes * 4);
    const places = new Uint8Array(rows * bytes);
    let at = 0;
    for (let first = 0; first < rows; ) {
      const past = Math.min(first + channelBlock, (Math.floor(first / p.N) + 1) * p.N);
      for (let k = 0; k < bytes; k += chunk / 8) {
        const end = Math.min(k + chunk / 8, bytes);
        for (let r = first; r < past; r++, at += end - k) {
          const stored = values.subarray((r * groups + 2 * k) * 2, (r * groups + Math.min(2 * end, groups)) * 2);
          ordered.set(stored, at * 4);
          places.set(positions.subarray(r * bytes + k, r * bytes + end), at);
        }
      }
      first = past;
    }
    return { values: ordered, places };
  },
};

const common = { format: 'nm' } as const;

export const nm = [
  sparseRow({ ...common, name: 'nm_spmm_16x1', layout: positions, S, share: 0.8, rowCost: 95 }),
  sparseRow({ ...common, name: 'nm_gemv_1x8', layout: panels, S: 1, share: 0.33, rowCost: 85 }),
];
