import { gemmI8 } from '../shared/bytes/gemm';
import { gemvI8, gemvRows } from '../shared/bytes/gemv';
import { RowFacts } from '../shared/bytes/rows';
import { maddubs } from '../shared/bytes/tiles';
import { MatmulJob } from '../shared/job';

// 1-bit weights, 8-bit activations. w0: [panels][steps / 4][16 bytes]; bit 2 * s + h of byte i is k = i % 4 of step s,
// channel 4 * h + i / 4: 1 for +1, 0 for -1. What lies past K decodes to -1 and meets activations of 0.

const PAIRS = MODULE == 2;

/** +1 where `bit` is set in a byte, else -1. */
// @ts-ignore: decorator
@inline
function signs(bytes: v128, bit: v128, one: v128): v128 {
  const clear = i8x16.eq(v128.and(bytes, bit), i8x16.splat(0));
  return i8x16.add(i8x16.add(clear, clear), one);
}

function decode1(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 4;
  const end = from + <usize>count * 4;
  const one = i8x16.splat(1);
  let at = to;
  do {
    const bytes = v128.load(from);
    v128.store(at, signs(bytes, i8x16.splat(1), one), 0);
    v128.store(at, signs(bytes, i8x16.splat(2), one), 16);
    v128.store(at, signs(bytes, i8x16.splat(4), one), 32);
    v128.store(at, signs(bytes, i8x16.splat(8), one), 48);
    v128.store(at, signs(bytes, i8x16.splat(16), one), 64);
    v128.store(at, signs(bytes, i8x16.splat(32), one), 80);
    v128.store(at, signs(bytes, i8x16.splat(64), one), 96);
    v128.store(at, signs(bytes, i8x16.splat(-128), one), 112);
    from += 16;
    at += 128;
  } while (from < end);
  return to;
}

/** Vectors of codes, 4 steps each, whose 16-bit sums can't overflow: two adds of at most 8 * 2 * 255 each. */
const VECTORS: usize = 4;

/**
 * One row (maddubs). Bits are multiplied where they are: those of two steps as 0 or 1, 2, 4, 8, then the other two steps'
 * after one shift. Sum of (2 * bit - 1) * a = 2 * sum of bit * a - sum of a.
 */
function binaryRow(job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize): void {
  if (MODULE != 1) return;
  let codes = job.w0 + <usize>panel * job.steps * 4;
  const end = codes + <usize>job.steps * 4;
  const bit0 = i8x16.splat(1), bit1 = i8x16.splat(2), bit2 = i8x16.splat(4), bit3 = i8x16.splat(8);
  let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  do {
    let c0 = i16x8.splat(0), c1 = c0, c2 = c0, c3 = c0;
    const past = min(codes + VECTORS * 16, end);
    do {
      let w = v128.load(codes);
      let x = v128.load32_splat(a, 0);
      c0 = i16x8.add(c0, maddubs(v128.and(w, bit0), x));
      c1 = i16x8.add(c1, maddubs(v128.and(w, bit1), x));
      x = v128.load32_splat(a, 4);
      c2 = i16x8.add(c2, maddubs(v128.and(w, bit2), x));
      c3 = i16x8.add(c3, maddubs(v128.and(w, bit3), x));
      w = i16x8.shr_u(w, 4);
      x = v128.load32_splat(a, 8);
      c0 = i16x8.add(c0, maddubs(v128.and(w, bit0), x));
      c1 = i16x8.add(c1, maddubs(v128.and(w, bit1), x));
      x = v128.load32_splat(a, 12);
      c2 = i16x8.add(c2, maddubs(v128.and(w, bit2), x));
      c3 = i16x8.add(c3, maddubs(v128.and(w, bit3), x));
      codes += 16;
      a += 16;
    } while (codes < past);
    s0 = i32x4.add(s0, i32x4.extadd_pairwise_i16x8_s(c0));
    s1 = i32x4.add(s1, i32x4.extadd_pairwise_i16x8_s(c1));
    s2 = i32x4.add(s2, i32x4.extadd_pairwise_i16x8_s(c2));
    s3 = i32x4.add(s3, i32x4.extadd_pairwise_i16x8_s(c3));
  } while (codes < end);
  const sumA = i32x4.splat(facts.centred + <i32>job.K * facts.zeroPoint);
  s0 = i32x4.add(i32x4.shl(s0, 1), i32x4.shr_s(s2, 1));
  s1 = i32x4.add(s1, i32x4.shr_s(s3, 2));
  v128.store(to, i32x4.sub(s0, sumA), 0);
  v128.store(to, i32x4.sub(s1, sumA), 16);
}

export function binary_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode1, PAIRS, false);
}

export function binary_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE == 1) gemvRows(job, begin, end, scratch, binaryRow);
  else gemvI8(job, begin, end, scratch, decode1, PAIRS, false);
}
