import { tileMx8 } from '../shared/gemm_f32';
import { Job } from '../shared/job';
import { packRows4, packRows6 } from '../shared/rows';
import { storeTransposed } from '../shared/simd';

// C[..., M, N] = A[..., M, K] * B[..., K, N] of two operands that only a run has: both are packed for the tile kernel
// of asm/shared/gemm_f32.ts. Tiles are blocks of `rowBlock` rows of one matrix of the batch: a tile packs its rows of A
// once, and each panel of 8 columns of B.

const MR: u32 = MODULE == 2 ? 4 : 6;
const BATCH: u32 = 4;

@unmanaged
class BatchMatmulJob extends Job {
  M: u32;
  N: u32;
  K: u32;
  rowBlock: u32;
  aRow: u32;
  aCol: u32;
  bRow: u32;
  bCol: u32;
  // Then, for the dimensions of the batch, innermost last: size, stride of A, stride of B, in elements.
}

/** Rows of A as a panel [K][MR]; rows past the last repeat it. `pointers` is room for MR addresses. */
function packA(from: usize, rows: u32, K: u32, rowBytes: usize, colBytes: usize, pointers: usize, to: usize): void {
  if (colBytes == 4) {
    for (let r: u32 = 0; r < MR; r++) {
      store<usize>(pointers + r * sizeof<usize>(), from + <usize>min(r, rows - 1) * rowBytes);
    }
    if (MR == 6) packRows6(pointers, 1, K, to);
    else packRows4(pointers, 1, K, to);
    return;
  }
  for (let k: u32 = 0; k < K; k++) {
    for (let r: u32 = 0; r < MR; r++) f32.store(to + r * 4, f32.load(from + <usize>min(r, rows - 1) * rowBytes));
    from += colBytes;
    to += MR * 4;
  }
}

/** Columns of B as a panel [K][8]. Those past the last hold anything: they are not stored. */
function packB(from: usize, cols: u32, K: u32, rowBytes: usize, colBytes: usize, to: usize): void {
  if (colBytes == 4) {
    for (let k: u32 = 0; k < K; k++) {
      v128.store(to, v128.load(from), 0);
      v128.store(to, v128.load(from, 16), 16);
      from += rowBytes;
      to += 32;
    }
    return;
  }
  for (let n: u32 = 0; n < 8; n += 4) {
    const last = cols - 1;
    let p0 = from + min(n, last) * colBytes, p1 = from + min(n + 1, last) * colBytes;
    let p2 = from + min(n + 2, last) * colBytes, p3 = from + min(n + 3, last) * colBytes;
    let at = to + n * 4;
    let k: u32 = 0;
    if (rowBytes == 4) {
      for (; k + 4 <= K; k += 4) {
        storeTransposed(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), at, 32);
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
        at += 128;
      }
    }
    for (; k < K; k++) {
      f32.store(at, f32.load(p0), 0);
      f32.store(at, f32.load(p1), 4);
      f32.store(at, f32.load(p2), 8);
      f32.store(at, f32.load(p3), 12);
      p0 += rowBytes;
      p1 += rowBytes;
      p2 += rowBytes;
      p3 += rowBytes;
      at += 32;
    }
  }
}

/** Scratch: 32 zero bytes, pointers [8], then A panels [rowBlock / MR][K][MR], then one B panel [K][8]. */
export function batch_matmul(job: BatchMatmulJob, begin: u32, end: u32, scratch: usize): void {
  const M = job.M, N = job.N, K = job.K, rowBlock = job.rowBlock;
  const aRow = <usize>job.aRow * 4, aCol = <usize>job.aCol * 4, bRow = <usize>job.bRow * 4, bCol = <usize>job.bCol * 4;
  const dims = changetype<usize>(job) + offsetof<BatchMatmulJob>();
  const mTiles = (M + rowBlock - 1) / rowBlock;
  const zeros = scratch, pointers = scratch + 32;
  const aPanels = (pointers + 8 * sizeof<usize>() + 63) & ~63;
  const aPanelBytes = <usize>K * MR * 4;
  const bPanel = aPanels + <usize>(rowBlock / MR) * aPanelBytes;
  memory.fill(zeros, 0, 32);
  for (let tile = begin; tile < end; tile++) {
    const matrix = tile / mTiles;
    const m0 = (tile % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    let a = job.input, b = job.input2;
    let rest = matrix;
    for (let i: i32 = BATCH - 1; i >= 0; i--) {
      const size = load<u32>(dims + i * 12, 0);
      const index = <usize>(rest % size) * 4;
      a += index * load<u32>(dims + i * 12, 4);
      b += index * load<u32>(dims + i * 12, 8);
      rest /= size;
    }
    for (let r: u32 = 0; r < rows; r += MR) {
      const to = aPanels + <usize>(r / MR) * aPanelBytes;
      packA(a + <usize>(m0 + r) * aRow, rows - r, K, aRow, aCol, pointers, to);
    }
    const out = job.output + (<usize>matrix * M + m0) * N * 4;
    for (let n: u32 = 0; n < N; n += 8) {
      packB(b + <usize>n * bCol, N - n, K, bRow, bCol, bPanel);
      let to = out + <usize>n * 4;
      let panel = aPanels;
      for (let r: u32 = 0; r < rows; r += MR) {
        tileMx8(panel, bPanel, K, zeros, -Infinity, Infinity, to, <usize>N * 4, rows - r, N - n);
        panel += aPanelBytes;
        to += <usize>MR * N * 4;
      }
    }
  }
}
