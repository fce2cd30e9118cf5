import type { BcsrWeights } from '../../src/formats/bcsr.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, type Pattern, packEntries, sparseRow } from '../shared/sparse/variants.js';

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Channels of a block that kernels take at once: where the next group's begin inside a block, a part of it. */
const channelsOf = ({ groups, N }: MatmulProblem, blockRows: number): number =>
  groups === 1 ? blockRows : gcd(blockRows, N);

/** Blocks cut into parts of R rows: their pattern, and where the values of part i begin. */
function cut({ rows, blockRows, blockCols, indptr, indices }: BcsrWeights, R: number) {
  const parts = blockRows / R;
  const size = R * blockCols;
  const rowCount = Math.ceil(rows / R);
  const pattern: Pattern = { indptr: new Uint32Array(rowCount + 1), indices: new Uint32Array(indices.length * parts) };
  const starts = new Uint32Array(indices.length * parts);
  let i = 0;
  for (let row = 0; row < rowCount; row++) {
    const blockRow = Math.floor(row / parts);
    for (let block = indptr[blockRow]; block < indptr[blockRow + 1]; block++, i++) {
      pattern.indices[i] = indices[block];
      starts[i] = (block * parts + (row % parts)) * size;
    }
    pattern.indptr[row + 1] = i;
  }
  return { pattern, starts, size };
}

/** Parts of R x 1, or blocks of 1 x 4, for strips of S rows of A; values f32 in their order. */
const blocks = (R: number, S: number, unit: number): WasmLayout<BcsrWeights> => ({
  name: `bcsr${R}_x${S}`,
  panel: 4,
  pack(weights, p) {
    const { pattern, starts, size } = cut(weights, R);
    const shape = { sumBytes: S * 4, wordBytes: S * 4, unit, block: [R, weights.blockCols] as const };
    const { sources, ...packed } = packEntries(pattern, p, blockingOf(p, S * 4), shape);
    const values = new Float32Array(sources.length * size);
    for (const [i, source] of sources.entries()) {
      if (source >= 0) values.set(weights.values.subarray(starts[source], starts[source] + size), i * size);
    }
    return { ...packed, values };
  },
});

/** Rows for parts of R x C. */
const rowsFor = (R: number, C: number) => {
  const make = (kernel: string, S: number, unit: number, share: number, rowCost: number, exported?: string) =>
    sparseRow({
      format: 'bcsr',
      name: `bcsr${R}x${C}_${kernel}`,
      export: exported,
      supports(p) {
        const [blockRows, blockCols] = p.weights.block!;
        if (blockCols !== C) return `blocks are ${blockRows} x ${blockCols}`;
        const channels = channelsOf(p, blockRows);
        return channels === R || `blocks, cut where groups end, have ${channels} rows`;
      },
      S,
      layout: blocks(R, S, unit),
      share,
      rowCost,
    });
  if (C === 4) return [make('spmm_16x1', 16, 1, 0.72, 20), make('gemv_1x1', 1, 2, 0.27, 90)];
  // What csr's layout is too.
  if (R === 1) return [make('spmm_16x1', 16, 2, 0.8, 90, 'csr_spmm_16x1')];
  return [
    make('spmm_16x2', 16, 1, 0.9, 15),
    ...(R > 2 ? [make('spmm_8x4', 8, 1, 0.88, 10)] : []),
    make(`gemv_1x${R}`, 1, 2, { 2: 0.155, 4: 0.34, 8: 0.55 }[R]!, 95),
  ];
};

export const bcsr = [...rowsFor(2, 1), ...rowsFor(4, 1), ...rowsFor(8, 1), ...rowsFor(1, 4), ...rowsFor(1, 1)];
