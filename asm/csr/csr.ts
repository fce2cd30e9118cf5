import { MatmulJob } from '../shared/job';
import { flatRow } from '../shared/gemm_f32';
import { gatherRows, tapCount } from '../shared/rows';
import { clamp, clampScalar, madd, storeTransposed } from '../shared/simd';

// C = clamp(A * W^T + bias), W sparse. A strip of MR rows of A is packed [K][MR], so that one non-zero of W is
// MR multiply-adds on contiguous memory. Long K is cut into blocks of `chunk` columns, whose strip stays close to L1.
// w0: u32 [blocks][groups * N], then one more: first entry of each row in each block; w1: entries in that order
// { u32 (column - first of the block) * MR * 4, f32 value }: the column as a byte offset into the strip.

/** Columns k .. past - 1 of a strip, gathered through pointers[taps][strip], transposed to [past - k][strip]. */
function packStrip(pointers: usize, channels: u32, k: u32, past: u32, strip: u32, to: usize): void {
  const stride = <usize>strip * 4;
  while (k < past) {
    const first = k % channels;
    const count = min(channels - first, past - k);
    const offset = <usize>first * 4;
    let p = pointers + <usize>(k / channels) * strip * sizeof<usize>();
    for (let r: u32 = 0; r < strip; r += 4) {
      let p0 = load<usize>(p, 0 * sizeof<usize>()) + offset;
      let p1 = load<usize>(p, 1 * sizeof<usize>()) + offset;
      let p2 = load<usize>(p, 2 * sizeof<usize>()) + offset;
      let p3 = load<usize>(p, 3 * sizeof<usize>()) + offset;
      p += 4 * sizeof<usize>();
      let at = to + r * 4;
      let c: u32 = 0;
      for (; c + 4 <= count; c += 4) {
        storeTransposed(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), at, stride);
        at += 4 * stride;
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
      }
      for (; c < count; c++) {
        f32.store(at, f32.load(p0), 0);
        f32.store(at, f32.load(p1), 4);
        f32.store(at, f32.load(p2), 8);
        f32.store(at, f32.load(p3), 12);
        at += stride;
        p0 += 4;
        p1 += 4;
        p2 += 4;
        p3 += 4;
      }
    }
    to += <usize>count * stride;
    k += count;
  }
}

/**
 * Sums of one row of W over a strip: entries from .. end - 1, to strip * 4 bytes at `to`, on top of what is there when
 * `more`. Called through the table: inlined into the loops around it, the accumulators would compete with their
 * variables for registers.
 */
type RowSum = (strip: usize, from: usize, end: usize, more: bool, to: usize) => void;

function row48(strip: usize, from: usize, end: usize, more: bool, to: usize): void {
  let c0 = f32x4.splat(0), c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0;
  let c6 = c0, c7 = c0, c8 = c0, c9 = c0, c10 = c0, c11 = c0;
  if (more) {
    c0 = v128.load(to, 0);
    c1 = v128.load(to, 16);
    c2 = v128.load(to, 32);
    c3 = v128.load(to, 48);
    c4 = v128.load(to, 64);
    c5 = v128.load(to, 80);
    c6 = v128.load(to, 96);
    c7 = v128.load(to, 112);
    c8 = v128.load(to, 128);
    c9 = v128.load(to, 144);
    c10 = v128.load(to, 160);
    c11 = v128.load(to, 176);
  }
  while (from < end) {
    const x = strip + load<u32>(from);
    const w = v128.load32_splat(from, 4);
    c0 = madd(w, v128.load(x, 0), c0);
    c1 = madd(w, v128.load(x, 16), c1);
    c2 = madd(w, v128.load(x, 32), c2);
    c3 = madd(w, v128.load(x, 48), c3);
    c4 = madd(w, v128.load(x, 64), c4);
    c5 = madd(w, v128.load(x, 80), c5);
    c6 = madd(w, v128.load(x, 96), c6);
    c7 = madd(w, v128.load(x, 112), c7);
    c8 = madd(w, v128.load(x, 128), c8);
    c9 = madd(w, v128.load(x, 144), c9);
    c10 = madd(w, v128.load(x, 160), c10);
    c11 = madd(w, v128.load(x, 176), c11);
    from += 8;
  }
  v128.store(to, c0, 0);
  v128.store(to, c1, 16);
  v128.store(to, c2, 32);
  v128.store(to, c3, 48);
  v128.store(to, c4, 64);
  v128.store(to, c5, 80);
  v128.store(to, c6, 96);
  v128.store(to, c7, 112);
  v128.store(to, c8, 128);
  v128.store(to, c9, 144);
  v128.store(to, c10, 160);
  v128.store(to, c11, 176);
}

function row16(strip: usize, from: usize, end: usize, more: bool, to: usize): void {
  let c0 = f32x4.splat(0), c1 = c0, c2 = c0, c3 = c0, d0 = c0, d1 = c0, d2 = c0, d3 = c0;
  if (more) {
    c0 = v128.load(to, 0);
    c1 = v128.load(to, 16);
    c2 = v128.load(to, 32);
    c3 = v128.load(to, 48);
  }
  while (from + 8 < end) {
    let x = strip + load<u32>(from);
    let w = v128.load32_splat(from, 4);
    c0 = madd(w, v128.load(x, 0), c0);
    c1 = madd(w, v128.load(x, 16), c1);
    c2 = madd(w, v128.load(x, 32), c2);
    c3 = madd(w, v128.load(x, 48), c3);
    x = strip + load<u32>(from, 8);
    w = v128.load32_splat(from, 12);
    d0 = madd(w, v128.load(x, 0), d0);
    d1 = madd(w, v128.load(x, 16), d1);
    d2 = madd(w, v128.load(x, 32), d2);
    d3 = madd(w, v128.load(x, 48), d3);
    from += 16;
  }
  if (from < end) {
    const x = strip + load<u32>(from);
    const w = v128.load32_splat(from, 4);
    c0 = madd(w, v128.load(x, 0), c0);
    c1 = madd(w, v128.load(x, 16), c1);
    c2 = madd(w, v128.load(x, 32), c2);
    c3 = madd(w, v128.load(x, 48), c3);
  }
  v128.store(to, f32x4.add(c0, d0), 0);
  v128.store(to, f32x4.add(c1, d1), 16);
  v128.store(to, f32x4.add(c2, d2), 32);
  v128.store(to, f32x4.add(c3, d3), 48);
}

/** Channels n .. n + count - 1 of `rows` rows of A, from sums [4][strip] to NHWC, with bias and clamp. */
function finishChannels(
  job: MatmulJob, sums: usize, strip: u32, rows: u32, count: u32, bias: usize, to: usize, rowBytes: usize,
): void {
  const stride = <usize>strip * 4;
  if (count == 4) {
    const low = f32x4.splat(job.low), high = f32x4.splat(job.high), b = v128.load(bias);
    for (let r: u32 = 0; r < rows; r += 4) {
      const s0 = v128.load(sums), s1 = v128.load(sums + stride);
      const s2 = v128.load(sums + 2 * stride), s3 = v128.load(sums + 3 * stride);
      sums += 16;
      const p = i32x4.shuffle(s0, s1, 0, 4, 1, 5), q = i32x4.shuffle(s2, s3, 0, 4, 1, 5);
      const s = i32x4.shuffle(s0, s1, 2, 6, 3, 7), t = i32x4.shuffle(s2, s3, 2, 6, 3, 7);
      const left = rows - r;
      v128.store(to, clamp(f32x4.add(i64x2.shuffle(p, q, 0, 2), b), low, high));
      to += rowBytes;
      if (left <= 1) return;
      v128.store(to, clamp(f32x4.add(i64x2.shuffle(p, q, 1, 3), b), low, high));
      to += rowBytes;
      if (left <= 2) return;
      v128.store(to, clamp(f32x4.add(i64x2.shuffle(s, t, 0, 2), b), low, high));
      to += rowBytes;
      if (left <= 3) return;
      v128.store(to, clamp(f32x4.add(i64x2.shuffle(s, t, 1, 3), b), low, high));
      to += rowBytes;
    }
    return;
  }
  for (let r: u32 = 0; r < rows; r++) {
    for (let i: u32 = 0; i < count; i++) {
      const sum = f32.load(sums + i * stride + r * 4) + f32.load(bias + i * 4);
      f32.store(to + i * 4, clampScalar(sum, job.low, job.high));
    }
    to += rowBytes;
  }
}

/**
 * Tiles are strips of `strip` rows, group after group.
 * Scratch: pointers [taps][strip], sums [N rounded up to 4][strip], then the strip [chunk][strip].
 */
function spmm(job: MatmulJob, begin: u32, end: u32, scratch: usize, strip: u32, sum: RowSum): void {
  const N = job.N, M = job.M, K = job.K, chunk = job.chunk;
  const groupChannels = job.channels / job.groups;
  const mTiles = (M + strip - 1) / strip;
  const rowBytes = <usize>job.groups * N * 4;
  const blockBytes = rowBytes;
  const stripBytes = <usize>strip * 4;
  const pointers = scratch;
  const sums = (pointers + tapCount(job) * strip * sizeof<usize>() + 63) & ~63;
  const packed = sums + ((N + 3) & ~3) * stripBytes;
  for (let tile = begin; tile < end; tile++) {
    const group = tile / mTiles;
    const m0 = (tile % mTiles) * strip;
    const rows = min(strip, M - m0);
    gatherRows(job, job.input, 4, job.channels, group * groupChannels, m0, strip, job.zeros, pointers);
    let indptr = job.w0 + <usize>group * N * 4;
    for (let k: u32 = 0; k < K; k += chunk) {
      packStrip(pointers, groupChannels, k, min(k + chunk, K), strip, packed);
      let from = job.w1 + <usize>load<u32>(indptr) * 8;
      for (let n: u32 = 0; n < N; n++) {
        const to = job.w1 + <usize>load<u32>(indptr + n * 4, 4) * 8;
        sum(packed, from, to, k != 0, sums + n * stripBytes);
        from = to;
      }
      indptr += blockBytes;
    }
    for (let n: u32 = 0; n < N; n += 4) {
      const bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      const to = job.output + m0 * rowBytes + <usize>(group * N + n) * 4;
      finishChannels(job, sums + n * stripBytes, strip, rows, min<u32>(4, N - n), bias, to, rowBytes);
    }
  }
}

export function csr_spmm_48x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 48, row48);
}

export function csr_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, row16);
}

/**
 * Few rows of A: one dot product a row of W, four products in flight. Tiles are blocks of 8 rows of W, group
 * after group. Scratch: pointers [taps], then one row of A [K].
 */
export function csr_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const N = job.N;
  const blocks = (N + 7) / 8;
  const rowBytes = <usize>job.groups * N * 4;
  const pointers = scratch;
  const flat = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  for (let m: u32 = 0; m < job.M; m++) {
    let gathered: u32 = -1;
    let a: usize = 0;
    for (let block = begin; block < end; block++) {
      const group = block / blocks;
      if (group != gathered) {
        a = flatRow(job, m, group, pointers, flat);
        gathered = group;
      }
      const first = (block % blocks) * 8;
      const last = min(first + 8, N);
      for (let n = first; n < last; n++) {
        const indptr = job.w0 + <usize>(group * N + n) * 4;
        let from = job.w1 + <usize>load<u32>(indptr, 0) * 8;
        const to = job.w1 + <usize>load<u32>(indptr, 4) * 8;
        let s0: f32 = 0, s1: f32 = 0, s2: f32 = 0, s3: f32 = 0;
        while (from + 24 < to) {
          s0 += f32.load(from, 4) * f32.load(a + load<u32>(from, 0));
          s1 += f32.load(from, 12) * f32.load(a + load<u32>(from, 8));
          s2 += f32.load(from, 20) * f32.load(a + load<u32>(from, 16));
          s3 += f32.load(from, 28) * f32.load(a + load<u32>(from, 24));
          from += 32;
        }
        while (from < to) {
          s0 += f32.load(from, 4) * f32.load(a + load<u32>(from, 0));
          from += 8;
        }
        const sum = s0 + s1 + (s2 + s3) + f32.load(job.bias + <usize>(group * job.paddedN + n) * 4);
        f32.store(job.output + m * rowBytes + <usize>(group * N + n) * 4, clampScalar(sum, job.low, job.high));
      }
    }
  }
}
