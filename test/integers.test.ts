// Static quantisation, integer inputs and outputs, signs: the arithmetic on the host, and layers that hand each other
// codes and bits. Every kernel meets the oracle in kernels.test.ts.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DType } from '../src/dtype.js';
import { ThinferError } from '../src/errors.js';
import { quantizeLinear } from '../src/formats/activations.js';
import type { Weights } from '../src/formats/format.js';
import { binary, codebook, csr, dense, int4, int8, ternary, xnor } from '../src/formats/index.js';
import { outputRange, requantize, signThreshold } from '../src/formats/outputs.js';
import { referenceMatmul } from '../src/formats/reference.js';
import { requireDtypes } from '../src/layers/dtypes.js';
import type { Layer } from '../src/layers/layer.js';
import {
  type Conv2dOptions,
  conv2dProblem,
  linearProblem,
  type MatmulOptions,
  type QuantizationOption,
  weightFacts,
} from '../src/layers/problem.js';
import type { Quantization } from '../src/plan/problem.js';
import { createRuntime, type Runtime } from '../src/runtime.js';
import { requireCapability } from './support/capability.js';
import { createRandom, denseMatrix, normals } from './support/random.js';

const RUNS = { seed: 20261, numRuns: 300 };

const anyQuantization = fc
  .record({ dtype: fc.constantFrom('uint8' as const, 'int8' as const), exponent: fc.integer({ min: -20, max: 6 }) })
  .chain(({ dtype, exponent }) => {
    const [min, max] = dtype === 'uint8' ? [0, 255] : [-128, 127];
    const mantissa = fc.float({ min: 1, max: 2, noNaN: true });
    return fc.record({
      dtype: fc.constant(dtype),
      scale: mantissa.map((m) => Math.fround(m * 2 ** exponent)),
      zeroPoint: fc.integer({ min, max }),
    });
  });

/** The integer nearest to x; of two the even one. Another way than the one under test. */
function nearestEven(x: number): number {
  const candidates = [Math.floor(x), Math.ceil(x)];
  const [a, b] = candidates.map((c) => Math.abs(x - c));
  if (a !== b) return candidates[a < b ? 0 : 1];
  return candidates.find((c) => c % 2 === 0) ?? candidates[0];
}

const arithmetic = suite('integer arithmetic');

arithmetic('quantizeLinear is saturate(nearest(x / scale) + zeroPoint)', () => {
  fc.assert(
    fc.property(anyQuantization, fc.float({ noNaN: true, noDefaultInfinity: true }), (q, x) => {
      const [min, max] = q.dtype === 'uint8' ? [0, 255] : [-128, 127];
      const expected = Math.min(Math.max(nearestEven(Math.fround(x / q.scale)) + q.zeroPoint, min), max);
      assert.is(quantizeLinear(x, q), expected);
    }),
    RUNS,
  );
  const q: Quantization = { dtype: 'int8', scale: 0.5, zeroPoint: 3 };
  const codes = [0.25, 0.75, -0.25, -0.75, 1e30, -1e30, Infinity, -Infinity, NaN].map((x) => quantizeLinear(x, q));
  assert.equal(codes, [3, 5, 3, 1, 127, -128, 127, -128, 3]);
});

arithmetic('codes give back what they stand for', () => {
  fc.assert(
    fc.property(anyQuantization, fc.integer({ min: -128, max: 127 }), (q, code) => {
      const shifted = q.dtype === 'uint8' ? code + 128 : code;
      assert.is(quantizeLinear(Math.fround(q.scale * (shifted - q.zeroPoint)), q), shifted);
    }),
    RUNS,
  );
});

arithmetic('requantize rounds in f32 and saturates', () => {
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(anyQuantization, int32, fc.float({ min: -4, max: 4, noNaN: true }), (q, sum, multiplier) => {
      const [min, max] = q.dtype === 'uint8' ? [0, 255] : [-128, 127];
      const [rounded] = Float32Array.of(Float32Array.of(sum)[0] * multiplier);
      assert.is(requantize(sum, multiplier, q), Math.min(Math.max(nearestEven(rounded) + q.zeroPoint, min), max));
    }),
    RUNS,
  );
});

arithmetic('a threshold splits all sums as the f32 epilogue does', () => {
  const scale = fc.oneof(
    fc.float({ min: 0, max: 4, noNaN: true }),
    fc.constantFrom(0, 2 ** -149, 2 ** -126, 1, Math.fround(3e38)),
  );
  const bias = fc.oneof(fc.float({ min: -500, max: 500, noNaN: true }), fc.constantFrom(0, -0, 1e-45, -1e-45, -3e38));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), scale, bias.map(Math.fround), (K, s, b) => {
      const threshold = signThreshold(K, s, b);
      for (let sum = -K; sum <= K; sum++) {
        const y = Math.fround(Math.fround(sum * s) + b);
        assert.is(sum >= threshold, y >= 0, `sum ${sum}, scale ${s}, bias ${b}`);
      }
    }),
    RUNS,
  );
});

arithmetic('activations are clamps of codes', () => {
  const quantization: Quantization = { dtype: 'uint8', scale: 0.05, zeroPoint: 10 };
  const range = (clamp: [number, number]) => outputRange({ output: { dtype: 'uint8', quantization }, clamp });
  assert.equal(range([-Infinity, Infinity]), [0, 255]);
  assert.equal(range([0, Infinity]), [10, 255]);
  assert.equal(range([0, 6]), [10, 130]);
  assert.equal(outputRange({ output: { dtype: 'int32' }, clamp: [0, Infinity] }), [0, 2 ** 31 - 1]);
});
arithmetic.run();

const layers = suite('layers with integers');
const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] });
const onGpu = suite('layers with integers on webgpu');
const gpu = await createRuntime({ cache: false, tune: 'off', backends: ['webgpu'] }).catch((error: Error) => error);
const why = gpu instanceof Error ? gpu.message : '';
/** The runtimes on which layers with integers are tested. */
const places: [typeof layers, Runtime][] = [[layers, runtime]];
if (requireCapability('WebGPU', why === '', why) && !(gpu instanceof Error)) places.push([onGpu, gpu]);

const PACKERS: Record<string, (values: Float32Array, shape: { rows: number; cols: number }) => Weights> = {
  int8: (values, shape) => int8.pack(values, { ...shape, symmetric: false }),
  'int4 whole rows': (values, shape) => int4.pack(values, { ...shape, groupSize: shape.cols }),
  ternary: (values, shape) => ternary.pack(values, shape),
  binary: (values, shape) => binary.pack(values, shape),
  'codebook of int8': (values, shape) => codebook.pack(values, { ...shape, centroids: 'int8' }),
};

const INPUT = { dtype: 'uint8', scale: 0.02, zeroPoint: 120 } as const;

/** What layers take and give, as the oracle says, on one runtime. */
function takesAndGives(test: typeof layers, runtime: Runtime, name: string, pack: (typeof PACKERS)[string]): void {
  test(`${name}: what a layer takes and gives`, async () => {
    const [M, N, K] = [13, 21, 50];
    const random = createRandom(7);
    const weights = pack(denseMatrix(random, N, K), { rows: N, cols: K });
    const x = normals(random, M * K);
    const codes = Uint8Array.from(x, (value) => quantizeLinear(value, INPUT));
    const bias = Int32Array.from({ length: N }, () => random.integer(-3000, 3000));
    const output = { dtype: 'int8', scale: 0.3, zeroPoint: -5 } as const;
    const run = async (options: MatmulOptions, input: Float32Array | Uint8Array) => {
      const layer = await runtime.linear(weights, options);
      const y = await layer.run(input);
      assert.equal(y.shape, [M, N]);
      const data = await y.data();
      const dtype = input instanceof Uint8Array ? 'uint8' : 'float32';
      const problem = linearProblem(weightFacts(weights), weights, M, options, dtype);
      const reference = referenceMatmul(weights, problem, input, options.bias);
      y.free();
      layer.free();
      return { data, dtype: y.dtype, reference };
    };
    for (const options of [
      { input: INPUT, output: 'int32', bias, activation: 'relu' },
      { input: INPUT, output, bias },
      { input: INPUT, output, bias, activation: 'relu6' },
      { input: INPUT, output: { ...output, dtype: 'uint8', zeroPoint: 7 } },
    ] as const) {
      const ofFloats = await run(options, x);
      const ofCodes = await run(options, codes);
      assert.is(ofFloats.dtype, typeof options.output === 'string' ? options.output : options.output.dtype);
      assert.equal(Array.from(ofFloats.data), Array.from(ofFloats.reference.y));
      assert.equal(ofCodes.data, ofFloats.data);
      assert.ok(new Set(ofFloats.data).size > 5, 'outputs vary');
    }
    const floats = await run({ input: INPUT }, x);
    assert.equal((await run({ input: INPUT }, codes)).data, floats.data);
    assert.instance(floats.data, Float32Array);
  });
}

/** Two convolutions, the second over what the first gives. */
async function chain(
  first: Layer<DType>,
  second: Layer,
  x: Float32Array,
  shape: [number, number, number, number],
): Promise<Float32Array> {
  const middle = await first.run(x, shape);
  const y = await second.run(middle);
  const data = await y.data();
  for (const thing of [middle, y, first, second]) thing.free();
  return data;
}

/** Layers that hand each other codes and bits, and tensors that hold them. */
function fromLayerToLayer(test: typeof layers, runtime: Runtime): void {
  test('codes go from layer to layer', async () => {
    const random = createRandom(3);
    const shape: [number, number, number, number] = [2, 9, 8, 12];
    const x = normals(random, 2 * 9 * 8 * 12);
    const w1 = int8.pack(denseMatrix(random, 20, 9 * 12), { rows: 20, cols: 9 * 12 });
    const w2 = int8.pack(denseMatrix(random, 7, 9 * 20), { rows: 7, cols: 9 * 20, symmetric: false });
    const middle = { dtype: 'uint8', scale: 0.25, zeroPoint: 30 } as const;
    const window = { kernel: 3, padding: 'same' } as const;
    const options: Conv2dOptions = { ...window, input: INPUT, output: middle, activation: 'relu' };
    const problem = conv2dProblem(weightFacts(w1), w1, [2, 9, 8], options);
    const codes = Uint8Array.from(referenceMatmul(w1, problem, x).y);
    const next = conv2dProblem(weightFacts(w2), w2, [2, 9, 8], { ...window, input: middle, output: 'int32' }, 'uint8');
    const expected = referenceMatmul(w2, next, codes).y;

    const first = await runtime.conv2d(w1, { ...window, input: INPUT, output: middle, activation: 'relu' });
    const second = await runtime.conv2d(w2, { ...window, input: middle, output: 'int32' });
    const tensor = await first.run(x, shape);
    assert.is(tensor.dtype, 'uint8');
    assert.equal(await tensor.data(), codes);
    const y = await second.run(tensor);
    assert.equal(Array.from(await y.data()), Array.from(expected));
    for (const thing of [tensor, y, first, second]) thing.free();
  });

  test('bits go from layer to layer, to the answer of f32', async () => {
    const random = createRandom(11);
    for (const [channels, between, outputs, binaryPadding] of [
      [16, 33, 40, 'zero'],
      [37, 64, 5, 'one'],
      [3, 96, 31, 'zero'],
    ] as const) {
      const shape: [number, number, number, number] = [2, 7, 9, channels];
      const x = normals(random, 2 * 7 * 9 * channels);
      const w1 = xnor.pack(denseMatrix(random, between, 9 * channels), { rows: between, cols: 9 * channels });
      const w2 = xnor.pack(denseMatrix(random, outputs, 9 * between), { rows: outputs, cols: 9 * between });
      // As a batch norm leaves it: some channels nearly always on, some off.
      const bias = normals(random, between, 8);
      const window = { kernel: 3, padding: 'same', binaryPadding } as const;
      const second = () => runtime.conv2d(w2, window);
      const floats = await chain(await runtime.conv2d(w1, { ...window, bias }), await second(), x, shape);
      const bits = await chain(await runtime.conv2d(w1, { ...window, bias, output: 'bits' }), await second(), x, shape);
      assert.equal(bits, floats);
      assert.ok(new Set(floats).size > 10);
    }
  });

  test('tensors of every dtype', async () => {
    for (const [data, shape, dtype] of [
      [Float32Array.of(1, -2, 3), [3], 'float32'],
      [Int32Array.of(1, -(2 ** 31)), [2, 1], 'int32'],
      [Uint8Array.of(0, 255, 7), [1, 3], 'uint8'],
      [Int8Array.of(-128, 127, 0, 1, 2), [5], 'int8'],
      [Uint32Array.of(1, 2, 3, 4), [2, 33], 'bits'],
    ] as const) {
      const tensor = runtime.tensor(data, shape);
      assert.is(tensor.dtype, dtype);
      assert.equal(await tensor.data(), data);
      tensor.free();
    }
  });
}

for (const [test, runtime] of places) {
  for (const [name, pack] of Object.entries(PACKERS)) takesAndGives(test, runtime, name, pack);
  fromLayerToLayer(test, runtime);
}

/** Asserts a ThinferError whose message has all of the words. */
async function refused(made: () => unknown, ...words: string[]): Promise<void> {
  try {
    await made();
  } catch (error) {
    assert.instance(error, ThinferError, String(error));
    for (const word of words) assert.ok((error as Error).message.includes(word), `"${word}" in: ${error}`);
    return;
  }
  assert.unreachable(`nothing was thrown: ${words}`);
}

layers('options that are wrong', async () => {
  const shape = { rows: 3, cols: 40 };
  const values = denseMatrix(createRandom(1), 3, 40);
  const w = int8.pack(values, shape);
  const input = INPUT;
  const output = { dtype: 'uint8', scale: 0.1, zeroPoint: 0 } as const;
  const linear = (weights: Weights, options: MatmulOptions) => () => runtime.linear(weights, options);
  const scale = (value: unknown) => ({ ...INPUT, scale: value }) as QuantizationOption;
  for (const bad of [0, -1, NaN, Infinity, 1e39, 1e-50, '1', undefined]) {
    await refused(linear(w, { input: scale(bad) }), 'linear.input.scale', 'above 0');
    await refused(linear(w, { input, output: scale(bad) }), 'linear.output.scale', 'above 0');
  }
  for (const bad of [-1, 256, 0.5, NaN]) {
    await refused(linear(w, { input: { ...INPUT, zeroPoint: bad } }), 'linear.input.zeroPoint', '0..255');
  }
  for (const bad of [-129, 128]) {
    const q = { ...INPUT, dtype: 'int8', zeroPoint: bad } as const;
    await refused(linear(w, { input, output: q }), 'linear.output.zeroPoint', '-128..127');
  }
  await refused(linear(w, { input: { ...INPUT, dtype: 'int16' as 'int8' } }), 'linear.input.dtype', 'int16');
  await refused(linear(w, { input: 5 as never }), 'linear.input', 'scale, zeroPoint');
  await refused(linear(w, { output: 'int64' as never }), 'linear.output', 'int64');
  await refused(linear(w, { output: null as never }), 'linear.output', 'null');
  for (const weights of [csr.pack(values, shape), dense.pack(values, shape), xnor.pack(values, shape)]) {
    await refused(linear(weights, { input }), 'linear.input', weights.format);
    await refused(linear(weights, { output: 'int32' }), 'linear.output', weights.format);
  }
  await refused(linear(w, { output: 'bits' }), 'linear.output', 'xnor');
  await refused(linear(w, { output: 'int32' }), 'linear.input', 'int32');
  await refused(linear(w, { output }), 'linear.input', 'uint8');
  await refused(linear(int4.pack(values, { ...shape, groupSize: 16 }), { input, output }), 'groupSize = cols');
  await refused(linear(w, { input, output: 'int32', activation: 'relu6' }), 'linear.activation', 'relu');
  await refused(linear(xnor.pack(values, shape), { output: 'bits', activation: 'relu' }), 'linear.activation');
  await refused(linear(w, { input, output, activation: 'sigmoid' }), 'linear.activation', 'a clamp', 'sigmoid');
  await refused(linear(w, { input, output, bias: new Float32Array(3) }), 'linear.bias', 'Int32Array', 'round');
  await refused(linear(w, { input, bias: new Int32Array(3) }), 'linear.bias', 'Float32Array');
  await refused(linear(w, { bias: Float32Array.of(1, NaN, 2) }), 'linear.bias[1]', 'finite');
  await refused(linear(w, { bias: new Float32Array(2) }), 'linear.bias', '3 elements');
  const full = Int32Array.of(0, 2 ** 31 - 1, 0);
  await refused(linear(w, { input, output: 'int32', bias: full }), 'linear.bias[1]', 'int32');
  const tiny = { ...output, scale: 2 ** -126 };
  await refused(linear({ ...w, scale: Float32Array.of(1, 3e38, 1) }, { input, output: tiny }), 'range of f32', 'row 1');
});

layers('inputs of the wrong dtype', async () => {
  const shape = { rows: 3, cols: 40 };
  const values = denseMatrix(createRandom(1), 3, 40);
  const plain = await runtime.linear(int8.pack(values, shape));
  const given = await runtime.linear(int8.pack(values, shape), { input: INPUT });
  const signs = await runtime.linear(xnor.pack(values, shape));
  const bits = runtime.tensor(new Uint32Array(2), [1, 40]);
  await refused(() => plain.run(new Uint8Array(40)), 'linear: x', 'float32', 'uint8', 'option input');
  await refused(() => given.run(new Int8Array(40)), 'linear: x', 'float32 or uint8', 'int8');
  await refused(() => given.run(bits), 'linear: x', 'bits');
  await refused(() => signs.run(new Uint8Array(40)), 'linear: x', 'float32 or bits');
  await refused(() => given.run(new Uint16Array(40) as never), 'linear: x', 'Uint16Array');
  await refused(() => signs.run(bits, [40, 1]), '[..., 40]', 'words');
  await refused(() => runtime.tensor(new Uint32Array(1), [1, 40]), 'tensor.data', '2 elements');
  await refused(() => runtime.tensor([1] as never, [1]), 'tensor.data', 'an array of 1');
  for (const thing of [plain, given, signs, bits]) thing.free();
});

layers('no row gives bits of groups that share words', async () => {
  const weights = xnor.pack(denseMatrix(createRandom(1), 6, 9 * 4), { rows: 6, cols: 9 * 4 });
  const layer = await runtime.conv2d(weights, { kernel: 3, groups: 2, output: 'bits' });
  await refused(() => layer.run(new Float32Array(9 * 8), [1, 3, 3, 8]), 'kernel', 'groups of 32 n outputs');
  layer.free();
});

layers('options are checked without a runtime', () => {
  const weights = int8.pack(new Float32Array(4), { rows: 2, cols: 2 });
  const { inputs, output } = requireDtypes(weights, { input: INPUT, output: 'int32' }, 'test');
  assert.equal(inputs, ['float32', 'uint8']);
  assert.is(output, 'int32');
});

layers.after(() => runtime.free());
layers.run();

if (!(gpu instanceof Error)) {
  onGpu('a buffer of bytes is wrapped and written', async () => {
    const shape = { rows: 6, cols: 40 };
    const weights = int8.pack(denseMatrix(createRandom(1), 6, 40), shape);
    const output = { dtype: 'uint8', scale: 0.3, zeroPoint: 9 } as const;
    const layer = await gpu.linear(weights, { input: INPUT, output });
    const codes = Uint8Array.from({ length: 3 * 40 }, (_, i) => (i * 37) % 256);
    const x = gpu.tensor(codes, [3, 40]);
    const y = gpu.tensor(new Uint8Array(18).fill(77), [3, 6]);
    const inside = gpu.wrap(x.buffer.gpu!, [3, 40], 'uint8');
    const outside = gpu.wrap(y.buffer.gpu!, [3, 6], 'uint8');
    assert.is(await layer.run(inside, undefined, { output: outside }), outside);
    const problem = linearProblem(weightFacts(weights), weights, 3, { input: INPUT, output }, 'uint8');
    assert.equal(Array.from(await y.data()), Array.from(referenceMatmul(weights, problem, codes).y));
    for (const thing of [layer, inside, outside, x, y]) thing.free();
  });
  onGpu.after(() => gpu.free());
}
onGpu.run();
