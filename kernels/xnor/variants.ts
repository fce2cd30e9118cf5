import type { XnorWeights } from '../../src/formats/xnor.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import type { Stage } from '../../src/webgpu/variant.js';
import inputWords from '../shared/input_words.wgsl';
import inputWordsGiven from '../shared/input_words_given.wgsl';
import inputWordsGivenx4 from '../shared/input_words_givenx4.wgsl';
import inputWordsx4 from '../shared/input_wordsx4.wgsl';
import { groupChannels, hasPadding, MAIN_WALKS, matmulRows, pixelsOf } from '../shared/matmul.js';
import weightsRows from '../shared/weights_rows.wgsl';
import binarize from './binarize.wgsl';
import finish from './finish.wgsl';
import finishBits from './finish_bits.wgsl';
import product from './product.wgsl';
import signsBits from './signs_bits.wgsl';
import signsF32 from './signs_f32.wgsl';

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

/** Whether the activations arrive as the words that are multiplied. */
const readsWords = (p: MatmulProblem): boolean =>
  p.input.dtype === 'bits' && (p.groups === 1 || groupChannels(p) % 32 === 0);

function inputOf(p: MatmulProblem): string {
  const aligned = wordsOf(p) % 4 === 0;
  if (readsWords(p)) return aligned ? inputWordsGivenx4 : inputWordsGiven;
  return aligned ? inputWordsx4 : inputWords;
}

function binarizeStage(p: MatmulProblem): Stage {
  return {
    label: 'xnor/binarize.wgsl',
    source: binarize,
    snippets: [p.input.dtype === 'bits' ? signsBits : signsF32],
    consts: { CHANNELS: groupChannels(p), WORDS: wordsOf(p), GROUPS: p.groups },
    params: [pixelWords(p)],
    workgroups: Math.ceil(pixelWords(p) / 64),
  };
}

export const xnor = matmulRows(
  {
    format: 'xnor',
    isa: 'popcount',
    inputs: ['float32', 'bits'],
    outputs: ['float32', 'bits'],
    layout: rowsOfBits,
    channels: wordsOf,
    snippets: (p) => [inputOf(p), weightsRows, product, p.output.dtype === 'bits' ? finishBits : finish],
    consts: (p) => ({
      K: p.K,
      FLIP: 0,
      PIXEL_SIGNS: groupChannels(p),
      TAPS: tapsOf(p),
      TAIL_MASK: groupChannels(p) % 32 === 0 ? 0xffffffff : 2 ** (groupChannels(p) % 32) - 1,
      ZERO_PADDING: p.padValue === 0 && hasPadding(p),
    }),
    before: (p) => (readsWords(p) ? [] : [binarizeStage(p)]),
    scratch: (p): Record<string, number> => (readsWords(p) ? {} : { words: 4 * pixelWords(p) }),
    rowBytes: (p) => ({ weights: 16 * Math.ceil((tapsOf(p) * wordsOf(p)) / 4), scale: 4 }),
    rate: 4,
  },
  MAIN_WALKS,
);
