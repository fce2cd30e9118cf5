// Whole models and chains of layers on WASM and on WebGPU: the same answers, integers to the last bit. And what is
// compiled when.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DType } from '../src/dtype.js';
import { f16, int4, int8, ternary } from '../src/formats/index.js';
import { errorBound, referenceMatmul } from '../src/formats/reference.js';
import type { Layer } from '../src/layers/layer.js';
import { linearProblem, type QuantizationOption, weightFacts } from '../src/layers/problem.js';
import { loadOnnx } from '../src/onnx/index.js';
import { createRuntime, type Runtime } from '../src/runtime.js';
import { openDevice } from '../src/webgpu/device.js';
import { requireCapability } from './support/capability.js';
import { readFashion, readFixture } from './support/fixtures.js';
import { calibrate, quantizeModel } from './support/quantize-model.js';
import { createRandom, denseMatrix, normals } from './support/random.js';

const IMAGES = 2;
/** f32 sums of some thousand products through a handful of layers, relative to the largest output. */
const TOLERANCE = 1e-4;

const test = suite('wasm and webgpu');
const opened = await openDevice({});
const reason = typeof opened === 'string' ? opened : '';

const codes = (scale: number, zeroPoint: number): QuantizationOption & { dtype: 'uint8' } => ({
  dtype: 'uint8',
  scale,
  zeroPoint,
});

/** A small network with static quantisation: codes from layer to layer, int32 at its end. */
async function chain(runtime: Runtime, x: Float32Array): Promise<ArrayLike<number>[]> {
  const random = createRandom(5);
  const pack = (format: typeof int8 | typeof int4 | typeof ternary, rows: number, cols: number, options = {}) =>
    format.pack(denseMatrix(random, rows, cols), { rows, cols, ...options } as never);
  const bias = (count: number) => Int32Array.from({ length: count }, () => random.integer(-900, 900));
  const [a, b, c, d] = [codes(2 ** -6, 128), codes(2 ** -4, 60), codes(2 ** -4, 3), codes(2 ** -3, 100)];
  const same = { kernel: 3, padding: 'same' } as const;
  const layers: Layer<DType>[] = [
    await runtime.conv2d(pack(int8, 13, 27), { ...same, input: a, output: b, bias: bias(13), activation: 'relu6' }),
    await runtime.conv2d(pack(int8, 13, 9, { symmetric: false }), { ...same, groups: 13, input: b, output: c }),
    await runtime.conv2d(pack(int4, 22, 13, { groupSize: 13 }), { kernel: 1, input: c, output: b, bias: bias(22) }),
    await runtime.conv2d(pack(ternary, 7, 22 * 9), { ...same, stride: 2, input: b, output: d }),
    await runtime.linear(pack(int8, 10, 7 * 5 * 4), { input: d, output: 'int32', bias: bias(10) }),
  ];
  const outputs: ArrayLike<number>[] = [];
  let tensor = runtime.tensor(x, [2, 9, 8, 3]) as Parameters<(typeof layers)[0]['run']>[0];
  for (const [i, layer] of layers.entries()) {
    const next = await layer.run(tensor, i === 4 ? [2, 140] : undefined);
    (tensor as { free(): void }).free();
    outputs.push(await next.data());
    tensor = next;
  }
  (tensor as { free(): void }).free();
  for (const layer of layers) layer.free();
  return outputs;
}

if (requireCapability('WebGPU', reason === '', reason) && typeof opened !== 'string') {
  const { gpu } = opened;
  const runtimes = [
    await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] }),
    await createRuntime({ cache: false, tune: 'off', backends: ['webgpu'], gpu }),
  ] as const;

  for (const [name, weights] of [
    ['fashion_float', 'dense'],
    ['fashion_pruned90', 'auto'],
    ['fashion_student', 'auto'],
  ] as const) {
    test(`${name}, ${weights} weights`, async () => {
      const bytes = await readFixture(`models/${name}.onnx`);
      const { images } = await readFashion(IMAGES);
      const answers: Float32Array[] = [];
      for (const runtime of runtimes) {
        const how = weights === 'auto' ? 'auto' : ({ '*': { format: weights } } as const);
        const model = await loadOnnx(runtime, bytes, { weights: how, memory: 'packed' });
        const [input] = model.inputs;
        const { shape } = input;
        const dims = [IMAGES, ...shape.slice(1).map(Number)];
        const outputs = await model.run({ [input.name]: { data: images, shape: dims } });
        answers.push(Object.values(outputs)[0].data as Float32Array);
        model.free();
      }
      const [wasm, webgpu] = answers;
      assert.is(wasm.length, 10 * IMAGES);
      const largest = Math.max(...wasm.map(Math.abs));
      for (let i = 0; i < wasm.length; i++) {
        assert.ok(Math.abs(wasm[i] - webgpu[i]) <= TOLERANCE * largest, `[${i}] ${wasm[i]} and ${webgpu[i]}`);
      }
    });
  }

  test('a chain of layers with static quantisation, every layer to the last bit', async () => {
    const x = normals(createRandom(4), 2 * 9 * 8 * 3);
    const [wasm, webgpu] = [await chain(runtimes[0], x), await chain(runtimes[1], x)];
    for (const [i, data] of wasm.entries()) {
      assert.equal(webgpu[i], data, `layer ${i}`);
      assert.ok(new Set(Array.from(data)).size > 5, `the outputs of layer ${i} vary`);
    }
  });

  for (const form of ['qdq', 'qoperator'] as const) {
    test(`fashion_student quantised, ${form}: every logit to the last bit`, async () => {
      const float = await readFixture('models/fashion_student.onnx');
      const { images } = await readFashion(40);
      const ranges = await calibrate(runtimes[0], float, [{ image: images }]);
      const bytes = quantizeModel(float, ranges, form);
      const answers: Float32Array[] = [];
      for (const runtime of runtimes) {
        const model = await loadOnnx(runtime, bytes);
        const [output] = Object.values(await model.run({ image: images.subarray(0, IMAGES * 784) }));
        answers.push(output.data as Float32Array);
        const integers = model.explain().filter(({ format }) => format === 'int8');
        assert.ok(integers.length > 2, 'layers of int8');
        model.free();
      }
      assert.equal(answers[1], answers[0]);
      assert.ok(new Set(answers[0]).size > 5, 'logits vary');
    });
  }

  const HALVES = /_f16$|_matrix$/;

  test('activations are rounded to halves only where the caller allows it', async () => {
    const [rows, cols, batch] = [40, 96, 70];
    const random = createRandom(12);
    const w = f16.pack(denseMatrix(random, rows, cols), { rows, cols });
    const x = normals(random, batch * cols);
    for (const runtime of runtimes) {
      for (const arithmetic of ['f32', 'f16', undefined] as const) {
        const layer = await runtime.linear(w, { arithmetic });
        const candidates = layer.explain([batch, cols]);
        const halves = candidates.filter(({ variant }) => HALVES.test(variant));
        assert.is(halves.length > 0, runtime === runtimes[1]);
        const { features } = runtime.backends[0].device;
        const able = halves.filter(({ predictedMs }) => predictedMs < Infinity);
        assert.is(able.length > 0, arithmetic === 'f16' && features.has('shader-f16'));
        const y = await layer.run(x, [batch, cols]);
        const options = arithmetic && { arithmetic };
        const problem = linearProblem(weightFacts(w), w, batch, { ...options });
        assert.is(problem.arithmetic, arithmetic === 'f16' ? 'f16' : undefined);
        const expected = referenceMatmul(w, problem, x);
        for (const [i, value] of (await y.data()).entries()) {
          const bound = errorBound(problem, expected.magnitude[i], expected.vanishing?.[i]);
          assert.ok(Math.abs(value - expected.y[i]) <= bound, `${arithmetic} [${i}] ${value}, not ${expected.y[i]}`);
        }
        y.free();
        layer.free();
      }
      const wrong = await runtime.linear(w, { arithmetic: 'bf16' as 'f16' }).catch((error) => error);
      assert.is(wrong.code, 'bad-argument');
      assert.is(wrong.place, 'linear.arithmetic');
    }
  });

  test('a model passes the arithmetic on to its layers', async () => {
    const bytes = await readFixture('models/fashion_float.onnx');
    const { images } = await readFashion(1);
    const weights = { '*': { format: 'f16' } } as const;
    for (const runtime of runtimes) {
      const able = runtime.backends[0].device.features.has('shader-f16');
      const answers: Float32Array[] = [];
      for (const arithmetic of ['f32', 'f16'] as const) {
        const model = await loadOnnx(runtime, bytes, { weights, memory: 'packed', arithmetic });
        const [output] = Object.values(await model.run({ [model.inputs[0].name]: images }));
        answers.push(output.data as Float32Array);
        const halves = model.explain().filter(({ variant }) => HALVES.test(variant ?? ''));
        assert.is(halves.length > 0, able && arithmetic === 'f16');
        model.free();
      }
      const largest = Math.max(...answers[0].map(Math.abs));
      for (const [i, value] of answers[1].entries()) assert.ok(Math.abs(value - answers[0][i]) <= 2 ** -7 * largest);
      const wrong = await loadOnnx(runtime, bytes, { arithmetic: 'f64' as 'f16' }).catch((error) => error);
      assert.is(wrong.place, 'model.arithmetic');
    }
  });

  /** Counts pipelines that are being compiled while `work` runs: all of them, and the most at a time. */
  const compiled = async (work: () => Promise<unknown>): Promise<{ all: number; most: number }> => {
    const real = gpu.createComputePipelineAsync;
    let [all, now, most] = [0, 0, 0];
    gpu.createComputePipelineAsync = async (descriptor) => {
      all++;
      most = Math.max(most, ++now);
      try {
        return await real.call(gpu, descriptor);
      } finally {
        now--;
      }
    };
    try {
      await work();
    } finally {
      gpu.createComputePipelineAsync = real;
    }
    return { all, most };
  };

  test('a layer that was prepared compiles and packs nothing when it runs', async () => {
    for (const runtime of runtimes) {
      const w = int8.pack(denseMatrix(createRandom(8), 11, 29), { rows: 11, cols: 29 });
      const input = codes(2 ** -5, 7);
      const layer = await runtime.linear(w, { input, activation: 'relu6' });
      assert.is(layer.bytes, 0);
      const onGpu = runtime === runtimes[1];
      const ahead = await compiled(() => layer.prepare([5, 29], 'uint8'));
      if (onGpu) assert.ok(ahead.all > 0);
      const { bytes } = layer;
      assert.ok(bytes > 0);
      const x = new Uint8Array(5 * 29).fill(9);
      const later = await compiled(async () => (await layer.run(x)).free());
      assert.is(later.all, 0);
      assert.is(layer.bytes, bytes);
      const errors = [
        await layer.prepare([5, 28]).catch((error) => error),
        await layer.prepare([5, 29], 'int8').catch((error) => error),
      ];
      assert.equal(
        errors.map(({ code }) => code),
        ['bad-shape', 'bad-argument'],
      );
      layer.free();
      assert.is((await layer.prepare([5, 29]).catch((error) => error)).code, 'disposed');
    }
  });

  test("a model's kernels are compiled side by side when it is made, and none when it runs", async () => {
    const bytes = await readFixture('models/fashion_student.onnx');
    const { images } = await readFashion(1);
    // Another form than before, so that nothing is there already.
    let model: Awaited<ReturnType<typeof loadOnnx>> | undefined;
    const made = await compiled(async () => {
      model = await loadOnnx(runtimes[1], bytes, {
        weights: { '*': { format: 'codebook' } },
        memory: 'packed',
      });
    });
    const run = await compiled(() => model!.run({ [model!.inputs[0].name]: images }));
    model!.free();
    assert.ok(made.most > 1 && made.most === made.all, `${made.most} of ${made.all} at a time`);
    assert.is(run.all, 0);
  });

  test.after(() => {
    for (const runtime of runtimes) runtime.free();
    gpu.destroy();
  });
} else {
  test.skip();
}
test.run();
