import { averageMultiplier } from '../../src/formats/outputs.js';
import {
  type CodeBinaryProblem,
  type CopyProblem,
  type DequantizeProblem,
  type GatherProblem,
  inputSize,
  type LookupProblem,
  outputSize,
  type PoolProblem,
  type Quantization,
  type QuantizeProblem,
  type ResampleProblem,
  type TransposeProblem,
} from '../../src/plan/problem.js';
import { product, stridesOf } from '../../src/plan/strides.js';
import type { Consts, Stage, WebgpuVariant } from '../../src/webgpu/variant.js';
import { asCopy, reach, u32s } from '../copy/variants.js';
import { fits, predictMs, type Work, windowConsts } from '../shared/cost.js';
import binaryBytes from './binary.wgsl';
import codeOf from './code_of.wgsl';
import copyBytes from './copy.wgsl';
import dequantizeShader from './dequantize.wgsl';
import gatherBytes from './gather.wgsl';
import { codeConsts, leastValues, zeroCode } from './least.js';
import lookupBytes from './lookup.wgsl';
import poolBytes from './pool.wgsl';
import quantizeBytes from './quantize.wgsl';
import resampleBytes from './resample.wgsl';
import scatter from './scatter.wgsl';
import words from './words.wgsl';

// Operators without weights on 8-bit codes. src/graph/reference.ts says what they are, to the last bit.

const CODES = ['uint8', 'int8'] as const;
/** What every device lets a uniform buffer have, in u32, without the first vector. */
const MOST_TABLE = 65536 / 4 - 4;

/** What makes a byte signed from one that is counted from 0, or back. */
const flipOf = (dtype: Quantization['dtype']): number => (dtype === 'int8' ? 0x80 : 0);

const bitsOf = (floats: ArrayLike<number>): Uint32Array => new Uint32Array(Float32Array.from(floats).buffer);

/** The dispatch that computes the bytes of an output. */
function bytesStage(
  label: string,
  size: number,
  snippets: readonly string[],
  consts: Consts,
  table: readonly number[] = [],
): Stage {
  const vectors = Math.max(Math.ceil(table.length / 4), 1);
  const padding = new Array<number>(4 * vectors - table.length).fill(0);
  return {
    label: `codes/${label}.wgsl`,
    source: words,
    snippets,
    consts: { VECTORS: vectors, ...consts },
    params: [size, 0, 0, 0, ...table, ...padding],
    workgroups: Math.ceil(size / 256),
  };
}

/** The work of threads that each compute four of `size` elements, with the bytes that they read and write. */
const workOf = (size: number, macs: number, bytes: number): Work => ({
  macs,
  efficiency: 0.05,
  threads: Math.ceil(size / 4),
  bytes,
  dispatches: 1,
});

/** Strides and dimensions as the shaders count them: the first dimension is not read. */
const indexConsts = (dims: readonly number[], strides: Readonly<Record<string, readonly number[]>>): Consts => ({
  RANK: Math.max(dims.length, 1),
  DIMS: [1, ...dims.slice(1)],
  ...Object.fromEntries(Object.entries(strides).map(([name, list]) => [name, u32s(list)])),
});

const quantize: WebgpuVariant<QuantizeProblem> = {
  name: 'quantize_1x4_wgsl',
  ops: ['quantize'],
  outputs: CODES,
  supports: ({ size }, device) => fits(device, { input: 4 * size, output: size }),
  stages: ({ size, output }) => [
    bytesStage(
      'quantize',
      size,
      [codeOf, quantizeBytes],
      { ...codeConsts(output), FLIP: flipOf(output.dtype) },
      Array.from(leastValues(output)),
    ),
  ],
  cost: ({ size }, device) => predictMs(device, workOf(size, 8 * size, 5 * size)),
};

const dequantize: WebgpuVariant<DequantizeProblem> = {
  name: 'dequantize_1x1_wgsl',
  ops: ['dequantize'],
  inputs: [...CODES, 'int32'],
  supports: ({ size }, device) => fits(device, { output: 4 * size }),
  stages: ({ size, dtype, zeroPoint, scale }) => [
    {
      label: 'codes/dequantize.wgsl',
      source: dequantizeShader,
      consts: {
        KIND: ['uint8', 'int8', 'int32'].indexOf(dtype),
        ZERO: { i32: zeroPoint },
        SCALE: { f32: scale },
      },
      params: [size],
      workgroups: Math.ceil(size / 64),
    },
  ],
  cost: ({ size }, device) => predictMs(device, workOf(4 * size, size, 5 * size)),
};

const lookup: WebgpuVariant<LookupProblem> = {
  name: 'lookup_1x4_wgsl',
  ops: ['lookup'],
  inputs: CODES,
  outputs: CODES,
  supports: ({ size }, device) => fits(device, { output: size }),
  stages: ({ size, table }) => [
    bytesStage('lookup', size, [lookupBytes], {}, Array.from(new Uint32Array(Uint8Array.from(table).buffer))),
  ],
  cost: ({ size }, device) => predictMs(device, workOf(size, size, 2 * size)),
};

/** What each byte stands for. */
function meanings({ dtype, scale, zeroPoint }: Quantization): Float32Array {
  const signed = dtype === 'int8';
  return Float32Array.from({ length: 256 }, (_, byte) => {
    const code = signed ? (byte << 24) >> 24 : byte;
    return Math.fround(code - zeroPoint) * Math.fround(scale);
  });
}

const binary: WebgpuVariant<CodeBinaryProblem> = {
  name: 'binary_codes_1x4_wgsl',
  // Not the fixed-point ones: a graph with those runs them on WASM.
  ops: ['qAdd', 'qMul'],
  inputs: CODES,
  outputs: CODES,
  supports: (p, device) =>
    fits(device, {
      input: reach(p.dims, 0, p.aStrides),
      input2: reach(p.dims, 0, p.bStrides),
      output: outputSize(p),
    }),
  stages: (p) => [
    bytesStage(
      'binary',
      outputSize(p),
      [codeOf, binaryBytes],
      {
        ...indexConsts(p.dims, { A_STRIDES: p.aStrides, B_STRIDES: p.bStrides }),
        ...codeConsts(p.output),
        MULTIPLIES: p.op === 'qMul',
        LEAST: zeroCode({ ...p.output, zeroPoint: p.clamp[0] }),
        MOST: zeroCode({ ...p.output, zeroPoint: p.clamp[1] }),
        FLIP: flipOf(p.output.dtype),
      },
      [...leastValues(p.output), ...bitsOf(meanings(p.a)), ...bitsOf(meanings(p.b))],
    ),
  ],
  cost: (p, device) => predictMs(device, workOf(outputSize(p), 10 * outputSize(p), 3 * outputSize(p))),
};

const tapsOf = ({ window: w }: PoolProblem): number => w.kernelHeight * w.kernelWidth;

const pool: WebgpuVariant<PoolProblem> = {
  name: 'pool2d_codes_1x4_wgsl',
  ops: ['maxPool2d', 'averagePool2d'],
  inputs: CODES,
  outputs: CODES,
  supports: (p, device) =>
    tapsOf(p) >= MOST_TABLE
      ? `${tapsOf(p)} taps are more than a uniform buffer holds`
      : fits(device, { input: inputSize(p), output: outputSize(p) }),
  stages(p) {
    const { input, output } = p.codes!;
    const maximum = p.op === 'maxPool2d';
    // A factor over 2^40 takes every sum but 0 past all codes, as 2^40 does.
    const factor = (count: number) => Math.min(averageMultiplier(input, output, Math.max(count, 1)), 2 ** 40);
    const factors = Array.from({ length: tapsOf(p) + 1 }, (_, count) => factor(count));
    return [
      bytesStage(
        'pool',
        outputSize(p),
        [poolBytes],
        {
          ...windowConsts(p),
          PAD_BOTTOM: p.window.padBottom,
          PAD_RIGHT: p.window.padRight,
          CHANNELS: p.channels,
          MAXIMUM: maximum,
          COUNT_PADDING: p.countIncludePad,
          IN_FLIP: flipOf(input.dtype),
          IN_ZERO: zeroCode(input),
          ZERO_CODE: zeroCode(output),
          FLIP: flipOf(output.dtype),
        },
        maximum ? [] : Array.from(bitsOf(factors)),
      ),
    ];
  },
  cost: (p, device) =>
    predictMs(device, workOf(outputSize(p), outputSize(p) * tapsOf(p), inputSize(p) + outputSize(p))),
};

const gather: WebgpuVariant<GatherProblem> = {
  name: 'gather_codes_1x4_wgsl',
  ops: ['gather'],
  inputs: CODES,
  outputs: CODES,
  supports: (p, device) =>
    fits(device, { input: p.outer * p.size * p.inner, input2: 4 * p.count, output: outputSize(p) }),
  stages: (p) => [bytesStage('gather', outputSize(p), [gatherBytes], { SIZE: p.size, COUNT: p.count, INNER: p.inner })],
  cost: (p, device) => predictMs(device, workOf(outputSize(p), outputSize(p), 3 * outputSize(p))),
};

const resample: WebgpuVariant<ResampleProblem> = {
  name: 'resample_codes_1x4_wgsl',
  ops: ['resample'],
  inputs: CODES,
  outputs: CODES,
  supports: (p, device) =>
    p.outSize > MOST_TABLE
      ? `${p.outSize} taps are more than a uniform buffer holds`
      : fits(device, { input: p.outer * p.inSize * p.inner, output: outputSize(p) }),
  stages: (p) => [
    bytesStage(
      'resample',
      outputSize(p),
      [resampleBytes],
      { IN_SIZE: p.inSize, OUT_SIZE: p.outSize, INNER: p.inner },
      p.index,
    ),
  ],
  cost: (p, device) => predictMs(device, workOf(outputSize(p), outputSize(p), 2 * outputSize(p))),
};

/** Whether a copy fills its output from the first element on, in order. */
function fills({ dims, to, toStrides }: CopyProblem): boolean {
  const dense = stridesOf(dims);
  return to === 0 && dims.every((size, d) => size === 1 || toStrides[d] === dense[d]);
}

const copy: WebgpuVariant<CopyProblem | TransposeProblem> = {
  name: 'copy_codes_1x4_wgsl',
  ops: ['copy', 'transpose'],
  inputs: CODES,
  outputs: CODES,
  supports(p, device) {
    const { dims, from, fromStrides, to, toStrides } = asCopy(p);
    return fits(device, { input: reach(dims, from, fromStrides), output: reach(dims, to, toStrides) });
  },
  stages(p) {
    const whole = asCopy(p);
    const { dims, from, fromStrides, to, toStrides } = whole;
    const size = product(dims);
    const consts = { FROM: from, ...indexConsts(dims, { FROM_STRIDES: fromStrides, TO_STRIDES: toStrides }) };
    if (fills(whole)) return [bytesStage('copy', size, [copyBytes], consts)];
    return [
      {
        label: 'codes/scatter.wgsl',
        source: scatter,
        consts: { TO: to, ...consts },
        params: [size],
        workgroups: Math.ceil(size / 64),
      },
    ];
  },
  cost: (p, device) => predictMs(device, workOf(product(p.dims), product(p.dims), 4 * product(p.dims))),
};

export const codes = [quantize, dequantize, lookup, binary, pool, gather, resample, copy];
