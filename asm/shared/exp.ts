import { madd } from './simd';

/**
 * e^x of four floats, to within 2 units in the last place: x = n ln 2 + r, e^r by its Taylor polynomial of degree 7 (off
 * by 5e-9 at |r| = ln 2 / 2), 2^n put into the exponent. x below -87.3 gives 0,
 * over 88.4 infinity. NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const lowest = f32x4.splat(-87.3);
  const bounded = f32x4.pmin(f32x4.pmax(x, lowest), f32x4.splat(88.8));
  const n = f32x4.nearest(f32x4.mul(bounded, f32x4.splat(1.44269504)));
  // ln 2 in two parts, of which the first has so few bits that n times it is exact.
  const r = madd(n, f32x4.splat(2.12194440e-4), madd(n, f32x4.splat(-0.693359375), bounded));
  let p = f32x4.splat(1.0 / 5040);
  p = madd(p, r, f32x4.splat(1.0 / 720));
  p = madd(p, r, f32x4.splat(1.0 / 120));
  p = madd(p, r, f32x4.splat(1.0 / 24));
  p = madd(p, r, f32x4.splat(1.0 / 6));
  p = madd(p, r, f32x4.splat(0.5));
  p = madd(p, r, f32x4.splat(1));
  p = madd(p, r, f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(p, power), f32x4.lt(x, lowest));
}
