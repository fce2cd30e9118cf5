import { MatmulJob } from './job';
import { gatherRows, packRows4, packRows6, tapCount } from './rows';
import { clamp, madd, storeTail } from './simd';
import { imageHeight, imageWidth, runsOf, windowsOf } from './windows';

// C[M,N] = clamp(A[M,K] * B[K,N] + bias) in f32, for every format whose weights become f32 panels of 8 channels.
// B panel: [K][8]. A tile walks the panels with `rowBlock` rows of A, which it reads where windows lie; a panel that has to
// be decoded is decoded once a tile, into L1. Long rows lie too far apart for that, many lines in few sets of L1: they are
// packed first, [K][MR], once a tile.

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

/** What the tiles of a panel share. */
@unmanaged
class Panel {
  /** Distances of the runs from a window's first pixel, and what lies behind them. */
  runs: usize;
  runsEnd: usize;
  runBytes: usize;
  /** f32 [K][8]. */
  weights: usize;
  bias: usize;
  rowBytes: usize;
  cols: u32;
  low: f32;
  high: f32;
}

/** One MR x 8 tile of C, of `rows` rows that exist, from the first pixels of MR windows. */
function tileWindows(panel: Panel, windows: usize, to: usize, rows: u32): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  let b = panel.weights, run = panel.runs;
  do {
    const distance = load<usize>(run);
    let a0 = load<usize>(windows, 0) + distance, a1 = load<usize>(windows, 4) + distance;
    let a2 = load<usize>(windows, 8) + distance, a3 = load<usize>(windows, 12) + distance;
    let a4: usize = 0, a5: usize = 0;
    if (MR == 6) {
      a4 = load<usize>(windows, 16) + distance;
      a5 = load<usize>(windows, 20) + distance;
    }
    const end = a0 + panel.runBytes;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a0);
      c00 = madd(x, b0, c00);
      c01 = madd(x, b1, c01);
      x = v128.load32_splat(a1);
      c10 = madd(x, b0, c10);
      c11 = madd(x, b1, c11);
      x = v128.load32_splat(a2);
      c20 = madd(x, b0, c20);
      c21 = madd(x, b1, c21);
      x = v128.load32_splat(a3);
      c30 = madd(x, b0, c30);
      c31 = madd(x, b1, c31);
      if (MR == 6) {
        x = v128.load32_splat(a4);
        c40 = madd(x, b0, c40);
        c41 = madd(x, b1, c41);
        x = v128.load32_splat(a5);
        c50 = madd(x, b0, c50);
        c51 = madd(x, b1, c51);
        a4 += 4;
        a5 += 4;
      }
      a0 += 4;
      a1 += 4;
      a2 += 4;
      a3 += 4;
      b += 32;
    } while (a0 < end);
    run += sizeof<usize>();
  } while (run < panel.runsEnd);
  const lo = f32x4.splat(panel.low), hi = f32x4.splat(panel.high);
  const bias0 = v128.load(panel.bias, 0), bias1 = v128.load(panel.bias, 16);
  const rowBytes = panel.rowBytes, cols = panel.cols;
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

type Tile = (panel: Panel, windows: usize, to: usize, rows: u32) => void;

/** Rows of A as panels [K][MR]. `pointers` is room for [runs][MR]. */
function packWindows(panel: Panel, windows: usize, rows: u32, pointers: usize, to: usize): void {
  const runs = <u32>(panel.runsEnd - panel.runs) / sizeof<usize>(), length = <u32>panel.runBytes / 4;
  for (let r: u32 = 0; r < rows; r += MR) {
    let at = pointers;
    for (let i: u32 = 0; i < runs; i++) {
      const distance = load<usize>(panel.runs + i * sizeof<usize>());
      for (let j: u32 = 0; j < MR; j++) {
        store<usize>(at, load<usize>(windows + j * sizeof<usize>()) + distance);
        at += sizeof<usize>();
      }
    }
    if (MR == 6) packRows6(pointers, runs, length, to);
    else packRows4(pointers, runs, length, to);
    windows += MR * sizeof<usize>();
    to += runs * length * (MR * 4);
  }
}

/**
 * Tiles are blocks of `rowBlock` rows, group after group. Windows that reach over the border read what `pad_image` made
 * (`chunk` is not 0), others the input itself. Scratch: Panel, distances of runs [groupSteps], addresses of windows
 * [rowBlock], one decoded B panel [K][8]; where rows are packed (`steps` is not 0), addresses [groupSteps][MR] and A panels.
 */
export function gemmF32(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: PanelSource): void {
  const N = job.N, M = job.M, K = job.K, rowBlock = job.rowBlock, runs = job.groupSteps;
  const groupBytes = <usize>(job.channels / job.groups) * 4;
  const panels = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const rowBytes = <usize>job.groups * N * 4;
  const padded = job.chunk != 0, packs = job.steps != 0;
  const image = padded ? job.shared : job.input;
  const pixelBytes = <usize>job.channels * 4;
  const lineBytes = pixelBytes * (padded ? imageWidth(job) : job.inWidth);
  const imageBytes = lineBytes * (padded ? imageHeight(job) : job.inHeight);
  const panel = changetype<Panel>(scratch);
  panel.runs = scratch + 64;
  panel.runsEnd = panel.runs + runs * sizeof<usize>();
  panel.runBytes = K * 4 / runs;
  panel.rowBytes = rowBytes;
  panel.low = job.low;
  panel.high = job.high;
  runsOf(job, runs, pixelBytes, lineBytes, panel.runs);
  const windows = (panel.runsEnd + 63) & ~63;
  const decoded = (windows + rowBlock * sizeof<usize>() + 63) & ~63;
  const pointers = decoded + K * 32;
  const aPanels = (pointers + runs * MR * sizeof<usize>() + 63) & ~63;
  const kernel: Tile = tileWindows;
  let ready: u32 = -1;
  for (let tile = begin; tile < end; tile++) {
    const block = tile / parts, part = tile % parts;
    const group = block / mTiles;
    const m0 = (block % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    if (block != ready) {
      windowsOf(job, image + group * groupBytes, pixelBytes, lineBytes, imageBytes, m0, (rows + MR - 1) / MR * MR, windows);
      if (packs) packWindows(panel, windows, rows, pointers, aPanels);
    }
    ready = block;
    for (let p = panels * part / parts, past = panels * (part + 1) / parts; p < past; p++) {
      const n = p * NR;
      panel.weights = source(job, group * panels + p, decoded);
      panel.bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      panel.cols = N - n;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * 4;
      for (let r: u32 = 0; r < rows; r += MR) {
        if (packs) {
          tileMx8(aPanels + r * K * 4, panel.weights, K, panel.bias, job.low, job.high, to, rowBytes, rows - r, N - n);
        } else {
          kernel(panel, windows + r * sizeof<usize>(), to, rows - r);
        }
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
