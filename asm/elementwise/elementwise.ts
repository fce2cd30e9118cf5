import { exp } from '../shared/exp';
import { Job } from '../shared/job';
import { log } from '../shared/log';
import { clamp, storeTail } from '../shared/simd';

// C = clamp(A op B) with broadcasting. Dimensions are merged by the caller, so that a row is as long as it can be.
// Tiles are rows of `cols` floats; rows are numbered over up to five outer dimensions. op by its number in BINARY of
// src/plan/problem.ts.

const OUTER: u32 = 5;

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

// @ts-ignore: decorator
@inline
function rowOf(
  a: usize, b: usize, aBytes: usize, bBytes: usize, to: usize, cols: u32, low: f32, high: f32, operator: u32,
): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  const past = to + <usize>cols * 4;
  for (; to < past; to += 16) {
    // What is read past the end is not stored.
    const x = aBytes ? v128.load(a) : v128.load32_splat(a);
    const y = bBytes ? v128.load(b) : v128.load32_splat(b);
    const z = clamp(apply(x, y, operator), lows, highs);
    a += aBytes;
    b += bBytes;
    if (to + 16 <= past) v128.store(to, z);
    else storeTail(to, z, z, <u32>(past - to) / 4);
  }
}

/** A loop for each operator. */
function row(
  operator: u32, a: usize, b: usize, aBytes: usize, bBytes: usize, to: usize, cols: u32, low: f32, high: f32,
): void {
  switch (operator) {
    case 0: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 0); break;
    case 1: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 1); break;
    case 2: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 2); break;
    case 3: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 3); break;
    case 4: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 4); break;
    case 5: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 5); break;
    case 6: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 6); break;
    case 9: rowOf(a, b, aBytes, bBytes, to, cols, low, high, 9); break;
    // The others share one loop that asks for the operator at every step.
    default: rowOf(a, b, aBytes, bBytes, to, cols, low, high, operator);
  }
}

export function binary(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  const cols = job.cols;
  const aBytes = <usize>job.aStep * 16, bBytes = <usize>job.bStep * 16;
  for (let r = begin; r < end; r++) {
    let rest = r;
    let a = job.input, b = job.input2;
    for (let i: i32 = OUTER - 1; i >= 0; i--) {
      const at = outerAt(job, i);
      const size = load<u32>(at, 0);
      const index = rest % size;
      rest /= size;
      a += <usize>index * load<u32>(at, 4) * 4;
      b += <usize>index * load<u32>(at, 8) * 4;
    }
    row(job.operator, a, b, aBytes, bBytes, job.output + <usize>r * cols * 4, cols, job.low, job.high);
  }
}
