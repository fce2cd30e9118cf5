/**
 * Canonical Huffman codes (Huffman 1952; the canonical numbering is that of RFC 1951, section 3.2.2): a symbol's code
 * follows from the lengths alone. Codes of one length are consecutive numbers in the order of the symbols, and the first of
 * a length is twice the number after the last of the length before. Bits are written from the most significant of each
 * byte on, a code from its most significant bit on.
 */

/** Bits of the longest code. */
export const LONGEST_CODE = 24;

/** Bits of a symbol: of 4, two symbols share a byte, the first in its lower half. */
export type SymbolBits = 4 | 8;

/** How many codes there are of each length, 0..LONGEST_CODE. */
export function countLengths(lengths: Uint8Array): Int32Array {
  const counts = new Int32Array(LONGEST_CODE + 1);
  for (const length of lengths) if (length > 0) counts[length]++;
  return counts;
}

/** The number of the first code of each length. */
export function firstCodes(counts: Int32Array): Int32Array {
  const first = new Int32Array(LONGEST_CODE + 1);
  for (let length = 1; length <= LONGEST_CODE; length++) first[length] = (first[length - 1] + counts[length - 1]) * 2;
  return first;
}

/** Symbols in the order of their codes. */
export function byCode(lengths: Uint8Array): number[] {
  const used = Array.from(lengths.keys()).filter((symbol) => lengths[symbol] > 0);
  return used.sort((a, b) => lengths[a] - lengths[b] || a - b);
}

/** Says what is wrong with a file. */
export type Fail = (place: string, expected: string, got: string) => never;

/** Bytes of `count` symbols. */
export const symbolBytes = (count: number, bits: SymbolBits): number => Math.ceil((count * bits) / 8);

/**
 * The symbols that bits stand for, packed into bytes.
 * @param lengths of the code of each symbol; 0 of those that do not occur
 * @param fail is called for lengths that are no code, and bits that are too few, too many, or no code
 */
export function decodeHuffman(
  stream: Uint8Array,
  lengths: Uint8Array,
  count: number,
  bits: SymbolBits,
  fail: Fail,
): Uint8Array {
  const symbols = 2 ** bits;
  if (lengths.length !== symbols) fail('lengths', `${symbols} lengths of codes`, String(lengths.length));
  const wrong = lengths.findIndex((length) => length > LONGEST_CODE);
  if (wrong >= 0) fail(`lengths[${wrong}]`, `at most ${LONGEST_CODE} bits`, String(lengths[wrong]));
  const counts = countLengths(lengths);
  const used = counts.reduce((sum, n) => sum + n, 0);
  let room = 1;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    room = room * 2 - counts[length];
    if (room < 0) fail('lengths', 'codes of which none begins another', `too many of ${length} bits`);
  }
  if (used === 0 && count > 0) fail('lengths', 'codes', 'none');
  // Every symbol takes a bit at least: nothing larger is allocated than the file can fill.
  if (count > stream.length * 8)
    fail('size', `at most ${stream.length * 8} symbols in ${stream.length} bytes`, `${count}`);
  const first = firstCodes(counts);
  const order = byCode(lengths);
  /** Where in `order` the symbols of each length begin. */
  const starts = counts.map((_, length) => counts.subarray(0, length).reduce((sum, n) => sum + n, 0));
  const out = new Uint8Array(symbolBytes(count, bits));
  const total = stream.length * 8;
  let at = 0;
  for (let i = 0; i < count; i++) {
    let code = 0;
    let length = 0;
    let symbol = -1;
    while (symbol < 0) {
      if (at === total) fail('bits', `${count} symbols`, `${i}, and no more bits`);
      if (length === LONGEST_CODE) fail('bits', 'codes of the table', `another at symbol ${i}`);
      code = (code << 1) | ((stream[at >> 3] >> (7 - (at & 7))) & 1);
      at++;
      length++;
      const index = code - first[length];
      if (index >= 0 && index < counts[length]) symbol = order[starts[length] + index];
    }
    if (bits === 8) out[i] = symbol;
    else out[i >> 1] |= symbol << (4 * (i & 1));
  }
  if (Math.ceil(at / 8) !== stream.length) fail('bits', `${Math.ceil(at / 8)} bytes`, String(stream.length));
  return out;
}

/** Columns further than this from the one before take more than one byte. */
export const FAR = 255;

/**
 * Columns of csr by their distances: for each entry how many columns lie between it and the one before in its row, as
 * bytes of 255 and one that is less, which are added.
 */
export function decodeColumns(
  gaps: Uint8Array,
  indptr: Uint32Array,
  cols: number,
  Type: typeof Uint16Array | typeof Uint32Array,
  fail: Fail,
): Uint16Array | Uint32Array {
  const nnz = indptr.at(-1) ?? 0;
  if (nnz > gaps.length) fail('indptr', `at most ${gaps.length} entries, one a byte of the distances`, String(nnz));
  const indices = new Type(nnz);
  let at = 0;
  for (let r = 0; r + 1 < indptr.length; r++) {
    if (indptr[r + 1] < indptr[r] || indptr[r + 1] > nnz) {
      fail(`indptr[${r + 1}]`, `${indptr[r]}..${nnz}`, String(indptr[r + 1]));
    }
    let column = -1;
    for (let i = indptr[r]; i < indptr[r + 1]; i++) {
      let gap = 0;
      for (;;) {
        if (at === gaps.length) fail('gaps', `distances of ${nnz} entries`, `those of ${i}`);
        const byte = gaps[at++];
        gap += byte;
        if (byte < FAR) break;
        if (gap > cols) fail(`gaps[${at - 1}]`, `columns below ${cols}`, String(column + 1 + gap));
      }
      column += 1 + gap;
      if (column >= cols) fail(`gaps[${at - 1}]`, `columns below ${cols}`, String(column));
      indices[i] = column;
    }
  }
  if (at !== gaps.length) fail('gaps', `${at} bytes`, String(gaps.length));
  return indices;
}
