// Every row of every table against the oracles: backend x module x format x edge shape. Rows come from the tables,
// so that a new kernel is tested by being there.

import sdotBase64 from 'thinfer:wasm/a-sdot';
import usdotBase64 from 'thinfer:wasm/a-usdot';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from '../src/backend.js';
import { asData, byteLength, type DType, type TensorData } from '../src/dtype.js';
import type { FormatName } from '../src/formats/format.js';
import { referenceActivation, referencePool } from '../src/graph/reference.js';
import { windowGeometry } from '../src/layers/geometry.js';
import { type ActivationProblem, elementTypes, isMatmul, type Problem } from '../src/plan/problem.js';
import * as plan from '../src/plan/select.js';
import type { VariantBase } from '../src/plan/variant.js';
import { createWasmBackend, probeEngine, type WasmOptions } from '../src/wasm/index.js';
import { createWebgpuBackend } from '../src/webgpu/index.js';
import { requireCapability } from './support/capability.js';
import {
  activationsOf,
  type Case,
  dtypesOf,
  hasHalves,
  type MatmulSpec,
  makersOf,
  matmulCase,
  matmulSpecs,
  weightlessSpecs,
} from './support/cases.js';
import { wasmUrl } from './support/wasm-url.js';

/** Elements after an operand that no kernel may write, and that no output may depend on. */
const GUARD = 96;
const RANDOM_SEED = 20250;
/** Random problems a row. */
const RANDOM_RUNS = 60;
/**
 * On WebGPU each problem has shaders of its own, and a software adapter takes up to seconds to compile one. So a row
 * gets this much time for its cases, by what its first case took, and a tenth of it for its random problems; --all
 * runs them all. Node and browser begin at different cases.
 */
const ROW_MS = 230;
const FEWEST_CASES = 3;
const FEWEST_RANDOM = 1;

/** What elements hold that nobody wrote: NaN, and integers that are no likely answer. */
const poisonOf = (dtype: DType): number => (dtype === 'float32' ? 0xff : 0xab);

/** `length` elements and as many as GUARD after them, as bytes. */
function poisoned(dtype: DType, length: number, data?: TensorData): Uint8Array {
  const bytes = new Uint8Array(byteLength(dtype, length + GUARD)).fill(poisonOf(dtype));
  if (data) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return bytes;
}

/** Runs one row on one case; the first wrong element in words, or undefined. */
async function mistake(backend: Backend, variant: VariantBase, c: Case): Promise<string | undefined> {
  const { problem, weights, bias, inputs, expected, bound } = c;
  const operands = weights && isMatmul(problem) ? backend.pack(variant, problem, weights, bias) : undefined;
  const kernel = await backend.prepare(variant, problem, operands);
  const { inputs: types, output } = elementTypes(problem);
  const [poison] = asData(output, new Uint8Array(4).fill(poisonOf(output)).buffer);
  const contents = [...inputs.map((x, i) => poisoned(types[i], x.length, x)), poisoned(output, expected.length)];
  const buffers = contents.map((data, i) => {
    const buffer = backend.createBuffer(data.byteLength, `test ${i}`);
    backend.write(buffer, data);
    return buffer;
  });
  try {
    const pass = backend.beginPass();
    pass.run(kernel, buffers.slice(0, -1), buffers.at(-1)!);
    await pass.submit();
    const y: TensorData = await backend.read(buffers.at(-1)!, expected.length + GUARD, output);
    // Not > bound, so that NaN is a mistake, unless it is expected: there nothing is to be written.
    const right = (i: number) =>
      Math.abs(y[i] - expected[i]) <= bound(i) || (Number.isNaN(expected[i]) && Number.isNaN(y[i]));
    for (let i = 0; i < expected.length; i++) {
      if (!right(i)) {
        const wrong = Array.from({ length: expected.length }, (_, j) => j).filter((j) => !right(j));
        const what = Number.isNaN(y[i]) ? 'NaN (or not written)' : y[i];
        return `[${i}] = ${what}, expected ${expected[i]} within ${bound(i)}; ${wrong.length} of ${expected.length} are wrong`;
      }
    }
    const beyond = Array.from(y.subarray(expected.length)).findIndex((value) => !Object.is(value, poison));
    return beyond < 0 ? undefined : `wrote ${y[expected.length + beyond]} at ${beyond} beyond the output's end`;
  } finally {
    kernel.free();
    operands?.free();
    for (const buffer of buffers) backend.freeBuffer(buffer);
  }
}

/** Why a row cannot run a problem here, or undefined when it can. */
function refusal(backend: Backend, variant: VariantBase, problem: Problem): string | undefined {
  return plan.refusal(variant, problem, backend.device);
}

/** Random problems with weights made in one of these ways, small enough to shrink quickly. */
function anySpec(format: FormatName, makers: readonly string[]): fc.Arbitrary<MatmulSpec> {
  const made = makers.flatMap((weights) => [
    { weights },
    ...dtypesOf(format, weights).map((dtypes) => ({ weights, dtypes })),
    ...(hasHalves(format) ? [{ weights, arithmetic: 'f16' as const }] : []),
  ]);
  const shape = fc.record({
    seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    made: fc.constantFrom(...made),
    activations: fc.constantFrom('normal' as const, 'extremes' as const),
    bias: fc.boolean(),
    activation: fc.constantFrom(...activationsOf),
  });
  const size = (max: number) => fc.integer({ min: 1, max });
  const linear = fc.record({ linear: fc.tuple(size(70), size(70), size(150)) });
  const padding = fc.tuple(...([2, 2, 2, 2] as const).map((max) => fc.integer({ min: 0, max })));
  const conv = fc
    .record({
      image: fc.tuple(size(2), size(9), size(9)),
      kernel: fc.tuple(size(3), size(3)),
      stride: fc.tuple(size(3), size(3)),
      dilation: fc.tuple(size(2), size(2)),
      padding: fc.oneof(
        fc.constantFrom('same' as const, 'sameLower' as const),
        padding as fc.Arbitrary<[number, number, number, number]>,
      ),
      // The second is a depthwise convolution, for which some rows are.
      grouping: fc.oneof(
        fc.record({ groups: size(4), groupChannels: size(40), groupOutputs: size(20) }),
        fc.record({ groups: size(70), groupChannels: fc.constant(1), groupOutputs: fc.constant(1) }),
      ),
      binaryPadding: fc.constantFrom('zero' as const, 'one' as const),
    })
    .filter(({ image, kernel, dilation, padding: pad }) =>
      [0, 1].every((side) => {
        const padded = image[side + 1] + (typeof pad === 'string' ? 0 : pad[side] + pad[side + 2]);
        return typeof pad === 'string' || (kernel[side] - 1) * dilation[side] + 1 <= padded;
      }),
    )
    .map(({ grouping: { groups, groupChannels, groupOutputs }, ...conv }) => ({
      conv: { ...conv, groups, channels: groupChannels * groups, outputs: groupOutputs * groups },
    }));
  return fc
    .tuple(shape, fc.oneof(linear, conv))
    .map(([{ made: how, ...common }, size]) => ({ ...common, ...how, ...size }));
}

/** Throws an error whose message says it all: uvu prints the stack behind it, which repeats the message. */
function withoutStack(error: Error): never {
  error.stack = error.name;
  throw error;
}

/** In an order whose every beginning is spread over the whole list. */
function spread<T>(list: readonly T[], start: number): T[] {
  const golden = (Math.sqrt(5) - 1) / 2;
  return list
    .map((item, i) => ({ item, at: ((i + 1) * golden + start) % 1 }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const START = typeof process === 'object' && process.versions?.node ? 0 : 0.5;

/** How many of `count` cases fit into `budget` milliseconds, when one takes `ms`; `fewest` in any case. */
function casesWithin(budget: number, ms: number, count: number, fewest: number): number {
  return process.env.TEST_ALL ? count : Math.min(count, Math.max(fewest, Math.floor(budget / ms)));
}

/** Milliseconds that the first case of a row took, by the row's name. */
const firstMs = new Map<string, number>();

interface Titled {
  title: string;
  /** What goes in and comes out. */
  kind?: string;
  make(): Case;
}

/** What a row is for, in kinds that are kernels of their own. */
function kindOf({ dtypes }: MatmulSpec): string {
  if (!dtypes) return 'floats';
  return dtypes.output === 'float32' ? 'integers in' : 'integers out';
}

/** One of each kind first, else in their order. */
function oneOfEach(list: readonly Titled[]): Titled[] {
  const kinds = new Set(list.map(({ kind }) => kind));
  const first = [...kinds].map((wanted) => list.find(({ kind }) => kind === wanted)!);
  return [...first, ...list.filter((item) => !first.includes(item))];
}

function casesOf(variant: VariantBase): Titled[] {
  const { format, ops } = variant;
  if (!format) {
    return weightlessSpecs()
      .filter(({ op }) => (ops as readonly string[]).includes(op))
      .map(({ name, make }) => ({ title: name, make }));
  }
  return matmulSpecs(format).map((spec) => ({
    title: JSON.stringify(spec),
    kind: kindOf(spec),
    make: () => matmulCase(format, spec),
  }));
}

/** Checks one row on every case that it supports. */
async function checkRow(backend: Backend, variant: VariantBase): Promise<void> {
  const onGpu = backend.device.backend === 'webgpu';
  const waiting = casesOf(variant).filter(({ make }) => refusal(backend, variant, make().problem) === undefined);
  assert.ok(waiting.length > 0, `no case is for ${variant.name}`);
  if (onGpu) waiting.splice(0, waiting.length, ...oneOfEach(spread(waiting, START)));
  const mistakes: string[] = [];
  const all = waiting.length;
  let ran = 0;
  const check = async ({ title, make }: Titled) => {
    ran++;
    try {
      const found = await mistake(backend, variant, make());
      if (found) mistakes.push(`${title}: ${found}`);
    } catch (error) {
      mistakes.push(`${title}: threw ${error}`);
    }
  };
  if (onGpu) {
    const start = performance.now();
    await check(waiting.shift()!);
    const ms = performance.now() - start;
    firstMs.set(variant.name, ms);
    waiting.length = casesWithin(ROW_MS, ms, all, FEWEST_CASES) - 1;
    if (ran + waiting.length < all) {
      console.log(`${variant.name}: ${ran + waiting.length} of ${all} cases, one takes ${ms.toFixed(0)} ms here`);
    }
  }
  // Two at a time on the GPU: one compiles while another runs.
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await check(next);
  };
  await Promise.all(onGpu ? [work(), work()] : [work()]);
  if (mistakes.length > 0) {
    const shown = mistakes.slice(0, 6).join('\n      ');
    const error = new Error(
      `${variant.name} on ${backend.device.label}: ${mistakes.length} of ${ran} cases are wrong\n      ${shown}`,
    );
    withoutStack(error);
  }
}

/** Checks one row on random problems; a failure is shrunk. */
async function checkRandom(backend: Backend, variant: VariantBase, format: FormatName): Promise<void> {
  // Where a row is for some kinds of weights only, others would all be refused.
  const specs = matmulSpecs(format).filter((spec) => !refusal(backend, variant, matmulCase(format, spec).problem));
  const makers = makersOf(format).filter((name) => specs.some(({ weights }) => weights === name));
  assert.ok(makers.length > 0, `no case is for ${variant.name}`);
  const property = fc.asyncProperty(anySpec(format, makers), async (spec) => {
    const c = matmulCase(format, spec);
    fc.pre(refusal(backend, variant, c.problem) === undefined);
    const found = await mistake(backend, variant, c);
    if (found) throw new Error(`${variant.name} on ${backend.device.label}: ${JSON.stringify(spec)}: ${found}`);
  });
  const ms = firstMs.get(variant.name) ?? 0;
  await fc
    .assert(property, {
      seed: RANDOM_SEED + START,
      numRuns: casesWithin(ROW_MS / 10, ms, RANDOM_RUNS, FEWEST_RANDOM),
      maxSkipsPerRun: 20,
      includeErrorInReport: true,
    })
    .catch(withoutStack);
}

/** 200 runs, and everything made for them freed: memory is as before. */
async function checkLeaks(backend: Backend, variant: VariantBase, format: FormatName): Promise<void> {
  const spec = matmulSpecs(format).find(
    (candidate) => refusal(backend, variant, matmulCase(format, candidate).problem) === undefined,
  );
  assert.ok(spec, `no case is for ${variant.name}`);
  const c = matmulCase(format, spec);
  const before = backend.memory.bytes;
  const operands = backend.pack(variant, c.problem, c.weights!, c.bias);
  const kernel = await backend.prepare(variant, c.problem, operands);
  const input = backend.createBuffer(c.inputs[0].byteLength, 'input');
  const output = backend.createBuffer(c.expected.length * 4, 'output');
  backend.write(input, c.inputs[0]);
  let during = 0;
  for (let run = 0; run < 200; run++) {
    const pass = backend.beginPass();
    pass.run(kernel, [input], output);
    await pass.submit();
    if (run === 0) during = backend.memory.bytes;
  }
  assert.is(backend.memory.bytes, during, `bytes after 200 runs of ${variant.name} and after one`);
  kernel.free();
  operands.free();
  backend.freeBuffer(input);
  backend.freeBuffer(output);
  assert.is(backend.memory.bytes, before, `bytes after all of ${variant.name} is freed`);
}

/** Kernels in one pass see each other's output, also when one was prepared before another needed more scratch. */
async function checkChain(backend: Backend): Promise<void> {
  const row = (spec: MatmulSpec, format: FormatName) => {
    const c = matmulCase(format, spec);
    const variant = backend.variants.find((v) => v.format === format && refusal(backend, v, c.problem) === undefined)!;
    return { c, variant };
  };
  const common = { activations: 'normal', activation: 'none', bias: true, seed: 1 } as const;
  const first = row({ ...common, weights: 'random', linear: [5, 40, 9] }, 'dense');
  const second = row({ ...common, weights: 'random', linear: [5, 300, 40] }, 'int8');
  const steps = [];
  for (const { c, variant } of [first, second]) {
    const operands = backend.pack(variant, c.problem, c.weights!, c.bias);
    steps.push({ operands, kernel: await backend.prepare(variant, c.problem, operands) });
  }
  const buffers = [first.c.inputs[0].length, first.c.expected.length, second.c.expected.length].map((length, i) =>
    backend.createBuffer(length * 4, `chain ${i}`),
  );
  backend.write(buffers[0], first.c.inputs[0]);
  const outputs: Float32Array[] = [];
  for (const passes of [1, 2]) {
    let pass = backend.beginPass();
    pass.run(steps[0].kernel, [buffers[0]], buffers[1]);
    if (passes === 2) {
      await pass.submit();
      pass = backend.beginPass();
    }
    pass.run(steps[1].kernel, [buffers[1]], buffers[2]);
    await pass.submit();
    outputs.push(await backend.read(buffers[2], second.c.expected.length));
  }
  assert.ok(outputs[0].some((value) => value !== 0));
  assert.equal(outputs[0], outputs[1]);
  for (const { operands, kernel } of steps) {
    kernel.free();
    operands.free();
  }
  for (const buffer of buffers) backend.freeBuffer(buffer);
}

/** Names of rows that ran somewhere, and why others did not. */
const reached = new Set<string>();
const lacking = new Map<string, string>();

/** Why a backend can't run a row, if it can't. */
function lackOf(variant: VariantBase, { device }: Backend): string | undefined {
  const missing = (variant.requires ?? []).filter((feature) => !device.features.has(feature));
  const lack = missing.length > 0 ? `no ${missing.join(', ')}` : variant.obstacle?.(device);
  if (lack) lacking.set(`${device.backend} ${variant.name}`, `${device.label}: ${lack}`);
  return lack;
}

/** Numbers that are not finite, which WebGPU promises nothing about. */
async function checkSpecials(backend: Backend): Promise<void> {
  const channels = 21;
  const window = windowGeometry({ kernel: 2 }, [1, 3, 3], 'test');
  const pooled: Problem = { op: 'maxPool2d', channels, window, countIncludePad: false };
  const x = Float32Array.from(
    { length: 9 * channels },
    (_, i) => [i, NaN, Infinity, -Infinity][i % 7 === 3 ? i % 4 : 0],
  );
  const cases: Case[] = [
    { problem: pooled, inputs: [x], expected: referencePool(pooled, x), bound: () => 0 },
    ...(['exp', 'sigmoid', 'tanh', 'sqrt', undefined] as const).map((nonlinearity): Case => {
      const problem: ActivationProblem = { op: 'activation', size: 20, nonlinearity, clamp: [-Infinity, Infinity] };
      const inputs = [Float32Array.from({ length: 20 }, (_, i) => [NaN, Infinity, -Infinity, 0][i % 4])];
      return { problem, inputs, expected: referenceActivation(problem, inputs[0]), bound: () => 1e-6 };
    }),
  ];
  for (const { expected, ...c } of cases) {
    const [variant] = plan.rowsFor(backend.variants, c.problem);
    const kernel = await backend.prepare(variant, c.problem);
    const input = backend.createBuffer(c.inputs[0].byteLength, 'input');
    const output = backend.createBuffer(expected.length * 4, 'output');
    backend.write(input, c.inputs[0]);
    const pass = backend.beginPass();
    pass.run(kernel, [input], output);
    await pass.submit();
    const y = await backend.read(output, expected.length);
    for (const [i, value] of y.entries()) {
      const right = Object.is(value, expected[i]) || Math.abs(value - expected[i]) <= c.bound(i);
      assert.ok(right, `${variant.name} [${i}]: ${value}, expected ${expected[i]}`);
    }
    kernel.free();
    backend.freeBuffer(input);
    backend.freeBuffer(output);
  }
}

function testBackend(title: string, backend: Backend): void {
  const test = suite(title);
  console.log(`${title}: ${backend.device.label}`);
  const seen = new Set<FormatName>();
  for (const variant of backend.variants) {
    if (lackOf(variant, backend) || !`${title}: ${variant.name}`.includes(process.env.TEST_KERNEL ?? '')) continue;
    reached.add(`${backend.device.backend} ${variant.name}`);
    test(`${title}: ${variant.name}`, () => checkRow(backend, variant));
    const { format } = variant;
    if (!format) continue;
    test(`${title}: ${variant.name}, random problems`, () => checkRandom(backend, variant, format));
    // Where a run costs milliseconds, one row a format.
    if (backend.device.backend === 'webgpu' && seen.has(format)) continue;
    seen.add(format);
    test(`${title}: ${variant.name}, 200 runs leak nothing`, () => checkLeaks(backend, variant, format));
  }
  test(`${title}: two kernels in a pass`, () => checkChain(backend));
  if (backend.device.backend === 'wasm') test(`${title}: NaN and infinities`, () => checkSpecials(backend));
  test.after(() => {
    backend.free();
  });
  test.run();
}

const decode = (base64: string) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
const modules: [title: string, options: WasmOptions][] = [
  ['wasm, 3 threads', { threads: 3, url: wasmUrl }],
  ['wasm B', { module: 'B', threads: 1 }],
  ['wasm C', { module: 'C', threads: 1 }],
  ['wasm A, emulated usdot', { module: 'A', bytes: decode(usdotBase64), dot: 'usdot', threads: 1 }],
  ['wasm A, emulated sdot', { module: 'A', bytes: decode(sdotBase64), dot: 'sdot', threads: 1 }],
];
const tables = new Map<string, readonly VariantBase[]>();

for (const [title, options] of modules) {
  const relaxed = probeEngine().relaxedSimd;
  if ((options.module ?? 'C') !== 'C' && !requireCapability('relaxed SIMD', relaxed, 'this engine has none')) {
    const skipped = suite(title);
    skipped.skip();
    skipped.run();
    continue;
  }
  const backend = await createWasmBackend(options);
  tables.set('wasm', backend.variants);
  testBackend(title, backend);
}

const webgpu = await createWebgpuBackend();
const reason = typeof webgpu === 'string' ? webgpu : '';
if (requireCapability('WebGPU', reason === '', reason) && typeof webgpu !== 'string') {
  tables.set('webgpu', webgpu.variants);
  testBackend('webgpu', webgpu);
}

const coverage = suite('coverage');
for (const [backend, variants] of tables) {
  for (const { name } of process.env.TEST_KERNEL ? [] : variants) {
    if (reached.has(`${backend} ${name}`)) continue;
    console.log(`skipped ${backend} ${name}: ${lacking.get(`${backend} ${name}`)}`);
    coverage.skip(name);
  }
}
coverage('names of rows are unique', () => {
  for (const variants of tables.values()) {
    const names = variants.map(({ name }) => name);
    assert.equal([...new Set(names)], names);
  }
});
coverage.run();
