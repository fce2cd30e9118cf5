import { codesAt, sampleAt } from '../int8/quantize';
import { dot } from '../shared/bytes/tiles';
import { MatmulJob } from '../shared/job';
import { gatherRows, tapCount } from '../shared/rows';
import { madd, storeTransposed } from '../shared/simd';
import { entryAt, recordAt } from '../shared/sparse/entries';
import { BlockSum, finish, PADDING } from '../shared/sparse/spmm';

// C = clamp(scaleA[sample] * scaleW[n] * S + bias[n]), S = sum of (a - zeroA) * w in int32, exact; stage 1 is
// int8_quantize. W is walked as in asm/shared/sparse/spmm.ts, an entry being one weight or a block of 1 x 4. w0: its
// blocks, then facts [groups * N]; w1: records; w2: offsets; w3: i8 codes in the entries' order.
//
// A strip of S = 32 rows of A, a block of K after the other:
//                 weights                 blocks of 1 x 4
//   module A      u8 [K][S]               u8 [K / 4][S][4]        bytes as they are; zeroA goes in the epilogue
//   modules B, C  i16 [K][S]              i16 [K / 2][S][2]       zeroA removed
// Single weights of a row are taken two (pairs of 16 bits) or four (bytes) at a time: their columns are interleaved
// in registers, for the same multiply-and-add of neighbours that blocks have.

const S: u32 = 32;
/** Bytes of a column of W in a strip. */
const COLUMN: u32 = MODULE == 0 ? S : 2 * S;

/** What the epilogue needs of a row of W: 8 bytes. */
@unmanaged
class RowFacts {
  scale: f32;
  /** Of all codes. */
  sum: i32;
}

// ---- rows of A ----

/**
 * Row m of A, contiguous: where its codes are, or a copy at `to`. Bytes outside the image are the zero point.
 * @param pointers of its taps, `stride` bytes apart
 */
function flatRow(job: MatmulJob, pointers: usize, stride: usize, zeroPoint: i32, to: usize): usize {
  const taps = tapCount(job);
  const first = load<usize>(pointers);
  if (taps == 1 && first != 0) return first;
  const channels = job.channels / job.groups;
  let at = to;
  for (let tap: u32 = 0; tap < taps; tap++) {
    const from = load<usize>(pointers + tap * stride);
    if (from) memory.copy(at, from, channels);
    else memory.fill(at, <u8>zeroPoint, channels);
    at += channels;
  }
  return to;
}

/** Eight columns of eight rows of bytes, to [8][S]. */
function packEight(rows: usize, k: usize, zeros: usize, to: usize): void {
  const a0 = v128.load64_zero(load<usize>(rows, 0 * sizeof<usize>()) + k);
  const a1 = v128.load64_zero(load<usize>(rows, 1 * sizeof<usize>()) + k);
  const a2 = v128.load64_zero(load<usize>(rows, 2 * sizeof<usize>()) + k);
  const a3 = v128.load64_zero(load<usize>(rows, 3 * sizeof<usize>()) + k);
  const a4 = v128.load64_zero(load<usize>(rows, 4 * sizeof<usize>()) + k);
  const a5 = v128.load64_zero(load<usize>(rows, 5 * sizeof<usize>()) + k);
  const a6 = v128.load64_zero(load<usize>(rows, 6 * sizeof<usize>()) + k);
  const a7 = v128.load64_zero(load<usize>(rows, 7 * sizeof<usize>()) + k);
  const t0 = lowBytes(a0, a1), t1 = lowBytes(a2, a3), t2 = lowBytes(a4, a5), t3 = lowBytes(a6, a7);
  const u0 = lowPairs(t0, t1), u1 = highPairs(t0, t1), u2 = lowPairs(t2, t3), u3 = highPairs(t2, t3);
  storeColumns(i32x4.shuffle(u0, u2, 0, 4, 1, 5), zeros, to);
  storeColumns(i32x4.shuffle(u0, u2, 2, 6, 3, 7), zeros, to + 2 * COLUMN);
  storeColumns(i32x4.shuffle(u1, u3, 0, 4, 1, 5), zeros, to + 4 * COLUMN);
  storeColumns(i32x4.shuffle(u1, u3, 2, 6, 3, 7), zeros, to + 6 * COLUMN);
}

/** Eight rows of two columns. */
// @ts-ignore: decorator
@inline
function storeColumns(x: v128, zeros: usize, to: usize): void {
  if (MODULE == 0) {
    v128.store64_lane(to, x, 0);
    v128.store64_lane(to + COLUMN, x, 1);
  } else {
    const zero = v128.load(zeros);
    v128.store(to, i16x8.sub(i16x8.extend_low_i8x16_u(x), zero));
    v128.store(to + COLUMN, i16x8.sub(i16x8.extend_high_i8x16_u(x), zero));
  }
}

// @ts-ignore: decorator
@inline
function lowBytes(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

// @ts-ignore: decorator
@inline
function highBytes(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// @ts-ignore: decorator
@inline
function lowPairs(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function highPairs(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Four columns (bytes), or two (pairs), of four rows follow each other: 32 bits to [..][S]. */
// @ts-ignore: decorator
@inline
function four(rows: usize, row: usize, k: usize, zeros: usize): v128 {
  const from = load<usize>(rows + row * sizeof<usize>()) + k;
  if (MODULE == 0) return v128.load(from);
  return i16x8.sub(v128.load8x8_u(from), v128.load16_splat(zeros + row * 2));
}

/** Columns k .. past - 1 of a strip, from flat rows[S]. */
function packStrip(rows: usize, k: u32, past: u32, zeros: usize, quads: bool, to: usize): void {
  const step: u32 = quads && MODULE == 0 ? 16 : 8;
  for (; k < past; k += step) {
    if (quads) {
      for (let r: usize = 0; r < S; r += 4) {
        const at = rows + r * sizeof<usize>(), zero = zeros + r * 2;
        storeTransposed(four(at, 0, k, zero), four(at, 1, k, zero), four(at, 2, k, zero), four(at, 3, k, zero),
          to + r * 4, S * 4);
      }
    } else {
      for (let r: usize = 0; r < S; r += 8) {
        packEight(rows + r * sizeof<usize>(), k, zeros + r * 2, to + r * (COLUMN / S));
      }
    }
    to += step * COLUMN;
  }
}

// ---- sums of rows of W ----

function rowsOfWeights(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, code = job.w3 + entryAt(job, block);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to, 0), c1 = v128.load(to, 16), c2 = v128.load(to, 32), c3 = v128.load(to, 48);
    let c4 = v128.load(to, 64), c5 = v128.load(to, 80), c6 = v128.load(to, 96), c7 = v128.load(to, 112);
    if (MODULE == 0) {
      do {
        const w = v128.load32_splat(code);
        const x0 = strip + load<u16>(offset, 0), x1 = strip + load<u16>(offset, 2);
        const x2 = strip + load<u16>(offset, 4), x3 = strip + load<u16>(offset, 6);
        let a = v128.load(x0, 0), b = v128.load(x1, 0), c = v128.load(x2, 0), d = v128.load(x3, 0);
        let low = lowBytes(a, b), high = lowBytes(c, d);
        c0 = dot(w, lowPairs(low, high), c0);
        c1 = dot(w, highPairs(low, high), c1);
        low = highBytes(a, b);
        high = highBytes(c, d);
        c2 = dot(w, lowPairs(low, high), c2);
        c3 = dot(w, highPairs(low, high), c3);
        a = v128.load(x0, 16);
        b = v128.load(x1, 16);
        c = v128.load(x2, 16);
        d = v128.load(x3, 16);
        low = lowBytes(a, b);
        high = lowBytes(c, d);
        c4 = dot(w, lowPairs(low, high), c4);
        c5 = dot(w, highPairs(low, high), c5);
        low = highBytes(a, b);
        high = highBytes(c, d);
        c6 = dot(w, lowPairs(low, high), c6);
        c7 = dot(w, highPairs(low, high), c7);
        offset += 8;
        code += 4;
      } while (offset < end);
    } else {
      do {
        const w = i16x8.extend_low_i8x16_s(v128.load16_splat(code));
        const x = strip + load<u16>(offset, 0), y = strip + load<u16>(offset, 2);
        let a = v128.load(x, 0), b = v128.load(y, 0);
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(lowPairs(a, b), w));
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(highPairs(a, b), w));
        a = v128.load(x, 16);
        b = v128.load(y, 16);
        c2 = i32x4.add(c2, i32x4.dot_i16x8_s(lowPairs(a, b), w));
        c3 = i32x4.add(c3, i32x4.dot_i16x8_s(highPairs(a, b), w));
        a = v128.load(x, 32);
        b = v128.load(y, 32);
        c4 = i32x4.add(c4, i32x4.dot_i16x8_s(lowPairs(a, b), w));
        c5 = i32x4.add(c5, i32x4.dot_i16x8_s(highPairs(a, b), w));
        a = v128.load(x, 48);
        b = v128.load(y, 48);
        c6 = i32x4.add(c6, i32x4.dot_i16x8_s(lowPairs(a, b), w));
        c7 = i32x4.add(c7, i32x4.dot_i16x8_s(highPairs(a, b), w));
        offset += 4;
        code += 2;
      } while (offset < end);
    }
    v128.store(to, c0, 0);
    v128.store(to, c1, 16);
    v128.store(to, c2, 32);
    v128.store(to, c3, 48);
    v128.store(to, c4, 64);
    v128.store(to, c5, 80);
    v128.store(to, c6, 96);
    v128.store(to, c7, 112);
    record += 4;
  }
}

function rowsOfBlocks(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, code = job.w3 + entryAt(job, block) * 4;
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to, 0), c1 = v128.load(to, 16), c2 = v128.load(to, 32), c3 = v128.load(to, 48);
    let c4 = v128.load(to, 64), c5 = v128.load(to, 80), c6 = v128.load(to, 96), c7 = v128.load(to, 112);
    do {
      const x = strip + load<u16>(offset);
      const four = v128.load32_splat(code);
      if (MODULE == 0) {
        c0 = dot(four, v128.load(x, 0), c0);
        c1 = dot(four, v128.load(x, 16), c1);
        c2 = dot(four, v128.load(x, 32), c2);
        c3 = dot(four, v128.load(x, 48), c3);
        c4 = dot(four, v128.load(x, 64), c4);
        c5 = dot(four, v128.load(x, 80), c5);
        c6 = dot(four, v128.load(x, 96), c6);
        c7 = dot(four, v128.load(x, 112), c7);
      } else {
        const wide = i16x8.extend_low_i8x16_s(four);
        let w = i32x4.shuffle(wide, wide, 0, 0, 0, 0);
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(v128.load(x, 0), w));
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(v128.load(x, 16), w));
        c2 = i32x4.add(c2, i32x4.dot_i16x8_s(v128.load(x, 32), w));
        c3 = i32x4.add(c3, i32x4.dot_i16x8_s(v128.load(x, 48), w));
        c4 = i32x4.add(c4, i32x4.dot_i16x8_s(v128.load(x, 64), w));
        c5 = i32x4.add(c5, i32x4.dot_i16x8_s(v128.load(x, 80), w));
        c6 = i32x4.add(c6, i32x4.dot_i16x8_s(v128.load(x, 96), w));
        c7 = i32x4.add(c7, i32x4.dot_i16x8_s(v128.load(x, 112), w));
        w = i32x4.shuffle(wide, wide, 1, 1, 1, 1);
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(v128.load(x, 128), w));
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(v128.load(x, 144), w));
        c2 = i32x4.add(c2, i32x4.dot_i16x8_s(v128.load(x, 160), w));
        c3 = i32x4.add(c3, i32x4.dot_i16x8_s(v128.load(x, 176), w));
        c4 = i32x4.add(c4, i32x4.dot_i16x8_s(v128.load(x, 192), w));
        c5 = i32x4.add(c5, i32x4.dot_i16x8_s(v128.load(x, 208), w));
        c6 = i32x4.add(c6, i32x4.dot_i16x8_s(v128.load(x, 224), w));
        c7 = i32x4.add(c7, i32x4.dot_i16x8_s(v128.load(x, 240), w));
      }
      offset += 2;
      code += 4;
    } while (offset < end);
    v128.store(to, c0, 0);
    v128.store(to, c1, 16);
    v128.store(to, c2, 32);
    v128.store(to, c3, 48);
    v128.store(to, c4, 64);
    v128.store(to, c5, 80);
    v128.store(to, c6, 96);
    v128.store(to, c7, 112);
    record += 4;
  }
}

// ---- epilogue ----

/** Integer sums [count][S] to f32 with scales and bias, in place. */
function scaleSums(sums: usize, count: u32, facts: usize, zeros: usize, scales: usize, bias: usize): void {
  for (let n: u32 = 0; n < count; n++) {
    const row = changetype<RowFacts>(facts);
    const scale = f32x4.splat(row.scale), b = v128.load32_splat(bias), sum = i32x4.splat(row.sum);
    for (let r: usize = 0; r < S; r += 4) {
      let total = v128.load(sums);
      if (MODULE == 0) total = i32x4.sub(total, i32x4.mul(sum, v128.load16x4_s(zeros + r * 2)));
      const scaled = f32x4.mul(f32x4.convert_i32x4_s(total), scale);
      v128.store(sums, madd(scaled, v128.load(scales + r * 4), b));
      sums += 16;
    }
    facts += 8;
    bias += 4;
  }
}

// @ts-ignore: decorator
@inline
function factsAt(job: MatmulJob, blocks: u32, row: u32): usize {
  return job.w0 + <usize>(blocks + 1) * 8 + <usize>row * 8;
}

/**
 * Tiles are strips, group after group. Scratch: pointers [taps][S], rows [S], zero points i16 [S], scales [S], sums
 * [channelBlock][S], flat rows, the strip.
 */
function spmmI8(job: MatmulJob, begin: u32, end: u32, scratch: usize, quads: bool, sum: BlockSum): void {
  const N = job.N, M = job.M, K = job.K, chunk = job.chunk, channelBlock = job.channelBlock;
  const groupChannels = job.channels / job.groups;
  const mTiles = (M + S - 1) / S;
  const nBlocks = (N + channelBlock - 1) / channelBlock;
  const kBlocks = (K + chunk - 1) / chunk;
  const rowBytes = <usize>job.groups * N * 4;
  const rowsAt = (scratch + tapCount(job) * S * sizeof<usize>() + 63) & ~63;
  const zeros = rowsAt + S * sizeof<usize>();
  const scales = zeros + S * 2;
  const sums = scales + S * 4;
  const flats = sums + <usize>channelBlock * S * 4;
  const flatBytes = (<usize>K + 63) & ~63;
  const packed = flats + flatBytes * S;
  const blockBytes = <usize>(chunk + PADDING) * COLUMN;
  for (let tile = begin; tile < end; tile++) {
    const group = tile / mTiles, m0 = (tile % mTiles) * S;
    const rows = min(S, M - m0);
    gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m0, S, 0, scratch);
    for (let r: u32 = 0; r < S; r++) {
      const sample = sampleAt(job, min(m0 + r, M - 1) / job.rowsPerSample);
      const flat = flatRow(job, scratch + r * sizeof<usize>(), S * sizeof<usize>(), sample.zeroPoint,
        flats + r * flatBytes);
      store<usize>(rowsAt + r * sizeof<usize>(), flat);
      store<i16>(zeros + r * 2, <i16>sample.zeroPoint);
      f32.store(scales + r * 4, sample.scale);
    }
    for (let k: u32 = 0; k < kBlocks; k++) {
      packStrip(rowsAt, k * chunk, min((k + 1) * chunk, K), zeros, quads, packed + k * blockBytes);
    }
    for (let block: u32 = 0; block < nBlocks; block++) {
      const n = block * channelBlock;
      const count = min(channelBlock, N - n);
      memory.fill(sums, 0, <usize>count * S * 4);
      for (let k: u32 = 0; k < kBlocks; k++) {
        sum(job, packed + k * blockBytes, (group * nBlocks + block) * kBlocks + k, sums);
      }
      const bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      scaleSums(sums, count, factsAt(job, job.groups * nBlocks * kBlocks, group * N + n), zeros, scales, bias);
      const to = job.output + m0 * rowBytes + <usize>(group * N + n) * 4;
      finish(sums, S, rows, count, job.low, job.high, to, rowBytes);
    }
  }
}

export function csrInt8_spmm_32x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmmI8(job, begin, end, scratch, false, rowsOfWeights);
}

export function csrInt8x4_spmm_32x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmmI8(job, begin, end, scratch, true, rowsOfBlocks);
}

// ---- few rows ----

/** Weights of a row come in eights. */
function rowOfWeights(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, code = job.w3 + entryAt(job, block);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c = i32x4.splat(0);
    do {
      let x = v128.load16_splat(strip + load<u16>(offset, 0));
      x = v128.load16_lane(strip + load<u16>(offset, 2), x, 1);
      x = v128.load16_lane(strip + load<u16>(offset, 4), x, 2);
      x = v128.load16_lane(strip + load<u16>(offset, 6), x, 3);
      x = v128.load16_lane(strip + load<u16>(offset, 8), x, 4);
      x = v128.load16_lane(strip + load<u16>(offset, 10), x, 5);
      x = v128.load16_lane(strip + load<u16>(offset, 12), x, 6);
      x = v128.load16_lane(strip + load<u16>(offset, 14), x, 7);
      c = i32x4.add(c, i32x4.dot_i16x8_s(x, v128.load8x8_s(code)));
      offset += 16;
      code += 8;
    } while (offset < end);
    store<i32>(to, load<i32>(to) + addIntegers(c));
    record += 4;
  }
}

// @ts-ignore: decorator
@inline
function addIntegers(c: v128): i32 {
  return i32x4.extract_lane(c, 0) + i32x4.extract_lane(c, 1) + (i32x4.extract_lane(c, 2) + i32x4.extract_lane(c, 3));
}

/** Blocks of a row come in twos. */
function rowOfBlocks(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, code = job.w3 + entryAt(job, block) * 4;
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c = i32x4.splat(0);
    do {
      let x = v128.load64_zero(strip + load<u16>(offset, 0));
      x = v128.load64_lane(strip + load<u16>(offset, 2), x, 1);
      c = i32x4.add(c, i32x4.dot_i16x8_s(x, v128.load8x8_s(code)));
      offset += 4;
      code += 8;
    } while (offset < end);
    store<i32>(to, load<i32>(to) + addIntegers(c));
    record += 4;
  }
}

/**
 * Tiles are blocks of channels. Scratch: pointers [taps], sums [channelBlock], a flat row, then i16
 * [K blocks][columns].
 */
function gemvI8(job: MatmulJob, begin: u32, end: u32, scratch: usize, sum: BlockSum): void {
  const N = job.N, K = job.K, chunk = job.chunk, channelBlock = job.channelBlock;
  const groupChannels = job.channels / job.groups;
  const nBlocks = (N + channelBlock - 1) / channelBlock;
  const kBlocks = (K + chunk - 1) / chunk;
  const rowBytes = <usize>job.groups * N * 4;
  const sums = (scratch + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const flat = sums + <usize>channelBlock * 4;
  const packed = (flat + K + 63) & ~63;
  const blockBytes = <usize>(chunk + PADDING) * 2;
  for (let m: u32 = 0; m < job.M; m++) {
    const sample = sampleAt(job, m / job.rowsPerSample);
    let gathered: u32 = -1;
    for (let tile = begin; tile < end; tile++) {
      const group = tile / nBlocks, block = tile % nBlocks;
      if (group != gathered) {
        gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, scratch);
        const row = flatRow(job, scratch, sizeof<usize>(), sample.zeroPoint, flat);
        const signed = job.dotFlip != 0;
        for (let k: u32 = 0; k < kBlocks; k++) {
          const first = k * chunk, past = min(first + chunk, K);
          const to = packed + k * blockBytes;
          for (let i = first; i < past; i++) {
            const code = signed ? <i32>load<i8>(row + i) : <i32>load<u8>(row + i);
            store<i16>(to + (i - first) * 2, <i16>(code - sample.zeroPoint));
          }
        }
        gathered = group;
      }
      const n = block * channelBlock;
      const count = min(channelBlock, N - n);
      memory.fill(sums, 0, count * 4);
      for (let k: u32 = 0; k < kBlocks; k++) {
        sum(job, packed + k * blockBytes, (group * nBlocks + block) * kBlocks + k, sums);
      }
      let facts = factsAt(job, job.groups * nBlocks * kBlocks, group * N + n);
      const bias = job.bias + <usize>(group * job.paddedN + n) * 4;
      for (let i: u32 = 0; i < count; i++) {
        const scaled = <f32>load<i32>(sums + i * 4) * changetype<RowFacts>(facts).scale;
        f32.store(sums + i * 4, scaled * sample.scale + f32.load(bias + i * 4));
        facts += 8;
      }
      const to = job.output + m * rowBytes + <usize>(group * N + n) * 4;
      finish(sums, 1, 1, count, job.low, job.high, to, rowBytes);
    }
  }
}

export function csrInt8_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, rowOfWeights);
}

export function csrInt8x4_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, rowOfBlocks);
}
