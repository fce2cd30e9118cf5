// Modules (see src/wasm/probe.ts): A relaxed SIMD with a fast exact dot, B relaxed SIMD without, C plain SIMD128.
// MODULE is 0, 1 or 2; EMULATE_DOT is 0 but in test builds, where the dot of both kinds is spelled out.

/** a * b + c, in one rounding where the engine can. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Bytes of `table` picked by `index`, all below 16; or 0 by those from 128. */
// @ts-ignore: decorator
@inline
export function pick(table: v128, index: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(table, index);
  return i8x16.swizzle(table, index);
}

/** The sum of four f32 lanes. */
// @ts-ignore: decorator
@inline
export function addLanes(x: v128): f32 {
  return f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3));
}

/** min(max(x, low), high): pmin and pmax are one instruction each, and this operand order keeps NaN. */
// @ts-ignore: decorator
@inline
export function clamp(x: v128, low: v128, high: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, low), high);
}

// @ts-ignore: decorator
@inline
export function clampScalar(x: f32, low: f32, high: f32): f32 {
  const raised = low > x ? low : x;
  return high < raised ? high : raised;
}

/** Column i of the four rows, at to + i * stride. */
// @ts-ignore: decorator
@inline
export function storeTransposed(r0: v128, r1: v128, r2: v128, r3: v128, to: usize, stride: usize): void {
  const a = i32x4.shuffle(r0, r1, 0, 4, 1, 5), b = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
  const c = i32x4.shuffle(r0, r1, 2, 6, 3, 7), d = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
  v128.store(to, i64x2.shuffle(a, b, 0, 2));
  v128.store(to + stride, i64x2.shuffle(a, b, 1, 3));
  v128.store(to + 2 * stride, i64x2.shuffle(c, d, 0, 2));
  v128.store(to + 3 * stride, i64x2.shuffle(c, d, 1, 3));
}

/** Stores the first `count` (1 .. 8) of the eight floats lo, hi. */
export function storeTail(to: usize, lo: v128, hi: v128, count: u32): void {
  if (count >= 4) {
    v128.store(to, lo);
    to += 16;
    lo = hi;
    count -= 4;
  }
  if (count & 2) {
    v128.store64_lane(to, lo, 0);
    to += 8;
    lo = i8x16.shuffle(lo, lo, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
  }
  if (count & 1) v128.store32_lane(to, lo, 0);
}
