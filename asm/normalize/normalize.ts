import { Job } from '../shared/job';
import { madd, storeTail } from '../shared/simd';

// C[r, c] = (A[r, c] - m) / sqrt(v + epsilon) * B[0, c] + B[1, c]: see NormalizeProblem in src/plan/problem.ts. Tiles
// are rows.

@unmanaged
class NormalizeJob extends Job {
  cols: u32;
  center: u32;
  affine: u32;
  epsilon: f32;
}

// @ts-ignore: decorator
@inline
function total(sums: v128): f32 {
  return f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1)
    + (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
}

function sumOf(from: usize, bytes: usize): f32 {
  const whole = bytes & ~15;
  let sums = f32x4.splat(0);
  for (let i: usize = 0; i < whole; i += 16) sums = f32x4.add(sums, v128.load(from + i));
  let sum = total(sums);
  for (let i = whole; i < bytes; i += 4) sum += f32.load(from + i);
  return sum;
}

/** Sum of (x - mean)^2. */
function spreadOf(from: usize, bytes: usize, mean: f32): f32 {
  const whole = bytes & ~15;
  const means = f32x4.splat(mean);
  let sums = f32x4.splat(0);
  for (let i: usize = 0; i < whole; i += 16) {
    const x = f32x4.sub(v128.load(from + i), means);
    sums = madd(x, x, sums);
  }
  let sum = total(sums);
  for (let i = whole; i < bytes; i += 4) {
    const x = f32.load(from + i) - mean;
    sum += x * x;
  }
  return sum;
}

export function normalize(job: NormalizeJob, begin: u32, end: u32, scratch: usize): void {
  const cols = <f32>job.cols;
  const bytes = <usize>job.cols * 4;
  const affine = job.affine != 0;
  for (let row = begin; row < end; row++) {
    const from = job.input + row * bytes, to = job.output + row * bytes;
    const mean: f32 = job.center ? sumOf(from, bytes) / cols : 0;
    const weight: f32 = 1 / sqrt<f32>(spreadOf(from, bytes, mean) / cols + job.epsilon);
    const means = f32x4.splat(mean), weights = f32x4.splat(weight);
    for (let i: usize = 0; i < bytes; i += 16) {
      let y = f32x4.mul(f32x4.sub(v128.load(from + i), means), weights);
      if (affine) y = madd(y, v128.load(job.input2 + i), v128.load(job.input2 + bytes + i));
      if (i + 16 <= bytes) v128.store(to + i, y);
      else storeTail(to + i, y, y, <u32>(bytes - i) / 4);
    }
  }
}
