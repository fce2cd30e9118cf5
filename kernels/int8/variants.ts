import type { DType } from '../../src/dtype.js';
import type { Int8Weights } from '../../src/formats/int8.js';
import { outputRange } from '../../src/formats/outputs.js';
import { type MatmulProblem, type Quantization, tapsOf } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import type { Consts, Stage } from '../../src/webgpu/variant.js';
import codeOf from '../codes/code_of.wgsl';
import { codeConsts, leastValues, zeroCode } from '../codes/least.js';
import inputWords from '../shared/input_words.wgsl';
import inputWordsGiven from '../shared/input_words_given.wgsl';
import inputWordsGivenx4 from '../shared/input_words_givenx4.wgsl';
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
import { MATRIX_TILES, type MatrixTile, matrixRows, SHARED_TILES } from '../shared/matrix.js';
import weightsRows from '../shared/weights_rows.wgsl';
import finish from './finish.wgsl';
import finishIntegers from './finish_integers.wgsl';
import matrix from './matrix.wgsl';
import packCodes from './pack_codes.wgsl';
import padding from './padding.wgsl';
import productDot4 from './product_dot4.wgsl';
import productPlain from './product_plain.wgsl';
import quantize from './quantize.wgsl';
import quantizeGiven from './quantize_given.wgsl';
import range from './range.wgsl';
import rowSumAffine from './row_sum_affine.wgsl';
import rowSumSymmetric from './row_sum_symmetric.wgsl';
import rowSums from './row_sums.wgsl';
import samples from './samples.wgsl';
import samplesGiven from './samples_given.wgsl';

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

/**
 * How activations become words of signed bytes: quantised by sample or as is given, packed from codes, or read as they
 * arrive.
 */
function inputKind({ input, channels, groups }: MatmulProblem): 'samples' | 'given' | 'packed' | 'words' {
  if (!input.quantization) return 'samples';
  if (input.dtype === 'float32') return 'given';
  return (channels / groups) % 4 === 0 ? 'words' : 'packed';
}

/** WGSL of the activations. */
export function inputOf(p: MatmulProblem): string {
  const aligned = wordsOf(p) % 4 === 0;
  if (inputKind(p) === 'words') return aligned ? inputWordsGivenx4 : inputWordsGiven;
  return aligned ? inputWordsx4 : inputWords;
}

/** Those read one at a time. */
export const elementsOf = (p: MatmulProblem): string => (inputKind(p) === 'words' ? inputWordsGiven : inputWords);

/** WGSL that defines sample_of and padding. */
export const paddingOf = (p: MatmulProblem): string[] => [p.input.quantization ? samplesGiven : samples, padding];

/** Constants of the activations, of padding.wgsl and of what ends a sum. */
export function sampleConsts(p: MatmulProblem): Consts {
  const { quantization, dtype } = p.input;
  return {
    TAIL_MASK: tailMask(p),
    ROWS_PER_SAMPLE: p.M / p.samples,
    FLIP: dtype === 'uint8' ? 0x80808080 : 0,
    ...(quantization && {
      GIVEN_SCALE: new Uint32Array(Float32Array.of(quantization.scale).buffer)[0],
      GIVEN_ZERO: (zeroCode(quantization) - 128) >>> 0,
    }),
  };
}

const wordBytes = (p: MatmulProblem): number => 4 * p.samples * sampleWords(p);

/** What quantizeStages leave: `words` and `samples`. */
export function quantizedScratch(p: MatmulProblem): Record<string, number> {
  switch (inputKind(p)) {
    case 'words':
      return {};
    case 'samples':
      return { partial: 8 * p.samples * partsOf(p), samples: 8 * p.samples, words: wordBytes(p) };
    default:
      return { words: wordBytes(p) };
  }
}

/** Activations as bytes, and their scales. */
export function quantizeStages(p: MatmulProblem): Stage[] {
  const kind = inputKind(p);
  if (kind === 'words') return [];
  if (kind === 'packed') return [packStage(p)];
  return kind === 'given' ? [givenStage(p, p.input.quantization!)] : sampleStages(p);
}

/** Codes as they arrive, into whole words. */
function packStage(p: MatmulProblem): Stage {
  const count = wordBytes(p) / 4;
  const { TAIL_MASK, FLIP } = sampleConsts(p);
  return {
    label: 'int8/pack_codes.wgsl',
    source: packCodes,
    consts: { CHANNELS: groupChannels(p), WORDS: wordsOf(p), TAIL_MASK, FLIP },
    params: [count],
    workgroups: Math.ceil(count / 64),
  };
}

/** f32 values by a quantisation that is given. */
function givenStage(p: MatmulProblem, quantization: Quantization): Stage {
  const count = wordBytes(p) / 4;
  return {
    label: 'int8/quantize_given.wgsl',
    source: quantizeGiven,
    snippets: [codeOf],
    consts: {
      CHANNELS: groupChannels(p),
      WORDS: wordsOf(p),
      ...codeConsts(quantization),
    },
    params: [count, 0, 0, 0, ...leastValues(quantization)],
    workgroups: Math.ceil(count / QUANTIZE_BLOCK),
  };
}

/** f32 values by what each sample holds. */
function sampleStages(p: MatmulProblem): Stage[] {
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

/** Sums of activation codes, for weights with zero points: of whole rows, or by spans of elements. */
export function rowSumStage(
  p: MatmulProblem,
  span?: number,
  { rows, consts, depth } = rowSource(p, wordsOf(p)),
  input = inputOf(p),
): Stage {
  const spans = span ? Math.ceil(depth / span) : 1;
  return {
    label: 'int8/row_sums.wgsl',
    source: rowSums,
    snippets: [input, ...paddingOf(p), rows],
    consts: { ...sampleConsts(p), ...consts, SPANS: spans, SPAN: span ?? Math.ceil(depth / 4) * 4, THREADS: 64 },
    params: [p.M],
    workgroups: Math.ceil((p.M * p.groups * spans) / 64),
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
const MATRIX = { isa: 'matrix', product: matrix, rate: 8, requires: undefined } as const;

/** WGSL from a sum to an output. */
export const finishOf = ({ output }: MatmulProblem): string => (output.dtype === 'float32' ? finish : finishIntegers);

/** What ends a sum of weights without zero points, or from which they were taken. */
export const finishSymmetric = (p: MatmulProblem): readonly string[] => [rowSumSymmetric, finishOf(p)];

/** Constants of finish_integers.wgsl. */
function outputConsts(p: MatmulProblem): Consts {
  const { dtype, quantization } = p.output;
  if (dtype === 'float32') return {};
  const [low, high] = outputRange(p);
  return {
    CODES: quantization !== undefined,
    OUTPUT_ZERO: { i32: quantization?.zeroPoint ?? 0 },
    OUTPUT_LOW: { i32: low },
    OUTPUT_HIGH: { i32: high },
  };
}

/** What 8-bit arithmetic takes and, where a row has one scale, gives. */
export const BYTE_INPUTS: readonly DType[] = ['float32', 'uint8', 'int8'];
const BYTE_OUTPUTS: readonly DType[] = ['float32', 'int32', 'uint8', 'int8'];

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

/** The rows of one such arithmetic: with packed dot products, with core WGSL alone, and with subgroup matrices. */
export function byteRows(
  arithmetic: ByteArithmetic,
  walks: readonly Walk[],
  plain: readonly Walk[],
  tiles: readonly MatrixTile[] = SHARED_TILES,
): MatmulVariant[] {
  return [
    ...matmulRows(byteArithmetic(arithmetic, DOT4), walks),
    ...matmulRows(byteArithmetic(arithmetic, PLAIN), plain),
    ...matrixRows(byteArithmetic(arithmetic, MATRIX), { component: 'i8', result: 'i32', columns: 4 }, tiles),
  ];
}

function byteArithmetic(
  arithmetic: ByteArithmetic,
  { isa, product, rate, requires }: typeof DOT4 | typeof PLAIN | typeof MATRIX,
): Arithmetic {
  const { format, name, layout, supports, rowBytes, rowSource, span } = arithmetic;
  return {
    format,
    name,
    isa,
    requires,
    inputs: BYTE_INPUTS,
    outputs: BYTE_OUTPUTS,
    layout,
    supports,
    rowBytes,
    channels: wordsOf,
    rowSource,
    span,
    snippets: (p) => [
      (arithmetic.input ?? inputOf)(p),
      ...paddingOf(p),
      ...arithmetic.weights(p),
      product,
      ...(arithmetic.finish ?? finishSymmetric)(p),
    ],
    consts: (p) => ({ ...sampleConsts(p), ...outputConsts(p), ...arithmetic.consts?.(p) }),
    before: (p) => [...quantizeStages(p), ...(arithmetic.before?.(p) ?? [])],
    scratch: (p) => ({ ...quantizedScratch(p), ...arithmetic.scratch?.(p) }),
    rate: (p) => rate * (arithmetic.rate?.(p) ?? 1),
  };
}

export const int8 = byteRows(
  {
    format: 'int8',
    layout: rowsOfBytes,
    weights: () => [weightsRows],
    finish: (p) => (p.weights.symmetric ? finishSymmetric(p) : [rowSumAffine, finishOf(p)]),
    before: (p) => (p.weights.symmetric ? [] : [rowSumStage(p)]),
    scratch: (p): Record<string, number> => (p.weights.symmetric ? {} : { row_sums: 4 * p.M * p.groups }),
    rowBytes: (p) => ({ weights: 16 * Math.ceil((tapsOf(p) * wordsOf(p)) / 4), facts: 16 }),
  },
  WALKS,
  FEW_WALKS,
  MATRIX_TILES,
);
