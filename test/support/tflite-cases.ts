import {
  BuiltinOperator as Op,
  BuiltinOptions as Options,
  TensorType as Type,
} from '../../src/tflite/generated/tflite_generated.js';
import { createRandom, type Random, uniforms } from './random.js';
import { type OptionValue, TfliteWriter, type WrittenQuantization, type WrittenTensor } from './tflite-writer.js';

/** A model of one operator (or a few), and inputs for it. */
export interface TfliteCase {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
  inputs: { name: string; shape: readonly number[]; data: Float32Array | Int8Array | Uint8Array | Int32Array }[];
  /** How far from LiteRT.js's answer: codes, or a share of the largest number of the answer. Default 0 and 1e-5. */
  tolerance?: number;
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
/** Not read by the loader, and so not in its schema. */
const ARG_MAX_OPTIONS = 40 as Options;
const SAME = { int8: 0 };
const VALID = { int8: 1 };
const none = { int8: 0 };
const relu = { int8: 1 };
const relu6 = { int8: 3 };

/** Codes over the whole range. */
function codes(random: Random, length: number, dtype: 'int8' | 'uint8' = 'int8'): Int8Array | Uint8Array {
  const all = Array.from({ length }, () => random.integer(0, 255));
  return dtype === 'uint8' ? Uint8Array.from(all) : Int8Array.from(all, (code) => code - 128);
}

interface Tensors {
  /** Inputs by name; f32 unless they have a quantisation. */
  inputs: Record<string, { shape: readonly number[]; quantization?: WrittenQuantization; type?: Type; range?: number }>;
  constants?: Record<string, WrittenTensor>;
  outputs: Record<string, { shape: readonly number[]; quantization?: WrittenQuantization; type?: Type }>;
}

type Step = [code: Op, inputs: string[], outputs: string[], type?: Options, options?: (OptionValue | undefined)[]];

/** Of the next model's inputs. */
let seed = 1;

function model(
  name: string,
  { inputs, constants = {}, outputs }: Tensors,
  steps: Step[],
  tolerance?: number,
): TfliteCase {
  const random = createRandom(seed++);
  const writer = new TfliteWriter();
  const given = Object.entries(inputs).map(([input, { shape, quantization, type, range = 3 }]) => {
    const size = product(shape);
    const isCodes = quantization !== undefined;
    const resolved = type ?? (isCodes ? Type.INT8 : Type.FLOAT32);
    writer.input(input, { shape, type: resolved, quantization });
    const data =
      resolved === Type.INT32
        ? Int32Array.from({ length: size }, () => random.integer(0, 2))
        : isCodes
          ? codes(random, size, resolved === Type.UINT8 ? 'uint8' : 'int8')
          : uniforms(random, size, -range, range);
    return { name: input, shape, data };
  });
  for (const [constant, tensor] of Object.entries(constants)) writer.tensor(constant, tensor);
  for (const [output, { shape, quantization, type }] of Object.entries(outputs)) {
    writer.tensor(output, { shape, quantization, type: type ?? (quantization ? Type.INT8 : Type.FLOAT32) });
  }
  for (const step of steps) writer.operator(...step);
  const last = steps.at(-1)![2];
  writer.output(...Object.keys(outputs).filter((output) => last.includes(output)));
  return { name, bytes: writer.bytes(), inputs: given, tolerance };
}

/** Of the constants. */
let random = createRandom(7);
const floats = (shape: readonly number[], scale = 1): WrittenTensor => ({
  shape,
  data: uniforms(random, product(shape), -scale, scale),
});
const ints = (...values: number[]): WrittenTensor => ({
  shape: [values.length],
  type: Type.INT32,
  data: Int32Array.from(values),
});
const matrixOfInts = (rows: number, values: number[]): WrittenTensor => ({
  shape: [rows, values.length / rows],
  type: Type.INT32,
  data: Int32Array.from(values),
});
const scalar = (value: number): WrittenTensor => ({ shape: [], type: Type.INT32, data: Int32Array.of(value) });

/** Symmetric 8-bit weights with a scale an index of a dimension, or one. */
function int8(shape: readonly number[], dimension?: number): WrittenTensor {
  const count = dimension === undefined ? 1 : shape[dimension];
  const scale = Array.from({ length: count }, () => 0.002 + 0.01 * random.next());
  const data = Int8Array.from({ length: product(shape) }, () => random.integer(-127, 127));
  return { shape, type: Type.INT8, data, quantization: { scale, dimension: dimension ?? 0 } };
}

/** A bias of sums: its scale is that of the input times that of the weights. */
function bias(weights: WrittenTensor, input: number, rows: number): WrittenTensor {
  const scale = weights.quantization!.scale.map((s) => s * input);
  const data = Int32Array.from({ length: rows }, () => random.integer(-20000, 20000));
  return { shape: [rows], type: Type.INT32, data, quantization: { scale, zeroPoint: scale.map(() => 0) } };
}

const q = (scale: number, zeroPoint: number): WrittenQuantization => ({ scale: [scale], zeroPoint: [zeroPoint] });

const conv = (padding: OptionValue, stride: number, fused: OptionValue, dilation = 1) => [
  padding,
  stride,
  stride,
  fused,
  dilation,
  dilation,
];

function floatLayers(): TfliteCase[] {
  const image = [1, 7, 9, 4];
  const convolution = (name: string, out: number[], options: (OptionValue | undefined)[], kernel = [6, 3, 3, 4]) =>
    model(
      name,
      {
        inputs: { x: { shape: image } },
        constants: { w: floats(kernel), b: floats([6]) },
        outputs: { y: { shape: out } },
      },
      [[Op.CONV_2D, ['x', 'w', 'b'], ['y'], Options.Conv2DOptions, options]],
    );
  const fully = (name: string, shape: number[], out: number[], options: (OptionValue | undefined)[], withBias = true) =>
    model(
      name,
      { inputs: { x: { shape } }, constants: { w: floats([5, 12]), b: floats([5]) }, outputs: { y: { shape: out } } },
      [
        [
          Op.FULLY_CONNECTED,
          withBias ? ['x', 'w', 'b'] : ['x', 'w', ''],
          ['y'],
          Options.FullyConnectedOptions,
          options,
        ],
      ],
    );
  const pool = (code: Op, name: string, out: number[], options: OptionValue[]) =>
    model(name, { inputs: { x: { shape: image } }, outputs: { y: { shape: out } } }, [
      [code, ['x'], ['y'], Options.Pool2DOptions, options],
    ]);
  return [
    convolution('conv same', [1, 7, 9, 6], conv(SAME, 1, relu)),
    convolution('conv valid stride 2', [1, 3, 4, 6], conv(VALID, 2, relu6)),
    convolution('conv same stride 2', [1, 4, 5, 6], conv(SAME, 2, none)),
    convolution('conv dilated', [1, 3, 5, 6], conv(VALID, 1, none, 2)),
    convolution('conv grouped', [1, 7, 9, 6], conv(SAME, 1, none), [6, 3, 3, 2]),
    model(
      'depthwise conv',
      {
        inputs: { x: { shape: image } },
        constants: { w: floats([1, 3, 3, 8]), b: floats([8]) },
        outputs: { y: { shape: [1, 4, 5, 8] } },
      },
      [[Op.DEPTHWISE_CONV_2D, ['x', 'w', 'b'], ['y'], Options.DepthwiseConv2DOptions, [SAME, 2, 2, 2, relu, 1, 1]]],
    ),
    fully('fully connected', [3, 12], [3, 5], [relu, none, none]),
    fully('fully connected of an image', [2, 3, 2, 2], [2, 5], [none, none, none]),
    fully('fully connected that keeps dimensions', [2, 3, 12], [2, 3, 5], [none, none, { int8: 1 }]),
    fully('fully connected without bias', [2, 12], [2, 5], [none, none, none], false),
    pool(Op.MAX_POOL_2D, 'max pool', [1, 4, 5, 4], [SAME, 2, 2, 3, 3, none]),
    pool(Op.MAX_POOL_2D, 'max pool with relu', [1, 3, 4, 4], [VALID, 2, 2, 2, 2, relu]),
    pool(Op.AVERAGE_POOL_2D, 'average pool', [1, 4, 5, 4], [SAME, 2, 2, 3, 3, none]),
    model('softmax', { inputs: { x: { shape: [3, 7] } }, outputs: { y: { shape: [3, 7] } } }, [
      [Op.SOFTMAX, ['x'], ['y'], Options.SoftmaxOptions, [{ float32: 2 }]],
    ]),
    model(
      'batch matmul',
      { inputs: { x: { shape: [2, 3, 4] }, z: { shape: [2, 5, 4] } }, outputs: { y: { shape: [2, 3, 5] } } },
      [[Op.BATCH_MATMUL, ['x', 'z'], ['y'], Options.BatchMatMulOptions, [{ int8: 0 }, { int8: 1 }]]],
    ),
  ];
}

function floatElementwise(): TfliteCase[] {
  const shape = [2, 3, 4];
  const one = (code: Op, name: string, type?: Options, options?: (OptionValue | undefined)[]) =>
    model(
      name,
      { inputs: { x: { shape, range: 4 } }, outputs: { y: { shape } } },
      [[code, ['x'], ['y'], type, options]],
      1e-5,
    );
  const two = (code: Op, name: string, type?: Options, options?: OptionValue[], other = [1, 4]) =>
    model(name, { inputs: { x: { shape }, z: { shape: other } }, outputs: { y: { shape } } }, [
      [code, ['x', 'z'], ['y'], type, options],
    ]);
  return [
    one(Op.LOGISTIC, 'logistic'),
    one(Op.TANH, 'tanh'),
    one(Op.RELU, 'relu'),
    one(Op.RELU6, 'relu6'),
    one(Op.RELU_N1_TO_1, 'relu n1 to 1'),
    one(Op.HARD_SWISH, 'hard swish'),
    one(Op.LEAKY_RELU, 'leaky relu', Options.LeakyReluOptions, [{ float32: 0.3 }]),
    one(Op.ELU, 'elu'),
    one(Op.EXP, 'exp'),
    one(Op.ABS, 'abs'),
    one(Op.NEG, 'neg'),
    one(Op.SQUARE, 'square'),
    one(Op.FLOOR, 'floor'),
    one(Op.CEIL, 'ceil'),
    one(Op.ROUND, 'round'),
    one(Op.SIN, 'sin'),
    one(Op.GELU, 'gelu', Options.GeluOptions, [{ int8: 0 }]),
    one(Op.L2_NORMALIZATION, 'l2 normalization', Options.L2NormOptions, [none]),
    one(Op.LOG_SOFTMAX, 'log softmax'),
    two(Op.ADD, 'add', Options.AddOptions, [relu6]),
    two(Op.SUB, 'sub', Options.SubOptions, [none]),
    two(Op.MUL, 'mul', Options.MulOptions, [relu]),
    two(Op.DIV, 'div', Options.DivOptions, [none]),
    two(Op.MAXIMUM, 'maximum'),
    two(Op.MINIMUM, 'minimum'),
    two(Op.SQUARED_DIFFERENCE, 'squared difference'),
    two(Op.FLOOR_DIV, 'floor div'),
    two(Op.FLOOR_MOD, 'floor mod'),
    model(
      'prelu',
      {
        inputs: { x: { shape: [1, 3, 3, 4] } },
        constants: { a: floats([1, 1, 4]) },
        outputs: { y: { shape: [1, 3, 3, 4] } },
      },
      [[Op.PRELU, ['x', 'a'], ['y']]],
    ),
    model(
      'less and select',
      {
        inputs: { x: { shape }, z: { shape } },
        outputs: { c: { shape, type: Type.BOOL }, y: { shape } },
      },
      [
        [Op.LESS, ['x', 'z'], ['c']],
        [Op.SELECT_V2, ['c', 'x', 'z'], ['y']],
      ],
    ),
    model(
      'arg max',
      { inputs: { x: { shape } }, constants: { a: scalar(1) }, outputs: { y: { shape: [2, 4], type: Type.INT32 } } },
      [[Op.ARG_MAX, ['x', 'a'], ['y'], ARG_MAX_OPTIONS, [{ int8: Type.INT32 }]]],
    ),
    model(
      'mean of an image',
      { inputs: { x: { shape: [1, 4, 5, 3] } }, constants: { a: ints(1, 2) }, outputs: { y: { shape: [1, 3] } } },
      [[Op.MEAN, ['x', 'a'], ['y'], Options.ReducerOptions, [{ int8: 0 }]]],
    ),
    model(
      'sum of outer axes',
      { inputs: { x: { shape } }, constants: { a: ints(0, -1) }, outputs: { y: { shape: [1, 3, 1] } } },
      [[Op.SUM, ['x', 'a'], ['y'], Options.ReducerOptions, [{ int8: 1 }]]],
    ),
    model('reduce max', { inputs: { x: { shape } }, constants: { a: ints(1) }, outputs: { y: { shape: [2, 4] } } }, [
      [Op.REDUCE_MAX, ['x', 'a'], ['y'], Options.ReducerOptions, [{ int8: 0 }]],
    ]),
  ];
}

function floatMovement(): TfliteCase[] {
  const shape = [2, 3, 4];
  const of = (
    code: Op,
    name: string,
    constants: Record<string, WrittenTensor>,
    out: number[],
    type?: Options,
    options?: (OptionValue | undefined)[],
    input: readonly number[] = shape,
  ) =>
    model(name, { inputs: { x: { shape: input } }, constants, outputs: { y: { shape: out } } }, [
      [code, ['x', ...Object.keys(constants)], ['y'], type, options],
    ]);
  const image = [1, 4, 6, 2];
  const resize = (name: string, code: Op, size: number[], options: OptionValue[]) =>
    of(
      code,
      name,
      { size: ints(...size) },
      [1, ...size, 2],
      code === Op.RESIZE_BILINEAR ? Options.ResizeBilinearOptions : Options.ResizeNearestNeighborOptions,
      code === Op.RESIZE_BILINEAR ? [0, 0, ...options] : options,
      image,
    );
  const [off, on] = [{ int8: 0 }, { int8: 1 }];
  return [
    of(Op.RESHAPE, 'reshape', { s: ints(4, -1) }, [4, 6]),
    of(Op.TRANSPOSE, 'transpose', { p: ints(2, 0, 1) }, [4, 2, 3]),
    of(Op.PAD, 'pad', { p: matrixOfInts(3, [0, 1, 2, 0, 1, 1]) }, [3, 5, 6]),
    of(
      Op.PADV2,
      'pad v2',
      { p: matrixOfInts(3, [0, 1, 0, 0, 1, 1]), v: { shape: [1], data: Float32Array.of(2.5) } },
      [3, 3, 6],
    ),
    of(Op.MIRROR_PAD, 'mirror pad', { p: matrixOfInts(3, [0, 0, 2, 1, 1, 1]) }, [2, 6, 6], Options.MirrorPadOptions, [
      off,
    ]),
    of(Op.SLICE, 'slice', { b: ints(0, 1, 0), s: ints(-1, 2, 3) }, [2, 2, 3]),
    of(
      Op.STRIDED_SLICE,
      'strided slice',
      { b: ints(0, 2, -1), e: ints(0, 0, 0), s: ints(1, -1, -2) },
      [2, 2, 2],
      Options.StridedSliceOptions,
      [0, 0b101, 0, 0, 0],
    ),
    of(
      Op.STRIDED_SLICE,
      'strided slice that drops and adds axes',
      { b: ints(1, 0, 0), e: ints(2, 0, 2), s: ints(1, 1, 1) },
      [1, 2, 2],
      Options.StridedSliceOptions,
      [0, 0, 0, 0b010, 0b001],
      [2, 3, 2],
    ),
    of(Op.SQUEEZE, 'squeeze', {}, [3, 4], Options.SqueezeOptions, [{ ints: [0, -2] }], [1, 3, 1, 4]),
    of(Op.EXPAND_DIMS, 'expand dims', { a: scalar(-2) }, [2, 3, 1, 4]),
    of(Op.GATHER, 'gather', { i: ints(2, 0, 1, 1) }, [2, 4, 4], Options.GatherOptions, [1, 0]),
    of(Op.TILE, 'tile', { m: ints(1, 2, 3) }, [2, 6, 12]),
    of(Op.DEPTH_TO_SPACE, 'depth to space', {}, [1, 8, 12, 2], Options.DepthToSpaceOptions, [2], [1, 4, 6, 8]),
    of(Op.SPACE_TO_DEPTH, 'space to depth', {}, [1, 2, 3, 8], Options.SpaceToDepthOptions, [2], image),
    resize('resize bilinear', Op.RESIZE_BILINEAR, [7, 9], [off, off]),
    resize('resize bilinear with half pixels', Op.RESIZE_BILINEAR, [7, 3], [off, on]),
    resize('resize bilinear with aligned corners', Op.RESIZE_BILINEAR, [7, 9], [on, off]),
    resize('resize nearest', Op.RESIZE_NEAREST_NEIGHBOR, [7, 9], [off, off]),
    resize('resize nearest with half pixels', Op.RESIZE_NEAREST_NEIGHBOR, [7, 9], [off, on]),
    resize('resize nearest with aligned corners', Op.RESIZE_NEAREST_NEIGHBOR, [7, 11], [on, off]),
    model(
      'concatenation',
      { inputs: { x: { shape }, z: { shape: [2, 1, 4] } }, outputs: { y: { shape: [2, 4, 4] } } },
      [[Op.CONCATENATION, ['x', 'z'], ['y'], Options.ConcatenationOptions, [-2, none]]],
    ),
    model('pack', { inputs: { x: { shape }, z: { shape } }, outputs: { y: { shape: [2, 2, 3, 4] } } }, [
      [Op.PACK, ['x', 'z'], ['y'], Options.PackOptions, [2, 1]],
    ]),
    model(
      'unpack',
      { inputs: { x: { shape } }, outputs: { a: { shape: [2, 4] }, b: { shape: [2, 4] }, c: { shape: [2, 4] } } },
      [[Op.UNPACK, ['x'], ['a', 'b', 'c'], Options.UnpackOptions, [3, 1]]],
    ),
    model(
      'split',
      {
        inputs: { x: { shape } },
        constants: { axis: scalar(2) },
        outputs: { a: { shape: [2, 3, 2] }, b: { shape: [2, 3, 2] } },
      },
      [[Op.SPLIT, ['axis', 'x'], ['a', 'b'], Options.SplitOptions, [2]]],
    ),
    model(
      'split v',
      {
        inputs: { x: { shape } },
        constants: { sizes: ints(1, -1), axis: scalar(1) },
        outputs: { a: { shape: [2, 1, 4] }, b: { shape: [2, 2, 4] } },
      },
      [[Op.SPLIT_V, ['x', 'sizes', 'axis'], ['a', 'b'], Options.SplitVOptions, [2]]],
    ),
    model('cast', { inputs: { x: { shape } }, outputs: { i: { shape, type: Type.INT32 }, y: { shape } } }, [
      [Op.CAST, ['x'], ['i'], Options.CastOptions, [{ int8: Type.FLOAT32 }, { int8: Type.INT32 }]],
      [Op.CAST, ['i'], ['y'], Options.CastOptions, [{ int8: Type.INT32 }, { int8: Type.FLOAT32 }]],
    ]),
    model(
      'one hot',
      {
        inputs: { x: { shape: [4], type: Type.INT32 } },
        constants: {
          d: scalar(3),
          on: { shape: [], data: Float32Array.of(2) },
          off: { shape: [], data: Float32Array.of(-1) },
        },
        outputs: { y: { shape: [4, 3] } },
      },
      [[Op.ONE_HOT, ['x', 'd', 'on', 'off'], ['y'], Options.OneHotOptions, [-1]]],
    ),
  ];
}

/** Bits of 16-bit floats of values that they have exactly. */
function f16(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (x) => {
    if (x === 0) return 0;
    const exponent = Math.floor(Math.log2(Math.abs(x)));
    const fraction = Math.abs(x) / 2 ** exponent - 1;
    return ((x < 0 ? 1 : 0) << 15) | ((exponent + 15) << 10) | Math.round(fraction * 1024);
  });
}

function compressed(): TfliteCase[] {
  const exact = Float32Array.from({ length: 60 }, () => random.integer(-64, 64) / 64);
  const sparse = Float32Array.from([1, 2, 3, 4, 5, 6, 7].map((x) => x / 4));
  const pairs = Float32Array.from({ length: 12 }, (_, i) => i - 5.5);
  const hybrid = (name: string, w: WrittenTensor, step: Step, shape: number[], out: number[]) =>
    model(
      name,
      {
        inputs: { x: { shape } },
        constants: { w, b: floats([w.shape.at(name.includes('depth') ? -1 : 0)!]) },
        outputs: { y: { shape: out } },
      },
      [step],
      // 8-bit activations, a scale a row of all numbers in LiteRT, of its own in ours: half a step of 1 / 127 each.
      0.02,
    );
  return [
    model(
      'weights of 16 bits',
      {
        inputs: { x: { shape: [2, 12] } },
        constants: { h: { shape: [5, 12], type: Type.FLOAT16, data: f16(exact) } },
        outputs: { w: { shape: [5, 12] }, y: { shape: [2, 5] } },
      },
      [
        [Op.DEQUANTIZE, ['h'], ['w']],
        [Op.FULLY_CONNECTED, ['x', 'w', ''], ['y'], Options.FullyConnectedOptions, [none]],
      ],
    ),
    model(
      'sparse weights',
      {
        inputs: { x: { shape: [2, 6] } },
        constants: {
          s: {
            shape: [4, 6],
            data: sparse,
            sparsity: {
              traversal: [0, 1],
              levels: [{ size: 4 }, { segments: [0, 2, 2, 5, 7], indices: [0, 3, 1, 2, 5, 0, 4], bits: 8 }],
            },
          },
        },
        outputs: { w: { shape: [4, 6] }, y: { shape: [2, 4] } },
      },
      [
        [Op.DENSIFY, ['s'], ['w']],
        [Op.FULLY_CONNECTED, ['x', 'w', ''], ['y'], Options.FullyConnectedOptions, [none]],
      ],
    ),
    model(
      'weights sparse in blocks',
      {
        inputs: { x: { shape: [2, 8] } },
        constants: {
          s: {
            shape: [4, 8],
            data: pairs,
            sparsity: {
              traversal: [0, 1, 2],
              blockMap: [1],
              levels: [{ size: 4 }, { segments: [0, 1, 1, 3, 3], indices: [1, 0, 1] }, { size: 4 }],
            },
          },
        },
        outputs: { w: { shape: [4, 8] }, y: { shape: [2, 4] } },
      },
      [
        [Op.DENSIFY, ['s'], ['w']],
        [Op.FULLY_CONNECTED, ['x', 'w', ''], ['y'], Options.FullyConnectedOptions, [none]],
      ],
    ),
    hybrid(
      'hybrid fully connected',
      int8([5, 32]),
      [Op.FULLY_CONNECTED, ['x', 'w', 'b'], ['y'], Options.FullyConnectedOptions, [none]],
      [3, 32],
      [3, 5],
    ),
    hybrid(
      'hybrid conv',
      int8([6, 3, 3, 4], 0),
      [Op.CONV_2D, ['x', 'w', 'b'], ['y'], Options.Conv2DOptions, conv(SAME, 1, relu)],
      [1, 6, 6, 4],
      [1, 6, 6, 6],
    ),
    hybrid(
      'hybrid depthwise conv',
      int8([1, 3, 3, 4], 3),
      [Op.DEPTHWISE_CONV_2D, ['x', 'w', 'b'], ['y'], Options.DepthwiseConv2DOptions, [SAME, 1, 1, 1, none, 1, 1]],
      [1, 6, 6, 4],
      [1, 6, 6, 4],
    ),
  ];
}

function integers(): TfliteCase[] {
  const [from, to] = [q(0.05, -3), q(0.11, 7)];
  const layer = (
    name: string,
    step: Step,
    shape: number[],
    out: number[],
    w: WrittenTensor,
    rows: number,
    output = to,
    type?: Type,
  ) =>
    model(
      name,
      {
        inputs: { x: { shape, quantization: type === Type.UINT8 ? q(0.05, 120) : from, type } },
        constants: { w, b: bias(w, 0.05, rows) },
        outputs: { y: { shape: out, quantization: output, type } },
      },
      [step],
    );
  const image = [1, 7, 9, 4];
  const one = (
    code: Op,
    name: string,
    output: WrittenQuantization,
    type?: Options,
    options?: OptionValue[],
    input = q(0.04, 5),
  ) =>
    model(
      name,
      {
        inputs: { x: { shape: [2, 300], quantization: input } },
        outputs: { y: { shape: [2, 300], quantization: output } },
      },
      [[code, ['x'], ['y'], type, options]],
    );
  const two = (
    code: Op,
    name: string,
    a: WrittenQuantization,
    b: WrittenQuantization,
    out: WrittenQuantization,
    type: Options,
    fused: OptionValue,
  ) =>
    model(
      name,
      {
        inputs: { x: { shape: [1, 16, 16, 4], quantization: a }, z: { shape: [1, 16, 16, 4], quantization: b } },
        outputs: { y: { shape: [1, 16, 16, 4], quantization: out } },
      },
      [[code, ['x', 'z'], ['y'], type, [fused]]],
    );
  const pool = (code: Op, name: string, out: number[], options: OptionValue[], shape = image) =>
    model(name, { inputs: { x: { shape, quantization: from } }, outputs: { y: { shape: out, quantization: from } } }, [
      [code, ['x'], ['y'], Options.Pool2DOptions, options],
    ]);
  const filter = (shape: number[], dimension?: number) => int8(shape, dimension);
  const probability = q(1 / 256, -128);
  return [
    layer(
      'int8 conv',
      [Op.CONV_2D, ['x', 'w', 'b'], ['y'], Options.Conv2DOptions, conv(SAME, 1, relu)],
      image,
      [1, 7, 9, 16],
      filter([16, 3, 3, 4], 0),
      16,
    ),
    layer(
      'int8 conv stride 2',
      [Op.CONV_2D, ['x', 'w', 'b'], ['y'], Options.Conv2DOptions, conv(SAME, 2, none)],
      image,
      [1, 4, 5, 6],
      filter([6, 3, 3, 4], 0),
      6,
      q(0.4, -100),
    ),
    layer(
      'int8 conv 1x1',
      [Op.CONV_2D, ['x', 'w', 'b'], ['y'], Options.Conv2DOptions, conv(VALID, 1, relu6)],
      image,
      [1, 7, 9, 24],
      filter([24, 1, 1, 4], 0),
      24,
    ),
    layer(
      'int8 depthwise conv',
      [Op.DEPTHWISE_CONV_2D, ['x', 'w', 'b'], ['y'], Options.DepthwiseConv2DOptions, [SAME, 1, 1, 1, relu, 1, 1]],
      [1, 9, 9, 16],
      [1, 9, 9, 16],
      filter([1, 3, 3, 16], 3),
      16,
    ),
    layer(
      'int8 depthwise conv stride 2',
      [Op.DEPTHWISE_CONV_2D, ['x', 'w', 'b'], ['y'], Options.DepthwiseConv2DOptions, [SAME, 2, 2, 2, none, 1, 1]],
      [1, 9, 9, 4],
      [1, 5, 5, 8],
      filter([1, 3, 3, 8], 3),
      8,
    ),
    layer(
      'int8 fully connected',
      [Op.FULLY_CONNECTED, ['x', 'w', 'b'], ['y'], Options.FullyConnectedOptions, [relu]],
      [20, 64],
      [20, 33],
      filter([33, 64]),
      33,
    ),
    layer(
      'int8 fully connected by channel',
      [Op.FULLY_CONNECTED, ['x', 'w', 'b'], ['y'], Options.FullyConnectedOptions, [none]],
      [20, 64],
      [20, 12],
      filter([12, 64], 0),
      12,
    ),
    two(Op.ADD, 'int8 add', q(0.05, -3), q(0.031, 11), q(0.06, 2), Options.AddOptions, none),
    two(Op.ADD, 'int8 add with relu', q(0.05, -128), q(0.05, -128), q(0.07, -128), Options.AddOptions, relu),
    two(Op.SUB, 'int8 sub', q(0.05, -3), q(0.031, 11), q(0.06, 2), Options.SubOptions, none),
    two(Op.MUL, 'int8 mul', q(0.05, -3), q(0.031, 11), q(0.09, 2), Options.MulOptions, none),
    pool(Op.AVERAGE_POOL_2D, 'int8 average pool', [1, 4, 5, 4], [SAME, 2, 2, 3, 3, none]),
    pool(Op.AVERAGE_POOL_2D, 'int8 average pool of an even count', [1, 3, 4, 4], [VALID, 2, 2, 2, 2, none]),
    pool(Op.AVERAGE_POOL_2D, 'int8 average pool with relu', [1, 2, 2, 8], [VALID, 4, 4, 4, 4, relu], [1, 8, 8, 8]),
    pool(Op.MAX_POOL_2D, 'int8 max pool', [1, 4, 5, 4], [SAME, 2, 2, 3, 3, none]),
    pool(Op.MAX_POOL_2D, 'int8 max pool with relu', [1, 3, 4, 4], [VALID, 2, 2, 2, 2, relu]),
    one(Op.LOGISTIC, 'int8 logistic', probability),
    one(Op.TANH, 'int8 tanh', q(1 / 128, 0)),
    one(Op.HARD_SWISH, 'int8 hard swish', q(0.03, -100)),
    one(Op.LEAKY_RELU, 'int8 leaky relu', q(0.03, -20), Options.LeakyReluOptions, [{ float32: 0.2 }]),
    one(Op.RELU, 'int8 relu', q(0.03, -128)),
    one(Op.QUANTIZE, 'int8 to other int8', q(0.07, -20)),
    one(Op.SOFTMAX, 'int8 softmax', probability, Options.SoftmaxOptions, [{ float32: 1 }]),
    model(
      'dequantize',
      { inputs: { x: { shape: [2, 300], quantization: from } }, outputs: { y: { shape: [2, 300] } } },
      [[Op.DEQUANTIZE, ['x'], ['y']]],
    ),
    model(
      'quantize',
      { inputs: { x: { shape: [2, 300], range: 20 } }, outputs: { y: { shape: [2, 300], quantization: to } } },
      [[Op.QUANTIZE, ['x'], ['y']]],
    ),
    model(
      'int8 pad',
      {
        inputs: { x: { shape: image, quantization: from } },
        constants: { p: matrixOfInts(4, [0, 0, 1, 2, 2, 1, 0, 0]) },
        outputs: { y: { shape: [1, 10, 12, 4], quantization: from } },
      },
      [[Op.PAD, ['x', 'p'], ['y']]],
    ),
    model(
      'int8 concatenation',
      {
        inputs: { x: { shape: [2, 5], quantization: from }, z: { shape: [2, 3], quantization: from } },
        outputs: { y: { shape: [2, 8], quantization: from } },
      },
      [[Op.CONCATENATION, ['x', 'z'], ['y'], Options.ConcatenationOptions, [1, none]]],
    ),
    model(
      'int8 reshape and transpose',
      {
        inputs: { x: { shape: [2, 6], quantization: from } },
        constants: { s: ints(3, -1), p: ints(1, 0) },
        outputs: { r: { shape: [3, 4], quantization: from }, y: { shape: [4, 3], quantization: from } },
      },
      [
        [Op.RESHAPE, ['x', 's'], ['r']],
        [Op.TRANSPOSE, ['r', 'p'], ['y']],
      ],
    ),
    model(
      'int8 mean',
      {
        inputs: { x: { shape: [1, 5, 5, 8], quantization: from } },
        constants: { a: ints(1, 2) },
        outputs: { y: { shape: [1, 8], quantization: to } },
      },
      [[Op.MEAN, ['x', 'a'], ['y'], Options.ReducerOptions, [{ int8: 0 }]]],
    ),
    model(
      'int8 resize bilinear',
      {
        inputs: { x: { shape: [1, 4, 4, 4], quantization: from } },
        constants: { s: ints(7, 7) },
        outputs: { y: { shape: [1, 7, 7, 4], quantization: from } },
      },
      [[Op.RESIZE_BILINEAR, ['x', 's'], ['y'], Options.ResizeBilinearOptions, [0, 0, { int8: 0 }, { int8: 1 }]]],
      // XNNPACK mixes codes with weights of 11 bits.
      1,
    ),
  ];
}

/** Transposed convolutions, and gathers, blocks and rows by other ways than one axis. */
function further(): TfliteCase[] {
  const image = [2, 4, 5, 3];
  const [from, to] = [q(0.05, -3), q(0.11, 7)];
  const transposed = (
    name: string,
    [height, width]: [number, number],
    kernel: [number, number],
    stride: [number, number],
    padding: OptionValue,
    { codes = false, withBias = true, perChannel = true } = {},
  ) => {
    const shape = [4, ...kernel, 3];
    const w = codes ? int8(shape, perChannel ? 0 : undefined) : floats(shape);
    const b = codes ? bias(w, 0.05, 4) : floats([4]);
    const out = [2, height, width, 4];
    return model(
      name,
      {
        inputs: { x: { shape: image, ...(codes && { quantization: from }) } },
        constants: { s: ints(...out), w, ...(withBias && { b }) },
        outputs: { y: { shape: out, ...(codes && { quantization: to }) } },
      },
      [
        [
          Op.TRANSPOSE_CONV,
          ['s', 'w', 'x', ...(withBias ? ['b'] : [])],
          ['y'],
          Options.TransposeConvOptions,
          [padding, stride[1], stride[0], none],
        ],
      ],
    );
  };
  const shape = [2, 3, 4];
  const of = (
    code: Op,
    name: string,
    constants: Record<string, WrittenTensor>,
    out: number[],
    type?: Options,
    options?: (OptionValue | undefined)[],
    input: readonly number[] = shape,
    quantization?: WrittenQuantization,
  ) =>
    model(
      name,
      { inputs: { x: { shape: input, quantization } }, constants, outputs: { y: { shape: out, quantization } } },
      [[code, ['x', ...Object.keys(constants)], ['y'], type, options]],
    );
  const indices = (dims: number[], values: number[]): WrittenTensor => ({
    shape: dims,
    type: Type.INT32,
    data: Int32Array.from(values),
  });
  const lookUp = (name: string, table: WrittenTensor) =>
    model(
      name,
      {
        inputs: { i: { shape: [5], type: Type.INT32 } },
        constants: { t: table },
        outputs: { y: { shape: [5, table.shape[1]] } },
      },
      [[Op.EMBEDDING_LOOKUP, ['i', 't'], ['y']]],
    );
  const [off, on] = [{ int8: 0 }, { int8: 1 }];
  const blocks = { b: ints(2, 3), p: matrixOfInts(2, [1, 1, 0, 1]) };
  const whole = { b: ints(2, 3), p: matrixOfInts(2, [0, 1, 2, 0]) };
  const wide = [1, 4, 5, 2];
  return [
    transposed('transpose conv, same', [8, 10], [3, 3], [2, 2], SAME),
    transposed('transpose conv, same, odd', [7, 15], [4, 5], [2, 3], SAME),
    transposed('transpose conv, same, stride 1', [4, 5], [3, 2], [1, 1], SAME, { withBias: false }),
    transposed('transpose conv, valid', [9, 11], [3, 3], [2, 2], VALID),
    transposed('transpose conv, valid, no overlap', [8, 15], [2, 3], [2, 3], VALID),
    transposed('transpose conv, valid, gaps', [11, 13], [2, 1], [3, 3], VALID),
    transposed('int8 transpose conv, same', [8, 10], [3, 3], [2, 2], SAME, { codes: true }),
    transposed('int8 transpose conv, valid', [9, 14], [3, 2], [2, 3], VALID, { codes: true }),
    transposed('int8 transpose conv, a scale for all', [8, 10], [4, 4], [2, 2], SAME, {
      codes: true,
      perChannel: false,
    }),
    of(
      Op.MIRROR_PAD,
      'mirror pad, symmetric',
      { p: matrixOfInts(3, [0, 1, 3, 2, 4, 0]) },
      [3, 8, 8],
      Options.MirrorPadOptions,
      [on],
    ),
    of(Op.GATHER, 'gather in batches', { i: indices([2, 2], [2, 0, 1, 1]) }, [2, 2, 4], Options.GatherOptions, [1, 1]),
    of(
      Op.GATHER,
      'gather in batches behind another axis',
      { i: indices([2, 3], [2, 0, 1, 3, 3, 0]) },
      [2, 3, 3],
      Options.GatherOptions,
      [2, 1],
    ),
    of(Op.GATHER_ND, 'gather nd', { i: indices([2, 2, 2], [0, 2, 1, 0, 1, 1, 0, 0]) }, [2, 2, 4]),
    of(Op.GATHER_ND, 'gather nd of elements', { i: indices([3, 3], [0, 2, 1, 1, 0, 3, 1, 2, 2]) }, [3]),
    of(Op.CUMSUM, 'cumsum', { a: scalar(1) }, shape, Options.CumsumOptions, [off, off]),
    of(Op.CUMSUM, 'cumsum, exclusive, from the end', { a: scalar(2) }, shape, Options.CumsumOptions, [on, on]),
    of(Op.REVERSE_V2, 'reverse', { a: ints(1) }, shape),
    of(Op.SPACE_TO_BATCH_ND, 'space to batch', blocks, [6, 3, 2, 2], undefined, undefined, wide),
    of(Op.SPACE_TO_BATCH_ND, 'int8 space to batch', blocks, [6, 3, 2, 2], undefined, undefined, wide, from),
    of(Op.BATCH_TO_SPACE_ND, 'batch to space', whole, [1, 5, 4, 2], undefined, undefined, [6, 3, 2, 2]),
    of(Op.BATCH_TO_SPACE_ND, 'int8 batch to space', whole, [1, 5, 4, 2], undefined, undefined, [6, 3, 2, 2], from),
    lookUp('embedding', floats([3, 6])),
    lookUp('embedding of codes', int8([3, 6])),
    model(
      'top k',
      {
        inputs: { x: { shape: [3, 9] } },
        constants: { k: scalar(4) },
        outputs: { y: { shape: [3, 4] }, i: { shape: [3, 4], type: Type.INT32 } },
      },
      [[Op.TOPK_V2, ['x', 'k'], ['y', 'i']]],
    ),
  ];
}

/** Every case, always the same. */
export function tfliteCases(): TfliteCase[] {
  seed = 1;
  random = createRandom(7);
  return [...floatLayers(), ...floatElementwise(), ...floatMovement(), ...compressed(), ...integers(), ...further()];
}
