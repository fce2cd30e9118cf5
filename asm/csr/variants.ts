import type { CsrWeights } from '../../src/formats/csr.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import { matmulParams, predictMs, roundUp, row, type WasmLayout } from '../../src/wasm/variant.js';

/** Longest block of K: a strip of 48 is then 37 kB, about a core's L1. */
const LONGEST_BLOCK = 192;

/** Columns of a block: K cut evenly. */
const blockOf = (K: number): number => roundUp(Math.ceil(K / Math.ceil(K / LONGEST_BLOCK)), 4);

/** See asm/csr/csr.ts. A `strip` of 1 is the GEMV's: one block. */
const entries = (strip: number): WasmLayout<CsrWeights> => ({
  name: `csr_x${strip}`,
  panel: 4,
  pack({ indptr, indices, values, rows, cols }) {
    const block = strip === 1 ? cols : blockOf(cols);
    const blocks = Math.ceil(cols / block);
    const firsts = new Uint32Array(blocks * rows + 1);
    const pairs = new Uint32Array(values.length * 2);
    const floats = new Float32Array(pairs.buffer);
    const next = indptr.slice(0, rows);
    let count = 0;
    for (let b = 0; b < blocks; b++) {
      const past = (b + 1) * block;
      for (let r = 0; r < rows; r++) {
        firsts[b * rows + r] = count;
        for (; next[r] < indptr[r + 1] && indices[next[r]] < past; next[r]++, count++) {
          pairs[2 * count] = (indices[next[r]] - b * block) * strip * 4;
          floats[2 * count + 1] = values[next[r]];
        }
      }
    }
    firsts[blocks * rows] = count;
    return { firsts, entries: pairs };
  },
});

const spmm = (strip: 48 | 16, share: number) =>
  row<MatmulProblem>({
    name: `csr_spmm_${strip}x1`,
    ops: ['linear', 'conv2d'],
    format: 'csr',
    layout: entries(strip),
    stages: [{ export: `csr_spmm_${strip}x1`, tiles: (p) => p.groups * Math.ceil(p.M / strip) }],
    clamp: (p) => p.clamp,
    params: (p) => matmulParams(p, { panel: 4, chunk: blockOf(p.K) }),
    scratchBytes: (p) => (tapsOf(p) + roundUp(p.N, 4) + blockOf(p.K)) * strip * 4 + 64,
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
