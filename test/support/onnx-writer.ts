import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  type AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  SparseTensorProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
} from '../../src/onnx/generated/onnx_pb.js';

export const FLOAT = TensorProto_DataType.FLOAT;
export const INT64 = TensorProto_DataType.INT64;
export const UINT8 = TensorProto_DataType.UINT8;
export const INT8 = TensorProto_DataType.INT8;
export const INT32 = TensorProto_DataType.INT32;
/** Newer than the schema: two share a byte. */
export const UINT4 = 21;
export const INT4 = 22;

/** An integer, integers, or a string; a float and a tensor say so. */
export type AttributeValue = number | readonly number[] | string | { float: number } | { tensor: TensorProto };

export function floatTensor(name: string, dims: readonly number[], data: ArrayLike<number>): TensorProto {
  const rawData = new Uint8Array(Float32Array.from(data).buffer);
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: FLOAT, rawData });
}

export function intTensor(name: string, dims: readonly number[], data: readonly number[]): TensorProto {
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: INT64, int64Data: data.map(BigInt) });
}

function attribute(name: string, value: AttributeValue): MessageInitShape<typeof AttributeProtoSchema> {
  const Type = AttributeProto_AttributeType;
  if (typeof value === 'number') return { name, type: Type.INT, i: BigInt(value) };
  if (typeof value === 'string') return { name, type: Type.STRING, s: new TextEncoder().encode(value) };
  if ('float' in value) return { name, type: Type.FLOAT, f: value.float };
  if ('tensor' in value) return { name, type: Type.TENSOR, t: value.tensor };
  return { name, type: Type.INTS, ints: value.map(BigInt) };
}

/** Writes an ONNX model node by node, as an exporter would. Nothing is checked: tests write wrong models too. */
export class OnnxWriter {
  readonly graph: GraphProto = create(GraphProtoSchema, { name: 'test' });
  readonly #opset: number;

  constructor(opset = 13) {
    this.#opset = opset;
  }

  /** @param shape open dimensions by name */
  input(name: string, shape: readonly (number | string)[], type = FLOAT): this {
    const dim = shape.map((size) =>
      typeof size === 'number'
        ? ({ value: { case: 'dimValue', value: BigInt(size) } } as const)
        : ({ value: { case: 'dimParam', value: size } } as const),
    );
    const graph = create(GraphProtoSchema, {
      input: [{ name, type: { value: { case: 'tensorType', value: { elemType: type, shape: { dim } } } } }],
    });
    this.graph.input.push(...graph.input);
    return this;
  }

  output(...names: string[]): this {
    this.graph.output.push(...create(GraphProtoSchema, { output: names.map((name) => ({ name })) }).output);
    return this;
  }

  floats(name: string, dims: readonly number[], data: ArrayLike<number>): this {
    this.graph.initializer.push(floatTensor(name, dims, data));
    return this;
  }

  ints(name: string, data: readonly number[], dims: readonly number[] = [data.length]): this {
    this.graph.initializer.push(intTensor(name, dims, data));
    return this;
  }

  /** Integers of a type of up to 32 bits. */
  codes(name: string, dims: readonly number[], data: ArrayLike<number>, type: number): this {
    const all = Array.from(data);
    let rawData = Uint8Array.from(all);
    if (type === INT32) rawData = new Uint8Array(Int32Array.from(all).buffer);
    if (type === UINT4 || type === INT4) {
      const byte = (_: unknown, i: number) => (all[2 * i] & 15) | (((all[2 * i + 1] ?? 0) & 15) << 4);
      rawData = Uint8Array.from({ length: Math.ceil(all.length / 2) }, byte);
    }
    this.graph.initializer.push(create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: type, rawData }));
    return this;
  }

  /** @param indices of the elements that are not zero, counted through the whole tensor */
  sparse(name: string, dims: readonly number[], indices: readonly number[], data: ArrayLike<number>): this {
    const sparse = create(SparseTensorProtoSchema, {
      dims: dims.map(BigInt),
      values: floatTensor(name, [data.length], data),
      indices: intTensor('', [indices.length], indices),
    });
    this.graph.sparseInitializer.push(sparse);
    return this;
  }

  /** @param opType of another domain: with that before it. @param name default: the node has none */
  node(
    opType: string,
    input: readonly string[],
    output: readonly string[],
    attributes: Record<string, AttributeValue> = {},
    name = '',
  ): this {
    const graph = create(GraphProtoSchema, {
      node: [
        {
          opType: opType.split('.').at(-1),
          domain: opType.split('.').slice(0, -1).join('.'),
          name,
          input: [...input],
          output: [...output],
          attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
        },
      ],
    });
    this.graph.node.push(...graph.node);
    return this;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const model = create(ModelProtoSchema, {
      irVersion: 8n,
      producerName: 'thinfer test',
      graph: this.graph,
      opsetImport: [
        { domain: '', version: BigInt(this.#opset) },
        { domain: 'com.microsoft', version: 1n },
      ],
    });
    return toBinary(ModelProtoSchema, model);
  }
}
