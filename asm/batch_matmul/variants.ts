import type { BatchMatmulProblem } from '../../src/plan/problem.js';
import { mergeDims, product, type StridedDims } from '../../src/plan/strides.js';
import { predictMs, roundUp, row } from '../../src/wasm/variant.js';

/** Dimensions of a batch that the job has room for. */
const BATCH = 4;
/** A tile's rows of A: whole register tiles of 4 and of 6 rows. */
const ROW_BLOCK = 48;

const merged = (p: BatchMatmulProblem): StridedDims => mergeDims({ dims: p.batch, strides: [p.a.batch, p.b.batch] });

const rowBlock = (p: BatchMatmulProblem): number => Math.min(ROW_BLOCK, roundUp(p.M, 12));

export const batchMatmul = [
  row<BatchMatmulProblem>({
    name: 'batch_matmul_f32',
    ops: ['batchMatmul'],
    supports: (p) => merged(p).dims.length <= BATCH || `a batch of over ${BATCH} dimensions after merging`,
    stages: [{ export: 'batch_matmul', tiles: (p) => product(p.batch) * Math.ceil(p.M / rowBlock(p)) }],
    params(p) {
      const {
        dims,
        strides: [a, b],
      } = merged(p);
      const params = [p.M, p.N, p.K, rowBlock(p), p.a.row, p.a.col, p.b.row, p.b.col];
      for (let i = 0; i < BATCH; i++) {
        const d = dims.length - BATCH + i;
        params.push(...(d < 0 ? [1, 0, 0] : [dims[d], a[d], b[d]]));
      }
      return params;
    },
    scratchBytes: (p) => 32 + 64 + 64 + rowBlock(p) * p.K * 4 + p.K * 32 + 128,
    cost(p, device) {
      const tiles = product(p.batch) * Math.ceil(p.M / rowBlock(p));
      const macs = product(p.batch) * roundUp(p.M, 6) * roundUp(p.N, 8) * p.K;
      return predictMs(device, macs + tiles * (p.N + rowBlock(p)) * p.K * 3, 0.85, 4 * product(p.batch) * p.N * p.K);
    },
  }),
];
