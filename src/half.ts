/** A number of 16 bits, 5 of them exponent (IEEE 754 binary16), by its bits. */
export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** f32 values by the bits of their f16 ones. */
export function floatsFromF16(bits: ArrayLike<number>): Float32Array {
  return Float32Array.from(bits, fromF16);
}

/** f32 values by the bits of their bfloat16 ones: the upper half of an f32's. */
export function floatsFromBf16(bits: ArrayLike<number>): Float32Array {
  return new Float32Array(Uint32Array.from(bits, (upper) => upper << 16).buffer);
}
