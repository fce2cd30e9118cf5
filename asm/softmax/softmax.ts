import { exp } from '../shared/exp';
import { Job } from '../shared/job';

// C[r, c] = exp(A[r, c] - max A[r]) / sum exp(A[r, *] - max A[r]). Tiles are rows.

@unmanaged
class SoftmaxJob extends Job {
  cols: u32;
}

/** A row's tail of 1 to 3 floats, the other lanes `fill`. */
// @ts-ignore: decorator
@inline
function loadTail(from: usize, past: usize, fill: f32): v128 {
  let x = v128.load32_lane(from, f32x4.splat(fill), 0);
  if (from + 4 < past) x = v128.load32_lane(from + 4, x, 1);
  if (from + 8 < past) x = v128.load32_lane(from + 8, x, 2);
  return x;
}

export function softmax(job: SoftmaxJob, begin: u32, end: u32, scratch: usize): void {
  const bytes = <usize>job.cols * 4;
  const whole = bytes & ~15;
  for (let row = begin; row < end; row++) {
    const from = job.input + row * bytes, to = job.output + row * bytes;
    // pmax drops a NaN, but then its exponential is NaN and so is the sum.
    let highs = f32x4.splat(-Infinity);
    for (let i: usize = 0; i < whole; i += 16) highs = f32x4.pmax(highs, v128.load(from + i));
    if (whole < bytes) highs = f32x4.pmax(highs, loadTail(from + whole, from + bytes, -Infinity));
    highs = f32x4.pmax(highs, i32x4.shuffle(highs, highs, 2, 3, 0, 1));
    highs = f32x4.pmax(highs, i32x4.shuffle(highs, highs, 1, 0, 3, 2));
    let sums = f32x4.splat(0);
    for (let i: usize = 0; i < whole; i += 16) {
      const e = exp(f32x4.sub(v128.load(from + i), highs));
      v128.store(to + i, e);
      sums = f32x4.add(sums, e);
    }
    let sum = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1)
      + (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
    for (let i = whole; i < bytes; i += 4) {
      const e = f32x4.extract_lane(exp(f32x4.sub(v128.load32_zero(from + i), highs)), 0);
      f32.store(to + i, e);
      sum += e;
    }
    const weight: f32 = 1 / sum;
    const weights = f32x4.splat(weight);
    for (let i: usize = 0; i < whole; i += 16) v128.store(to + i, f32x4.mul(v128.load(to + i), weights));
    for (let i = whole; i < bytes; i += 4) f32.store(to + i, f32.load(to + i) * weight);
  }
}
