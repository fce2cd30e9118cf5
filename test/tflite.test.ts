import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from '../src/backend.js';
import { type ErrorCode, ThinferError } from '../src/errors.js';
import type { ModelOptions } from '../src/graph/model.js';
import {
  BuiltinOperator as Op,
  BuiltinOptions as Options,
  TensorType as Type,
} from '../src/tflite/generated/tflite_generated.js';
import { loadTflite, readTflite } from '../src/tflite/index.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { readFixture } from './support/fixtures.js';
import { createRandom, uniforms } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';
import { type TfliteCase, tfliteCases } from './support/tflite-cases.js';
import { tfliteFiles } from './support/tflite-files.js';
import {
  type OptionValue,
  TfliteWriter,
  type WrittenLevel,
  type WrittenQuantization,
  type WrittenTensor,
} from './support/tflite-writer.js';

const ARRAYS = { Float32Array, Int32Array, Int8Array };

/** Elements, by the name of their array, in base64. */
interface Packed {
  type: keyof typeof ARRAYS;
  shape: number[];
  data: string;
}

/** What bench/litert-answers.ts keeps. */
async function litertAnswers(): Promise<Record<string, Packed[]>> {
  const text = new TextDecoder().decode(await readFixture('test/data/tflite/litert.json'));
  return JSON.parse(text).answers;
}

const elementsOf = ({ type, data }: Packed) =>
  new ARRAYS[type](Uint8Array.from(atob(data), (char) => char.charCodeAt(0)).buffer);

function load(bytes: Uint8Array, backend: Backend = new ReferenceBackend(), options?: ModelOptions) {
  return loadTflite({ backends: [backend] }, bytes, options);
}

/** Compares a model's answers with LiteRT.js's: codes exactly, numbers within a share of the largest. */
async function compare(
  { name, bytes, inputs, tolerance }: TfliteCase,
  answers: Packed[],
  backend: Backend,
): Promise<void> {
  const model = await load(bytes, backend);
  const given = inputs.map(({ shape, data }, i) => [model.inputs[i].name, { shape, data }]);
  const outputs = Object.values(await model.run(Object.fromEntries(given)));
  model.free();
  assert.is(outputs.length, answers.length, name);
  for (const [i, packed] of answers.entries()) {
    const [want, got] = [elementsOf(packed), outputs[i].data];
    assert.equal(outputs[i].shape, packed.shape, name);
    const isCodes = want instanceof Int8Array;
    if (isCodes) assert.instance(got, Int8Array, name);
    const largest = Math.max(...Array.from(want, Math.abs));
    const allowed = isCodes ? (tolerance ?? 0) : (tolerance ?? 1e-5) * largest;
    const wrong = want.findIndex((x, at) => !(Math.abs(x - got[at]) <= allowed));
    if (wrong >= 0) assert.unreachable(`${name}[${wrong}] is ${got[wrong]}, LiteRT.js has ${want[wrong]}`);
  }
}

/** How many cases bench/litert-answers.ts has answers for: the runs of the eight files, and models of one operator. */
const FILES = 24;
const CASES = 136;

const litert = suite('LiteRT.js answers the same');

for (const [title, create] of [
  ['the oracle', async () => new ReferenceBackend()],
  ['WASM', () => createWasmBackend()],
] as const) {
  litert(`models of one operator on ${title}`, async () => {
    const [answers, backend, cases] = [await litertAnswers(), await create(), tfliteCases()];
    assert.is(cases.length, CASES);
    for (const one of cases) await compare(one, answers[one.name] ?? assert.unreachable(one.name), backend);
  });

  litert(`the reference networks of MLPerf Tiny on ${title}`, async () => {
    const [answers, backend] = [await litertAnswers(), await create()];
    const files = await tfliteFiles(readFixture);
    assert.is(files.length, FILES);
    for (const one of files) await compare(one, answers[one.name] ?? assert.unreachable(one.name), backend);
  });
}

litert('weights stay as the file has them', async () => {
  const cases = new Map(tfliteCases().map((one) => [one.name, one]));
  const formats: Record<string, string> = {
    'weights of 16 bits': 'f16',
    'sparse weights': 'csr',
    'weights sparse in blocks': 'csr',
    'hybrid conv': 'int8',
    'hybrid fully connected': 'int8',
    'int8 conv': 'int8',
    'int8 depthwise conv': 'int8',
  };
  for (const [name, format] of Object.entries(formats)) {
    // The scheduler may run halves as f32.
    const model = await load(cases.get(name)!.bytes, undefined, { memory: 'packed' });
    const layers = model.explain().filter((node) => node.format !== undefined);
    assert.equal(
      layers.map((node) => node.format),
      [format],
      name,
    );
    model.free();
  }
});

/** One fully connected layer. */
function fullyConnected(x: WrittenTensor, w: WrittenTensor, y: WrittenTensor): Uint8Array {
  return new TfliteWriter()
    .input('x', x)
    .tensor('w', w)
    .tensor('y', y)
    .operator(Op.FULLY_CONNECTED, ['x', 'w', ''], ['y'], Options.FullyConnectedOptions, [{ int8: 0 }])
    .output('y')
    .bytes();
}

litert('unsigned codes mean the same as signed ones', async () => {
  const random = createRandom(5);
  const signed = (length: number) => Int8Array.from({ length }, () => random.integer(-128, 127));
  const [x, w] = [signed(2 * 40), signed(7 * 40)];
  const unsigned = (data: Int8Array) => Uint8Array.from(data, (code) => code + 128);
  const model = (type: Type, weights: Int8Array | Uint8Array, shift: number) => {
    const codes = (scale: number, zeroPoint: number) => ({ scale: [scale], zeroPoint: [zeroPoint + shift] });
    const of = (shape: number[], scale: number, zeroPoint: number) => {
      return { shape, type, quantization: codes(scale, zeroPoint) };
    };
    return fullyConnected(of([2, 40], 0.1, 4), { ...of([7, 40], 0.02, -3), data: weights }, of([2, 7], 0.9, -11));
  };
  const backend = await createWasmBackend();
  const [plus, minus] = await Promise.all([
    load(model(Type.UINT8, unsigned(w), 128), backend),
    load(model(Type.INT8, w, 0), backend),
  ]);
  const [above, below] = [await plus.run({ x: unsigned(x) }), await minus.run({ x })];
  assert.instance(above.y.data, Uint8Array);
  assert.equal(above.y.data, unsigned(below.y.data as unknown as Int8Array));
  assert.ok(new Set(below.y.data).size > 5);
});

litert('codes of 4 bits are the same numbers in 8', async () => {
  const random = createRandom(6);
  for (const cols of [31, 32]) {
    const codes = Int8Array.from({ length: 5 * cols }, () => random.integer(-8, 7));
    const nibbles = new Uint8Array(Math.ceil(codes.length / 2));
    for (const [i, code] of codes.entries()) nibbles[i >> 1] |= (code & 15) << (4 * (i & 1));
    const quantization = { scale: [0.1, 0.2, 0.3, 0.4, 0.5] };
    const model = (type: Type, data: Int8Array | Uint8Array) =>
      fullyConnected({ shape: [3, cols] }, { shape: [5, cols], type, data, quantization }, { shape: [3, 5] });
    const backend = await createWasmBackend();
    const [four, eight] = [
      await load(model(Type.INT4, nibbles), backend, { memory: 'packed' }),
      await load(model(Type.INT8, codes), backend),
    ];
    assert.equal(
      [four, eight].map((net) => net.explain()[0].format),
      ['int4', 'int8'],
    );
    const x = uniforms(random, 3 * cols);
    const [a, b] = [(await four.run({ x })).y.data, (await eight.run({ x })).y.data];
    for (const [i, y] of b.entries()) assert.ok(Math.abs(y - a[i]) <= 1e-5 * (1 + Math.abs(y)), `${y} and ${a[i]}`);
  }
});

litert('a batch is open where the file says so', async () => {
  const [{ bytes, inputs }] = (await tfliteFiles(readFixture)).filter(({ name }) => name === 'resnet8_cifar10_int8 1');
  const backend = await createWasmBackend();
  const model = await load(bytes, backend);
  const [{ name, shape }] = model.inputs;
  assert.type(shape[0], 'string');
  const one = inputs[0].data as Int8Array;
  const other = one.map((x) => -1 - x);
  const both = new Int8Array(2 * one.length);
  both.set(one);
  both.set(other, one.length);
  const [together] = Object.values(await model.run({ [name]: both }));
  const apart = [];
  for (const data of [one, other]) apart.push(...Object.values(await model.run({ [name]: data }))[0].data);
  assert.equal([...together.data], apart);
  model.free();
});

litert.run();

const reader = suite('TFLite files');

function throwsWith(code: ErrorCode, pattern: RegExp, bytes: Uint8Array): void {
  try {
    readTflite(bytes);
  } catch (error) {
    assert.instance(error, ThinferError, String((error as Error).stack));
    assert.is((error as ThinferError).code, code, String(error));
    assert.match((error as ThinferError).message, pattern);
    return;
  }
  assert.unreachable(`expected ThinferError ${code} ${pattern}`);
}

reader('shape arithmetic with an open batch is followed', async () => {
  const ints = (...values: number[]) => ({ shape: [values.length], type: Type.INT32, data: Int32Array.from(values) });
  const scalar = (value: number) => ({ shape: [], type: Type.INT32, data: Int32Array.of(value) });
  const bytes = new TfliteWriter()
    .input('x', { shape: [1, 3, 4], signature: [-1, 3, 4] })
    .tensor('begin', ints(0))
    .tensor('end', ints(1))
    .tensor('stride', ints(1))
    .tensor('rest', scalar(-1))
    .tensor('shape', { shape: [3], type: Type.INT32 })
    .tensor('batch', { shape: [], type: Type.INT32 })
    .tensor('target', { shape: [2], type: Type.INT32 })
    .tensor('y', { shape: [1, 12], signature: [-1, 12] })
    .operator(Op.SHAPE, ['x'], ['shape'])
    .operator(
      Op.STRIDED_SLICE,
      ['shape', 'begin', 'end', 'stride'],
      ['batch'],
      Options.StridedSliceOptions,
      [0, 0, 0, 0, 1],
    )
    .operator(Op.PACK, ['batch', 'rest'], ['target'], Options.PackOptions, [2, 0])
    .operator(Op.RESHAPE, ['x', 'target'], ['y'])
    .output('y')
    .bytes();
  const model = await load(bytes);
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const { y } = await model.run({ x: { shape: [2, 3, 4], data } });
  assert.equal(y, { shape: [2, 12], data });
  model.free();
});

reader('everything that can not run is named at once', () => {
  const bytes = new TfliteWriter()
    .input('x', { shape: [2, 2] })
    .tensor('a', { shape: [2, 2] })
    .tensor('b', { shape: [2, 2] })
    .tensor('c', { shape: [2, 2] })
    .operator(Op.SVDF, ['x'], ['a'])
    .operator(Op.RELU, ['a'], ['b'])
    .operator(Op.ADD, ['x', 'x'], ['c'], Options.AddOptions, [{ int8: 4 }])
    .output('b', 'c')
    .bytes();
  throwsWith(
    'unsupported',
    /operator 0 \(SVDF\): unknown operator; operator 2 \(ADD\): the fused activation TANH/,
    bytes,
  );
});

reader('files that contradict themselves are refused with the place', () => {
  const image = { shape: [1, 4, 4, 2] };
  const conv = (weights: WrittenTensor, fields: OptionValue[] = [{ int8: 1 }, 1, 1]) =>
    new TfliteWriter()
      .input('x', image)
      .tensor('w', weights)
      .tensor('y', { shape: [1, 4, 4, 3] })
      .operator(Op.CONV_2D, ['x', 'w'], ['y'], Options.Conv2DOptions, fields)
      .output('y')
      .bytes();
  const floats = (shape: number[], count = shape.reduce((a, b) => a * b)): WrittenTensor => ({
    shape,
    data: new Float32Array(count),
  });
  const codes = (quantization: WrittenQuantization): WrittenTensor => ({
    shape: [3, 1, 1, 2],
    type: Type.INT8,
    data: new Int8Array(6),
    quantization,
  });
  const sparse = (levels: WrittenLevel[], traversal = [0, 1, 2, 3], count = 2): WrittenTensor => ({
    shape: [3, 1, 1, 2],
    data: new Float32Array(count),
    sparsity: { traversal, levels },
  });
  const dense = (size: number): WrittenLevel => ({ size });
  const rows: WrittenLevel = { segments: [0, 1, 1, 2], indices: [0, 1] };
  const cases: [RegExp, Uint8Array][] = [
    [/identifier TFL3/, new Uint8Array(100)],
    [/identifier TFL3/, new Uint8Array(3)],
    [/216 bytes for 54 elements of FLOAT32, got 4 bytes/, conv(floats([3, 3, 3, 2], 1))],
    [/weights: expected 4 dimensions/, conv(floats([3, 18]))],
    [/weights: expected a divisor of the 2 channels, got 3/, conv(floats([3, 3, 3, 3]))],
    [/weights: expected at least one element/, conv(floats([0, 3, 3, 2]))],
    [/stride: expected sizes in 1..65536/, conv(floats([3, 3, 3, 2]), [{ int8: 1 }, 0, 1])],
    [/padding: expected SAME or VALID, got 7/, conv(floats([3, 3, 3, 2]), [{ int8: 7 }, 1, 1])],
    [/a window of at most 4/, conv(floats([3, 5, 5, 2]))],
    [/weight scales: expected 1 or 3 scales, got 2/, conv(codes({ scale: [1, 1] }))],
    [/weight scale 0: expected a finite number from 0, got NaN/, conv(codes({ scale: [Number.NaN] }))],
    [/quantized_dimension: expected 0..3, got 4/, conv(codes({ scale: [1, 1, 1], dimension: 4 }))],
    [/zero_point: expected 3 of them/, conv(codes({ scale: [1, 1, 1], zeroPoint: [0, 0] }))],
    [/sparsity: expected 4 levels in some order/, conv(sparse([dense(3), dense(1), dense(1), rows], [0, 1, 2, 2]))],
    [/sparsity: expected 4 levels/, conv(sparse([dense(3), dense(1), rows]))],
    [/dim_metadata\[0\]: expected a size of 3, got 4/, conv(sparse([dense(4), dense(1), dense(1), rows]))],
    [
      /segments: expected 4, from 0 to 3/,
      conv(sparse([dense(3), dense(1), dense(1), { segments: [0, 1, 2], indices: [0, 1, 1] }])),
    ],
    [
      /indices\[1\]: expected 0..1, got 2/,
      conv(sparse([dense(3), dense(1), dense(1), { segments: [0, 1, 1, 2], indices: [0, 2] }])),
    ],
    [/8 bytes for 2 elements of FLOAT32/, conv(sparse([dense(3), dense(1), dense(1), rows], undefined, 3))],
    [/outputs: expected at least one/, new TfliteWriter().input('x', image).bytes()],
    [/contents, or an operator before/, new TfliteWriter().tensor('x', image).output('x').bytes()],
    [
      /outputs that nothing else makes/,
      new TfliteWriter().input('x', image).operator(Op.RELU, ['x'], ['x']).output('x').bytes(),
    ],
    [/1 inputs and an output/, new TfliteWriter().tensor('y', image).operator(Op.RELU, [], ['y']).output('y').bytes()],
    [
      /a scale above 0/,
      new TfliteWriter()
        .input('x', { ...image, type: Type.INT8, quantization: { scale: [-1] } })
        .output('x')
        .bytes(),
    ],
  ];
  for (const [pattern, bytes] of cases) throwsWith('bad-model', pattern, bytes);
});

reader('what is shared is not read without end', () => {
  // Each operator reads the same many tensors, and each tensor the same many scales.
  const many = 2000;
  const names = Array.from({ length: many }, (_, i) => `t${i}`);
  const writer = new TfliteWriter().input('x', { shape: [1] });
  for (const name of names) writer.tensor(name, { shape: [1], data: Float32Array.of(1) });
  for (let i = 0; i < many; i++) {
    writer.tensor(`y${i}`, { shape: [many] });
    writer.operator(Op.CONCATENATION, names, [`y${i}`], Options.ConcatenationOptions, [0]);
  }
  throwsWith('bad-model', /inputs and outputs in all/, writer.output('y0').bytes());
});

reader.run();

const hostile = suite('TFLite files that lie');

/** The right answer, or a typed error: nothing else, and in bounded time. */
function readOrRefuse(bytes: Uint8Array): void {
  try {
    readTflite(bytes);
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    assert.ok(['bad-model', 'unsupported'].includes(error.code), String(error));
  }
}

hostile('bytes that are changed or cut', () => {
  const cases = tfliteCases();
  const edit = fc.record({ at: fc.nat(), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.nat(cases.length - 1), fc.array(edit, { maxLength: 5 }), fc.nat(), (which, edits, cut) => {
      const { bytes } = cases[which];
      const changed = bytes.slice(0, cut % 7 === 0 ? cut % bytes.length : bytes.length);
      for (const { at, to } of edits) if (changed.length > 0) changed[at % changed.length] = to;
      readOrRefuse(changed);
    }),
    { seed: 20260, numRuns: 4000 },
  );
});

hostile.run();
