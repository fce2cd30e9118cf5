import { codeBytes, readCode, writeCode } from '../../src/formats/bits.js';
import { type CodebookWeights, codeBitsOf } from '../../src/formats/codebook.js';
import { ofRow } from '../../src/formats/scales.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import { inputOf } from '../dense/variants.js';
import { byteRows, packFacts, sum, wordsOf } from '../int8/variants.js';
import finish from '../shared/finish_f32.wgsl';
import { GEMV_WALKS, groupChannels, LEAST_WALKS, matmulRows, SHARED_WALKS } from '../shared/matmul.js';
import padding from '../shared/padding_zero.wgsl';
import product from '../shared/product_f32.wgsl';
import codes4 from './codes_4.wgsl';
import codes8 from './codes_8.wgsl';
import weights from './weights.wgsl';
import weightsInt8 from './weights_int8.wgsl';

const bitsOf = (p: MatmulProblem): number => (p.weights.entries === 16 ? 4 : 8);
const rowWords = (K: number, bits: number): number => Math.ceil((K * bits) / 32);

/** Rows of codes as the format has them, each padded with zeros to a whole word. */
const rowsOfWords: Layout<CodebookWeights> = {
  name: 'NK_codes',
  pack({ rows, cols, entries, codes, codebook }) {
    const bits = entries === 16 ? 4 : 8;
    const from = Math.ceil((cols * bits) / 8);
    const to = 4 * rowWords(cols, bits);
    if (from === to) return { codes, codebook };
    const padded = new Uint8Array(rows * to);
    for (let r = 0; r < rows; r++) padded.set(codes.subarray(r * from, (r + 1) * from), r * to);
    return { codes: padded, codebook };
  },
};

const floats = matmulRows(
  {
    format: 'codebook',
    isa: 'wgsl',
    layout: rowsOfWords,
    channels: groupChannels,
    snippets: (p) => [inputOf(p), padding, weights, product, finish],
    consts: (p) => ({ BITS: bitsOf(p), ROW_WORDS: rowWords(p.K, bitsOf(p)) }),
    supports: (p) => p.weights.centroids !== 'int8' || 'for f32 centroids',
    rowBytes: (p) => ({ codes: 4 * rowWords(p.K, bitsOf(p)) }),
    rate: 0.9,
  },
  GEMV_WALKS,
);

/** Rows of codes in the order of words of activations, the bytes of the codebook, and facts of each row. */
const rowsOfCodes: Layout<CodebookWeights> = {
  name: 'NK_k16_codes_i8',
  pack({ rows, cols, entries, codes, codebook, scale }, p) {
    const bits = codeBitsOf(entries);
    const stride = codeBytes(cols, bits);
    const width = quadsOf(p) * 2 * bits;
    const channels = groupChannels(p);
    const pixelBytes = 4 * wordsOf(p);
    const packed = new Uint8Array(rows * width);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const at = Math.floor(c / channels) * pixelBytes + (c % channels);
        writeCode(packed, r * width, at, bits, readCode(codes, r * stride, c, bits));
      }
    }
    const scales = scale as Float32Array;
    const sumOf = (r: number) => sum(cols, (c) => codebook[readCode(codes, r * stride, c, bits)]);
    const facts = packFacts(rows, (r) => ofRow(scales, r), sumOf);
    return { codes: packed, codebook: codebook as Int8Array, facts };
  },
};

const quadsOf = (p: MatmulProblem): number => Math.ceil((tapsOf(p) * wordsOf(p)) / 4);

const bytes = byteRows(
  {
    format: 'codebook',
    name: 'codebookInt8',
    layout: rowsOfCodes,
    weights: (p) => [bitsOf(p) === 4 ? codes4 : codes8, weightsInt8],
    supports: (p) => p.weights.centroids === 'int8' || 'for int8 centroids',
    rowBytes: (p) => ({ codes: 2 * bitsOf(p) * quadsOf(p), facts: 16 }),
    rate: () => 0.9,
  },
  SHARED_WALKS,
  LEAST_WALKS,
);

export const codebook = [...floats, ...bytes];
