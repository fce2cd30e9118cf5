import { readCode } from '../../src/formats/bits.js';
import type { CsrCodebookWeights } from '../../src/formats/csr-codebook.js';
import type { WasmLayout } from '../../src/wasm/variant.js';
import { blockingOf, packEntries, sparseRow } from '../shared/sparse/variants.js';

/** Room for a column in an entry of 16 centroids, whose low bits are the code. */
const CODE4 = 16;

const wordBytes = (S: number, entries: 16 | 256) => (entries === 16 ? CODE4 : S * 4);

/** [4][16]: byte i of each centroid. */
const bytePlanes = (codebook: Float32Array): Uint8Array => {
  const bytes = new Uint8Array(codebook.slice().buffer);
  return Uint8Array.from(bytes, (_, i) => bytes[(i % 16) * 4 + Math.floor(i / 16)]);
};

/** Entries for strips of S rows of A. 16 centroids: column << 4 | code, and the codebook. 256: codebook, then codes. */
const codes = (entries: 16 | 256, S: number, unit: number): WasmLayout<CsrCodebookWeights> => ({
  name: `csrCodebook${entries}_x${S}`,
  panel: 4,
  pack(weights, p) {
    const word = wordBytes(S, entries);
    const shape = { sumBytes: S * 4, wordBytes: word, unit };
    const { sources, ...packed } = packEntries(weights, p, blockingOf(p, S * 4, word), shape);
    const codeOf = (source: number) => (source < 0 ? 0 : readCode(weights.codes, 0, source, entries === 16 ? 4 : 8));
    if (entries === 16) {
      for (const [i, source] of sources.entries()) packed.offsets[i] |= codeOf(source);
      return { ...packed, codebook: S === 1 ? bytePlanes(weights.codebook) : weights.codebook };
    }
    const bytes = new Uint8Array(weights.codebook.byteLength + sources.length);
    bytes.set(new Uint8Array(weights.codebook.buffer, weights.codebook.byteOffset, weights.codebook.byteLength));
    bytes.set(Uint8Array.from(sources, codeOf), weights.codebook.byteLength);
    return { ...packed, codes: bytes };
  },
});

const rows = (entries: 16 | 256) => {
  const name = `csrCodebook${entries}`;
  const make = (kernel: string, S: number, unit: number, share: number, rowCost: number) =>
    sparseRow({
      format: 'csrCodebook',
      name: `${name}_${kernel}`,
      supports: (p) => p.weights.entries === entries || `the codebook has ${p.weights.entries} entries`,
      S,
      layout: codes(entries, S, unit),
      wordBytes: wordBytes(S, entries),
      share,
      rowCost,
    });
  return [
    make('spmm_32x1', 32, 2, 0.8, 300),
    make('spmm_16x1', 16, 2, 0.75, 200),
    make('spmm_4x1', 4, 4, 0.3, 100),
    make('gemv_1x1', 1, entries === 16 ? 8 : 4, 0.1, 60),
  ];
};

export const csrCodebook = [...rows(16), ...rows(256)];
