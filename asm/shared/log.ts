import { madd } from './simd';

/**
 * log x of four floats, to within 2 units in the last place: x = m 2^e with m in [sqrt 1/2, sqrt 2), log m by the
 * minimax polynomial of Cephes' logf. 0 gives -infinity, negative numbers NaN. NaN and infinity stay.
 */
// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const one = f32x4.splat(1);
  // Subnormal numbers, scaled to be normal.
  const tiny = f32x4.lt(x, f32x4.splat(1.17549435e-38));
  const normal = v128.bitselect(f32x4.mul(x, f32x4.splat(8388608)), x, tiny);
  const bits = i32x4.sub(normal, i32x4.splat(0x3f3504f3));
  let e = f32x4.convert_i32x4_s(i32x4.shr_s(bits, 23));
  e = f32x4.sub(e, v128.and(tiny, f32x4.splat(23)));
  const m = f32x4.sub(i32x4.add(v128.and(bits, i32x4.splat(0x007fffff)), i32x4.splat(0x3f3504f3)), one);
  let p = f32x4.splat(7.0376836292e-2);
  p = madd(p, m, f32x4.splat(-1.1514610310e-1));
  p = madd(p, m, f32x4.splat(1.1676998740e-1));
  p = madd(p, m, f32x4.splat(-1.2420140846e-1));
  p = madd(p, m, f32x4.splat(1.4249322787e-1));
  p = madd(p, m, f32x4.splat(-1.6668057665e-1));
  p = madd(p, m, f32x4.splat(2.0000714765e-1));
  p = madd(p, m, f32x4.splat(-2.4999993993e-1));
  p = madd(p, m, f32x4.splat(3.3333331174e-1));
  const square = f32x4.mul(m, m);
  p = f32x4.mul(p, f32x4.mul(m, square));
  p = madd(e, f32x4.splat(-2.12194440e-4), p);
  p = madd(square, f32x4.splat(-0.5), p);
  p = madd(e, f32x4.splat(0.693359375), f32x4.add(m, p));
  const zero = f32x4.splat(0), infinity = f32x4.splat(Infinity);
  p = v128.bitselect(f32x4.neg(infinity), p, f32x4.eq(x, zero));
  // Infinity and NaN come out as they are.
  p = v128.bitselect(p, x, f32x4.lt(x, infinity));
  return v128.bitselect(f32x4.splat(NaN), p, f32x4.lt(x, zero));
}
