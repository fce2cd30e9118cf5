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

/** Sum of x - mean, or of its squares; four accumulators hide the latency of the addition. */
// @ts-ignore: decorator
@inline
function sumOf(from: usize, bytes: usize, mean: f32, squares: bool): f32 {
  const means = f32x4.splat(mean);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  const past = from + bytes;
  for (; from + 64 <= past; from += 64) {
    const a = f32x4.sub(v128.load(from, 0), means), b = f32x4.sub(v128.load(from, 16), means);
    const c = f32x4.sub(v128.load(from, 32), means), d = f32x4.sub(v128.load(from, 48), means);
    s0 = squares ? madd(a, a, s0) : f32x4.add(a, s0);
    s1 = squares ? madd(b, b, s1) : f32x4.add(b, s1);
    s2 = squares ? madd(c, c, s2) : f32x4.add(c, s2);
    s3 = squares ? madd(d, d, s3) : f32x4.add(d, s3);
  }
  let sum = total(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
  for (; from < past; from += 4) {
    const x = f32.load(from) - mean;
    sum += squares ? x * x : x;
  }
  return sum;
}

function meanOf(from: usize, bytes: usize, cols: f32): f32 {
  return sumOf(from, bytes, 0, false) / cols;
}

function varianceOf(from: usize, bytes: usize, cols: f32, mean: f32): f32 {
  return sumOf(from, bytes, mean, true) / cols;
}

export function normalize(job: NormalizeJob, begin: u32, end: u32, scratch: usize): void {
  const cols = <f32>job.cols;
  const bytes = <usize>job.cols * 4;
  const affine = job.affine != 0;
  for (let row = begin; row < end; row++) {
    const from = job.input + row * bytes, to = job.output + row * bytes;
    const mean: f32 = job.center ? meanOf(from, bytes, cols) : 0;
    const weight: f32 = 1 / sqrt<f32>(varianceOf(from, bytes, cols, mean) + job.epsilon);
    const means = f32x4.splat(mean), weights = f32x4.splat(weight);
    for (let i: usize = 0; i < bytes; i += 16) {
      let y = f32x4.mul(f32x4.sub(v128.load(from + i), means), weights);
      if (affine) y = madd(y, v128.load(job.input2 + i), v128.load(job.input2 + bytes + i));
      if (i + 16 <= bytes) v128.store(to + i, y);
      else storeTail(to + i, y, y, <u32>(bytes - i) / 4);
    }
  }
}
