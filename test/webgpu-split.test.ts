// Weights larger than what a device binds of one buffer: layers run in parts of their output channels.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatName } from '../src/formats/format.js';
import type { MatmulProblem } from '../src/plan/problem.js';
import type { Device } from '../src/plan/variant.js';
import { WebgpuBackend } from '../src/webgpu/backend.js';
import { openDevice } from '../src/webgpu/device.js';
import { requireCapability } from './support/capability.js';
import { type MatmulSpec, matmulCase } from './support/cases.js';

/** Bytes that the device is said to bind: far less than it does. */
const LIMIT = 32768;

const common = { activations: 'normal', activation: 'relu', bias: true, seed: 7 } as const;
const linear: [format: FormatName, weights: string, K: number][] = [
  ['dense', 'random', 127],
  ['int8', 'zero points', 401],
  ['int4', 'zero points', 700],
  ['int2', 'whole rows', 700],
  ['codebook', '256', 401],
  ['codebook', '16, int8', 700],
  ['ternary', 'random', 700],
];
/** Sparse weights, whose parts begin where their rows do. */
const sparse: [format: FormatName, weights: string, shape: [M: number, N: number, K: number]][] = [
  ['csr', 'random', [3, 300, 100]],
  ['csr', 'empty rows', [5, 333, 101]],
  ['bcsr', 'random', [3, 602, 23]],
  ['nm', 'random', [3, 300, 127]],
  ['csrCodebook', 'random', [3, 300, 100]],
  ['csrCodebook', '256', [3, 900, 99]],
  ['csrInt8', 'random', [3, 300, 200]],
  ['csrInt8', 'blocks of 4', [3, 300, 399]],
];
const specs: [FormatName, MatmulSpec][] = [
  ...linear.map(([format, weights, K]): [FormatName, MatmulSpec] => [
    format,
    { ...common, weights, linear: [3, 300, K] },
  ]),
  [
    'xnor',
    {
      ...common,
      weights: 'random',
      conv: { image: [1, 4, 5], channels: 97, outputs: 300, kernel: 3, padding: 'same' },
    },
  ],
];

const test = suite('webgpu, weights in parts');
const opened = await openDevice({});
const reason = typeof opened === 'string' ? opened : '';

if (requireCapability('WebGPU', reason === '', reason) && typeof opened !== 'string') {
  const { gpu } = opened;
  const facts: Device = { ...opened.facts, limits: { ...opened.facts.limits, maxStorageBufferBindingSize: LIMIT } };
  const backend = new WebgpuBackend({ ...opened, facts }, async () => 'not opened again');
  let largest = 0;
  const createBindGroup = gpu.createBindGroup.bind(gpu);
  gpu.createBindGroup = (descriptor) => {
    for (const { resource } of descriptor.entries)
      largest = Math.max(largest, (resource as GPUBufferBinding).size ?? 0);
    return createBindGroup(descriptor);
  };

  const run = async (name: string, format: FormatName, spec: MatmulSpec): Promise<number> => {
    const { problem, weights, bias, inputs, expected, bound } = matmulCase(format, spec);
    const variant = backend.variants.find(
      (row) => row.name.includes(name) && row.format === format && able(row, problem),
    );
    assert.ok(variant, `a row of ${name} for ${format} ${spec.weights}`);
    const operands = backend.pack(variant, problem as MatmulProblem, weights!, bias);
    const kernel = await backend.prepare(variant, problem, operands);
    const [input, output] = [inputs[0].byteLength, expected.length * 4].map((size) =>
      backend.createBuffer(size, 'test'),
    );
    backend.write(input, inputs[0]);
    const pass = backend.beginPass();
    pass.run(kernel, [input], output);
    await pass.submit();
    const y = await backend.read(output, expected.length);
    const wrong = expected.length - Array.from(y).filter((v, i) => Math.abs(v - expected[i]) <= bound(i)).length;
    assert.is(wrong, 0, `${variant.name}: wrong outputs of ${expected.length}`);
    kernel.free();
    operands.free();
    backend.freeBuffer(input);
    backend.freeBuffer(output);
    return kernel.dispatches.filter(({ label }) => label === variant.name).length;
  };
  const able = (row: (typeof backend.variants)[number], problem: ReturnType<typeof matmulCase>['problem']) =>
    (row.requires ?? []).every((feature) => facts.features.has(feature)) &&
    row.supports?.(problem as never, facts) === true;

  for (const [format, spec] of specs) {
    test(`${format}, ${spec.weights}`, async () => {
      for (const walk of format === 'int4'
        ? ['gemm_32x32', 'gemv_1x4_dot4', 'gemv_1x4_wgsl', 'direct']
        : ['gemm_32x32']) {
        largest = 0;
        const parts = await run(walk, format, spec);
        assert.ok(parts > 1, `${parts} dispatch`);
        assert.ok(largest <= LIMIT, `bound ${largest} bytes`);
      }
    });
  }

  for (const [format, weights, shape] of sparse) {
    test(`${format}, ${weights}`, async () => {
      for (const walk of ['spmm_256x1', 'spmm_64x1', 'gemv_1x4']) {
        largest = 0;
        const parts = await run(walk, format, { ...common, weights, linear: shape });
        assert.ok(parts > 1, `${parts} dispatch`);
        assert.ok(largest <= LIMIT, `bound ${largest} bytes`);
      }
    });
  }

  test('a convolution with sparse weights', async () => {
    const image: [number, number, number] = [1, 5, 6];
    const conv = { image, channels: 11, outputs: 257, kernel: 3, padding: 'same' } as const;
    const spec: MatmulSpec = { ...common, weights: 'random', conv };
    for (const walk of ['spmm_64x1', 'gemv_1x4']) assert.ok((await run(walk, 'csr', spec)) > 1);
  });

  test('refuses what no part of is small enough', () => {
    const spec: MatmulSpec = { ...common, weights: 'random', linear: [1, 65, 5000] };
    const { problem } = matmulCase('dense', spec);
    const rows = backend.variants.filter(({ format }) => format === 'dense');
    for (const row of rows) assert.match(String(row.supports?.(problem as never, facts)), /binds at most/);
    // 64 rows of it need not fit, whatever these hold.
    const wide = matmulCase('csr', { ...common, weights: 'random', linear: [1, 65, 500] }).problem;
    for (const row of backend.variants.filter(({ format }) => format === 'csr')) {
      assert.match(String(row.supports?.(wide as never, facts)), /binds at most/);
    }
  });

  test.after(() => backend.free());
} else {
  test.skip();
}
test.run();
