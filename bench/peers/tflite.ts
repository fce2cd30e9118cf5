// Writes TensorFlow Lite models of one operator. Field numbers and enumerations are those of schema version 3
// (tensorflow/lite/schema/schema.fbs, Apache-2.0); only the tables and fields that are needed are here.

import type { Shape } from '../shapes.js';
import { Builder } from './modules.js';
import { isDepthwise } from './peer.js';

/** f32 weights, or 8-bit codes with one scale an output channel. */
export type WeightTensor = { values: Float32Array } | { values: Int8Array; scale: Float32Array };

const FLOAT32 = 0;
const INT8 = 9;
const SAME = 0;

/** Operator codes, and the type of their options in the union BuiltinOptions. */
const CONV_2D = { code: 3, options: 1 };
const DEPTHWISE_CONV_2D = { code: 4, options: 2 };
const FULLY_CONNECTED = { code: 9, options: 8 };

/** Versions only say how new an interpreter must be: one that covers every operator here. */
const OPERATOR_VERSION = 5;

type Field = { offset: number } | { int: number; fallback?: number } | { byte: number };

/** A table; fields in the schema's order, absent ones undefined. */
function table(builder: Builder, fields: readonly (Field | undefined)[]): number {
  builder.startObject(fields.length);
  for (const [i, field] of fields.entries()) {
    if (!field) continue;
    if ('offset' in field) builder.addFieldOffset(i, field.offset, 0);
    else if ('byte' in field) builder.addFieldInt8(i, field.byte, 0);
    else builder.addFieldInt32(i, field.int, field.fallback ?? 0);
  }
  return builder.endObject();
}

function vector(builder: Builder, size: number, count: number, add: (i: number) => void): Field {
  builder.startVector(size, count, size);
  for (let i = count - 1; i >= 0; i--) add(i);
  return { offset: builder.endVector() };
}

const ints = (builder: Builder, values: readonly number[]) =>
  vector(builder, 4, values.length, (i) => builder.addInt32(values[i]));
const offsets = (builder: Builder, values: readonly number[]) =>
  vector(builder, 4, values.length, (i) => builder.addOffset(values[i]));

/** A buffer of constants, aligned to 16 bytes as the schema asks; without data: that of an activation. */
function buffer(builder: Builder, data?: Float32Array | Int8Array): number {
  if (!data) return table(builder, [undefined]);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  // The length lies right before the data.
  builder.prep(16, bytes.length);
  const offset = builder.createByteVector(bytes);
  return table(builder, [{ offset }]);
}

function tensor(
  builder: Builder,
  name: string,
  shape: readonly number[],
  bufferIndex: number,
  scale?: { values: Float32Array; dimension: number },
): number {
  const dims = ints(builder, shape);
  const text = { offset: builder.createString(name) };
  let quantization: Field | undefined;
  if (scale) {
    const { values, dimension } = scale;
    const scales = vector(builder, 4, values.length, (i) => builder.addFloat32(values[i]));
    const zeroPoints = vector(builder, 8, values.length, () => builder.addInt64(0n));
    quantization = {
      offset: table(builder, [undefined, undefined, scales, zeroPoints, undefined, undefined, { int: dimension }]),
    };
  }
  const type = { byte: scale ? INT8 : FLOAT32 };
  return table(builder, [dims, type, { int: bufferIndex }, text, quantization]);
}

/**
 * @param input [M, K] or NHWC
 * @param output [M, N] or NHWC
 * @param weights [N, K], OHWI, or for depthwise convolutions HWC
 */
export function tfliteModel(
  shape: Shape,
  input: readonly number[],
  output: readonly number[],
  weights: WeightTensor,
): Uint8Array<ArrayBuffer> {
  const builder = new Builder(weights.values.byteLength + 65536);
  const outputs = output.at(-1)!;
  const depthwise = isDepthwise(shape);
  const operator = shape.op === 'linear' ? FULLY_CONNECTED : depthwise ? DEPTHWISE_CONV_2D : CONV_2D;
  const filter =
    shape.op === 'linear'
      ? [shape.N, shape.K]
      : depthwise
        ? [1, shape.kernel, shape.kernel, shape.channels]
        : [shape.outputs, shape.kernel, shape.kernel, shape.channels];
  const scale = 'scale' in weights ? { values: weights.scale, dimension: 0 } : undefined;

  // Buffer 0 is empty by convention: that of tensors that are not constant.
  const buffers = [buffer(builder), buffer(builder, weights.values), buffer(builder, new Float32Array(outputs))];
  const tensors = [
    tensor(builder, 'x', input, 0),
    tensor(builder, 'w', filter, 1, scale),
    tensor(builder, 'b', [outputs], 2),
    tensor(builder, 'y', output, 0),
  ];
  const one: Field = { int: 1 };
  const none: Field = { byte: 0 };
  const factor: Field = { int: 1, fallback: 1 };
  const options =
    shape.op === 'linear'
      ? // Activation, weights format, keep dimensions, asymmetric quantisation of the inputs.
        [none, none, none, { byte: scale ? 1 : 0 }]
      : [
          { byte: SAME },
          { int: shape.stride },
          { int: shape.stride },
          ...(depthwise ? [one] : []),
          none,
          factor,
          factor,
        ];
  const builtinOptions = { offset: table(builder, options) };
  const operatorTable = table(builder, [
    { int: 0 },
    ints(builder, [0, 1, 2]),
    ints(builder, [3]),
    { byte: operator.options },
    builtinOptions,
  ]);
  const subgraph = table(builder, [
    offsets(builder, tensors),
    ints(builder, [0]),
    ints(builder, [3]),
    offsets(builder, [operatorTable]),
    { offset: builder.createString('main') },
  ]);
  const code = table(builder, [
    { byte: operator.code },
    undefined,
    { int: OPERATOR_VERSION, fallback: 1 },
    { int: operator.code },
  ]);
  const model = table(builder, [
    { int: 3 },
    offsets(builder, [code]),
    offsets(builder, [subgraph]),
    { offset: builder.createString('thinfer bench') },
    offsets(builder, buffers),
  ]);
  builder.finish(model, 'TFL3');
  return builder.asUint8Array();
}
