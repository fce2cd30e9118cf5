// What callers do with GPU devices and buffers of their own, and what happens when a device is lost.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Graph } from '../src/graph/ir.js';
import { Model } from '../src/graph/model.js';
import { createRuntime, csr, dense, type Runtime, type Tensor, ThinferError } from '../src/index.js';
import { createWebgpuBackend } from '../src/webgpu/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, denseMatrix, normals, sparseMatrix } from './support/random.js';

const STORAGE = 0x80;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const MAP_READ = 0x1;

const rows = 9;
const cols = 40;
const values = denseMatrix(createRandom(1), rows, cols);
const weights = dense.pack(values, { rows, cols });
const x = normals(createRandom(2), 3 * cols);

/** The answer, by plain loops. */
const expected = Array.from({ length: 3 * rows }, (_, i) => {
  let sum = 0;
  for (let k = 0; k < cols; k++) sum += x[Math.floor(i / rows) * cols + k] * values[(i % rows) * cols + k];
  return sum;
});

function near(y: ArrayLike<number>, want: ArrayLike<number> = expected): void {
  assert.is(y.length, want.length);
  for (let i = 0; i < want.length; i++) assert.ok(Math.abs(y[i] - want[i]) < 1e-4, `[${i}] ${y[i]}, not ${want[i]}`);
}

async function failure(work: () => unknown): Promise<ThinferError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, ThinferError);
    return error as ThinferError;
  }
  throw new Error('expected a ThinferError');
}

/** Warnings while `work` runs. */
async function warnings(work: () => Promise<void>): Promise<string[]> {
  const said: string[] = [];
  const { warn } = console;
  console.warn = (...text) => said.push(text.join(' '));
  try {
    await work();
  } finally {
    console.warn = warn;
  }
  return said;
}

const abort = suite('abort');

abort('a run whose signal is aborted is refused with its reason', async () => {
  const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'], wasm: { threads: 1 } });
  const layer = await runtime.linear(weights);
  const reason = new Error('not needed any more');
  const controller = new AbortController();
  near(await (await layer.run(x, undefined, { signal: controller.signal })).data());
  controller.abort(reason);
  const before = runtime.backends[0].memory.bytes;
  for (const signal of [controller.signal, AbortSignal.abort(reason)]) {
    let thrown: unknown;
    await layer.run(x, undefined, { signal }).catch((error) => {
      thrown = error;
    });
    assert.is(thrown, reason);
  }
  // Aborted once it runs: the result is freed.
  const late = new AbortController();
  const running = layer.run(x, undefined, { signal: late.signal });
  late.abort(reason);
  let thrown: unknown;
  await running.catch((error) => {
    thrown = error;
  });
  assert.is(thrown, reason);
  assert.is(runtime.backends[0].memory.bytes, before);
  runtime.free();
});

abort.run();

const output = suite('given outputs');

output('a result goes into a tensor that is there', async () => {
  const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'], wasm: { threads: 1 } });
  const layer = await runtime.linear(weights);
  const y = runtime.tensor(new Float32Array(3 * rows), [3, rows]);
  assert.is(await layer.run(x, undefined, { output: y }), y);
  near(await y.data());
  const wrong = runtime.tensor(new Float32Array(2 * rows), [2, rows]);
  const error = await failure(() => layer.run(x, undefined, { output: wrong }));
  assert.is(error.code, 'bad-shape');
  assert.match(error.message, /\[3, 9\].*\[2, 9\]/);
  runtime.free();
});

output.run();

const found = await createWebgpuBackend();
const reason = typeof found === 'string' ? found : '';
if (typeof found !== 'string') found.free();
const devices = suite('devices');

/** A GPU whose devices can be taken away. */
async function breakable(): Promise<{ gpu: GPU; devices: GPUDevice[]; refuse: boolean }> {
  const real = globalThis.navigator?.gpu ?? (await dawn());
  const made: GPUDevice[] = [];
  const state = { gpu: undefined as unknown as GPU, devices: made, refuse: false };
  const requestAdapter = async (options?: GPURequestAdapterOptions) => {
    const adapter = await real.requestAdapter(options);
    if (!adapter || state.refuse) return null;
    return {
      features: adapter.features,
      limits: adapter.limits,
      info: adapter.info,
      requestDevice: async (descriptor?: GPUDeviceDescriptor) => {
        const device = await adapter.requestDevice(descriptor);
        made.push(device);
        return device;
      },
    } as unknown as GPUAdapter;
  };
  state.gpu = { requestAdapter, wgslLanguageFeatures: real.wgslLanguageFeatures } as unknown as GPU;
  return state;
}

let entry: GPU | undefined;
async function dawn(): Promise<GPU> {
  const name = 'webgpu';
  entry ??= ((await import(name)) as { create(options: string[]): GPU }).create([
    'enable-dawn-features=disable_workgroup_init',
  ]);
  return entry;
}

if (requireCapability('WebGPU', reason === '', reason)) {
  devices('a lost device is opened again, and layers go on; said once', async () => {
    const broken = await breakable();
    const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['webgpu'], gpu: broken.gpu });
    const layers = [
      await runtime.linear(weights),
      await runtime.linear(csr.pack(sparseMatrix(createRandom(3), rows, cols, 0.3), { rows, cols })),
    ];
    const before = await Promise.all(layers.map(async (layer) => (await layer.run(x)).data()));
    near(before[0]);
    const said = await warnings(async () => {
      broken.devices[0].destroy();
      await broken.devices[0].lost;
      const after = await Promise.all(layers.map(async (layer) => (await layer.run(x)).data()));
      near(after[0], before[0]);
      near(after[1], before[1]);
    });
    assert.is(broken.devices.length, 2);
    assert.is(said.length, 1, said.join('\n'));
    assert.match(said[0], /lost and opened again/);
    const { bytes } = runtime.backends[0].memory;
    for (const layer of layers) layer.free();
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.ok(runtime.backends[0].memory.bytes < bytes);
    runtime.free();
  });

  devices('a tensor of a lost device is lost with it', async () => {
    const broken = await breakable();
    const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['webgpu'], gpu: broken.gpu });
    const layer = await runtime.linear(weights);
    const input = runtime.tensor(x, [3, cols]);
    broken.devices[0].destroy();
    await broken.devices[0].lost;
    await warnings(async () => {
      const error = await failure(() => layer.run(input));
      assert.is(error.code, 'device-lost');
    });
    runtime.free();
  });

  devices('a device that does not come back: WASM takes over, said once; alone it is an error', async () => {
    for (const backends of [['wasm', 'webgpu'], ['webgpu']] as const) {
      const broken = await breakable();
      const runtime = await createRuntime({
        cache: false,
        tune: 'off',
        backends,
        gpu: broken.gpu,
        wasm: { threads: 1 },
      });
      const gpu = runtime.backends.at(-1)!;
      // Predicted as the faster one, so that it is chosen.
      gpu.device.macsPerNs = 1e9;
      gpu.device.bytesPerNs = 1e9;
      gpu.device.runMs = 0;
      gpu.device.dispatchMs = 0;
      const layer = await runtime.linear(weights);
      const first = await layer.run(x);
      assert.ok(first.backend === gpu);
      broken.refuse = true;
      broken.devices[0].destroy();
      await broken.devices[0].lost;
      const said = await warnings(async () => {
        if (backends.length === 1) {
          assert.is((await failure(() => layer.run(x))).code, 'device-lost');
          return;
        }
        const second = await layer.run(x);
        assert.ok(second.backend === runtime.backends[0]);
        near(await second.data());
        near(await (await layer.run(x)).data());
      });
      assert.is(said.length, backends.length - 1, said.join('\n'));
      runtime.free();
    }
  });

  devices("a caller's device and buffers are used in place and never destroyed", async () => {
    const broken = await breakable();
    const adapter = (await broken.gpu.requestAdapter())!;
    const device = await adapter.requestDevice();
    const runtime: Runtime = await createRuntime({ cache: false, tune: 'off', backends: ['webgpu'], gpu: device });
    const layer = await runtime.linear(weights);
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const size = (bytes: number) => Math.ceil(bytes / 16) * 16;
    const from = device.createBuffer({ size: size(x.byteLength), usage });
    const to = device.createBuffer({ size: size(3 * rows * 4), usage });
    device.queue.writeBuffer(from, 0, x as Float32Array<ArrayBuffer>);
    const input = runtime.wrap(from, [3, cols]);
    const y: Tensor = runtime.wrap(to, [3, rows]);
    assert.is(y.buffer.gpu, to);
    await layer.run(input, undefined, { output: y });
    const readable = device.createBuffer({ size: to.size, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(to, 0, readable, 0, to.size);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(MAP_READ);
    near(new Float32Array(readable.getMappedRange().slice(0, 3 * rows * 4)));
    input.free();
    y.free();
    for (const [bad, shape] of [
      [device.createBuffer({ size: 16, usage }), [3, cols]],
      [device.createBuffer({ size: size(x.byteLength), usage: COPY_DST }), [3, cols]],
      [undefined as unknown as GPUBuffer, [1]],
    ] as const) {
      assert.is((await failure(() => runtime.wrap(bad, shape))).code, 'bad-argument');
    }
    runtime.free();
    // Alive: the device takes work, and the buffer still holds its floats.
    device.queue.writeBuffer(from, 0, x as Float32Array<ArrayBuffer>);
    device.pushErrorScope('validation');
    const again = device.createCommandEncoder();
    again.copyBufferToBuffer(from, 0, to, 0, 16);
    device.queue.submit([again.finish()]);
    assert.is(await device.popErrorScope(), null);
    device.destroy();
  });

  devices('models hand each other tensors that stay on the GPU, and give them to the caller', async () => {
    const runtime = await createRuntime({ cache: false, tune: 'off', wasm: { threads: 1 } });
    const gpu = runtime.backends.find(({ device }) => device.backend === 'webgpu')!;
    const graph: Graph = {
      inputs: [{ name: 'x', value: 0 }],
      outputs: [{ name: 'y', value: 1 }],
      values: new Map([0, 1].map((id) => [id, { id, name: 'xy'[id], shape: ['N', id === 0 ? cols : rows] }])),
      constants: new Map(),
      nodes: [{ op: 'linear', name: 'fc', inputs: [0], output: 1, weights, clamp: [0, 1] }],
    };
    const models = [await Model.create(runtime, graph), await Model.create(runtime, graph, { backend: 'webgpu' })];
    const input = runtime.tensor(x, [3, cols], 'webgpu');
    for (const model of models) {
      const { y } = await model.runToTensors({ x: input }, { backend: 'webgpu' });
      assert.is(y.backend, gpu);
      assert.ok(y.buffer.gpu);
      const clamped = expected.map((value) => Math.min(Math.max(value, 0), 1));
      near((await y.data()) as Float32Array, clamped);
      const { y: arrays } = await model.run({ x: input });
      near(arrays.data, clamped);
      y.free();
      model.free();
    }
    runtime.free();
  });

  devices('wrap needs WebGPU', async () => {
    const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'], wasm: { threads: 1 } });
    const error = await failure(() => runtime.wrap({} as GPUBuffer, [1]));
    assert.is(error.code, 'unsupported');
    runtime.free();
  });
}
devices.run();
