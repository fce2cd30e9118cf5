// Quantised models as tools write them against onnxruntime-web. Node only: see parity.node.test.ts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { TensorLike } from '../src/graph/inputs.js';
import type { NodeReport } from '../src/graph/model.js';
import { TensorProtoSchema } from '../src/onnx/generated/onnx_pb.js';
import { loadOnnx } from '../src/onnx/index.js';
import { createRuntime } from '../src/runtime.js';
import { codes } from './support/code-cases.js';
import { INT4, INT8, INT32, OnnxWriter, UINT4, UINT8 } from './support/onnx-writer.js';
import { calibrate, quantizeModel } from './support/quantize-model.js';
import { createRandom, normals } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';

ort.env.wasm.numThreads = 1;
/** No warnings, such as about constants that nothing reads. */
const QUIET = { logSeverityLevel: 3 } as const;

const parity = suite('quantised models and onnxruntime-web');

const random = createRandom(77);

interface Agreement {
  /** Of f32 outputs, relative to the largest. Default 3e-5. */
  tolerance?: number;
  /** Share of codes that may be one off, for a reason that the test states. Default none. */
  oneOff?: number;
}

/** Runs a written model on both and compares every output: integers exactly. */
async function agree(
  writer: OnnxWriter,
  inputs: Record<string, TensorLike>,
  { tolerance = 3e-5, oneOff = 0 }: Agreement = {},
): Promise<NodeReport[]> {
  const bytes = writer.bytes();
  const session = await ort.InferenceSession.create(bytes, QUIET);
  const runtime = await createRuntime({ backends: ['wasm'] });
  // Codes of 4 bits become int8 where that is faster.
  const model = await loadOnnx(runtime, bytes, { memory: 'packed' });
  const type = (data: TensorLike['data']) =>
    data instanceof Uint8Array ? 'uint8' : data instanceof Int8Array ? 'int8' : 'float32';
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, data }]) => [name, new ort.Tensor(type(data), data as never, shape)]),
  );
  const theirs = await session.run(feeds);
  const ours = await model.run(inputs);
  for (const { name } of model.outputs) {
    const want = theirs[name].data as Float32Array;
    const got = ours[name].data;
    assert.equal(ours[name].shape, [...theirs[name].dims], name);
    // Integers that no kernel has are f32 here.
    if (!(got instanceof Float32Array)) assert.is(got.constructor, want.constructor, `type of ${name}`);
    const floats = want instanceof Float32Array;
    const limit = floats ? tolerance * want.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3) : 0;
    const wrong = Array.from(want, (_, i) => i).filter((i) => !(Math.abs(got[i] - want[i]) <= limit));
    const far = wrong.filter((i) => floats || Math.abs(got[i] - want[i]) > 1);
    const shown = wrong.slice(0, 4).map((i) => `[${i}] = ${got[i]}, not ${want[i]}`);
    const what = `${name}: ${wrong.length} of ${want.length} wrong: ${shown.join('; ')}`;
    if (process.env.SHOW) console.log(what);
    assert.is(far.length, 0, what);
    assert.ok(wrong.length <= oneOff * want.length, what);
    assert.ok(new Set(want).size > 3, `${name} says nothing: all are ${want[0]}`);
  }
  const report = model.explain();
  model.free();
  runtime.free();
  await session.release();
  return report;
}

/** Writes quantisation parameters; names are counted. */
class Quantized {
  readonly writer: OnnxWriter;
  /** Codes of every pair. */
  readonly pairs: string[] = [];
  #count = 0;

  constructor(opset = 21) {
    this.writer = new OnnxWriter(opset);
  }

  name(what: string): string {
    return `${what}${this.#count++}`;
  }

  /** A scale and a zero point. */
  q(scale: number | number[], zeroPoint: number | number[], type: number): [string, string] {
    const [s, z] = [this.name('scale'), this.name('zero')];
    const dims = (x: number | number[]) => (typeof x === 'number' ? [] : [x.length]);
    const list = (x: number | number[]) => (typeof x === 'number' ? [x] : x);
    this.writer.floats(s, dims(scale), list(scale)).codes(z, dims(zeroPoint), list(zeroPoint), type);
    return [s, z];
  }

  codes(dims: number[], type: number): string {
    const name = this.name('w');
    const length = dims.reduce((a, b) => a * b, 1);
    const few = type === UINT4 ? 15 : 7;
    const data =
      type === UINT4 || type === INT4
        ? Int8Array.from({ length }, () => random.integer(type === UINT4 ? 0 : -8, few))
        : codes(random, length, type === UINT8 ? 'uint8' : 'int8');
    this.writer.codes(name, dims, data, type);
    return name;
  }

  bias(count: number): string {
    const name = this.name('b');
    this.writer.codes(
      name,
      [count],
      Array.from({ length: count }, () => random.integer(-3000, 3000)),
      INT32,
    );
    return name;
  }

  node(op: string, inputs: string[], attributes = {}): string {
    const output = this.name('v');
    this.writer.node(op, inputs, [output], attributes);
    return output;
  }

  /** A pair of QuantizeLinear and DequantizeLinear. */
  pair(x: string, scale: number, zeroPoint: number, type: number): string {
    const q = this.q(scale, zeroPoint, type);
    const made = this.node('QuantizeLinear', [x, ...q]);
    this.pairs.push(made);
    return this.node('DequantizeLinear', [made, ...q]);
  }

  /** Weights as codes before a DequantizeLinear. */
  weights(dims: number[], scale: number | number[], type: number, axis = 0): string {
    const middle = { [UINT8]: 128, [UINT4]: 8 }[type] ?? 0;
    const zero = typeof scale === 'number' ? middle : scale.map(() => middle);
    const attributes = typeof scale === 'number' ? {} : { axis };
    return this.node('DequantizeLinear', [this.codes(dims, type), ...this.q(scale, zero, type)], attributes);
  }
}

const scales = (count: number, scale: number) => Array.from({ length: count }, () => scale * (0.5 + random.next()));
const image = (shape: number[], spread = 1): TensorLike => ({
  shape,
  data: normals(
    random,
    shape.reduce((a, b) => a * b, 1),
    spread,
  ),
});
/** A zero point of 16 bits. */
const create16 = (name: string) =>
  create(TensorProtoSchema, { name, dims: [], dataType: 4, rawData: new Uint8Array(Uint16Array.of(30000).buffer) });

const ops = (report: NodeReport[]) => report.map(({ op }) => op).join(' ');

parity('QLinearConv, uint8 and int8, per tensor and per channel, grouped, depthwise, padded', async () => {
  const m = new Quantized(13);
  m.writer.input('u', [2, 6, 9, 8], UINT8).input('s', [1, 8, 7, 7], INT8);
  const conv = (
    x: string,
    [outputs, inputs]: number[],
    kernel: number,
    types: number[],
    attributes: object,
    per = true,
  ) => {
    const [xType, wType] = types;
    const zero = wType === UINT8 ? 120 : 0;
    const wq = per
      ? m.q(
          scales(outputs, 0.003),
          scales(outputs, 0).map(() => zero),
          wType,
        )
      : m.q(0.003, zero, wType);
    const inputQ = m.q(0.02, xType === UINT8 ? 131 : -3, xType);
    const outputQ = m.q(0.07, xType === UINT8 ? 110 : 5, xType);
    const w = m.codes([outputs, inputs, kernel, kernel], wType);
    return m.node('QLinearConv', [x, ...inputQ, w, ...wq, ...outputQ, m.bias(outputs)], attributes);
  };
  const pads = { pads: [1, 1, 1, 1] };
  m.writer.output(
    conv('u', [9, 6], 3, [UINT8, INT8], pads),
    conv('u', [8, 6], 3, [UINT8, UINT8], { strides: [2, 2], pads: [0, 1, 1, 0] }, false),
    conv('u', [4, 3], 1, [UINT8, INT8], { group: 2 }),
    conv('s', [8, 1], 3, [INT8, INT8], { ...pads, group: 8 }),
    conv('s', [5, 8], 2, [INT8, INT8], { dilations: [2, 2] }, false),
  );
  const u = { shape: [2, 6, 9, 8], data: codes(random, 864, 'uint8') };
  const report = await agree(m.writer, { u, s: { shape: [1, 8, 7, 7], data: codes(random, 392, 'int8') } });
  assert.is(report.filter(({ op, format }) => op === 'conv2d' && format === 'int8').length, 5);
});

parity('sums and products of integers: ConvInteger, MatMulInteger, QLinearMatMul', async () => {
  const m = new Quantized(13);
  m.writer.input('u', [1, 3, 6, 5], UINT8).input('a', [4, 19], UINT8).input('b', [19, 6], UINT8);
  const [, zero] = m.q(1, 77, UINT8);
  const [, zeros] = m.q(1, [3, 250, 0, 9, 100, 255], UINT8);
  const [, plain] = m.q(1, 0, INT8);
  m.writer.output(
    m.node('ConvInteger', ['u', m.codes([4, 3, 3, 3], UINT8), zero, zero], { pads: [1, 0, 0, 1] }),
    m.node('MatMulInteger', ['a', m.codes([19, 6], UINT8), zero, zeros]),
    m.node('MatMulInteger', ['a', m.codes([19, 7], INT8), '', plain]),
    m.node('MatMulInteger', ['a', 'b', zero, zero]),
    m.node('QLinearMatMul', [
      'a',
      ...m.q(0.1, 80, UINT8),
      m.codes([19, 5], INT8),
      ...m.q(0.02, 0, INT8),
      ...m.q(0.3, 90, UINT8),
    ]),
    m.node('QLinearMatMul', ['a', ...m.q(0.1, 80, UINT8), 'b', ...m.q(0.02, 130, UINT8), ...m.q(0.9, 120, UINT8)]),
  );
  const a = { shape: [4, 19], data: codes(random, 76, 'uint8') };
  const b = { shape: [19, 6], data: codes(random, 114, 'uint8') };
  const report = await agree(m.writer, { u: { shape: [1, 3, 6, 5], data: codes(random, 90, 'uint8') }, a, b });
  assert.match(ops(report), /batchMatmul/);
});

parity("onnxruntime's own operators on codes", async () => {
  const m = new Quantized(13);
  m.writer.input('a', [2, 5, 7, 6], UINT8).input('b', [2, 5, 7, 6], UINT8).input('r', [4, 40], UINT8);
  const [aq, bq, cq] = [m.q(0.031, 120, UINT8), m.q(0.017, 9, UINT8), m.q(0.043, 100, UINT8)];
  const ms = (op: string, inputs: string[], attributes = {}) => m.node(`com.microsoft.${op}`, inputs, attributes);
  m.writer.output(
    ms('QLinearAdd', ['a', ...aq, 'b', ...bq, ...cq]),
    ms('QLinearMul', ['a', ...aq, 'b', ...bq, ...m.q(0.06, 131, UINT8)]),
    ms('QLinearAdd', ['a', ...aq, m.codes([5, 1, 1], UINT8), ...bq, ...cq]),
    ms('QLinearGlobalAveragePool', ['a', ...aq, ...m.q(0.004, 128, UINT8)], { channels_last: 0 }),
    ms('QLinearAveragePool', ['a', ...aq, ...bq], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] }),
    ms('QLinearAveragePool', ['a', ...aq, ...cq], { kernel_shape: [2, 2], pads: [1, 1, 0, 0], count_include_pad: 1 }),
    ms('QLinearConcat', [...cq, 'a', ...aq, 'b', ...cq], { axis: 1 }),
    ms('QLinearSigmoid', ['a', ...aq, ...m.q(1 / 256, 0, UINT8)]),
    ms('QLinearLeakyRelu', ['a', ...aq, ...cq], { alpha: { float: 0.1 } }),
    ms('QGemm', [
      'r',
      ...aq,
      m.codes([40, 9], INT8),
      ...m.q(
        scales(9, 0.01),
        scales(9, 0).map(() => 0),
        INT8,
      ),
      m.bias(9),
      ...m.q(0.4, 111, UINT8),
    ]),
    ms('QGemm', ['r', ...aq, m.codes([9, 40], UINT8), ...m.q(0.01, 99, UINT8), m.bias(9)], { transB: 1 }),
    ms('MatMulIntegerToFloat', [
      'r',
      m.codes([40, 6], UINT8),
      aq[0],
      ...m.q(0.02, 7, UINT8).slice(0, 1),
      aq[1],
      m.q(0.02, 7, UINT8)[1],
    ]),
  );
  const shape = [2, 5, 7, 6];
  const report = await agree(
    m.writer,
    {
      a: { shape, data: codes(random, 420, 'uint8') },
      b: { shape, data: codes(random, 420, 'uint8') },
      r: { shape: [4, 40], data: codes(random, 160, 'uint8') },
    },
    { oneOff: 0.03 },
  );
  assert.not.match(ops(report), /dequantize/);
});

/** A small residual network between pairs of QuantizeLinear and DequantizeLinear, as quantisers write them. */
function network(type: number, wType: number): Quantized {
  const step = { [UINT8]: 0.004, [INT8]: 0.004, [UINT4]: 0.06, [INT4]: 0.06 }[wType]!;
  const m = new Quantized();
  const zero = type === UINT8 ? 128 : 0;
  const pair = (x: string, scale: number) => m.pair(x, scale, zero, type);
  const conv = (x: string, inputStep: number, dims: number[], attributes: object, relu = true) => {
    const scale = scales(dims[0], step);
    const w = m.weights(dims, scale, wType);
    const bias = m.node(
      'DequantizeLinear',
      [
        m.bias(dims[0]),
        ...m.q(
          scale.map((s) => Math.fround(s) * Math.fround(inputStep)),
          scale.map(() => 0),
          INT32,
        ),
      ],
      {
        axis: 0,
      },
    );
    const y = m.node('Conv', [x, w, bias], attributes);
    return relu ? m.node('Relu', [y]) : y;
  };
  m.writer.input('x', ['N', 3, 16, 12]);
  const pads = { pads: [1, 1, 1, 1] };
  const x = pair('x', 0.02);
  const a = pair(conv(x, 0.02, [8, 3, 3, 3], { ...pads, strides: [2, 2] }), 0.03);
  const b = pair(conv(a, 0.03, [8, 1, 3, 3], { ...pads, group: 8 }), 0.03);
  const c = pair(conv(b, 0.03, [8, 8, 1, 1], {}, false), 0.04);
  const sum = pair(m.node('Add', [a, c]), 0.05);
  const pooled = pair(m.node('MaxPool', [sum], { kernel_shape: [2, 2], strides: [2, 2] }), 0.05);
  const gate = pair(m.node('Sigmoid', [pooled]), 1 / 255);
  const gated = pair(m.node('Mul', [pooled, gate]), 0.03);
  const joined = pair(m.node('Concat', [gated, pooled], { axis: 1 }), 0.05);
  m.writer.floats('sizes', [4], [1, 1, 2, 2]);
  const wide = pair(
    m.node('Resize', [joined, '', 'sizes'], {
      mode: 'nearest',
      coordinate_transformation_mode: 'asymmetric',
      nearest_mode: 'floor',
    }),
    0.05,
  );
  const averaged = pair(m.node('GlobalAveragePool', [wide]), 0.02);
  const flat = m.node('Flatten', [averaged]);
  const w = m.weights([10, 16], scales(10, 1.5 * step), wType);
  const logits = m.node('Gemm', [flat, w], { transB: 1 });
  m.writer.output(pair(logits, 0.05), m.node('Softmax', [logits]));
  return m;
}

const everyType = [
  [UINT8, INT8],
  [INT8, INT8],
  [UINT8, UINT8],
  [UINT8, INT4],
  [INT8, UINT4],
] as const;

parity('QDQ pairs around a network: the codes between all of its layers, exactly', async () => {
  for (const [type, wType] of everyType) {
    const m = network(type, wType);
    m.writer.output(...m.pairs);
    await agree(m.writer, { x: image([3, 3, 16, 12]) });
  }
});

parity('QDQ pairs around a network: codes all the way, one transpose at its input', async () => {
  for (const [type, wType] of everyType.slice(2, 4)) {
    const report = await agree(network(type, wType).writer, { x: image([2, 3, 16, 12]) });
    // Where weights of 4 bits are not put into another order, a transpose that moves nothing stays.
    assert.is(
      ops(report).replace('reshape reshape', 'reshape'),
      'quantize transpose conv2d conv2d conv2d qAdd maxPool2d lookup qMul lookup concat resample resample averagePool2d ' +
        'reshape linear quantize dequantize softmax',
    );
    const formats = report.flatMap(({ format }) => format ?? []);
    assert.equal(new Set(formats), new Set([wType === INT4 || wType === UINT4 ? 'int4' : 'int8']));
  }
});

parity('pairs around what moves codes, and what is no code again', async () => {
  const m = new Quantized();
  const pair = (x: string, scale = 0.03) => m.pair(x, scale, 100, UINT8);
  m.writer.input('x', [2, 4, 6, 8]);
  m.writer.ints('pads', [0, 0, 1, 2, 0, 0, 0, 1]).ints('starts', [1]).ints('ends', [5]).ints('axes', [3]);
  m.writer.ints('flat', [2, 4, -1]).ints('rows', [2, 0, 3]).ints('axis2', [2]).floats('gamma', [8], scales(8, 1));
  m.writer.floats('half', [], [0.5]);
  const x = pair('x');
  const padded = pair(m.node('Pad', [x, 'pads']));
  const cut = pair(m.node('Slice', [padded, 'starts', 'ends', 'axes']));
  const turned = pair(m.node('Transpose', [cut], { perm: [0, 2, 3, 1] }));
  const gathered = pair(m.node('Gather', [turned, 'rows'], { axis: 3 }));
  const leaky = pair(m.node('LeakyRelu', [gathered], { alpha: { float: 0.2 } }), 0.02);
  const swish = pair(m.node('HardSwish', [leaky]), 0.02);
  pair(m.node('Mul', [swish, 'half']), 0.01);
  pair(m.node('AveragePool', [x], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2] }), 0.02);
  const norm = pair(m.node('LayerNormalization', [x, 'gamma'], { axis: -1 }), 0.03);
  pair(m.node('Reshape', [norm, 'flat']));
  pair(m.node('Add', [x, m.weights([4, 1, 1], 0.02, INT8)]), 0.04);
  m.writer.output(...m.pairs);
  // A table may say otherwise than f32 where a tie is near; averages are rounded once here and twice in QDQ form.
  const report = await agree(m.writer, { x: image([2, 4, 6, 8]) }, { oneOff: 0.02 });
  assert.match(ops(report), /pad slice transpose gather lookup lookup lookup/);
  assert.match(ops(report), /averagePool2d/);
  assert.match(ops(report), /qAdd/);
});

parity('weights that are codes under activations of f32, and tables', async () => {
  const m = new Quantized();
  m.writer.input('x', [5, 64]).input('ids', [7], UINT8).input('s', [2, 6, 30]);
  m.writer.node('Cast', ['ids'], ['at'], { to: 7 });
  const w = m.weights([20, 64], scales(20, 0.01), INT8);
  const blocked = m.node(
    'DequantizeLinear',
    (() => {
      const [codes, s] = [m.codes([64, 12], INT4), m.name('scale')];
      m.writer.floats(s, [2, 12], scales(24, 0.05));
      return [codes, s];
    })(),
    { axis: 0, block_size: 32 },
  );
  m.writer.floats('trained', [64, 8], normals(random, 512, 0.3));
  const perColumn = m.q(scales(8, 0.006), new Array(8).fill(0), INT8);
  const behindPair = m.node(
    'DequantizeLinear',
    [m.node('QuantizeLinear', ['trained', ...perColumn], { axis: 1 }), ...perColumn],
    { axis: 1 },
  );
  const outputs = [
    m.node('MatMul', ['x', m.node('Transpose', [w], { perm: [1, 0] })]),
    m.node('MatMul', ['x', blocked]),
    m.node('Gemm', ['x', m.weights([64, 9], 0.01, UINT8)]),
    m.node('Gather', [m.weights([50, 11], 0.02, INT8), 'at']),
    m.node('Conv', ['s', m.weights([8, 6, 5], scales(8, 0.01), INT8)]),
    // As training with quantisation leaves them: f32 behind both.
    m.node('MatMul', ['x', behindPair]),
  ];
  m.writer.output(...outputs);
  // Activations of f32 are quantised to 8 bits here and not there: a step is 1 / 255 of some 6 standard deviations, off
  // by 0.3 of it; the largest of a hundred outputs is some 3 of their standard deviations.
  const report = await agree(
    m.writer,
    { x: image([5, 64]), ids: { shape: [7], data: Uint8Array.of(0, 49, 3, 3, 20, 31, 8) }, s: image([2, 6, 30]) },
    { tolerance: 0.02 },
  );
  assert.equal(
    report.flatMap(({ format }) => format ?? []),
    ['int8', 'int4', 'int8', 'int8', 'int8'],
  );
  assert.match(ops(report), /gather dequantize/);
});

parity('tables stay codes: a scale for all, a row, a column and a block of it; GatherBlockQuantized', async () => {
  const m = new Quantized();
  m.writer.input('ids', [2, 3], UINT8);
  m.writer.node('Cast', ['ids'], ['at'], { to: 7 });
  const blocks = (type: number, dims: [number, number], block: number, hasZeros: boolean) => {
    const [s, z] = [m.name('scale'), m.name('zero')];
    const [rows, count] = [dims[0], Math.ceil(dims[1] / block)];
    m.writer.floats(s, [rows, count], scales(rows * count, 0.05));
    if (!hasZeros) return [s];
    const least = { [INT8]: -128, [INT4]: -8 }[type] ?? 0;
    const most = { [INT8]: 127, [INT4]: 7, [UINT4]: 15 }[type] ?? 255;
    const zeros = Array.from({ length: rows * count }, () => random.integer(least, most));
    m.writer.codes(z, [rows, count], zeros, type);
    return [s, z];
  };
  const table = (type: number, dims: [number, number], block: number, hasZeros: boolean) =>
    m.node('DequantizeLinear', [m.codes(dims, type), ...blocks(type, dims, block, hasZeros)], {
      axis: 1,
      block_size: block,
    });
  const gathered = [
    m.weights([50, 12], 0.02, UINT4),
    m.weights([50, 13], scales(50, 0.02), INT4),
    m.weights([50, 12], scales(50, 0.02), UINT8),
    m.weights([50, 12], scales(12, 0.02), INT8, 1),
    m.weights([50, 12], scales(12, 0.02), INT4, 1),
    table(INT8, [50, 32], 16, true),
    table(UINT4, [50, 32], 8, true),
    table(INT4, [50, 32], 16, false),
  ].map((data) => m.node('Gather', [data, 'at']));
  const ofBlocks = (type: number, dims: [number, number], hasZeros: boolean) =>
    m.node('com.microsoft.GatherBlockQuantized', [m.codes(dims, type), 'at', ...blocks(type, dims, 16, hasZeros)], {
      block_size: 16,
    });
  const bytes = (bits: 4 | 8, hasZeros: boolean) => {
    const [s, z] = [m.name('scale'), m.name('zero')];
    m.writer.floats(s, [50, 4], scales(200, 0.05));
    const zeroDims = [50, bits / 2];
    if (hasZeros) m.writer.codes(z, zeroDims, codes(random, 25 * bits, 'uint8'), UINT8);
    const inputs = [m.codes([50, 8 * bits], UINT8), 'at', s, ...(hasZeros ? [z] : [])];
    return m.node('com.microsoft.GatherBlockQuantized', inputs, { block_size: 16, bits });
  };
  m.writer.output(
    ...gathered,
    ofBlocks(INT4, [50, 40], true),
    ofBlocks(UINT4, [50, 48], true),
    ofBlocks(INT4, [50, 48], false),
    ofBlocks(UINT4, [50, 48], false),
    ...([4, 8] as const).flatMap((bits) => [bytes(bits, false), bytes(bits, true)]),
  );
  const ids = { shape: [2, 3], data: Uint8Array.of(0, 49, 3, 3, 20, 31) };
  const report = await agree(m.writer, { ids }, { tolerance: 1e-7 });
  assert.match(ops(report), /gather lookup/);
  const model = await loadOnnx({ backends: [new ReferenceBackend()] }, m.writer.bytes());
  // Codes of 4 bits lie two to a byte; what f32 would take is 4 bytes a number.
  const floats = 4 * 50 * (12 + 13 + 12 + 12 + 12 + 32 + 32 + 32 + 40 + 48 * 3 + 64 * 4);
  await model.run({ ids });
  assert.ok(model.memory.constantBytes < 0.45 * floats, `${model.memory.constantBytes} of ${floats} bytes`);
  model.free();
});

parity('ConvTranspose between pairs: codes in and out, signed and unsigned, a scale an output or one', async () => {
  const m = new Quantized();
  m.writer.input('x', [2, 6, 5, 4]);
  const x = m.pair('x', 0.03, 120, UINT8);
  const of = (
    dims: number[],
    scale: number | number[],
    type: number,
    attributes: Record<string, unknown>,
    step: number,
  ) => {
    const bias = m.name('bias');
    const outputs = dims[1] * ((attributes.group as number) ?? 1);
    m.writer.floats(bias, [outputs], normals(random, outputs));
    m.pair(m.node('ConvTranspose', [x, m.weights(dims, scale, type, 1), bias], attributes), step, 128, UINT8);
  };
  of([6, 5, 3, 3], 0.01, INT8, { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] }, 0.25);
  of([6, 5, 2, 2], scales(5, 0.01), INT8, { strides: [2, 2] }, 0.1);
  of([6, 3, 4, 3], 0.01, UINT8, { strides: [2, 1], pads: [1, 0, 1, 2], group: 2 }, 0.2);
  of([6, 3, 3, 2], scales(3, 0.01), INT8, { strides: [1, 3], group: 2 }, 0.2);
  m.writer.output(...m.pairs);
  // onnxruntime has this in f32 and rounds there.
  const report = await agree(m.writer, { x: image([2, 6, 5, 4]) }, { oneOff: 0.01 });
  assert.equal(
    report.flatMap(({ format }) => format ?? []),
    ['int8', 'int8', 'int8', 'int8'],
  );
  assert.not.match(ops(report), /dequantize/);
});

parity('recurrent layers keep weights of 8 bits packed', async () => {
  const [times, batch, inputs, hidden] = [5, 2, 7, 6];
  const m = new Quantized();
  m.writer.input('x', [times, batch, inputs]);
  const bias = (rows: number) => {
    const name = m.name('bias');
    m.writer.floats(name, [rows / (8 * hidden), 8 * hidden], normals(random, rows, 0.2));
    return name;
  };
  const dynamic = (directions: number, type: number, perRow: boolean) => {
    const count = directions * (perRow ? 4 * hidden : 1);
    const dims = perRow ? [directions, 4 * hidden] : [directions];
    const params = () => {
      const [s, z] = [m.name('scale'), m.name('zero')];
      const zeros =
        type === UINT8 ? Array.from({ length: count }, () => random.integer(110, 140)) : Array(count).fill(0);
      m.writer.floats(s, dims, scales(count, 0.004)).codes(z, dims, zeros, type);
      return [s, z];
    };
    const [w, r] = [inputs, hidden].map((size) => m.codes([directions, size, 4 * hidden], type));
    const outputs = ['y', 'h', 'c'].map((what) => m.name(what));
    const direction = directions === 2 ? 'bidirectional' : 'forward';
    const given = ['x', w, r, bias(directions * 8 * hidden), '', '', '', '', ...params(), ...params()];
    m.writer.node('com.microsoft.DynamicQuantizeLSTM', given, outputs, { hidden_size: hidden, direction });
    return outputs;
  };
  const between = (op: string, gates: number, attributes = {}) => {
    const y = m.name('y');
    const [w, r] = [inputs, hidden].map((size) => m.weights([1, gates * hidden, size], 0.004, INT8));
    m.writer.node(op, ['x', w, r], [y], { hidden_size: hidden, ...attributes });
    return y;
  };
  m.writer.output(
    ...dynamic(1, INT8, true),
    ...dynamic(2, UINT8, false),
    between('LSTM', 4),
    between('GRU', 3),
    between('GRU', 3, { linear_before_reset: 1 }),
    between('RNN', 1),
  );
  // What arrives is quantised to 8 bits, here a row at a time, there all of it or nothing: steps of 1 / 255 of the range.
  const report = await agree(m.writer, { x: image([times, batch, inputs]) }, { tolerance: 0.02 });
  const formats = report.flatMap(({ format }) => format ?? []);
  assert.equal(new Set(formats), new Set(['int8']));
});

parity('MatMulNBits: read as they lie', async () => {
  for (const [bits, format] of [
    [4, 'int4'],
    [8, 'int8Grouped'],
  ] as const) {
    const [K, N, block] = [100, 24, 32];
    const [groups, bytes] = [Math.ceil(K / block), (block * bits) / 8];
    const m = new Quantized();
    m.writer.input('x', [6, K]);
    m.writer.codes('B', [N, groups, bytes], codes(random, N * groups * bytes, 'uint8'), UINT8);
    m.writer.floats('S', [N * groups], scales(N * groups, 0.02));
    m.writer.codes(
      'Z',
      [N * Math.ceil((groups * bits) / 8)],
      codes(random, N * Math.ceil((groups * bits) / 8), 'uint8'),
      UINT8,
    );
    const attributes = { K, N, bits, block_size: block };
    m.writer.output(
      m.node('com.microsoft.MatMulNBits', ['x', 'B', 'S'], attributes),
      m.node('com.microsoft.MatMulNBits', ['x', 'B', 'S', 'Z'], attributes),
    );
    const report = await agree(m.writer, { x: image([6, K]) }, { tolerance: 0.02 });
    assert.equal(
      report.map((node) => node.format),
      [format, format],
    );
  }
});

parity('what quantize_dynamic writes: layers that quantise their input themselves', async () => {
  const m = new Quantized(13);
  m.writer.input('x', ['N', 40]).input('i', [2, 3, 9, 9]);
  m.writer.floats('bias', [12], normals(random, 12)).floats('ws', [1], [0.01]).floats('wsn', [12], scales(12, 0.01));
  const dynamic = (x: string) => {
    const outputs = [0, 1, 2].map(() => m.name('d'));
    m.writer.node('DynamicQuantizeLinear', [x], outputs);
    return outputs;
  };
  const product = (x: string, w: string, wZero: string, scale: string) => {
    const [y, s, zero] = dynamic(x);
    const sums = m.node('MatMulInteger', [y, w, zero, wZero]);
    return m.node('Mul', [m.node('Cast', [sums], { to: 1 }), m.node('Mul', [s, scale])]);
  };
  const a = m.node('Relu', [m.node('Add', ['bias', product('x', m.codes([40, 12], INT8), m.q(1, 0, INT8)[1], 'wsn')])]);
  const b = product(a, m.codes([12, 10], UINT8), m.q(1, 117, UINT8)[1], 'ws');
  const [y, s, zero] = dynamic('i');
  const conv = m.node('ConvInteger', [y, m.codes([6, 3, 3, 3], INT8), zero, m.q(1, 0, INT8)[1]], {
    pads: [1, 1, 1, 1],
  });
  const c = m.node('Mul', [m.node('Cast', [conv], { to: 1 }), m.node('Mul', [s, 'ws'])]);
  const d = m.node('com.microsoft.DynamicQuantizeMatMul', ['x', m.codes([40, 12], INT8), 'wsn', '', 'bias']);
  m.writer.output(b, c, d);
  // Both quantise activations to 8 bits, by all rows together and a row at a time.
  const report = await agree(m.writer, { x: image([4, 40]), i: image([2, 3, 9, 9]) }, { tolerance: 0.03 });
  assert.equal(report.map(({ op, format }) => (format ? `${op} ${format}` : op)).sort(), [
    'conv2d int8',
    'linear int8',
    'linear int8',
    'linear int8',
    'transpose',
    'transpose',
  ]);
});

parity('DynamicQuantizeLinear alone, and sums by its zero point', async () => {
  const m = new Quantized(13);
  m.writer.input('x', [6, 20]).node('DynamicQuantizeLinear', ['x'], ['y', 's', 'z']);
  m.writer.output('y', m.node('MatMulInteger', ['y', m.codes([20, 9], INT8), 'z']));
  m.writer.output(
    m.node('ConvInteger', [m.node('Reshape', ['y', 'shape']), m.codes([3, 2, 2, 2], UINT8), 'z'], {
      pads: [1, 1, 1, 1],
    }),
  );
  m.writer.ints('shape', [1, 2, 6, 10]);
  await agree(m.writer, { x: image([6, 20]) });
});

parity('scales along an axis or in blocks, codes of 4 and 16 bits, signals', async () => {
  const m = new Quantized();
  m.writer.input('x', [3, 4, 8]).input('s', [2, 4, 21]);
  const axis = (type: number) => m.q(scales(4, 0.03), [3, 0, 7, 1], type);
  const perAxis = axis(UINT8);
  m.writer.floats('bs', [3, 4, 2], scales(24, 0.05));
  const q8 = m.node('QuantizeLinear', ['x', ...perAxis], { axis: 1 });
  const blocked = m.node('QuantizeLinear', ['x', 'bs'], { axis: 2, block_size: 4, output_dtype: 3 });
  const wide = m.q(0.0001, 30000, 4);
  m.writer.graph.initializer.pop();
  m.writer.graph.initializer.push(create16(wide[1]));
  const q16 = m.node('DequantizeLinear', [m.node('QuantizeLinear', ['x', ...wide]), ...wide]);
  const signal = m.pair('s', 0.02, 128, UINT8);
  const scale = scales(6, 0.005);
  const bias = m.node(
    'DequantizeLinear',
    [
      m.bias(6),
      ...m.q(
        scale.map((w) => Math.fround(w) * Math.fround(0.02)),
        scale.map(() => 0),
        INT32,
      ),
    ],
    { axis: 0 },
  );
  const conv = m.node('Conv', [signal, m.weights([6, 4, 3], scale, INT8), bias], { pads: [1, 1] });
  m.pair(conv, 0.05, 120, UINT8);
  m.writer.output(q8, m.node('DequantizeLinear', [q8, ...perAxis], { axis: 1 }), blocked);
  m.writer.output(m.node('DequantizeLinear', [blocked, 'bs'], { axis: 2, block_size: 4 }), q16, ...m.pairs);
  const report = await agree(m.writer, { x: image([3, 4, 8]), s: image([2, 4, 21]) });
  const convolution = report.find(({ op }) => op === 'conv2d')!;
  assert.is(convolution.format, 'int8');
});

const IMAGES = 500;
const BATCH = 100;

/** Images and labels of the test set, from the first or the last on. */
function testImages(from: number, count: number): { image: Float32Array; labels: Uint8Array } {
  const read = (what: string) => gunzipSync(readFileSync(join(process.cwd(), `data/t10k-${what}-ubyte.gz`)));
  const bytes = read('images-idx3').subarray(16 + from * 784, 16 + (from + count) * 784);
  return {
    image: Float32Array.from(bytes, (byte) => byte / 255),
    labels: read('labels-idx1').subarray(8 + from, 8 + from + count),
  };
}

parity('fashion_float as int8, QDQ and QOperator: logits to the code, accuracy', async () => {
  const float = readFileSync(join(process.cwd(), 'models/fashion_float.onnx'));
  const runtime = await createRuntime({ backends: ['wasm'] });
  const ranges = await calibrate(runtime, float, [{ image: testImages(9500, 500).image }]);
  const { image, labels } = testImages(0, IMAGES);
  const accuracies: string[] = [];
  for (const form of ['qdq', 'qoperator'] as const) {
    const bytes = quantizeModel(float, ranges, form);
    const session = await ort.InferenceSession.create(bytes, QUIET);
    const model = await loadOnnx(runtime, bytes);
    const [{ name }] = model.outputs;
    let right = 0;
    let wrong = 0;
    for (let first = 0; first < IMAGES; first += BATCH) {
      const batch = image.subarray(first * 784, (first + BATCH) * 784);
      const theirs = (await session.run({ image: new ort.Tensor('float32', batch, [BATCH, 1, 28, 28]) }))[name];
      const ours = (await model.run({ image: batch }))[name].data;
      for (const [i, x] of (theirs.data as Float32Array).entries()) if (!(ours[i] === x)) wrong++;
      for (let n = 0; n < BATCH; n++) {
        const logits = Array.from(ours.subarray(n * 10, n * 10 + 10));
        if (logits.indexOf(Math.max(...logits)) === labels[first + n]) right++;
      }
    }
    accuracies.push(`${form} ${((100 * right) / IMAGES).toFixed(1)} %, ${wrong} logits differ`);
    assert.ok(right > 0.92 * IMAGES, `${form}: ${right} of ${IMAGES} are right`);
    assert.is(wrong, 0, `${form}: logits that differ from onnxruntime-web's`);
    const report = model.explain();
    assert.equal(
      report.flatMap(({ format }) => format ?? []),
      new Array(8).fill('int8'),
    );
    assert.is(ops(report).match(/dequantize|transpose/g)?.length, 1, ops(report));
    model.free();
    await session.release();
  }
  console.log(`fashion_float as int8, ${IMAGES} images: ${accuracies.join('; ')}`);
  runtime.free();
});

parity.run();
