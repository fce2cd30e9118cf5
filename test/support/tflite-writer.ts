import { Builder } from 'flatbuffers';
import { BuiltinOperator, BuiltinOptions, TensorType } from '../../src/tflite/generated/tflite_generated.js';

/** A field of a table: its number by its place in a list. */
export type Field =
  | { offset: number }
  | { int8: number }
  | { int32: number; fallback?: number }
  | { float32: number }
  | undefined;

/** A table; fields in the schema's order, absent ones undefined. */
export function table(builder: Builder, fields: readonly Field[]): number {
  builder.startObject(fields.length);
  for (const [i, field] of fields.entries()) {
    if (!field) continue;
    if ('offset' in field) builder.addFieldOffset(i, field.offset, 0);
    else if ('int8' in field) builder.addFieldInt8(i, field.int8, 0);
    else if ('float32' in field) builder.addFieldFloat32(i, field.float32, 0);
    else builder.addFieldInt32(i, field.int32, field.fallback ?? 0);
  }
  return builder.endObject();
}

function vector(builder: Builder, bytes: number, count: number, add: (i: number) => void): { offset: number } {
  builder.startVector(bytes, count, bytes);
  for (let i = count - 1; i >= 0; i--) add(i);
  return { offset: builder.endVector() };
}

const ints = (builder: Builder, values: readonly number[]) =>
  vector(builder, 4, values.length, (i) => builder.addInt32(values[i]));
const floats = (builder: Builder, values: readonly number[]) =>
  vector(builder, 4, values.length, (i) => builder.addFloat32(values[i]));
const longs = (builder: Builder, values: readonly number[]) =>
  vector(builder, 8, values.length, (i) => builder.addInt64(BigInt(values[i])));
const offsets = (builder: Builder, values: readonly number[]) =>
  vector(builder, 4, values.length, (i) => builder.addOffset(values[i]));

/** An option of an operator: numbers are int32. */
export type OptionValue = number | boolean | { int8: number } | { float32: number } | { ints: readonly number[] };

export interface WrittenQuantization {
  scale: readonly number[];
  zeroPoint?: readonly number[];
  dimension?: number;
}

/** A level of a sparse tensor: dense of a size, or segments and indices of so many bits. */
export type WrittenLevel =
  | { size: number }
  | { segments: readonly number[]; indices: readonly number[]; bits?: 8 | 16 | 32 };

export interface WrittenTensor {
  shape: readonly number[];
  type?: TensorType;
  data?: ArrayBufferView;
  quantization?: WrittenQuantization;
  signature?: readonly number[];
  sparsity?: { traversal: readonly number[]; blockMap?: readonly number[]; levels: readonly WrittenLevel[] };
  isVariable?: boolean;
}

interface Operation {
  code: BuiltinOperator;
  inputs: number[];
  outputs: number[];
  type: BuiltinOptions;
  options: readonly (OptionValue | undefined)[];
}

const PLACEHOLDER = 127;

/** Versions only say how new an interpreter must be; these cover 8-bit codes and all options. */
const VERSIONS: Partial<Record<BuiltinOperator, number>> = {
  [BuiltinOperator.ADD]: 2,
  [BuiltinOperator.AVERAGE_POOL_2D]: 2,
  [BuiltinOperator.BATCH_TO_SPACE_ND]: 3,
  [BuiltinOperator.CONCATENATION]: 2,
  [BuiltinOperator.CONV_2D]: 5,
  [BuiltinOperator.DEPTHWISE_CONV_2D]: 5,
  [BuiltinOperator.DEQUANTIZE]: 3,
  [BuiltinOperator.EMBEDDING_LOOKUP]: 3,
  [BuiltinOperator.FULLY_CONNECTED]: 5,
  [BuiltinOperator.GATHER]: 2,
  [BuiltinOperator.LEAKY_RELU]: 2,
  [BuiltinOperator.LOGISTIC]: 2,
  [BuiltinOperator.MAX_POOL_2D]: 2,
  [BuiltinOperator.MEAN]: 2,
  [BuiltinOperator.MIRROR_PAD]: 2,
  [BuiltinOperator.MUL]: 2,
  [BuiltinOperator.PAD]: 2,
  [BuiltinOperator.QUANTIZE]: 2,
  [BuiltinOperator.RELU]: 2,
  [BuiltinOperator.RESIZE_BILINEAR]: 3,
  [BuiltinOperator.RESIZE_NEAREST_NEIGHBOR]: 3,
  [BuiltinOperator.SOFTMAX]: 2,
  [BuiltinOperator.STRIDED_SLICE]: 2,
  [BuiltinOperator.SUB]: 2,
  [BuiltinOperator.TANH]: 2,
  [BuiltinOperator.SPACE_TO_BATCH_ND]: 3,
  [BuiltinOperator.TRANSPOSE]: 2,
  [BuiltinOperator.TRANSPOSE_CONV]: 3,
};

/** Writes a TensorFlow Lite model, operator by operator. Nothing is checked: tests write wrong models too. */
export class TfliteWriter {
  readonly #tensors: (WrittenTensor & { name: string })[] = [];
  readonly #indices = new Map<string, number>();
  readonly #operations: Operation[] = [];
  readonly #inputs: number[] = [];
  readonly #outputs: number[] = [];
  tensor(name: string, tensor: WrittenTensor): this {
    this.#indices.set(name, this.#tensors.length);
    this.#tensors.push({ name, ...tensor });
    return this;
  }

  input(name: string, tensor: WrittenTensor): this {
    this.#inputs.push(this.#tensors.length);
    return this.tensor(name, tensor);
  }

  /** Says that a tensor is an output. */
  output(...names: string[]): this {
    this.#outputs.push(...names.map((name) => this.#indexOf(name)));
    return this;
  }

  floats(name: string, shape: readonly number[], data: ArrayLike<number>): this {
    return this.tensor(name, { shape, data: Float32Array.from(data) });
  }

  ints(name: string, data: readonly number[], shape: readonly number[] = [data.length]): this {
    return this.tensor(name, { shape, type: TensorType.INT32, data: Int32Array.from(data) });
  }

  /** @param inputs names of tensors, '' for one that is left out; @param options in the schema's order */
  operator(
    code: BuiltinOperator,
    inputs: readonly string[],
    outputs: readonly string[],
    type: BuiltinOptions = BuiltinOptions.NONE,
    options: readonly (OptionValue | undefined)[] = [],
  ): this {
    const indices = (names: readonly string[]) => names.map((name) => (name === '' ? -1 : this.#indexOf(name)));
    this.#operations.push({ code, inputs: indices(inputs), outputs: indices(outputs), type, options });
    return this;
  }

  #indexOf(name: string): number {
    const index = this.#indices.get(name);
    if (index === undefined) throw new Error(`no tensor ${name}`);
    return index;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const builder = new Builder(1024);
    // Buffer 0 is empty by convention: that of tensors that are not constant.
    const buffers = [table(builder, [undefined])];
    const tensors = this.#tensors.map((tensor) => {
      if (tensor.data) buffers.push(this.#buffer(builder, tensor.data));
      return this.#tensor(builder, tensor, tensor.data ? buffers.length - 1 : 0);
    });
    const codes = [...new Set(this.#operations.map(({ code }) => code))];
    const operators = this.#operations.map((operation) => this.#operator(builder, operation, codes));
    const codeTables = codes.map((code) =>
      table(builder, [
        { int8: Math.min(code, PLACEHOLDER) },
        undefined,
        { int32: VERSIONS[code] ?? 1, fallback: 1 },
        { int32: code },
      ]),
    );
    const graph = table(builder, [
      offsets(builder, tensors),
      ints(builder, this.#inputs),
      ints(builder, this.#outputs),
      offsets(builder, operators),
      { offset: builder.createString('main') },
    ]);
    const model = table(builder, [
      { int32: 3 },
      offsets(builder, codeTables),
      offsets(builder, [graph]),
      { offset: builder.createString('thinfer test') },
      offsets(builder, buffers),
    ]);
    builder.finish(model, 'TFL3');
    return builder.asUint8Array().slice();
  }

  /** A buffer of constants, aligned to 16 bytes as the schema asks. */
  #buffer(builder: Builder, { buffer, byteOffset, byteLength }: ArrayBufferView): number {
    // The length lies right before the data.
    builder.prep(16, byteLength);
    const offset = builder.createByteVector(new Uint8Array(buffer, byteOffset, byteLength));
    return table(builder, [{ offset }]);
  }

  #tensor(builder: Builder, tensor: WrittenTensor & { name: string }, buffer: number): number {
    const { shape, type = TensorType.FLOAT32, quantization, sparsity, signature } = tensor;
    const dims = ints(builder, shape);
    const name = { offset: builder.createString(tensor.name) };
    let codes: Field;
    if (quantization) {
      const { scale, zeroPoint = scale.map(() => 0), dimension = 0 } = quantization;
      const scales = floats(builder, scale);
      const zeros = longs(builder, zeroPoint);
      const fields = [undefined, undefined, scales, zeros, undefined, undefined, { int32: dimension }];
      codes = { offset: table(builder, fields) };
    }
    const sparse = sparsity && { offset: this.#sparsity(builder, sparsity) };
    const open = signature && ints(builder, signature);
    const variable = tensor.isVariable ? { int8: 1 } : undefined;
    return table(builder, [dims, { int8: type }, { int32: buffer }, name, codes, variable, sparse, open]);
  }

  #sparsity(builder: Builder, { traversal, blockMap, levels }: NonNullable<WrittenTensor['sparsity']>): number {
    const indices = (values: readonly number[], bits: 8 | 16 | 32): [Field, Field] => {
      const add = { 8: builder.addInt8, 16: builder.addInt16, 32: builder.addInt32 }[bits].bind(builder);
      const values_ = vector(builder, bits / 8, values.length, (i) => add(values[i]));
      return [{ int8: { 32: 1, 16: 2, 8: 3 }[bits] }, { offset: table(builder, [values_]) }];
    };
    const tables = levels.map((level) => {
      if ('size' in level) return table(builder, [{ int8: 0 }, { int32: level.size }]);
      const { segments, bits = 32 } = level;
      const [segmentsType, segmentsTable] = indices(segments, bits);
      const [indicesType, indicesTable] = indices(level.indices, bits);
      return table(builder, [{ int8: 1 }, undefined, segmentsType, segmentsTable, indicesType, indicesTable]);
    });
    const order = ints(builder, traversal);
    const blocks = blockMap && ints(builder, blockMap);
    return table(builder, [order, blocks, offsets(builder, tables)]);
  }

  #operator(builder: Builder, { code, inputs, outputs, type, options }: Operation, codes: BuiltinOperator[]): number {
    const fields = options.map((value): Field => {
      if (value === undefined) return undefined;
      if (typeof value === 'number') return { int32: value };
      if (typeof value === 'boolean') return { int8: Number(value) };
      return 'ints' in value ? ints(builder, value.ints) : value;
    });
    const optionsTable = type === BuiltinOptions.NONE ? undefined : { offset: table(builder, fields) };
    return table(builder, [
      { int32: codes.indexOf(code) },
      ints(builder, inputs),
      ints(builder, outputs),
      optionsTable && { int8: type },
      optionsTable,
    ]);
  }
}
