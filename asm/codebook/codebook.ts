import { MatmulJob } from '../shared/job';
import { gemmF32, gemvF32 } from '../shared/gemm_f32';
import { gemmI8 } from '../shared/bytes/gemm';
import { gemvI8, gemvRows } from '../shared/bytes/gemv';
import { RowFacts } from '../shared/bytes/rows';
import { maddubs } from '../shared/bytes/tiles';
import { madd, pick } from '../shared/simd';

// w0: codes; w1: the codebook. Codes become one f32 panel in L1, once a tile of A.
//
// 16 entries. w0: [panels][ceil(K / 4)][16 bytes]; byte i of block q holds channel i % 8: low nibble k = 4q + i / 8,
// high nibble k = 4q + 2 + i / 8. w1: four byte planes, plane b = byte b of each of the 16 centroids. w2: f32 [256][2], the
// centroids of both nibbles of a byte.
// 256 entries. w0: [panels][K][8 bytes]; w1: f32 [256].

// Bytes of two planes, or of two pairs of planes, of sixteen centroids side by side: of the lower eight, the upper eight.
// @ts-ignore: decorator
@inline
function lower8(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

// @ts-ignore: decorator
@inline
function upper8(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// @ts-ignore: decorator
@inline
function lower4(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function upper4(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Sixteen centroids by sixteen codes, to 64 bytes at `to`. */
// @ts-ignore: decorator
@inline
function decode16(codes: v128, p0: v128, p1: v128, p2: v128, p3: v128, to: usize): void {
  const b0 = pick(p0, codes), b1 = pick(p1, codes), b2 = pick(p2, codes), b3 = pick(p3, codes);
  const low01 = lower8(b0, b1), high01 = upper8(b0, b1);
  const low23 = lower8(b2, b3), high23 = upper8(b2, b3);
  v128.store(to, lower4(low01, low23), 0);
  v128.store(to, upper4(low01, low23), 16);
  v128.store(to, lower4(high01, high23), 32);
  v128.store(to, upper4(high01, high23), 48);
}

function panel16(job: MatmulJob, panel: u32, to: usize): usize {
  const blocks = (job.K + 3) / 4;
  let from = job.w0 + <usize>panel * blocks * 16;
  const end = from + <usize>blocks * 16;
  const planes = job.w1;
  const p0 = v128.load(planes, 0), p1 = v128.load(planes, 16), p2 = v128.load(planes, 32), p3 = v128.load(planes, 48);
  const nibble = i8x16.splat(15);
  let at = to;
  do {
    const codes = v128.load(from);
    decode16(v128.and(codes, nibble), p0, p1, p2, p3, at);
    decode16(v128.and(i16x8.shr_u(codes, 4), nibble), p0, p1, p2, p3, at + 64);
    from += 16;
    at += 128;
  } while (from < end);
  return to;
}

/** The centroids of four codes. */
// @ts-ignore: decorator
@inline
function four(table: usize, from: usize): v128 {
  let x = v128.load32_zero(table + (<usize>load<u8>(from, 0) << 2));
  x = v128.load32_lane(table + (<usize>load<u8>(from, 1) << 2), x, 1);
  x = v128.load32_lane(table + (<usize>load<u8>(from, 2) << 2), x, 2);
  return v128.load32_lane(table + (<usize>load<u8>(from, 3) << 2), x, 3);
}

/** f32 [count][8] by as many codes. */
function lookUp(table: usize, from: usize, count: u32, to: usize): void {
  const end = from + <usize>count * 8;
  do {
    v128.store(to, four(table, from), 0);
    v128.store(to, four(table, from + 4), 16);
    from += 8;
    to += 32;
  } while (from < end);
}

function panel256(job: MatmulJob, panel: u32, to: usize): usize {
  lookUp(job.w1, job.w0 + <usize>panel * job.K * 8, job.K, to);
  return to;
}

/** The pairs of centroids of two bytes. */
// @ts-ignore: decorator
@inline
function pairs(table: usize, from: usize): v128 {
  const low = v128.load64_zero(table + (<usize>load<u8>(from, 0) << 3));
  return v128.load64_lane(table + (<usize>load<u8>(from, 1) << 3), low, 1);
}

/**
 * One row by a panel of nibbles. A byte, which is codes of k and k + 2, looks up both centroids at once (w2): half the
 * instructions of swizzles and interleaves, which all go to the two shuffle ports of x64. Sums are of even and odd lanes.
 */
function row16(job: MatmulJob, panel: u32, a: usize, to: usize, sums: usize): void {
  const K = job.K;
  let from = job.w0 + <usize>panel * ((K + 3) / 4) * 16;
  let end = from + <usize>(K / 4) * 16;
  let rest = K & 3;
  const table = job.w2;
  let c0 = f32x4.splat(0), c1 = c0, c2 = c0, c3 = c0, d0 = c0, d1 = c0, d2 = c0, d3 = c0;
  for (;;) {
    while (from < end) {
      const x = v128.load(a);
      const even = i32x4.shuffle(x, x, 0, 2, 0, 2), odd = i32x4.shuffle(x, x, 1, 3, 1, 3);
      c0 = madd(even, pairs(table, from), c0);
      c1 = madd(even, pairs(table, from + 2), c1);
      c2 = madd(even, pairs(table, from + 4), c2);
      c3 = madd(even, pairs(table, from + 6), c3);
      d0 = madd(odd, pairs(table, from + 8), d0);
      d1 = madd(odd, pairs(table, from + 10), d1);
      d2 = madd(odd, pairs(table, from + 12), d2);
      d3 = madd(odd, pairs(table, from + 14), d3);
      from += 16;
      a += 16;
    }
    if (rest == 0) break;
    // The last of A, with zeros behind it.
    v128.store(to, f32x4.splat(0));
    for (let k: usize = 0; k < rest; k++) f32.store(to + k * 4, f32.load(a + k * 4));
    a = to;
    end += 16;
    rest = 0;
  }
  c0 = f32x4.add(c0, d0);
  c1 = f32x4.add(c1, d1);
  c2 = f32x4.add(c2, d2);
  c3 = f32x4.add(c3, d3);
  v128.store(sums, f32x4.add(i32x4.shuffle(c0, c1, 0, 2, 4, 6), i32x4.shuffle(c0, c1, 1, 3, 5, 7)), 0);
  v128.store(sums, f32x4.add(i32x4.shuffle(c2, c3, 0, 2, 4, 6), i32x4.shuffle(c2, c3, 1, 3, 5, 7)), 16);
}

/** One row by a panel of 256 centroids, looked up one by one. */
function row256(job: MatmulJob, panel: u32, a: usize, to: usize, sums: usize): void {
  const K = job.K, table = job.w1;
  let from = job.w0 + <usize>panel * K * 8;
  const end = from + <usize>K * 8, whole = from + <usize>(K & ~1) * 8;
  let c0 = f32x4.splat(0), c1 = c0, d0 = c0, d1 = c0;
  while (from < whole) {
    let x = v128.load32_splat(a, 0);
    c0 = madd(x, four(table, from), c0);
    c1 = madd(x, four(table, from + 4), c1);
    x = v128.load32_splat(a, 4);
    d0 = madd(x, four(table, from + 8), d0);
    d1 = madd(x, four(table, from + 12), d1);
    from += 16;
    a += 8;
  }
  if (from < end) {
    const x = v128.load32_splat(a);
    c0 = madd(x, four(table, from), c0);
    c1 = madd(x, four(table, from + 4), c1);
  }
  v128.store(sums, f32x4.add(c0, d0), 0);
  v128.store(sums, f32x4.add(c1, d1), 16);
}

export function codebook16_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panel16);
}

export function codebook16_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, row16);
}

export function codebook256_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panel256);
}

export function codebook256_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, row256);
}

// ---- int8 centroids: codes become panels of signed bytes (asm/shared/bytes/) ----
// 16 entries. w0: as int4 in asm/grouped/grouped.ts; w3: int8 [16]. 256 entries run as int8: a centroid is no larger than
// its code, and takes its place.

/** Centroids need 8 bits: too many for maddubs. */
const PAIRS = MODULE != 0;

function bytes16(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 16;
  const end = from + <usize>count * 16;
  const table = v128.load(job.w3), mask = i8x16.splat(15);
  let at = to;
  do {
    const codes = v128.load(from);
    v128.store(at, pick(table, v128.and(codes, mask)), 0);
    v128.store(at, pick(table, v128.and(i16x8.shr_u(codes, 4), mask)), 16);
    from += 16;
    at += 32;
  } while (from < end);
  return to;
}

/** Steps whose sums of products of 4 bits and 8 fit 16 bits. */
const STEPS: u32 = 8;

/**
 * One row (maddubs). Centroids are 16 * high + low with both in -8 .. 8, so that two tables take the place of one and
 * bytes multiply without saturating: fewer instructions than widening to 16-bit pairs.
 */
function bytesRow16(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  if (MODULE != 1) return;
  let steps = job.steps;
  let from = job.w0 + <usize>panel * steps * 16;
  const mask = i8x16.splat(15), eight = i8x16.splat(8);
  const table = v128.load(job.w3);
  const low = i8x16.sub(v128.xor(v128.and(table, mask), eight), eight);
  const high = i8x16.add(i8x16.shr_s(table, 4), v128.and(i16x8.shr_u(table, 3), i8x16.splat(1)));
  let s0 = i32x4.splat(0), s1 = s0;
  do {
    const count = min(steps, STEPS);
    let l0 = i16x8.splat(0), l1 = l0, h0 = l0, h1 = l0;
    const end = a + <usize>count * 4;
    do {
      const codes = v128.load(from), x = v128.load32_splat(a);
      let q = v128.and(codes, mask);
      l0 = i16x8.add(l0, maddubs(pick(low, q), x));
      h0 = i16x8.add(h0, maddubs(pick(high, q), x));
      q = v128.and(i16x8.shr_u(codes, 4), mask);
      l1 = i16x8.add(l1, maddubs(pick(low, q), x));
      h1 = i16x8.add(h1, maddubs(pick(high, q), x));
      from += 16;
      a += 4;
    } while (a < end);
    s0 = i32x4.add(s0, i32x4.extadd_pairwise_i16x8_s(l0));
    s0 = i32x4.add(s0, i32x4.shl(i32x4.extadd_pairwise_i16x8_s(h0), 4));
    s1 = i32x4.add(s1, i32x4.extadd_pairwise_i16x8_s(l1));
    s1 = i32x4.add(s1, i32x4.shl(i32x4.extadd_pairwise_i16x8_s(h1), 4));
    steps -= count;
  } while (steps > 0);
  v128.store(to, s0, 0);
  v128.store(to, s1, 16);
}

export function codebook16i8_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, bytes16, PAIRS, false);
}

export function codebook16i8_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE == 1) gemvRows(job, begin, end, scratch, bytesRow16);
  else gemvI8(job, begin, end, scratch, bytes16, PAIRS, false);
}
