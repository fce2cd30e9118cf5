import type { CodebookWeights } from '../../src/formats/codebook.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import { inputOf } from '../dense/variants.js';
import { groupChannels, matmulRows } from '../shared/matmul.js';
import product from '../shared/product_f32.wgsl';
import weights from './weights.wgsl';

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

export const codebook = matmulRows({
  format: 'codebook',
  isa: 'wgsl',
  layout: rowsOfWords,
  channels: groupChannels,
  snippets: (p) => [inputOf(p), weights, product],
  consts: (p) => ({ BITS: bitsOf(p), ROW_WORDS: rowWords(p.K, bitsOf(p)) }),
  supports: (p) => p.weights.centroids !== 'int8' || 'for f32 centroids',
  operandBytes: (p) => 4 * p.groups * p.N * rowWords(p.K, bitsOf(p)),
  rate: 0.9,
});
