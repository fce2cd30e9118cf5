// 8-bit codes and what they stand for.

/** What the codes of a tensor mean. */
export interface Codes {
  scale: number;
  zeroPoint: number;
}

/** Codes as the numbers that they stand for, and back. */
export const toNumbers = (data: ArrayLike<number>, { scale, zeroPoint }: Codes) =>
  Float32Array.from(data, (code) => (code - zeroPoint) * scale);
export const toCodes = (data: Float32Array, { scale, zeroPoint }: Codes) =>
  Int8Array.from(data, (x) => Math.round(x / scale) + zeroPoint);
