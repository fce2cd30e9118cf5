// Integer models of TensorFlow Lite as LiteRT.js takes them.
import { Builder, ByteBuffer } from 'flatbuffers';
import {
  BuiltinOperator,
  Model,
  type ModelT,
  OperatorCodeT,
  OperatorT,
  TensorT as Tensor,
  type TensorT,
  TensorType,
} from '../test/support/generated/tflite_generated.js';
import type { Codes } from './codes.js';

/** A model whose inputs and outputs are f32 where they were 8-bit codes, which LiteRT.js does not take. */
export class Wrapped {
  readonly model: ModelT;
  /** Of inputs and outputs; undefined where they are no codes. */
  readonly inputs: (Codes | undefined)[];
  readonly outputs: (Codes | undefined)[];

  constructor(bytes: Uint8Array) {
    this.model = Model.getRootAsModel(new ByteBuffer(bytes)).unpack();
    const [graph] = this.model.subgraphs;
    // An empty buffer is written as one of no bytes, which is not the same as none.
    for (const tensor of graph.tensors) if (this.model.buffers[tensor.buffer].data.length === 0) tensor.buffer = 0;
    this.inputs = graph.inputs.map((index) => this.#codes(graph.tensors[index]));
    this.outputs = graph.outputs.map((index) => this.#codes(graph.tensors[index]));
    for (const [i, codes] of this.inputs.entries()) if (codes) graph.inputs[i] = this.#quantize(graph.inputs[i]);
    for (const [i, codes] of this.outputs.entries()) if (codes) graph.outputs[i] = this.#dequantize(graph.outputs[i]);
  }

  #codes({ type, quantization }: TensorT): Codes | undefined {
    if (type !== TensorType.INT8) return undefined;
    return { scale: quantization!.scale[0], zeroPoint: Number(quantization!.zeroPoint[0]) };
  }

  #floats(like: number): number {
    const { tensors } = this.model.subgraphs[0];
    const { name, shape, shapeSignature } = tensors[like];
    return tensors.push(new Tensor(shape, TensorType.FLOAT32, 0, `${name}_f32`, null, false, null, shapeSignature)) - 1;
  }

  #code(operator: BuiltinOperator): number {
    return this.model.operatorCodes.push(new OperatorCodeT(operator, null, 2, operator)) - 1;
  }

  #quantize(to: number): number {
    const from = this.#floats(to);
    this.model.subgraphs[0].operators.unshift(new OperatorT(this.#code(BuiltinOperator.QUANTIZE), [from], [to]));
    return from;
  }

  #dequantize(from: number): number {
    const to = this.#floats(from);
    this.model.subgraphs[0].operators.push(new OperatorT(this.#code(BuiltinOperator.DEQUANTIZE), [from], [to]));
    return to;
  }

  bytes(): Uint8Array {
    const builder = new Builder(1 << 16);
    builder.finish(this.model.pack(builder), 'TFL3');
    return builder.asUint8Array();
  }
}
