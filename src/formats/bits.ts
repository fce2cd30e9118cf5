import { ThinferError } from '../errors.js';

/**
 * Codes of `bits` bits that share bytes, the first in the lowest bits: code i lies in byte floor(i * bits / 8), from
 * bit (i * bits) mod 8 upwards. No code spans two bytes.
 */
export type CodeBits = 2 | 4 | 8;

/** Bytes that `count` codes take. */
export function codeBytes(count: number, bits: CodeBits): number {
  return Math.ceil((count * bits) / 8);
}

/** Code `i` of those that begin at byte `start`. */
export function readCode(bytes: Uint8Array, start: number, i: number, bits: CodeBits): number {
  const perByte = 8 / bits;
  return (bytes[start + Math.floor(i / perByte)] >> (bits * (i % perByte))) & (2 ** bits - 1);
}

/** Sets a code whose bits were 0. */
export function writeCode(bytes: Uint8Array, start: number, i: number, bits: CodeBits, code: number): void {
  const perByte = 8 / bits;
  bytes[start + Math.floor(i / perByte)] |= code << (bits * (i % perByte));
}

/**
 * Throws unless every place for a code in the last byte of each of `rows` rows of `count` codes holds `fill`, if
 * unused.
 */
export function requireUnusedCodes(
  bytes: Uint8Array,
  rows: number,
  count: number,
  bits: CodeBits,
  fill: number,
  place: string,
): void {
  const used = (count * bits) % 8;
  if (used === 0) return;
  const stride = codeBytes(count, bits);
  let rest = 0;
  for (let bit = used; bit < 8; bit += bits) rest |= fill << (bit - used);
  for (let at = stride - 1; at < rows * stride; at += stride) {
    if (bytes[at] >> used !== rest) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}[${at}]`,
        expected: `${rest} in bits ${used}..7, which hold no code`,
        got: String(bytes[at] >> used),
        hint: `The first code is in the lowest bits, and ${count} codes of ${bits} bits start on a byte.`,
      });
    }
  }
}

/** Words of 32 bits that a row of `cols` signs takes. */
export function signWords(cols: number): number {
  return Math.ceil(cols / 32);
}

/** The signs and mean magnitudes of the rows of a dense matrix. sign(0) = sign(-0) = +1. */
export function packSigns(dense: Float32Array, rows: number, cols: number): { bits: Uint32Array; scale: Float32Array } {
  const words = signWords(cols);
  const bits = new Uint32Array(rows * words);
  const scale = new Float32Array(rows);
  for (let r = 0; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < cols; c++) {
      const w = dense[r * cols + c];
      sum += Math.abs(w);
      if (w >= 0) bits[r * words + (c >>> 5)] |= 1 << (c & 31);
    }
    scale[r] = sum / cols;
  }
  return { bits, scale };
}

/** out[r, c] = +scale[r] where the bit is set, else -scale[r]. */
export function unpackSigns(
  bits: Uint32Array,
  rows: number,
  cols: number,
  scale: ArrayLike<number>,
  out: Float32Array | Float64Array,
): void {
  const words = signWords(cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const positive = (bits[r * words + (c >>> 5)] >>> (c & 31)) & 1;
      out[r * cols + c] = positive ? scale[r] : -scale[r];
    }
  }
}

/** Throws unless the bits after the last column of each row are 0. */
export function requireUnusedSigns(bits: Uint32Array, cols: number, place: string): void {
  const words = signWords(cols);
  const used = cols % 32;
  if (used === 0) return;
  for (let at = words - 1; at < bits.length; at += words) {
    if (bits[at] >>> used !== 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}[${at}]`,
        expected: `0 in bits ${used}..31 of the last word of a row (cols = ${cols})`,
        got: `0x${bits[at].toString(16).padStart(8, '0')}`,
        hint: 'Column c is bit (c mod 32), counted from the least significant.',
      });
    }
  }
}
