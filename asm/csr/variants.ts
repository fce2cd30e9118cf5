import type { CsrWeights } from '../../src/formats/csr.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import { matmulParams, predictMs, roundUp, row, tapsOf, type WasmLayout } from '../../src/wasm/variant.js';

/** indptr, then entries { u32 column as a byte offset into a strip of `strip` floats a column, f32 value }. */
const entries = (strip: number): WasmLayout<CsrWeights> => ({
  name: `csr_x${strip}`,
  panel: 4,
  pack({ indptr, indices, values }) {
    const pairs = new Uint32Array(values.length * 2);
    const floats = new Float32Array(pairs.buffer);
    for (let i = 0; i < values.length; i++) {
      pairs[2 * i] = indices[i] * strip * 4;
      floats[2 * i + 1] = values[i];
    }
    return { indptr, entries: pairs };
  },
});

const spmm = (strip: 48 | 16, share: number) =>
  row<MatmulProblem>({
    name: `csr_spmm_${strip}x1`,
    ops: ['linear', 'conv2d'],
    format: 'csr',
    layout: entries(strip),
    supports: (p) => p.K * strip * 4 < 2 ** 31 || `K is over ${Math.floor(2 ** 31 / strip / 4)}`,
    stages: [{ export: `csr_spmm_${strip}x1`, tiles: (p) => p.groups * Math.ceil(p.M / strip) }],
    clamp: (p) => p.clamp,
    params: (p) => matmulParams(p, { panel: 4 }),
    scratchBytes: (p) => tapsOf(p) * strip * 4 + 64 + 16 * strip + p.K * strip * 4,
    cost(p, device) {
      // Packing a value and finishing an output cost about as much as one and two multiply-adds.
      const work = p.weights.nnz + p.K * p.groups + 2 * p.N * p.groups;
      return predictMs(device, roundUp(p.M, strip) * work, share, 2 * p.weights.bytes);
    },
  });

export const csr = [
  spmm(48, 0.62),
  spmm(16, 0.5),
  row<MatmulProblem>({
    name: 'csr_gemv_1x1',
    ops: ['linear', 'conv2d'],
    format: 'csr',
    layout: entries(1),
    stages: [{ export: 'csr_gemv_1x1', tiles: (p) => p.groups * Math.ceil(p.N / 8) }],
    clamp: (p) => p.clamp,
    params: (p) => matmulParams(p, { panel: 4 }),
    scratchBytes: (p) => tapsOf(p) * 4 + 64 + p.K * 4,
    cost: (p, device) => predictMs(device, p.M * (p.weights.nnz + 8 * p.N * p.groups), 0.1, p.M * 2 * p.weights.bytes),
  }),
];
