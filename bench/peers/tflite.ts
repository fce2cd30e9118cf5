// TensorFlow Lite models of one operator.

import { BuiltinOperator, BuiltinOptions, TensorType } from '../../src/tflite/generated/tflite_generated.js';
import { type OptionValue, TfliteWriter } from '../../test/support/tflite-writer.js';
import type { Shape } from '../shapes.js';
import { isDepthwise } from './peer.js';

/** f32 weights, or 8-bit codes with one scale an output channel. */
export type WeightTensor = { values: Float32Array } | { values: Int8Array; scale: Float32Array };

const none = { int8: 0 };
const SAME = { int8: 0 };

/** The operator with its options; weights are [N, K], OHWI, or for depthwise convolutions HWC. */
function operatorOf(shape: Shape, isQuantized: boolean) {
  if (shape.op === 'linear') {
    // Activation, weights format, keep dimensions, asymmetric quantisation of the inputs.
    const options: OptionValue[] = [none, none, none, isQuantized];
    const { FullyConnectedOptions: type } = BuiltinOptions;
    return { code: BuiltinOperator.FULLY_CONNECTED, type, options, filter: [shape.N, shape.K] };
  }
  const { kernel, stride, channels, outputs } = shape;
  if (isDepthwise(shape)) {
    const options: OptionValue[] = [SAME, stride, stride, 1, none, 1, 1];
    const { DepthwiseConv2DOptions: type } = BuiltinOptions;
    return { code: BuiltinOperator.DEPTHWISE_CONV_2D, type, options, filter: [1, kernel, kernel, channels] };
  }
  const options: OptionValue[] = [SAME, stride, stride, none, 1, 1];
  const { Conv2DOptions: type } = BuiltinOptions;
  return { code: BuiltinOperator.CONV_2D, type, options, filter: [outputs, kernel, kernel, channels] };
}

/**
 * @param input [M, K] or NHWC
 * @param output [M, N] or NHWC
 */
export function tfliteModel(
  shape: Shape,
  input: readonly number[],
  output: readonly number[],
  weights: WeightTensor,
): Uint8Array<ArrayBuffer> {
  const outputs = output.at(-1)!;
  const isQuantized = 'scale' in weights;
  const { code, type, options, filter } = operatorOf(shape, isQuantized);
  return new TfliteWriter()
    .input('x', { shape: input })
    .tensor('w', {
      shape: filter,
      data: weights.values,
      ...(isQuantized && { type: TensorType.INT8, quantization: { scale: Array.from(weights.scale) } }),
    })
    .floats('b', [outputs], new Float32Array(outputs))
    .tensor('y', { shape: output })
    .operator(code, ['x', 'w', 'b'], ['y'], type, options)
    .output('y')
    .bytes();
}
