// The problems that every kernel is tested on: plain descriptions, from which operands are made by seed.

import type { DType, TensorData } from '../../src/dtype.js';
import type { Bias, Format, FormatName, MatrixShape, Weights } from '../../src/formats/format.js';
import {
  bcsr,
  codebook,
  csr,
  csrCodebook,
  csrInt8,
  f16,
  formatOf,
  int2,
  int4,
  int8,
  int8Grouped,
  nm,
} from '../../src/formats/index.js';
import type { Int8Weights } from '../../src/formats/int8.js';
import {
  activationBound,
  errorBound,
  exactSums,
  quantizesActivations,
  referenceMatmul,
} from '../../src/formats/reference.js';
import {
  computeWeightless,
  referenceActivation,
  referenceBatchMatmul,
  referenceBinary,
  referencePool,
  referenceReduce,
  referenceSoftmax,
  referenceTranspose,
  type WeightlessProblem,
} from '../../src/graph/reference.js';
import { type WindowOptions, windowGeometry } from '../../src/layers/geometry.js';
import {
  type Conv2dOptions,
  conv2dProblem,
  linearProblem,
  type OutputOption,
  weightFacts,
} from '../../src/layers/problem.js';
import {
  type Activation,
  type ActivationProblem,
  BINARY,
  type BinaryOperator,
  type BinaryProblem,
  type CopyProblem,
  NONLINEARITIES,
  outputActivation,
  outputSize,
  type Problem,
  type Quantization,
  REDUCTIONS,
  type Reduction,
  UNARY,
} from '../../src/plan/problem.js';
import { stridesOf } from '../../src/plan/strides.js';
import { codeSpecs } from './code-cases.js';
import { createRandom, denseMatrix, normals, type Random, sparseMatrix, uniforms } from './random.js';

/** A problem with its inputs and what its output may be. */
export interface Case {
  problem: Problem;
  weights?: Weights;
  bias?: Bias;
  inputs: TensorData[];
  expected: ArrayLike<number>;
  /** The largest right |output[i] - expected[i]|. */
  bound(i: number): number;
}

type Maker = (random: Random, shape: MatrixShape) => Weights;

/** Zero points all over the range of the codes, which packing symmetric random weights never makes. */
function shifted(random: Random, shape: MatrixShape, perChannel: boolean): Int8Weights {
  const weights = int8.pack(denseMatrix(random, shape.rows, shape.cols), { ...shape, perChannel });
  weights.zeroPoint = Int8Array.from(weights.scale, () => random.integer(-128, 127));
  return weights;
}

/** Every product at its largest: |code - zeroPoint| = 255 where codes and zero points are at opposite ends. */
function extreme(random: Random, { rows, cols }: MatrixShape): Int8Weights {
  const ends = [-128, 127];
  const zeroPoint = Int8Array.from({ length: rows }, () => ends[random.integer(0, 1)]);
  const mixed = (r: number) => r % 3 === 2;
  const codes = Int8Array.from({ length: rows * cols }, (_, i) => {
    const r = Math.floor(i / cols);
    return mixed(r) ? ends[random.integer(0, 1)] : -1 - zeroPoint[r];
  });
  return { format: 'int8', rows, cols, codes, scale: new Float32Array(rows).fill(1), zeroPoint };
}

type Grouped = typeof int8Grouped | typeof int4 | typeof int2;

/** Codes at the ends of their range: of a row all the same, or mixed; zero points, if any, at the other end. */
function groupedEnds(format: Grouped, groupSize: number, symmetric: boolean): Maker {
  const bits = { int8Grouped: 8, int4: 4, int2: 2 }[format.name as 'int4'];
  const ends = [0, 2 ** bits - 1];
  const fill = (codes: number[]) => codes.reduce((byte, code) => (byte << bits) | code, 0);
  const perByte = 8 / bits;
  return (random, shape) => {
    const weights = format.pack(new Float32Array(shape.rows * shape.cols), { ...shape, groupSize, symmetric });
    const bytes = weights.codes.length / shape.rows;
    const zeroBytes = (weights.zeroPoint?.length ?? 0) / shape.rows;
    for (let r = 0; r < shape.rows; r++) {
      const end = ends[r & 1];
      for (let i = 0; i < bytes; i++) {
        const codes = Array.from({ length: perByte }, () => (r % 3 === 2 ? ends[random.integer(0, 1)] : end));
        weights.codes[r * bytes + i] = fill(codes);
      }
      weights.zeroPoint?.fill(fill(Array(perByte).fill(ends[1 - (r & 1)])), r * zeroBytes, (r + 1) * zeroBytes);
    }
    return weights;
  };
}

/** Rows without a weight between full ones: the shortest and the longest that a kernel walks. */
function gaps(random: Random, { rows, cols }: MatrixShape): Float32Array {
  const dense = denseMatrix(random, rows, cols);
  for (let r = 0; r < rows; r++) if (random.next() < 0.5) dense.fill(0, r * cols, (r + 1) * cols);
  return dense;
}

/** Ways to make weights of any format. */
const COMMON: Record<string, (format: FormatName) => Maker> = {
  random: (format) => (random, s) => byName(format).pack(denseMatrix(random, s.rows, s.cols), s),
  sparse: (format) => (random, s) => byName(format).pack(sparseMatrix(random, s.rows, s.cols, 0.25), s),
};

const groupings = (format: Grouped): Record<string, Maker> => ({
  'zero points': (random, s) =>
    format.pack(denseMatrix(random, s.rows, s.cols), { ...s, groupSize: 16, symmetric: false }),
  'whole rows': (random, s) =>
    format.pack(denseMatrix(random, s.rows, s.cols), { ...s, groupSize: s.cols, symmetric: false }),
  'groups of 128': (random, s) => format.pack(denseMatrix(random, s.rows, s.cols), { ...s, groupSize: 128 }),
  extremes: groupedEnds(format, 32, true),
  'extremes, zero points': groupedEnds(format, 64, false),
});

/** Further ways, for options that change what a kernel does. */
const MAKERS: { [format in FormatName]?: Record<string, Maker> } = {
  csr: {
    '5 %': (random, s) => csr.pack(sparseMatrix(random, s.rows, s.cols, 0.05), s),
    'empty rows': (random, s) => csr.pack(gaps(random, s), s),
  },
  f16: {
    // Below 2^-14, where halves have a smaller and smaller number of bits.
    small: (random, s) =>
      f16.pack(
        denseMatrix(random, s.rows, s.cols).map((w) => w * 2 ** -16),
        s,
      ),
    'any bits': (random, s) =>
      f16.pack(
        Uint16Array.from({ length: s.rows * s.cols }, () => random.integer(0, 0x7bff) | (random.integer(0, 1) << 15)),
        s,
      ),
  },
  int8: {
    'zero points': (random, s) => shifted(random, s, true),
    'per tensor': (random, s) => int8.pack(denseMatrix(random, s.rows, s.cols), { ...s, perChannel: false }),
    'per tensor, zero point': (random, s) => shifted(random, s, false),
    extremes: extreme,
  },
  codebook: {
    '256': (random, s) => codebook.pack(denseMatrix(random, s.rows, s.cols), { ...s, entries: 256 }),
    '256, sparse': (random, s) => codebook.pack(sparseMatrix(random, s.rows, s.cols, 0.25), { ...s, entries: 256 }),
    '16, int8': (random, s) => codebook.pack(denseMatrix(random, s.rows, s.cols), { ...s, centroids: 'int8' }),
    '256, int8': (random, s) =>
      codebook.pack(denseMatrix(random, s.rows, s.cols), { ...s, entries: 256, centroids: 'int8' }),
  },
  int8Grouped: groupings(int8Grouped),
  int4: groupings(int4),
  int2: groupings(int2),
  bcsr: Object.fromEntries(
    (
      [
        [1, 4],
        [2, 1],
        [8, 1],
      ] as const
    ).map((block) => [
      `${block[0]} x ${block[1]}`,
      (random, s) => bcsr.pack(sparseMatrix(random, s.rows, s.cols, 0.1), { ...s, block }),
    ]),
  ),
  nm: {
    // Dense weights have more than two non-zeros in four.
    random: (random, s) => nm.pack(denseMatrix(random, s.rows, s.cols), { ...s, prune: true }),
    sparse: (random, s) => nm.pack(sparseMatrix(random, s.rows, s.cols, 0.25), { ...s, prune: true }),
  },
  csrInt8: {
    'blocks of 4': (random, s) => csrInt8.pack(sparseMatrix(random, s.rows, s.cols, 0.1), { ...s, blockCols: 4 }),
    'empty rows': (random, s) => csrInt8.pack(gaps(random, s), s),
  },
  csrCodebook: {
    '256': (random, s) => csrCodebook.pack(sparseMatrix(random, s.rows, s.cols, 0.25), { ...s, entries: 256 }),
    'empty rows': (random, s) => csrCodebook.pack(gaps(random, s), s),
  },
};

const byName = (format: FormatName): Format => formatOf({ format } as Weights);

/** Names of the ways to make weights of a format. */
export function makersOf(format: FormatName): string[] {
  return Object.keys({ ...COMMON, ...MAKERS[format] });
}

function makeWeights(format: FormatName, name: string, random: Random, shape: MatrixShape): Weights {
  if (name === 'zero') return byName(format).pack(new Float32Array(shape.rows * shape.cols), shape);
  const make = MAKERS[format]?.[name] ?? COMMON[name](format);
  return make(random, shape);
}

/**
 * What activations hold. `integers`: 0 .. 255 and both of them, which int8 quantises without loss. `specials`: ties of
 * rounding, NaN, infinities and other ends, for quantisations that are given. `halves`: all over the range of halves, and
 * below it.
 */
export type Activations = 'normal' | 'zero' | 'positive' | 'negative' | 'extremes' | 'integers' | 'specials' | 'halves';

const SPECIALS = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-40, -0, 2 ** 31, -(2 ** 31), 40000, -40000];

function makeActivations(random: Random, length: number, kind: Activations, samples: number): Float32Array {
  switch (kind) {
    case 'normal':
      return normals(random, length);
    case 'zero':
      return new Float32Array(length);
    case 'positive':
      return uniforms(random, length, 3, 4);
    case 'negative':
      return uniforms(random, length, -4, -3);
    case 'extremes':
      return Float32Array.from({ length }, () => (random.next() < 0.5 ? -3 : 5));
    case 'specials':
      // Halves of a step of the scales below, which are powers of two.
      return Float32Array.from({ length }, () =>
        random.next() < 0.2 ? SPECIALS[random.integer(0, SPECIALS.length - 1)] : random.integer(-600, 600) / 128,
      );
    case 'halves':
      return Float32Array.from({ length }, () => (random.next() < 0.5 ? -1 : 1) * 2 ** (15.9 - 45 * random.next()));
    case 'integers': {
      const x = Float32Array.from({ length }, () => random.integer(0, 255));
      const size = length / samples;
      for (let s = 0; s < samples; s++) if (size > 0) x[s * size] = 255;
      return x;
    }
  }
}

/** One linear or conv2d problem as plain data: what a failure prints and a replay starts from. */
export interface MatmulSpec {
  seed: number;
  /** How they are made: a name of `makersOf`, or `zero`. */
  weights: string;
  activations: Activations;
  bias: boolean;
  activation: Activation;
  /** linear: [M, N, K] */
  linear?: [M: number, N: number, K: number];
  conv?: ConvSpec;
  /** Default: f32 in, f32 out, quantised by sample where the format does. */
  dtypes?: DtypeSpec;
  arithmetic?: 'f16';
}

/** Whether some rows of a format are for the arithmetic `f16`. */
export const hasHalves = (format: FormatName): boolean => format === 'f16';

/** What goes in and what comes out. */
export interface DtypeSpec {
  input: 'float32' | 'uint8' | 'int8' | 'bits';
  /** The quantisation of the input, given. Of outputs: its zero point, and roughly how many codes they spread over. */
  quantization?: Quantization;
  output: DType;
  zeroPoint?: number;
  spread?: number;
}

/** 2^-6: `specials` has halves of its steps. */
const given = (dtype: Quantization['dtype'], zeroPoint: number, scale = 2 ** -6): Quantization => ({
  dtype,
  scale,
  zeroPoint,
});

/** Inputs and outputs of 8-bit arithmetic, zero points in the middle and at both ends, from few codes to saturation. */
const CODES: readonly DtypeSpec[] = [
  { input: 'float32', quantization: given('uint8', 128), output: 'float32' },
  { input: 'float32', quantization: given('int8', -128), output: 'float32' },
  { input: 'uint8', quantization: given('uint8', 3), output: 'float32' },
  { input: 'int8', quantization: given('int8', 127, 0.3), output: 'float32' },
];
const INTEGERS: readonly DtypeSpec[] = [
  { input: 'float32', quantization: given('int8', 5), output: 'int32' },
  { input: 'uint8', quantization: given('uint8', 255), output: 'int32' },
  { input: 'int8', quantization: given('int8', -128), output: 'int32' },
  { input: 'float32', quantization: given('uint8', 0), output: 'uint8', zeroPoint: 0, spread: 60 },
  { input: 'uint8', quantization: given('uint8', 128, 0.7), output: 'uint8', zeroPoint: 128, spread: 60 },
  { input: 'uint8', quantization: given('uint8', 0), output: 'int8', zeroPoint: -128, spread: 1000 },
  { input: 'int8', quantization: given('int8', 0), output: 'int8', zeroPoint: 127, spread: 60 },
  { input: 'int8', quantization: given('int8', 127), output: 'uint8', zeroPoint: 255, spread: 3 },
  { input: 'int8', quantization: given('int8', -3, 1e-6), output: 'int8', zeroPoint: -1, spread: 1e7 },
];
const BITS: readonly DtypeSpec[] = [
  { input: 'bits', output: 'float32' },
  { input: 'float32', output: 'bits' },
  { input: 'bits', output: 'bits' },
];

/** What weights of a format, made in one of its ways, may be multiplied with and give, beyond f32. */
export function dtypesOf(format: FormatName, maker: string): readonly DtypeSpec[] {
  if (format === 'xnor') return BITS;
  const centroids = maker.endsWith('int8') ? 'int8' : 'f32';
  if (!quantizesActivations({ format, centroids, nnz: 0, bytes: 0 })) return [];
  const scaleOfGroups = ['int8Grouped', 'int4', 'int2'].includes(format) && maker !== 'whole rows';
  return scaleOfGroups || format === 'csrInt8' ? CODES : [...CODES, ...INTEGERS];
}

export interface ConvSpec
  extends Pick<Conv2dOptions, 'kernel' | 'stride' | 'dilation' | 'padding' | 'groups' | 'binaryPadding'> {
  image: [batch: number, height: number, width: number];
  channels: number;
  outputs: number;
}

const ACTIVATIONS: readonly Activation[] = ['none', 'relu', 'relu6', { min: -0.5, max: 0.75 }, ...NONLINEARITIES];

/** One below, at and above the tile sizes that kernels are written in, and primes. */
const SIZES = {
  M: [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 97],
  N: [1, 7, 8, 9, 31, 32, 33, 64, 65, 97, 3, 15, 16, 17, 63],
  K: [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 127, 128, 129, 257],
};

const CONVOLUTIONS: readonly ConvSpec[] = [
  { image: [1, 7, 9], channels: 3, outputs: 8, kernel: 3, padding: 'same' },
  { image: [1, 8, 6], channels: 5, outputs: 9, kernel: 3, stride: 2, padding: 'same' },
  { image: [1, 8, 6], channels: 4, outputs: 7, kernel: [3, 2], stride: [2, 1], padding: 'sameLower' },
  { image: [1, 9, 8], channels: 4, outputs: 5, kernel: 3, dilation: [2, 3], padding: [1, 2, 3, 0] },
  { image: [2, 6, 5], channels: 4, outputs: 12, kernel: 3, padding: [1, 1, 1, 1] },
  { image: [1, 9, 7], channels: 22, outputs: 22, kernel: 3, groups: 22, padding: 'same' },
  { image: [2, 9, 8], channels: 37, outputs: 37, kernel: 3, groups: 37, stride: 2, padding: 'same' },
  { image: [1, 7, 11], channels: 16, outputs: 16, kernel: [2, 5], groups: 16, dilation: [2, 1], padding: [0, 2, 1, 3] },
  { image: [1, 5, 6], channels: 1, outputs: 1, kernel: 3, padding: 'same' },
  { image: [1, 10, 9], channels: 9, outputs: 18, kernel: [5, 3], groups: 9, stride: 2, padding: 'same' },
  { image: [1, 6, 6], channels: 8, outputs: 10, kernel: 3, groups: 2, padding: [0, 1, 1, 0] },
  { image: [1, 5, 5], channels: 70, outputs: 34, kernel: 3, groups: 2, padding: 'same' },
  { image: [1, 7, 7], channels: 33, outputs: 17, kernel: 1 },
  { image: [2, 5, 7], channels: 32, outputs: 40, kernel: 1, stride: 2 },
  { image: [1, 8, 9], channels: 1, outputs: 9, kernel: 5, padding: 'same' },
  { image: [1, 4, 3], channels: 7, outputs: 11, kernel: [4, 3] },
  { image: [1, 1, 13], channels: 2, outputs: 3, kernel: [1, 7], stride: [1, 2], padding: [0, 3, 0, 3] },
  // Windows that lie wholly in the padding.
  { image: [1, 3, 3], channels: 3, outputs: 4, kernel: 2, padding: [3, 4, 2, 3] },
  { image: [1, 12, 11], channels: 32, outputs: 49, kernel: 3, padding: 'same' },
];

const seedOf = (text: string): number => {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return hash >>> 0;
};

/** The specs of one format: every edge size, every way to make weights, each activation, with and without bias. */
export function matmulSpecs(format: FormatName): MatmulSpec[] {
  const makers = makersOf(format);
  const specs: Omit<MatmulSpec, 'seed'>[] = [];
  const add = (weights: string, shape: Pick<MatmulSpec, 'linear' | 'conv'>, rest: Partial<MatmulSpec> = {}) => {
    const i = specs.length;
    specs.push({
      weights,
      activations: 'normal',
      bias: i % 2 === 0,
      activation: ACTIVATIONS[(i >> 1) % ACTIVATIONS.length],
      ...shape,
      ...rest,
    });
  };
  const plain = { bias: false, activation: 'none' } as const;
  // Sizes are combined at different paces, so that each meets many others.
  const { M, N, K } = SIZES;
  for (const [j, weights] of makers.entries()) {
    for (let i = 0; i < M.length; i++) {
      add(weights, { linear: [M[i], N[(i * 4 + j) % N.length], K[(i * 7 + 3 + j) % K.length]] });
    }
    for (let i = 0; i < K.length; i++) add(weights, { linear: [i % 3 === 0 ? 1 : 6, N[(i * 2 + j) % N.length], K[i]] });
    for (const conv of CONVOLUTIONS) add(weights, { conv });
    add(weights, { linear: [0, 5, 7] });
    add(weights, { linear: [1, 33, 3000] });
    add(weights, { linear: [70, 130, 300] });
    add(weights, { linear: [13, 67, 771] });
    for (const activations of ['zero', 'positive', 'negative', 'extremes', 'integers'] as const) {
      add(weights, { linear: [7, 9, 66] }, { activations, ...plain });
    }
  }
  add('zero', { linear: [7, 9, 34] });
  if (format === 'int8' || format === 'csrInt8') {
    // An image that several threads quantise.
    const conv: ConvSpec = { image: [1, 67, 62], channels: 9, outputs: 5, kernel: 1, stride: 6 };
    for (const activations of ['normal', 'positive'] as const) add('random', { conv }, { activations });
  }
  add('zero', { conv: CONVOLUTIONS[0] });
  if (format === 'xnor') {
    for (const conv of CONVOLUTIONS) if (conv.padding) add('random', { conv: { ...conv, binaryPadding: 'one' } });
  }
  for (const [j, weights] of makers.entries()) {
    for (const [i, dtypes] of dtypesOf(format, weights).entries()) {
      const at = i + j;
      for (let s = 0; s < 4; s++) {
        const size = at * 4 + s;
        const linear: [number, number, number] = [
          M[(size * 5) % M.length],
          N[size % N.length],
          K[(size * 3) % K.length],
        ];
        add(weights, { linear }, { dtypes });
      }
      for (let c = 0; c < 3; c++) add(weights, { conv: CONVOLUTIONS[(at * 3 + c) % CONVOLUTIONS.length] }, { dtypes });
      add(weights, { linear: [3, 10, 1100] }, { dtypes, activations: 'extremes' });
      if (dtypes.quantization) add(weights, { linear: [9, 34, 47] }, { dtypes, activations: 'specials' });
      if (format === 'xnor') for (const conv of CONVOLUTIONS) add(weights, { conv }, { dtypes });
    }
  }
  if (hasHalves(format)) {
    const rest = { arithmetic: 'f16' } as const;
    for (const [j, weights] of makers.entries()) {
      for (let i = j; i < M.length; i += 2) {
        add(weights, { linear: [M[i], N[(i * 4 + j) % N.length], K[(i * 7 + 3 + j) % K.length]] }, rest);
      }
      for (let i = j % 2; i < CONVOLUTIONS.length; i += 2) add(weights, { conv: CONVOLUTIONS[i] }, rest);
      add(weights, { linear: [130, 140, 300] }, rest);
      for (const activations of ['zero', 'extremes', 'halves'] as const) {
        add(weights, { linear: [7, 9, 66] }, { activations, ...plain, ...rest });
      }
    }
  }
  if (format === 'int8') {
    // More than a tile of subgroup matrices.
    add('zero points', { linear: [130, 140, 300] });
    // Sums within 33023 of 2^31, and codes of them.
    for (const [dtype, zeroPoint] of [
      ['uint8', 0],
      ['uint8', 255],
      ['int8', 127],
    ] as const) {
      const dtypes = { input: dtype, quantization: given(dtype, zeroPoint) };
      const rest = { activations: 'extremes', ...plain } as const;
      add('extremes', { linear: [2, 9, 33025] }, { dtypes: { ...dtypes, output: 'int32' }, ...rest });
      add(
        'extremes',
        { linear: [7, 9, 33025] },
        { dtypes: { ...dtypes, output: 'int8', zeroPoint: 3, spread: 9 }, ...rest },
      );
    }
    // The largest K whose sums fit: they come within 12 of 2^31.
    add('extremes', { linear: [2, 9, 33025] }, { activations: 'positive', ...plain });
    add('extremes', { linear: [7, 9, 33025] }, { activations: 'integers', ...plain });
  }
  return specs.map((spec) => ({ seed: seedOf(JSON.stringify(spec)), ...spec }));
}

export const activationsOf: readonly Activation[] = ACTIVATIONS;

const made = new Map<string, Case>();

/** The case of a spec; the same for every backend and row, so it is made once. */
export function matmulCase(format: FormatName, spec: MatmulSpec): Case {
  const key = `${format} ${JSON.stringify(spec)}`;
  let found = made.get(key);
  if (!found) {
    found = makeMatmul(format, spec);
    made.set(key, found);
  }
  return found;
}

function makeMatmul(format: FormatName, spec: MatmulSpec): Case {
  const random = createRandom(spec.seed);
  const { conv, linear } = spec;
  const groups = conv?.groups ?? 1;
  const taps = conv ? pairProduct(conv.kernel) : 1;
  const shape = conv
    ? { rows: conv.outputs, cols: (taps * conv.channels) / groups }
    : { rows: linear![1], cols: linear![2] };
  const weights = makeWeights(format, spec.weights, random, shape);
  formatOf(weights).validate(weights);
  const { dtypes } = spec;
  const integers = dtypes !== undefined && dtypes.output !== 'float32' && dtypes.output !== 'bits';
  const bias = spec.bias ? makeBias(random, shape.rows, integers) : undefined;
  const options = {
    ...conv,
    bias,
    activation: activationFor(dtypes?.output, spec.activation),
    input: dtypes?.quantization,
    output: dtypes && outputOption(dtypes, shape.cols),
    arithmetic: spec.arithmetic,
  } as Conv2dOptions;
  const input = dtypes?.input ?? 'float32';
  const problem = conv
    ? conv2dProblem(weightFacts(weights), shape, conv.image, options, input)
    : linearProblem(weightFacts(weights), shape, linear![0], options, input);
  const { window, samples, channels } = problem;
  const pixels = window.batch * window.inHeight * window.inWidth;
  const x = makeInput(random, [pixels, channels], spec.activations, samples, input);
  if (problem.output.dtype !== 'float32') {
    const { y } = referenceMatmul(weights, problem, x, bias);
    const expected = problem.output.dtype === 'bits' ? packBits(y, problem.M, shape.rows) : y;
    return { problem, weights, bias, inputs: [x], expected, bound: () => 0 };
  }
  const { y, sums, magnitude, vanishing } = referenceMatmul(weights, problem, x, bias);
  const rows = groups * problem.N;
  if (!exactSums(problem.weights)) {
    const bound = (i: number) => errorBound(problem, magnitude[i], vanishing?.[i]);
    return { problem, weights, bias, inputs: [x], expected: y, bound };
  }
  // Only the scaling and the bias round, a few times and relative to the sum itself.
  const { rowScale } = formatOf(weights).decode(weights);
  const scaleOfSample =
    problem.input.quantization || !(x instanceof Float32Array)
      ? new Float64Array(samples).fill(Math.fround(problem.input.quantization?.scale ?? 1))
      : formatOf(weights).decodeActivations(x, samples, weights).sampleScale;
  const lossless = spec.activations === 'integers' && spec.weights === 'extremes' && problem.K < 255;
  const bound = (i: number) => {
    if (lossless) return 0;
    const scale = rowScale[i % rows] * scaleOfSample[Math.floor((Math.floor(i / rows) * samples) / problem.M)];
    const size = Math.abs(sums[i] * scale) + Math.abs(bias?.[i % rows] ?? 0);
    return activationBound(problem, size, 8 * 2 ** -23 * size + 4 * 2 ** -126);
  };
  return { problem, weights, bias, inputs: [x], expected: y, bound };
}

/** f32 of order 1, or integers of the order of sums. */
function makeBias(random: Random, rows: number, integers: boolean): Bias {
  return integers ? Int32Array.from({ length: rows }, () => random.integer(-50000, 50000)) : normals(random, rows);
}

/** Integers have no activation but clamps, sums no bounds but 0, and bits none. */
function activationFor(output: DType = 'float32', activation: Activation): Activation {
  if (output === 'float32') return activation;
  if (output === 'bits' || outputActivation(activation).nonlinearity) return 'none';
  return output === 'int32' && activation !== 'none' ? 'relu' : activation;
}

/** A scale under which normal weights and uniform codes give outputs some `spread` codes away from the zero point. */
function outputOption({ output, quantization, zeroPoint, spread }: DtypeSpec, K: number): OutputOption {
  if (output !== 'uint8' && output !== 'int8') return output;
  return { dtype: output, scale: (quantization!.scale * 74 * Math.sqrt(K)) / spread!, zeroPoint };
}

function makeInput(
  random: Random,
  [pixels, channels]: [number, number],
  kind: Activations,
  samples: number,
  dtype: DtypeSpec['input'],
): TensorData {
  const length = pixels * channels;
  if (dtype === 'float32') return makeActivations(random, length, kind, samples);
  if (dtype === 'bits') {
    return packBits(
      Array.from({ length }, () => random.integer(0, 1)),
      pixels,
      channels,
    );
  }
  const [min, max] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  const code = () => (kind === 'extremes' ? [min, max][random.integer(0, 1)] : random.integer(min, max));
  return dtype === 'uint8' ? Uint8Array.from({ length }, code) : Int8Array.from({ length }, code);
}

/** Zeros and ones [rows, cols] as words. */
function packBits(bits: ArrayLike<number>, rows: number, cols: number): Uint32Array {
  const words = Math.ceil(cols / 32);
  const out = new Uint32Array(rows * words);
  for (let i = 0; i < rows * cols; i++) {
    const c = i % cols;
    out[Math.floor(i / cols) * words + (c >>> 5)] |= bits[i] << (c & 31);
  }
  return out;
}

const pairProduct = (pair: Conv2dOptions['kernel']): number =>
  typeof pair === 'number' ? pair * pair : pair[0] * pair[1];

/** A problem of an operator without weights, by a name to print. */
export interface WeightlessSpec {
  op: Problem['op'];
  name: string;
  make(): Case;
}

const EPSILON = 2 ** -23;

function poolSpecs(): WeightlessSpec[] {
  const windows: [string, [number, number, number], number, WindowOptions][] = [
    ['2x2 / 2', [1, 8, 6], 3, { kernel: 2, stride: 2 }],
    ['3x3 / 2 same', [2, 7, 9], 8, { kernel: 3, stride: 2, padding: 'same' }],
    ['3x2 asymmetric padding', [1, 6, 5], 17, { kernel: [3, 2], padding: [1, 0, 0, 1] }],
    ['ceil', [1, 7, 8], 4, { kernel: 3, stride: 2, padding: [1, 1, 1, 1], ceilMode: true }],
    ['ceil, overhanging', [1, 5, 5], 5, { kernel: 2, stride: 3, padding: [0, 0, 1, 1], ceilMode: true }],
    ['dilated', [1, 9, 9], 2, { kernel: 3, dilation: [2, 3] }],
    ['global', [2, 7, 7], 33, { kernel: 7 }],
    ['1 channel', [1, 5, 4], 1, { kernel: 2 }],
    ['many channels', [1, 3, 3], 130, { kernel: 2, padding: 'sameLower' }],
  ];
  return windows.flatMap(([title, image, channels, options], i) =>
    (['maxPool2d', 'averagePool2d'] as const).flatMap((op) =>
      [false, true].map((countIncludePad) => ({
        op,
        name: `${op} ${title}${countIncludePad ? ', padding counted' : ''}`,
        make(): Case {
          const window = windowGeometry(options, image, 'test');
          const problem: Problem = { op, channels, window, countIncludePad };
          const x = normals(createRandom(i), image[0] * image[1] * image[2] * channels);
          const magnitude = referencePool({ ...problem, op: 'averagePool2d' }, x.map(Math.abs));
          const taps = window.kernelHeight * window.kernelWidth;
          return {
            problem,
            inputs: [x],
            expected: referencePool(problem, x),
            bound: (at) => (op === 'maxPool2d' ? 0 : (taps + 4) * EPSILON * magnitude[at]),
          };
        },
      })),
    ),
  );
}

function binarySpecs(): WeightlessSpec[] {
  const shapes: [string, number[], number[], number[]][] = [
    ['same shape', [7, 13], [13, 1], [13, 1]],
    ['one', [1], [0], [0]],
    ['scalar b', [3, 65], [65, 1], [0, 0]],
    ['row b', [5, 33], [33, 1], [0, 1]],
    ['column b', [5, 33], [33, 1], [1, 0]],
    ['row a', [9, 4], [0, 1], [4, 1]],
    ['outer product', [6, 11], [1, 0], [0, 1]],
    ['channels of an image', [2, 3, 5, 7], [105, 35, 7, 1], [0, 0, 0, 1]],
    ['both broadcast', [2, 3, 4, 5], [20, 0, 5, 1], [0, 5, 0, 1]],
    ['six dimensions', [2, 3, 2, 3, 2, 3], [6, 0, 3, 0, 0, 1], [0, 6, 0, 2, 1, 0]],
    ['large', [1000, 67], [67, 1], [67, 1]],
  ];
  const clamps: BinaryProblem['clamp'][] = [
    [-Infinity, Infinity],
    [0, Infinity],
    [-0.5, 0.75],
  ];
  const extent = (dims: number[], strides: number[]) =>
    dims.reduce((sum, dim, d) => sum + (dim - 1) * strides[d], 0) + 1;
  return shapes.flatMap(([title, dims, aStrides, bStrides], i) =>
    BINARY.map((op, j) => ({
      op,
      name: `${op} ${title}`,
      make(): Case {
        const random = createRandom(i);
        const problem: BinaryProblem = { op, dims, aStrides, bStrides, clamp: clamps[(i + j) % clamps.length] };
        const inputs = [extent(dims, aStrides), extent(dims, bStrides)].map((length, at) =>
          binaryOperand(op, at, random, length),
        );
        const expected = referenceBinary(problem, inputs[0], inputs[1]);
        return { problem, inputs, expected, bound: (at) => BINARY_ERROR[op] * EPSILON * Math.abs(expected[at]) };
      },
    })),
  );
}

/** Last places that kernels may be off: WGSL divides to 2.5 and has powers by exp2 and log2. */
const BINARY_ERROR: Record<BinaryOperator, number> = {
  ...(Object.fromEntries(BINARY.map((op) => [op, 1])) as Record<BinaryOperator, number>),
  div: 4,
  pow: 400,
};

/** Numbers that make every answer of an operator likely, and quotients that do not hang on their last place. */
function binaryOperand(op: BinaryOperator, side: number, random: Random, length: number): Float32Array {
  if (['equal', 'less', 'lessOrEqual', 'and', 'or', 'xor'].includes(op)) {
    return Float32Array.from({ length }, () => random.integer(-1, 1));
  }
  if (op === 'mod' || op === 'rem') {
    const sign = () => (random.next() < 0.5 ? -1 : 1);
    return Float32Array.from({ length }, () => (side === 0 ? random.integer(-99, 99) : sign() * random.integer(1, 9)));
  }
  if (op === 'keep' || op === 'drop') {
    return side === 0 ? normals(random, length) : Float32Array.from({ length }, () => random.integer(0, 1));
  }
  if (op === 'pow') {
    return Float32Array.from({ length }, () => (side === 0 ? 0.1 + 4 * random.next() : random.integer(-8, 8) / 2));
  }
  return side === 0 ? normals(random, length) : uniforms(random, length, 0.25, 4);
}

/** A problem whose inputs are random and whose outputs may be off by `relative` of the same sums of magnitudes. */
function plainSpec(
  problem: WeightlessProblem,
  name: string,
  lengths: readonly number[],
  bound: (inputs: readonly Float32Array[], expected: Float64Array) => (at: number) => number,
  adjust?: (inputs: readonly Float32Array[], random: Random) => void,
): WeightlessSpec {
  return {
    op: problem.op,
    name: `${problem.op} ${name}`,
    make() {
      const random = createRandom(seedOf(name));
      const inputs = lengths.map((length) => normals(random, length));
      adjust?.(inputs, random);
      const expected = new Float64Array(outputSize(problem));
      computeWeightless(problem, inputs, expected);
      return { problem, inputs, expected, bound: bound(inputs, expected) };
    },
  };
}

const exact = () => () => 0;

function copySpecs(): WeightlessSpec[] {
  const copies: [string, Omit<CopyProblem, 'op'>][] = [
    ['whole', { dims: [77], from: 0, fromStrides: [1], to: 0, toStrides: [1] }],
    ['slice of rows', { dims: [5, 13], from: 4, fromStrides: [21, 1], to: 0, toStrides: [13, 1] }],
    ['every second, backwards', { dims: [3, 8], from: 15, fromStrides: [16, -2], to: 0, toStrides: [8, 1] }],
    ['rows backwards', { dims: [7, 5], from: 30, fromStrides: [-5, 1], to: 0, toStrides: [5, 1] }],
    ['broadcast', { dims: [3, 4, 6], from: 0, fromStrides: [0, 1, 0], to: 0, toStrides: [24, 6, 1] }],
    ['one everywhere', { dims: [70], from: 2, fromStrides: [0], to: 0, toStrides: [1] }],
    ['part of a concatenation', { dims: [6, 7], from: 0, fromStrides: [7, 1], to: 3, toStrides: [11, 1] }],
    ['transposed into a part', { dims: [9, 10], from: 1, fromStrides: [1, 9], to: 2, toStrides: [15, 1] }],
    ['interleaved', { dims: [5, 6, 3], from: 0, fromStrides: [18, 3, 1], to: 1, toStrides: [48, 8, 2] }],
    ['a scalar', { dims: [], from: 3, fromStrides: [], to: 0, toStrides: [] }],
  ];
  return copies.map(([name, copy]) => ({
    op: 'copy',
    name: `copy ${name}`,
    make() {
      const problem: CopyProblem = { op: 'copy', ...copy };
      const reach = (start: number, strides: number[]) =>
        copy.dims.reduce((last, dim, d) => last + Math.max((dim - 1) * strides[d], 0), start + 1);
      const a = normals(createRandom(seedOf(name)), reach(copy.from, copy.fromStrides));
      // What a copy does not write stays as it is: the NaN that tests poison outputs with.
      const expected = new Float64Array(reach(copy.to, copy.toStrides)).fill(Number.NaN);
      computeWeightless(problem, [a], expected);
      return { problem, inputs: [a], expected, bound: () => 0 };
    },
  }));
}

function gatherSpecs(): WeightlessSpec[] {
  return [
    [1, 5, 1, 7],
    [3, 4, 6, 2],
    [2, 9, 33, 5],
    [1, 100, 64, 20],
  ].map(([outer, size, inner, count]) =>
    plainSpec(
      { op: 'gather', outer, size, inner, count },
      `${outer}x${size}x${inner} at ${count}`,
      [outer * size * inner, count],
      exact,
      // Two out of range, which read the nearest row.
      ([, indices], random) => {
        for (let i = 0; i < count; i++) indices[i] = random.integer(-size, size - 1);
        indices.set([size + 3, -2 * size].slice(0, count));
      },
    ),
  );
}

function resampleSpecs(): WeightlessSpec[] {
  return [
    [1, 4, 9, 1, 1],
    [2, 7, 3, 5, 2],
    [3, 5, 11, 16, 2],
    [1, 6, 4, 33, 4],
    [2, 3, 1, 4, 2],
  ].map(([outer, inSize, outSize, inner, taps]) => {
    const random = createRandom(outer + inner);
    const table = { length: outSize * taps };
    const index = Array.from(table, () => random.integer(0, inSize - 1));
    const weight = Array.from(table, () => Math.fround(random.next() - 0.3));
    const problem: Problem = { op: 'resample', outer, inSize, outSize, inner, taps, index, weight };
    return plainSpec(
      problem,
      `${outer}x${inSize}x${inner} to ${outSize}, ${taps} taps`,
      [outer * inSize * inner],
      // At most 5 standard deviations a tap.
      () => () => 5 * taps * (taps + 1) * EPSILON,
    );
  });
}

function reduceSpecs(): WeightlessSpec[] {
  const shapes = [
    [1, 1, 1],
    [3, 7, 1],
    [5, 64, 1],
    [2, 131, 1],
    [70, 3, 1],
    [1, 9, 4],
    [3, 5, 7],
    [2, 10, 33],
    [1, 50, 130],
  ];
  return shapes.flatMap(([outer, size, inner]) =>
    REDUCTIONS.map((reduction: Reduction) => {
      const problem = { op: 'reduce', reduction, outer, size, inner } as const;
      return plainSpec(
        problem,
        `${reduction} ${outer}x${size}x${inner}`,
        [outer * size * inner],
        ([x], expected) => {
          if (reduction === 'prod') return (at) => 2 * size * EPSILON * Math.abs(expected[at]);
          if (!['sum', 'mean', 'sumSquare', 'l2'].includes(reduction)) return () => 0;
          const magnitude = referenceReduce(problem, x.map(Math.abs));
          return (at) => (size + 6) * EPSILON * magnitude[at];
        },
        // Some values twice, so that the first of several is asked for.
        ([x]) => {
          for (let i = 3; i < x.length; i += 5) x[i] = x[i - 1];
        },
      );
    }),
  );
}

function normalizeSpecs(): WeightlessSpec[] {
  return [
    [1, 4],
    [3, 7],
    [5, 64],
    [2, 129],
    [33, 16],
  ].flatMap(([rows, cols]) =>
    [true, false].flatMap((center) =>
      [true, false].map((affine) => {
        const problem = { op: 'normalize', rows, cols, epsilon: 1e-5, center, affine } as const;
        return plainSpec(
          problem,
          `${center ? 'layer' : 'rms'} ${rows}x${cols}${affine ? ', affine' : ''}`,
          affine ? [rows * cols, 2 * cols] : [rows * cols],
          // Of values of order 1 the mean and variance are off by cols roundings, the quotient by a few.
          (_, expected) => (at) => (2 * cols + 20) * EPSILON * (1 + Math.abs(expected[at])),
        );
      }),
    ),
  );
}

function batchMatmulSpecs(): WeightlessSpec[] {
  const shapes: [string, number[], number[], number[], boolean, boolean][] = [
    ['one', [], [], [1, 1, 1], false, false],
    ['plain', [], [], [7, 9, 5], false, false],
    ['whole tiles', [], [], [12, 16, 32], false, false],
    ['over tiles', [], [], [50, 65, 33], false, false],
    ['transposed b', [2], [2], [13, 17, 19], false, true],
    ['transposed a', [2], [2], [6, 8, 10], true, false],
    ['both transposed', [3], [3], [5, 11, 7], true, true],
    ['b for all', [3], [1], [9, 10, 64], false, false],
    ['a for all', [1, 2], [4, 2], [3, 33, 6], false, false],
    ['heads', [2, 3], [2, 3], [17, 17, 8], false, true],
    ['long', [], [], [2, 3, 700], false, false],
  ];
  return shapes.map(([name, aBatch, bBatch, [M, N, K], aTransposed, bTransposed]) => {
    const batch = aBatch.map((dim, d) => Math.max(dim, bBatch[d]));
    const strides = (dims: number[], rows: number, cols: number, transposed: boolean) => ({
      batch: stridesOf(dims).map((stride, d) => (dims[d] === 1 ? 0 : stride * rows * cols)),
      row: transposed ? 1 : cols,
      col: transposed ? rows : 1,
    });
    const a = strides(aBatch, M, K, aTransposed);
    const b = strides(bBatch, K, N, bTransposed);
    const problem = { op: 'batchMatmul', batch, M, N, K, a, b } as const;
    const count = (dims: number[]) => dims.reduce((product, dim) => product * dim, 1);
    return plainSpec(problem, name, [count(aBatch) * M * K, count(bBatch) * K * N], ([x, y]) => {
      const magnitude = referenceBatchMatmul(problem, x.map(Math.abs), y.map(Math.abs));
      return (at) => (K + 2) * EPSILON * magnitude[at];
    });
  });
}

/** WGSL's e^x is 3 + 2 |x| last places off. */
function unaryBound({ nonlinearity, clamp }: ActivationProblem, x: number, y: number): number {
  if (nonlinearity === undefined) return 0;
  if (['abs', 'floor', 'ceil', 'round', 'sign'].includes(nonlinearity)) return 0;
  if (nonlinearity === 'exp') return (8 + 2 * Math.abs(x)) * EPSILON * y + 2 ** -126;
  // WGSL's sine is 2^-11 off.
  if (nonlinearity === 'sin' || nonlinearity === 'cos') return 2 ** -11 + EPSILON * Math.abs(x);
  if ((NONLINEARITIES as readonly string[]).includes(nonlinearity)) {
    return activationBound({ nonlinearity: 'tanh', clamp }, Math.abs(x), 0);
  }
  return 16 * EPSILON * Math.max(nonlinearity === 'reciprocal' ? 0 : 1, Math.abs(y));
}

/** What a result takes with it when it is flushed to zero, as GPUs may do below the smallest normal number. */
const FLUSHED = 2 ** -126;

function otherSpecs(): WeightlessSpec[] {
  const specs: WeightlessSpec[] = [];
  const everything: [number, number] = [-Infinity, Infinity];
  const outputs: Omit<ActivationProblem, 'op' | 'size'>[] = [
    ...(['relu', 'relu6'] as const).map(outputActivation),
    ...UNARY.map((nonlinearity) => ({ nonlinearity, clamp: everything })),
    { clamp: [-0.5, 0.25] },
    { nonlinearity: 'tanh', clamp: [-0.5, 0.25] },
  ];
  for (const size of [1, 3, 4, 63, 65, 257, 4097, 20001]) {
    for (const activation of outputs) {
      specs.push({
        op: 'activation',
        name: `${activation.nonlinearity ?? 'clamp'} of ${size} to ${activation.clamp}`,
        make() {
          const problem: ActivationProblem = { op: 'activation', size, ...activation };
          const x = normals(createRandom(size), size, 3);
          x.set([-100, 100, 0, -0, 1e-30, -20, 20, -6, 6, 3e38, -3e38].slice(0, size));
          const turns = activation.nonlinearity === 'sin' || activation.nonlinearity === 'cos';
          if (turns) x.set(x.map((value) => Math.max(Math.min(value, 1000), -1000)));
          if (activation.nonlinearity === 'exp') x.set(x.map((value) => Math.min(value, 80)));
          if (activation.nonlinearity === 'log' || activation.nonlinearity === 'sqrt') x.set(x.map(Math.abs));
          if (activation.nonlinearity === 'log' || activation.nonlinearity === 'reciprocal') {
            x.set(x.map((value) => value || 1));
          }
          const expected = referenceActivation(problem, x).map(Math.fround);
          return { problem, inputs: [x], expected, bound: (i) => unaryBound(problem, x[i], expected[i]) + FLUSHED };
        },
      });
    }
  }
  for (const [rows, cols] of [
    [1, 1],
    [1, 2],
    [3, 7],
    [5, 64],
    [2, 65],
    [1, 1000],
    [70, 3],
    [4, 257],
  ]) {
    specs.push({
      op: 'softmax',
      name: `softmax ${rows}x${cols}`,
      make() {
        const problem: Problem = { op: 'softmax', rows, cols };
        // Far from 0, so that a missing subtraction of the maximum overflows.
        const x = uniforms(createRandom(rows * 1000 + cols), rows * cols, 195, 205);
        const expected = referenceSoftmax(problem, x);
        // WGSL's exp(d) is 3 + 2 |d| last places off, |d| <= 10; then cols sums and a division.
        return {
          problem,
          inputs: [x],
          expected,
          bound: (at) => (2 * 23 + cols + 8) * EPSILON * expected[at] + 2 ** -126,
        };
      },
    });
  }
  const transposes: [number[], number[]][] = [
    [[5], [0]],
    [
      [1, 9],
      [1, 0],
    ],
    [
      [7, 65],
      [1, 0],
    ],
    [
      [64, 33],
      [1, 0],
    ],
    [
      [2, 3, 5, 7],
      [0, 2, 3, 1],
    ],
    [
      [2, 7, 5, 3],
      [0, 3, 1, 2],
    ],
    [
      [2, 3, 5, 7],
      [3, 2, 1, 0],
    ],
    [
      [2, 3, 4],
      [0, 1, 2],
    ],
    [
      [2, 3, 2, 3, 2, 3],
      [5, 1, 3, 0, 2, 4],
    ],
    [
      [130, 2, 70],
      [2, 0, 1],
    ],
  ];
  for (const [dims, perm] of transposes) {
    specs.push({
      op: 'transpose',
      name: `transpose ${dims} by ${perm}`,
      make() {
        const problem: Problem = { op: 'transpose', dims, perm };
        const x = normals(
          createRandom(dims.length),
          dims.reduce((a, b) => a * b, 1),
        );
        return { problem, inputs: [x], expected: referenceTranspose(problem, x), bound: () => 0 };
      },
    });
  }
  return specs;
}

let weightless: WeightlessSpec[] | undefined;

/** Problems of every operator without weights. */
export function weightlessSpecs(): readonly WeightlessSpec[] {
  weightless ??= [
    ...poolSpecs(),
    ...binarySpecs(),
    ...otherSpecs(),
    ...copySpecs(),
    ...gatherSpecs(),
    ...resampleSpecs(),
    ...reduceSpecs(),
    ...normalizeSpecs(),
    ...batchMatmulSpecs(),
    ...codeSpecs(),
  ];
  return weightless;
}
