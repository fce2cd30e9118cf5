// Problems on 8-bit codes, for test/kernels.test.ts: every answer is exact.
import type { TensorData } from '../../src/dtype.js';
import { computeWeightless, type WeightlessProblem } from '../../src/graph/reference.js';
import { windowGeometry } from '../../src/layers/geometry.js';
import { CODE_BINARY, type CopyProblem, elementTypes, outputSize, type Quantization } from '../../src/plan/problem.js';
import { stridesOf } from '../../src/plan/strides.js';
import type { WeightlessSpec } from './cases.js';
import { createRandom, type Random } from './random.js';

type Codes = Quantization['dtype'];

const DTYPES: readonly Codes[] = ['uint8', 'int8'];

/** What the bytes that nobody wrote hold in the tests of kernels. */
const POISON = { uint8: 0xab, int8: 0xab - 256 };

/** Random codes, both ends of them among the first. */
export function codes(random: Random, length: number, dtype: Codes): Uint8Array | Int8Array {
  const [min, max] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  const data = dtype === 'uint8' ? new Uint8Array(length) : new Int8Array(length);
  for (let i = 0; i < length; i++) data[i] = random.integer(min, max);
  data.set([max, min].slice(0, length));
  return data;
}

function spec(
  problem: WeightlessProblem,
  name: string,
  inputsOf: (random: Random) => TensorData[],
  expected = new Float64Array(outputSize(problem)),
): WeightlessSpec {
  const { inputs: types, output } = elementTypes(problem);
  return {
    op: problem.op,
    name: `${problem.op} ${name}, ${types[0]} to ${output}`,
    make() {
      const inputs = inputsOf(createRandom(expected.length + name.length));
      computeWeightless(problem, inputs, expected);
      return { problem, inputs, expected, bound: () => 0 };
    },
  };
}

const SIZES = [1, 3, 7, 8, 9, 15, 16, 17, 33, 100, 4095, 4097, 9000];

/** Zero points at both ends and inside, scales that round and that do not. */
const MEANINGS: readonly Quantization[] = [
  { dtype: 'uint8', scale: 0.25, zeroPoint: 0 },
  { dtype: 'uint8', scale: 0.013, zeroPoint: 128 },
  { dtype: 'uint8', scale: 3.7e-5, zeroPoint: 255 },
  { dtype: 'int8', scale: 0.5, zeroPoint: 0 },
  { dtype: 'int8', scale: 0.021, zeroPoint: -128 },
  { dtype: 'int8', scale: 900, zeroPoint: 127 },
];

const SPECIAL = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-40, -0, 0.125, 0.375, -0.125, 2 ** 31];

function quantizeSpecs(): WeightlessSpec[] {
  return SIZES.map((size, i) => {
    const output = MEANINGS[i % MEANINGS.length];
    return spec({ op: 'quantize', size, output }, `${size}`, (random) => {
      const x = Float32Array.from({ length: size }, () => random.integer(-2400, 2400) * output.scale * 0.125);
      x.set(SPECIAL.slice(0, size), Math.max(size - SPECIAL.length, 0));
      return [x];
    });
  });
}

function dequantizeSpecs(): WeightlessSpec[] {
  return SIZES.flatMap((size, i) => {
    const { dtype, scale, zeroPoint } = MEANINGS[i % MEANINGS.length];
    const sums = (random: Random) =>
      Int32Array.from({ length: size }, (_, at) => (at === 1 ? -(2 ** 31) : random.integer(-(2 ** 30), 2 ** 30)));
    return [
      spec({ op: 'dequantize', size, dtype, scale, zeroPoint }, `${size}`, (random) => [codes(random, size, dtype)]),
      spec({ op: 'dequantize', size, dtype: 'int32', scale, zeroPoint: 0 }, `${size}`, (random) => [sums(random)]),
    ];
  });
}

function lookupSpecs(): WeightlessSpec[] {
  return SIZES.map((size, i) => {
    const [input, output] = [DTYPES[i % 2], DTYPES[(i >> 1) % 2]];
    const table = Array.from(codes(createRandom(i), 256, output));
    return spec({ op: 'lookup', size, input, output, table }, `${size}`, (random) => [codes(random, size, input)]);
  });
}

function binarySpecs(): WeightlessSpec[] {
  const shapes: [string, number[], number[], number[]][] = [
    ['one', [1], [0], [0]],
    ['same shape', [7, 13], [13, 1], [13, 1]],
    ['scalar b', [3, 65], [65, 1], [0, 0]],
    ['scalar a', [40], [0], [1]],
    ['column b', [5, 33], [33, 1], [1, 0]],
    ['channels of an image', [2, 3, 5, 7], [105, 35, 7, 1], [0, 0, 0, 1]],
    ['both broadcast', [2, 3, 4, 5], [20, 0, 5, 1], [0, 5, 0, 1]],
    ['backwards through b', [6, 4], [4, 1], [4, 2]],
    ['large', [100, 67], [67, 1], [67, 1]],
    ['long rows', [2, 4101], [4101, 1], [0, 1]],
  ];
  const extent = (dims: number[], strides: number[]) =>
    dims.reduce((sum, dim, d) => sum + (dim - 1) * strides[d], 0) + 1;
  return shapes.flatMap(([name, dims, aStrides, bStrides], i) =>
    CODE_BINARY.flatMap((op, j) =>
      [0, 1, 2].map((k) => {
        const [a, b] = [MEANINGS[(i + k) % 5], MEANINGS[(i + 2 * k + 1) % 5]];
        const kind = MEANINGS[(i + j + k) % 5];
        // So that sums and products spread over the codes and beyond them.
        const scale = op !== 'qMul' && op !== 'fixedMul' ? 0.6 * (a.scale + b.scale) : a.scale * b.scale * 90;
        const output = { ...kind, scale };
        const [min, max] = output.dtype === 'uint8' ? [0, 255] : [-128, 127];
        const clamp: [number, number] = k === 2 ? [output.zeroPoint, Math.min(output.zeroPoint + 30, max)] : [min, max];
        return spec({ op, dims, aStrides, bStrides, a, b, output, clamp }, `${name} ${k}`, (random) => [
          codes(random, extent(dims, aStrides), a.dtype),
          codes(random, extent(dims, bStrides), b.dtype),
        ]);
      }),
    ),
  );
}

function poolSpecs(): WeightlessSpec[] {
  const windows = [
    ['2x2 / 2', [1, 8, 6], 3, { kernel: 2, stride: 2 }],
    ['3x3 / 2 same', [2, 7, 9], 8, { kernel: 3, stride: 2, padding: 'same' }],
    ['ceil, overhanging', [1, 5, 5], 5, { kernel: 2, stride: 3, padding: [0, 0, 1, 1], ceilMode: true }],
    ['dilated', [1, 9, 9], 16, { kernel: 3, dilation: [2, 3] }],
    ['global', [2, 7, 7], 33, { kernel: 7 }],
    ['wide', [1, 30, 30], 20, { kernel: 30 }],
    ['many channels', [1, 3, 3], 130, { kernel: 2, padding: 'sameLower' }],
  ] as const;
  return windows.flatMap(([name, image, channels, options], i) => {
    const window = windowGeometry(options as never, image, 'test');
    const length = image[0] * image[1] * image[2] * channels;
    return [0, 1].flatMap((k) => {
      const input = MEANINGS[(i + k) % MEANINGS.length];
      const output = { ...MEANINGS[(i + 3 * k + 1) % MEANINGS.length], scale: input.scale * (k ? 0.3 : 1.1) };
      const countIncludePad = k === 1;
      const same = { input, output: input };
      const inputs = (random: Random) => [codes(random, length, input.dtype)];
      return [
        spec({ op: 'maxPool2d', window, channels, countIncludePad, codes: same }, `${name} ${k}`, inputs),
        spec(
          { op: 'averagePool2d', window, channels, countIncludePad, codes: { input, output } },
          `${name} ${k}`,
          inputs,
        ),
      ];
    });
  });
}

function moveSpecs(): WeightlessSpec[] {
  const copies: [string, Pick<CopyProblem, 'dims' | 'from' | 'fromStrides' | 'to' | 'toStrides'>][] = [
    ['whole', { dims: [77], from: 0, fromStrides: [1], to: 0, toStrides: [1] }],
    ['short rows', { dims: [9, 5], from: 4, fromStrides: [21, 1], to: 1, toStrides: [6, 1] }],
    ['rows of 31', { dims: [3, 31], from: 0, fromStrides: [40, 1], to: 0, toStrides: [31, 1] }],
    ['every second, backwards', { dims: [3, 8], from: 15, fromStrides: [16, -2], to: 0, toStrides: [8, 1] }],
    ['broadcast', { dims: [3, 4, 6], from: 0, fromStrides: [0, 1, 0], to: 0, toStrides: [24, 6, 1] }],
    ['one everywhere', { dims: [70], from: 2, fromStrides: [0], to: 0, toStrides: [1] }],
    ['transposed into a part', { dims: [9, 10], from: 1, fromStrides: [1, 9], to: 2, toStrides: [15, 1] }],
    ['interleaved', { dims: [5, 6, 3], from: 0, fromStrides: [18, 3, 1], to: 1, toStrides: [48, 8, 2] }],
  ];
  const reach = (dims: number[], start: number, strides: number[]) =>
    dims.reduce((last, dim, d) => last + Math.max((dim - 1) * strides[d], 0), start + 1);
  const moved: WeightlessSpec[] = copies.map(([name, copy], i) => {
    const dtype = DTYPES[i % 2];
    const written = new Float64Array(reach(copy.dims, copy.to, copy.toStrides)).fill(POISON[dtype]);
    const inputs = (random: Random) => [codes(random, reach(copy.dims, copy.from, copy.fromStrides), dtype)];
    return spec({ op: 'copy', ...copy, dtype }, name, inputs, written);
  });
  const transposes: [number[], number[]][] = [
    [
      [7, 65],
      [1, 0],
    ],
    [
      [2, 3, 5, 7],
      [0, 2, 3, 1],
    ],
    [
      [2, 7, 5, 33],
      [0, 3, 1, 2],
    ],
  ];
  for (const [i, [dims, perm]] of transposes.entries()) {
    const dtype = DTYPES[i % 2];
    moved.push(
      spec({ op: 'transpose', dims, perm, dtype }, `${dims} by ${perm}`, (random) => [
        codes(random, stridesOf(dims)[0] * dims[0], dtype),
      ]),
    );
  }
  for (const [i, [outer, size, inner, count]] of [
    [1, 5, 1, 7],
    [3, 4, 6, 2],
    [2, 9, 33, 5],
  ].entries()) {
    const dtype = DTYPES[i % 2];
    moved.push(
      spec({ op: 'gather', outer, size, inner, count, dtype }, `${outer}x${size}x${inner} at ${count}`, (random) => [
        codes(random, outer * size * inner, dtype),
        Float32Array.from({ length: count }, () => random.integer(-size, size - 1)),
      ]),
    );
    const table = { length: count };
    const index = Array.from(table, (_, at) => (at * 3) % size);
    const weight = Array.from(table, () => 1);
    moved.push(
      spec(
        { op: 'resample', outer, inSize: size, outSize: count, inner, taps: 1, index, weight, dtype },
        `${outer}x${size}x${inner} to ${count}`,
        (random) => [codes(random, outer * size * inner, dtype)],
      ),
    );
  }
  return moved;
}

export function codeSpecs(): WeightlessSpec[] {
  return [...quantizeSpecs(), ...dequantizeSpecs(), ...lookupSpecs(), ...binarySpecs(), ...poolSpecs(), ...moveSpecs()];
}
