// The shipped models against onnxruntime-web, on the first 1,000 test images, and small networks as exporters write them.
// Node only: onnxruntime-web's WASM would
// need more rights than the page of the browser tests grants.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { optimize } from '../src/graph/passes/index.js';
import { loadOnnx, readOnnx } from '../src/onnx/index.js';
import { writeOnnx } from '../src/onnx/write/index.js';
import { createRuntime } from '../src/runtime.js';
import { INT64, OnnxWriter } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';

const IMAGES = 1000;
const BATCH = 100;

const root = process.cwd();
const parity = suite('parity with onnxruntime-web');

function testImages(): Float32Array {
  const idx = gunzipSync(readFileSync(join(root, 'data/t10k-images-idx3-ubyte.gz')));
  return Float32Array.from(idx.subarray(16, 16 + IMAGES * 784), (byte) => byte / 255);
}

const images = testImages();
ort.env.wasm.numThreads = 1;

for (const name of ['fashion_float', 'fashion_pruned90', 'fashion_student']) {
  parity(name, async () => {
    const bytes = readFileSync(join(root, `models/${name}.onnx`));
    const session = await ort.InferenceSession.create(bytes);
    const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] });
    const model = await loadOnnx(runtime, bytes);
    let largest = 0;
    let magnitude = 0;
    for (let first = 0; first < IMAGES; first += BATCH) {
      const image = images.subarray(first * 784, (first + BATCH) * 784);
      const { logits } = await session.run({ image: new ort.Tensor('float32', image, [BATCH, 1, 28, 28]) });
      const ours = (await model.run({ image })).logits;
      assert.equal(ours.shape, [BATCH, 10]);
      const theirs = logits.data as Float32Array;
      assert.is(theirs.length, ours.data.length);
      for (const [i, value] of theirs.entries()) {
        const difference = Math.abs(value - ours.data[i]);
        // A NaN on either side must not pass for agreement.
        largest = difference <= largest ? largest : difference;
        magnitude = Math.max(magnitude, Math.abs(value));
      }
    }
    console.log(
      `${name}: largest difference of a logit ${largest.toExponential(2)}, largest logit ${magnitude.toFixed(1)}`,
    );
    // Both sum in f32: eight layers whose sums differ by some ulps of the largest magnitudes.
    assert.ok(largest <= magnitude * 1e-5, `${largest} over ${IMAGES} images`);
    model.free();
    runtime.free();
    await session.release();
  });
}

/** Runs a written model on both and compares every output. */
async function agree(
  writer: OnnxWriter,
  inputs: Record<string, { shape: number[]; data: Float32Array | BigInt64Array }>,
) {
  const bytes = writer.bytes();
  const session = await ort.InferenceSession.create(bytes);
  const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'] });
  const model = await loadOnnx(runtime, bytes);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, data }]) => [
      name,
      new ort.Tensor(data instanceof Float32Array ? 'float32' : 'int64', data, shape),
    ]),
  );
  const theirs = await session.run(feeds);
  await agreeWritten(bytes, feeds, theirs);
  const ours = await model.run(inputs);
  for (const { name } of model.outputs) {
    const want = Float32Array.from(theirs[name].data as ArrayLike<number | bigint>, Number);
    assert.equal(ours[name].shape, [...theirs[name].dims], name);
    const magnitude = want.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
    for (const [i, x] of want.entries()) {
      if (!(Math.abs(ours[name].data[i] - x) <= 3e-5 * magnitude)) {
        assert.unreachable(`${name}[${i}] = ${ours[name].data[i]}, not ${x}`);
      }
    }
  }
  const ops = model.explain().map(({ op }) => op);
  model.free();
  runtime.free();
  await session.release();
  return ops;
}

/** Reads, optimises and writes a model: onnxruntime-web gives of that what it gave of the model. */
async function agreeWritten(
  bytes: Uint8Array,
  feeds: Record<string, ort.Tensor>,
  want: Awaited<ReturnType<ort.InferenceSession['run']>>,
) {
  const session = await ort.InferenceSession.create(writeOnnx(optimize(readOnnx(bytes))));
  const given = Object.entries(feeds).map(([name, tensor]) => {
    // Integers that are no indices are f32 in our graph.
    const meta = session.inputMetadata.find((input) => input.name === name)!;
    if (!meta.isTensor || meta.type === tensor.type) return [name, tensor];
    return [name, new ort.Tensor('float32', Float32Array.from(tensor.data as BigInt64Array, Number), tensor.dims)];
  });
  const got = await session.run(Object.fromEntries(given));
  for (const [name, { data, dims }] of Object.entries(want)) {
    assert.equal(got[name].dims, dims, `${name}, written`);
    const numbers = Float32Array.from(data as ArrayLike<number | bigint>, Number);
    const magnitude = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
    const written = Float32Array.from(got[name].data as ArrayLike<number | bigint>, Number);
    const wrong = numbers.findIndex((x, i) => !(Math.abs(x - written[i]) <= 3e-5 * magnitude));
    assert.is(wrong, -1, `${name}, written`);
  }
  await session.release();
}

/** Writes weights as they are asked for. */
function weightsOf(writer: OnnxWriter) {
  const random = createRandom(5);
  let count = 0;
  return (dims: number[], scale = 0.3) => {
    const name = `p${count++}`;
    writer.floats(
      name,
      dims,
      normals(
        random,
        dims.reduce((a, b) => a * b, 1),
        scale,
      ),
    );
    return name;
  };
}

parity('a transformer as PyTorch exports it: token ids, a mask, open batch and length', async () => {
  const [width, heads, head] = [24, 3, 8];
  const writer = new OnnxWriter(13).input('ids', ['N', 'S'], INT64).input('mask', ['N', 'S'], INT64);
  const weights = weightsOf(writer);
  const scalar = (name: string, value: number) => writer.floats(name, [], [value]);
  scalar('eps', 1e-5).floats('two', [], [2]).floats('root', [], [Math.SQRT2]).floats('half', [], [0.5]);
  scalar('one', 1);
  scalar('low', -1e4);
  scalar('scale', Math.sqrt(head));
  writer.ints('i0', [0], []).ints('i1', [1], []).ints('first', [0]).ints('axis1', [1]).ints('axis2', [2]);
  writer
    .ints('heads', [heads])
    .ints('head', [head])
    .ints('width', [width])
    .ints(
      'positions',
      Array.from({ length: 16 }, (_, i) => i),
      [1, 16],
    );
  writer
    .node('Shape', ['ids'], ['shape'])
    .node('Gather', ['shape', 'i1'], ['s'])
    .node('Unsqueeze', ['s', 'first'], ['s1']);
  writer.node('Gather', ['shape', 'i0'], ['n']).node('Unsqueeze', ['n', 'first'], ['n1']);
  writer
    .node('Slice', ['positions', 'first', 's1', 'axis1'], ['at'])
    .node('Gather', [weights([40, width]), 'ids'], ['words']);
  writer.node('Gather', [weights([16, width]), 'at'], ['places']).node('Add', ['words', 'places'], ['x0']);
  writer
    .node('Unsqueeze', ['mask', 'axis1'], ['m1'])
    .node('Unsqueeze', ['m1', 'axis2'], ['m2'])
    .node('Cast', ['m2'], ['m3'], { to: 1 });
  writer.node('Sub', ['one', 'm3'], ['m4']).node('Mul', ['m4', 'low'], ['bias']);
  const norm = (x: string, y: string) => {
    writer.node('ReduceMean', [x], [`${y}.mean`], { axes: [-1] }).node('Sub', [x, `${y}.mean`], [`${y}.d`]);
    writer.node('Pow', [`${y}.d`, 'two'], [`${y}.sq`]).node('ReduceMean', [`${y}.sq`], [`${y}.var`], { axes: [-1] });
    writer.node('Add', [`${y}.var`, 'eps'], [`${y}.e`]).node('Sqrt', [`${y}.e`], [`${y}.sd`]);
    writer.node('Div', [`${y}.d`, `${y}.sd`], [`${y}.n`]).node('Mul', [`${y}.n`, weights([width])], [`${y}.g`]);
    writer.node('Add', [`${y}.g`, weights([width])], [y]);
  };
  const linear = (x: string, y: string, from: number, to: number) =>
    writer.node('MatMul', [x, weights([from, to])], [`${y}.p`]).node('Add', [weights([to]), `${y}.p`], [y]);
  norm('x0', 'x');
  writer
    .node('Concat', ['n1', 's1', 'heads', 'head'], ['split'], { axis: 0 })
    .node('Concat', ['n1', 's1', 'width'], ['merged'], { axis: 0 });
  for (const [name, perm] of [
    ['q', [0, 2, 1, 3]],
    ['k', [0, 2, 3, 1]],
    ['v', [0, 2, 1, 3]],
  ] as const) {
    linear('x', `${name}0`, width, width);
    writer.node('Reshape', [`${name}0`, 'split'], [`${name}1`]).node('Transpose', [`${name}1`], [name], { perm });
  }
  writer
    .node('MatMul', ['q', 'k'], ['qk'])
    .node('Div', ['qk', 'scale'], ['qks'])
    .node('Add', ['qks', 'bias'], ['scores']);
  writer.node('Softmax', ['scores'], ['p'], { axis: -1 }).node('MatMul', ['p', 'v'], ['o']);
  writer.node('Transpose', ['o'], ['ot'], { perm: [0, 2, 1, 3] }).node('Reshape', ['ot', 'merged'], ['om']);
  linear('om', 'attended', width, width);
  writer.node('Add', ['attended', 'x'], ['r1']);
  norm('r1', 'y');
  linear('y', 'h', width, 2 * width);
  writer.node('Div', ['h', 'root'], ['h1']).node('Erf', ['h1'], ['h2']).node('Add', ['h2', 'one'], ['h3']);
  writer.node('Mul', ['h', 'h3'], ['h4']).node('Mul', ['h4', 'half'], ['h5']);
  linear('h5', 'out', 2 * width, width);
  writer.node('Add', ['out', 'y'], ['r2']);
  norm('r2', 'z');
  writer.node('Gather', ['z', 'i0'], ['cls'], { axis: 1 });
  linear('cls', 'pooled0', width, width);
  writer.node('Tanh', ['pooled0'], ['pooled']).output('z', 'pooled');
  const [n, length] = [2, 9];
  const random = createRandom(8);
  const ids = BigInt64Array.from({ length: n * length }, () => BigInt(random.integer(0, 39)));
  const mask = BigInt64Array.from({ length: n * length }, (_, i) => BigInt(i < 14));
  const ops = await agree(writer, { ids: { shape: [n, length], data: ids }, mask: { shape: [n, length], data: mask } });
  assert.is(ops.filter((op) => op === 'normalize').length, 3);
  assert.is(ops.filter((op) => op === 'transpose').length, 1, 'that of the attended values');
  assert.not(ops.some((op) => op === 'activation' || op === 'reduce'));
});

parity('a mobile block and a decoder: gates, squeezes, resizing, transposed convolution', async () => {
  const writer = new OnnxWriter(13).input('x', ['N', 3, 'H', 'W']);
  const weights = weightsOf(writer);
  const pads = { pads: [1, 1, 1, 1] };
  writer
    .node('Conv', ['x', weights([8, 3, 3, 3]), weights([8])], ['a'], { ...pads, strides: [2, 2] })
    .node('HardSigmoid', ['a'], ['ag'], { alpha: { float: 1 / 6 } });
  writer.node('Mul', ['a', 'ag'], ['b']).node('Conv', ['b', weights([8, 1, 3, 3])], ['c'], { ...pads, group: 8 });
  writer
    .node('GlobalAveragePool', ['c'], ['g'])
    .node('Conv', ['g', weights([4, 8, 1, 1])], ['g1'])
    .node('Relu', ['g1'], ['g2']);
  writer
    .node('Conv', ['g2', weights([8, 4, 1, 1])], ['g3'])
    .node('Sigmoid', ['g3'], ['g4'])
    .node('Mul', ['c', 'g4'], ['d']);
  writer
    .node('InstanceNormalization', ['d', weights([8]), weights([8])], ['e'])
    .node('LeakyRelu', ['e'], ['f'], { alpha: { float: 0.1 } });
  writer
    .floats('scales', [4], [1, 1, 2, 2])
    .node('Resize', ['f', '', 'scales'], ['up'], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' });
  writer.node('ConvTranspose', ['f', weights([8, 5, 3, 3]), weights([5])], ['t'], {
    ...pads,
    strides: [2, 2],
    output_padding: [1, 1],
  });
  writer
    .node('Concat', ['up', 't'], ['joined'], { axis: 1 })
    .node('PRelu', ['joined', weights([13, 1, 1])], ['sloped']);
  writer.node('ConvTranspose', ['sloped', weights([13, 2, 4, 2]), weights([2])], ['y'], {
    strides: [2, 2],
    pads: [1, 0, 0, 1],
  });
  writer
    .node('Resize', ['y', '', 'odd'], ['small'], { mode: 'cubic', coordinate_transformation_mode: 'align_corners' })
    .floats('odd', [4], [1, 1, 0.5, 0.75]);
  writer
    .node('LogSoftmax', ['small'], ['z'], { axis: 1 })
    .node('ArgMax', ['small'], ['i'], { axis: 1, keepdims: 0 })
    .output('y', 'z', 'i');
  const shape = [2, 3, 12, 16];
  await agree(writer, { x: { shape, data: normals(createRandom(3), 2 * 3 * 12 * 16) } });
});

parity('recurrent layers, both ways', async () => {
  const writer = new OnnxWriter(14).input('x', [6, 2, 3]);
  const weights = weightsOf(writer);
  for (const [type, gates, more] of [
    ['LSTM', 4, {}],
    ['GRU', 3, { linear_before_reset: 1 }],
    ['GRU', 3, {}],
    ['RNN', 1, {}],
  ] as const) {
    const name = `${type}${Object.keys(more).length}`;
    const inputs = [
      'x',
      weights([2, gates * 5, 3]),
      weights([2, gates * 5, 5]),
      weights([2, gates * 10]),
      '',
      weights([2, 2, 5]),
    ];
    writer.node(type, inputs, [`${name}.y`, `${name}.h`], { hidden_size: 5, direction: 'bidirectional', ...more });
    writer.output(`${name}.y`, `${name}.h`);
  }
  await agree(writer, { x: { shape: [6, 2, 3], data: normals(createRandom(4), 36) } });
});

parity.run();
