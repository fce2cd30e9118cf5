import { readCode, writeCode } from '../../src/formats/bits.js';
import type { NmWeights } from '../../src/formats/nm.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { sparseRow } from '../shared/sparse/variants.js';
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

/** Values [rows][bytes of positions][4], padded with zeros; positions as the format has them. See asm/nm/nm.ts. */
const positions: WasmLayout<NmWeights> = {
  name: 'nm_n1k8',
  panel: 4,
  pack({ rows, cols, values, positions }) {
    const groups = Math.ceil(cols / 4);
    const bytes = Math.ceil(groups / 2);
    const padded = new Float32Array(rows * bytes * 4);
    for (let r = 0; r < rows; r++) {
      padded.set(values.subarray(r * groups * 2, (r + 1) * groups * 2), r * bytes * 4);
    }
    return { values: padded, positions };
  },
};

const common = { format: 'nm' } as const;

export const nm = [
  sparseRow({ ...common, name: 'nm_spmm_16x1', layout: positions, S: 16, share: 0.8, rowCost: 110 }),
  sparseRow({ ...common, name: 'nm_gemv_1x8', layout: panels, S: 1, share: 0.32, rowCost: 10 }),
];
