import { describe, MAX_ELEMENTS, ThinferError } from '../errors.js';
import { floatsFromBf16, floatsFromF16 } from '../half.js';

/** The array that holds the elements of a tensor, by its type; types that JavaScript has no numbers of come as their bits. */
export interface ArrayByType {
  BOOL: Uint8Array;
  U8: Uint8Array;
  I8: Int8Array;
  F8_E5M2: Uint8Array;
  F8_E4M3: Uint8Array;
  F8_E8M0: Uint8Array;
  I16: Int16Array;
  U16: Uint16Array;
  F16: Uint16Array;
  BF16: Uint16Array;
  I32: Int32Array;
  U32: Uint32Array;
  F32: Float32Array;
  F64: Float64Array;
  I64: BigInt64Array;
  U64: BigUint64Array;
}

/** What the elements of a tensor are, by the names in the file. */
export type ElementType = keyof ArrayByType;

interface ArrayClass<T> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

const ARRAYS: { readonly [T in ElementType]: ArrayClass<ArrayByType[T]> } = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  F8_E8M0: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
};

/** The reference implementation's limit on the header, in bytes. */
const LARGEST_HEADER = 100_000_000;
const MOST_DIMENSIONS = 32;

function bad(place: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-model', place, expected, got, hint });
}

/** One tensor of a file. */
export class SafeTensor<T extends ElementType = ElementType> {
  readonly name: string;
  readonly type: T;
  readonly shape: readonly number[];
  /** Where its bytes lie in the file's, which are not copied. */
  readonly bytes: Uint8Array;

  constructor(name: string, type: T, shape: readonly number[], bytes: Uint8Array) {
    this.name = name;
    this.type = type;
    this.shape = shape;
    this.bytes = bytes;
  }

  /** Its elements, row-major: a view of the file's bytes where they are aligned, else a copy. */
  get data(): ArrayByType[T] {
    const Type = ARRAYS[this.type];
    const { buffer, byteOffset, byteLength } = this.bytes;
    const length = byteLength / Type.BYTES_PER_ELEMENT;
    if (byteOffset % Type.BYTES_PER_ELEMENT === 0) return new Type(buffer, byteOffset, length);
    return new Type(new Uint8Array(this.bytes).buffer, 0, length);
  }

  /**
   * Its elements as f32: a view for F32, rounded from F64, exact from the rest.
   * @throws ThinferError `unsupported` for types that are not floats of 16 bits or more
   */
  floats(): Float32Array {
    const { data } = this as SafeTensor;
    if (data instanceof Float32Array) return data;
    if (data instanceof Float64Array) return Float32Array.from(data);
    if (this.type === 'F16') return floatsFromF16(data as Uint16Array);
    if (this.type === 'BF16') return floatsFromBf16(data as Uint16Array);
    throw new ThinferError({
      code: 'unsupported',
      place: `tensor "${this.name}"`,
      expected: 'F32, F16, BF16 or F64',
      got: this.type,
    });
  }
}

/** What a safetensors file has: tensors by their names, in the order of their data, and the texts of `__metadata__`. */
export interface SafeTensors {
  readonly tensors: ReadonlyMap<string, SafeTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parseHeader(bytes: Uint8Array): { header: object; start: number } {
  if (bytes.length < 8) bad('header', '8 bytes of its length', `${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  const most = Math.min(LARGEST_HEADER, bytes.length - 8);
  if (length > BigInt(most)) {
    bad('header', `at most ${most} bytes`, String(length), 'Was the file cut short, or is it of another format?');
  }
  const start = 8 + Number(length);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, start));
    const header: unknown = JSON.parse(text);
    if (isObject(header)) return { header, start };
  } catch (cause) {
    bad('header', 'JSON in UTF-8', cause instanceof Error ? cause.message.slice(0, 200) : String(cause));
  }
  return bad('header', 'a JSON object', 'another value');
}

/** A field of a parsed object of its own, not of what it inherits. */
function own(object: object, field: string): unknown {
  return Object.hasOwn(object, field) ? (object as Record<string, unknown>)[field] : undefined;
}

function readSizes(value: unknown, most: number, place: string): number[] {
  if (!Array.isArray(value) || value.length > most) bad(place, `an array of at most ${most} numbers`, describe(value));
  return value.map((size, i) => {
    if (!Number.isSafeInteger(size) || size < 0) bad(`${place}[${i}]`, 'an integer from 0', describe(size));
    return size;
  });
}

interface Entry {
  name: string;
  type: ElementType;
  shape: number[];
  begin: number;
  end: number;
}

function readEntry(name: string, info: unknown): Entry {
  const place = `tensor ${describe(name)}`;
  if (!isObject(info)) bad(place, 'an object with dtype, shape and data_offsets', describe(info));
  const type = own(info, 'dtype');
  if (typeof type !== 'string') bad(`${place}.dtype`, 'a text', describe(type));
  if (!Object.hasOwn(ARRAYS, type)) {
    const expected = `one of ${Object.keys(ARRAYS).join(', ')}`;
    throw new ThinferError({ code: 'unsupported', place: `${place}.dtype`, expected, got: describe(type) });
  }
  const shape = readSizes(own(info, 'shape'), MOST_DIMENSIONS, `${place}.shape`);
  const offsets = readSizes(own(info, 'data_offsets'), 2, `${place}.data_offsets`);
  if (offsets.length !== 2) bad(`${place}.data_offsets`, 'two offsets', String(offsets.length));
  const [begin, end] = offsets;
  const count = shape.includes(0) ? 0 : shape.reduce((a, b) => a * b, 1);
  if (count > MAX_ELEMENTS * 4) bad(`${place}.shape`, `at most ${MAX_ELEMENTS * 4} elements`, String(count));
  const bytes = count * ARRAYS[type as ElementType].BYTES_PER_ELEMENT;
  if (end - begin !== bytes) {
    bad(`${place}.data_offsets`, `${bytes} bytes for ${type} [${shape.join(', ')}]`, `${begin}..${end}`);
  }
  return { name, type: type as ElementType, shape, begin, end };
}

function readMetadata(value: unknown): Map<string, string> {
  if (value === undefined || value === null) return new Map();
  if (!isObject(value)) return bad('__metadata__', 'an object of texts', describe(value));
  return new Map(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== 'string') bad(`__metadata__ ${describe(key)}`, 'a text', describe(text));
      return [key, text];
    }),
  );
}

/**
 * Reads a safetensors file: 8 bytes of length, little-endian; that many of JSON; the data of all tensors, one behind the
 * other without a gap (https://github.com/huggingface/safetensors, README, "Format"). Nothing is copied.
 * @throws ThinferError `bad-model` naming what is wrong, `unsupported` for an element type that is not known
 */
export function readSafetensors(bytes: Uint8Array | ArrayBuffer): SafeTensors {
  const file = bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : bytes;
  if (!(file instanceof Uint8Array)) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'readSafetensors: bytes',
      expected: 'a Uint8Array or ArrayBuffer',
      got: describe(bytes),
    });
  }
  const { header, start } = parseHeader(file);
  const entries = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, info]) => readEntry(name, info))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  const tensors = new Map<string, SafeTensor>();
  let at = 0;
  for (const { name, type, shape, begin, end } of entries) {
    if (begin !== at) {
      const hint = 'Tensors lie one behind the other, without gaps and without sharing bytes.';
      bad(`tensor ${describe(name)}.data_offsets`, `data from ${at} on`, String(begin), hint);
    }
    if (end > file.length - start) {
      bad(`tensor ${describe(name)}.data_offsets`, `an end up to ${file.length - start}`, String(end));
    }
    at = end;
    tensors.set(name, new SafeTensor(name, type, shape, file.subarray(start + begin, start + end)));
  }
  if (at !== file.length - start) bad('data', `${at} bytes, as tensors have`, String(file.length - start));
  return { tensors, metadata: readMetadata(own(header, '__metadata__')) };
}
