import { MAX_ELEMENTS } from '../errors.js';
import { badModel, Unsupported } from '../graph/refuse.js';
import { floatsFromBf16, floatsFromF16 } from '../half.js';
import { PART_ARRAYS, type PartArray } from './domain.js';
import {
  type SparseTensorProto,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
} from './generated/onnx_pb.js';

export { badModel, Unsupported };

/** Integers of up to 8 bits, which are most likely codes of a quantisation: one an element, however few bits they had. */
export interface CodeTensor {
  kind: 'codes';
  dims: number[];
  dtype: 'uint8' | 'int8';
  bits: 2 | 4 | 8;
  data: Uint8Array | Int8Array;
}

/** A constant of the model: f32 values, integers (shapes, axes, flags), or codes. */
export type OnnxTensor =
  | { kind: 'floats'; dims: number[]; data: Float32Array; sparse?: true }
  | { kind: 'integers'; dims: number[]; data: number[]; type?: number }
  | CodeTensor;

/** Asks for room for `count` elements; throws where a model as small as this has no business with so many. */
export type Claim = (count: number, place: string) => void;

/** A protobuf int64 as a number in [min, max]. */
export function toInteger(value: bigint, place: string, min: number, max: number): number {
  if (value < BigInt(min) || value > BigInt(max)) badModel(place, `an integer in ${min}..${max}`, String(value));
  return Number(value);
}

/** Checked dimensions and their product. */
function readDims(dims: readonly bigint[], place: string): { dims: number[]; count: number } {
  if (dims.length > 8) badModel(`${place}.dims`, 'at most 8 dimensions', String(dims.length));
  const sizes = dims.map((dim, i) => toInteger(dim, `${place}.dims[${i}]`, 0, MAX_ELEMENTS));
  const count = sizes.reduce((a, b) => a * b, 1);
  if (count > MAX_ELEMENTS)
    badModel(`${place}.dims`, `at most ${MAX_ELEMENTS} elements`, `[${sizes.join(', ')}] = ${count}`);
  return { dims: sizes, count };
}

const { FLOAT, FLOAT16, BFLOAT16, DOUBLE, BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16 } = TensorProto_DataType;

/** Integers of few bits, by their number in newer versions of ONNX than the schema's: several share a byte. */
export const CODE_TYPES: Readonly<Record<number, Pick<CodeTensor, 'dtype' | 'bits'> | undefined>> = {
  [UINT8]: { dtype: 'uint8', bits: 8 },
  [INT8]: { dtype: 'int8', bits: 8 },
  21: { dtype: 'uint8', bits: 4 },
  22: { dtype: 'int8', bits: 4 },
  25: { dtype: 'uint8', bits: 2 },
  26: { dtype: 'int8', bits: 2 },
};

/** Types that become f32. */
export const FLOATS: readonly TensorProto_DataType[] = [FLOAT, FLOAT16, BFLOAT16, DOUBLE];

const ELEMENT_BYTES: Partial<Record<TensorProto_DataType, number>> = {
  [FLOAT]: 4,
  [FLOAT16]: 2,
  [BFLOAT16]: 2,
  [DOUBLE]: 8,
  [BOOL]: 1,
  [INT16]: 2,
  [INT32]: 4,
  [INT64]: 8,
  [UINT16]: 2,
};

export function typeName(type: number): string {
  const code = CODE_TYPES[type];
  return (
    TensorProto_DataType[type] ??
    (code ? `${code.dtype.replace('8', '')}${code.bits}`.toUpperCase() : `data type ${type}`)
  );
}

/** The list field in which a tensor of this type has its elements when they are not in raw_data. */
function listOf(tensor: TensorProto): ArrayLike<number | bigint> {
  switch (tensor.dataType as TensorProto_DataType) {
    case FLOAT:
      return tensor.floatData;
    case DOUBLE:
      return tensor.doubleData;
    case INT64:
      return tensor.int64Data;
    default:
      return tensor.int32Data;
  }
}

/** Elements of the types of floats as f32; those of 16 bits come as their bits. */
function toFloats(type: TensorProto_DataType, elements: ArrayLike<number>): Float32Array {
  if (type === FLOAT16) return floatsFromF16(elements);
  return type === BFLOAT16 ? floatsFromBf16(elements) : Float32Array.from(elements);
}

/**
 * The tensor's elements, after its dimensions were checked against the bytes that are there.
 * @throws ThinferError `bad-model`; Unsupported for other types than floats, integers and truth values, and for data
 * in other files
 */
export function readTensor(tensor: TensorProto, place: string, claim: Claim): OnnxTensor {
  const { dims, count } = readDims(tensor.dims, place);
  const type = tensor.dataType as TensorProto_DataType;
  const code = CODE_TYPES[type];
  const elementBytes = code ? code.bits / 8 : ELEMENT_BYTES[type];
  if (tensor.dataLocation === TensorProto_DataLocation.EXTERNAL || tensor.externalData.length > 0) {
    throw new Unsupported(`${place} has its data in another file`);
  }
  if (elementBytes === undefined) throw new Unsupported(`${place} is of type ${typeName(type)}`);
  const raw = tensor.rawData;
  const list = listOf(tensor);
  if (raw.length > 0 || list.length === 0) {
    const bytes = Math.ceil(count * elementBytes);
    if (raw.length !== bytes)
      badModel(`${place}.raw_data`, `${bytes} bytes for [${dims.join(', ')}]`, String(raw.length));
  } else if (list.length !== (code ? Math.ceil(count * elementBytes) : count)) {
    badModel(place, `${count} elements for [${dims.join(', ')}]`, String(list.length));
  }
  claim(count, place);
  const fromRaw = raw.length > 0 || count === 0;
  if (code) return { kind: 'codes', dims, ...code, data: toCodes(code, count, fromRaw ? raw : (list as number[])) };
  if (FLOATS.includes(type)) {
    const data = toFloats(type, (fromRaw ? rawElements(raw, type) : list) as ArrayLike<number>);
    return { kind: 'floats', dims, data };
  }
  const elements: ArrayLike<number | bigint> = fromRaw ? rawElements(raw, type) : list;
  const limit = Number.MAX_SAFE_INTEGER;
  const data = Array.from(elements, (element, i) => toInteger(BigInt(element), `${place}[${i}]`, -limit, limit));
  return { kind: 'integers', dims, data, type };
}

/** Codes by the bytes that hold them, the first in the lowest bits. */
function toCodes({ dtype, bits }: Pick<CodeTensor, 'dtype' | 'bits'>, count: number, bytes: ArrayLike<number>) {
  const codes = dtype === 'uint8' ? new Uint8Array(count) : new Int8Array(count);
  if (bits === 8) {
    codes.set(bytes);
    return codes;
  }
  const aByte = 8 / bits;
  const spare = 32 - bits;
  for (let i = 0; i < count; i++) {
    const high = (bytes[Math.floor(i / aByte)] >> ((i % aByte) * bits)) << spare;
    codes[i] = dtype === 'uint8' ? high >>> spare : high >> spare;
  }
  return codes;
}

/** The bytes in a buffer of their own, aligned. Not `slice`: a Node Buffer's shares its memory. */
function copyOf(raw: Uint8Array): ArrayBuffer {
  return new Uint8Array(raw).buffer;
}

function rawElements(raw: Uint8Array, type: TensorProto_DataType): ArrayLike<number> | ArrayLike<bigint> {
  const buffer = copyOf(raw);
  switch (type) {
    case FLOAT:
      return new Float32Array(buffer);
    case DOUBLE:
      return new Float64Array(buffer);
    case INT16:
      return new Int16Array(buffer);
    case INT32:
      return new Int32Array(buffer);
    case INT64:
      return new BigInt64Array(buffer);
    default:
      return (ELEMENT_BYTES[type] ?? 1) === 2 ? new Uint16Array(buffer) : new Uint8Array(buffer);
  }
}

/** f32 values with their zeros left out, written in. */
export function readSparse(sparse: SparseTensorProto, place: string, claim: Claim): OnnxTensor {
  const { dims, count } = readDims(sparse.dims, place);
  if (!sparse.values || !sparse.indices) badModel(place, 'values and indices', 'a tensor without');
  const values = readTensor(sparse.values, `${place}.values`, claim);
  const indices = readTensor(sparse.indices, `${place}.indices`, claim);
  if (values.kind !== 'floats') throw new Unsupported(`${place} has values that are not f32`);
  if (indices.kind !== 'integers') badModel(`${place}.indices`, 'integers', 'floats');
  const nnz = values.data.length;
  const linear = indices.dims.length === 1;
  const perEntry = linear ? 1 : dims.length;
  if (indices.data.length !== nnz * perEntry) {
    badModel(`${place}.indices`, `${nnz * perEntry} indices for ${nnz} values`, String(indices.data.length));
  }
  const offsets = Array.from({ length: nnz }, (_, entry) => {
    const index = indices.data.slice(entry * perEntry, (entry + 1) * perEntry);
    const limits = linear ? [count] : dims;
    return index.reduce((offset, i, axis) => {
      if (i < 0 || i >= limits[axis]) badModel(`${place}.indices[${entry}]`, `0..${limits[axis] - 1}`, String(i));
      return offset * limits[axis] + i;
    }, 0);
  });
  claim(count, place);
  const data = new Float32Array(count);
  for (const [entry, offset] of offsets.entries()) data[offset] = values.data[entry];
  return { kind: 'floats', dims, data, sparse: true };
}

/**
 * The elements of a tensor as they are, in an array of their type, for operators of our own domain.
 * @throws ThinferError `bad-model` for another type than one of ours, and bytes that do not fit the dimensions
 */
export function readElements(tensor: TensorProto, place: string, claim: Claim): PartArray {
  const { dims, count } = readDims(tensor.dims, place);
  const Type = PART_ARRAYS[tensor.dataType as keyof typeof PART_ARRAYS];
  if (!Type) badModel(place, 'a type of typed arrays', typeName(tensor.dataType));
  const { rawData: raw } = tensor;
  const list = listOf(tensor) as ArrayLike<number>;
  if (raw.length === 0 && list.length > 0) {
    if (list.length !== count) badModel(place, `${count} elements for [${dims.join(', ')}]`, String(list.length));
    claim(count, place);
    return Type.from(list);
  }
  const bytes = count * Type.BYTES_PER_ELEMENT;
  if (raw.length !== bytes)
    badModel(`${place}.raw_data`, `${bytes} bytes for [${dims.join(', ')}]`, String(raw.length));
  claim(count, place);
  return new Type(copyOf(raw));
}
