import type { NmWeights } from '../../src/formats/nm.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { sparseRow } from '../shared/sparse/variants.js';

/** [256][16]: bytes of the floats that each byte of positions picks, two of four and two of the next four. */
const picks = Uint8Array.from({ length: 4096 }, (_, i) => {
  const position = ((i >> 4) >> (2 * ((i & 15) >> 2))) & 3;
  return 4 * position + (i & 3);
});

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
    return { values: padded, positions, picks };
  },
};

const common = { format: 'nm', layout: positions } as const;

export const nm = [
  sparseRow({ ...common, name: 'nm_spmm_16x1', S: 16, share: 0.8, rowCost: 200 }),
  sparseRow({ ...common, name: 'nm_gemv_1x1', S: 1, share: 0.3, rowCost: 60 }),
];
