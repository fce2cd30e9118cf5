// Quantised graphs: the passes one by one, models that take and give codes, and what is refused. What whole models give
// is compared with onnxruntime-web in quantized.node.test.ts.
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ThinferError } from '../src/errors.js';
import { interpret } from '../src/graph/interpret.js';
import type { Graph } from '../src/graph/ir.js';
import { Model } from '../src/graph/model.js';
import { fuseActivation } from '../src/graph/passes/activation.js';
import { foldConstants } from '../src/graph/passes/constants.js';
import { foldDynamic } from '../src/graph/passes/dynamic.js';
import { optimize } from '../src/graph/passes/index.js';
import { foldFlatten, sinkTransposes, toNhwc } from '../src/graph/passes/layout.js';
import { foldDequantize, fuseQuantizedFunctions } from '../src/graph/passes/quantized-functions.js';
import { fuseQuantizedLayers } from '../src/graph/passes/quantized-layers.js';
import { moveCodes } from '../src/graph/passes/quantized-moves.js';
import { removeDead } from '../src/graph/passes/rewrite.js';
import { type ModelProto, ModelProtoSchema } from '../src/onnx/generated/onnx_pb.js';
import { loadOnnx, readOnnx } from '../src/onnx/index.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { codes } from './support/code-cases.js';
import { apply, damage, loadsOrRefuses } from './support/damage.js';
import { type AttributeValue, FLOAT, INT4, INT8, INT32, OnnxWriter, UINT8 } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';

/** A chain of nodes, each on what the last one made. */
class Chain {
  readonly writer: OnnxWriter;
  readonly random = createRandom(3);
  readonly shape: number[];
  last = 'x';
  #count = 0;

  constructor(shape: number[], type = FLOAT) {
    this.writer = new OnnxWriter(13).input('x', shape, type);
    this.shape = shape;
  }

  name(): string {
    return `v${this.#count++}`;
  }

  op(type: string, others: string[] = [], attributes: Record<string, AttributeValue> = {}): this {
    const output = this.name();
    this.writer.node(type, [this.last, ...others], [output], attributes);
    this.last = output;
    return this;
  }

  meaning(scale: number, zeroPoint: number, type = UINT8): [string, string] {
    const [s, z] = [this.name(), this.name()];
    this.writer.floats(s, [], [scale]).codes(z, [], [zeroPoint], type);
    return [s, z];
  }

  pair(scale = 0.03, zeroPoint = 120, type = UINT8): this {
    const q = this.meaning(scale, zeroPoint, type);
    return this.op('QuantizeLinear', q).op('DequantizeLinear', q);
  }

  /** int8 weights before a DequantizeLinear, a scale a row. */
  weights(dims: number[]): string {
    const [name, scale, output] = [this.name(), this.name(), this.name()];
    const length = dims.reduce((a, b) => a * b, 1);
    this.writer.codes(name, dims, codes(this.random, length, 'int8'), INT8);
    this.writer.floats(
      scale,
      [dims[0]],
      Array.from({ length: dims[0] }, () => 0.002 + 0.002 * this.random.next()),
    );
    this.writer.node('DequantizeLinear', [name, scale], [output], { axis: 0 });
    return output;
  }

  graph(...outputs: string[]): Graph {
    return readOnnx(this.writer.output(...outputs, this.last).bytes());
  }
}

const ops = (graph: Graph) => graph.nodes.map((node) => node.op).join(' ');

function inputOf({ shape, random }: Chain) {
  const length = shape.reduce((a, b) => a * b, 1);
  return { x: { dims: shape, data: normals(random, length) } };
}

/** The pass leaves these nodes, and answers that are no further off than `limit`. */
function check(chain: Chain, passes: ((graph: Graph) => Graph)[], expected: string, limit = 0): Graph {
  const before = chain.graph();
  const after = passes.reduce((graph, pass) => pass(graph), before);
  assert.is(ops(after), expected);
  const inputs = inputOf(chain);
  const [want] = Object.values(interpret(before, inputs));
  const [got] = Object.values(interpret(after, inputs));
  assert.equal(got.dims, want.dims);
  for (const [i, x] of want.data.entries()) {
    const right = Math.abs(got.data[i] - x) <= limit;
    if (!right) assert.unreachable(`[${i}]: ${got.data[i]} instead of ${x}`);
  }
  return after;
}

const passes = suite('passes on quantised graphs');
const image = [2, 4, 6, 6];

passes('moveCodes: what moves elements moves codes', () => {
  const chain = new Chain(image).pair().op('Transpose', [], { perm: [0, 2, 3, 1] });
  chain.writer.ints('flat', [2, 6, 24]).ints('starts', [1]).ints('ends', [5]).ints('axes', [1]).ints('rows', [3, 0]);
  chain.op('Reshape', ['flat']).op('Slice', ['starts', 'ends', 'axes']).op('Gather', ['rows'], { axis: 1 });
  check(chain, [moveCodes], 'quantize transpose reshape slice gather dequantize');
  check(
    new Chain(image).pair().op('MaxPool', [], { kernel_shape: [2, 2] }),
    [moveCodes],
    'quantize maxPool2d dequantize',
  );
});

passes('moveCodes: a border is a code where one stands for it', () => {
  const bordered = (value: number) => {
    const chain = new Chain([3, 5]).pair(0.5, 7);
    chain.writer.ints('pads', [1, 2, 0, 1]).floats('value', [], [value]);
    return chain.op('Pad', ['pads', 'value']);
  };
  check(bordered(0), [moveCodes], 'quantize pad dequantize');
  check(bordered(-1.5), [moveCodes], 'quantize pad dequantize');
  check(bordered(0.3), [moveCodes], 'quantize dequantize pad');
});

passes('moveCodes: concatenations of equal codes only', () => {
  const joined = (scale: number) => {
    const chain = new Chain(image).pair(0.03, 120);
    const { last } = chain;
    chain.last = 'x';
    return chain.pair(scale, 120).op('Concat', [last], { axis: 1 });
  };
  check(joined(0.03), [moveCodes], 'quantize quantize concat dequantize');
  check(joined(0.02), [moveCodes], 'quantize dequantize quantize dequantize concat');
});

passes('moveCodes: quantize goes before a reshape', () => {
  const chain = new Chain([2, 6]).op('Sigmoid');
  chain.writer.ints('shape', [3, 4]);
  check(chain.op('Reshape', ['shape']).pair(), [moveCodes], 'activation quantize reshape dequantize');
});

passes('fuseQuantizedLayers: a convolution reads codes and gives them, with its bias in sums', () => {
  const chain = new Chain(image).pair(0.02, 128);
  const bias = chain.name();
  chain.writer.floats(bias, [5], [0.1, -0.2, 0.3, 0, 5]);
  chain.op('Conv', [chain.weights([5, 4, 3, 3]), bias], { pads: [1, 1, 1, 1] }).op('Relu');
  chain.pair(0.02, 3);
  // Before, activations are quantised by what each sample holds.
  const graph = check(chain, [fuseActivation, fuseQuantizedLayers], 'quantize conv2d dequantize', 0.06);
  const [, conv] = graph.nodes;
  assert.ok(conv.op === 'conv2d');
  const { inputCodes, result, bias: sums, weights } = conv;
  assert.equal(inputCodes, { dtype: 'uint8', scale: Math.fround(0.02), zeroPoint: 128 });
  assert.equal(result?.quantization, { dtype: 'uint8', scale: Math.fround(0.02), zeroPoint: 3 });
  assert.ok(weights.format === 'int8');
  const { scale } = weights;
  assert.equal(
    sums,
    Int32Array.from([0.1, -0.2, 0.3, 0, 5], (x, r) => Math.round(Math.fround(x) / (Math.fround(0.02) * scale[r]))),
  );
});

passes('fuseQuantizedLayers: where nothing quantises the output it stays f32', () => {
  const chain = new Chain([3, 20]).pair(0.02, 128);
  chain.op('Gemm', [chain.weights([7, 20])], { transB: 1 }).op('Tanh');
  check(chain, [fuseActivation, fuseQuantizedLayers], 'quantize linear', 0.05);
});

passes('fuseQuantizedFunctions: functions of one number are tables', () => {
  const chain = new Chain(image).pair();
  chain.writer.floats('half', [], [0.5]);
  chain.op('HardSwish').op('Mul', ['half']).op('Clip').op('LeakyRelu').pair(0.01, 40);
  check(chain, [fuseQuantizedFunctions], 'quantize lookup dequantize');
});

passes('fuseQuantizedFunctions: the same codes are left alone, others looked up', () => {
  check(new Chain(image).pair().pair(), [fuseQuantizedFunctions], 'quantize dequantize');
  check(new Chain(image).pair().pair(0.04, 0, INT8), [fuseQuantizedFunctions], 'quantize lookup dequantize');
});

passes('fuseQuantizedFunctions: sums, products, averages and concatenations', () => {
  const two = (then: (chain: Chain, other: string) => void) => {
    const chain = new Chain(image).pair();
    const { last } = chain;
    chain.last = 'x';
    chain.pair(0.02, 0, INT8);
    then(chain, last);
    return chain.pair(0.05, 128);
  };
  const run = [fuseActivation, fuseQuantizedFunctions];
  check(
    two((c, other) => c.op('Add', [other])),
    run,
    'quantize quantize qAdd dequantize',
  );
  check(
    two((c, other) => c.op('Mul', [other]).op('Relu')),
    run,
    'quantize quantize qMul dequantize',
  );
  check(
    two((c, other) => c.op('Concat', [other], { axis: 2 })),
    run,
    'quantize quantize lookup lookup concat dequantize',
  );
  // An average is rounded once here and twice there.
  const averaged = new Chain(image)
    .pair()
    .op('AveragePool', [], { kernel_shape: [3, 3] })
    .pair(0.02, 128);
  check(averaged, run, 'quantize averagePool2d dequantize', 0.0201);
});

passes('foldDequantize: constants that stayed codes for others become f32', () => {
  const chain = new Chain([3, 4]);
  const [name, output] = [chain.name(), chain.name()];
  chain.writer.codes(name, [4], [0, 100, 200, 255], UINT8);
  chain.writer.node('DequantizeLinear', [name, ...chain.meaning(0.5, 100)], [output]);
  const graph = check(chain.op('Add', [output]), [foldDequantize], 'add');
  assert.equal([...graph.constants.values()][0].data, Float32Array.of(-50, 0, 50, 77.5));
});

passes('foldDynamic: what quantize_dynamic writes is one layer', () => {
  const chain = new Chain([3, 20]);
  chain.writer.node('DynamicQuantizeLinear', ['x'], ['y', 's', 'z']);
  chain.writer.codes('w', [20, 6], codes(chain.random, 120, 'uint8'), UINT8).codes('wz', [], [130], UINT8);
  chain.writer.floats('ws', [6], [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]);
  chain.writer.node('MatMulInteger', ['y', 'w', 'z', 'wz'], ['sums']).node('Cast', ['sums'], ['f'], { to: 1 });
  chain.writer.node('Mul', ['s', 'ws'], ['scale']).node('Mul', ['f', 'scale'], ['out']);
  chain.last = 'out';
  const graph = check(chain, [removeDead, foldConstants, foldDynamic], 'linear', 0.05);
  const [layer] = graph.nodes;
  assert.ok(layer.op === 'linear' && layer.weights.format === 'int8');
  assert.equal(layer.weights.scale, Float32Array.of(0.001, 0.002, 0.003, 0.004, 0.005, 0.006));
});

passes('foldFlatten: the columns of int8 weights are put into another order', () => {
  const chain = new Chain(image)
    .pair(0.02, 128)
    .op('MaxPool', [], { kernel_shape: [2, 2], strides: [2, 2] })
    .op('Flatten');
  chain.op('Gemm', [chain.weights([5, 36])], { transB: 1 }).pair(0.02, 128);
  const run = [moveCodes, fuseQuantizedLayers, toNhwc, sinkTransposes, foldFlatten];
  check(chain, run, 'quantize transpose maxPool2d reshape linear dequantize', 0.05);
});

passes('random chains between pairs: the passes change no code but by one', async () => {
  const links: Record<string, (chain: Chain) => unknown> = {
    Relu: (c) => c.op('Relu'),
    Sigmoid: (c) => c.op('Sigmoid'),
    Transpose: (c) => c.op('Transpose', [], { perm: [0, 3, 2, 1] }),
    MaxPool: (c) => c.op('MaxPool', [], { kernel_shape: [2, 1], pads: [0, 0, 1, 0] }),
    Square: (c) => c.op('Mul', [c.last]),
    Twice: (c) => c.op('Add', [c.last]),
    Join: (c) => c.op('Concat', [c.last], { axis: 2 }),
    Softmax: (c) => c.op('Softmax', [], { axis: 1 }),
  };
  const chain = fc.array(
    fc.record({
      link: fc.constantFrom(...Object.keys(links)),
      scale: fc.constantFrom(0.01, 0.03, 0.5),
      pair: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  );
  const property = fc.property(chain, (list) => {
    const made = new Chain([1, 3, 5, 6]).pair(0.03, 100);
    for (const { link, scale, pair } of list) {
      links[link](made);
      if (pair) made.pair(scale, 60);
    }
    const before = made.graph();
    const after = optimize(before);
    const inputs = inputOf(made);
    const [want] = Object.values(interpret(before, inputs));
    const [got] = Object.values(interpret(after, inputs));
    assert.equal(got.dims, want.dims);
    // One code of the coarsest scale, squared at most.
    const off = want.data.filter((x, i) => Math.abs(got.data[i] - x) > 1e-4 * Math.max(1, Math.abs(x))).length;
    assert.ok(off <= 0.06 * want.data.length, `${off} of ${want.data.length}: ${ops(after)}`);
  });
  fc.assert(property, { seed: 11, numRuns: 120 });
});

passes.run();

const models = suite('models on codes');

/** QLinearConv between codes that come and go as such. */
function codesModel(): OnnxWriter {
  const writer = new OnnxWriter(13).input('x', ['N', 2, 5, 4], UINT8);
  writer.codes('w', [3, 2, 3, 3], codes(createRandom(1), 54, 'int8'), INT8).codes('b', [3], [10, -500, 70], INT32);
  writer.floats('s', [], [0.02]).codes('z', [], [120], UINT8).floats('ws', [], [0.01]).codes('wz', [], [0], INT8);
  const inputs = ['x', 's', 'z', 'w', 'ws', 'wz', 's', 'z', 'b'];
  writer.node('QLinearConv', inputs, ['c'], { pads: [1, 1, 1, 1] });
  return writer.node('MaxPool', ['c'], ['y'], { kernel_shape: [2, 2], strides: [2, 2] }).output('y');
}

models('codes go in and come out, one byte each', async () => {
  const data = codes(createRandom(2), 120, 'uint8') as Uint8Array;
  const answers = [];
  for (const backend of [new ReferenceBackend(), await createWasmBackend({ threads: 1 })]) {
    const model = await loadOnnx({ backends: [backend] }, codesModel().bytes());
    assert.equal(model.inputs, [{ name: 'x', shape: ['N', 2, 5, 4], dtype: 'uint8' }]);
    assert.equal(
      model.outputs.map(({ name, dtype }) => `${name} ${dtype}`),
      ['y uint8'],
    );
    const { y } = await model.run({ x: data });
    assert.instance(y.data, Uint8Array);
    assert.equal(y.shape, [3, 3, 2, 2]);
    answers.push(y.data);
    // Input, NHWC, both layers' outputs and the last transpose, by their bytes.
    assert.is(model.memory.unsharedBytes, 120 + 120 + 180 + 36 + 36);
    model.free();
    backend.free();
  }
  assert.equal(answers[0], answers[1]);
  assert.ok(new Set(answers[0]).size > 5);
});

async function refused(code: string, pattern: RegExp, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    assert.instance(error, ThinferError, String(error));
    assert.is((error as ThinferError).code, code, String(error));
    assert.match((error as ThinferError).message, pattern);
    return;
  }
  assert.unreachable(`expected ThinferError ${code}`);
}

models('inputs of codes take no other array', async () => {
  const model = await loadOnnx({ backends: [new ReferenceBackend()] }, codesModel().bytes());
  await refused('bad-argument', /input "x": expected elements of uint8, got int8/, () =>
    model.run({ x: new Int8Array(40) }),
  );
  await refused('bad-argument', /elements of uint8, got float32/, () => model.run({ x: new Float32Array(40) }));
  model.free();
});

models('weights that came as codes are packed already', async () => {
  const runtime = { backends: [new ReferenceBackend()] };
  const graph = readOnnx(codesModel().bytes());
  const [layer] = graph.nodes.filter(({ op }) => op === 'conv2d');
  await refused('bad-argument', /layers that the model has dense/, () =>
    Model.create(runtime, graph, { weights: { [layer.name]: { format: 'int8' } } }),
  );
  const model = await Model.create(runtime, graph, { weights: { '*': { format: 'int8' } } });
  assert.is(model.explain()[1].format, 'int8');
  model.free();
});

models('what does not fit is refused, all of it at once, by its node', async () => {
  const writer = codesModel().input('f', [4, 32]).input('runtime', []);
  writer.node('QLinearConv', ['x', 'runtime', 'z', 'w', 'ws', 'wz', 's', 'z'], ['r1'], {}, 'open scale');
  writer.node('com.microsoft.MatMulNBits', ['f', 'q', 'qs'], ['r2'], { K: 32, N: 2, bits: 3, block_size: 16 }, 'bits');
  writer.codes('q', [2, 2, 6], new Uint8Array(24), UINT8).floats('qs', [4], [1, 1, 1, 1]);
  writer.node('com.microsoft.QLinearSoftmax', ['x', 's', 'z', 's', 'z'], ['r3'], { axis: 1 }, 'softmax');
  writer.output('r1', 'r2', 'r3');
  const all = /"open scale".*not constant; .*"bits".*bits 3.*; .*"softmax".*/s;
  await refused('unsupported', all, () => readOnnx(writer.bytes()));
});

models('contradictions are bad models, with their place', async () => {
  const broken = (change: (writer: OnnxWriter) => unknown) => {
    const writer = new OnnxWriter(13).input('x', [1, 2, 4, 4], UINT8);
    writer.codes('w', [3, 2, 3, 3], new Int8Array(54), INT8).floats('s', [], [0.1]).codes('z', [], [0], UINT8);
    writer.floats('neg', [], [-1]).floats('two', [2], [1, 2]).codes('b', [2], [0, 0], INT32).codes('i', [], [0], INT8);
    change(writer);
    return () => readOnnx(writer.output('y').bytes());
  };
  const conv = (...inputs: string[]) => broken((writer) => writer.node('QLinearConv', inputs, ['y']));
  await refused('bad-model', /scale: expected one of \[3\], got \[2\]/, conv('x', 's', 'z', 'w', 'two', 'i', 's', 'z'));
  await refused('bad-model', /x_scale: .*above 0, got -1/, conv('x', 'neg', 'z', 'w', 's', 'i', 's', 'z'));
  await refused('bad-model', /bias: expected 3 elements, got 2/, conv('x', 's', 'z', 'w', 's', 'i', 's', 'z', 'b'));
  await refused('bad-model', /type: expected int8, got uint8/, conv('x', 's', 'i', 'w', 's', 'i', 's', 'z'));
  await refused('bad-model', /8 to 9 inputs/, conv('x', 's', 'z', 'w', 's', '', 's', 'z'));
  const few = broken((writer) =>
    writer
      .codes('q', [1, 1, 8], new Uint8Array(8), UINT8)
      .input('f', [1, 32])
      .node('com.microsoft.MatMulNBits', ['f', 'q', 's'], ['y'], { K: 32, N: 1, bits: 4, block_size: 32 }),
  );
  await refused('bad-model', /B: expected 16 bytes, got 8/, few);
});

models('sparse constants are csr weights', async () => {
  const writer = new OnnxWriter(13).input('x', ['N', 80]);
  const indices = Array.from({ length: 40 }, (_, i) => 7 * i);
  const values = Array.from({ length: 40 }, (_, i) => 1 + i);
  writer.sparse('w', [4, 80], indices, values).node('Gemm', ['x', 'w'], ['y'], { transB: 1 }).output('y');
  const model = await loadOnnx({ backends: [new ReferenceBackend()] }, writer.bytes());
  assert.is(model.explain()[0].format, 'csr');
  const { y } = await model.run({ x: new Float32Array(80).fill(1) });
  const sums = [0, 0, 0, 0];
  for (const [i, at] of indices.entries()) sums[Math.floor(at / 80)] += values[i];
  assert.equal(Array.from(y.data), sums);
  model.free();
});

/** Every kind of quantised operator, small. */
function everything(): Uint8Array<ArrayBuffer> {
  const writer = codesModel().input('f', ['N', 32]);
  const q = ['s', 'z'];
  writer.node('com.microsoft.QLinearAdd', ['y', ...q, 'y', ...q, ...q], ['a']);
  writer.node('com.microsoft.QLinearSigmoid', ['a', ...q, ...q], ['gate']);
  writer.node('com.microsoft.QLinearConcat', [...q, 'a', ...q, 'gate', 'ws', 'z'], ['c2'], { axis: 1 });
  writer.node('com.microsoft.QLinearGlobalAveragePool', ['c2', ...q, ...q], ['p'], { channels_last: 0 });
  writer.node('Flatten', ['p'], ['flat']).codes('g', [6, 5], new Int8Array(30).fill(3), INT8);
  writer.node('com.microsoft.QGemm', ['flat', ...q, 'g', 'ws', 'wz', '', ...q], ['gemm'], { transB: 0 });
  writer.node('ConvInteger', ['x', 'w', 'z', 'wz'], ['sums'], { pads: [1, 1, 1, 1] });
  writer.node('DequantizeLinear', ['gemm', ...q], ['real']).node('QuantizeLinear', ['f', ...q], ['fq']);
  writer.node('DequantizeLinear', ['fq', ...q], ['fr']);
  writer.codes('m', [32, 4], new Int8Array(128).fill(-5), INT4).floats('ms', [2, 4], new Float32Array(8).fill(0.1));
  writer
    .node('DequantizeLinear', ['m', 'ms'], ['mr'], { axis: 0, block_size: 16 })
    .node('MatMul', ['fr', 'mr'], ['mm']);
  writer.codes('n', [3, 1, 16], new Uint8Array(48).fill(0x5a), UINT8).floats('ns', [3], [1, 2, 3]);
  const nbits = { K: 32, N: 3, bits: 4, block_size: 32 };
  writer.node('com.microsoft.MatMulNBits', ['f', 'n', 'ns'], ['nb'], nbits);
  writer
    .node('DynamicQuantizeLinear', ['f'], ['dy', 'ds', 'dz'])
    .codes('d', [32, 2], new Uint8Array(64).fill(9), UINT8);
  writer.node('MatMulInteger', ['dy', 'd', 'dz', 'z'], ['di']).node('Cast', ['di'], ['df'], { to: 1 });
  writer.node('Mul', ['ds', 'ws'], ['dw']).node('Mul', ['df', 'dw'], ['dr']);
  return writer.output('real', 'sums', 'mm', 'nb', 'dr').bytes();
}

models('damaged bytes of a quantised model are refused or loaded, soon', async () => {
  const bytes = everything();
  readOnnx(bytes);
  assert.ok(await loadsOrRefuses(bytes));
  let refusals = 0;
  const property = fc.asyncProperty(damage, async (changes) => {
    if (!(await loadsOrRefuses(apply(bytes, changes)))) refusals++;
  });
  await fc.assert(property, { seed: 21, numRuns: 600 });
  assert.ok(refusals > 150, `${refusals} refused`);
});

/** One thing of a model changed: a number of a node, the shape, type or bytes of a constant, or what a node reads. */
function mutate(proto: ModelProto, what: string, which: number, value: bigint): void {
  const { node, initializer } = proto.graph!;
  const pick = <T>(list: readonly T[]): T => list[which % list.length];
  const target = pick(node);
  const tensor = pick(initializer);
  if (what === 'attribute') {
    const attribute = pick(node.flatMap((each) => each.attribute));
    if (attribute.ints.length > 0) attribute.ints[which % attribute.ints.length] = value;
    else attribute.i = value;
  } else if (what === 'dims') tensor.dims = pick([[], [value], [...tensor.dims, 1n], tensor.dims.map(() => value)]);
  else if (what === 'type') tensor.dataType = Number(value % 28n);
  else if (what === 'bytes') tensor.rawData = tensor.rawData.map((byte) => Number(BigInt(byte) ^ (value & 255n)));
  else if (what === 'input') target.input[which % target.input.length] = pick(node.flatMap((each) => each.input));
  else target.opType = pick(node).opType;
}

models('mutated quantised models are refused or loaded, soon', async () => {
  const bytes = everything();
  const mutation = fc.record({
    what: fc.constantFrom('attribute', 'dims', 'type', 'bytes', 'input', 'op'),
    which: fc.nat(1000),
    value: fc.oneof(
      fc.constantFrom(0n, 1n, 2n, 3n, 4n, 8n, 21n, 22n, 2n ** 31n, 2n ** 62n),
      fc.bigInt({ min: 0n, max: 300n }),
    ),
  });
  let refusals = 0;
  const property = fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
    const proto = fromBinary(ModelProtoSchema, bytes);
    for (const { what, which, value } of mutations) mutate(proto, what, which, value);
    if (!(await loadsOrRefuses(toBinary(ModelProtoSchema, proto)))) refusals++;
  });
  await fc.assert(property, { seed: 23, numRuns: 700 });
  assert.ok(refusals > 200 && refusals < 695, `${refusals} refused`);
});

models.run();
