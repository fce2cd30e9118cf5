import { InputKind, MatmulJob, OutputKind } from '../shared/job';
import { gatherRows, tapCount } from '../shared/rows';
import { storeRow } from '../shared/gemm_f32';
import { clamp, pick } from '../shared/simd';

// C = clamp(scale[n] * sum sign(a) * sign(w) + bias[n]); the sum is K - 2 * mismatches, exact. As bits: sum >= bias[n],
// thresholds that the host finds (signThreshold in src/formats/outputs.ts).
// Bits travel as nibbles: four channels of one tap are one group. A table of 16 x 16 bytes holds popcount(a ^ w);
// one activation nibble picks its row, and a swizzle looks up 16 output channels in it at once.
// Stage 1, xnor_binarize, from f32 or bits: shared scratch [pixels][groups][ceil(groupChannels / 4)], byte = nibble * 16.
// w0: [blocks of 32 channels][taps * ceil(groupChannels / 4)][16 bytes]; byte j holds channel j in its low nibble,
// channel 16 + j in its high one. w1: scale [groups * paddedN]. w2: sum of signs a tap, i32 [taps][groups * paddedN].

/** popcount(row ^ column), row * 16 + column. */
const MISMATCHES = memory.data<u8>([
  0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 1, 0, 2, 1, 2, 1, 3, 2, 2, 1, 3, 2, 3, 2, 4, 3,
  1, 2, 0, 1, 2, 3, 1, 2, 2, 3, 1, 2, 3, 4, 2, 3, 2, 1, 1, 0, 3, 2, 2, 1, 3, 2, 2, 1, 4, 3, 3, 2,
  1, 2, 2, 3, 0, 1, 1, 2, 2, 3, 3, 4, 1, 2, 2, 3, 2, 1, 3, 2, 1, 0, 2, 1, 3, 2, 4, 3, 2, 1, 3, 2,
  2, 3, 1, 2, 1, 2, 0, 1, 3, 4, 2, 3, 2, 3, 1, 2, 3, 2, 2, 1, 2, 1, 1, 0, 4, 3, 3, 2, 3, 2, 2, 1,
  1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 2, 1, 3, 2, 3, 2, 4, 3, 1, 0, 2, 1, 2, 1, 3, 2,
  2, 3, 1, 2, 3, 4, 2, 3, 1, 2, 0, 1, 2, 3, 1, 2, 3, 2, 2, 1, 4, 3, 3, 2, 2, 1, 1, 0, 3, 2, 2, 1,
  2, 3, 3, 4, 1, 2, 2, 3, 1, 2, 2, 3, 0, 1, 1, 2, 3, 2, 4, 3, 2, 1, 3, 2, 2, 1, 3, 2, 1, 0, 2, 1,
  3, 4, 2, 3, 2, 3, 1, 2, 2, 3, 1, 2, 1, 2, 0, 1, 4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0,
], 16);

const MR: u32 = 4;
const NR: u32 = 32;
/** Nibbles that a byte can count: 63 * 4 <= 255. */
const WIDEN_EVERY: u32 = 63;

/** `count` signs from bit `bit` on of a pixel's words, as nibbles; those past the last are 0. */
function spreadBits(from: usize, bit: u32, count: u32, to: usize): void {
  const end = bit + count;
  const high = i8x16.splat(-16);
  if ((bit & 7) == 0) {
    // 64 signs are 16 nibbles.
    for (; bit + 64 <= end; bit += 64) {
      const bytes = v128.load64_zero(from + (bit >> 3));
      const even = v128.and(i16x8.shl(bytes, 4), high), odd = v128.and(bytes, high);
      v128.store(to, i8x16.shuffle(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
      to += 16;
    }
  }
  for (; bit < end; bit += 4) {
    let four = <u32>load<u16>(from + (bit >> 3)) >> (bit & 7);
    if (end - bit < 4) four &= (1 << (end - bit)) - 1;
    store<u8>(to++, <u8>(four << 4));
  }
}

/** Tiles are pixels (rows of linear). */
export function xnor_binarize(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const groupChannels = job.channels / job.groups;
  const nibbles = (groupChannels + 3) / 4;
  if (job.inputKind == InputKind.BITS) {
    const pixelBytes = <usize>((job.channels + 31) / 32) * 4;
    let to = job.shared + <usize>begin * job.groups * nibbles;
    for (let pixel = begin; pixel < end; pixel++) {
      const from = job.input + <usize>pixel * pixelBytes;
      for (let g: u32 = 0; g < job.groups; g++) {
        spreadBits(from, g * groupChannels, groupChannels, to);
        to += nibbles;
      }
    }
    return;
  }
  const zero = f32x4.splat(0);
  for (let pixel = begin; pixel < end; pixel++) {
    let from = job.input + <usize>pixel * job.channels * 4;
    let to = job.shared + <usize>pixel * job.groups * nibbles;
    for (let g: u32 = 0; g < job.groups; g++) {
      let c: u32 = 0;
      for (; c + 16 <= groupChannels; c += 16) {
        const a = i32x4.bitmask(f32x4.ge(v128.load(from, 0), zero)), b = i32x4.bitmask(f32x4.ge(v128.load(from, 16), zero));
        const d = i32x4.bitmask(f32x4.ge(v128.load(from, 32), zero)), e = i32x4.bitmask(f32x4.ge(v128.load(from, 48), zero));
        store<u32>(to, (a | (b << 8) | (d << 16) | (e << 24)) << 4);
        from += 64;
        to += 4;
      }
      for (; c + 4 <= groupChannels; c += 4) {
        store<u8>(to++, <u8>(i32x4.bitmask(f32x4.ge(v128.load(from), zero)) << 4));
        from += 16;
      }
      if (c < groupChannels) {
        let bits: u32 = 0;
        for (let i: u32 = 0; c < groupChannels; c++, i++) {
          bits |= u32(f32.load(from) >= 0) << i;
          from += 4;
        }
        store<u8>(to++, <u8>(bits << 4));
      }
    }
  }
}

/** Takes sixteen counts of mismatches, twice, off sixteen i32 sums. */
// @ts-ignore: decorator
@inline
function widen(counts: v128, to: usize): void {
  const low = i16x8.shl(i16x8.extend_low_i8x16_u(counts), 1), high = i16x8.shl(i16x8.extend_high_i8x16_u(counts), 1);
  v128.store(to, i32x4.sub(v128.load(to, 0), i32x4.extend_low_i16x8_u(low)), 0);
  v128.store(to, i32x4.sub(v128.load(to, 16), i32x4.extend_high_i16x8_u(low)), 16);
  v128.store(to, i32x4.sub(v128.load(to, 32), i32x4.extend_low_i16x8_u(high)), 32);
  v128.store(to, i32x4.sub(v128.load(to, 48), i32x4.extend_high_i16x8_u(high)), 48);
}

/** K - 2 * mismatches of 4 rows with 32 channels, i32 [4][32] at `sums`. a: [nibbles][4] bytes. */
function tile4x32(a: usize, w: usize, nibbles: u32, K: u32, sums: usize): void {
  const start = i32x4.splat(K);
  for (let i: usize = 0; i < MR * NR * 4; i += 16) v128.store(sums + i, start);
  const mask = i8x16.splat(15);
  const table = MISMATCHES;
  while (nibbles > 0) {
    const step = min(nibbles, WIDEN_EVERY);
    let c00 = i8x16.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    const end = a + step * MR;
    do {
      const both = v128.load(w);
      const lo = v128.and(both, mask), hi = v128.and(i16x8.shr_u(both, 4), mask);
      let t = v128.load(table + <usize>load<u8>(a, 0));
      c00 = i8x16.add(c00, pick(t, lo));
      c01 = i8x16.add(c01, pick(t, hi));
      t = v128.load(table + <usize>load<u8>(a, 1));
      c10 = i8x16.add(c10, pick(t, lo));
      c11 = i8x16.add(c11, pick(t, hi));
      t = v128.load(table + <usize>load<u8>(a, 2));
      c20 = i8x16.add(c20, pick(t, lo));
      c21 = i8x16.add(c21, pick(t, hi));
      t = v128.load(table + <usize>load<u8>(a, 3));
      c30 = i8x16.add(c30, pick(t, lo));
      c31 = i8x16.add(c31, pick(t, hi));
      a += MR;
      w += 16;
    } while (a < end);
    widen(c00, sums);
    widen(c01, sums + 64);
    widen(c10, sums + 128);
    widen(c11, sums + 192);
    widen(c20, sums + 256);
    widen(c21, sums + 320);
    widen(c30, sums + 384);
    widen(c31, sums + 448);
    nibbles -= step;
  }
}

/**
 * Nibbles of 4 rows, through pointers[taps][4], interleaved to [taps * nibbles][4]. Writes up to 60 bytes past the end.
 */
function packNibbles(pointers: usize, taps: u32, nibbles: u32, to: usize): void {
  for (let tap: u32 = 0; tap < taps; tap++) {
    const p0 = load<usize>(pointers, 0), p1 = load<usize>(pointers, 4);
    const p2 = load<usize>(pointers, 8), p3 = load<usize>(pointers, 12);
    for (let i: usize = 0; i < nibbles; i += 16) {
      const r0 = v128.load(p0 + i), r1 = v128.load(p1 + i), r2 = v128.load(p2 + i), r3 = v128.load(p3 + i);
      const a = i8x16.shuffle(r0, r1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const b = i8x16.shuffle(r0, r1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      const c = i8x16.shuffle(r2, r3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const d = i8x16.shuffle(r2, r3, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      const at = to + i * MR;
      v128.store(at, i16x8.shuffle(a, c, 0, 8, 1, 9, 2, 10, 3, 11), 0);
      v128.store(at, i16x8.shuffle(a, c, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      v128.store(at, i16x8.shuffle(b, d, 0, 8, 1, 9, 2, 10, 3, 11), 32);
      v128.store(at, i16x8.shuffle(b, d, 4, 12, 5, 13, 6, 14, 7, 15), 48);
    }
    pointers += MR * sizeof<usize>();
    to += nibbles * MR;
  }
}

/**
 * Tiles are blocks of `rowBlock` rows, group after group.
 * Scratch: sums [4][32], pointers [rowBlock / 4][taps][4], the nibbles of a pixel of +1, A panels
 * [rowBlock / 4][taps * nibbles][4], 64 bytes.
 */
export function xnor_bgemm_4x32_lut(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const K = job.K, N = job.N, M = job.M, rowBlock = job.rowBlock;
  const taps = tapCount(job);
  const groupChannels = job.channels / job.groups;
  const nibbles = (groupChannels + 3) / 4;
  const rest = groupChannels & 3;
  const lastBits: u32 = rest ? ((<u32>1 << rest) - 1) << 4 : 0xf0;
  const blocks = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const toBits = job.outputKind == OutputKind.BITS;
  const rowBytes = <usize>(toBits ? (job.groups * N + 31) / 32 : job.groups * N) * 4;
  const depth = taps * nibbles;
  const sums = scratch;
  const pointers = sums + MR * NR * 4;
  const tapPointers = <usize>taps * MR * sizeof<usize>();
  const outside = pointers + rowBlock * taps * sizeof<usize>();
  const aPanels = outside + nibbles + 16;
  const aPanelBytes = <usize>depth * MR;
  memory.fill(outside, 0xf0, nibbles - 1);
  store<u8>(outside + nibbles - 1, <u8>lastBits);
  let packed: u32 = -1;
  for (let tile = begin; tile < end; tile++) {
    const rowTile = tile / parts, part = tile % parts;
    const group = rowTile / mTiles;
    const m0 = (rowTile % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let strip: u32 = 0; strip * MR < rows && rowTile != packed; strip++) {
      const from = pointers + strip * tapPointers;
      gatherRows(job, job.shared, 1, job.groups * nibbles, group * nibbles, m0 + strip * MR, MR, outside, from);
      packNibbles(from, taps, nibbles, aPanels + strip * aPanelBytes);
    }
    packed = rowTile;
    for (let p = blocks * part / parts, past = blocks * (part + 1) / parts; p < past; p++) {
      const n = p * NR;
      const cols = min(NR, N - n);
      const channel = <usize>(group * job.paddedN + n) * 4;
      const w = job.w0 + <usize>(group * blocks + p) * depth * 16;
      for (let r: u32 = 0; r < rows; r += MR) {
        const here = min(MR, rows - r);
        tile4x32(aPanels + <usize>(r / MR) * aPanelBytes, w, depth, job.K, sums);
        if (!job.padValue) {
          for (let i: u32 = 0; i < here; i++) {
            removePadding(job, sums + i * NR * 4, pointers + (r / MR) * tapPointers + i * sizeof<usize>(), outside, channel);
          }
        }
        const to = job.output + <usize>(m0 + r) * rowBytes;
        if (toBits) finishBits(sums, here, job.bias + channel, to + <usize>((group * N + n) / 32) * 4, rowBytes);
        else finishRows(job, sums, here, channel, to + <usize>(group * N + n) * 4, rowBytes, cols);
      }
    }
  }
}

/** Taps outside the image were counted as +1: takes their signs out of the 32 sums of a row. pointers: [taps][4] */
function removePadding(job: MatmulJob, sums: usize, pointers: usize, outside: usize, channel: usize): void {
  const taps = tapCount(job);
  const tapBytes = <usize>job.groups * job.paddedN * 4;
  for (let tap: u32 = 0; tap < taps; tap++) {
    if (load<usize>(pointers + tap * MR * sizeof<usize>()) != outside) continue;
    const signs = job.w2 + tap * tapBytes + channel;
    for (let c: usize = 0; c < NR * 4; c += 16) {
      v128.store(sums + c, i32x4.sub(v128.load(sums + c), v128.load(signs + c)));
    }
  }
}

/** Of 16 sums: 16 bits, 1 where a sum reaches its threshold. */
// @ts-ignore: decorator
@inline
function reached(sums: usize, thresholds: usize): u32 {
  const a = i32x4.ge_s(v128.load(sums, 0), v128.load(thresholds, 0));
  const b = i32x4.ge_s(v128.load(sums, 16), v128.load(thresholds, 16));
  const c = i32x4.ge_s(v128.load(sums, 32), v128.load(thresholds, 32));
  const d = i32x4.ge_s(v128.load(sums, 48), v128.load(thresholds, 48));
  return i8x16.bitmask(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)));
}

/** A word of signs of 32 sums for each of some rows. Channels past the last have thresholds that no sum reaches. */
function finishBits(sums: usize, rows: u32, thresholds: usize, to: usize, rowBytes: usize): void {
  for (; rows > 0; rows--) {
    store<u32>(to, reached(sums, thresholds) | (reached(sums + 64, thresholds + 64) << 16));
    sums += NR * 4;
    to += rowBytes;
  }
}

/** Scale, bias and clamp of the first `cols` of 32 sums of each of some rows. */
function finishRows(job: MatmulJob, sums: usize, rows: u32, channel: usize, to: usize, rowBytes: usize, cols: u32): void {
  const low = f32x4.splat(job.low), high = f32x4.splat(job.high);
  const end = sums + <usize>rows * NR * 4;
  let scale = job.w1 + channel, bias = job.bias + channel;
  for (let c: u32 = 0; c < cols; c += 8) {
    const scale0 = v128.load(scale, 0), scale1 = v128.load(scale, 16);
    const bias0 = v128.load(bias, 0), bias1 = v128.load(bias, 16);
    let row = to;
    for (let at = sums + c * 4; at < end; at += NR * 4) {
      const y0 = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(v128.load(at, 0)), scale0), bias0);
      const y1 = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(v128.load(at, 16)), scale1), bias1);
      storeRow(row, clamp(y0, low, high), clamp(y1, low, high), cols - c);
      row += rowBytes;
    }
    scale += 32;
    bias += 32;
    to += 32;
  }
}
