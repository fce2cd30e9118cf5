import { exp } from '../shared/exp';
import { Job, MatmulJob } from '../shared/job';
import { clamp, madd, storeTail } from '../shared/simd';

// C = clamp(f(A)). Tiles are blocks of 4096 floats. f by its number in src/plan/problem.ts.

const BLOCK: u32 = 4096;

@unmanaged
class ActivationJob extends Job {
  size: u32;
  nonlinearity: u32;
}

/** 1 / (1 + e^-x) */
// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/** 1 + erf(x / sqrt 2), to within 2e-7: Abramowitz and Stegun 1964, 7.1.26. */
// @ts-ignore: decorator
@inline
function onePlusErf(x: v128): v128 {
  const one = f32x4.splat(1);
  const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678));
  const t = f32x4.div(one, madd(z, f32x4.splat(0.3275911), one));
  let p = f32x4.splat(1.061405429);
  p = madd(p, t, f32x4.splat(-1.453152027));
  p = madd(p, t, f32x4.splat(1.421413741));
  p = madd(p, t, f32x4.splat(-0.284496736));
  p = madd(p, t, f32x4.splat(0.254829592));
  const tail = f32x4.mul(f32x4.mul(p, t), exp(f32x4.neg(f32x4.mul(z, z))));
  // 2 - tail for positive x, tail for negative ones.
  return v128.bitselect(tail, f32x4.sub(f32x4.splat(2), tail), f32x4.lt(x, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline
function apply(x: v128, nonlinearity: u32): v128 {
  switch (nonlinearity) {
    case 1: return sigmoid(x);
    // tanh x = 2 sigmoid(2 x) - 1
    case 2: return madd(sigmoid(f32x4.add(x, x)), f32x4.splat(2), f32x4.splat(-1));
    // x min(max(x / 6 + 1 / 2, 0), 1)
    case 3: return f32x4.mul(x, clamp(madd(x, f32x4.splat(1.0 / 6), f32x4.splat(0.5)), f32x4.splat(0), f32x4.splat(1)));
    case 4: return f32x4.mul(x, sigmoid(x));
    case 5: return f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), onePlusErf(x));
    // sqrt(2 / pi) (x + 0.044715 x^3), doubled
    case 6: {
      const u = madd(f32x4.mul(x, f32x4.mul(x, x)), f32x4.splat(0.0713548163), f32x4.mul(x, f32x4.splat(1.5957691216)));
      return f32x4.mul(x, sigmoid(u));
    }
    default: return x;
  }
}

// @ts-ignore: decorator
@inline
function run(from: usize, to: usize, past: usize, low: f32, high: f32, nonlinearity: u32): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  for (; to < past; to += 16) {
    // What is read past the end is not stored.
    const y = clamp(apply(v128.load(from), nonlinearity), lows, highs);
    from += 16;
    if (to + 16 <= past) v128.store(to, y);
    else storeTail(to, y, y, <u32>(past - to) / 4);
  }
}

/** A loop for each f. */
function activate(from: usize, to: usize, past: usize, low: f32, high: f32, nonlinearity: u32): void {
  switch (nonlinearity) {
    case 1: run(from, to, past, low, high, 1); break;
    case 2: run(from, to, past, low, high, 2); break;
    case 3: run(from, to, past, low, high, 3); break;
    case 4: run(from, to, past, low, high, 4); break;
    case 5: run(from, to, past, low, high, 5); break;
    case 6: run(from, to, past, low, high, 6); break;
    default: run(from, to, past, low, high, 0);
  }
}

export function activation(job: ActivationJob, begin: u32, end: u32, scratch: usize): void {
  const first = <usize>begin * BLOCK * 4, past = <usize>min(end * BLOCK, job.size) * 4;
  activate(job.input + first, job.output + first, job.output + past, job.low, job.high, job.nonlinearity);
}

/** The last stage of a matmul: its output in place. The clamp comes after f, so that the stages before it do not clamp. */
export function activate_output(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const size = job.M * job.N * job.groups;
  const first = job.output + <usize>begin * BLOCK * 4, past = job.output + <usize>min(end * BLOCK, size) * 4;
  activate(first, first, past, job.finalLow, job.finalHigh, job.nonlinearity);
}
