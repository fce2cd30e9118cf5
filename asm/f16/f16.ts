import { depthwise } from '../shared/depthwise';
import { gemmF32, gemvF32 } from '../shared/gemm_f32';
import { MatmulJob } from '../shared/job';
import { madd } from '../shared/simd';

// w0: halves (IEEE 754 binary16) in panels [groups * paddedN / 8][K][4] of words: channel n low, n + 4 high. Depthwise:
// [taps][paddedN / 8][4].
//
// A half becomes an f32 in place: sign to bit 31, the rest to bits 27..13; times 2^112, the difference of the biases of
// the exponents. Exact, for halves below 2^-14 as well.

/** 2^112. */
const REBIAS: f32 = reinterpret<f32>((112 + 127) << 23);
const BITS: i32 = <i32>0x8fffe000;

// @ts-ignore: decorator
@inline
function lower(words: v128, bits: v128, rebias: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(i32x4.shl(words, 16), 3), bits), rebias);
}

// @ts-ignore: decorator
@inline
function upper(words: v128, bits: v128, rebias: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(words, 3), bits), rebias);
}

/** `count` vectors of eight halves to as many of eight f32. */
function decode(from: usize, count: u32, to: usize): void {
  const bits = i32x4.splat(BITS), rebias = f32x4.splat(REBIAS);
  const end = from + <usize>count * 16;
  while (from < end) {
    const words = v128.load(from);
    v128.store(to, lower(words, bits, rebias), 0);
    v128.store(to, upper(words, bits, rebias), 16);
    from += 16;
    to += 32;
  }
}

function panelAt(job: MatmulJob, panel: u32, to: usize): usize {
  decode(job.w0 + <usize>panel * job.K * 16, job.K, to);
  return to;
}

export function f16_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panelAt);
}

/** One row by a panel, whose halves become f32 in registers. */
function row(job: MatmulJob, panel: u32, a: usize, to: usize, sums: usize): void {
  const K = job.K;
  let from = job.w0 + <usize>panel * K * 16;
  const bits = i32x4.splat(BITS), rebias = f32x4.splat(REBIAS);
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  const whole = a + <usize>(K & ~1) * 4;
  while (a < whole) {
    let words = v128.load(from, 0);
    let x = v128.load32_splat(a, 0);
    c00 = madd(x, lower(words, bits, rebias), c00);
    c01 = madd(x, upper(words, bits, rebias), c01);
    words = v128.load(from, 16);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, lower(words, bits, rebias), c10);
    c11 = madd(x, upper(words, bits, rebias), c11);
    a += 8;
    from += 32;
  }
  if (K & 1) {
    const words = v128.load(from), x = v128.load32_splat(a);
    c00 = madd(x, lower(words, bits, rebias), c00);
    c01 = madd(x, upper(words, bits, rebias), c01);
  }
  v128.store(sums, f32x4.add(f32x4.add(c00, c10), v128.load(sums, 0)), 0);
  v128.store(sums, f32x4.add(f32x4.add(c01, c11), v128.load(sums, 16)), 16);
}

export function f16_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, row);
}

function tapsAt(job: MatmulJob, to: usize): usize {
  decode(job.w0, job.K * (job.paddedN / 8), to);
  return to;
}

export function f16_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  depthwise(job, begin, end, scratch, tapsAt, false);
}
