import { codeBytes, readCode, writeCode } from '../../formats/bits.js';
import { formatOf, type Weights } from '../../formats/index.js';
import { byCode, countLengths, FAR, firstCodes, LONGEST_CODE, type SymbolBits } from '../huffman.js';

export interface Encoded {
  /** How many symbols there are. */
  count: number;
  symbolBits: SymbolBits;
  /** Bits of each symbol's code; 0 of those that do not occur. */
  lengths: Uint8Array;
  bits: Uint8Array;
}

/** How often each symbol occurs. */
function frequencies(data: Uint8Array, symbolBits: SymbolBits, count: number): number[] {
  const counts = new Array<number>(2 ** symbolBits).fill(0);
  for (let i = 0; i < count; i++) counts[readCode(data, 0, i, symbolBits)]++;
  return counts;
}

/** The lengths of Huffman's codes: the two rarest become one, until one is left (Huffman 1952). */
export function codeLengths(counts: readonly number[]): Uint8Array {
  const lengths = new Uint8Array(counts.length);
  for (let weights = [...counts]; ; weights = weights.map((n) => Math.ceil(n / 2))) {
    interface Tree {
      weight: number;
      symbols: number[];
    }
    let trees: Tree[] = weights.flatMap((weight, symbol) => (weight > 0 ? [{ weight, symbols: [symbol] }] : []));
    lengths.fill(0);
    if (trees.length === 1) lengths[trees[0].symbols[0]] = 1;
    while (trees.length > 1) {
      trees.sort((a, b) => a.weight - b.weight || a.symbols[0] - b.symbols[0]);
      const [a, b, ...rest] = trees;
      const symbols = [...a.symbols, ...b.symbols];
      for (const symbol of symbols) lengths[symbol]++;
      trees = [...rest, { weight: a.weight + b.weight, symbols }];
    }
    // Rarer ones are taken to be less rare where a code would be too long.
    if (lengths.every((length) => length <= LONGEST_CODE)) return lengths;
  }
}

export function encodeHuffman(data: Uint8Array, symbolBits: SymbolBits): Encoded {
  const count = (data.length * 8) / symbolBits;
  const counts = frequencies(data, symbolBits, count);
  const lengths = codeLengths(counts);
  const first = firstCodes(countLengths(lengths));
  const codes = new Int32Array(lengths.length);
  for (const symbol of byCode(lengths)) codes[symbol] = first[lengths[symbol]]++;
  const total = counts.reduce((sum, n, symbol) => sum + n * lengths[symbol], 0);
  const bits = new Uint8Array(Math.ceil(total / 8));
  let at = 0;
  for (let i = 0; i < count; i++) {
    const symbol = readCode(data, 0, i, symbolBits);
    for (let bit = lengths[symbol] - 1; bit >= 0; bit--, at++)
      bits[at >> 3] |= ((codes[symbol] >> bit) & 1) << (7 - (at & 7));
  }
  return { count, symbolBits, lengths, bits };
}

/** Bytes of what is stored. */
export const encodedBytes = ({ lengths, bits }: Encoded): number => lengths.length + bits.length;

/** Distances of the columns of csr, see `decodeColumns`. */
export function encodeColumns(indptr: Uint32Array, indices: Uint16Array | Uint32Array): Uint8Array {
  const gaps: number[] = [];
  for (let r = 0; r + 1 < indptr.length; r++) {
    let column = -1;
    for (let i = indptr[r]; i < indptr[r + 1]; i++) {
      let gap = indices[i] - column - 1;
      for (; gap >= FAR; gap -= FAR) gaps.push(FAR);
      gaps.push(gap);
      column = indices[i];
    }
  }
  return Uint8Array.from(gaps);
}

/** Symbols of 4 bits, where a format has codes of these. */
function symbolBitsOf(weights: Weights, field: string): SymbolBits {
  if (field === 'positions' || weights.format === 'int4') return 4;
  return 'entries' in weights && weights.entries === 16 ? 4 : 8;
}

/** A format's codes, or the distances of its columns, Huffman-coded; undefined for other parts. */
export function encodeField(weights: Weights, field: string): Encoded | undefined {
  if (field === 'indices' && 'indptr' in weights) {
    return encodeHuffman(encodeColumns(weights.indptr, weights.indices), 8);
  }
  if (field !== 'codes' && field !== 'positions') return undefined;
  const data = (weights as unknown as Record<string, Uint8Array | Int8Array>)[field];
  if (data.length === 0) return undefined;
  const pages = field === 'codes' ? pagesOf(weights) : undefined;
  if (pages) return encodeHuffman(pages.codes, 4);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.length);
  return encodeHuffman(bytes, symbolBitsOf(weights, field));
}

/** Codes of 4 bits into one page of a codebook of 256 a row: 16 entries that the row shares with others. */
export interface Pages {
  /** [rows, ceil(cols / 2)], as codes of 16 entries. */
  codes: Uint8Array;
  /** [rows] */
  pages: Uint8Array;
}

/** The pages of a codebook of 256 of which every row has one; undefined for others. */
export function pagesOf(weights: Weights): Pages | undefined {
  if (weights.format !== 'codebook' || weights.entries !== 256) return undefined;
  const { rows, cols, codes } = weights;
  const stride = codeBytes(cols, 4);
  const made = { codes: new Uint8Array(rows * stride), pages: new Uint8Array(rows) };
  for (let r = 0; r < rows; r++) {
    const page = codes[r * cols] >> 4;
    made.pages[r] = page;
    for (let c = 0; c < cols; c++) {
      const code = codes[r * cols + c];
      if (code >> 4 !== page) return undefined;
      writeCode(made.codes, r * stride, c, 4, code & 15);
    }
  }
  return made;
}

/** Bytes of weights in a file that has them Huffman-coded: of each array the fewer. */
export function huffmanBytes(weights: Weights): number {
  let bytes = formatOf(weights).bytes(weights);
  for (const field of ['codes', 'positions', 'indices']) {
    const data = (weights as unknown as Record<string, ArrayBufferView | undefined>)[field];
    const encoded = data && encodeField(weights, field);
    if (!encoded) continue;
    const pages = field === 'codes' ? (pagesOf(weights)?.pages.length ?? 0) : 0;
    bytes -= Math.max(data.byteLength - encodedBytes(encoded) - pages, 0);
  }
  return bytes;
}
