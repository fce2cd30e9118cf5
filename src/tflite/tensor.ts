import { type CodeBits, readCode } from '../formats/bits.js';
import { badModel, Unsupported } from '../graph/refuse.js';
import { floatsFromBf16, floatsFromF16 } from '../half.js';
import { product } from '../plan/strides.js';
import { type TensorQuantization, type TfliteTensor, typeName } from './file.js';
import { TensorType } from './generated/tflite_generated.js';
import { placesOf, storedCount } from './sparse.js';

const { FLOAT32, FLOAT16, BFLOAT16, FLOAT64, INT4, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, BOOL } =
  TensorType;

/** Bits of an element. */
const BITS: Partial<Record<TensorType, number>> = {
  [FLOAT32]: 32,
  [FLOAT16]: 16,
  [BFLOAT16]: 16,
  [FLOAT64]: 64,
  [INT4]: 4,
  [INT8]: 8,
  [UINT8]: 8,
  [INT16]: 16,
  [UINT16]: 16,
  [INT32]: 32,
  [UINT32]: 32,
  [INT64]: 64,
  [BOOL]: 8,
};

export const FLOATS: readonly TensorType[] = [FLOAT32, FLOAT16, BFLOAT16, FLOAT64];
export const INTEGERS: readonly TensorType[] = [INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, BOOL, INT4];

/** Whether the elements are codes of numbers. */
export function isQuantized({ type, quantization }: TfliteTensor): boolean {
  return quantization !== undefined && [INT8, UINT8, INT16, INT4].includes(type);
}

/** The bytes in a buffer of their own, aligned. */
const copyOf = (data: Uint8Array): ArrayBuffer => new Uint8Array(data).buffer;

function elements(type: TensorType, data: Uint8Array): ArrayLike<number> | ArrayLike<bigint> {
  switch (type) {
    case FLOAT32:
      return new Float32Array(copyOf(data));
    case FLOAT64:
      return new Float64Array(copyOf(data));
    case FLOAT16:
      return floatsFromF16(new Uint16Array(copyOf(data)));
    case BFLOAT16:
      return floatsFromBf16(new Uint16Array(copyOf(data)));
    case INT16:
      return new Int16Array(copyOf(data));
    case UINT16:
      return new Uint16Array(copyOf(data));
    case INT32:
      return new Int32Array(copyOf(data));
    case UINT32:
      return new Uint32Array(copyOf(data));
    case INT64:
      return new BigInt64Array(copyOf(data));
    case INT8:
      return new Int8Array(data.buffer, data.byteOffset, data.length);
    default:
      return data;
  }
}

/** Signed codes of 4 bits, the first in the lower half of a byte. */
function nibbles(data: Uint8Array, count: number): Int8Array {
  const bits: CodeBits = 4;
  return Int8Array.from({ length: count }, (_, i) => (readCode(data, 0, i, bits) << 28) >> 28);
}

/** The elements that a constant stores: all of them, or, of a sparse one, those that are not left out. */
export function storedElements(tensor: TfliteTensor, place: string): ArrayLike<number> | ArrayLike<bigint> {
  const { type, shape, data = new Uint8Array(), sparsity } = tensor;
  const bits = BITS[type];
  if (bits === undefined) throw new Unsupported(`${place} is of type ${typeName(type)}`);
  const count = sparsity ? storedCount(sparsity, shape, place) : product(shape);
  const bytes = Math.ceil((count * bits) / 8);
  if (data.length !== bytes) {
    badModel(place, `${bytes} bytes for ${count} elements of ${typeName(type)}`, `${data.length} bytes`);
  }
  return type === INT4 ? nibbles(data, count) : elements(type, data);
}

/** All elements of a constant, row-major, zeros that are left out among them. */
export function allElements(
  tensor: TfliteTensor,
  place: string,
  claim: (count: number, place: string) => void,
): ArrayLike<number> | ArrayLike<bigint> {
  const count = product(tensor.shape);
  claim(count, place);
  const stored = storedElements(tensor, place);
  const { sparsity, shape } = tensor;
  if (!sparsity) return stored;
  const places = placesOf(sparsity, shape, place);
  const zero = tensor.quantization?.zeroPoint[0] ?? 0;
  const all = new Float32Array(count).fill(zero);
  for (let i = 0; i < places.length; i++) all[places[i]] = Number(stored[i]);
  return all;
}

/** The scale (or zero point) that each index along the tensor's quantised dimension has. */
export function alongDimension(values: readonly number[], size: number, place: string): readonly number[] {
  if (values.length === 1 || values.length === size) return values;
  return badModel(place, `1 or ${size} scales`, String(values.length));
}

/** What codes stand for, as f32. */
export function dequantize(
  codes: ArrayLike<number>,
  shape: readonly number[],
  { scale, zeroPoint, dimension }: TensorQuantization,
  place: string,
): Float32Array {
  const size = shape[dimension] ?? 1;
  const scales = alongDimension(scale, size, place);
  const zeros = alongDimension(zeroPoint, size, place);
  const inner = product(shape.slice(dimension + 1));
  return Float32Array.from({ length: codes.length }, (_, i) => {
    const at = scales.length === 1 ? 0 : Math.floor(i / inner) % size;
    return Math.fround(scales[at] * (codes[i] - (zeros[at] ?? zeros[0])));
  });
}
