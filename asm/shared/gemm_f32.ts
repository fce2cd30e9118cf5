import { MatmulJob } from './job';
import { gatherRows, packRows4, packRows6, tapCount } from './rows';
import { clamp, madd, storeTail } from './simd';

// C[M,N] = clamp(A[M,K] * B[K,N] + bias) in f32, for every format whose weights become f32 panels of 8 channels.
// B panel: [K][8]. A panel: [K][MR], gathered through the indirection table. A tile packs `rowBlock` rows of A once,
// then walks the panels; a panel that has to be decoded is decoded once a tile, into L1.

/**
 * Rows of the register tile. Fused: 12 accumulators + 2 of B + 1 of A are the 15 registers that x64 has. A product
 * that is added apart (module C) needs one more, so there the tile has 4 rows: six of them spill and take 1.5 x longer.
 */
const MR: u32 = MODULE == 2 ? 4 : 6;
const NR: u32 = 8;

/** Address of panel `panel` (counted over all groups) as f32 [K][8]; may decode it into `to`. */
export type PanelSource = (job: MatmulJob, panel: u32, to: usize) => usize;

// @ts-ignore: decorator
@inline
function finish(c: v128, bias: v128, low: v128, high: v128): v128 {
  return clamp(f32x4.add(c, bias), low, high);
}

/** One MR x 8 tile of C. `rows` and `cols` are how many of it exist. */
export function tileMx8(
  a: usize, b: usize, K: u32, bias: usize, low: f32, high: f32, to: usize, rowBytes: usize, rows: u32, cols: u32,
): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  const end = a + <usize>K * (MR * 4);
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    if (MR == 6) {
      x = v128.load32_splat(a, 16);
      c40 = madd(x, b0, c40);
      c41 = madd(x, b1, c41);
      x = v128.load32_splat(a, 20);
      c50 = madd(x, b0, c50);
      c51 = madd(x, b1, c51);
    }
    a += MR * 4;
    b += 32;
  } while (a < end);
  const lo = f32x4.splat(low), hi = f32x4.splat(high);
  const bias0 = v128.load(bias, 0), bias1 = v128.load(bias, 16);
  storeRow(to, finish(c00, bias0, lo, hi), finish(c01, bias1, lo, hi), cols);
  if (rows <= 1) return;
  to += rowBytes;
  storeRow(to, finish(c10, bias0, lo, hi), finish(c11, bias1, lo, hi), cols);
  if (rows <= 2) return;
  to += rowBytes;
  storeRow(to, finish(c20, bias0, lo, hi), finish(c21, bias1, lo, hi), cols);
  if (rows <= 3) return;
  to += rowBytes;
  storeRow(to, finish(c30, bias0, lo, hi), finish(c31, bias1, lo, hi), cols);
  if (MR == 4 || rows <= 4) return;
  to += rowBytes;
  storeRow(to, finish(c40, bias0, lo, hi), finish(c41, bias1, lo, hi), cols);
  if (rows <= 5) return;
  to += rowBytes;
  storeRow(to, finish(c50, bias0, lo, hi), finish(c51, bias1, lo, hi), cols);
}

// @ts-ignore: decorator
@inline
export function storeRow(to: usize, lo: v128, hi: v128, cols: u32): void {
  if (cols >= NR) {
    v128.store(to, lo, 0);
    v128.store(to, hi, 16);
  } else {
    storeTail(to, lo, hi, cols);
  }
}

/**
 * Tiles are blocks of `rowBlock` rows, group after group.
 * Scratch: pointers [taps][MR], then A panels [rowBlock / MR][K][MR], then one decoded B panel [K][8].
 */
export function gemmF32(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: PanelSource): void {
  const K = job.K, N = job.N, M = job.M, rowBlock = job.rowBlock;
  const taps = tapCount(job);
  const groupChannels = job.channels / job.groups;
  const panels = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const rowBytes = <usize>job.groups * N * 4;
  const aPanelBytes = <usize>K * MR * 4;
  const pointers = scratch;
  const aPanels = (pointers + taps * MR * sizeof<usize>() + 63) & ~63;
  const decoded = aPanels + <usize>(rowBlock / MR) * aPanelBytes;
  let packed: u32 = -1;
  for (let tile = begin; tile < end; tile++) {
    const block = tile / parts, part = tile % parts;
    const group = block / mTiles;
    const m0 = (block % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let r: u32 = 0; r < rows && block != packed; r += MR) {
      gatherRows(job, job.input, 4, job.channels, group * groupChannels, m0 + r, MR, job.zeros, pointers);
      if (MR == 6) packRows6(pointers, taps, groupChannels, aPanels + <usize>(r / MR) * aPanelBytes);
      else packRows4(pointers, taps, groupChannels, aPanels + <usize>(r / MR) * aPanelBytes);
    }
    packed = block;
    for (let p = panels * part / parts, past = panels * (part + 1) / parts; p < past; p++) {
      const b = source(job, group * panels + p, decoded);
      const n = p * NR;
      const bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * 4;
      let a = aPanels;
      for (let r: u32 = 0; r < rows; r += MR) {
        tileMx8(a, b, K, bias, job.low, job.high, to, rowBytes, rows - r, N - n);
        a += aPanelBytes;
        to += MR * rowBytes;
      }
    }
  }
}

/** Sums of one row of A by panel `panel`, f32 [8] added to those at `sums`; `to` is room for what it decodes. */
export type RowSum = (job: MatmulJob, panel: u32, a: usize, to: usize, sums: usize) => void;

/** A piece of a row by f32 [K][8]; eight accumulators hide the latency of the multiply-add. */
export function addRow(a: usize, b: usize, K: u32, sums: usize): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const whole = a + <usize>(K & ~3) * 4, end = a + <usize>K * 4;
  while (a < whole) {
    let x = v128.load32_splat(a, 0);
    c00 = madd(x, v128.load(b, 0), c00);
    c01 = madd(x, v128.load(b, 16), c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, v128.load(b, 32), c10);
    c11 = madd(x, v128.load(b, 48), c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, v128.load(b, 64), c20);
    c21 = madd(x, v128.load(b, 80), c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, v128.load(b, 96), c30);
    c31 = madd(x, v128.load(b, 112), c31);
    a += 16;
    b += 128;
  }
  while (a < end) {
    const x = v128.load32_splat(a);
    c00 = madd(x, v128.load(b, 0), c00);
    c01 = madd(x, v128.load(b, 16), c01);
    a += 4;
    b += 32;
  }
  c00 = f32x4.add(f32x4.add(c00, c10), f32x4.add(c20, c30));
  c01 = f32x4.add(f32x4.add(c01, c11), f32x4.add(c21, c31));
  v128.store(sums, f32x4.add(c00, v128.load(sums, 0)), 0);
  v128.store(sums, f32x4.add(c01, v128.load(sums, 16)), 16);
}

/** One row of A, contiguous: the input itself for linear, else gathered into `to`. */
export function flatRow(job: MatmulJob, m: u32, group: u32, pointers: usize, to: usize): usize {
  const taps = tapCount(job);
  const groupChannels = job.channels / job.groups;
  gatherRows(job, job.input, 4, job.channels, group * groupChannels, m, 1, job.zeros, pointers);
  if (taps == 1) return load<usize>(pointers);
  const bytes = <usize>groupChannels * 4;
  for (let tap: u32 = 0; tap < taps; tap++) {
    memory.copy(to + tap * bytes, load<usize>(pointers + tap * sizeof<usize>()), bytes);
  }
  return to;
}

/**
 * The same for few rows: tiles are panels of 8 channels, group after group, and each walks all rows.
 * Scratch: sums [8], pointers [taps], then one row [K], then what `rowSum` decodes.
 */
export function gemvF32(job: MatmulJob, begin: u32, end: u32, scratch: usize, rowSum: RowSum): void {
  const K = job.K, N = job.N;
  const panels = job.paddedN / NR;
  const rowBytes = <usize>job.groups * N * 4;
  const sums = scratch;
  const pointers = scratch + 32;
  const lo = f32x4.splat(job.low), hi = f32x4.splat(job.high);
  const row = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const decoded = (row + <usize>K * 4 + 63) & ~63;
  for (let m: u32 = 0; m < job.M; m++) {
    let gathered: u32 = -1;
    let a: usize = 0;
    for (let panel = begin; panel < end; panel++) {
      const group = panel / panels;
      if (group != gathered) {
        a = flatRow(job, m, group, pointers, row);
        gathered = group;
      }
      const n = (panel % panels) * NR;
      const to = job.output + m * rowBytes + <usize>(group * N + n) * 4;
      const bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      v128.store(sums, f32x4.splat(0), 0);
      v128.store(sums, f32x4.splat(0), 16);
      rowSum(job, panel, a, decoded, sums);
      storeRow(to, finish(v128.load(sums, 0), v128.load(bias, 0), lo, hi),
        finish(v128.load(sums, 16), v128.load(bias, 16), lo, hi), N - n);
    }
  }
}
