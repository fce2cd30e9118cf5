// onnxruntime-web on its WASM execution provider. Its API takes and returns JavaScript memory, so that every run
// copies input and output.

import { create, toBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, TensorProto_DataType, TensorProtoSchema } from '../../src/onnx/generated/onnx_pb.js';
import type { Quantization } from '../../src/plan/problem.js';
import { FLOAT, OnnxWriter } from '../../test/support/onnx-writer.js';
import { weightShape } from '../shapes.js';
import { GROUP_SIZE } from './int4.js';
import { loadOrt, type OrtTensor } from './modules.js';
import { channelsFirst, channelsLast, type Peer, type PeerContestant, type PeerInputs, transposed } from './peer.js';

const { INT8, UINT8 } = TensorProto_DataType;
const MICROSOFT = 'com.microsoft';

/** Raw bytes as an initializer. */
function constant(
  writer: OnnxWriter,
  name: string,
  dims: readonly number[],
  data: Float32Array | Int8Array | Uint8Array,
): void {
  const dataType = data instanceof Float32Array ? FLOAT : data instanceof Int8Array ? INT8 : UINT8;
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  writer.graph.initializer.push(create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData }));
}

function modelBytes({ graph }: OnnxWriter): Uint8Array<ArrayBuffer> {
  const opsetImport = [
    { domain: '', version: 17n },
    { domain: MICROSOFT, version: 1n },
  ];
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, { irVersion: 8n, producerName: 'thinfer bench', graph, opsetImport }),
  );
}

/** Scale and zero point of codes, as the constants `<name>_scale` and `<name>_zero`. */
function quantization(writer: OnnxWriter, name: string, { scale, zeroPoint }: Quantization): void {
  constant(writer, `${name}_scale`, [], Float32Array.of(scale));
  constant(writer, `${name}_zero`, [], Uint8Array.of(zeroPoint));
}

/** The same of the weights, symmetric, a scale an output channel. */
function weightQuantization(writer: OnnxWriter, scale: Float32Array): void {
  constant(writer, 'w_scale', [scale.length], scale);
  constant(writer, 'w_zero', [scale.length], new Int8Array(scale.length));
}

/** Operands of QLinearMatMul and QLinearConv. */
const QLINEAR = ['x', 'x_scale', 'x_zero', 'w', 'w_scale', 'w_zero', 'y_scale', 'y_zero'];

export async function ort(folder: string, threads: number): Promise<Peer> {
  const ort = await loadOrt();
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = `${folder}onnxruntime-web/dist/`;
  ort.env.logLevel = 'error';

  const contestant = async (
    name: string,
    writer: OnnxWriter,
    x: OrtTensor,
    answer: (y: ArrayLike<number>) => ArrayLike<number>,
  ): Promise<PeerContestant> => {
    writer.output('y');
    const session = await ort.InferenceSession.create(modelBytes(writer), {
      executionProviders: ['wasm'],
      logSeverityLevel: 3,
    });
    return {
      name: `ort ${name}`,
      run: () => session.run({ x }),
      read: async () => answer((await session.run({ x })).y.data),
      free: () => void session.release(),
    };
  };
  const asItIs = (y: ArrayLike<number>) => y;

  const matMul = ({ shape, problem, x, f32 }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const dims = [problem.M, cols];
    const writer = new OnnxWriter().input('x', dims);
    constant(writer, 'w', [cols, rows], transposed(f32(), rows, cols));
    writer.node('MatMul', ['x', 'w'], ['y']);
    return contestant('MatMul', writer, new ort.Tensor('float32', x, dims), asItIs);
  };

  /** What quantising tools write for a linear layer with 8-bit weights; ORT fuses it. */
  const matMulInteger = ({ shape, problem, x, int8 }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const { codes, scale } = int8();
    const dims = [problem.M, cols];
    const writer = new OnnxWriter().input('x', dims);
    constant(writer, 'w', [cols, rows], transposed(codes, rows, cols));
    constant(writer, 'w_scale', [rows], scale);
    writer
      .node('DynamicQuantizeLinear', ['x'], ['x_codes', 'x_scale', 'x_zero'])
      .node('MatMulInteger', ['x_codes', 'w', 'x_zero'], ['sums'])
      .node('Cast', ['sums'], ['floats'], { to: FLOAT })
      .node('Mul', ['x_scale', 'w_scale'], ['scale'])
      .node('Mul', ['floats', 'scale'], ['y']);
    return contestant('MatMulInteger', writer, new ort.Tensor('float32', x, dims), asItIs);
  };

  /** The product alone: codes in, sums out. */
  const matMulSums = ({ shape, problem, int8, sums }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const { problem: given, x } = sums();
    const dims = [problem.M, cols];
    const writer = new OnnxWriter().input('x', dims, UINT8);
    constant(writer, 'w', [cols, rows], transposed(int8().codes, rows, cols));
    quantization(writer, 'x', given.input.quantization!);
    writer.node('MatMulInteger', ['x', 'w', 'x_zero'], ['y']);
    return contestant('MatMulInteger', writer, new ort.Tensor('uint8', x as Uint8Array, dims), asItIs);
  };

  /** Statically quantised, codes to codes. */
  const qLinearMatMul = ({ shape, problem, int8, codes }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const weights = int8();
    const { problem: given, x } = codes();
    const dims = [problem.M, cols];
    const writer = new OnnxWriter().input('x', dims, UINT8);
    constant(writer, 'w', [cols, rows], transposed(weights.codes, rows, cols));
    quantization(writer, 'x', given.input.quantization!);
    weightQuantization(writer, weights.scale);
    quantization(writer, 'y', given.output.quantization!);
    writer.node('QLinearMatMul', QLINEAR, ['y']);
    return contestant('QLinearMatMul', writer, new ort.Tensor('uint8', x as Uint8Array, dims), asItIs);
  };

  const matMulNBits = ({ shape, problem, x, int4 }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const { codes, scales } = int4();
    const dims = [problem.M, cols];
    const writer = new OnnxWriter().input('x', dims);
    constant(writer, 'w', [rows, cols / GROUP_SIZE, GROUP_SIZE / 2], codes);
    constant(writer, 'w_scale', [(rows * cols) / GROUP_SIZE], scales);
    const attributes = { K: cols, N: rows, bits: 4, block_size: GROUP_SIZE, accuracy_level: 4 };
    writer.node('MatMulNBits', ['x', 'w', 'w_scale'], ['y'], attributes);
    writer.graph.node.at(-1)!.domain = MICROSOFT;
    return contestant('MatMulNBits', writer, new ort.Tensor('float32', x, dims), asItIs);
  };

  const convolution = ({ shape, problem: { window } }: PeerInputs) => {
    if (shape.op !== 'conv2d') throw new Error('not a convolution');
    const { height, width, channels, outputs, kernel, stride, groups } = shape;
    return {
      dims: [1, channels, height, width],
      filter: [outputs, channels / groups, kernel, kernel],
      attributes: {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        pads: [window.padTop, window.padLeft, window.padBottom, window.padRight],
        group: groups,
      },
      first: <T extends Float32Array | Int8Array | Uint8Array>(x: T) => channelsFirst(x, height * width, channels),
      firstFilter: <T extends Float32Array | Int8Array>(w: T) => channelsFirst(w, kernel * kernel, channels / groups),
      last: (y: ArrayLike<number>) => channelsLast(y, window.outHeight * window.outWidth, outputs),
    };
  };

  const conv = (inputs: PeerInputs) => {
    const { dims, filter, attributes, first, firstFilter, last } = convolution(inputs);
    const writer = new OnnxWriter().input('x', dims);
    constant(writer, 'w', filter, firstFilter(inputs.f32()));
    writer.node('Conv', ['x', 'w'], ['y'], attributes);
    return contestant('Conv', writer, new ort.Tensor('float32', first(inputs.x), dims), last);
  };

  /** As matMulInteger, for convolutions. */
  const convInteger = (inputs: PeerInputs) => {
    const { dims, filter, attributes, first, firstFilter, last } = convolution(inputs);
    const { codes, scale } = inputs.int8();
    const writer = new OnnxWriter().input('x', dims);
    constant(writer, 'w', filter, firstFilter(codes));
    constant(writer, 'w_scale', [scale.length, 1, 1], scale);
    writer
      .node('DynamicQuantizeLinear', ['x'], ['x_codes', 'x_scale', 'x_zero'])
      .node('ConvInteger', ['x_codes', 'w', 'x_zero'], ['sums'], attributes)
      .node('Cast', ['sums'], ['floats'], { to: FLOAT })
      .node('Mul', ['x_scale', 'w_scale'], ['scale'])
      .node('Mul', ['floats', 'scale'], ['y']);
    return contestant('ConvInteger', writer, new ort.Tensor('float32', first(inputs.x), dims), last);
  };

  const convSums = (inputs: PeerInputs) => {
    const { dims, filter, attributes, first, firstFilter, last } = convolution(inputs);
    const { problem: given, x } = inputs.sums();
    const writer = new OnnxWriter().input('x', dims, UINT8);
    constant(writer, 'w', filter, firstFilter(inputs.int8().codes));
    quantization(writer, 'x', given.input.quantization!);
    writer.node('ConvInteger', ['x', 'w', 'x_zero'], ['y'], attributes);
    return contestant('ConvInteger', writer, new ort.Tensor('uint8', first(x as Uint8Array), dims), last);
  };

  /** Statically quantised, codes to codes. */
  const qLinearConv = (inputs: PeerInputs) => {
    const { dims, filter, attributes, first, firstFilter, last } = convolution(inputs);
    const { codes, scale } = inputs.int8();
    const { problem: given, x } = inputs.codes();
    const writer = new OnnxWriter().input('x', dims, UINT8);
    constant(writer, 'w', filter, firstFilter(codes));
    quantization(writer, 'x', given.input.quantization!);
    weightQuantization(writer, scale);
    quantization(writer, 'y', given.output.quantization!);
    writer.node('QLinearConv', QLINEAR, ['y'], attributes);
    return contestant('QLinearConv', writer, new ort.Tensor('uint8', first(x as Uint8Array), dims), last);
  };

  /**
   * The inputs are constants and all that leaves a timed run is the shape of the answer, so that nothing is copied
   * between JavaScript and WASM. Without optimisation nothing is computed ahead of the runs.
   */
  const weightless: Peer['weightless'] = (name, { ort: node, inputs: shapes, indicesBelow }, inputs) => {
    if (!node) return undefined;
    const { type, attributes, operands = ['a', 'b'].slice(0, inputs.length), ints = {}, floats = {}, pixels } = node;
    const writer = new OnnxWriter();
    const [a, b] = inputs;
    const dims = shapes[0];
    const channels = dims.at(-1)!;
    if (pixels) constant(writer, 'a', [1, channels, dims[1], dims[2]], channelsFirst(a, pixels[0], channels));
    else constant(writer, 'a', dims, a);
    if (indicesBelow) writer.ints('b', [...b]);
    else if (operands.includes('b')) constant(writer, 'b', shapes[1], b);
    const width = shapes[1]?.at(-1) ?? 0;
    for (const [row, operand] of ['b0', 'b1'].entries()) {
      if (operands.includes(operand)) constant(writer, operand, [width], b.slice(row * width, (row + 1) * width));
    }
    for (const [key, values] of Object.entries(ints)) writer.ints(key, values);
    for (const [key, values] of Object.entries(floats)) writer.floats(key, [values.length], values);
    writer.node(type, operands, ['y'], attributes).node('Shape', ['y'], ['shape']).output('y', 'shape');
    const open = async () => {
      const session = await ort.InferenceSession.create(modelBytes(writer), {
        executionProviders: ['wasm'],
        logSeverityLevel: 3,
        graphOptimizationLevel: 'disabled',
        extra: { session: { disable_prepacking: '1' } },
      });
      const answer = (y: ArrayLike<number>) => (pixels ? channelsLast(y, pixels[1], channels) : y);
      return {
        name: `ort ${name}`,
        run: () => session.run({}, ['shape']),
        read: async () => answer((await session.run({}, ['y'])).y.data),
        free: () => void session.release(),
      };
    };
    return open();
  };

  const isLinear = ({ op }: { op: string }) => op === 'linear';
  const isConv = ({ op }: { op: string }) => op === 'conv2d';
  return {
    name: 'ort',
    weightless,
    operators: [
      { kind: 'f32', what: 'MatMul', supports: isLinear, make: matMul },
      { kind: 'f32', what: 'Conv', supports: isConv, make: conv },
      { kind: 'int8', what: 'DynamicQuantizeLinear, MatMulInteger', supports: isLinear, make: matMulInteger },
      { kind: 'int8', what: 'DynamicQuantizeLinear, ConvInteger', supports: isConv, make: convInteger },
      { kind: 'codes', what: 'QLinearMatMul', supports: isLinear, make: qLinearMatMul },
      { kind: 'codes', what: 'QLinearConv', supports: isConv, make: qLinearConv },
      { kind: 'sums', what: 'MatMulInteger', supports: isLinear, make: matMulSums },
      { kind: 'sums', what: 'ConvInteger', supports: isConv, make: convSums },
      {
        kind: 'int4',
        what: 'MatMulNBits',
        supports: (shape) => shape.op === 'linear' && shape.K % GROUP_SIZE === 0,
        make: matMulNBits,
      },
    ],
  };
}
