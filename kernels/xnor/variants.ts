import type { XnorWeights } from '../../src/formats/xnor.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import inputWords from '../shared/input_words.wgsl';
import inputWordsx4 from '../shared/input_wordsx4.wgsl';
import { groupChannels, hasPadding, MAIN_WALKS, matmulRows, pixelsOf } from '../shared/matmul.js';
import weightsRows from '../shared/weights_rows.wgsl';
import binarize from './binarize.wgsl';
import product from './product.wgsl';

/** Words of one pixel of one group: 32 channels each. */
const wordsOf = (p: MatmulProblem): number => Math.ceil(groupChannels(p) / 32);
const pixelWords = (p: MatmulProblem): number => pixelsOf(p) * p.groups * wordsOf(p);

/** Rows of words in which each tap starts a word, padded with zeros to four words. */
const rowsOfBits: Layout<XnorWeights> = {
  name: 'NK_k128_b1',
  pack({ rows, cols, bits, scale }, p) {
    const channels = groupChannels(p);
    const words = wordsOf(p);
    const taps = tapsOf(p);
    const from = Math.ceil(cols / 32);
    const to = Math.ceil((taps * words) / 4) * 4;
    const weights = new Uint32Array(rows * to);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const bit = (bits[r * from + (c >>> 5)] >>> (c & 31)) & 1;
        const channel = c % channels;
        weights[r * to + Math.floor(c / channels) * words + (channel >>> 5)] |= bit << (channel & 31);
      }
    }
    return { weights, scale };
  },
};

export const xnor = matmulRows(
  {
    format: 'xnor',
    isa: 'popcount',
    layout: rowsOfBits,
    channels: wordsOf,
    snippets: (p) => [wordsOf(p) % 4 === 0 ? inputWordsx4 : inputWords, weightsRows, product],
    consts: (p) => ({
      K: p.K,
      PIXEL_SIGNS: groupChannels(p),
      TAPS: tapsOf(p),
      TAIL_MASK: groupChannels(p) % 32 === 0 ? 0xffffffff : 2 ** (groupChannels(p) % 32) - 1,
      ZERO_PADDING: p.padValue === 0 && hasPadding(p),
    }),
    before: (p) => [
      {
        label: 'xnor/binarize.wgsl',
        source: binarize,
        consts: { CHANNELS: groupChannels(p), WORDS: wordsOf(p) },
        params: [pixelWords(p)],
        workgroups: Math.ceil(pixelWords(p) / 64),
      },
    ],
    scratch: (p) => ({ words: 4 * pixelWords(p) }),
    rowBytes: (p) => ({ weights: 16 * Math.ceil((tapsOf(p) * wordsOf(p)) / 4), scale: 4 }),
    rate: 4,
  },
  MAIN_WALKS,
);
