/** The array that holds the elements of a tensor, by its dtype. */
export interface DataByDType {
  float32: Float32Array;
  int32: Int32Array;
  int8: Int8Array;
  uint8: Uint8Array;
  /** Signs: 1 for +1. See `storedLength`. */
  bits: Uint32Array;
}

/** What the elements of a tensor are. */
export type DType = keyof DataByDType;

export type TensorData = DataByDType[DType];

/** What the elements of a graph's values may be: numbers, or 8-bit codes, which mean what the nodes say. */
export type ElementType = Exclude<DType, 'bits'>;

const ARRAYS: { [D in DType]: new (buffer: ArrayBuffer) => DataByDType[D] } = {
  float32: Float32Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bits: Uint32Array,
};

/** The dtype of a plain array: the one whose elements it holds. */
export function dtypeOf(data: unknown): DType | undefined {
  return (Object.keys(ARRAYS) as DType[]).find((dtype) => data instanceof ARRAYS[dtype]);
}

/** Bytes of `length` stored elements; of `bits` an element is a word of 32. */
export function byteLength(dtype: DType, length: number): number {
  return dtype === 'int8' || dtype === 'uint8' ? length : 4 * length;
}

/**
 * Elements that a tensor of this shape stores. Those of `bits` are words: the last dimension, the channels of a pixel,
 * takes ceil(n / 32) of them, channel c in bit c mod 32 of word floor(c / 32), as in XnorWeights. Unused bits are 0.
 */
export function storedLength(dtype: DType, shape: readonly number[]): number {
  const sizes = dtype === 'bits' ? [...shape.slice(0, -1), Math.ceil((shape.at(-1) ?? 1) / 32)] : shape;
  return sizes.reduce((product, size) => product * size, 1);
}

/** Bytes as an array of the dtype. */
export function asData<D extends DType>(dtype: D, bytes: ArrayBuffer): DataByDType[D] {
  return new ARRAYS[dtype](bytes);
}
