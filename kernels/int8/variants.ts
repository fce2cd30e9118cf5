import type { Int8Weights } from '../../src/formats/int8.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import type { Stage } from '../../src/webgpu/variant.js';
import inputWords from '../shared/input_words.wgsl';
import inputWordsx4 from '../shared/input_wordsx4.wgsl';
import {
  type Arithmetic,
  FEW_WALKS,
  groupChannels,
  type MatmulVariant,
  matmulRows,
  pixelsOf,
  rowSource,
  WALKS,
  type Walk,
} from '../shared/matmul.js';
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
export const wordsOf = (p: MatmulProblem): number => Math.ceil(groupChannels(p) / 4);

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

/** Of each row the bits of its scale, the sum of its weights, 0, and its zero point. */
export function packFacts(
  rows: number,
  scaleOf: (row: number) => number,
  sumOf: (row: number) => number,
  zeroOf: (row: number) => number = () => 0,
): Int32Array {
  const facts = new Int32Array(4 * rows);
  const scales = new Float32Array(facts.buffer);
  for (let r = 0; r < rows; r++) {
    scales[4 * r] = scaleOf(r);
    facts[4 * r + 1] = sumOf(r);
    facts[4 * r + 3] = zeroOf(r);
  }
  return facts;
}

/** of(0) + .. + of(count - 1) */
export function sum(count: number, of: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += of(i);
  return total;
}

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

export function inputOf(p: MatmulProblem): string {
  return wordsOf(p) % 4 === 0 ? inputWordsx4 : inputWords;
}

/** Constants of padding.wgsl and of what ends a sum. */
export const sampleConsts = (p: MatmulProblem) => ({ TAIL_MASK: tailMask(p), ROWS_PER_SAMPLE: p.M / p.samples });

/** What quantizeStages leave: `words` and `samples`. */
export const quantizedScratch = (p: MatmulProblem): Record<string, number> => ({
  partial: 8 * p.samples * partsOf(p),
  samples: 8 * p.samples,
  words: 4 * p.samples * sampleWords(p),
});

/** Activations as bytes, and their scales. */
export function quantizeStages(p: MatmulProblem): Stage[] {
  const blocks = Math.ceil(sampleWords(p) / QUANTIZE_BLOCK);
  return [
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
}

/** Sums of activation codes, for weights with zero points. */
function rowSumStage(p: MatmulProblem): Stage {
  const { rows, consts } = rowSource(p, wordsOf(p));
  return {
    label: 'int8/row_sums.wgsl',
    source: rowSums,
    snippets: [inputOf(p), padding, rows],
    consts: { ...consts, TAIL_MASK: tailMask(p), THREADS: 64 },
    params: [p.M],
    workgroups: Math.ceil((p.M * p.groups) / 64),
  };
}

/** Ways to multiply words of four signed bytes, with their rates relative to dense f32. */
export const DOT4 = {
  isa: 'dot4',
  product: productDot4,
  rate: 2,
  requires: ['packed_4x8_integer_dot_product'],
} as const;
export const PLAIN = { isa: 'wgsl', product: productPlain, rate: 0.4, requires: undefined } as const;

/** What ends a sum of weights without zero points, or from which they were taken. */
export const finishSymmetric: readonly string[] = [rowSumSymmetric, finish];

/** An arithmetic of weights that become words of four signed bytes. */
export interface ByteArithmetic extends Pick<Arithmetic, 'format' | 'name' | 'layout' | 'supports' | 'rowBytes'> {
  /** WGSL that defines load_weights and weight_quad, and what is said of a span in Arithmetic. */
  weights(p: MatmulProblem): readonly string[];
  consts?: Arithmetic['consts'];
  rowSource?: Arithmetic['rowSource'];
  span?: Arithmetic['span'];
  /** The activations, when not `words`. */
  input?(p: MatmulProblem): string;
  /** WGSL that ends a sum; default: for weights without zero points. */
  finish?(p: MatmulProblem): readonly string[];
  /** Dispatches after the activations are quantised, and what they leave. */
  before?(p: MatmulProblem): Stage[];
  scratch?(p: MatmulProblem): Record<string, number>;
  /** Multiply-adds relative to int8; default 1. */
  rate?(p: MatmulProblem): number;
}

/** The rows of one such arithmetic. */
export function byteRows(arithmetic: ByteArithmetic, walks: readonly Walk[], plain: readonly Walk[]): MatmulVariant[] {
  const { format, name, layout, supports, rowBytes } = arithmetic;
  return [DOT4, PLAIN].flatMap(({ isa, product, rate, requires }) =>
    matmulRows(
      {
        format,
        name,
        isa,
        requires,
        layout,
        supports,
        rowBytes,
        channels: wordsOf,
        rowSource: arithmetic.rowSource,
        span: arithmetic.span,
        snippets: (p) => [
          (arithmetic.input ?? inputOf)(p),
          padding,
          ...arithmetic.weights(p),
          product,
          ...(arithmetic.finish?.(p) ?? finishSymmetric),
        ],
        consts: (p) => ({ ...sampleConsts(p), ...arithmetic.consts?.(p) }),
        before: (p) => [...quantizeStages(p), ...(arithmetic.before?.(p) ?? [])],
        scratch: (p) => ({ ...quantizedScratch(p), ...arithmetic.scratch?.(p) }),
        rate: (p) => rate * (arithmetic.rate?.(p) ?? 1),
      },
      isa === 'dot4' ? walks : plain,
    ),
  );
}

export const int8 = byteRows(
  {
    format: 'int8',
    layout: rowsOfBytes,
    weights: () => [weightsRows],
    finish: (p) => (p.weights.symmetric ? finishSymmetric : [rowSumAffine, finish]),
    before: (p) => (p.weights.symmetric ? [] : [rowSumStage(p)]),
    scratch: (p): Record<string, number> => (p.weights.symmetric ? {} : { row_sums: 4 * p.M * p.groups }),
    rowBytes: (p) => ({ weights: 16 * Math.ceil((tapsOf(p) * wordsOf(p)) / 4), facts: 16 }),
  },
  WALKS,
  FEW_WALKS,
);
