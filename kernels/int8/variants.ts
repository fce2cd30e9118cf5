import type { Int8Weights } from '../../src/formats/int8.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import type { Stage } from '../../src/webgpu/variant.js';
import inputWords from '../shared/input_words.wgsl';
import inputWordsx4 from '../shared/input_wordsx4.wgsl';
import { type Arithmetic, FEW_WALKS, groupChannels, matmulRows, pixelsOf, rowSource } from '../shared/matmul.js';
import weightsRows from '../shared/weights_rows.wgsl';
import finish from './finish.wgsl';
import padding from './padding.wgsl';
import productDot4 from './product_dot4.wgsl';
import productPlain from './product_plain.wgsl';
import quantize from './quantize.wgsl';
import range from './range.wgsl';
import rowSumAffine from './row_sum_affine.wgsl';
import rowSumSymmetric from './row_sum_symmetric.wgsl';
import rowSums from './row_sums.wgsl';

/** Words of one pixel of one group: four channels each. */
const wordsOf = (p: MatmulProblem): number => Math.ceil(groupChannels(p) / 4);

/**
 * Rows of words, four channels of one tap each, padded with zeros to four words; and of each row the bits of its
 * scale, the sum of its codes less K times the zero point, and its zero point.
 */
const rowsOfBytes: Layout<Int8Weights> = {
  name: 'NK_k16_i8',
  pack({ rows, cols, codes, scale, zeroPoint }, p) {
    const channels = groupChannels(p);
    const pixelBytes = 4 * wordsOf(p);
    const taps = tapsOf(p);
    const width = Math.ceil((taps * pixelBytes) / 16) * 16;
    const weights = new Int8Array(rows * width);
    const facts = new Int32Array(4 * rows);
    const scales = new Float32Array(facts.buffer);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += codes[r * cols + c];
      for (let tap = 0; tap < taps; tap++) {
        const from = r * cols + tap * channels;
        weights.set(codes.subarray(from, from + channels), r * width + tap * pixelBytes);
      }
      const zero = zeroPoint ? zeroPoint[zeroPoint.length === 1 ? 0 : r] : 0;
      scales[4 * r] = scale[scale.length === 1 ? 0 : r];
      facts[4 * r + 1] = sum - cols * zero;
      facts[4 * r + 2] = zero;
    }
    return { weights, facts };
  },
};

const sampleSize = (p: MatmulProblem): number => (pixelsOf(p) * p.channels) / p.samples;
const sampleWords = (p: MatmulProblem): number => (pixelsOf(p) * p.groups * wordsOf(p)) / p.samples;
/** Parts of a sample whose ranges are found apart: one workgroup each. */
const partsOf = (p: MatmulProblem): number => Math.min(64, Math.ceil(sampleSize(p) / 4096));
const QUANTIZE_BLOCK = 256;

/** Bytes of a pixel's last word that hold channels. */
function tailMask(p: MatmulProblem): number {
  const used = groupChannels(p) % 4;
  return used === 0 ? 0xffffffff : 2 ** (8 * used) - 1;
}

function inputOf(p: MatmulProblem): string {
  return wordsOf(p) % 4 === 0 ? inputWordsx4 : inputWords;
}

/** Activations as bytes, their scales, and their sums where the weights have zero points. */
function quantizeStages(p: MatmulProblem): Stage[] {
  const blocks = Math.ceil(sampleWords(p) / QUANTIZE_BLOCK);
  const stages: Stage[] = [
    {
      label: 'int8/range.wgsl',
      source: range,
      consts: {
        SAMPLE_SIZE: sampleSize(p),
        PARTS: partsOf(p),
        PART_SIZE: Math.ceil(sampleSize(p) / partsOf(p)),
      },
      params: [p.samples],
      workgroups: p.samples * partsOf(p),
    },
    {
      label: 'int8/quantize.wgsl',
      source: quantize,
      consts: {
        SAMPLE_SIZE: sampleSize(p),
        SAMPLE_WORDS: sampleWords(p),
        CHANNELS: groupChannels(p),
        WORDS: wordsOf(p),
        PARTS: partsOf(p),
        BLOCKS: blocks,
      },
      params: [p.samples],
      workgroups: p.samples * blocks,
    },
  ];
  if (p.weights.symmetric) return stages;
  const { rows, consts } = rowSource(p, wordsOf(p));
  stages.push({
    label: 'int8/row_sums.wgsl',
    source: rowSums,
    snippets: [inputOf(p), padding, rows],
    consts: { ...consts, TAIL_MASK: tailMask(p), THREADS: 64 },
    params: [p.M],
    workgroups: Math.ceil((p.M * p.groups) / 64),
  });
  return stages;
}

function arithmetic(product: string, isa: string, rate: number, requires?: string[]): Arithmetic {
  return {
    format: 'int8',
    isa,
    requires,
    layout: rowsOfBytes,
    channels: wordsOf,
    snippets: (p) => [
      inputOf(p),
      padding,
      weightsRows,
      product,
      p.weights.symmetric ? rowSumSymmetric : rowSumAffine,
      finish,
    ],
    consts: (p) => ({ TAIL_MASK: tailMask(p), ROWS_PER_SAMPLE: p.M / p.samples }),
    before: quantizeStages,
    scratch: (p) => ({
      partial: 8 * p.samples * partsOf(p),
      samples: 8 * p.samples,
      words: 4 * p.samples * sampleWords(p),
      ...(p.weights.symmetric ? {} : { row_sums: 4 * p.M * p.groups }),
    }),
    operandBytes: (p) => 16 * p.groups * p.N * Math.ceil((tapsOf(p) * wordsOf(p)) / 4),
    rate,
  };
}

export const int8 = [
  ...matmulRows(arithmetic(productDot4, 'dot4', 2, ['packed_4x8_integer_dot_product'])),
  ...matmulRows(arithmetic(productPlain, 'wgsl', 0.4), FEW_WALKS),
];
