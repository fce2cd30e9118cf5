// Layers that run before they return, as kernels of other programs must.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRuntime, csr, dense, int8, type Runtime, type Tensor, ThinferError } from '../src/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, normals, sparseMatrix } from './support/random.js';
import { wasmUrl } from './support/wasm-url.js';

const ROWS = 70;
const COLS = 96;
const values = sparseMatrix(createRandom(1), ROWS, COLS, 0.3);
const WEIGHTS = [dense, csr, int8].map((format) => format.pack(values, { rows: ROWS, cols: COLS }));

const wasm = await createRuntime({ backends: ['wasm'], wasm: { threads: 3, url: wasmUrl }, tune: 'off', cache: false });

/** The same by `run`. */
async function expectedOf(runtime: Runtime, weights: (typeof WEIGHTS)[number], x: Tensor): Promise<Float32Array> {
  const layer = await runtime.linear(weights, { activation: 'relu' });
  const y = await layer.run(x);
  const data = await y.data();
  y.free();
  layer.free();
  return data;
}

const test = suite('layers without promises');

for (const weights of WEIGHTS) {
  test(`${weights.format} on threads: unprepared sizes too`, async () => {
    const [backend] = wasm.backends;
    const bytes = backend.memory.bytes;
    const layer = wasm.linearNow(weights, { activation: 'relu' });
    // More sizes than a layer keeps kernels for.
    for (let M = 1; M <= 20; M++) {
      const x = wasm.tensor(normals(createRandom(M), M * COLS), [M, COLS]);
      const y = wasm.tensor(new Float32Array(M * ROWS).fill(Number.NaN), [M, ROWS]);
      assert.ok(layer.runNow(x, x.shape, y));
      assert.equal(await y.data(), await expectedOf(wasm, weights, x));
      x.free();
      y.free();
    }
    layer.free();
    await 0;
    assert.is(backend.memory.bytes, bytes);
  });
}

test('what does not suit is refused', () => {
  const layer = wasm.linearNow(WEIGHTS[0]);
  const x = wasm.tensor(new Float32Array(2 * COLS), [2, COLS]);
  const y = wasm.tensor(new Float32Array(2 * ROWS), [2, ROWS]);
  const refused = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return assert.instance(error, ThinferError);
    }
    assert.unreachable();
  };
  refused(() => layer.runNow(x, [COLS, 2], y));
  refused(() => layer.runNow(x, x.shape, x));
  assert.equal(layer.outputShape([5, COLS]), [5, ROWS]);
  layer.free();
  refused(() => layer.runNow(x, x.shape, y));
  x.free();
  y.free();
});

test('while a pass waits for a thread nothing is done', async () => {
  const layer = wasm.linearNow(WEIGHTS[0], { activation: 'relu' });
  const M = 4000;
  const x = wasm.tensor(normals(createRandom(1), M * COLS), [M, COLS]);
  const small = wasm.tensor(normals(createRandom(2), COLS), [1, COLS]);
  const y = wasm.tensor(new Float32Array(ROWS), [1, ROWS]);
  await layer.prepare([M, COLS]);
  const pending = Promise.all(Array.from({ length: 20 }, () => layer.run(x)));
  // Whether the threads are late or not: it is done and right, or it was left alone.
  const done = layer.runNow(small, small.shape, y);
  const data = await y.data();
  if (done) assert.equal(data, await expectedOf(wasm, WEIGHTS[0], small));
  else assert.equal(data, new Float32Array(ROWS));
  for (const result of await pending) result.free();
  assert.ok(layer.runNow(small, small.shape, y));
  assert.equal(await y.data(), await expectedOf(wasm, WEIGHTS[0], small));
  for (const tensor of [x, small, y]) tensor.free();
  layer.free();
});

/** `navigator.gpu`, or Dawn in Node. It outlives its devices. */
async function findGpu(): Promise<GPU> {
  if (globalThis.navigator?.gpu) return globalThis.navigator.gpu;
  const name = 'webgpu';
  const { create } = (await import(name)) as { create(options: string[]): GPU };
  return create(['enable-dawn-features=disable_workgroup_init']);
}

let why = 'no adapter';
const entry = await findGpu().catch((error) => {
  why = String(error);
  return undefined;
});
const device = await (await entry?.requestAdapter())?.requestDevice();
if (requireCapability('webgpu', device !== undefined, why) && device) {
  const { queue } = device;
  const own = device;
  const gpu = await createRuntime({ backends: ['webgpu'], gpu: own, tune: 'off', cache: false });
  for (const weights of WEIGHTS) {
    test(`${weights.format} encoded into a caller's pass`, async () => {
      const x = gpu.tensor(normals(createRandom(4), 5 * COLS), [5, COLS]);
      const expected = await expectedOf(gpu, weights, x);
      for (const prepared of [false, true]) {
        const layer = gpu.linearNow(weights, { activation: 'relu' });
        if (prepared) await layer.prepare(x.shape);
        const y = gpu.tensor(new Float32Array(5 * ROWS), [5, ROWS]);
        const encoder = own.createCommandEncoder();
        const pass = encoder.beginComputePass();
        assert.ok(layer.runNow(x, x.shape, y, pass));
        pass.end();
        queue.submit([encoder.finish()]);
        assert.equal(await y.data(), expected);
        y.free();
        layer.free();
      }
      x.free();
    });
  }
}

test('all of it is given back', () => {
  assert.is(wasm.backends[0].memory.bytes, 0);
  wasm.free();
  // Held until here.
  assert.ok(entry !== null);
});

test.run();
