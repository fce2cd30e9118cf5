// Integer layers against the quantised operators of onnxruntime-web, bit for bit. Node only: see parity.node.test.ts.
// Scales are powers of two, so that it does not matter in which order they are multiplied.
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Int8Weights } from '../src/formats/int8.js';
import { TensorProto_DataType } from '../src/onnx/generated/onnx_pb.js';
import { createRuntime } from '../src/runtime.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { createRandom, type Random } from './support/random.js';

const TYPES = {
  float32: TensorProto_DataType.FLOAT,
  uint8: TensorProto_DataType.UINT8,
  int8: TensorProto_DataType.INT8,
  int32: TensorProto_DataType.INT32,
} as const;

type Operand = { type: keyof typeof TYPES; dims: number[]; data: Float32Array | Uint8Array | Int8Array | Int32Array };

/** Runs one operator; operands in its order. */
async function onnx(opType: string, operands: Operand[], attributes = {}): Promise<ort.Tensor> {
  const names = operands.map((_, i) => `i${i}`);
  const writer = new OnnxWriter(13);
  for (const [i, { type, dims }] of operands.entries()) writer.input(names[i], dims, TYPES[type]);
  writer.node(opType, names, ['y'], attributes).output('y');
  const session = await ort.InferenceSession.create(writer.bytes());
  const feeds = operands.map(({ type, dims, data }, i) => [names[i], new ort.Tensor(type, data as never, dims)]);
  const { y } = await session.run(Object.fromEntries(feeds));
  await session.release();
  return y;
}

const scalar = (type: Operand['type'], value: number): Operand => {
  const Type = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int32: Int32Array }[type];
  return { type, dims: [], data: Type.of(value) };
};

const list = (type: Operand['type'], data: Operand['data']): Operand => ({ type, dims: [data.length], data });

const bytes = (random: Random, length: number) => Uint8Array.from({ length }, () => random.integer(0, 255));

/** Weights of power-of-two scales, one a channel. */
function makeWeights(random: Random, rows: number, cols: number): Int8Weights {
  return {
    format: 'int8',
    rows,
    cols,
    codes: Int8Array.from({ length: rows * cols }, () => random.integer(-127, 127)),
    scale: Float32Array.from({ length: rows }, () => 2 ** -random.integer(5, 7)),
  };
}

/** [rows, cols] to [cols, rows]. */
function transposed<T extends Operand['data']>(data: T, rows: number, cols: number): T {
  const out = data.slice() as T;
  for (let i = 0; i < rows * cols; i++) out[(i % cols) * rows + Math.floor(i / cols)] = data[i];
  return out;
}

ort.env.wasm.numThreads = 1;
const test = suite('integers as onnxruntime-web computes them');
const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] });
const INPUT = { dtype: 'uint8', scale: 2 ** -5, zeroPoint: 117 } as const;
const OUTPUT = { dtype: 'uint8', scale: 1, zeroPoint: 130 } as const;

test('MatMulInteger', async () => {
  const [M, N, K] = [9, 13, 70];
  const random = createRandom(1);
  const weights = makeWeights(random, N, K);
  weights.zeroPoint = Int8Array.of(17);
  weights.scale = Float32Array.of(1);
  const codes = bytes(random, M * K);
  const theirs = await onnx('MatMulInteger', [
    { type: 'uint8', dims: [M, K], data: codes },
    { type: 'int8', dims: [K, N], data: transposed(weights.codes, N, K) },
    scalar('uint8', INPUT.zeroPoint),
    scalar('int8', 17),
  ]);
  const layer = await runtime.linear(weights, { input: INPUT, output: 'int32' });
  assert.equal(await (await layer.run(codes)).data(), theirs.data);
});

test('QuantizeLinear, QLinearMatMul', async () => {
  const [M, N, K] = [9, 13, 70];
  const random = createRandom(2);
  const weights = makeWeights(random, N, K);
  weights.scale = Float32Array.of(2 ** -6);
  // Halves of steps, and values that saturate.
  const x = Float32Array.from({ length: M * K }, () => random.integer(-300, 300) * 2 ** -6);
  const codes = await onnx('QuantizeLinear', [
    { type: 'float32', dims: [M, K], data: x },
    scalar('float32', INPUT.scale),
    scalar('uint8', INPUT.zeroPoint),
  ]);
  const theirs = await onnx('QLinearMatMul', [
    { type: 'uint8', dims: [M, K], data: codes.data as Uint8Array },
    scalar('float32', INPUT.scale),
    scalar('uint8', INPUT.zeroPoint),
    { type: 'int8', dims: [K, N], data: transposed(weights.codes, N, K) },
    scalar('float32', weights.scale[0]),
    scalar('int8', 0),
    scalar('float32', OUTPUT.scale),
    scalar('uint8', OUTPUT.zeroPoint),
  ]);
  const layer = await runtime.linear(weights, { input: INPUT, output: OUTPUT });
  const ours = await (await layer.run(x)).data();
  assert.equal(ours, theirs.data);
  assert.ok(new Set(ours).size > 50);
});

test('QLinearConv with padding, a bias and a scale a channel', async () => {
  const [height, width, channels, outputs] = [9, 8, 6, 10];
  const random = createRandom(3);
  const weights = makeWeights(random, outputs, 9 * channels);
  const image = bytes(random, height * width * channels);
  const bias = Int32Array.from({ length: outputs }, () => random.integer(-20000, 20000));
  // OHWI to OIHW, NHWC to NCHW.
  const kernels = Int8Array.from({ length: weights.codes.length }, (_, i) => {
    const [o, rest] = [Math.floor(i / (9 * channels)), i % (9 * channels)];
    return weights.codes[o * 9 * channels + (rest % 9) * channels + Math.floor(rest / 9)];
  });
  const theirs = await onnx(
    'QLinearConv',
    [
      { type: 'uint8', dims: [1, channels, height, width], data: transposed(image, height * width, channels) },
      scalar('float32', INPUT.scale),
      scalar('uint8', INPUT.zeroPoint),
      { type: 'int8', dims: [outputs, channels, 3, 3], data: kernels },
      list('float32', weights.scale),
      list('int8', new Int8Array(outputs)),
      scalar('float32', OUTPUT.scale),
      scalar('uint8', OUTPUT.zeroPoint),
      list('int32', bias),
    ],
    { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
  );
  const layer = await runtime.conv2d(weights, {
    kernel: 3,
    padding: 'same',
    bias,
    input: INPUT,
    output: OUTPUT,
  });
  const ours = await (await layer.run(image, [1, height, width, channels])).data();
  assert.equal(transposed(ours, height * width, outputs), theirs.data);
  assert.ok(new Set(ours).size > 50);
});

test.after(() => runtime.free());
test.run();
