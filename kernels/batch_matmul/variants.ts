import { type BatchMatmulProblem, type OperandStrides, outputSize } from '../../src/plan/problem.js';
import { product } from '../../src/plan/strides.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import shader from './batch_matmul.wgsl';

const TILE = 32;

const tiles = (p: BatchMatmulProblem): number => product(p.batch) * Math.ceil(p.M / TILE) * Math.ceil(p.N / TILE);

/** Elements that an operand reaches. */
function reach(p: BatchMatmulProblem, { batch, row, col }: OperandStrides, rows: number, cols: number): number {
  return p.batch.reduce((last, dim, d) => last + (dim - 1) * batch[d], 1 + (rows - 1) * row + (cols - 1) * col);
}

const list = (values: readonly number[]): readonly number[] => (values.length === 0 ? [0] : values);

export const batchMatmul: WebgpuVariant<BatchMatmulProblem>[] = [
  {
    name: 'batch_matmul_32x32_wgsl',
    ops: ['batchMatmul'],
    supports: (p, device) =>
      fits(device, {
        input: 4 * reach(p, p.a, p.M, p.K),
        input2: 4 * reach(p, p.b, p.K, p.N),
        output: 4 * outputSize(p),
      }),
    stages: (p) => [
      {
        label: 'batch_matmul/batch_matmul.wgsl',
        source: shader,
        consts: {
          M: p.M,
          N: p.N,
          K: p.K,
          RANK: Math.max(p.batch.length, 1),
          // The first is not read: a batch of another size needs no other shader.
          BATCH: [1, ...p.batch.slice(1)],
          A_BATCH: list(p.a.batch),
          B_BATCH: list(p.b.batch),
          A_ROW: p.a.row,
          A_COL: p.a.col,
          B_ROW: p.b.row,
          B_COL: p.b.col,
        },
        params: [product(p.batch)],
        workgroups: tiles(p),
      },
    ],
    cost: (p, device) =>
      predictMs(device, {
        macs: tiles(p) * TILE * TILE * p.K,
        efficiency: 0.4,
        threads: tiles(p) * 64,
        bytes: 4 * (tiles(p) * 2 * TILE * p.K + outputSize(p)),
        dispatches: 1,
      }),
  },
];
