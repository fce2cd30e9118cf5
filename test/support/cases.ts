// The problems that every kernel is tested on: plain descriptions, from which operands are made by seed.

import type { Format, FormatName, MatrixShape, Weights } from '../../src/formats/format.js';
import { bcsr, codebook, csr, csrCodebook, csrInt8, formatOf, int2, int4, int8, nm } from '../../src/formats/index.js';
import type { Int8Weights } from '../../src/formats/int8.js';
import { errorBound, exactSums, referenceMatmul } from '../../src/formats/reference.js';
import {
  referenceBinary,
  referenceClamp,
  referencePool,
  referenceSoftmax,
  referenceTranspose,
} from '../../src/graph/reference.js';
import { type WindowOptions, windowGeometry } from '../../src/layers/geometry.js';
import { type Conv2dOptions, conv2dProblem, linearProblem, weightFacts } from '../../src/layers/problem.js';
import type { Activation, BinaryProblem, Problem } from '../../src/plan/problem.js';
import { createRandom, denseMatrix, normals, type Random, sparseMatrix, uniforms } from './random.js';

/** A problem with its inputs and what its output may be. */
export interface Case {
  problem: Problem;
  weights?: Weights;
  bias?: Float32Array;
  inputs: Float32Array[];
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

const groupings = (format: typeof int4 | typeof int2): Record<string, Maker> => ({
  'zero points': (random, s) =>
    format.pack(denseMatrix(random, s.rows, s.cols), { ...s, groupSize: 16, symmetric: false }),
  'whole rows': (random, s) =>
    format.pack(denseMatrix(random, s.rows, s.cols), { ...s, groupSize: s.cols, symmetric: false }),
});

/** Further ways, for options that change what a kernel does. */
const MAKERS: { [format in FormatName]?: Record<string, Maker> } = {
  csr: {
    '5 %': (random, s) => csr.pack(sparseMatrix(random, s.rows, s.cols, 0.05), s),
    'empty rows': (random, s) => csr.pack(gaps(random, s), s),
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

/** What activations hold. `integers`: 0 .. 255 and both of them, which int8 quantises without loss. */
export type Activations = 'normal' | 'zero' | 'positive' | 'negative' | 'extremes' | 'integers';

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
}

export interface ConvSpec
  extends Pick<Conv2dOptions, 'kernel' | 'stride' | 'dilation' | 'padding' | 'groups' | 'binaryPadding'> {
  image: [batch: number, height: number, width: number];
  channels: number;
  outputs: number;
}

const ACTIVATIONS: readonly Activation[] = ['none', 'relu', 'relu6', { min: -0.5, max: 0.75 }];

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
  { image: [1, 9, 7], channels: 6, outputs: 6, kernel: 3, groups: 6, padding: 'same' },
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
    for (const activations of ['zero', 'positive', 'negative', 'extremes', 'integers'] as const) {
      add(weights, { linear: [7, 9, 66] }, { activations, ...plain });
    }
  }
  add('zero', { linear: [7, 9, 34] });
  add('zero', { conv: CONVOLUTIONS[0] });
  if (format === 'xnor') {
    for (const conv of CONVOLUTIONS) if (conv.padding) add('random', { conv: { ...conv, binaryPadding: 'one' } });
  }
  if (format === 'int8') {
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
  const bias = spec.bias ? normals(random, shape.rows) : undefined;
  const options = { ...conv, bias, activation: spec.activation } as Conv2dOptions;
  const problem = conv
    ? conv2dProblem(weightFacts(weights), shape, conv.image, options)
    : linearProblem(weightFacts(weights), shape, linear![0], options);
  const { window, samples } = problem;
  const x = makeActivations(
    random,
    window.batch * window.inHeight * window.inWidth * problem.channels,
    spec.activations,
    samples,
  );
  const { y, sums, magnitude } = referenceMatmul(weights, problem, x, bias);
  const rows = groups * problem.N;
  if (!exactSums(problem.weights)) {
    return { problem, weights, bias, inputs: [x], expected: y, bound: (i) => errorBound(problem, magnitude[i]) };
  }
  // Only the scaling and the bias round, a few times and relative to the sum itself.
  const { rowScale } = formatOf(weights).decode(weights);
  const { sampleScale } = formatOf(weights).decodeActivations(x, samples, weights);
  const lossless = spec.activations === 'integers' && spec.weights === 'extremes' && problem.K < 255;
  const bound = (i: number) => {
    if (lossless) return 0;
    const scale = rowScale[i % rows] * sampleScale[Math.floor((Math.floor(i / rows) * samples) / problem.M)];
    return 8 * 2 ** -23 * (Math.abs(sums[i] * scale) + Math.abs(bias?.[i % rows] ?? 0)) + 4 * 2 ** -126;
  };
  return { problem, weights, bias, inputs: [x], expected: y, bound };
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
    (['add', 'sub', 'mul', 'div'] as const).map((op, j) => ({
      op,
      name: `${op} ${title}`,
      make(): Case {
        const random = createRandom(i);
        const problem: BinaryProblem = { op, dims, aStrides, bStrides, clamp: clamps[(i + j) % clamps.length] };
        const inputs = [normals(random, extent(dims, aStrides)), uniforms(random, extent(dims, bStrides), 0.25, 4)];
        const expected = referenceBinary(problem, inputs[0], inputs[1]);
        // WGSL divides to 2.5 last places.
        return { problem, inputs, expected, bound: (at) => (op === 'div' ? 4 : 1) * EPSILON * Math.abs(expected[at]) };
      },
    })),
  );
}

function otherSpecs(): WeightlessSpec[] {
  const specs: WeightlessSpec[] = [];
  for (const size of [1, 3, 4, 63, 64, 65, 255, 257, 4097, 70001]) {
    for (const clamp of [
      [0, Infinity],
      [0, 6],
      [-0.5, 0.25],
    ] as [number, number][]) {
      specs.push({
        op: 'clamp',
        name: `clamp ${size} to ${clamp}`,
        make() {
          const problem: Problem = { op: 'clamp', size, clamp };
          const x = normals(createRandom(size), size, 3);
          return { problem, inputs: [x], expected: referenceClamp(problem, x).map(Math.fround), bound: () => 0 };
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
  weightless ??= [...poolSpecs(), ...binarySpecs(), ...otherSpecs()];
  return weightless;
}
