import { codeBytes, writeCode } from './bits.js';

/**
 * The bucket of each weight of hashed networks (Chen et al. 2015, Compressing neural networks with the hashing trick), as
 * the codes of a codebook: that of weight i of a row-major matrix is the hash of i modulo `entries`, which is a power of two.
 * The hash is the finalizer of MurmurHash3 (fmix32, public domain) of i + seed * 0x9e3779b9.
 */
export function hashCodes(rows: number, cols: number, entries: 16 | 256, seed: number): Uint8Array {
  const bits = entries === 16 ? 4 : 8;
  const stride = codeBytes(cols, bits);
  const codes = new Uint8Array(rows * stride);
  const offset = Math.imul(seed, 0x9e3779b9);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) writeCode(codes, r * stride, c, bits, mix(r * cols + c + offset) & (entries - 1));
  }
  return codes;
}

/** A number of 32 bits of another: with seeds and places, random numbers that are the same everywhere. */
export function mix(key: number): number {
  let h = key | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
