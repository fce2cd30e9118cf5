import { exp } from '../shared/exp';
import { Job, MatmulJob } from '../shared/job';
import { log } from '../shared/log';
import { clamp, madd, storeTail } from '../shared/simd';

// C = clamp(f(A)). Tiles are blocks of 4096 floats. f by its number in UNARY of src/plan/problem.ts.

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

/** 1 + erf x, to within 2e-7: Abramowitz and Stegun 1964, 7.1.26. */
// @ts-ignore: decorator
@inline
function onePlusErf(x: v128): v128 {
  const one = f32x4.splat(1);
  const z = f32x4.abs(x);
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

/**
 * sin x, to within 2^-22 of 1 while |x| is below some thousands: x = n pi + r, pi in three parts of which the first two
 * have few bits; sin r by its minimax polynomial of degree 11 up to pi / 2.
 */
// @ts-ignore: decorator
@inline
function sin(x: v128): v128 {
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(0.318309886)));
  let r = madd(n, f32x4.splat(-3.140625), x);
  r = madd(n, f32x4.splat(-9.67502593994140625e-4), r);
  r = madd(n, f32x4.splat(-1.509957990978376e-7), r);
  const square = f32x4.mul(r, r);
  let p = f32x4.splat(-2.3889859e-8);
  p = madd(p, square, f32x4.splat(2.7525562e-6));
  p = madd(p, square, f32x4.splat(-1.9840874e-4));
  p = madd(p, square, f32x4.splat(8.333331e-3));
  p = madd(p, square, f32x4.splat(-0.16666667));
  p = madd(f32x4.mul(p, square), r, r);
  // Odd n turn the sign.
  return v128.xor(p, i32x4.shl(i32x4.trunc_sat_f32x4_s(n), 31));
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
    case 5: return f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), onePlusErf(f32x4.mul(x, f32x4.splat(0.70710678))));
    // sqrt(2 / pi) (x + 0.044715 x^3), doubled
    case 6: {
      const u = madd(f32x4.mul(x, f32x4.mul(x, x)), f32x4.splat(0.0713548163), f32x4.mul(x, f32x4.splat(1.5957691216)));
      return f32x4.mul(x, sigmoid(u));
    }
    case 7: return exp(x);
    case 8: return log(x);
    case 9: return f32x4.sqrt(x);
    case 10: return f32x4.div(f32x4.splat(1), x);
    case 11: return f32x4.abs(x);
    case 12: return f32x4.sub(onePlusErf(x), f32x4.splat(1));
    case 13: return v128.bitselect(f32x4.sub(exp(x), f32x4.splat(1)), x, f32x4.lt(x, f32x4.splat(0)));
    // max(x, 0) + log(1 + e^-|x|)
    case 14: {
      const tail = log(f32x4.add(f32x4.splat(1), exp(f32x4.neg(f32x4.abs(x)))));
      return f32x4.add(f32x4.max(x, f32x4.splat(0)), tail);
    }
    case 15: return f32x4.floor(x);
    case 16: return f32x4.ceil(x);
    case 17: return f32x4.nearest(x);
    case 18: {
      const zero = f32x4.splat(0), one = f32x4.splat(1);
      return f32x4.sub(v128.and(f32x4.gt(x, zero), one), v128.and(f32x4.lt(x, zero), one));
    }
    case 19: return sin(x);
    case 20: return sin(f32x4.add(x, f32x4.splat(1.57079633)));
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
    case 7: run(from, to, past, low, high, 7); break;
    case 8: run(from, to, past, low, high, 8); break;
    case 9: run(from, to, past, low, high, 9); break;
    case 10: run(from, to, past, low, high, 10); break;
    case 11: run(from, to, past, low, high, 11); break;
    case 12: run(from, to, past, low, high, 12); break;
    case 13: run(from, to, past, low, high, 13); break;
    case 14: run(from, to, past, low, high, 14); break;
    case 15: run(from, to, past, low, high, 15); break;
    case 16: run(from, to, past, low, high, 16); break;
    case 17: run(from, to, past, low, high, 17); break;
    case 18: run(from, to, past, low, high, 18); break;
    case 19: run(from, to, past, low, high, 19); break;
    case 20: run(from, to, past, low, high, 20); break;
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
