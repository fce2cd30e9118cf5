import { gemmI8 } from '../shared/bytes/gemm';
import { gemvI8, gemvRows, subStepsOf } from '../shared/bytes/gemv';
import { chunksOf } from '../shared/bytes/groups';
import { RowFacts } from '../shared/bytes/rows';
import { maddubs } from '../shared/bytes/tiles';
import { MatmulJob } from '../shared/job';
import { madd } from '../shared/simd';

// int4, int2 and ternary: codes in groups along K with a scale and a zero point each. A decoded panel holds
// code - zeroPoint. w3: zero points u8 [panels][groups][8].
// int4: w0 [panels][steps][16 bytes]: byte i holds k = i % 4 of channel i / 4 in its low nibble, of 4 + i / 4 in its high.
// int2: w0 [panels][steps / 2][16 bytes]: bits 0-1 and 2-3 of byte i are the same two of the even step, 4-5 and 6-7 of
// the odd one.

/** Weights of up to 4 bits: maddubs can't overflow. */
const PAIRS = MODULE == 2;

/** Zero points of channels 0 .. 3, or 4 .. 7, each four times. */
// @ts-ignore: decorator
@inline
function zeroPoints(at: usize, high: bool): v128 {
  const z = v128.load64_zero(at);
  return high
    ? i8x16.shuffle(z, z, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7)
    : i8x16.shuffle(z, z, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
}

function decode4(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 16;
  const groupSteps = job.groupSteps;
  let zeros = job.w3 + (<usize>panel * job.scaleGroups + first / groupSteps) * 8;
  const mask = i8x16.splat(15);
  let at = to;
  const past = first + count;
  while (first < past) {
    const z0 = zeroPoints(zeros, false), z1 = zeroPoints(zeros, true);
    const groupEnd = min(past, (first / groupSteps + 1) * groupSteps);
    const end = from + <usize>(groupEnd - first) * 16;
    do {
      const codes = v128.load(from);
      v128.store(at, i8x16.sub(v128.and(codes, mask), z0), 0);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 4), mask), z1), 16);
      from += 16;
      at += 32;
    } while (from < end);
    first = groupEnd;
    zeros += 8;
  }
  return to;
}

function decode2(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 8;
  const groupSteps = job.groupSteps;
  let zeros = job.w3 + (<usize>panel * job.scaleGroups + first / groupSteps) * 8;
  const mask = i8x16.splat(3);
  let at = to;
  const past = first + count;
  while (first < past) {
    const z0 = zeroPoints(zeros, false), z1 = zeroPoints(zeros, true);
    const groupEnd = min(past, (first / groupSteps + 1) * groupSteps);
    const end = from + <usize>(groupEnd - first) * 8;
    do {
      const codes = v128.load(from);
      v128.store(at, i8x16.sub(v128.and(codes, mask), z0), 0);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 2), mask), z1), 16);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 4), mask), z0), 32);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 6), mask), z1), 48);
      from += 16;
      at += 64;
    } while (from < end);
    first = groupEnd;
    zeros += 8;
  }
  return to;
}

// ---- one row, decoded in registers (maddubs) ----
// Codes stay unsigned. 16-bit sums begin at -z * (sums of a), z the default zero point, and wrap on the way: what they
// end at, sums of (code - z) * a over 8 steps, fits. What other zero points differ by is taken out of the 32-bit sums.

/** Sums of pairs of lanes, minus zeroA times a group's sums of weights. */
// @ts-ignore: decorator
@inline
function lessZeroA(sums: v128, halves: usize, zeroA: v128): v128 {
  return i32x4.sub(sums, i32x4.dot_i16x8_s(v128.load8x8_s(halves), zeroA));
}

/**
 * The row of 4-bit codes, or of 2-bit codes, whose sums of channels 4 .. 7 are 4 times too large until the end of a group:
 * they are not shifted to the lowest bits.
 */
// @ts-ignore: decorator
@inline
function codesRow(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize, bits: i32,
  zeros: bool): void {
  if (MODULE != 1) return;
  const groupSteps = job.groupSteps, subSteps = subStepsOf(job), chunks = chunksOf(job);
  const grouped = job.scaleGroups > 1;
  let codes = job.w0 + <usize>panel * job.steps * (bits * 4);
  let zeroPoints = job.w3 + <usize>panel * job.scaleGroups * 8;
  let scales = job.w1 + <usize>panel * job.scaleGroups * 32;
  let halves = job.w2 + <usize>panel * job.scaleGroups * chunks * 16;
  const mask0 = i8x16.splat(bits == 4 ? 15 : 3), mask1 = i8x16.splat(bits == 4 ? 15 : 12);
  const zeroA = i16x8.splat(<i16>facts.zeroPoint);
  const defaultZero = i16x8.splat(<i16>-job.zeroCode);
  let f0 = f32x4.splat(0), f1 = f0;
  let left = job.steps;
  do {
    let inGroup = min(left, groupSteps);
    left -= inGroup;
    let s0 = i32x4.splat(0), s1 = s0;
    const z = zeros ? i16x8.add(v128.load8x8_u(zeroPoints), defaultZero) : defaultZero;
    do {
      const count = min(inGroup, subSteps);
      inGroup -= count;
      const x = v128.load32_splat(pairs);
      pairs += 4;
      let c0 = i16x8.mul(x, defaultZero), c1 = bits == 4 ? c0 : i16x8.shl(c0, 2);
      if (zeros) {
        s0 = i32x4.sub(s0, i32x4.dot_i16x8_s(i16x8.shuffle(z, z, 0, 0, 1, 1, 2, 2, 3, 3), x));
        s1 = i32x4.sub(s1, i32x4.dot_i16x8_s(i16x8.shuffle(z, z, 4, 4, 5, 5, 6, 6, 7, 7), bits == 4 ? x : i16x8.shl(x, 2)));
      }
      if (bits == 4) {
        let w = v128.load(codes, 0), y = v128.load32_splat(a, 0);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
        w = v128.load(codes, 16);
        y = v128.load32_splat(a, 4);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
        w = v128.load(codes, 32);
        y = v128.load32_splat(a, 8);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
        w = v128.load(codes, 48);
        y = v128.load32_splat(a, 12);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
        if (count > 4) {
          w = v128.load(codes, 64);
          y = v128.load32_splat(a, 16);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
          w = v128.load(codes, 80);
          y = v128.load32_splat(a, 20);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
          w = v128.load(codes, 96);
          y = v128.load32_splat(a, 24);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
          w = v128.load(codes, 112);
          y = v128.load32_splat(a, 28);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
        }
      } else {
        let w = v128.load(codes, 0), y = v128.load32_splat(a, 0);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
        w = i16x8.shr_u(w, 4);
        y = v128.load32_splat(a, 4);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
        w = v128.load(codes, 16);
        y = v128.load32_splat(a, 8);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
        w = i16x8.shr_u(w, 4);
        y = v128.load32_splat(a, 12);
        c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
        c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
        if (count > 4) {
          w = v128.load(codes, 32);
          y = v128.load32_splat(a, 16);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
          w = i16x8.shr_u(w, 4);
          y = v128.load32_splat(a, 20);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
          w = v128.load(codes, 48);
          y = v128.load32_splat(a, 24);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
          w = i16x8.shr_u(w, 4);
          y = v128.load32_splat(a, 28);
          c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
          c1 = i16x8.add(c1, maddubs(v128.and(w, mask1), y));
        }
      }
      codes += <usize>count * (bits * 4);
      a += <usize>count * 4;
      s0 = i32x4.add(s0, i32x4.extadd_pairwise_i16x8_s(c0));
      s1 = i32x4.add(s1, i32x4.extadd_pairwise_i16x8_s(c1));
    } while (inGroup > 0);
    if (bits == 2) s1 = i32x4.shr_s(s1, 2);
    zeroPoints += 8;
    if (!grouped) {
      v128.store(to, s0, 0);
      v128.store(to, s1, 16);
      return;
    }
    const nextGroup = halves + <usize>chunks * 16;
    do {
      s0 = lessZeroA(s0, halves, zeroA);
      s1 = lessZeroA(s1, halves + 8, zeroA);
      halves += 16;
    } while (halves < nextGroup);
    f0 = madd(f32x4.convert_i32x4_s(s0), v128.load(scales, 0), f0);
    f1 = madd(f32x4.convert_i32x4_s(s1), v128.load(scales, 16), f1);
    scales += 32;
  } while (left > 0);
  v128.store(to, f0, 0);
  v128.store(to, f1, 16);
}

/** The same for groups of one chunk, which begin as those of tileMaddubsGroups do. */
function int4GroupRow(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  if (MODULE != 1) return;
  const groupSteps = job.groupSteps;
  let codes = job.w0 + <usize>panel * job.steps * 16;
  let scales = job.w1 + <usize>panel * job.scaleGroups * 32;
  let halves = job.w2 + <usize>panel * job.scaleGroups * 16;
  const mask0 = i8x16.splat(15);
  const zeroA = i16x8.splat(<i16>-facts.zeroPoint), defaultZero = i16x8.splat(<i16>-job.zeroCode);
  let f0 = f32x4.splat(0), f1 = f0;
  let left = job.steps;
  do {
    const count = min(left, groupSteps);
    const x = i16x8.mul(v128.load32_splat(pairs), defaultZero);
    let c0 = i16x8.add(i16x8.mul(v128.load8x8_s(halves, 0), zeroA), x);
    let c1 = i16x8.add(i16x8.mul(v128.load8x8_s(halves, 8), zeroA), x);
    let w = v128.load(codes, 0), y = v128.load32_splat(a, 0);
    c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
    c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
    w = v128.load(codes, 16);
    y = v128.load32_splat(a, 4);
    c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
    c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
    w = v128.load(codes, 32);
    y = v128.load32_splat(a, 8);
    c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
    c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
    w = v128.load(codes, 48);
    y = v128.load32_splat(a, 12);
    c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
    c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
    if (count > 4) {
      w = v128.load(codes, 64);
      y = v128.load32_splat(a, 16);
      c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
      c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
      w = v128.load(codes, 80);
      y = v128.load32_splat(a, 20);
      c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
      c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
      w = v128.load(codes, 96);
      y = v128.load32_splat(a, 24);
      c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
      c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
      w = v128.load(codes, 112);
      y = v128.load32_splat(a, 28);
      c0 = i16x8.add(c0, maddubs(v128.and(w, mask0), y));
      c1 = i16x8.add(c1, maddubs(v128.and(i16x8.shr_u(w, 4), mask0), y));
    }
    f0 = madd(f32x4.convert_i32x4_s(i32x4.extadd_pairwise_i16x8_s(c0)), v128.load(scales, 0), f0);
    f1 = madd(f32x4.convert_i32x4_s(i32x4.extadd_pairwise_i16x8_s(c1)), v128.load(scales, 16), f1);
    pairs += 4;
    halves += 16;
    scales += 32;
    codes += <usize>count * 16;
    a += <usize>count * 4;
    left -= count;
  } while (left > 0);
  v128.store(to, f0, 0);
  v128.store(to, f1, 16);
}

function int4Row(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  codesRow(job, panel, a, pairs, facts, to, 4, false);
}

function int4ZerosRow(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  codesRow(job, panel, a, pairs, facts, to, 4, true);
}

function int2Row(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  codesRow(job, panel, a, pairs, facts, to, 2, false);
}

function int2ZerosRow(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  codesRow(job, panel, a, pairs, facts, to, 2, true);
}

export function int4_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode4, PAIRS, false);
}

export function int4_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE == 1) {
    const short = job.scaleGroups > 1 && job.groupSteps <= 8;
    gemvRows(job, begin, end, scratch, job.weightZeros ? int4ZerosRow : short ? int4GroupRow : int4Row);
    return;
  }
  gemvI8(job, begin, end, scratch, decode4, PAIRS, false);
}

export function int2_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode2, PAIRS, false);
}

export function int2_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE == 1) gemvRows(job, begin, end, scratch, job.weightZeros ? int2ZerosRow : int2Row);
  else gemvI8(job, begin, end, scratch, decode2, PAIRS, false);
}
