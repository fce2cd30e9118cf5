import { Job } from '../shared/job';
import { clamp, clampScalar } from '../shared/simd';

// C = clamp(A op B) with broadcasting. Dimensions are merged by the caller, so that a row is as long as it can be.
// Tiles are rows of `cols` floats; rows are numbered over up to five outer dimensions.

const OUTER: u32 = 5;

@unmanaged
class BinaryJob extends Job {
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

// @ts-ignore: decorator
@inline
function apply<O>(a: v128, b: v128): v128 {
  if (isAdd<O>()) return f32x4.add(a, b);
  if (isSub<O>()) return f32x4.sub(a, b);
  if (isMul<O>()) return f32x4.mul(a, b);
  return f32x4.div(a, b);
}

// @ts-ignore: decorator
@inline
function applyScalar<O>(a: f32, b: f32): f32 {
  if (isAdd<O>()) return a + b;
  if (isSub<O>()) return a - b;
  if (isMul<O>()) return a * b;
  return a / b;
}

// The operation is a type, so that each export is compiled for its own: u8 add, u16 sub, u32 mul, u64 div.
// @ts-ignore: decorator
@inline
function isAdd<O>(): bool { return sizeof<O>() == 1; }
// @ts-ignore: decorator
@inline
function isSub<O>(): bool { return sizeof<O>() == 2; }
// @ts-ignore: decorator
@inline
function isMul<O>(): bool { return sizeof<O>() == 4; }

function binary<O>(job: BinaryJob, begin: u32, end: u32): void {
  const cols = job.cols;
  const low = job.low, high = job.high;
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  const aStep = <usize>job.aStep * 4, bStep = <usize>job.bStep * 4;
  for (let row = begin; row < end; row++) {
    let rest = row;
    let a = job.input, b = job.input2;
    for (let i: i32 = OUTER - 1; i >= 0; i--) {
      const at = outerAt(job, i);
      const size = load<u32>(at, 0);
      const index = rest % size;
      rest /= size;
      a += <usize>index * load<u32>(at, 4) * 4;
      b += <usize>index * load<u32>(at, 8) * 4;
    }
    let to = job.output + <usize>row * cols * 4;
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      const x = aStep ? v128.load(a) : v128.load32_splat(a);
      const y = bStep ? v128.load(b) : v128.load32_splat(b);
      v128.store(to, clamp(apply<O>(x, y), lows, highs));
      a += aStep * 4;
      b += bStep * 4;
      to += 16;
    }
    for (; c < cols; c++) {
      f32.store(to, clampScalar(applyScalar<O>(f32.load(a), f32.load(b)), low, high));
      a += aStep;
      b += bStep;
      to += 4;
    }
  }
}

export function add(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  binary<u8>(job, begin, end);
}

export function sub(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  binary<u16>(job, begin, end);
}

export function mul(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  binary<u32>(job, begin, end);
}

export function div(job: BinaryJob, begin: u32, end: u32, scratch: usize): void {
  binary<u64>(job, begin, end);
}
