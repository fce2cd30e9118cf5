import { exp, ones } from '../shared/exp';
import { Job, MatmulJob } from '../shared/job';
import { log } from '../shared/log';
import { clamp, madd, storeTail } from '../shared/simd';

// C = clamp(f(A)). Tiles are blocks of 4096 floats. f by its number in UNARY of src/plan/problem.ts.

const BLOCK: u32 = 4096;

/** Constants, in memory for the reason told in asm/shared/exp.ts: those of erf, and others. */
const CONSTANTS = memory.data<f32>([
  0.3275911, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 2,
  -1, 0.16666667, 0.5, 0.70710678, 0.0713548163, 1.5957691216,
], 16);

// @ts-ignore: decorator
@inline
function constant(i: usize): v128 {
  return v128.load32_splat(CONSTANTS + i * 4);
}

@unmanaged
class ActivationJob extends Job {
  size: u32;
  nonlinearity: u32;
}

/** 1 / (1 + e^-x) */
// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  return f32x4.div(ones(), f32x4.add(ones(), exp(f32x4.neg(x))));
}

/** 1 + erf x, to within 2e-7: Abramowitz and Stegun 1964, 7.1.26. */
// @ts-ignore: decorator
@inline
function onePlusErf(x: v128): v128 {
  const z = f32x4.abs(x);
  const t = f32x4.div(ones(), madd(z, constant(0), ones()));
  let p = madd(constant(1), t, constant(2));
  p = madd(p, t, constant(3));
  p = madd(p, t, constant(4));
  p = madd(p, t, constant(5));
  const tail = f32x4.mul(f32x4.mul(p, t), exp(f32x4.neg(f32x4.mul(z, z))));
  // 2 - tail for positive x, tail for negative ones.
  return v128.bitselect(tail, f32x4.sub(constant(6), tail), f32x4.lt(x, f32x4.splat(0)));
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
    case 2: return madd(sigmoid(f32x4.add(x, x)), constant(6), constant(7));
    // x min(max(x / 6 + 1 / 2, 0), 1)
    case 3: return f32x4.mul(x, clamp(madd(x, constant(8), constant(9)), f32x4.splat(0), ones()));
    case 4: return f32x4.mul(x, sigmoid(x));
    case 5: return f32x4.mul(f32x4.mul(x, constant(9)), onePlusErf(f32x4.mul(x, constant(10))));
    // sqrt(2 / pi) (x + 0.044715 x^3), doubled
    case 6: {
      const u = madd(f32x4.mul(x, f32x4.mul(x, x)), constant(11), f32x4.mul(x, constant(12)));
      return f32x4.mul(x, sigmoid(u));
    }
    case 7: return exp(x);
    case 8: return log(x);
    case 9: return f32x4.sqrt(x);
    case 10: return f32x4.div(ones(), x);
    case 11: return f32x4.abs(x);
    case 12: return f32x4.sub(onePlusErf(x), ones());
    case 13: return v128.bitselect(f32x4.sub(exp(x), ones()), x, f32x4.lt(x, f32x4.splat(0)));
    // max(x, 0) + log(1 + e^-|x|)
    case 14: {
      const tail = log(f32x4.add(ones(), exp(f32x4.neg(f32x4.abs(x)))));
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

/** @param light f takes so few instructions that the loop's own count */
// @ts-ignore: decorator
@inline
function run(from: usize, to: usize, past: usize, low: f32, high: f32, nonlinearity: u32, light: bool): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  for (; light && to + 64 <= past; to += 64) {
    const a = apply(v128.load(from, 0), nonlinearity), b = apply(v128.load(from, 16), nonlinearity);
    v128.store(to, clamp(a, lows, highs), 0);
    v128.store(to, clamp(b, lows, highs), 16);
    const c = apply(v128.load(from, 32), nonlinearity), d = apply(v128.load(from, 48), nonlinearity);
    v128.store(to, clamp(c, lows, highs), 32);
    v128.store(to, clamp(d, lows, highs), 48);
    from += 64;
  }
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
    case 1: run(from, to, past, low, high, 1, false); break;
    case 2: run(from, to, past, low, high, 2, false); break;
    case 3: run(from, to, past, low, high, 3, true); break;
    case 4: run(from, to, past, low, high, 4, false); break;
    case 5: run(from, to, past, low, high, 5, false); break;
    case 6: run(from, to, past, low, high, 6, false); break;
    case 7: run(from, to, past, low, high, 7, false); break;
    case 8: run(from, to, past, low, high, 8, false); break;
    case 9: run(from, to, past, low, high, 9, true); break;
    case 10: run(from, to, past, low, high, 10, false); break;
    case 11: run(from, to, past, low, high, 11, true); break;
    case 12: run(from, to, past, low, high, 12, false); break;
    case 13: run(from, to, past, low, high, 13, false); break;
    case 14: run(from, to, past, low, high, 14, false); break;
    case 15: run(from, to, past, low, high, 15, true); break;
    case 16: run(from, to, past, low, high, 16, true); break;
    case 17: run(from, to, past, low, high, 17, true); break;
    case 18: run(from, to, past, low, high, 18, true); break;
    case 19: run(from, to, past, low, high, 19, false); break;
    case 20: run(from, to, past, low, high, 20, false); break;
    default: run(from, to, past, low, high, 0, true);
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
