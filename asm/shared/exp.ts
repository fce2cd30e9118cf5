import { madd } from './simd';

/**
 * Constants of the functions below, read where they are used: V8 makes a v128 constant anew, from several instructions, in
 * every turn of a loop, where this is one load.
 */
const CONSTANTS = memory.data<f32>([
  -88, 88.8, 1.44269504,
  // 1.5 * 2^23 + 127: what is added to it has its nearest integer, plus 127, in the last bits.
  12583039,
  // ln 2 in two parts, of which the first has so few bits that n times it is exact.
  -0.693359375, 2.12194440e-4,
  // e^r = 1 + r + ...: minimax in the relative error, 2e-8, up to |r| = ln 2 / 2.
  0.0013451712, 0.008357131, 0.04167233, 0.16666666, 0.5, 1,
], 16);

// @ts-ignore: decorator
@inline
function constant(i: usize): v128 {
  return v128.load32_splat(CONSTANTS + i * 4);
}

/** 1 in each lane. */
// @ts-ignore: decorator
@inline
export function ones(): v128 {
  return constant(11);
}

/**
 * e^x of four floats, to within 2 units in the last place: x = n ln 2 + r, 2^n put into the exponent. x below -87.7 gives
 * 0, over 88.4 infinity. NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, constant(0)), constant(1));
  const shifted = madd(bounded, constant(2), constant(3));
  const n = f32x4.sub(shifted, constant(3));
  const r = madd(n, constant(5), madd(n, constant(4), bounded));
  let p = madd(constant(6), r, constant(7));
  p = madd(p, r, constant(8));
  p = madd(p, r, constant(9));
  p = madd(p, r, constant(10));
  p = madd(p, r, ones());
  p = madd(p, r, ones());
  return f32x4.mul(p, i32x4.shl(shifted, 23));
}
