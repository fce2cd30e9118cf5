// What a machine can do at most, for the roofline of thinfer bench: multiply-adds that wait for nothing but each other,
// and a copy of memory.

/** Independent sums hide the latency of the instruction: two a cycle of latency 4 want 8; more do no harm. */
const SUMS: i32 = 12;
const LANES: i32 = 4;
/** Multiply-adds of one step. */
export const MACS: i32 = SUMS * LANES;

// @ts-ignore: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

export function fma(steps: i32): f32 {
  // Read from memory, so that the optimiser can't know them.
  const x = v128.load(0), y = v128.load(16);
  // Each begins elsewhere, so that none is another.
  let s0 = v128.load(32), s1 = v128.load(48), s2 = v128.load(64), s3 = v128.load(80), s4 = v128.load(96), s5 = v128.load(112);
  let s6 = v128.load(128), s7 = v128.load(144), s8 = v128.load(160), s9 = v128.load(176), s10 = v128.load(192), s11 = v128.load(208);
  for (let i = 0; i < steps; i++) {
    s0 = madd(s0, x, y);
    s1 = madd(s1, x, y);
    s2 = madd(s2, x, y);
    s3 = madd(s3, x, y);
    s4 = madd(s4, x, y);
    s5 = madd(s5, x, y);
    s6 = madd(s6, x, y);
    s7 = madd(s7, x, y);
    s8 = madd(s8, x, y);
    s9 = madd(s9, x, y);
    s10 = madd(s10, x, y);
    s11 = madd(s11, x, y);
  }
  const low = f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(s4, s5));
  const high = f32x4.add(f32x4.add(f32x4.add(s6, s7), f32x4.add(s8, s9)), f32x4.add(s10, s11));
  return f32x4.extract_lane(f32x4.add(low, high), 0);
}

/** The second half of `bytes` of memory onto the first: as many are read and written as they are in all. */
export function copy(bytes: usize): void {
  memory.copy(0, bytes >> 1, bytes >> 1);
}
