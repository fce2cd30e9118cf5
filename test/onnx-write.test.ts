import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ThinferError } from '../src/errors.js';
import { readCode } from '../src/formats/bits.js';
import { hashCodes } from '../src/formats/hashed.js';
import type { FormatName, Weights } from '../src/formats/index.js';
import { formats } from '../src/formats/index.js';
import { type Graph, isLayer, type LayerNode, type Node } from '../src/graph/ir.js';
import type { ModelInputs } from '../src/graph/model.js';
import { Model } from '../src/graph/model.js';
import { packGraph } from '../src/graph/pack.js';
import { optimize } from '../src/graph/passes/index.js';
import { decodeColumns, decodeHuffman } from '../src/onnx/huffman.js';
import { parseModel } from '../src/onnx/import.js';
import { loadOnnx, readOnnx } from '../src/onnx/index.js';
import { codeLengths, encodeColumns, encodeHuffman } from '../src/onnx/write/huffman.js';
import { type WriteOptions, writeOnnx, writeOnnxFiles } from '../src/onnx/write/index.js';
import { readTflite } from '../src/tflite/index.js';
import { readFashion, readFixture, untarGzip } from './support/fixtures.js';
import { readNodeTest } from './support/onnx-node.js';
import { INT8, OnnxWriter, UINT8 } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';
import { tfliteFiles } from './support/tflite-files.js';

const runtime = { backends: [new ReferenceBackend()] };

/** Reshapes are no work: what is written as a transpose of dimensions of 1 may come back as one. */
const operators = ({ nodes }: Graph): string =>
  nodes
    .map(({ op }) => op)
    .filter((op) => op !== 'reshape')
    .sort()
    .join(' ');

const formatsOf = (graph: Graph): string =>
  packGraph(graph)
    .nodes.filter(isLayer)
    .map(({ weights }) => weights.format)
    .sort()
    .join(' ');

async function answers(graph: Graph, inputs: ModelInputs) {
  const model = await Model.create(runtime, graph);
  const outputs = await model.run(inputs);
  model.free();
  return outputs;
}

/** Every element the same, and of the same type. */
function identical(got: Awaited<ReturnType<typeof answers>>, want: typeof got, name: string): void {
  assert.equal(Object.keys(got).sort(), Object.keys(want).sort(), name);
  for (const [output, { shape, data }] of Object.entries(want)) {
    assert.equal(got[output].shape, shape, name);
    assert.is(got[output].data.constructor, data.constructor, name);
    const wrong = data.findIndex((x, i) => !Object.is(x, got[output].data[i]) && x !== got[output].data[i]);
    if (wrong >= 0) assert.unreachable(`${name}: ${output}[${wrong}] = ${got[output].data[wrong]}, not ${data[wrong]}`);
  }
}

/** Writes a graph, reads it again, and sees that it is the same in everything that matters when it runs. */
function roundTrip(graph: Graph, name: string, options?: WriteOptions) {
  const bytes = writeOnnx(graph, options);
  const [before, after] = [optimize(graph), optimize(readOnnx(bytes))];
  // Indices that were computed as f32 are cut off to integers on the way: a remainder and a subtraction more.
  const cut = /test_gather_?(elements|nd)/.test(name) ? operators(after).replace(/ rem| sub/g, '') : operators(after);
  assert.is(cut, operators(before), name);
  assert.is(formatsOf(after), formatsOf(before), name);
  const { graph: file, opsetImport } = parseModel(bytes);
  const types = file!.node.map(({ domain, opType }) => (domain ? `${domain}.${opType}` : opType));
  return { bytes, after, types, opset: Number(opsetImport[0].version) };
}

const trips = suite('onnx writer: models come back');

for (const name of ['float', 'pruned90', 'student']) {
  trips(`fashion_${name}, as read and optimised: the same graph and answers, no transpose in the file`, async () => {
    const given = readOnnx(await readFixture(`models/fashion_${name}.onnx`));
    const { images } = await readFashion(2);
    const want = await answers(given, { image: images });
    for (const graph of [given, optimize(given), packGraph(optimize(given))]) {
      const { after, types, opset } = roundTrip(graph, name);
      assert.not(types.includes('Transpose'));
      assert.is(opset, 11);
      identical(await answers(after, { image: images }), want, name);
    }
  });
}

trips('the files of TFLite, f32 and int8: the same graph and answers, a transpose at their ends only', async () => {
  const files = await tfliteFiles(readFixture);
  for (const { name, bytes, inputs } of files.filter(({ name }) => name.endsWith(' 1'))) {
    const given = readTflite(bytes);
    const [{ shape, data }] = inputs;
    const feeds = { [given.inputs[0].name]: { shape: [...shape], data } } as ModelInputs;
    const want = await answers(given, feeds);
    for (const graph of [given, optimize(given)]) {
      const { after, types } = roundTrip(graph, name);
      assert.ok(types.filter((type) => type === 'Transpose').length <= 1, name);
      identical(await answers(after, feeds), want, name);
    }
  }
});

/** Whether two answers are the same but for the order in which f32 sums were made. */
function near(got: ArrayLike<number>, want: ArrayLike<number>): boolean {
  return Array.from(want).every(
    (x, i) => Object.is(x, got[i]) || x === got[i] || Math.abs(x - got[i]) <= 1e-5 * (1 + Math.abs(x)),
  );
}

trips('every graph of the ONNX node tests, optimised: the same nodes, formats and answers', async () => {
  const files = await untarGzip(await readFixture('test/data/onnx-node.tar.gz'));
  const names = [...files.keys()].filter((path) => path.endsWith('/model.onnx')).map((path) => path.split('/')[0]);
  const wrong: string[] = [];
  for (const [i, name] of names.entries()) {
    const { bytes, inputs } = readNodeTest((file) => files.get(`${name}/${file}`)!);
    const read = readOnnx(bytes);
    const graph = i % 2 === 0 ? read : optimize(read);
    try {
      const { after } = roundTrip(graph, name);
      const [got, want] = [await answers(after, inputs as ModelInputs), await answers(graph, inputs as ModelInputs)];
      for (const [output, { shape, data }] of Object.entries(want)) {
        assert.equal(got[output].shape, shape, name);
        assert.ok(near(got[output].data, data), name);
      }
    } catch (error) {
      wrong.push(`${name}: ${error}`);
    }
  }
  assert.equal(wrong, []);
  assert.ok(names.length > 400);
});

trips.run();

const storage = suite('onnx writer: formats');

/** Two convolutions, one of them in groups, a matrix of images and one of more dimensions. */
function network(): Graph {
  const random = createRandom(3);
  const weights = (count: number) =>
    // Half of them zeros, in pairs of columns, and few distinct values: something for every format.
    normals(random, count, 0.4).map((x, i) => (i % 4 < 2 ? 0 : Math.round(x * 8) / 8));
  const writer = new OnnxWriter(13).input('x', ['N', 3, 6, 5]);
  writer.floats('w1', [8, 3, 3, 3], weights(216)).floats('b1', [8], weights(8));
  writer.floats('w2', [8, 4, 1, 3], weights(96)).floats('w3', [240, 10], weights(2400)).floats('b3', [10], weights(10));
  writer.floats('w4', [5, 7], weights(35));
  writer.node('Conv', ['x', 'w1', 'b1'], ['a'], { pads: [1, 1, 1, 1] }, 'first').node('Relu', ['a'], ['b']);
  writer.node('Conv', ['b', 'w2'], ['c'], { group: 2, pads: [0, 1, 0, 1] }, 'second').node('Sigmoid', ['c'], ['d']);
  writer.node('Flatten', ['d'], ['e']).node('Gemm', ['e', 'w3', 'b3'], ['y'], {}, 'third');
  writer.node('MatMul', ['d', 'w4'], ['z'], {}, 'fourth').output('y', 'z');
  return optimize(readOnnx(writer.bytes()));
}

const graph = network();
const images: ModelInputs = { x: { shape: [2, 3, 6, 5], data: normals(createRandom(4), 180) } };

/** The graph with its weights in another format. */
function packed(pack: (layer: LayerNode, dense: Float32Array) => Weights): Graph {
  const nodes = graph.nodes.map((node): Node => {
    if (!isLayer(node) || node.weights.format !== 'dense') return node;
    const weights = pack(node, node.weights.values);
    const binary = node.op === 'conv2d' && weights.format === 'xnor';
    return binary ? { ...node, weights, binaryPadding: 'one' } : { ...node, weights };
  });
  return { ...graph, nodes };
}

const FORMS: Record<string, { format: FormatName; options?: object; types: readonly string[] }> = {
  dense: { format: 'dense', types: ['Conv', 'Gemm', 'MatMul'] },
  f16: { format: 'f16', types: ['Cast', 'Conv', 'Gemm', 'MatMul'] },
  csr: { format: 'csr', types: ['Conv', 'Gemm', 'MatMul'] },
  'bcsr 1 x 4': { format: 'bcsr', options: { block: [1, 4] }, types: ['thinfer.Conv', 'thinfer.Linear'] },
  'bcsr 8 x 1': { format: 'bcsr', options: { block: [8, 1] }, types: ['thinfer.Conv', 'thinfer.Linear'] },
  nm: { format: 'nm', options: { prune: true }, types: ['thinfer.Conv', 'thinfer.Linear'] },
  int8: { format: 'int8', types: ['DequantizeLinear', 'Conv', 'Gemm', 'MatMul'] },
  'int8 with zero points': { format: 'int8', options: { symmetric: false }, types: ['DequantizeLinear', 'Conv'] },
  'int8 of one scale': { format: 'int8', options: { perChannel: false }, types: ['DequantizeLinear', 'Conv'] },
  int4: { format: 'int4', types: ['thinfer.Conv', 'com.microsoft.MatMulNBits'] },
  'int4 with zero points': {
    format: 'int4',
    options: { groupSize: 16, symmetric: false },
    types: ['com.microsoft.MatMulNBits'],
  },
  int2: { format: 'int2', options: { groupSize: 64 }, types: ['thinfer.Conv', 'com.microsoft.MatMulNBits'] },
  codebook: { format: 'codebook', types: ['thinfer.Conv', 'thinfer.Linear'] },
  'codebook of 256': { format: 'codebook', options: { entries: 256 }, types: ['thinfer.Conv'] },
  'codebook of int8': { format: 'codebook', options: { centroids: 'int8' }, types: ['thinfer.Conv'] },
  ternary: { format: 'ternary', types: ['thinfer.Conv', 'thinfer.Linear'] },
  binary: { format: 'binary', types: ['thinfer.Conv', 'thinfer.Linear'] },
  xnor: { format: 'xnor', types: ['thinfer.Conv', 'thinfer.Linear'] },
  csrInt8: { format: 'csrInt8', types: ['thinfer.Conv', 'thinfer.Linear'] },
  'csrInt8 1 x 4': { format: 'csrInt8', options: { blockCols: 4 }, types: ['thinfer.Conv'] },
  csrCodebook: { format: 'csrCodebook', types: ['thinfer.Conv', 'thinfer.Linear'] },
  'csrCodebook of 256': { format: 'csrCodebook', options: { entries: 256 }, types: ['thinfer.Conv'] },
};

/** The layers' weights as they are packed, whatever order the layers have come to stand in. */
function weightsOf(of: Graph): Map<string, Weights> {
  return new Map(
    packGraph(of)
      .nodes.filter(isLayer)
      .map(({ name, weights }) => [name, weights]),
  );
}

for (const [name, { format, options, types: expected }] of Object.entries(FORMS)) {
  for (const huffman of [false, true]) {
    storage(
      `${name}${huffman ? ', Huffman-coded' : ''}: the same weights to the last bit, and the same answers`,
      async () => {
        const given = packed(({ weights: { rows, cols } }, values) =>
          // Halves that are mostly zeros would come back as csr.
          formats[format].pack(format === 'f16' ? values.map((value) => value || 2 ** -8) : values, {
            rows,
            cols,
            ...options,
          } as never),
        );
        const { after, types } = roundTrip(given, name, { huffman });
        if (!huffman)
          for (const type of expected) assert.ok(types.includes(type), `${name} as ${type}: ${types.join()}`);
        const own = weightsOf(after);
        for (const [layer, weights] of weightsOf(given)) {
          const again = own.get(layer)!;
          const { unpack, bytes } = formats[weights.format];
          assert.equal(unpack(again as never), unpack(weights as never), `${name}: ${layer}`);
          assert.is(bytes(again as never), bytes(weights as never), `${name}: ${layer}`);
        }
        identical(await answers(after, images), await answers(given, images), name);
      },
    );
  }
}

storage('int4 with one scale a row has INT4 tensors, of operator set 21', async () => {
  const given = packed(({ weights: { rows, cols } }, values) => {
    return formats.int4.pack(values, { rows, cols, groupSize: cols, symmetric: false });
  });
  const { after, types, opset } = roundTrip(given, 'int4');
  assert.is(opset, 21);
  assert.ok(types.includes('DequantizeLinear') && !types.some((type) => type.startsWith('thinfer')));
  identical(await answers(after, images), await answers(given, images), 'int4');
});

storage('hashed weights: the file has a seed in place of the codes', async () => {
  const given = packed(({ weights: { rows, cols } }) => {
    const codebook = Float32Array.from({ length: 16 }, (_, i) => (i - 8) / 16);
    return { format: 'codebook', rows, cols, entries: 16, codebook, seed: 7, codes: hashCodes(rows, cols, 16, 7) };
  });
  const { bytes, after } = roundTrip(given, 'hashed');
  assert.ok(bytes.length < 2500, `${bytes.length} bytes for ${240 * 10 + 216 + 96 + 35} weights`);
  identical(await answers(after, images), await answers(given, images), 'hashed');
  // Codes that are not those of the seed are written as they are.
  const other = packed(({ weights: { rows, cols } }) => {
    const codebook = Float32Array.from({ length: 16 }, (_, i) => (i - 8) / 16);
    return { format: 'codebook', rows, cols, entries: 16, codebook, seed: 7, codes: hashCodes(rows, cols, 16, 8) };
  });
  identical(await answers(roundTrip(other, 'other').after, images), await answers(other, images), 'other');
});

storage('layers that share weights share one tensor, and do so again', () => {
  const writer = new OnnxWriter(13).input('x', ['N', 8]);
  writer.floats('w', [8, 8], normals(createRandom(1), 64, 0.5));
  writer.node('MatMul', ['x', 'w'], ['a']).node('Tanh', ['a'], ['b']).node('MatMul', ['b', 'w'], ['y']).output('y');
  for (const format of ['dense', 'codebook'] as const) {
    const shared = packGraph(optimize(readOnnx(writer.bytes())), { '*': { format } });
    const { after } = roundTrip(shared, format);
    const [first, second] = after.nodes.filter(isLayer);
    assert.is(first.weights, second.weights, format);
  }
});

storage('weights in a file beside the model', async () => {
  const { model, data } = writeOnnxFiles(graph, { externalData: 'weights.bin', externalFrom: 64 });
  const whole = writeOnnx(graph);
  assert.ok(model.length < whole.length / 3 && data.length > whole.length / 2);
  for (const tensor of parseModel(model).graph!.initializer) {
    for (const { key, value } of tensor.externalData) if (key === 'offset') assert.is(Number(value) % 64, 0);
  }
  const loaded = await loadOnnx(runtime, model, { externalData: { 'weights.bin': data } });
  identical(await loaded.run(images), await answers(graph, images), 'external');
  loaded.free();
});

storage('Huffman codes: the example of the documentation, and any bytes come back', () => {
  const fail = (place: string, expected: string, got: string): never => {
    throw new Error(`${place}: ${expected}, ${got}`);
  };
  const encoded = encodeHuffman(Uint8Array.of(0x01, 0x21, 0x01), 4);
  assert.equal(decodeHuffman(encoded.bits, encoded.lengths, 6, 4, fail), Uint8Array.of(0x01, 0x21, 0x01));
  const lengths = new Uint8Array(16);
  lengths.set([2, 1, 2]);
  assert.equal(decodeHuffman(Uint8Array.of(0x4c), lengths, 5, 4, fail), Uint8Array.of(0x01, 0x21, 0x01));
  // Counts like Fibonacci's numbers make the longest codes there can be: they are cut.
  const counts = [1, 1];
  while (counts.length < 40) counts.push(counts.at(-1)! + counts.at(-2)!);
  const cut = codeLengths(counts);
  assert.ok(Math.max(...cut) <= 24 && cut.reduce((sum, length) => sum + 2 ** -length, 0) <= 1);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.constantFrom(4 as const, 8 as const),
      (data, bits) => {
        const { lengths, bits: stream, count } = encodeHuffman(data, bits);
        assert.equal(decodeHuffman(stream, lengths, count, bits, fail), data);
        // No prefix code is shorter: the entropy is a bound from below, and one bit a symbol from above.
        const used = Array.from(
          { length: 2 ** bits },
          (_, s) => Array.from({ length: count }).filter((_, i) => readCode(data, 0, i, bits) === s).length,
        );
        const entropy = used.reduce((sum, n) => (n > 0 ? sum - n * Math.log2(n / count) : sum), 0);
        assert.ok(stream.length * 8 >= entropy - 1e-6 && stream.length * 8 < entropy + count + 8);
      },
    ),
    { numRuns: 50 },
  );
  const indptr = Uint32Array.of(0, 3, 3, 4);
  const columns = Uint16Array.of(3, 4, 300, 999);
  const gaps = encodeColumns(indptr, columns);
  assert.equal([...gaps.slice(0, 4)], [3, 0, 255, 40]);
  assert.equal(decodeColumns(gaps, indptr, 1000, Uint16Array, fail), columns);
  assert.throws(() => decodeColumns(gaps, indptr, 999, Uint16Array, fail), /below 999/);
});

storage.run();

const codes = suite('onnx writer: codes');

/** A convolution and a matrix between codes, with a clamp, and sums in int32. */
function quantizedGraph(): Graph {
  const random = createRandom(9);
  const code = (count: number) => Int8Array.from(normals(random, count, 40));
  const writer = new OnnxWriter(13).input('x', ['N', 3, 5, 5], UINT8);
  const scalar = (name: string, scale: number, zero: number, type = UINT8) =>
    writer.floats(`${name}.s`, [], [scale]).codes(`${name}.z`, [], [zero], type);
  scalar('x', 0.02, 120);
  scalar('a', 0.11, 3);
  scalar('b', 0.2, 90);
  writer.codes('w1', [4, 3, 3, 3], code(108), INT8).floats('w1.s', [4], [0.01, 0.02, 0.005, 0.01]);
  writer.codes('w1.z', [4], [0, 0, 0, 0], INT8).ints('dims', [0, -1]);
  writer.floats('b1', [4], [1, -2, 0.5, 0]).floats('six', [], [6]).floats('zero', [], [0]);
  writer.codes('w2', [36, 7], code(252), INT8).codes('w2.z', [], [1], INT8);
  writer.node('DequantizeLinear', ['x', 'x.s', 'x.z'], ['xr']);
  writer.node('DequantizeLinear', ['w1', 'w1.s', 'w1.z'], ['w1r'], { axis: 0 });
  writer.node('Conv', ['xr', 'w1r', 'b1'], ['c']).node('Clip', ['c', 'zero', 'six'], ['d']);
  writer.node('QuantizeLinear', ['d', 'a.s', 'a.z'], ['q']).node('MaxPool', ['q'], ['p'], { kernel_shape: [1, 1] });
  writer.node('Reshape', ['p', 'dims'], ['f']).node('MatMulInteger', ['f', 'w2', 'a.z', 'w2.z'], ['sums']);
  writer.node('DequantizeLinear', ['q', 'a.s', 'a.z'], ['dr']).node('Sigmoid', ['dr'], ['s']);
  writer.node('QuantizeLinear', ['s', 'b.s', 'b.z'], ['sq']).output('sums', 'q', 'sq');
  return readOnnx(writer.bytes());
}

codes('layers on codes, sums, pools and tables: the same codes', async () => {
  const given = quantizedGraph();
  const x = Uint8Array.from({ length: 150 }, (_, i) => (i * 37) % 256);
  const inputs = { x: { shape: [2, 3, 5, 5], data: x } };
  const want = await answers(given, inputs);
  for (const form of [given, optimize(given)]) {
    const { after, types } = roundTrip(form, 'codes');
    assert.ok(types.includes('MatMulInteger'));
    identical(await answers(after, inputs), want, 'codes');
  }
  assert.ok(roundTrip(optimize(given), 'table').types.includes('Gather'), 'a table is looked up by Gather');
});

codes('a bias of sums that f32 does not hold stays an integer, in our domain', async () => {
  const base = optimize(quantizedGraph());
  const nodes = base.nodes.map((node): Node => {
    if (!isLayer(node) || !node.result?.quantization) return node;
    return { ...node, bias: Int32Array.of(2 ** 24 + 1, -(2 ** 25) - 3, 2 ** 26 + 5, 7) };
  });
  const given = { ...base, nodes };
  const { after, types } = roundTrip(given, 'bias');
  assert.ok(types.includes('thinfer.Conv'));
  const layer = after.nodes.find((node) => isLayer(node) && node.result?.quantization) as LayerNode;
  assert.equal(layer.bias, Int32Array.of(2 ** 24 + 1, -(2 ** 25) - 3, 2 ** 26 + 5, 7));
  const inputs = { x: { shape: [1, 3, 5, 5], data: new Uint8Array(75).fill(130) } };
  identical(await answers(after, inputs), await answers(given, inputs), 'bias');
});

codes('sums as TensorFlow Lite rounds them: in our domain, or in ONNX’s', async () => {
  const bytes = new Uint8Array(await readFixture('test/data/tflite/resnet8_cifar10_int8.tflite'));
  const given = optimize(readTflite(bytes));
  const own = roundTrip(given, 'fixed');
  assert.is(own.types.filter((type) => type === 'thinfer.FixedAdd').length, 3);
  const portable = parseModel(writeOnnx(given, { portable: true })).graph!.node;
  assert.not(portable.some(({ domain }) => domain === 'thinfer'));
});

codes.run();

const refusals = suite('onnx writer: what it refuses');

refusals('names every node without a form, at once', () => {
  const affine = { inputs: [0, 1], output: 2 };
  const bad: Graph = {
    inputs: [
      { name: 'x', value: 0 },
      { name: 's', value: 1 },
    ],
    outputs: [
      { name: 'y', value: 2 },
      { name: 'z', value: 4 },
    ],
    values: new Map(
      [
        [0, ['N', 4]],
        [1, [2, 4]],
        [2, ['N', 4]],
        [3, ['N', 4]],
        [4, ['N', 4]],
      ].map(([id, shape]) => [id as number, { id: id as number, name: `v${id}`, shape: shape as (number | string)[] }]),
    ),
    constants: new Map(),
    nodes: [
      { op: 'normalize', name: 'first', tail: 1, epsilon: 1e-5, center: true, ...affine },
      { op: 'normalize', name: 'second', tail: 1, epsilon: 1e-5, center: false, inputs: [0, 1], output: 3 },
      { op: 'clamp', name: 'third', clamp: [0, 1], inputs: [3], output: 4 },
    ],
  };
  try {
    writeOnnx(bad);
  } catch (error) {
    assert.instance(error, ThinferError);
    assert.is((error as ThinferError).code, 'unsupported');
    assert.match((error as ThinferError).message, /"first".*"second"/);
    assert.not.match((error as ThinferError).message, /"third"/, 'which is not to blame');
    return;
  }
  assert.unreachable('an error');
});

refusals.run();
