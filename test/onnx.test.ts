import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from '../src/backend.js';
import { type ErrorCode, ThinferError } from '../src/errors.js';
import type { ModelOptions, ModelOutputs } from '../src/graph/model.js';
import {
  type ModelProto,
  ModelProtoSchema,
  SparseTensorProtoSchema,
  TensorProto_DataType,
} from '../src/onnx/generated/onnx_pb.js';
import { loadOnnx } from '../src/onnx/index.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { createWebgpuBackend } from '../src/webgpu/index.js';
import { requireCapability } from './support/capability.js';
import { apply, damage, loadsOrRefuses } from './support/damage.js';
import { readFashion, readFixture, untarGzip } from './support/fixtures.js';
import { runNodeTest } from './support/onnx-node.js';
import { floatTensor, intTensor, OnnxWriter } from './support/onnx-writer.js';
import { ReferenceBackend } from './support/reference-backend.js';

function load(bytes: Uint8Array | ArrayBuffer, options?: ModelOptions) {
  return loadOnnx({ backends: [new ReferenceBackend()] }, bytes, options);
}

async function run(
  writer: OnnxWriter,
  inputs: Record<string, { shape: number[]; data: Float32Array }>,
): Promise<ModelOutputs> {
  const model = await load(writer.bytes());
  const outputs = await model.run(inputs);
  model.free();
  return outputs;
}

function tensor(shape: number[], data: ArrayLike<number>) {
  return { shape, data: Float32Array.from(data) };
}

function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

function close(got: ArrayLike<number>, want: ArrayLike<number>, message = '', relative = 1e-5): void {
  assert.is(got.length, want.length, message);
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i]);
    if (!(error <= relative * (1 + Math.abs(want[i]))))
      assert.unreachable(`${message} [${i}]: ${got[i]} instead of ${want[i]}`);
  }
}

async function throwsWith(code: ErrorCode, pattern: RegExp, bytes: Uint8Array | ArrayBuffer): Promise<ThinferError> {
  try {
    await load(bytes);
  } catch (error) {
    assert.instance(error, ThinferError, String(error));
    assert.is((error as ThinferError).code, code, String(error));
    assert.match((error as ThinferError).message, pattern);
    return error as ThinferError;
  }
  return assert.unreachable(`expected ThinferError ${code} ${pattern}`) as never;
}

const conformance = suite('onnx node tests');

/** How many scripts/pick-onnx-tests.ts has picked. */
const NODE_TESTS = 414;

/** Tests of integers of 8 bits, for which WebGPU may have no kernel. */
const ON_CODES = /int8|integer|quantize|qlinear/;

async function checkConformance(backend: Backend, every: number): Promise<void> {
  const files = await untarGzip(await readFixture('test/data/onnx-node.tar.gz'));
  const names = [...files.keys()].filter((path) => path.endsWith('/model.onnx')).map((path) => path.split('/')[0]);
  assert.is(names.length, NODE_TESTS);
  const wrong: string[] = [];
  for (const name of names.filter((_, i) => i % every === 0)) {
    try {
      const what = await runNodeTest(backend, (file) => files.get(`${name}/${file}`)!);
      if (what) wrong.push(`${name}: ${what}`);
    } catch (error) {
      const lacks = error instanceof ThinferError && error.code === 'no-kernel';
      if (!(lacks && backend.device.backend === 'webgpu' && ON_CODES.test(name))) wrong.push(`${name}: ${error}`);
    }
  }
  backend.free();
  assert.equal(wrong, []);
}

conformance('tests of the ONNX project give their outputs by the oracles', () =>
  checkConformance(new ReferenceBackend(), 1),
);

conformance('tests of the ONNX project give their outputs on WASM', async () =>
  checkConformance(await createWasmBackend({ threads: 1 }), 1),
);

conformance('every fourth test of the ONNX project gives its outputs on WebGPU', async () => {
  const backend = await createWebgpuBackend();
  const reason = typeof backend === 'string' ? backend : '';
  if (requireCapability('WebGPU', reason === '', reason) && typeof backend !== 'string')
    await checkConformance(backend, 4);
});

conformance.run();

const fashion = suite('onnx fashion models');

for (const [name, formats] of Object.entries({
  float: 'dense dense dense dense dense dense dense dense',
  pruned90: 'dense csr csr csr csr csr csr dense',
  student: 'dense dense dense dense dense dense dense dense',
})) {
  fashion(`${name}: right on test images, no transpose, weights packed as they come`, async () => {
    const model = await load(await readFixture(`models/fashion_${name}.onnx`));
    const report = model.explain();
    assert.not(report.some(({ op }) => op === 'transpose'));
    assert.is(report.flatMap(({ format }) => format ?? []).join(' '), formats);
    assert.ok(model.memory.plannedBytes < 0.6 * model.memory.unsharedBytes);
    const { images, labels } = await readFashion(8);
    const { logits } = await model.run({ image: images });
    assert.equal(logits.shape, [8, 10]);
    const guesses = Array.from(labels, (_, i) => {
      const row = logits.data.subarray(10 * i, 10 * i + 10);
      return row.indexOf(Math.max(...row));
    });
    assert.equal(guesses, Array.from(labels));
    model.free();
  });
}

fashion('student: int8 and codebook weights answer almost the same', async () => {
  const bytes = await readFixture('models/fashion_student.onnx');
  const { images } = await readFashion(4);
  const exact = await (await load(bytes)).run({ image: images });
  const largest = Math.max(...exact.logits.data.map(Math.abs));
  for (const [format, allowed] of [
    ['int8', 0.05],
    ['codebook', 0.2],
  ] as const) {
    const model = await load(bytes, { weights: { '*': { format } } });
    const { logits } = await model.run({ image: images });
    const error = Math.max(...logits.data.map((x, i) => Math.abs(x - exact.logits.data[i])));
    assert.ok(error > 0 && error < allowed * largest, `${format}: ${error} of ${largest}`);
  }
});

fashion.run();

const operators = suite('onnx operators');

operators('bytes may be a buffer, or a view at an odd offset', async () => {
  const bytes = new OnnxWriter()
    .input('x', [2])
    .floats('c', [2], [1, 2])
    .node('Add', ['x', 'c'], ['y'])
    .output('y')
    .bytes();
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  for (const form of [bytes, bytes.buffer, shifted.subarray(3)]) {
    const { y } = await (await load(form)).run({ x: new Float32Array([10, 20]) });
    assert.equal(y, tensor([2], [11, 22]));
  }
});

operators('constants on either side, scalars and broadcasts', async () => {
  const writer = new OnnxWriter()
    .input('x', ['N', 3])
    .floats('c', [], [2])
    .floats('r', [3], [1, 2, 4])
    .floats('col', [2, 1], [1, 10]);
  writer
    .node('Sub', ['c', 'x'], ['a'])
    .node('Div', ['r', 'x'], ['b'])
    .node('Mul', ['x', 'col'], ['m'])
    .output('a', 'b', 'm');
  const { a, b, m } = await run(writer, { x: tensor([1, 3], [1, 2, 8]) });
  assert.equal(a, tensor([1, 3], [1, 0, -6]));
  assert.equal(b, tensor([1, 3], [1, 1, 0.5]));
  assert.equal(m, tensor([2, 3], [1, 2, 8, 10, 20, 80]));
});

operators('two activations broadcast against each other', async () => {
  const writer = new OnnxWriter().input('x', ['N', 3]).input('y', [3]).node('Add', ['x', 'y'], ['z']).output('z');
  const { z } = await run(writer, { x: tensor([2, 3], range(6)), y: tensor([3], [10, 20, 30]) });
  assert.equal(z, tensor([2, 3], [10, 21, 32, 13, 24, 35]));
});

operators('Gemm with C that is not constant, alpha, beta and both transposes', async () => {
  const writer = new OnnxWriter().input('a', [3, 2]).input('c', [2, 2]).floats('b', [2, 3], range(6));
  writer.node('Gemm', ['a', 'b', 'c'], ['y'], { alpha: { float: 0.5 }, beta: { float: 2 }, transA: 1, transB: 1 });
  const { y } = await run(writer.output('y'), { a: tensor([3, 2], range(6)), c: tensor([2, 2], [1, 2, 3, 4]) });
  assert.equal(y, tensor([2, 2], [5 + 2, 14 + 4, 6.5 + 6, 20 + 8]));
});

operators('MatMul of more dimensions with a constant matrix', async () => {
  const writer = new OnnxWriter().input('x', ['N', 2, 3]).floats('w', [3, 2], [1, 0, 0, 1, 1, 1]);
  writer
    .node('MatMul', ['x', 'w'], ['y'], {}, 'product')
    .floats('bias', [2], [1, -1])
    .node('Add', ['bias', 'y'], ['z']);
  const model = await load(writer.output('z').bytes());
  assert.equal(
    model.explain().map(({ name, op }) => `${name} ${op}`),
    ['product linear'],
    'the addition is a bias',
  );
  const { z } = await model.run({ x: tensor([1, 2, 3], range(6)) });
  assert.equal(z, tensor([1, 2, 2], [3, 2, 9, 8]));
});

operators('Conv: groups, dilation, SAME_LOWER', async () => {
  const groups = new OnnxWriter().input('x', [1, 2, 2, 2]).floats('w', [2, 1, 1, 1], [10, 100]);
  groups.node('Conv', ['x', 'w'], ['y'], { group: 2 }).output('y');
  const first = await run(groups, { x: tensor([1, 2, 2, 2], range(8)) });
  assert.equal(first.y, tensor([1, 2, 2, 2], [0, 10, 20, 30, 400, 500, 600, 700]));
  const lower = new OnnxWriter().input('x', [1, 1, 1, 4]).floats('w', [1, 1, 1, 2], [1, 10]);
  lower
    .node('Conv', ['x', 'w'], ['y'], { auto_pad: 'SAME_LOWER' })
    .node('Conv', ['x', 'w'], ['z'], { dilations: [1, 2] });
  const second = await run(lower.output('y', 'z'), { x: tensor([1, 1, 1, 4], [1, 2, 3, 4]) });
  assert.equal(second.y, tensor([1, 1, 1, 4], [10, 21, 32, 43]));
  assert.equal(second.z, tensor([1, 1, 1, 2], [31, 42]));
});

operators('pooling: global, ceil_mode with padding counted and not', async () => {
  const writer = new OnnxWriter().input('x', ['N', 1, 3, 3]).node('GlobalAveragePool', ['x'], ['mean']);
  writer.node('GlobalMaxPool', ['x'], ['max']);
  const window = { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 };
  writer
    .node('AveragePool', ['x'], ['inside'], window)
    .node('AveragePool', ['x'], ['counted'], { ...window, count_include_pad: 1, pads: [1, 1, 0, 0] });
  const { mean, max, inside, counted } = await run(writer.output('mean', 'max', 'inside', 'counted'), {
    x: tensor([1, 1, 3, 3], range(9)),
  });
  assert.equal(mean, tensor([1, 1, 1, 1], [4]));
  assert.equal(max, tensor([1, 1, 1, 1], [8]));
  assert.equal(inside, tensor([1, 1, 2, 2], [2, 3.5, 6.5, 8]));
  assert.equal(counted, tensor([1, 1, 2, 2], [0, 0.75, 2.25, 6]));
});

operators('Softmax before opset 13 takes all dimensions from the axis on together', async () => {
  for (const [opset, sums] of [
    [11, [1]],
    [13, [1, 1]],
  ] as const) {
    const writer = new OnnxWriter(opset).input('x', [1, 2, 2]).node('Softmax', ['x'], ['y'], { axis: 1 }).output('y');
    const { y } = await run(writer, { x: tensor([1, 2, 2], [1, 2, 3, 4]) });
    const [a, b, c, d] = y.data;
    close(sums.length === 1 ? [a + b + c + d] : [a + c, b + d], sums, `opset ${opset}`);
  }
});

operators('Clip takes attributes before opset 11, and nothing at all', async () => {
  const writer = new OnnxWriter(10)
    .input('x', [3])
    .node('Clip', ['x'], ['y'], { min: { float: -1 }, max: { float: 1 } });
  writer.node('Clip', ['x'], ['z']).output('y', 'z');
  const { y, z } = await run(writer, { x: tensor([3], [-5, 0.5, 5]) });
  assert.equal(y, tensor([3], [-1, 0.5, 1]));
  assert.equal(z, tensor([3], [-5, 0.5, 5]));
});

operators('Constant in all its forms', async () => {
  const sparse = create(SparseTensorProtoSchema, {
    dims: [2n, 3n],
    values: floatTensor('', [2], [5, 7]),
    indices: intTensor('', [2, 2], [0, 1, 1, 2]),
  });
  const writer = new OnnxWriter().input('x', [2, 3]).node('Constant', [], ['f'], {}).node('Constant', [], ['s'], {});
  const attribute = (name: string, fields: object) => ({
    ...new OnnxWriter().node('', [], [], { [name]: 0 }).graph.node[0].attribute[0],
    ...fields,
  });
  const { graph } = writer;
  graph.node[0].attribute.push(attribute('value_floats', { type: 6, floats: [1, 2, 3] }));
  graph.node[1].attribute.push(attribute('sparse_value', { type: 11, sparseTensor: sparse }));
  writer.node('Constant', [], ['shape'], {});
  graph.node[2].attribute.push(attribute('value_ints', { type: 7, ints: [3n, 2n] }));
  writer
    .node('Add', ['x', 'f'], ['a'])
    .node('Add', ['a', 's'], ['b'])
    .node('Reshape', ['b', 'shape'], ['y'])
    .output('y');
  const { y } = await run(writer, { x: tensor([2, 3], [0, 0, 0, 0, 0, 0]) });
  assert.equal(y, tensor([3, 2], [1, 7, 3, 1, 2, 10]));
});

operators('weights may be computed from constants', async () => {
  const writer = new OnnxWriter().input('x', ['N', 2]).floats('w', [3, 2], range(6)).node('Transpose', ['w'], ['wt']);
  const { y } = await run(writer.node('MatMul', ['x', 'wt'], ['y']).output('y'), { x: tensor([1, 2], [1, 10]) });
  assert.equal(y, tensor([1, 3], [10, 32, 54]));
});

operators('nodes may come in any order; those that no output needs may be of any kind', async () => {
  const writer = new OnnxWriter().input('x', [2]).node('Relu', ['a'], ['y']).node('Identity', ['x'], ['a']);
  const { y } = await run(writer.node('Mystery', ['x'], ['unused']).output('y'), { x: tensor([2], [-1, 1]) });
  assert.equal(y, tensor([2], [0, 1]));
});

/** x [N, S, 6] as `heads` heads, by sizes that are computed from its shape as exporters do. */
function headsOf(x: string, heads: number, writer: OnnxWriter): OnnxWriter {
  writer.ints('zero', [0], []).ints('one', [1], []).ints('axis', [0]).ints('heads', [heads]).ints('rest', [-1]);
  writer.node('Shape', [x], ['dims']).node('Gather', ['dims', 'zero'], ['n']).node('Gather', ['dims', 'one'], ['s']);
  writer.node('Unsqueeze', ['n', 'axis'], ['n1']).node('Unsqueeze', ['s', 'axis'], ['s1']);
  return writer.node('Concat', ['n1', 's1', 'heads', 'rest'], ['split'], { axis: 0 });
}

operators('sizes that are computed from the shape of an input with open dimensions', async () => {
  const writer = headsOf('x', 3, new OnnxWriter().input('x', ['N', 'S', 6]));
  writer.node('Reshape', ['x', 'split'], ['y']).node('Transpose', ['y'], ['t'], { perm: [0, 2, 1, 3] });
  writer.node('Mul', ['n', 'three'], ['ns'], {}).ints('three', [3], []).node('Unsqueeze', ['ns', 'axis'], ['ns1']);
  writer
    .ints('two', [2])
    .node('Concat', ['ns1', 's1', 'two'], ['flat'], { axis: 0 })
    .node('Reshape', ['t', 'flat'], ['z']);
  const model = await load(writer.output('y', 'z').bytes());
  assert.equal(
    model.outputs.map(({ shape }) => shape.join()),
    ['N,S,3,2', '3·N,S,2'],
  );
  for (const [n, s] of [
    [2, 4],
    [1, 5],
  ]) {
    const { y, z } = await model.run({ x: tensor([n, s, 6], range(n * s * 6)) });
    assert.equal(y, tensor([n, s, 3, 2], range(n * s * 6)));
    assert.equal(z.shape, [3 * n, s, 2]);
    assert.equal(Array.from(z.data.slice(0, 4)), [0, 1, 6, 7]);
  }
});

operators('a class token, expanded to a batch that is open', async () => {
  const writer = new OnnxWriter().input('x', ['N', 2, 3]).floats('token', [1, 1, 3], [7, 8, 9]);
  writer.ints('zero', [0], []).ints('axis', [0]).ints('sizes', [1, 3]).ints('ones', [-1, -1, -1]).ints('minus', [-1]);
  writer
    .node('Shape', ['x'], ['shape'])
    .node('Gather', ['shape', 'zero'], ['n'])
    .node('Unsqueeze', ['n', 'axis'], ['n1']);
  writer.node('Concat', ['n1', 'minus', 'minus'], ['wanted'], { axis: 0 });
  // What PyTorch makes of -1 in expand: 1 there.
  writer
    .node('Shape', ['wanted'], ['rank'])
    .node('ConstantOfShape', ['rank'], ['filled'], { value: { tensor: intTensor('', [1], [1]) } });
  writer.node('Equal', ['wanted', 'ones'], ['isOne']).node('Where', ['isOne', 'filled', 'wanted'], ['target']);
  writer.node('Expand', ['token', 'target'], ['tokens']).node('Concat', ['tokens', 'x'], ['y'], { axis: 1 });
  const model = await load(writer.output('y').bytes());
  assert.equal(model.outputs[0].shape, ['N', 3, 3]);
  const { y } = await model.run({ x: tensor([2, 2, 3], range(12)) });
  assert.equal(y, tensor([2, 3, 3], [7, 8, 9, 0, 1, 2, 3, 4, 5, 7, 8, 9, 6, 7, 8, 9, 10, 11]));
});

operators('position embeddings cut to an open length', async () => {
  const writer = new OnnxWriter().input('x', ['N', 'S', 2]).floats('table', [1, 5, 2], range(10));
  writer.ints('from', [0]).ints('axis', [1]).ints('one', [1], []).ints('zero', [0]);
  writer
    .node('Shape', ['x'], ['shape'])
    .node('Gather', ['shape', 'one'], ['s'])
    .node('Unsqueeze', ['s', 'zero'], ['to']);
  writer.node('Slice', ['table', 'from', 'to', 'axis'], ['cut']).node('Add', ['x', 'cut'], ['y']);
  const { y } = await run(writer.output('y'), { x: tensor([1, 3, 2], [0, 0, 0, 0, 0, 0]) });
  assert.equal(y, tensor([1, 3, 2], range(6)));
});

operators('integers as inputs: an embedding table', async () => {
  const writer = new OnnxWriter()
    .input('ids', ['N', 'S'], TensorProto_DataType.INT64)
    .floats('table', [4, 2], range(8));
  writer.node('Gather', ['table', 'ids'], ['y']).floats('row', [2], [100, 200]).node('Add', ['y', 'row'], ['z']);
  const model = await load(writer.output('z').bytes());
  for (const data of [Float32Array.of(3, 0, -1), Int32Array.of(3, 0, -1), BigInt64Array.of(3n, 0n, -1n)]) {
    const { z } = await model.run({ ids: { shape: [1, 3], data } });
    assert.equal(z, tensor([1, 3, 2], [106, 207, 100, 201, 106, 207]));
  }
  const large = { shape: [1, 1], data: Int32Array.of(2 ** 25) };
  const refused = await model.run({ ids: large }).catch((error) => error);
  assert.is(refused.code, 'bad-argument');
});

operators('a division of integers is one, of floats is not', async () => {
  const writer = new OnnxWriter().input('i', [4], TensorProto_DataType.INT64).input('x', [1]).ints('two', [2]);
  writer.node('Div', ['i', 'two'], ['q']).node('Cast', ['i'], ['f'], { to: 1 }).floats('half', [1], [2]);
  writer.node('Div', ['f', 'half'], ['r']).node('Cast', ['r'], ['back'], { to: 7 });
  const { q, r, back } = await run(writer.output('q', 'r', 'back'), {
    i: tensor([4], [5, -5, 4, -1]),
    x: tensor([1], [0]),
  });
  assert.equal(q, tensor([4], [2, -2, 2, 0]));
  assert.equal(r, tensor([4], [2.5, -2.5, 2, -0.5]));
  assert.equal(
    Array.from(back.data, (x) => x + 0),
    [2, -2, 2, 0],
  );
});

operators('Where keeps infinities of the side that is not taken out', async () => {
  const writer = new OnnxWriter()
    .input('c', [3], TensorProto_DataType.BOOL)
    .input('x', [3])
    .floats('low', [], [-Infinity]);
  const { y } = await run(writer.node('Where', ['c', 'x', 'low'], ['y']).output('y'), {
    c: tensor([3], [1, 0, 1]),
    x: tensor([3], [1, 2, Infinity]),
  });
  assert.equal(y, tensor([3], [1, -Infinity, Infinity]));
});

operators('sums along an axis, and the first of an order', async () => {
  const arbitrary = fc.record({
    shape: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }),
    seed: fc.infiniteStream(fc.integer({ min: -9, max: 9 })),
    at: fc.nat(2),
    flags: fc.tuple(fc.boolean(), fc.boolean()),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const property = fc.asyncProperty(arbitrary, async ({ shape, seed, at, flags: [first, second], part }) => {
    const axis = at % shape.length;
    const size = shape[axis];
    const k = 1 + Math.floor(part * (size - 1));
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => seed.next().value as number);
    const writer = new OnnxWriter().input('x', shape).ints('axis', [axis], []).ints('k', [k]);
    writer
      .node('CumSum', ['x', 'axis'], ['sums'], { exclusive: Number(first), reverse: Number(second) })
      .node('TopK', ['x', 'k'], ['values', 'indices'], { axis, largest: Number(first) })
      .output('sums', 'values', 'indices');
    const { sums, values, indices } = await run(writer, { x: tensor(shape, data) });
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    for (let line = 0; line < data.length / size; line++) {
      const start = Math.floor(line / inner) * inner;
      const of = (list: ArrayLike<number>, count: number) =>
        Array.from({ length: count }, (_, i) => list[start * count + i * inner + (line % inner)]);
      const x = of(data, size);
      const order = [...x.keys()].sort((a, b) => (first ? x[b] - x[a] : x[a] - x[b]) || a - b).slice(0, k);
      assert.equal(of(indices.data, k), order);
      assert.equal(
        of(values.data, k),
        order.map((i) => x[i]),
      );
      const kept = (i: number, j: number) => (second ? j - i : i - j) >= Number(first);
      assert.equal(
        of(sums.data, size),
        x.map((_, i) => x.reduce((sum, y, j) => (kept(i, j) ? sum + y : sum), 0)),
      );
    }
  });
  await fc.assert(property, { numRuns: 60, seed: 5 });
});

operators('products of two activations read heads where they lie', async () => {
  const writer = headsOf('x', 2, new OnnxWriter().input('x', ['N', 'S', 6]));
  writer.node('Reshape', ['x', 'split'], ['h']);
  writer
    .node('Transpose', ['h'], ['q'], { perm: [0, 2, 1, 3] })
    .node('Transpose', ['h'], ['k'], { perm: [0, 2, 3, 1] });
  writer.node('MatMul', ['q', 'k'], ['scores']).node('Softmax', ['scores'], ['p']).node('MatMul', ['p', 'q'], ['y']);
  const model = await load(writer.output('y').bytes());
  const { y } = await model.run({ x: tensor([1, 2, 6], [1, 0, 0, 0, 0, 0, 1, 0, 0, 5, 0, 0]) });
  close(y.data, [1, 0, 0, 1, 0, 0, 2.5, 0, 0, 5, 0, 0], '', 1e-3);
  assert.not(model.explain().some(({ op }) => op === 'transpose'));
});

operators(
  'a recurrent layer backwards is one forwards on the times reversed; its weights are packed once',
  async () => {
    const random = (count: number, scale: number) =>
      Array.from({ length: count }, (_, i) => scale * Math.sin(7.3 * i + 1));
    for (const [type, gates] of [
      ['LSTM', 4],
      ['GRU', 3],
      ['RNN', 1],
    ] as const) {
      const build = (direction: string, count: number) => {
        const writer = new OnnxWriter(14).input('x', [5, 2, 3]);
        const weights = (name: string, rows: number, cols: number) =>
          writer.floats(
            name,
            [count, rows, cols],
            [...random(rows * cols, 0.7), ...random(rows * cols, 0.7)].slice(0, count * rows * cols),
          );
        weights('w', gates * 4, 3);
        weights('r', gates * 4, 4);
        const bias = random(8 * gates, 0.2);
        writer.floats('b', [count, 8 * gates], [...bias, ...bias].slice(0, count * 8 * gates));
        return writer
          .node(type, ['x', 'w', 'r', 'b'], ['y', 'h'], {
            hidden_size: 4,
            direction,
            ...(type === 'GRU' && { linear_before_reset: 1 }),
          })
          .output('y', 'h');
      };
      const x = random(30, 1);
      const reversed = range(5).flatMap((t) => x.slice((4 - t) * 6, (5 - t) * 6));
      const forward = await run(build('forward', 1), { x: tensor([5, 2, 3], x) });
      const backward = await run(build('reverse', 1), { x: tensor([5, 2, 3], reversed) });
      const flipped = range(5).flatMap((t) => Array.from(backward.y.data.slice((4 - t) * 8, (5 - t) * 8)));
      close(flipped, forward.y.data, type);
      close(backward.h.data, forward.h.data, type);
      const model = await load(build('bidirectional', 2).bytes());
      const both = await model.run({ x: tensor([5, 2, 3], x) });
      assert.equal(both.y.shape, [5, 2, 2, 4]);
      close(
        range(5).flatMap((t) => Array.from(both.y.data.slice(t * 16, t * 16 + 8))),
        forward.y.data,
        `${type}, forward half`,
      );
      const bytes = model.explain().reduce((sum, { weightBytes = 0 }) => sum + weightBytes, 0);
      assert.is(bytes, model.weightBytes);
      assert.ok(bytes <= 2 * 4 * (gates * 4 * 7 + gates * 8 + 16) + 8 * 64, `${type}: ${bytes} bytes`);
    }
  },
);

operators('layers are named after nodes, then outputs; names are unique', async () => {
  const writer = new OnnxWriter().input('x', [1, 1, 2, 2]).floats('w', [1, 1, 1, 1], [0.1]);
  writer
    .node('Conv', ['x', 'w'], ['a'], {}, 'same')
    .node('Conv', ['a', 'w'], ['b'], {}, 'same')
    .node('Conv', ['b', 'w'], ['c']);
  const model = await load(writer.output('c').bytes(), { weights: { same: { format: 'int8' }, b: { format: 'csr' } } });
  assert.equal(
    model.explain().flatMap(({ name, format }) => (format ? `${name} ${format}` : [])),
    ['same int8', 'b csr', 'c dense'],
  );
});

operators.run();

const refusals = suite('onnx refusals');

refusals('everything that is not supported is named in one error', async () => {
  const writer = new OnnxWriter().input('x', ['N', 1, 4, 4]).input('k', [1, 1, 2, 2]);
  writer
    .node('Conv', ['x', 'k'], ['a'], {}, 'dynamic')
    .node('Einsum', ['a'], ['b'], {}, 'sum')
    .node('StringNormalizer', ['x'], ['s'], {}, 'gate')
    .node('Relu', ['b'], ['c'], {}, 'fine');
  writer.node('MaxPool', ['x'], ['d'], { kernel_shape: [2, 2], wobble: 3 }, 'odd').node('Loop', ['x'], ['e']);
  const error = await throwsWith('unsupported', /thinfer runs/, writer.output('c', 'd', 'e', 's').bytes());
  for (const part of [
    'node "dynamic" (Conv)',
    '"k"',
    'node "gate" (StringNormalizer)',
    'node "odd" (MaxPool): attribute wobble',
    'node "e" (Loop)',
  ]) {
    assert.ok(error.message.includes(part), `${part} in ${error.message}`);
  }
  assert.not(error.message.includes('fine'));
});

const conv = (attributes = {}, dims = [2, 1, 3, 3]) =>
  new OnnxWriter()
    .input('x', ['N', 1, 8, 8])
    .floats('w', dims, range(dims.reduce((a, b) => a * b, 1)))
    .node('Conv', ['x', 'w'], ['y'], attributes, 'c')
    .output('y');

/** Models that are wrong in one way each: the error's code and what it must say. */
const WRONG: [string, ErrorCode, RegExp, OnnxWriter][] = [
  ['no outputs', 'bad-model', /graph.output/, new OnnxWriter().input('x', [1])],
  ['an output nobody makes', 'bad-model', /graph.output "y"/, new OnnxWriter().input('x', [1]).output('y')],
  [
    'a missing input',
    'bad-model',
    /node "r".*"nothing"/,
    new OnnxWriter().node('Relu', ['nothing'], ['y'], {}, 'r').output('y'),
  ],
  [
    'a cycle',
    'bad-model',
    /cycles/,
    new OnnxWriter().node('Relu', ['b'], ['a']).node('Relu', ['a'], ['b']).output('b'),
  ],
  ['a node that reads itself', 'bad-model', /cycles/, new OnnxWriter().node('Relu', ['a'], ['a']).output('a')],
  [
    'two writers',
    'bad-model',
    /no other node/,
    new OnnxWriter().input('x', [1]).node('Relu', ['x'], ['y']).node('Relu', ['x'], ['y']).output('y'),
  ],
  ['an input twice', 'bad-model', /input "x"/, new OnnxWriter().input('x', [1]).input('x', [1]).output('x')],
  [
    'an initializer twice',
    'bad-model',
    /initializer "c"/,
    new OnnxWriter().input('x', [1]).floats('c', [1], [1]).floats('c', [1], [1]).output('x'),
  ],
  ['too few inputs', 'bad-model', /2 inputs/, new OnnxWriter().input('x', [1]).node('Add', ['x'], ['y']).output('y')],
  ['an old opset', 'unsupported', /7 or newer/, new OnnxWriter(6).input('x', [1]).output('x')],
  [
    'input of strings',
    'unsupported',
    /input "x": STRING/,
    new OnnxWriter().input('x', [1], TensorProto_DataType.STRING).node('Relu', ['x'], ['y']).output('y'),
  ],
  [
    'data shorter than dims',
    'bad-model',
    /initializer "w".*100 bytes/,
    new OnnxWriter().input('x', [25]).floats('w', [25], [1]).node('Add', ['x', 'w'], ['y']).output('y'),
  ],
  [
    'dims that overflow',
    'bad-model',
    /dims/,
    new OnnxWriter()
      .input('x', [1])
      .floats('w', [2 ** 20, 2 ** 20], [])
      .node('Add', ['x', 'w'], ['y'])
      .output('y'),
  ],
  [
    'negative dims',
    'bad-model',
    /dims\[0\]/,
    new OnnxWriter().input('x', [1]).floats('w', [-4], []).node('Add', ['x', 'w'], ['y']).output('y'),
  ],
  ['an input dimension out of range', 'bad-model', /dim\[0\]/, new OnnxWriter().input('x', [-7]).output('x')],
  ['negative pads', 'bad-model', /pads\[0\]/, conv({ pads: [-1, 0, 0, 0] })],
  ['huge pads', 'bad-model', /pads\[3\]/, conv({ pads: [0, 0, 0, 2 ** 40] })],
  ['pads of another length', 'bad-model', /4 integers/, conv({ pads: [1, 1] })],
  ['a stride of 0', 'bad-model', /strides\[1\]/, conv({ strides: [1, 0] })],
  ['a kernel_shape that the weights do not have', 'bad-model', /kernel_shape/, conv({ kernel_shape: [5, 5] })],
  ['a window larger than the image', 'bad-model', /node "c"/, conv({ dilations: [7, 7] })],
  ['groups that do not divide', 'bad-model', /group/, conv({ group: 3 })],
  ['channels that do not fit', 'bad-model', /node "c".*4 channels/, conv({}, [2, 4, 3, 3])],
  ['empty weights', 'bad-model', /weights/, conv({}, [0, 1, 3, 3])],
  ['1-D convolution of an image', 'bad-model', /3 dimensions/, conv({}, [2, 1, 3])],
  ['3-D convolution', 'unsupported', /weights of 5 dimensions/, conv({}, [2, 1, 3, 3, 3])],
  ['an unknown auto_pad', 'bad-model', /auto_pad/, conv({ auto_pad: 'SOME' })],
  ['an attribute of another type', 'bad-model', /strides: expected INTS, got INT/, conv({ strides: 2 })],
  [
    'a padding as large as the window',
    'bad-model',
    /smaller than the window/,
    new OnnxWriter()
      .input('x', [1, 1, 4, 4])
      .node('MaxPool', ['x'], ['y'], { kernel_shape: [2, 2], pads: [2, 0, 0, 0] })
      .output('y'),
  ],
  [
    'a rank that does not fit',
    'bad-model',
    /4 dimensions/,
    new OnnxWriter()
      .input('x', [4, 4])
      .node('MaxPool', ['x'], ['y'], { kernel_shape: [2, 2] })
      .output('y'),
  ],
  [
    'shapes that do not broadcast',
    'bad-model',
    /\[2, 3\] and \[4\]/,
    new OnnxWriter().input('x', [2, 3]).input('z', [4]).node('Add', ['x', 'z'], ['y']).output('y'),
  ],
  [
    'a reshape to another size',
    'bad-model',
    /6 elements/,
    new OnnxWriter().input('x', [2, 3]).ints('s', [7]).node('Reshape', ['x', 's'], ['y']).output('y'),
  ],
  [
    'a reshape with two -1',
    'bad-model',
    /one -1/,
    new OnnxWriter().input('x', [2, 3]).ints('s', [-1, -1]).node('Reshape', ['x', 's'], ['y']).output('y'),
  ],
  [
    'a permutation that is none',
    'bad-model',
    /permutation/,
    new OnnxWriter()
      .input('x', [2, 3])
      .node('Transpose', ['x'], ['y'], { perm: [0, 0] })
      .output('y'),
  ],
  [
    'an axis out of range',
    'bad-model',
    /axis/,
    new OnnxWriter().input('x', [2, 3]).node('Softmax', ['x'], ['y'], { axis: 2 }).output('y'),
  ],
  [
    'a shape that is computed',
    'unsupported',
    /shape.*not constant/,
    new OnnxWriter().input('x', [2]).input('s', [1]).node('Reshape', ['x', 's'], ['y']).output('y'),
  ],
  [
    'NaN weights',
    'bad-weights',
    /layer "g"/,
    new OnnxWriter()
      .input('x', ['N', 1])
      .floats('w', [1, 1], [Number.NaN])
      .node('Gemm', ['x', 'w'], ['y'], {}, 'g')
      .output('y'),
  ],
  [
    'a variance that is negative',
    'bad-model',
    /finite scale/,
    new OnnxWriter()
      .input('x', [1, 1])
      .floats('a', [1], [1])
      .floats('v', [1], [-1])
      .node('BatchNormalization', ['x', 'a', 'a', 'a', 'v'], ['y'])
      .output('y'),
  ],
];

for (const [title, code, pattern, writer] of WRONG) {
  refusals(title, () => throwsWith(code, pattern, writer.bytes()).then(() => {}));
}

refusals('a sparse constant that is larger than its model can ask for', () => {
  const sparse = create(SparseTensorProtoSchema, {
    dims: [30000n, 30000n],
    values: floatTensor('w', [1], [5]),
    indices: intTensor('', [1], [3]),
  });
  const writer = new OnnxWriter().input('x', ['N', 30000]).node('MatMul', ['x', 'w'], ['y']).output('y');
  writer.graph.sparseInitializer.push(sparse);
  return throwsWith('bad-model', /elements in all/, writer.bytes()).then(() => {});
});

refusals('no model at all', async () => {
  await throwsWith('bad-model', /a graph/, new Uint8Array(0));
  await throwsWith('bad-model', /ONNX protobuf/, new TextEncoder().encode('{"not": "onnx"}'));
  await throwsWith('bad-argument', /a file that can be read, got nowhere\.onnx/, 'nowhere.onnx' as never);
  await throwsWith('bad-argument', /Uint8Array/, 7 as never);
});

refusals('long chains of nodes are no problem', async () => {
  const writer = new OnnxWriter().input('x', [2, 2]);
  for (let i = 0; i < 5000; i++)
    writer.node(['Relu', 'Transpose', 'Identity'][i % 3], [i ? `v${i}` : 'x'], [`v${i + 1}`]);
  const start = performance.now();
  await load(writer.output('v5000').bytes());
  assert.ok(performance.now() - start < 5000);
});

refusals.run();

const fuzz = suite('onnx fuzz');

/** One small model with every kind of node. */
function tiny(): Uint8Array<ArrayBuffer> {
  const writer = new OnnxWriter()
    .input('x', ['N', 2, 6, 6])
    .floats('w', [4, 2, 3, 3], range(72))
    .floats('b', [4], range(4));
  writer.node('Conv', ['x', 'w', 'b'], ['a'], { pads: [1, 1, 1, 1] }, 'conv').node('Relu', ['a'], ['r']);
  writer
    .floats('v', [4], [1, 2, 3, 4])
    .node('BatchNormalization', ['r', 'b', 'b', 'b', 'v'], ['n'], { epsilon: { float: 0.1 } });
  writer.node('MaxPool', ['n'], ['m'], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 });
  writer.node('AveragePool', ['m'], ['p'], { kernel_shape: [3, 3], auto_pad: 'SAME_UPPER' });
  writer
    .node('Constant', [], ['c'], { value: { tensor: floatTensor('', [1, 4, 1, 1], range(4)) } })
    .node('Add', ['c', 'p'], ['s']);
  writer
    .node('Transpose', ['s'], ['t'], { perm: [0, 2, 3, 1] })
    .ints('shape', [0, -1])
    .node('Reshape', ['t', 'shape'], ['f']);
  writer.floats('g', [36, 5], range(180)).node('Gemm', ['f', 'g'], ['y'], { alpha: { float: 0.5 } }, 'gemm');
  return writer.node('Softmax', ['y'], ['z'], { axis: -1 }).output('z').bytes();
}

/** Another, of operators that move and reduce. */
function moving(): Uint8Array<ArrayBuffer> {
  const writer = headsOf('x', 2, new OnnxWriter(14).input('x', ['N', 4, 6]));
  writer.node('Reshape', ['x', 'split'], ['h']).ints('shape', [1, 1, 2, 1]).node('Tile', ['h', 'shape'], ['tiled']);
  writer.ints('pads', [0, 0, 1, 0, 0, 2, 0, 0]).node('Pad', ['tiled', 'pads'], ['padded'], { mode: 'edge' });
  writer.floats('scales', [4], [1, 1, 2, 1.5]).node('Resize', ['padded', '', 'scales'], ['big'], { mode: 'linear' });
  writer.ints('from', [1]).ints('to', [5]).ints('along', [2]).node('Slice', ['big', 'from', 'to', 'along'], ['cut']);
  writer
    .node('Split', ['cut'], ['left', 'right'], { axis: 2 })
    .node('Concat', ['right', 'left'], ['joined'], { axis: 1 });
  writer.floats('kernel', [12, 2, 3, 2], range(144)).node('Transpose', ['joined'], ['image'], { perm: [0, 1, 2, 3] });
  writer.node('ConvTranspose', ['image', 'kernel'], ['up'], { strides: [2, 1], pads: [1, 0, 0, 1] });
  writer.node('ReduceMean', ['up'], ['mean'], { axes: [2], keepdims: 0 }).node('Gelu', ['mean'], ['bent'], {});
  writer.graph.node.at(-1)!.opType = 'Erf';
  writer.ints('picks', [1, 0, -1]).node('Gather', ['bent', 'picks'], ['picked'], { axis: 2 });
  writer.floats('g', [3], [1, 2, 3]).node('LayerNormalization', ['picked', 'g'], ['normal']);
  writer.floats('w', [1, 8, 3], range(24)).floats('r', [1, 8, 2], range(16));
  writer.node('Reshape', ['normal', 'times'], ['sequence']).ints('times', [2, -1, 3]);
  return writer
    .node('LSTM', ['sequence', 'w', 'r'], ['y'], { hidden_size: 2 })
    .node('ArgMax', ['y'], ['z'], { axis: 0 })
    .output('z')
    .bytes();
}

fuzz('damaged bytes of a tiny model', async () => {
  const bytes = tiny();
  assert.ok(await loadsOrRefuses(bytes));
  let refused = 0;
  const property = fc.asyncProperty(damage, async (changes) => {
    if (!(await loadsOrRefuses(apply(bytes, changes)))) refused++;
  });
  await fc.assert(property, { seed: 11, numRuns: 1500 });
  assert.ok(refused > 500, `${refused} refused`);
});

fuzz('damaged bytes of a model that moves and reduces', async () => {
  const bytes = moving();
  await load(bytes);
  const property = fc.asyncProperty(damage, async (changes) => {
    await loadsOrRefuses(apply(bytes, changes));
  });
  await fc.assert(property, { seed: 14, numRuns: 600 });
});

fuzz('damaged bytes of a real model', async () => {
  const bytes = await readFixture('models/fashion_student.onnx');
  // Most bytes are weights: damage the ends, where names, nodes and shapes are, and now and then the middle.
  const spread = (at: number) => (at < 0.8 ? (at / 0.8) * 0.008 : at);
  const property = fc.asyncProperty(damage, async (changes) => {
    await loadsOrRefuses(
      apply(
        bytes,
        changes.map((change) => ({ ...change, at: spread(change.at) })),
      ),
    );
  });
  await fc.assert(property, { seed: 12, numRuns: 60 });
});

const numbers = fc.constantFrom(0n, 1n, -1n, 2n, 3n, 7n, 255n, 65536n, -65536n, 2n ** 31n, 2n ** 62n, -(2n ** 63n));

for (const [title, make] of Object.entries({ tiny, moving }))
  fuzz(`mutated attributes, dimensions and names: ${title}`, async () => {
    const bytes = make();
    const mutation = fc.record({
      what: fc.constantFrom('attribute', 'dims', 'input', 'inputs', 'shape', 'output', 'type', 'op'),
      which: fc.nat(1000),
      value: numbers,
    });
    const property = fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
      const proto = fromBinary(ModelProtoSchema, bytes);
      for (const { what, which, value } of mutations) mutate(proto, what, which, value);
      await loadsOrRefuses(toBinary(ModelProtoSchema, proto));
    });
    await fc.assert(property, { seed: 13, numRuns: 1500 });
  });

function mutate(proto: ModelProto, what: string, which: number, value: bigint): void {
  const { node, initializer, input } = proto.graph!;
  const pick = <T>(list: T[]): T => list[which % list.length];
  const target = pick(node);
  if (what === 'attribute') {
    const attribute = pick(node.flatMap((each) => each.attribute));
    if (attribute.ints.length > 0) attribute.ints[which % attribute.ints.length] = value;
    else attribute.i = value;
    attribute.f = Number(value);
  } else if (what === 'dims') {
    const { dims } = pick(initializer);
    dims[which % dims.length] = value;
  } else if (what === 'input') {
    const dims = (input[0].type!.value.value as { shape: { dim: { value: { case: string; value: unknown } }[] } }).shape
      .dim;
    pick(dims).value = { case: 'dimValue', value };
  } else if (what === 'inputs') {
    if (target.input.length > 0) target.input[which % target.input.length] = pick(node.flatMap((each) => each.output));
  } else if (what === 'shape') {
    const shape = initializer.find(({ name }) => name === 'shape')!;
    shape.int64Data[which % 2] = value;
  } else if (what === 'output') {
    target.output[0] = pick(node).output[0];
  } else if (what === 'type') {
    pick(initializer).dataType = Number(value % 20n);
  } else {
    target.opType = pick(node).opType;
  }
}

fuzz.run();
