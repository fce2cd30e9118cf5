import { MatmulJob } from '../shared/job';
import { gatherRows, tapCount } from '../shared/rows';
import { storeRow } from '../shared/gemm_f32';
import { clamp } from '../shared/simd';
import { codesAt, Sample, sampleAt } from './quantize';

// C = clamp(scaleA[sample] * scaleW[n] * sum (a - zeroA[sample]) * (w - zeroW[n]) + bias[n]), sums in int32, exact.
// Stage 1 is int8_quantize; these are stage 2. Two kernels: `dot` multiplies bytes (module A), `k2` multiplies pairs
// of 16-bit integers with i32x4.dot_i16x8_s, which is exact for 8 x 8 bits on every engine.

const NR: u32 = 8;

/** Codes of one row of A for one group, contiguous and zero point removed: i16 [roundUp(K, 8)]. Returns its sum. */
function wideRow(pointers: usize, stride: usize, taps: u32, channels: u32, zeroPoint: i32, to: usize): i32 {
  const zero = i16x8.splat(<i16>zeroPoint);
  const start = to;
  for (let tap: u32 = 0; tap < taps; tap++) {
    const from = load<usize>(pointers + tap * stride);
    if (from == 0) {
      memory.fill(to, 0, channels * 2);
      to += channels * 2;
      continue;
    }
    let c: u32 = 0;
    for (; c + 8 <= channels; c += 8) {
      v128.store(to, i16x8.sub(v128.load8x8_u(from + c), zero));
      to += 16;
    }
    for (; c < channels; c++) {
      store<i16>(to, <i16>(<i32>load<u8>(from + c) - zeroPoint));
      to += 2;
    }
  }
  // Products past K meet zeros.
  v128.store(to, i16x8.splat(0));
  let sum = i32x4.splat(0);
  for (let at = start; at < to; at += 16) {
    sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(v128.load(at)));
  }
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2)
    + i32x4.extract_lane(sum, 3);
}

/** Scales, bias and clamp of a row of 8 sums. */
// @ts-ignore: decorator
@inline
function finishRow(to: usize, sum0: v128, sum1: v128, scaleA: f32, scaleW: usize, bias: usize, low: f32, high: f32,
  cols: u32): void {
  const s = f32x4.splat(scaleA), lo = f32x4.splat(low), hi = f32x4.splat(high);
  const y0 = f32x4.mul(f32x4.convert_i32x4_s(sum0), f32x4.mul(s, v128.load(scaleW, 0)));
  const y1 = f32x4.mul(f32x4.convert_i32x4_s(sum1), f32x4.mul(s, v128.load(scaleW, 16)));
  storeRow(to, clamp(f32x4.add(y0, v128.load(bias, 0)), lo, hi), clamp(f32x4.add(y1, v128.load(bias, 16)), lo, hi),
    cols);
}

// ---- k2: w0 int8 [panels][ceil(K / 2)][8][2], w1 scale [groups * paddedN], w2 zeroW i32 [groups * paddedN] ----

/** Weights of a panel as i16 [ceil(K / 2)][8][2], zero point removed. */
function widenPanel(from: usize, pairs: u32, zeroW: usize, to: usize): void {
  // Zero points of 8 channels, each twice.
  const z = i16x8.narrow_i32x4_s(v128.load(zeroW, 0), v128.load(zeroW, 16));
  const z0 = i16x8.shuffle(z, z, 0, 0, 1, 1, 2, 2, 3, 3), z1 = i16x8.shuffle(z, z, 4, 4, 5, 5, 6, 6, 7, 7);
  const end = from + <usize>pairs * 16;
  do {
    const w = v128.load(from);
    v128.store(to, i16x8.sub(i16x8.extend_low_i8x16_s(w), z0), 0);
    v128.store(to, i16x8.sub(i16x8.extend_high_i8x16_s(w), z1), 16);
    from += 16;
    to += 32;
  } while (from < end);
}

/** Four rows of pairs, row r at rows + r * stride, interleaved to [pairs][4][2]. Reads whole blocks of 8. */
function interleave4(rows: usize, stride: usize, pairs: u32, to: usize): void {
  for (let i: u32 = 0; i < pairs; i += 4) {
    const r0 = v128.load(rows), r1 = v128.load(rows + stride);
    const r2 = v128.load(rows + 2 * stride), r3 = v128.load(rows + 3 * stride);
    rows += 16;
    const a = i32x4.shuffle(r0, r1, 0, 4, 1, 5), b = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
    const c = i32x4.shuffle(r0, r1, 2, 6, 3, 7), d = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
    v128.store(to, i64x2.shuffle(a, b, 0, 2), 0);
    v128.store(to, i64x2.shuffle(a, b, 1, 3), 16);
    v128.store(to, i64x2.shuffle(c, d, 0, 2), 32);
    v128.store(to, i64x2.shuffle(c, d, 1, 3), 48);
    to += 64;
  }
}

/** Sums of a 4x8 tile; 4 rows because 16-bit products need a register that the 6x8 tile has not. */
function tile4x8(
  a: usize, b: usize, pairs: u32, scaleA: usize, scaleW: usize, bias: usize, low: f32, high: f32,
  to: usize, rowBytes: usize, rows: u32, cols: u32,
): void {
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const end = a + <usize>pairs * 16;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 4);
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 8);
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 12);
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
    a += 16;
    b += 32;
  } while (a < end);
  finishRow(to, c00, c01, f32.load(scaleA, 0), scaleW, bias, low, high, cols);
  if (rows <= 1) return;
  to += rowBytes;
  finishRow(to, c10, c11, f32.load(scaleA, 4), scaleW, bias, low, high, cols);
  if (rows <= 2) return;
  to += rowBytes;
  finishRow(to, c20, c21, f32.load(scaleA, 8), scaleW, bias, low, high, cols);
  if (rows <= 3) return;
  to += rowBytes;
  finishRow(to, c30, c31, f32.load(scaleA, 12), scaleW, bias, low, high, cols);
}

/**
 * Tiles are blocks of `rowBlock` rows, group after group. Scratch: pointers [taps], four wide rows, scales of A
 * [rowBlock], A panels [rowBlock / 4][pairs][4][2], one wide B panel.
 */
export function int8_gemm_4x8_k2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const K = job.K, N = job.N, M = job.M, rowBlock = job.rowBlock;
  const taps = tapCount(job);
  const groupChannels = job.channels / job.groups;
  const panels = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock;
  const rowBytes = <usize>job.groups * N * 4;
  const pairs = ((K + 7) & ~7) / 2;
  const wideStride = <usize>pairs * 4 + 16;
  const pointers = scratch;
  const wide = (pointers + taps * sizeof<usize>() + 63) & ~63;
  const scales = (wide + 4 * wideStride + 63) & ~63;
  const aPanels = (scales + rowBlock * 4 + 63) & ~63;
  const aPanelBytes = <usize>pairs * 16;
  const bPanel = aPanels + <usize>(rowBlock / 4) * aPanelBytes;
  const weightPairs = (K + 1) / 2;
  const codes = codesAt(job);
  for (let tile = begin; tile < end; tile++) {
    const group = tile / mTiles;
    const m0 = (tile % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let r: u32 = 0; r < rows; r += 4) {
      for (let i: u32 = 0; i < 4; i++) {
        const m = min(m0 + r + i, M - 1);
        const sample = sampleAt(job, m / job.rowsPerSample);
        gatherRows(job, codes, 1, job.channels, group * groupChannels, m, 1, 0, pointers);
        wideRow(pointers, sizeof<usize>(), taps, groupChannels, sample.zeroPoint, wide + i * wideStride);
        f32.store(scales + (r + i) * 4, sample.scale);
      }
      interleave4(wide, wideStride, pairs, aPanels + <usize>(r / 4) * aPanelBytes);
    }
    for (let p: u32 = 0; p < panels; p++) {
      const n = p * NR;
      const channel = <usize>(group * job.paddedN + n) * 4;
      const panel = group * panels + p;
      widenPanel(job.w0 + <usize>panel * weightPairs * 16, weightPairs, job.w2 + channel, bPanel);
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * 4;
      for (let r: u32 = 0; r < rows; r += 4) {
        tile4x8(aPanels + <usize>(r / 4) * aPanelBytes, bPanel, weightPairs, scales + r * 4, job.w1 + channel,
          job.bias + channel, job.low, job.high, to, rowBytes, rows - r, N - n);
        to += 4 * rowBytes;
      }
    }
  }
}

/** Few rows: tiles are panels of 8 channels, group after group. Scratch: pointers [taps], one wide row. */
export function int8_gemv_1x8_k2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const K = job.K, N = job.N;
  const taps = tapCount(job);
  const groupChannels = job.channels / job.groups;
  const panels = job.paddedN / NR;
  const rowBytes = <usize>job.groups * N * 4;
  const weightPairs = (K + 1) / 2;
  const pointers = scratch;
  const wide = (pointers + taps * sizeof<usize>() + 63) & ~63;
  for (let m: u32 = 0; m < job.M; m++) {
    const sample = sampleAt(job, m / job.rowsPerSample);
    let gathered: u32 = -1;
    let sumA = i32x4.splat(0);
    for (let panel = begin; panel < end; panel++) {
      const group = panel / panels;
      if (group != gathered) {
        gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, pointers);
        sumA = i32x4.splat(wideRow(pointers, sizeof<usize>(), taps, groupChannels, sample.zeroPoint, wide));
        gathered = group;
      }
      let b = job.w0 + <usize>panel * weightPairs * 16;
      let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
      let a = wide;
      const whole = a + <usize>(weightPairs & ~1) * 4;
      while (a < whole) {
        let w = v128.load(b, 0);
        let x = v128.load32_splat(a, 0);
        c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, i16x8.extend_low_i8x16_s(w)));
        c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, i16x8.extend_high_i8x16_s(w)));
        w = v128.load(b, 16);
        x = v128.load32_splat(a, 4);
        c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, i16x8.extend_low_i8x16_s(w)));
        c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, i16x8.extend_high_i8x16_s(w)));
        a += 8;
        b += 32;
      }
      if (weightPairs & 1) {
        const w = v128.load(b);
        const x = v128.load32_splat(a);
        c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, i16x8.extend_low_i8x16_s(w)));
        c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, i16x8.extend_high_i8x16_s(w)));
      }
      const n = (panel % panels) * NR;
      const channel = <usize>(group * job.paddedN + n) * 4;
      const z0 = i32x4.mul(v128.load(job.w2 + channel, 0), sumA);
      const z1 = i32x4.mul(v128.load(job.w2 + channel, 16), sumA);
      finishRow(job.output + m * rowBytes + <usize>(group * N + n) * 4, i32x4.sub(i32x4.add(c00, c10), z0),
        i32x4.sub(i32x4.add(c01, c11), z1), sample.scale, job.w1 + channel, job.bias + channel, job.low, job.high,
        N - n);
    }
  }
}

// ---- dot (module A): w0 int8 [panels][ceil(K / 4)][8][4], w1 and w2 as above, w3 sum of w over K, i32 ----

/** w (signed) times a, summed in fours into c. `a` holds codes as the engine wants them: see activationBias. */
// @ts-ignore: decorator
@inline
function dot(w: v128, a: v128, c: v128): v128 {
  if (EMULATE_DOT == 0) return i32x4.relaxed_dot_i8x16_i7x16_add_s(w, a, c);
  // Test builds: the same sums spelled out, with `a` unsigned (1) or signed (2).
  const w0 = i16x8.extend_low_i8x16_s(w), w1 = i16x8.extend_high_i8x16_s(w);
  const a0 = EMULATE_DOT == 1 ? i16x8.extend_low_i8x16_u(a) : i16x8.extend_low_i8x16_s(a);
  const a1 = EMULATE_DOT == 1 ? i16x8.extend_high_i8x16_u(a) : i16x8.extend_high_i8x16_s(a);
  const s0 = i32x4.dot_i16x8_s(w0, a0), s1 = i32x4.dot_i16x8_s(w1, a1);
  return i32x4.add(c, i32x4.add(i32x4.shuffle(s0, s1, 0, 2, 4, 6), i32x4.shuffle(s0, s1, 1, 3, 5, 7)));
}

/**
 * Codes of one row, as bytes for the engine: unsigned for `usdot`, 128 less (so signed) for `sdot`.
 * The padding of a convolution is the zero point, what lies past K is 0. Returns the sum of the bytes as numbers.
 */
function byteRow(pointers: usize, taps: u32, channels: u32, zeroPoint: i32, flip: u32, K: u32, to: usize): i32 {
  const start = to;
  for (let tap: u32 = 0; tap < taps; tap++) {
    const from = load<usize>(pointers + tap * sizeof<usize>());
    if (from == 0) memory.fill(to, <u8>zeroPoint, channels);
    else memory.copy(to, from, channels);
    to += channels;
  }
  const flips = i8x16.splat(<i8>flip);
  let sum: i32 = 0;
  // Rows are padded to 16 bytes; what lies past K is made 0 after the flip.
  for (let at = start; at < to; at += 16) v128.store(at, v128.xor(v128.load(at), flips));
  v128.store(to, i8x16.splat(0));
  let sums = i32x4.splat(0);
  for (let at = start; at < to; at += 16) {
    const bytes = v128.load(at);
    const pairs = flip ? i16x8.extadd_pairwise_i8x16_s(bytes) : i16x8.extadd_pairwise_i8x16_u(bytes);
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_s(pairs));
  }
  sum = i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2)
    + i32x4.extract_lane(sums, 3);
  return sum;
}

/** What a row of A adds to its sums: see finishDot. */
@unmanaged
class RowFacts {
  scale: f32;
  zeroPoint: i32;
  /** sum of bytes - K * zeroPoint */
  centred: i32;
  reserved: u32;
}

/**
 * sum (a - zA)(w - zW) = sum a*w - zA * sum w - zW * (sum a - K * zA); for sdot a and zA are both 128 less.
 */
// @ts-ignore: decorator
@inline
function finishDot(to: usize, sum0: v128, sum1: v128, row: RowFacts, job: MatmulJob, channel: usize, cols: u32): void {
  const zA = i32x4.splat(row.zeroPoint), centred = i32x4.splat(row.centred);
  const zeroW = job.w2 + channel, sumW = job.w3 + channel;
  sum0 = i32x4.sub(sum0, i32x4.mul(zA, v128.load(sumW, 0)));
  sum1 = i32x4.sub(sum1, i32x4.mul(zA, v128.load(sumW, 16)));
  sum0 = i32x4.sub(sum0, i32x4.mul(centred, v128.load(zeroW, 0)));
  sum1 = i32x4.sub(sum1, i32x4.mul(centred, v128.load(zeroW, 16)));
  finishRow(to, sum0, sum1, row.scale, job.w1 + channel, job.bias + channel, job.low, job.high, cols);
}

function tileDot6x8(
  a: usize, b: usize, quads: u32, facts: usize, job: MatmulJob, channel: usize, to: usize, rowBytes: usize,
  rows: u32, cols: u32,
): void {
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  const end = a + <usize>quads * 24;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = dot(b0, x, c00);
    c01 = dot(b1, x, c01);
    x = v128.load32_splat(a, 4);
    c10 = dot(b0, x, c10);
    c11 = dot(b1, x, c11);
    x = v128.load32_splat(a, 8);
    c20 = dot(b0, x, c20);
    c21 = dot(b1, x, c21);
    x = v128.load32_splat(a, 12);
    c30 = dot(b0, x, c30);
    c31 = dot(b1, x, c31);
    x = v128.load32_splat(a, 16);
    c40 = dot(b0, x, c40);
    c41 = dot(b1, x, c41);
    x = v128.load32_splat(a, 20);
    c50 = dot(b0, x, c50);
    c51 = dot(b1, x, c51);
    a += 24;
    b += 32;
  } while (a < end);
  const size = offsetof<RowFacts>();
  finishDot(to, c00, c01, changetype<RowFacts>(facts), job, channel, cols);
  if (rows <= 1) return;
  to += rowBytes;
  finishDot(to, c10, c11, changetype<RowFacts>(facts + size), job, channel, cols);
  if (rows <= 2) return;
  to += rowBytes;
  finishDot(to, c20, c21, changetype<RowFacts>(facts + 2 * size), job, channel, cols);
  if (rows <= 3) return;
  to += rowBytes;
  finishDot(to, c30, c31, changetype<RowFacts>(facts + 3 * size), job, channel, cols);
  if (rows <= 4) return;
  to += rowBytes;
  finishDot(to, c40, c41, changetype<RowFacts>(facts + 4 * size), job, channel, cols);
  if (rows <= 5) return;
  to += rowBytes;
  finishDot(to, c50, c51, changetype<RowFacts>(facts + 5 * size), job, channel, cols);
}

/** Writes the facts and bytes of row m for one group. */
function dotRow(job: MatmulJob, m: u32, group: u32, groupChannels: u32, pointers: usize, to: usize, facts: RowFacts)
: void {
  const sample = sampleAt(job, m / job.rowsPerSample);
  const flip = job.dotFlip;
  const taps = tapCount(job);
  gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, pointers);
  const sum = byteRow(pointers, taps, groupChannels, sample.zeroPoint, flip, job.K, to);
  facts.scale = sample.scale;
  facts.zeroPoint = sample.zeroPoint - <i32>flip;
  facts.centred = sum - <i32>job.K * facts.zeroPoint;
}

/**
 * Tiles are blocks of `rowBlock` rows, group after group. Scratch: pointers [taps], facts [rowBlock], one row of
 * bytes, A panels [rowBlock / 6][ceil(K / 4)][6][4].
 */
export function int8_gemm_6x8_k4_dot(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE != 0) return;
  const K = job.K, N = job.N, M = job.M, rowBlock = job.rowBlock;
  const groupChannels = job.channels / job.groups;
  const panels = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock;
  const rowBytes = <usize>job.groups * N * 4;
  const quads = (K + 3) / 4;
  const pointers = scratch;
  const facts = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const bytes = facts + rowBlock * offsetof<RowFacts>();
  const aPanels = (bytes + K + 32 + 63) & ~63;
  const aPanelBytes = <usize>quads * 24;
  for (let tile = begin; tile < end; tile++) {
    const group = tile / mTiles;
    const m0 = (tile % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let r: u32 = 0; r < rows; r += 6) {
      for (let i: u32 = 0; i < 6; i++) {
        const m = min(m0 + r + i, M - 1);
        dotRow(job, m, group, groupChannels, pointers, bytes,
          changetype<RowFacts>(facts + (r + i) * offsetof<RowFacts>()));
        let to = aPanels + <usize>(r / 6) * aPanelBytes + i * 4;
        for (let q: u32 = 0; q < quads; q++) {
          store<u32>(to, load<u32>(bytes + q * 4));
          to += 24;
        }
      }
    }
    for (let p: u32 = 0; p < panels; p++) {
      const n = p * NR;
      const channel = <usize>(group * job.paddedN + n) * 4;
      const b = job.w0 + <usize>(group * panels + p) * quads * 32;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * 4;
      for (let r: u32 = 0; r < rows; r += 6) {
        tileDot6x8(aPanels + <usize>(r / 6) * aPanelBytes, b, quads, facts + r * offsetof<RowFacts>(), job, channel,
          to, rowBytes, rows - r, N - n);
        to += 6 * rowBytes;
      }
    }
  }
}

/** Few rows: tiles are panels of 8 channels, group after group. Scratch: pointers [taps], facts, one row of bytes. */
export function int8_gemv_1x8_k4_dot(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE != 0) return;
  const K = job.K, N = job.N;
  const groupChannels = job.channels / job.groups;
  const panels = job.paddedN / NR;
  const rowBytes = <usize>job.groups * N * 4;
  const quads = (K + 3) / 4;
  const pointers = scratch;
  const facts = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const bytes = facts + offsetof<RowFacts>();
  for (let m: u32 = 0; m < job.M; m++) {
    let gathered: u32 = -1;
    for (let panel = begin; panel < end; panel++) {
      const group = panel / panels;
      if (group != gathered) {
        dotRow(job, m, group, groupChannels, pointers, bytes, changetype<RowFacts>(facts));
        gathered = group;
      }
      let b = job.w0 + <usize>panel * quads * 32;
      let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
      let a = bytes;
      const whole = a + <usize>(quads & ~1) * 4;
      while (a < whole) {
        let x = v128.load32_splat(a, 0);
        c00 = dot(v128.load(b, 0), x, c00);
        c01 = dot(v128.load(b, 16), x, c01);
        x = v128.load32_splat(a, 4);
        c10 = dot(v128.load(b, 32), x, c10);
        c11 = dot(v128.load(b, 48), x, c11);
        a += 8;
        b += 64;
      }
      if (quads & 1) {
        const x = v128.load32_splat(a);
        c00 = dot(v128.load(b, 0), x, c00);
        c01 = dot(v128.load(b, 16), x, c01);
      }
      const n = (panel % panels) * NR;
      finishDot(job.output + m * rowBytes + <usize>(group * N + n) * 4, i32x4.add(c00, c10), i32x4.add(c01, c11),
        changetype<RowFacts>(facts), job, <usize>(group * job.paddedN + n) * 4, N - n);
    }
  }
}
