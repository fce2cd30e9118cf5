import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, ThinferError } from '../src/errors.js';
import { formsOf } from '../src/formats/forms.js';
import { csr, type dense, formats } from '../src/formats/index.js';
import { type Array32, interpret } from '../src/graph/interpret.js';
import { composeClamp, type Graph, isLayer, type LayerNode } from '../src/graph/ir.js';
import { type Lifetime, planMemory } from '../src/graph/memory.js';
import { MAX_PLANS, Model, type ModelOptions, type ModelTensors } from '../src/graph/model.js';
import { packGraph } from '../src/graph/pack.js';
import { fuseActivation } from '../src/graph/passes/activation.js';
import { foldBatchNorm, lowerBatchNorm } from '../src/graph/passes/batchnorm.js';
import { foldBias } from '../src/graph/passes/bias.js';
import { findActivations, findNormalizations, foldAffine } from '../src/graph/passes/composites.js';
import { foldConstants } from '../src/graph/passes/constants.js';
import { optimize, PASSES } from '../src/graph/passes/index.js';
import { foldFlatten, fuseTransposes, sinkTransposes, toNhwc, transposeToReshape } from '../src/graph/passes/layout.js';
import { removeDead } from '../src/graph/passes/rewrite.js';
import { floatsFromF16 } from '../src/half.js';
import { weightFacts } from '../src/layers/problem.js';
import { readOnnx } from '../src/onnx/index.js';
import { writeOnnx } from '../src/onnx/write/index.js';
import { Tensor } from '../src/tensor.js';
import { type AttributeValue, OnnxWriter } from './support/onnx-writer.js';
import { createRandom, normals, sparseMatrix, uniforms } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';

/** Builds a model layer by layer; each call works on what the last one made. Shapes are for a batch named N. */
class Net {
  readonly writer: OnnxWriter;
  readonly random;
  shape: (number | string)[];
  last = 'x';
  #count = 0;

  constructor(shape: (number | string)[], seed = 1, opset = 13) {
    this.writer = new OnnxWriter(opset).input('x', shape);
    this.random = createRandom(seed);
    this.shape = shape;
  }

  get channels(): number {
    return this.shape[1] as number;
  }

  op(type: string, inputs: string[] = [], attributes: Record<string, AttributeValue> = {}): this {
    const output = `v${this.#count++}`;
    this.writer.node(type, [this.last, ...inputs], [output], attributes, `${type}${this.#count}`);
    this.last = output;
    return this;
  }

  floats(dims: number[], scale = 1): string {
    const name = `c${this.#count++}`;
    const length = dims.reduce((a, b) => a * b, 1);
    this.writer.floats(name, dims, normals(this.random, length, scale));
    return name;
  }

  ints(data: number[]): string {
    const name = `c${this.#count++}`;
    this.writer.ints(name, data);
    return name;
  }

  numbers(data: number[], dims = [data.length]): string {
    const name = `c${this.#count++}`;
    this.writer.floats(name, dims, data);
    return name;
  }

  conv(outputs: number, { kernel = 3, group = 1, bias = true, stride = 1 } = {}): this {
    const weights = this.floats([outputs, this.channels / group, kernel, kernel], 0.3);
    const inputs = bias ? [weights, this.floats([outputs])] : [weights];
    const pad = kernel >> 1;
    this.op('Conv', inputs, { group, pads: [pad, pad, pad, pad], strides: [stride, stride] });
    const [batch, , height, width] = this.shape;
    const size = (x: number | string) => (typeof x === 'number' ? Math.floor((x + 2 * pad - kernel) / stride) + 1 : x);
    this.shape = [batch, outputs, size(height), size(width)];
    return this;
  }

  batchNorm(): this {
    const name = `c${this.#count++}`;
    this.writer.floats(`${name}.var`, [this.channels], uniforms(this.random, this.channels, 0.5, 2));
    const [scale, shift, mean] = [1, 1, 1].map(() => this.floats([this.channels]));
    return this.op('BatchNormalization', [scale, shift, mean, `${name}.var`]);
  }

  pool(type = 'MaxPool'): this {
    this.op(type, [], { kernel_shape: [2, 2], strides: [2, 2] });
    const [batch, channels, height, width] = this.shape;
    this.shape = [batch, channels, Math.floor((height as number) / 2), Math.floor((width as number) / 2)];
    return this;
  }

  globalPool(): this {
    this.op('GlobalAveragePool');
    this.shape = [this.shape[0], this.shape[1], 1, 1];
    return this;
  }

  flatten(): this {
    this.op('Flatten');
    this.shape = [this.shape[0], (this.shape.slice(1) as number[]).reduce((a, b) => a * b, 1)];
    return this;
  }

  gemm(outputs: number): this {
    this.op('Gemm', [this.floats([outputs, this.channels], 0.2), this.floats([outputs])], { transB: 1 });
    this.shape = [this.shape[0], outputs];
    return this;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const { output } = this.writer.graph;
    return (output.some(({ name }) => name === this.last) ? this.writer : this.writer.output(this.last)).bytes();
  }

  graph(): Graph {
    return readOnnx(this.bytes());
  }

  input(batch: number): Array32 {
    const [, ...rest] = this.writer.graph.input[0].type!.value.value!.shape!.dim.map(({ value }) =>
      Number(value.value),
    );
    const dims = [batch, ...rest];
    return {
      dims,
      data: normals(
        createRandom(99),
        dims.reduce((a, b) => a * b, 1),
      ),
    };
  }
}

const ops = (graph: Graph) => graph.nodes.map((node) => node.op).join(' ');

function close(got: ArrayLike<number>, want: ArrayLike<number>, message = '', relative = 1e-4): void {
  assert.is(got.length, want.length, message);
  const scale = Array.from(want).reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  for (let i = 0; i < want.length; i++) {
    if (!(Math.abs(got[i] - want[i]) <= relative * scale)) {
      assert.unreachable(`${message} [${i}]: ${got[i]} instead of ${want[i]} (largest ${scale})`);
    }
  }
}

/** The two graphs compute the same. */
function sameResult(before: Graph, after: Graph, inputs: Record<string, Array32>, message = ''): void {
  const want = interpret(before, inputs);
  const got = interpret(after, inputs);
  assert.equal(Object.keys(got), Object.keys(want));
  for (const name of Object.keys(want)) {
    assert.equal(got[name].dims, want[name].dims, `${message} ${name}`);
    close(got[name].data, want[name].data, `${message} ${name}`);
  }
}

function checkPass(net: Net, pass: (graph: Graph) => Graph, expected: string): Graph {
  const before = net.graph();
  const frozen = ops(before);
  const after = pass(before);
  assert.is(ops(after), expected);
  assert.is(ops(before), frozen, 'the argument is not changed');
  sameResult(before, after, { x: net.input(2) });
  return after;
}

async function throwsWith(code: ErrorCode, pattern: RegExp, run: () => unknown): Promise<void> {
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

const image = ['N', 3, 6, 5];

const passes = suite('graph passes');

passes('foldConstants computes elementwise operators, transposes and reshapes of constants', () => {
  const net = new Net(['N', 4]);
  net.writer.floats('a', [2, 2], [1, 2, 3, 4]).floats('b', [2, 1], [10, 20]).ints('four', [4]);
  net.writer.node('Transpose', ['a'], ['at']).node('Add', ['at', 'b'], ['sum']);
  net.writer.node('Reshape', ['sum', 'four'], ['flat']).node('Relu', ['flat'], ['positive']);
  net.op('Mul', ['positive']);
  const graph = foldConstants(net.graph());
  assert.is(ops(graph), 'mul');
  assert.equal([...graph.constants.values()][0].data, new Float32Array([11, 13, 22, 24]));
});

passes('foldConstants drops what changes nothing', () => {
  checkPass(new Net(image).op('Transpose', [], { perm: [0, 1, 2, 3] }).op('Clip'), foldConstants, '');
});

passes('foldBatchNorm folds into the convolution or linear layer before', () => {
  checkPass(new Net(image).conv(4).batchNorm().op('Relu'), foldBatchNorm, 'conv2d clamp');
  checkPass(new Net(image).conv(6, { group: 3, bias: false }).batchNorm(), foldBatchNorm, 'conv2d');
  const dense = new Net(['N', 7]);
  checkPass(dense.gemm(5).batchNorm(), (graph) => foldBatchNorm(foldBias(graph)), 'linear');
});

passes('foldBatchNorm leaves a layer that others read too', () => {
  const net = new Net(image).conv(4);
  const conv = net.last;
  checkPass(net.batchNorm().op('Add', [conv]), foldBatchNorm, 'conv2d batchNorm add');
});

passes('lowerBatchNorm leaves a multiplication and an addition', () => {
  checkPass(new Net(image).batchNorm(), lowerBatchNorm, 'mul add');
  checkPass(new Net(['N', 5]).batchNorm(), lowerBatchNorm, 'mul add');
});

passes('foldBias folds additions and subtractions of a constant a channel', () => {
  const channels = (net: Net) => net.floats([net.channels, 1, 1]);
  const added = new Net(image).conv(4, { bias: false });
  checkPass(added.op('Add', [channels(added)]), foldBias, 'conv2d');
  const subtracted = new Net(image).conv(4);
  checkPass(subtracted.op('Sub', [channels(subtracted)]), foldBias, 'conv2d');
  const scalar = new Net(image).conv(4);
  checkPass(scalar.op('Add', [scalar.floats([1])]), foldBias, 'conv2d');
  checkPass(new Net(['N', 7]).gemm(5), foldBias, 'linear');
});

passes('foldBias leaves constants that vary along other axes', () => {
  const net = new Net(image).conv(5);
  checkPass(net.op('Add', [net.floats([5])]), foldBias, 'conv2d add');
});

passes('fuseActivation fuses Relu and Clip into what comes before', () => {
  checkPass(new Net(image).conv(4).op('Relu'), fuseActivation, 'conv2d');
  const net = new Net(image);
  checkPass(
    net
      .op('Mul', [net.floats([3, 1, 1])])
      .op('Relu')
      .op('Relu'),
    fuseActivation,
    'mul',
  );
  assert.equal(composeClamp([0, 6], [-1, 4]), [0, 4]);
  assert.equal(composeClamp([0, 1], [2, 3]), [2, 2]);
});

passes('foldBias folds products and quotients by a constant a channel', () => {
  const net = new Net(image).conv(4);
  checkPass(
    net
      .op('Mul', [net.floats([4, 1, 1])])
      .op('Add', [net.floats([1])])
      .op('Div', [net.floats([1])]),
    foldBias,
    'conv2d',
  );
  const zero = new Net(image).conv(2);
  zero.writer.floats('zero', [1], [0]);
  assert.is(ops(foldBias(zero.op('Div', ['zero']).graph())), 'conv2d div');
});

passes('fuseActivation fuses functions that can end a layer, once', () => {
  checkPass(new Net(image).conv(4).op('Sigmoid').op('Relu'), fuseActivation, 'conv2d');
  checkPass(new Net(image).conv(4).op('HardSwish').op('Tanh'), fuseActivation, 'conv2d activation');
  checkPass(new Net(image).conv(4).op('Relu').op('Tanh'), fuseActivation, 'conv2d activation');
  checkPass(new Net(image).conv(4).op('Exp').op('Relu'), fuseActivation, 'conv2d activation');
});

/** f(x) as several operators, each reading results of others by the names a, b, ... in order; x is the net's last value. */
function composed(net: Net, lines: [type: string, inputs: string[]][], numbers: Record<string, number> = {}): Net {
  const names = new Map([['x', net.last]]);
  for (const [name, value] of Object.entries(numbers)) names.set(name, net.numbers([value], []));
  for (const [i, [type, inputs]] of lines.entries()) {
    const [first, ...rest] = inputs.map((name) => names.get(name)!);
    net.last = first;
    net.op(type, rest);
    names.set(String.fromCharCode(97 + i), net.last);
  }
  return net;
}

const gelu = { r: Math.SQRT2, i: Math.SQRT1_2, one: 1, half: 0.5, two: 2 };
const tanh = { c: 0.044715, s: Math.sqrt(2 / Math.PI), one: 1, half: 0.5, three: 3 };
const hard = { three: 3, six: 6, sixth: 1 / 6, half: 0.5 };

/** Spellings of functions that models have, with the numbers they use. */
const SPELLINGS: [f: string, lines: [string, string[]][], numbers: Record<string, number>][] = [
  [
    'silu',
    [
      ['Sigmoid', ['x']],
      ['Mul', ['x', 'a']],
    ],
    {},
  ],
  [
    'silu',
    [
      ['Sigmoid', ['x']],
      ['Mul', ['a', 'x']],
    ],
    {},
  ],
  [
    'gelu',
    [
      ['Div', ['x', 'r']],
      ['Erf', ['a']],
      ['Add', ['b', 'one']],
      ['Mul', ['x', 'c']],
      ['Mul', ['d', 'half']],
    ],
    gelu,
  ],
  [
    'gelu',
    [
      ['Mul', ['x', 'half']],
      ['Mul', ['x', 'i']],
      ['Erf', ['b']],
      ['Add', ['one', 'c']],
      ['Mul', ['a', 'd']],
    ],
    gelu,
  ],
  [
    'gelu',
    [
      ['Div', ['x', 'r']],
      ['Erf', ['a']],
      ['Add', ['b', 'one']],
      ['Mul', ['half', 'c']],
      ['Mul', ['x', 'd']],
    ],
    gelu,
  ],
  [
    'geluTanh',
    [
      ['Pow', ['x', 'three']],
      ['Mul', ['a', 'c']],
      ['Add', ['x', 'b']],
      ['Mul', ['c_', 's']],
      ['Tanh', ['d']],
      ['Add', ['e', 'one']],
      ['Mul', ['x', 'half']],
      ['Mul', ['g', 'f']],
    ],
    tanh,
  ],
  [
    'hardSwish',
    [
      ['Add', ['x', 'three']],
      ['Clip', ['a', 'zero', 'six']],
      ['Mul', ['x', 'b']],
      ['Div', ['c', 'six']],
    ],
    { ...hard, zero: 0 },
  ],
  [
    'hardSwish',
    [
      ['Add', ['x', 'three']],
      ['Clip', ['a', 'zero', 'six']],
      ['Div', ['b', 'six']],
      ['Mul', ['x', 'c']],
    ],
    { ...hard, zero: 0 },
  ],
  [
    'hardSwish',
    [
      ['Mul', ['x', 'sixth']],
      ['Add', ['a', 'half']],
      ['Clip', ['b', 'zero', 'one']],
      ['Mul', ['x', 'c']],
    ],
    { ...hard, zero: 0, one: 1 },
  ],
];

passes('findActivations finds functions that were taken apart, and they end the layer', () => {
  for (const [f, lines, numbers] of SPELLINGS) {
    // A number and a result may not share a name.
    const spelt = lines.map(([type, inputs]): [string, string[]] => [
      type,
      inputs.map((name) => (name === 'c_' ? 'c' : name)),
    ]);
    const renamed = Object.fromEntries(
      Object.entries(numbers).map(([name, value]) => [name === 'c' ? 'cubic' : name, value]),
    );
    if (f === 'geluTanh') spelt[1] = ['Mul', ['a', 'cubic']];
    const bare = checkPass(composed(new Net(image), spelt, renamed), findActivations, 'activation');
    assert.is((bare.nodes[0] as { nonlinearity?: string }).nonlinearity, f);
    const layer = checkPass(composed(new Net(image).conv(4), spelt, renamed), optimize, 'transpose conv2d transpose');
    assert.is((layer.nodes[1] as LayerNode).nonlinearity, f);
  }
});

passes('findActivations leaves what only looks alike', () => {
  checkPass(
    composed(new Net(image), [
      ['Sigmoid', ['x']],
      ['Tanh', ['x']],
      ['Mul', ['a', 'b']],
    ]),
    findActivations,
    'activation activation mul',
  );
  const wrong = { ...gelu, r: 1.5 };
  const lines: [string, string[]][] = [
    ['Div', ['x', 'r']],
    ['Erf', ['a']],
    ['Add', ['b', 'one']],
    ['Mul', ['x', 'c']],
    ['Mul', ['d', 'half']],
  ];
  checkPass(composed(new Net(image), lines, wrong), findActivations, 'div activation add mul mul');
});

passes('findNormalizations and foldAffine find layer normalisation', () => {
  const spell = (spelling: 'div' | 'reciprocal' | 'rms'): Net => {
    const net = new Net(['N', 5, 7]);
    const x = net.last;
    const [epsilon, two] = [net.numbers([1e-3], []), net.numbers([2], [])];
    const mean = () => net.op('ReduceMean', [], { axes: [-1] });
    if (spelling !== 'rms') {
      const average = mean().last;
      net.last = x;
      net.op('Sub', [average]);
    }
    const d = net.last;
    net.op('Pow', [two]);
    const root = mean().op('Add', [epsilon]).op('Sqrt').last;
    if (spelling !== 'div') return net.op('Reciprocal').op('Mul', [d]);
    net.last = d;
    return net.op('Div', [root]);
  };
  for (const spelling of ['div', 'reciprocal', 'rms'] as const) {
    const { nodes } = checkPass(spell(spelling), findNormalizations, 'normalize');
    assert.is((nodes[0] as { center?: boolean }).center, spelling !== 'rms');
    const affine = spell(spelling);
    affine.op('Mul', [affine.floats([7])]).op('Add', [affine.floats([1, 7])]);
    checkPass(affine, (graph) => foldAffine(findNormalizations(graph)), 'normalize');
  }
});

passes('foldAffine leaves what is no row', () => {
  const net = new Net(['N', 5, 5], 1, 17);
  net.op('LayerNormalization', [net.floats([5])]).op('Mul', [net.floats([5, 1])]);
  checkPass(net, foldAffine, 'normalize mul');
});

passes('sinkTransposes passes concatenations, slices, borders, resampling and reductions', () => {
  const chain = (before: Graph) => sinkTransposes(toNhwc(before));
  const concat = new Net(image).conv(4);
  const first = concat.last;
  concat.last = 'x';
  concat.shape = [...image];
  concat.conv(4).op('Concat', [first], { axis: 1 });
  concat.shape = ['N', 8, 6, 5];
  checkPass(concat.conv(2), chain, 'transpose conv2d transpose conv2d concat conv2d transpose');
  const net = new Net(image).conv(4);
  net.writer
    .ints('pads', [0, 0, 1, 2, 0, 0, 0, 1])
    .ints('from', [1])
    .ints('to', [3])
    .ints('one', [1])
    .floats('scales', [4], [1, 1, 2, 2]);
  net
    .op('Pad', ['pads'], { mode: 'edge' })
    .op('Slice', ['from', 'to', 'one'])
    .op('Resize', ['', 'scales'])
    .op('Sigmoid');
  net.op('ReduceMean', [], { axes: [2, 3] });
  checkPass(net, chain, 'transpose conv2d pad slice resample resample activation reduce transpose');
});

passes('sinkTransposes passes a concatenation with a number repeated', () => {
  const net = new Net([2, 3, 6, 5]).conv(4);
  const before = net.last;
  net.last = net.numbers([0.5], []);
  net.op('Expand', [net.ints([2, 30, 6, 5])]);
  const border = net.last;
  net.last = before;
  net.op('Concat', [border], { axis: 1 });
  checkPass(net, (graph) => sinkTransposes(toNhwc(graph)), 'transpose conv2d expand concat transpose');
});

passes('fuseTransposes lets products read through transposes', () => {
  const net = new Net(['N', 5, 2, 7]);
  net.op('Transpose', [], { perm: [0, 2, 1, 3] });
  const queries = net.last;
  net.last = 'x';
  net.op('Transpose', [], { perm: [0, 2, 3, 1] });
  const keys = net.last;
  net.last = queries;
  checkPass(net.op('MatMul', [keys]), fuseTransposes, 'batchMatmul');
});

passes('fuseActivation keeps a value that is an output', () => {
  const net = new Net(image).conv(4);
  net.writer.output(net.last);
  checkPass(net.op('Relu'), fuseActivation, 'conv2d clamp');
});

passes('toNhwc puts each spatial operator between transposes', () => {
  checkPass(new Net(image).conv(4).pool(), toNhwc, 'transpose conv2d transpose transpose maxPool2d transpose');
});

passes('sinkTransposes cancels inverse pairs, past elementwise operators and their constants', () => {
  const net = new Net(image).conv(4).op('Relu');
  net
    .op('Mul', [net.floats([4, 1, 1])])
    .op('Add', [net.floats([6, 5])])
    .conv(2);
  const graph = checkPass(
    net,
    (before) => sinkTransposes(toNhwc(before)),
    'transpose conv2d clamp mul add conv2d transpose',
  );
  assert.is(graph.constants.size, 2);
});

passes('sinkTransposes moves both branches of a residual block', () => {
  const net = new Net(['N', 4, 6, 5]).conv(4);
  const skip = net.last;
  net.op('Relu').conv(4).op('Add', [skip]).op('Relu').conv(3);
  checkPass(
    net,
    (before) => sinkTransposes(toNhwc(before)),
    'transpose conv2d clamp conv2d add clamp conv2d transpose',
  );
});

passes('sinkTransposes lifts a transpose over an addition when one operand has its inverse', () => {
  const net = new Net(['N', 4, 6, 5]).conv(4).op('Add', ['x']).conv(3);
  const graph = checkPass(
    net,
    (before) => sinkTransposes(toNhwc(before)),
    'transpose conv2d transpose add conv2d transpose',
  );
  assert.is(graph.nodes[3].op, 'add');
});

passes('sinkTransposes passes a softmax over the whole image, not one over its columns', () => {
  const all = new Net(image, 1, 11).conv(4).op('Softmax', [], { axis: 1 });
  checkPass(all, (before) => sinkTransposes(toNhwc(before)), 'transpose conv2d softmax transpose');
  const columns = new Net(image).conv(4).op('Softmax', [], { axis: -1 });
  checkPass(columns, (before) => sinkTransposes(toNhwc(before)), 'transpose conv2d transpose softmax');
});

passes('foldFlatten permutes the columns of the linear layer', () => {
  const chain = (graph: Graph) => foldFlatten(sinkTransposes(toNhwc(graph)));
  checkPass(new Net(image).conv(4).flatten().op('Relu').gemm(3), chain, 'transpose conv2d clamp reshape linear add');
});

passes('transposeToReshape replaces transposes that move nothing', () => {
  const net = new Net(['N', 1, 6, 5]).conv(4).globalPool();
  const chain = (graph: Graph) => transposeToReshape(sinkTransposes(toNhwc(graph)));
  checkPass(net, chain, 'reshape conv2d averagePool2d reshape');
});

passes('removeDead drops what no output needs', () => {
  const net = new Net(image).conv(4);
  const graph = net.graph();
  const dead = { ...graph, outputs: [{ name: 'x', value: graph.inputs[0].value }] };
  const clean = removeDead(dead);
  assert.is(clean.nodes.length, 0);
  assert.is(clean.constants.size, 0);
});

passes("optimize leaves no transpose but the input's in a network of convolutions", () => {
  const net = new Net(image).conv(8).batchNorm().op('Relu').conv(8, { group: 8 }).batchNorm().op('Clip');
  const skip = net.conv(8, { kernel: 1 }).batchNorm().last;
  net.op('Relu').conv(8).op('Add', [skip]).op('Relu').pool().globalPool().flatten().gemm(4).op('Softmax');
  const graph = checkPass(
    net,
    optimize,
    'transpose conv2d conv2d conv2d clamp conv2d add maxPool2d averagePool2d reshape linear softmax',
  );
  assert.is(graph.nodes.filter(isLayer).filter(({ bias }) => bias).length, 5);
});

/** Random networks: a list of steps, each applied where the shape allows. */
const steps = fc.array(
  fc.constantFrom(
    'conv',
    'depthwise',
    'strided',
    'bn',
    'relu',
    'clip',
    'max',
    'average',
    'bias',
    'scale',
    'full',
    'skip',
    'softmax',
    'transpose',
    'flip',
    'gelu',
    'norm',
    'instance',
    'pad',
    'slice',
    'upsample',
    'concat',
    'squeeze',
    'attention',
    'shuffle',
  ),
  { minLength: 1, maxLength: 10 },
);

function randomNet(kinds: readonly string[], head: boolean, seed: number, opset: number): Net {
  const net = new Net(['N', 1 + (seed % 4), 7, 6], seed, opset);
  let skip = { name: net.last, shape: [...net.shape] };
  for (const kind of kinds) {
    const [, channels, height, width] = net.shape as number[];
    if (kind === 'conv') net.conv(1 + (seed % 5), { bias: seed % 2 === 0 });
    else if (kind === 'depthwise') net.conv(2 * channels, { group: channels });
    else if (kind === 'strided') net.conv(3, { kernel: 1, stride: 2 });
    else if (kind === 'bn') net.batchNorm();
    else if (kind === 'relu') net.op('Relu');
    else if (kind === 'clip') net.op('Relu').op('Mul', [net.floats([])]);
    else if (kind === 'max' && height > 1 && width > 1) net.pool();
    else if (kind === 'average' && height > 1 && width > 1) net.pool('AveragePool');
    else if (kind === 'bias') net.op('Add', [net.floats([channels, 1, 1])]);
    else if (kind === 'scale') net.op('Div', [net.floats([1])]);
    else if (kind === 'full') net.op('Sub', [net.floats([1, channels, height, width])]);
    else if (kind === 'softmax') net.op('Softmax', [], { axis: 1 });
    else if (kind === 'transpose') {
      net.op('Transpose', [], { perm: [0, 1, 3, 2] });
      net.shape = [net.shape[0], channels, width, height];
    } else if (kind === 'flip') {
      net.op('Transpose', [], { perm: [0, 2, 1, 3] });
      net.shape = [net.shape[0], height, channels, width];
    } else if (kind === 'gelu') {
      composed(net, SPELLINGS[2][1], gelu);
    } else if (kind === 'norm') {
      net.op('ReduceMean', [], { axes: [-1, -2] }).op('Tanh');
      net.shape = [net.shape[0], channels, 1, 1];
    } else if (kind === 'instance') {
      net.op('InstanceNormalization', [net.floats([channels]), net.floats([channels])]);
    } else if (kind === 'pad') {
      const pads = net.ints([0, 0, 0, 1, 0, 0, 1, 0]);
      net.op('Pad', seed % 2 ? [pads] : [pads, net.floats([])], { mode: seed % 2 ? 'edge' : 'constant' });
      net.shape = [net.shape[0], channels, height + 1, width + 1];
    } else if (kind === 'slice') {
      net.op('Slice', [net.ints([0, -1]), net.ints([1, -100]), net.ints([1, 3]), net.ints([1, -2])]);
      net.shape = [net.shape[0], 1, height, Math.ceil(width / 2)];
    } else if (kind === 'upsample' && height < 20) {
      net.op('Resize', ['', net.numbers([1, 1, 2, 1.5])], { mode: seed % 2 ? 'nearest' : 'linear' });
      net.shape = [net.shape[0], channels, height * 2, Math.floor(width * 1.5)];
    } else if (kind === 'concat' && channels < 20) {
      const [before] = [net.last];
      net.op('Sigmoid').op('Concat', [before], { axis: 1 });
      net.shape = [net.shape[0], 2 * channels, height, width];
    } else if (kind === 'squeeze') {
      const before = net.last;
      net.op('GlobalAveragePool').op('HardSigmoid').op('Mul', [before]);
    } else if (kind === 'attention') {
      const before = net.last;
      net.op('Transpose', [], { perm: [0, 1, 3, 2] });
      const keys = net.last;
      net.last = before;
      net.op('MatMul', [keys]).op('Softmax', [], { axis: -1 }).op('MatMul', [before]);
    } else if (kind === 'shuffle' && channels % 4 === 0) {
      net.op('DepthToSpace', [], { blocksize: 2 });
      net.shape = [net.shape[0], channels / 4, height * 2, width * 2];
    } else if (kind === 'skip') {
      if (skip.shape.join() === net.shape.join() && skip.name !== net.last) net.op('Add', [skip.name]);
      skip = { name: net.last, shape: [...net.shape] };
    }
  }
  return head ? net.flatten().gemm(3) : net;
}

passes('every pass keeps the result of random networks', () => {
  const property = fc.property(
    steps,
    fc.boolean(),
    fc.nat(1000),
    fc.constantFrom(11, 13),
    (kinds, head, seed, opset) => {
      const net = randomNet(kinds, head, seed, opset);
      let graph = net.graph();
      const inputs = { x: net.input(2) };
      for (const { name, run } of PASSES) {
        const after = run(graph);
        sameResult(graph, after, inputs, name);
        graph = after;
      }
    },
  );
  fc.assert(property, { seed: 7, numRuns: 150 });
});

passes('random networks, written as ONNX and read again, have the same nodes and results', () => {
  const operators = ({ nodes }: Graph) => nodes.map(({ op }) => op).filter((op) => op !== 'reshape');
  const property = fc.property(steps, fc.boolean(), fc.nat(1000), fc.boolean(), (kinds, head, seed, optimised) => {
    const net = randomNet(kinds, head, seed, 13);
    const read = net.graph();
    const given = optimised ? optimize(read) : read;
    const again = readOnnx(writeOnnx(given));
    sameResult(given, again, { x: net.input(2) }, kinds.join(' '));
    const [got, want] = [operators(optimize(again)), operators(optimize(given))];
    assert.ok(got.length <= want.length, `${kinds}: ${got.sort()} of ${want.sort()}`);
  });
  fc.assert(property, { seed: 11, numRuns: 150 });
});

passes.run();

const memory = suite('graph memory');

memory('tensors that do not live together share a buffer', () => {
  const plan = planMemory([
    { id: 0, bytes: 100, first: -1, last: 0 },
    { id: 1, bytes: 400, first: 0, last: 1 },
    { id: 2, bytes: 300, first: 1, last: 2 },
    { id: 3, bytes: 40, first: 2, last: 3 },
  ]);
  assert.equal(plan.slots, [400, 300]);
  assert.is(plan.peakBytes, 700);
  assert.is(plan.liveBytes, 700);
  assert.is(plan.unsharedBytes, 840);
});

memory('random lifetimes: no two live tensors share, nothing is cut, at most the sum', () => {
  const lifetime = fc.record({ bytes: fc.integer({ min: 4, max: 1000 }), first: fc.nat(20), length: fc.nat(8) });
  const property = fc.property(fc.array(lifetime, { maxLength: 30 }), (drawn) => {
    const lifetimes = drawn.map(
      ({ bytes, first, length }, id): Lifetime => ({ id, bytes, first, last: first + length }),
    );
    const plan = planMemory(lifetimes);
    for (const a of lifetimes) {
      assert.ok(plan.slots[plan.slotOf.get(a.id)!] >= a.bytes);
      for (const b of lifetimes) {
        const together = a.first <= b.last && b.first <= a.last;
        if (a.id !== b.id && together) assert.is.not(plan.slotOf.get(a.id), plan.slotOf.get(b.id));
      }
    }
    assert.ok(plan.liveBytes <= plan.peakBytes);
    assert.ok(plan.peakBytes <= plan.unsharedBytes);
    assert.equal(planMemory(lifetimes), plan);
  });
  fc.assert(property, { seed: 8, numRuns: 300 });
});

memory.run();

const packing = suite('graph packing');

function layersOf(graph: Graph): LayerNode[] {
  return graph.nodes.filter(isLayer);
}

packing('auto keeps zeros out of layers that are sparse enough and long enough', () => {
  const values = sparseMatrix(createRandom(3), 16, 128, 0.2);
  const writer = new OnnxWriter()
    .input('x', ['N', 128])
    .floats('w', [16, 128], values)
    .floats('w2', [4, 16], new Array(64).fill(0.1));
  const [sparse, short] = ['w', 'w2'];
  writer
    .node('Gemm', ['x', sparse], ['h'], { transB: 1 }, 'first')
    .node('Gemm', ['h', short], ['y'], { transB: 1 }, 'second');
  const graph = packGraph(readOnnx(writer.output('y').bytes()));
  const [first, second] = layersOf(graph);
  assert.is(first.weights.format, 'csr');
  assert.equal(csr.unpack(first.weights as never), values, 'exact');
  assert.is(second.weights.format, 'dense');
});

packing('auto keeps weights of halves as such, if every one of them is', () => {
  const random = createRandom(4);
  const bits = (count: number) =>
    Uint16Array.from({ length: count }, () => random.integer(0, 0x7bff) | (random.integer(0, 1) << 15));
  for (const spoilt of [undefined, 1 + 2 ** -11, 65520, 2 ** -25, 2 ** -15 + 2 ** -26]) {
    const values = floatsFromF16(bits(6 * 70));
    if (spoilt !== undefined) values[random.integer(0, values.length - 1)] = spoilt;
    const writer = new OnnxWriter().input('x', ['N', 70]).floats('w', [6, 70], values);
    const graph = packGraph(readOnnx(writer.node('Gemm', ['x', 'w'], ['y'], { transB: 1 }).output('y').bytes()));
    const [{ weights }] = layersOf(graph);
    assert.is(weights.format, spoilt === undefined ? 'f16' : 'dense');
    assert.equal((formats[weights.format] as typeof dense).unpack(weights as never), values);
    if (spoilt !== undefined) continue;
    const others = formsOf(weights, weightFacts(weights)).map(({ facts }) => facts.format);
    assert.equal(others.slice(0, 2), ['f16', 'dense']);
  }
});

packing('specifications by name, * for the rest', () => {
  const net = new Net(image).conv(4).conv(4).conv(4);
  const [a, b] = layersOf(net.graph()).map(({ name }) => name);
  const graph = packGraph(net.graph(), {
    [a]: { format: 'int8' },
    [b]: { format: 'xnor', binaryPadding: 'one' },
    '*': { format: 'codebook', entries: 256 },
  });
  assert.equal(
    layersOf(graph).map(({ weights }) => weights.format),
    ['int8', 'xnor', 'codebook'],
  );
  assert.is((layersOf(graph)[1] as { binaryPadding?: string }).binaryPadding, 'one');
});

packing('unknown names and options are refused, the layer is named', async () => {
  const graph = new Net(image).conv(4).graph();
  await throwsWith('bad-argument', /"Conv3".*"nope"/, () => packGraph(graph, { nope: { format: 'dense' } }));
  await throwsWith('bad-argument', /layer "Conv3": codebook.pack.entries/, () =>
    packGraph(graph, { '*': { format: 'codebook', entries: 3 as 16 } }),
  );
  await throwsWith('bad-argument', /weights.format/, () => packGraph(graph, { '*': { format: 'fp4' as 'dense' } }));
});

packing.run();

const executor = suite('graph executor');

interface Started {
  backend: ReferenceBackend;
  model: Model;
}

async function start(net: Net, options: ModelOptions = {}): Promise<Started> {
  const backend = new ReferenceBackend();
  return { backend, model: await Model.create({ backends: [backend] }, net.graph(), options) };
}

function smallNet(): Net {
  return new Net(['N', 2, 6, 6]).conv(4).op('Relu').pool().conv(4).op('Relu').flatten().gemm(3).op('Softmax');
}

executor('runs random networks like the interpreter', async () => {
  const property = fc.asyncProperty(steps, fc.boolean(), fc.nat(1000), async (kinds, head, seed) => {
    const net = randomNet(kinds, head, seed, 13);
    const { model, backend } = await start(net);
    const x = net.input(2);
    const want = interpret(readOnnx(net.writer.bytes()), { x });
    const got = await model.run({ x: x.data });
    assert.equal(got[net.last].shape, want[net.last].dims);
    close(got[net.last].data, want[net.last].data, kinds.join(' '));
    model.free();
    assert.is(backend.memory.bytes, 0);
    assert.is(backend.kernels, 0);
  });
  await fc.assert(property, { seed: 9, numRuns: 60 });
});

executor('every format runs and its weights take the bytes that are reported', async () => {
  const net = smallNet();
  const x = net.input(2);
  for (const format of ['dense', 'csr', 'int8', 'codebook', 'xnor'] as const) {
    const { model, backend } = await start(smallNet(), { weights: { '*': { format } } });
    const { [smallNet().op('Relu').last]: _, ...outputs } = await model.run({ x: x.data });
    const [{ data }] = Object.values(outputs);
    for (const row of [0, 1])
      close([Array.from(data.slice(3 * row, 3 * row + 3)).reduce((a, b) => a + b, 0)], [1], format);
    const layers = model.explain().filter((report) => report.format);
    assert.equal(
      layers.map((layer) => layer.format),
      [format, format, format],
    );
    assert.is(
      layers.reduce((sum, layer) => sum + layer.weightBytes!, 0),
      model.weightBytes,
    );
    const { weightBytes, constantBytes, activationBytes } = model.memory;
    assert.is(backend.memory.bytes, weightBytes + constantBytes + activationBytes);
    model.free();
  }
});

executor('a plan a shape, few of them kept, weights packed once', async () => {
  const { model, backend } = await start(smallNet());
  assert.is(backend.packs, 3, 'packed before the first run');
  assert.is(model.memory.activationBytes, 0, 'no activations before the first run');
  const bytes = [];
  for (let round = 0; round < 3; round++) {
    for (let batch = 1; batch <= MAX_PLANS + 2; batch++) {
      const { dims, data } = smallNet().input(batch);
      const [{ shape }] = Object.values(await model.run({ x: data }));
      assert.equal(shape, [dims[0], 3]);
    }
    bytes.push(backend.memory.bytes);
  }
  assert.is(backend.packs, 3);
  assert.is(backend.kernels, MAX_PLANS * model.explain().filter(({ variant }) => variant !== 'alias').length);
  assert.equal(bytes, [bytes[0], bytes[0], bytes[0]]);
  model.free();
  assert.is(backend.memory.bytes, 0);
});

executor('1000 runs take no more memory than one, and it is what was planned', async () => {
  const net = new Net(['N', 1, 4, 4]).conv(2).op('Relu').flatten().gemm(2);
  const { model, backend } = await start(net);
  const { data } = net.input(1);
  await model.run({ x: data });
  const { bytes, peakBytes } = backend.memory;
  for (let i = 0; i < 1000; i++) await model.run({ x: data });
  assert.is(backend.memory.bytes, bytes);
  assert.is(backend.memory.peakBytes, peakBytes);
  assert.is(model.memory.activationBytes, model.memory.plannedBytes);
  assert.ok(model.memory.plannedBytes < model.memory.unsharedBytes);
  model.free();
});

executor('a run whose nodes are timed answers the same, and tells of each that does something', async () => {
  const { model } = await start(smallNet());
  const { data: x } = smallNet().input(1);
  const told = new Map<number, number>();
  const timed = await model.run({ x }, { onNode: (node, ms) => told.set(node, ms), repeats: 3 });
  assert.equal(timed, await model.run({ x }));
  const running = model.explain().flatMap(({ variant }, i) => (variant === 'alias' ? [] : [i]));
  assert.equal([...told.keys()], running);
  assert.ok([...told.values()].every((ms) => ms >= 0));
  model.free();
});

executor('runs that overlap answer as if they came one after the other', async () => {
  const net = smallNet();
  const { model } = await start(net);
  const inputs = Array.from({ length: 12 }, (_, i) => normals(createRandom(i), (1 + (i % 3)) * 72));
  const together = await Promise.all(inputs.map((x) => model.run({ x })));
  for (const [i, x] of inputs.entries()) assert.equal(together[i], await model.run({ x }));
  model.free();
});

executor('free lets the run in progress finish and refuses the others', async () => {
  const { model, backend } = await start(smallNet());
  const { data: x } = smallNet().input(1);
  const running = model.run({ x });
  const waiting = model.run({ x });
  await Promise.resolve();
  model.free();
  await throwsWith('disposed', /after free/, () => waiting);
  await running.catch((error) => assert.is(error.code, 'disposed'));
  assert.is(backend.memory.bytes, 0);
  assert.is(backend.kernels, 0);
  await throwsWith('disposed', /model/, () => model.run({ x }));
  model.free();
});

executor('the backend with the lowest sum of predicted times runs all of it', async () => {
  const slow = new ReferenceBackend({ name: 'wasm', costMs: 2 });
  const fast = new ReferenceBackend({ name: 'webgpu', costMs: 1 });
  const { data: x } = smallNet().input(1);
  const model = await Model.create({ backends: [slow, fast] }, smallNet().graph());
  await model.run({ x });
  assert.is(slow.memory.peakBytes, 0);
  assert.equal(
    model.placements().map(({ backend, chosen }) => [backend, chosen]),
    [
      ['webgpu', true],
      ['wasm', false],
    ],
  );
  const forced = await Model.create({ backends: [slow, fast] }, smallNet().graph(), { backend: 'wasm' });
  await forced.run({ x });
  assert.ok(slow.ran.length > 0);
  await throwsWith('unsupported', /one of wasm/, () =>
    Model.create({ backends: [slow] }, smallNet().graph(), { backend: 'webgpu' }),
  );
});

executor('a node that one backend has no kernel for runs on another, and values move there and back', async () => {
  const { data: x } = smallNet().input(2);
  const alone = await Model.create({ backends: [new ReferenceBackend()] }, smallNet().graph());
  const expected = await alone.run({ x });
  for (const missing of ['softmax', 'maxPool2d', 'linear', 'dense']) {
    const slow = new ReferenceBackend({ costMs: 5 });
    const fast = new ReferenceBackend({ name: 'webgpu', costMs: 1, without: [missing] });
    fast.device.transfer = { writeMs: 0.1, readMs: 0.2, bytesPerNs: 1 };
    const model = await Model.create({ backends: [slow, fast] }, smallNet().graph());
    for (let i = 0; i < 2; i++) assert.equal(await model.run({ x }), expected, missing);
    const places = new Map(model.explain().map(({ variant, backend }) => [variant, backend]));
    for (const [variant, backend] of places) {
      if (variant.startsWith(missing)) assert.is(backend, 'wasm', variant);
    }
    assert.equal([...new Set(places.values())].sort(), ['wasm', 'webgpu'], missing);
    const [refused, chosen] = model.placements();
    assert.match(refused.reason, /expected a kernel that runs/);
    assert.is(chosen.backend, 'several');
    assert.ok(fast.ran.length > 0 && slow.ran.length > 0);
    const { plannedBytes, activationBytes } = model.memory;
    assert.is(plannedBytes, activationBytes);
    fast.lost = true;
    const { warn } = console;
    console.warn = () => {};
    try {
      fast.recover = async () => false;
      assert.equal(await model.run({ x }), expected, `${missing}, without its GPU`);
    } finally {
      console.warn = warn;
    }
    model.free();
    for (const { memory, kernels } of [slow, fast]) {
      assert.is(memory.bytes, 0);
      assert.is(kernels, 0);
    }
  }
});

/** WASM at 5 ms a kernel, and a GPU at 1 ms with transfers that take longer than most of the small net. */
function costlyWays(): [ReferenceBackend, ReferenceBackend] {
  const wasm = new ReferenceBackend({ costMs: 5 });
  const gpu = new ReferenceBackend({ name: 'webgpu', costMs: 1 });
  gpu.device.transfer = { writeMs: 30, readMs: 30, bytesPerNs: 1 };
  return [wasm, gpu];
}

executor('placement counts from where inputs lie to where results are wanted', async () => {
  const { dims, data } = smallNet().input(2);
  const [wasm, gpu] = costlyWays();
  const model = await Model.create({ backends: [wasm, gpu] }, smallNet().graph());
  const expected = await model.run({ x: data });
  const backendsOf = () => [...new Set(model.explain().map(({ backend }) => backend))];
  assert.equal(backendsOf(), ['wasm'], 'arrays in and out');
  assert.equal(model.report()!.transfers, []);

  const input = new Tensor(gpu, gpu.createBuffer(4 * data.length, 'x'), dims, 'float32');
  gpu.write(input.buffer, data);
  const check = async (tensors: ModelTensors, where: ReferenceBackend) => {
    for (const [name, { shape, data }] of Object.entries(expected)) {
      assert.is(tensors[name].backend, where);
      assert.equal(tensors[name].shape, shape);
      assert.equal(await tensors[name].data(), data);
    }
  };
  const ways = () => model.report()!.transfers.map(({ from, to }) => [from, to]);

  const there = await model.runToTensors({ x: input });
  assert.equal(backendsOf(), ['webgpu'], 'tensors of the GPU in, tensors out');
  assert.equal(ways(), []);
  await check(there, gpu);
  await model.runToTensors({ x: input }).then((again) => free(again));
  await check(there, gpu);

  const here = await model.runToTensors({ x: data });
  assert.equal(backendsOf(), ['wasm'], 'arrays in, tensors out');
  await check(here, wasm);

  const asked = await model.runToTensors({ x: data }, { backend: 'webgpu' });
  assert.equal(backendsOf(), ['webgpu'], 'arrays in, tensors of the GPU out: one way over is shorter than two');
  assert.equal(ways(), [["the caller's memory", 'reference webgpu']]);
  await check(asked, gpu);

  const bytes = wasm.memory.bytes + gpu.memory.bytes;
  for (const tensors of [there, here, asked]) free(tensors);
  assert.ok(wasm.memory.bytes + gpu.memory.bytes < bytes);
  await throwsWith('unsupported', /one of wasm, webgpu/, () =>
    model.runToTensors({ x: data }, { backend: 'cuda' as 'wasm' }),
  );
  input.free();
  model.free();
  for (const { memory } of [wasm, gpu]) assert.is(memory.bytes, 0);
});

function free(tensors: ModelTensors): void {
  for (const tensor of Object.values(tensors)) tensor.free();
}

executor('results as tensors: an input, a constant and the same value twice are copies', async () => {
  const backend = new ReferenceBackend();
  const values = new Map([
    [0, { id: 0, name: 'x', shape: [3] }],
    [1, { id: 1, name: 'c', shape: [2] }],
    [2, { id: 2, name: 'y', shape: [3] }],
    [3, { id: 3, name: 'z', shape: [1, 3] }],
  ]);
  const graph: Graph = {
    inputs: [{ name: 'x', value: 0 }],
    outputs: ['x', 'c', 'y', 'z'].map((name, value) => ({ name, value })),
    values,
    constants: new Map([[1, { dims: [2], data: Float32Array.of(4, 5) }]]),
    nodes: [
      { op: 'clamp', name: 'clamp', inputs: [0], output: 2, clamp: [0, 1] },
      { op: 'reshape', name: 'reshape', inputs: [2], output: 3, target: [1, 3] },
    ],
  };
  const model = await Model.create({ backends: [backend] }, graph);
  const tensors = await model.runToTensors({ x: Float32Array.of(-1, 0.5, 2) });
  const read = async (name: string) => [...(await tensors[name].data())];
  assert.equal(await read('x'), [-1, 0.5, 2]);
  assert.equal(await read('c'), [4, 5]);
  assert.equal(await read('y'), [0, 0.5, 1]);
  tensors.y.free();
  assert.equal(await read('z'), [0, 0.5, 1]);
  assert.equal(tensors.z.shape, [1, 3]);
  free(tensors);
  model.free();
  assert.is(backend.memory.bytes, 0);
});

executor('no tensor is left of a run that failed', async () => {
  const [wasm, gpu] = costlyWays();
  const model = await Model.create({ backends: [wasm, gpu] }, smallNet().graph());
  const { data } = smallNet().input(1);
  free(await model.runToTensors({ x: data }));
  const bytes = wasm.memory.bytes;
  wasm.lost = true;
  await throwsWith('device-lost', /reference wasm/, async () =>
    free(await model.runToTensors({ x: data }, { backend: 'wasm' })),
  );
  const aborted = AbortSignal.abort(new Error('late'));
  await model.runToTensors({ x: data }, { signal: aborted }).then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, /late/),
  );
  assert.ok(wasm.memory.bytes <= bytes);
  model.free();
  for (const { memory } of [wasm, gpu]) assert.is(memory.bytes, 0);
});

executor('where moving takes longer than it brings, all stays on one backend', async () => {
  const slow = new ReferenceBackend({ costMs: 5 });
  const fast = new ReferenceBackend({ name: 'webgpu', costMs: 1, without: ['maxPool2d'] });
  fast.device.transfer = { writeMs: 20, readMs: 20, bytesPerNs: 1 };
  const model = await Model.create({ backends: [slow, fast] }, smallNet().graph());
  assert.ok(model.explain().every(({ backend }) => backend === 'wasm'));
  model.free();
});

executor('without a kernel for a node on any backend the node is named', async () => {
  const fast = new ReferenceBackend({ name: 'webgpu', without: ['softmax'] });
  await throwsWith('no-kernel', /node "Softmax/, () => Model.create({ backends: [fast] }, smallNet().graph()));
});

executor('a lost device: another backend takes over, else the error comes out', async () => {
  const gpu = new ReferenceBackend({ name: 'webgpu', costMs: 1 });
  const wasm = new ReferenceBackend({ costMs: 2 });
  const net = smallNet();
  const { data: x } = net.input(1);
  const model = await Model.create({ backends: [wasm, gpu] }, net.graph());
  const before = await model.run({ x });
  gpu.lost = true;
  const warnings: unknown[] = [];
  const { warn } = console;
  console.warn = (...text) => warnings.push(text);
  try {
    assert.equal(await model.run({ x }), before);
    assert.equal(await model.run({ x }), before);
  } finally {
    console.warn = warn;
  }
  assert.is(warnings.length, 1);
  assert.is(gpu.memory.bytes, 0);
  wasm.lost = true;
  await throwsWith('device-lost', /reference wasm/, () => model.run({ x }));
  await throwsWith('no-kernel', /lost device/, () => model.run({ x }));
  model.free();
  assert.is(wasm.memory.bytes, 0);
});

executor('a lost device that comes back gets its weights again', async () => {
  const gpu = new ReferenceBackend({ name: 'webgpu', costMs: 1 });
  const wasm = new ReferenceBackend({ costMs: 2 });
  const net = smallNet();
  const { data: x } = net.input(1);
  const model = await Model.create({ backends: [wasm, gpu] }, net.graph());
  const before = await model.run({ x });
  const { packs } = gpu;
  gpu.lost = true;
  gpu.recover = async () => {
    gpu.lost = false;
    return true;
  };
  assert.equal(await model.run({ x }), before);
  assert.is(gpu.packs, 2 * packs);
  assert.is(wasm.packs, 0);
  model.free();
  assert.is(gpu.memory.bytes, 0);
});

executor('no room: the error says so and nothing leaks; a smaller run still works', async () => {
  const { model, backend } = await start(smallNet());
  await model.run({ x: smallNet().input(1).data });
  const { bytes } = backend.memory;
  backend.limitBytes = bytes + 8192;
  await throwsWith('out-of-memory', /activations/, () => model.run({ x: smallNet().input(64).data }));
  await model.run({ x: smallNet().input(1).data });
  assert.ok(backend.memory.bytes <= bytes + 8192);
  backend.limitBytes = backend.memory.bytes;
  await model.run({ x: smallNet().input(1).data });
  model.free();
  assert.is(backend.memory.bytes, 0);
});

executor('activations of other shapes make room when there is none', async () => {
  const { model, backend } = await start(smallNet());
  const run = async (batch: number) => model.run({ x: smallNet().input(batch).data });
  const want = await run(4);
  backend.limitBytes = backend.memory.bytes;
  await run(3);
  assert.equal(await run(4), want);
  assert.ok(backend.memory.bytes <= backend.limitBytes);
  model.free();
  assert.is(backend.memory.bytes, 0);
});

executor('inputs are checked by name, length and shape', async () => {
  const { model } = await start(smallNet());
  const { data } = smallNet().input(1);
  await throwsWith('bad-argument', /"x".*"y"/, () => model.run({ y: data }));
  await throwsWith('bad-argument', /"x"/, () => model.run(undefined as never));
  await throwsWith('bad-argument', /Float32Array/, () => model.run({ x: [1, 2] as never }));
  await throwsWith('bad-shape', /multiple of 72/, () => model.run({ x: new Float32Array(73) }));
  await throwsWith('bad-shape', /\[N, 2, 6, 6\].*\[1, 6, 6, 2\]/, () =>
    model.run({ x: { data, shape: [1, 6, 6, 2] } }),
  );
  await throwsWith('bad-shape', /144 elements/, () => model.run({ x: { data, shape: [2, 2, 6, 6] } }));
  assert.equal(model.inputs, [{ name: 'x', shape: ['N', 2, 6, 6], dtype: 'float32' }]);
  model.free();
});

executor('inputs may be tensors, on this device or another', async () => {
  const { model, backend } = await start(smallNet());
  const { data, dims } = smallNet().input(2);
  const want = await model.run({ x: data });
  for (const owner of [backend, new ReferenceBackend()]) {
    const tensor = new Tensor(owner, owner.createBuffer(data.byteLength, 'x'), dims, 'float32');
    owner.write(tensor.buffer, data);
    assert.equal(await model.run({ x: tensor }), want);
    tensor.free();
  }
  model.free();
});

executor('open image sizes: planned when they are known', async () => {
  const net = new Net(['N', 2, 'H', 'W']).conv(3).op('Relu');
  net.op('GlobalAveragePool');
  const { model, backend } = await start(net);
  assert.equal(model.explain(), []);
  const data = normals(createRandom(1), 2 * 5 * 7);
  await throwsWith('bad-shape', /open dimensions/, () => model.run({ x: data }));
  const [{ shape }] = Object.values(await model.run({ x: { data, shape: [1, 2, 5, 7] } }));
  assert.equal(shape, [1, 3, 1, 1]);
  assert.is(backend.packs, 1);
  model.free();
});

executor('an empty batch gives empty outputs', async () => {
  const { model, backend } = await start(smallNet());
  const [{ shape, data }] = Object.values(await model.run({ x: new Float32Array(0) }));
  assert.equal(shape, [0, 3]);
  assert.is(data.length, 0);
  assert.is(backend.ran.length, 0);
  model.free();
});

executor('outputs that are inputs, reshaped inputs and constants need no kernel', async () => {
  const writer = new OnnxWriter().input('x', ['N', 4]).floats('c', [2], [1, 2]);
  writer.node('Identity', ['x'], ['same']).node('Flatten', ['x'], ['flat'], { axis: 0 }).node('Relu', ['c'], ['known']);
  const backend = new ReferenceBackend();
  const model = await Model.create({ backends: [backend] }, readOnnx(writer.output('same', 'flat', 'known').bytes()));
  const x = new Float32Array([1, 2, 3, 4]);
  const { same, flat, known } = await model.run({ x });
  assert.equal(same, { shape: [1, 4], data: x });
  assert.is.not(same.data, x);
  assert.equal(flat, { shape: [1, 4], data: x });
  assert.equal(known, { shape: [2], data: new Float32Array([1, 2]) });
  assert.is(backend.memory.peakBytes, 0);
});

executor('a value that is read late and is an output keeps its memory', async () => {
  const net = new Net(['N', 2, 6, 6]).conv(2);
  const early = net.last;
  net.writer.output(early);
  net.conv(2).op('Relu').conv(2).op('Relu').conv(2).op('Add', ['x']);
  const { model } = await start(net);
  const x = net.input(2);
  const got = await model.run({ x: x.data });
  const want = interpret(readOnnx(net.writer.bytes()), { x });
  for (const name of [early, net.last]) close(got[name].data, want[name].data, name);
  model.free();
});

executor('nothing is computed from no elements', async () => {
  const writer = new OnnxWriter()
    .input('x', ['N', 3])
    .node('ReduceMax', ['x'], ['y'], { axes: [0] })
    .output('y');
  const model = await Model.create({ backends: [new ReferenceBackend()] }, readOnnx(writer.bytes()));
  const error = await model.run({ x: { shape: [0, 3], data: new Float32Array() } }).catch((reason) => reason);
  assert.is(error.code, 'bad-shape', String(error));
  assert.match(error.message, /inputs with elements/);
  model.free();
});

executor.run();
