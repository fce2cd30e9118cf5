// Compiled with relaxed SIMD into a module of its own, and run once: what does this engine make of the dot
// instruction when the second operand has its top bit set?

/** 0: saturates or else unusable for 8 x 8 bits, 1: second operand unsigned and exact, 2: signed and exact. */
export function classify(): i32 {
  const c = i32x4.splat(0);
  // Loaded through memory, so that the optimiser can't evaluate it with its own semantics.
  const a = v128.load(0), b = v128.load(16);
  const sum = i32x4.extract_lane(i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, c), 0);
  // a = 127, b = 255 as bytes, four products.
  if (sum == 4 * 127 * 255) return 1;
  if (sum == 4 * 127 * -1) return 2;
  return 0;
}

/** Does the 16-bit relaxed dot take 8 x 255 + 8 x 255 as unsigned, and -8 x 255 - 8 x 255 too? */
export function isMaddubs(): bool {
  const b = v128.load(16);
  const up = i16x8.extract_lane_s(v128.relaxed_dot<i16>(v128.load(32), b), 0);
  const down = i16x8.extract_lane_s(v128.relaxed_dot<i16>(v128.load(48), b), 0);
  return up == 2 * 8 * 255 && down == 2 * -8 * 255;
}

/** Writes the operands of the above. */
export function prepare(): void {
  for (let i: usize = 0; i < 16; i++) {
    store<u8>(i, 127);
    store<u8>(i + 16, 255);
    store<i8>(i + 32, 8);
    store<i8>(i + 48, -8);
  }
}

/** The sign of inf - inf tells x86 (set) from ARM (clear). */
export function isX86(): bool {
  f32.store(64, Infinity);
  const x = f32.load(64);
  return reinterpret<u32>(x - f32.load(64)) >> 31 == 1;
}
