import { exp } from '../shared/exp';
import { Job } from '../shared/job';
import { log } from '../shared/log';
import { clamp, storeTail } from '../shared/simd';

// C = clamp(A op B) with broadcasting. Dimensions are merged by the caller, so that a row is as long as it can be.
// Tiles are blocks of up to 4096 floats of a row of `cols`; rows are numbered over up to five outer dimensions. op by its number in BINARY of
// src/plan/problem.ts.

const OUTER: u32 = 5;
const BLOCK: u32 = 4096;

@unmanaged
class BinaryJob extends Job {
  operator: u32;
  cols: u32;
  /** Stride of each operand along a row, 0 or 1. */
  aStep: u32;
  bStep: u32;
  // Then, for the outer dimensions, innermost last: size, stride of A, stride of B, in elements.
}

// @ts-ignore: decorator
@inline
function outerAt(job: BinaryJob, i: u32): usize {
  return changetype<usize>(job) + offsetof<BinaryJob>() + i * 12;
}

/** a^b: e^(b log |a|), with the sign of a where b is odd; NaN for negative a and a b that is no integer. */
function power(a: v128, b: v128): v128 {
  const zero = f32x4.splat(0), one = f32x4.splat(1);
  const size = exp(f32x4.mul(b, log(f32x4.abs(a))));
  const whole = f32x4.eq(f32x4.nearest(b), b);
  const half = f32x4.mul(b, f32x4.splat(0.5));
  const odd = v128.andnot(whole, f32x4.eq(f32x4.nearest(half), half));
  const negative = f32x4.lt(a, zero);
  let y = v128.bitselect(f32x4.neg(size), size, v128.and(negative, odd));
  y = v128.bitselect(f32x4.splat(NaN), y, v128.andnot(negative, whole));
  return v128.bitselect(one, y, v128.or(f32x4.eq(b, zero), f32x4.eq(a, one)));
}

/** a - b floor(a / b), where the quotient may be one off. */
// @ts-ignore: decorator
@inline
function modulo(a: v128, b: v128): v128 {
  return f32x4.sub(a, f32x4.mul(b, f32x4.floor(f32x4.div(a, b))));
}

// @ts-ignore: decorator
@inline
function truth(mask: v128): v128 {
  return v128.and(mask, f32x4.splat(1));
}

// @ts-ignore: decorator
@inline
function isTrue(x: v128): v128 {
  return f32x4.ne(x, f32x4.splat(0));
}

// @ts-ignore: decorator
@inline
function apply(a: v128, b: v128, operator: u32): v128 {
  switch (operator) {
    case 0: return f32x4.add(a, b);
    case 1: return f32x4.sub(a, b);
    case 2: return f32x4.mul(a, b);
    case 3: return f32x4.div(a, b);
    case 4: return f32x4.min(a, b);
    case 5: return f32x4.max(a, b);
    case 6: return power(a, b);
    case 7: return modulo(a, b);
    case 8: return f32x4.sub(a, f32x4.mul(b, f32x4.trunc(f32x4.div(a, b))));
    case 9: return v128.bitselect(f32x4.mul(a, b), a, f32x4.lt(a, f32x4.splat(0)));
    case 10: return truth(f32x4.eq(a, b));
    case 11: return truth(f32x4.lt(a, b));
    case 12: return truth(f32x4.le(a, b));
    case 13: return truth(v128.and(isTrue(a), isTrue(b)));
    case 14: return truth(v128.or(isTrue(a), isTrue(b)));
    case 15: return truth(v128.xor(isTrue(a), isTrue(b)));
    case 16: return v128.and(a, isTrue(b));
    default: return v128.andnot(a, isTrue(b));
  }
}

/** Up to BLOCK elements; aBytes and bBytes: how far 16 of them are from the next in each operand, 64 or 0. */
// @ts-ignore: decorator
@inline
function blockOf(
  a: usize, b: usize, aBytes: usize, bBytes: usize, to: usize, past: usize, low: f32, high: f32, operator: u32,
): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  for (; to + 64 <= past; to += 64) {
    const x = apply(v128.load(a, 0), v128.load(b, 0), operator), y = apply(v128.load(a, 16), v128.load(b, 16), operator);
    v128.store(to, clamp(x, lows, highs), 0);
    v128.store(to, clamp(y, lows, highs), 16);
    const z = apply(v128.load(a, 32), v128.load(b, 32), operator), w = apply(v128.load(a, 48), v128.load(b, 48), operator);
    v128.store(to, clamp(z, lows, highs), 32);
    v128.store(to, clamp(w, lows, highs), 48);
    a += aBytes;
    b += bBytes;
  }
  aBytes >>= 2;
  bBytes >>= 2;
  for (; to < past; to += 16) {
    // What is read past the end is not stored.
    const z = clamp(apply(v128.load(a), v128.load(b), operator), lows, highs);
    a += aBytes;
    b += bBytes;
    if (to + 16 <= past) v128.store(to, z);
    else storeTail(to, z, z, <u32>(past - to) / 4);
  }
}

/** The operators that share a loop, which asks for the operator at every step. */
function rareOf(
  operator: u32, a: usize, b: usize, aBytes: usize, bBytes: usize, to: usize, past: usize, low: f32, high: f32,
): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  aBytes >>= 2;
  bBytes >>= 2;
  for (; to < past; to += 16) {
    const z = clamp(apply(v128.load(a), v128.load(b), operator), lows, highs);
    a += aBytes;
    b += bBytes;
    if (to + 16 <= past) v128.store(to, z);
    else storeTail(to, z, z, <u32>(past - to) / 4);
  }
}

/** A loop for each operator that is common. */
function block(
  operator: u32, a: usize, b: usize, aBytes: usize, bBytes: usize, to: usize, past: usize, low: f32, high: f32,
): void {
  switch (operator) {
    case 0: blockOf(a, b, aBytes, bBytes, to, past, low, high, 0); break;
    case 1: blockOf(a, b, aBytes, bBytes, to, past, low, high, 1); break;
    case 2: blockOf(a, b, aBytes, bBytes, to, past, low, high, 2); break;
    case 3: blockOf(a, b, aBytes, bBytes, to, past, low, high, 3); break;
    case 4: blockOf(a, b, aBytes, bBytes, to, past, low, high, 4); break;
    case 5: blockOf(a, b, aBytes, bBytes, to, past, low, high, 5); break;
    case 9: blockOf(a, b, aBytes, bBytes, to, past, low, high, 9); break;
    default: rareOf(operator, a, b, aBytes, bBytes, to, past, low, high);
  }
}

/** The operand, or 64 bytes filled with its one element where it does not change along a row. */
// @ts-ignore: decorator
@inline
function along(operand: usize, step: u32, room: usize): usize {
  if (step) return operand;
  const x = v128.load32_splat(operand);
  v128.store(room, x, 0);
  v128.store(room, x, 16);
  v128.store(room, x, 32);
  v128.store(room, x, 48);
  return room;
}

/** Scratch: 64 bytes for each operand. */
export function binary(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  const cols = job.cols;
  const blocks = (cols + BLOCK - 1) / BLOCK;
  const aStep = job.aStep, bStep = job.bStep;
  for (let tile = begin; tile < end; tile++) {
    const first = (tile % blocks) * BLOCK;
    const r = tile / blocks;
    let rest = r;
    let a = job.input + <usize>first * aStep * 4, b = job.input2 + <usize>first * bStep * 4;
    for (let i: i32 = OUTER - 1; rest > 0; i--) {
      const at = outerAt(job, i);
      const size = load<u32>(at, 0);
      const index = rest % size;
      rest /= size;
      a += <usize>index * load<u32>(at, 4) * 4;
      b += <usize>index * load<u32>(at, 8) * 4;
    }
    const to = job.output + (<usize>r * cols + first) * 4;
    block(job.operator, along(a, aStep, scratch), along(b, bStep, scratch + 64), <usize>aStep * 64, <usize>bStep * 64,
      to, to + <usize>min(cols - first, BLOCK) * 4, job.low, job.high);
  }
}
