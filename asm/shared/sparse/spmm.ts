import { MatmulJob } from '../job';
import { gatherRows, tapCount } from '../rows';
import { clamp, clampScalar, storeTransposed } from '../simd';

// C = clamp(A * W^T + bias), W sparse: the walk that every sparse format shares. A strip of S rows of A is packed
// [K][S], so that a non-zero of W is S multiply-adds on contiguous memory. K is cut into blocks of `chunk` columns,
// whose strip stays in L1, and the channels of a group into blocks of `channelBlock`, whose sums do.
// Packed strip: [blocks of K][chunk + PADDING][S]. Entries that only make a row's count even point to the zeros past a
// block's last column.

export const PADDING: u32 = 4;

/**
 * Adds to sums [channelBlock][S] what block `block` of W (counted [groups][blocks of channels][blocks of K]) makes of a
 * packed strip. Called through the table: inlined into the loops around it, the accumulators would compete with their
 * variables for registers.
 */
export type BlockSum = (job: MatmulJob, strip: usize, block: u32, sums: usize) => void;

/**
 * Reads a byte of every cache line of `count` rows of `bytes`, at pointers[count]. Independent loads overlap their
 * misses, which those of a transposition don't.
 */
function touchRows(pointers: usize, count: u32, bytes: usize, sink: usize): void {
  let seen: u32 = 0;
  for (let r: u32 = 0; r < count; r++) {
    const from = load<usize>(pointers);
    pointers += sizeof<usize>();
    for (let i: usize = 0; i < bytes; i += 64) seen |= load<u8>(from + i);
  }
  store<u32>(sink, seen);
}

/** Columns that are packed of four rows before the next four's turn: a cache line of each. */
const LINE: u32 = 16;

/** Four columns of four rows. */
// @ts-ignore: decorator
@inline
function storeQuad(p0: usize, p1: usize, p2: usize, p3: usize, offset: usize, to: usize, stride: usize): void {
  const r0 = v128.load(p0 + offset), r1 = v128.load(p1 + offset);
  storeTransposed(r0, r1, v128.load(p2 + offset), v128.load(p3 + offset), to, stride);
}

/** Columns k .. past - 1 of a strip, gathered through pointers[taps][S], transposed to [past - k][S]. */
// @ts-ignore: decorator
@inline
function packStrip(pointers: usize, channels: u32, k: u32, past: u32, S: u32, to: usize): void {
  const stride = <usize>S * 4;
  while (k < past) {
    const first = k % channels;
    const count = min(min(channels - first, past - k), LINE);
    const offset = <usize>first * 4;
    let p = pointers + <usize>(k / channels) * S * sizeof<usize>();
    for (let r: u32 = 0; r < S; r += 4) {
      let p0 = load<usize>(p, 0 * sizeof<usize>()) + offset;
      let p1 = load<usize>(p, 1 * sizeof<usize>()) + offset;
      let p2 = load<usize>(p, 2 * sizeof<usize>()) + offset;
      let p3 = load<usize>(p, 3 * sizeof<usize>()) + offset;
      p += 4 * sizeof<usize>();
      let at = to + r * 4;
      let c: u32 = 0;
      if (count == LINE) {
        storeQuad(p0, p1, p2, p3, 0, at, stride);
        storeQuad(p0, p1, p2, p3, 16, at + 4 * stride, stride);
        storeQuad(p0, p1, p2, p3, 32, at + 8 * stride, stride);
        storeQuad(p0, p1, p2, p3, 48, at + 12 * stride, stride);
        continue;
      }
      for (; c + 4 <= count; c += 4) {
        storeQuad(p0, p1, p2, p3, 0, at, stride);
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

function packStrip32(pointers: usize, channels: u32, k: u32, past: u32, to: usize): void {
  packStrip(pointers, channels, k, past, 32, to);
}

function packStrip16(pointers: usize, channels: u32, k: u32, past: u32, to: usize): void {
  packStrip(pointers, channels, k, past, 16, to);
}

function packNarrow(pointers: usize, channels: u32, k: u32, past: u32, S: u32, to: usize): void {
  packStrip(pointers, channels, k, past, S, to);
}

/** The same of one row: columns k .. past - 1, contiguous. */
function packRow(pointers: usize, channels: u32, k: u32, past: u32, to: usize): void {
  while (k < past) {
    const first = k % channels;
    const count = min(channels - first, past - k);
    const from = load<usize>(pointers + <usize>(k / channels) * sizeof<usize>()) + <usize>first * 4;
    memory.copy(to, from, <usize>count * 4);
    to += <usize>count * 4;
    k += count;
  }
}

/** All blocks of K of the strip that begins at row m0. */
function packBlocks(job: MatmulJob, group: u32, m0: u32, S: u32, pointers: usize, to: usize): void {
  const K = job.K, chunk = job.chunk;
  const groupChannels = job.channels / job.groups;
  const bytes = <usize>S * 4;
  gatherRows(job, job.input, 4, job.channels, group * groupChannels, m0, S, job.zeros, pointers);
  touchRows(pointers, tapCount(job) * S, groupChannels * 4, to);
  for (let k: u32 = 0; k < K; k += chunk) {
    const past = min(k + chunk, K);
    if (S == 1) packRow(pointers, groupChannels, k, past, to);
    else if (S == 16) packStrip16(pointers, groupChannels, k, past, to);
    else if (S == 32) packStrip32(pointers, groupChannels, k, past, to);
    else packNarrow(pointers, groupChannels, k, past, S, to);
    const end = to + <usize>(chunk + PADDING) * bytes;
    for (let at = to + <usize>(past - k) * bytes; at < end; at += 4) f32.store(at, 0);
    to = end;
  }
}

/** Sums [count][S] start as the bias. */
function startSums(bias: usize, count: u32, S: u32, to: usize): void {
  for (let n: u32 = 0; n < count; n++) {
    if (S == 1) {
      f32.store(to, f32.load(bias));
      to += 4;
    } else {
      const b = v128.load32_splat(bias);
      for (let r: u32 = 0; r < S; r += 4) {
        v128.store(to, b);
        to += 16;
      }
    }
    bias += 4;
  }
}

/** `count` channels of `rows` rows of A, from sums [channels][S] to NHWC, with clamp. */
export function finish(
  sums: usize, S: u32, rows: u32, count: u32, low: f32, high: f32, to: usize, rowBytes: usize,
): void {
  const stride = <usize>S * 4;
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  const whole = count & ~3;
  for (let r: u32 = 0; r < rows; r += 4) {
    const left = rows - r;
    let from = sums + r * 4;
    let at = to + r * rowBytes;
    for (let n: u32 = 0; S > 1 && n < whole; n += 4) {
      const s0 = v128.load(from), s1 = v128.load(from + stride);
      const s2 = v128.load(from + 2 * stride), s3 = v128.load(from + 3 * stride);
      const p = i32x4.shuffle(s0, s1, 0, 4, 1, 5), q = i32x4.shuffle(s2, s3, 0, 4, 1, 5);
      const s = i32x4.shuffle(s0, s1, 2, 6, 3, 7), t = i32x4.shuffle(s2, s3, 2, 6, 3, 7);
      v128.store(at, clamp(i64x2.shuffle(p, q, 0, 2), lows, highs));
      if (left > 1) v128.store(at + rowBytes, clamp(i64x2.shuffle(p, q, 1, 3), lows, highs));
      if (left > 2) v128.store(at + 2 * rowBytes, clamp(i64x2.shuffle(s, t, 0, 2), lows, highs));
      if (left > 3) v128.store(at + 3 * rowBytes, clamp(i64x2.shuffle(s, t, 1, 3), lows, highs));
      from += 4 * stride;
      at += 16;
    }
    for (let n: u32 = S > 1 ? whole : 0; n < count; n++) {
      for (let i: u32 = 0; i < min<u32>(left, 4); i++) {
        f32.store(at + i * rowBytes, clampScalar(f32.load(from + i * 4), low, high));
      }
      from += stride;
      at += 4;
    }
  }
}

/**
 * Tiles are strips of S rows, group after group; or, `byChannels`, blocks of channels of a group, and every call packs
 * all rows. Scratch: pointers [taps][S], sums [channelBlock][S], then the strip.
 */
export function spmm(
  job: MatmulJob, begin: u32, end: u32, scratch: usize, S: u32, byChannels: bool, sum: BlockSum,
): void {
  const N = job.N, M = job.M, K = job.K, chunk = job.chunk, channelBlock = job.channelBlock;
  const mTiles = (M + S - 1) / S;
  const nBlocks = (N + channelBlock - 1) / channelBlock;
  const kBlocks = (K + chunk - 1) / chunk;
  const rowBytes = <usize>job.groups * N * 4;
  const sums = (scratch + tapCount(job) * S * sizeof<usize>() + 63) & ~63;
  const packed = sums + <usize>channelBlock * S * 4;
  const blockBytes = <usize>(chunk + PADDING) * S * 4;
  let inStrip: u32 = -1;
  const calls = byChannels ? mTiles : 1;
  for (let call: u32 = 0; call < calls; call++) {
    for (let tile = begin; tile < end; tile++) {
      let group = tile / mTiles, m0 = (tile % mTiles) * S;
      let block: u32 = 0, past = nBlocks;
      if (byChannels) {
        group = tile / nBlocks;
        m0 = call * S;
        block = tile % nBlocks;
        past = block + 1;
      }
      const strip = group * mTiles + m0 / S;
      if (strip != inStrip) packBlocks(job, group, m0, S, scratch, packed);
      inStrip = strip;
      const rows = min(S, M - m0);
      for (; block < past; block++) {
        const n = block * channelBlock;
        const count = min(channelBlock, N - n);
        startSums(job.bias + <usize>(group * job.paddedN + n) * 4, count, S, sums);
        for (let k: u32 = 0; k < kBlocks; k++) {
          sum(job, packed + k * blockBytes, (group * nBlocks + block) * kBlocks + k, sums);
        }
        const to = job.output + m0 * rowBytes + <usize>(group * N + n) * 4;
        finish(sums, S, rows, count, job.low, job.high, to, rowBytes);
      }
    }
  }
}
