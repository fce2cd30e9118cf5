import { codeBytes, readCode, writeCode } from '../../src/formats/bits.js';
import type { CsrCodebookWeights } from '../../src/formats/csr-codebook.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, packEntries, sparseRow } from '../shared/sparse/variants.js';

/** Room for a column in an entry of 16 centroids, whose low bits are the code. */
const CODE4 = 16;

const wordBytes = (S: number, entries: 16 | 256) => (entries === 16 && S > 1 ? CODE4 : S * 4);

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Bytes of 16 centroids as [4][16]. */
const planes = (bytes: Uint8Array): Uint8Array => bytes.map((_, i) => bytes[(i % 16) * 4 + Math.floor(i / 16)]);

/**
 * Entries for strips of S rows of A. 16 centroids: column << 4 | code, and the codebook; for one row, which is bound
 * by what it decodes, the codebook's byte planes and then codes, two a byte. 256: codebook, then codes.
 */
const codes = (entries: 16 | 256, S: number, unit: number): WasmLayout<CsrCodebookWeights> => ({
  name: `csrCodebook${entries}_x${S}`,
  panel: 4,
  pack(weights, p) {
    const word = wordBytes(S, entries);
    const shape = { sumBytes: S * 4, wordBytes: word, unit };
    const { sources, ...packed } = packEntries(weights, p, blockingOf(p, S * 4, word), shape);
    const codeOf = (source: number) => (source < 0 ? 0 : readCode(weights.codes, 0, source, entries === 16 ? 4 : 8));
    if (entries === 16 && S > 1) {
      for (const [i, source] of sources.entries()) packed.offsets[i] |= codeOf(source);
      return { ...packed, codebook: weights.codebook };
    }
    const table = bytesOf(weights.codebook);
    const bits = entries === 16 ? 4 : 8;
    const bytes = new Uint8Array(table.length + codeBytes(sources.length, bits));
    bytes.set(bits === 4 ? planes(table) : table);
    for (const [i, source] of sources.entries()) writeCode(bytes, table.length, i, bits, codeOf(source));
    return { ...packed, codes: bytes };
  },
});

const rows = (entries: 16 | 256) => {
  const name = `csrCodebook${entries}`;
  const make = (
    kernel: string,
    S: number,
    unit: number,
    share: number,
    rowCost: number,
    requires?: readonly string[],
  ) =>
    sparseRow({
      format: 'csrCodebook',
      name: `${name}_${kernel}`,
      supports: (p) => p.weights.entries === entries || `the codebook has ${p.weights.entries} entries`,
      S,
      layout: codes(entries, S, unit),
      wordBytes: wordBytes(S, entries),
      share,
      requires,
      rowCost,
    });
  return [
    make('spmm_32x1', 32, 2, entries === 16 ? 0.8 : 0.65, entries === 16 ? 80 : 20, ['relaxed-simd']),
    make('spmm_16x1', 16, 2, entries === 16 ? 0.72 : 0.62, entries === 16 ? 95 : 20),
    make('spmm_4x1', 4, 4, entries === 16 ? 0.26 : 0.32, 50),
    make('gemv_1x1', 1, entries === 16 ? 8 : 4, entries === 16 ? 0.11 : 0.072, entries === 16 ? 150 : 115),
  ];
};

export const csrCodebook = [...rows(16), ...rows(256)];
