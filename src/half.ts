/** A number of 16 bits, 5 of them exponent (IEEE 754 binary16), by its bits. */
export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

const float = new Float32Array(1);
const bitsOfFloat = new Uint32Array(float.buffer);

/** The bits of the infinity that numbers from 65520 on become. */
export const F16_INFINITY = 0x7c00;

/** The bits of the half nearest to an f32, of two the even one. Not for NaN. */
export function toF16(x: number): number {
  float[0] = x;
  const sign = (bitsOfFloat[0] >>> 16) & 0x8000;
  const magnitude = bitsOfFloat[0] & 0x7fffffff;
  // 65520, halfway to 2^16.
  if (magnitude >= 0x477ff000) return sign | F16_INFINITY;
  // Below 2^-14 halves are multiples of 2^-24: added to 2^23, f32 has no smaller step.
  if (magnitude < 0x38800000) return sign | (Math.fround(Math.abs(float[0]) * 2 ** 24 + 2 ** 23) - 2 ** 23);
  return sign | (((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) - (112 << 10));
}

/** Whether halves have this f32. */
export const isF16 = (x: number): boolean => fromF16(toF16(x)) === x;

/** Whether halves have all of these f32. */
export function areF16(values: Float32Array): boolean {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i] & 0x7fffffff;
    // From 2^-14 on, and below 2^16, halves are the f32 whose 13 lowest bits are 0.
    const isNormal = magnitude >= 0x38800000 && magnitude < 0x47800000 && (magnitude & 0x1fff) === 0;
    if (!isNormal && magnitude !== 0 && !isF16(values[i])) return false;
  }
  return true;
}

/** f32 values by the bits of their f16 ones. */
export function floatsFromF16(bits: ArrayLike<number>): Float32Array {
  return Float32Array.from(bits, fromF16);
}

/** f32 values by the bits of their bfloat16 ones: the upper half of an f32's. */
export function floatsFromBf16(bits: ArrayLike<number>): Float32Array {
  return new Float32Array(Uint32Array.from(bits, (upper) => upper << 16).buffer);
}
