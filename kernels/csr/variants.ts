import type { CsrWeights } from '../../src/formats/csr.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Device, Layout } from '../../src/plan/variant.js';
import { inputOf } from '../dense/variants.js';
import { activationConsts, activationSnippets } from '../shared/activation.js';
import { fits, predictMs, windowConsts } from '../shared/cost.js';
import { groupChannels, type MatmulVariant, matmulBuffers, rowSource } from '../shared/matmul.js';
import gemv from './gemv.wgsl';
import planes from './planes.wgsl';
import planesConv from './planes_conv.wgsl';
import planesLinear from './planes_linear.wgsl';
import spmm from './spmm.wgsl';
import weights from './weights.wgsl';

const rowsOf = (p: MatmulProblem): number => p.groups * p.N;
const indexBits = (p: MatmulProblem): number => (p.K <= 65536 ? 16 : 32);

/** The format as it is; columns in 16 bits where they fit. */
const csrRows: Layout<CsrWeights> = {
  name: 'csr',
  pack({ indptr, indices, values }, p) {
    const fitting = indexBits(p) === 16 ? Uint16Array : Uint32Array;
    const { buffer, byteOffset, byteLength } = indices instanceof fitting ? indices : new fitting(indices);
    return { indptr, indices: new Uint8Array(buffer, byteOffset, byteLength), values };
  },
};

function supports(p: MatmulProblem, device: Device, scratch: Record<string, number> = {}): true | string {
  return fits(device, { ...matmulBuffers(p), indptr: 4 * (rowsOf(p) + 1), values: 4 * p.weights.nnz, ...scratch });
}

function paddedSize({ window: w }: MatmulProblem): [height: number, width: number] {
  return [w.padTop + w.inHeight + w.padBottom, w.padLeft + w.inWidth + w.padRight];
}

function planesBytes(p: MatmulProblem): number {
  const [height, width] = paddedSize(p);
  return 4 * p.window.batch * p.channels * height * width;
}

const SPMM_THREADS = 64;

/** @param per rows of A a thread holds */
function spmmRow(per: 1 | 4, efficiency: number): MatmulVariant {
  const tile = SPMM_THREADS * per;
  const name = `csr_spmm_${tile}x1_wgsl`;
  const workgroups = (p: MatmulProblem) => Math.ceil(p.M / tile) * rowsOf(p);
  const scratch = (p: MatmulProblem) => ({ planes: planesBytes(p) });
  return {
    name,
    ops: ['linear', 'conv2d'],
    format: 'csr',
    layout: csrRows,
    supports: (p, device) => supports(p, device, scratch(p)),
    scratch,
    stages(p) {
      const { batch, inHeight, inWidth, padTop, padLeft } = p.window;
      const [height, width] = paddedSize(p);
      const conv = { ...windowConsts(p), PADDED_HEIGHT: height, PADDED_WIDTH: width };
      return [
        {
          label: 'csr/planes.wgsl',
          source: planes,
          consts: { CHANNELS: p.channels },
          params: [batch, inHeight, inWidth, padTop, padLeft, height, width],
          workgroups: batch * Math.ceil((height * width) / 16) * Math.ceil(p.channels / 16),
        },
        {
          label: name,
          source: spmm,
          snippets: [weights, p.op === 'linear' ? planesLinear : planesConv, ...activationSnippets(p)],
          consts: {
            N: p.N,
            ROWS: rowsOf(p),
            GROUPS: p.groups,
            CHANNELS: groupChannels(p),
            INDEX_BITS: indexBits(p),
            THREADS: SPMM_THREADS,
            PER: per,
            ...(p.op === 'linear' ? {} : conv),
            ...activationConsts(p),
          },
          params: [p.M],
          workgroups: workgroups(p),
        },
      ];
    },
    cost: (p, device) =>
      predictMs(device, {
        macs: Math.ceil(p.M / tile) * tile * p.weights.nnz,
        efficiency,
        threads: workgroups(p) * SPMM_THREADS,
        bytes:
          matmulBuffers(p).input +
          2 * planesBytes(p) +
          matmulBuffers(p).output +
          p.weights.bytes * Math.ceil(p.M / tile),
        dispatches: 2,
      }),
  };
}

const GEMV_ROWS = 4;
const GEMV_LANES = 16;

const gemvRow: MatmulVariant = {
  name: 'csr_gemv_1x4_wgsl',
  ops: ['linear', 'conv2d'],
  format: 'csr',
  layout: csrRows,
  supports,
  stages(p) {
    const { rows, consts } = rowSource(p, groupChannels(p));
    return [
      {
        label: 'csr_gemv_1x4_wgsl',
        source: gemv,
        snippets: [inputOf(p), weights, rows, ...activationSnippets(p)],
        consts: {
          N: p.N,
          ROWS: rowsOf(p),
          INDEX_BITS: indexBits(p),
          NR: GEMV_ROWS,
          LANES: GEMV_LANES,
          THREADS: GEMV_ROWS * GEMV_LANES,
          TILES_N: Math.ceil(rowsOf(p) / GEMV_ROWS),
          ...consts,
          ...activationConsts(p),
        },
        params: [p.M],
        workgroups: p.M * Math.ceil(rowsOf(p) / GEMV_ROWS),
      },
    ];
  },
  cost: (p, device) =>
    predictMs(device, {
      macs: p.M * p.weights.nnz,
      efficiency: 0.04,
      threads: p.M * rowsOf(p) * GEMV_LANES,
      bytes: matmulBuffers(p).input + matmulBuffers(p).output + p.weights.bytes * p.M,
      dispatches: 1,
    }),
};

export const csr = [spmmRow(4, 0.2), spmmRow(1, 0.1), gemvRow];
