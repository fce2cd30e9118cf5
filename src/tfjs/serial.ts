import { describe, ThinferError } from '../errors.js';
import { validate, type Weights } from '../formats/index.js';

/** Names that tfjs leaves alone when it turns those of a model's configuration into Python's and back. */
const ARRAYS = {
  f32: Float32Array,
  i32: Int32Array,
  u32: Uint32Array,
  i16: Int16Array,
  u16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
} as const;
type ArrayName = keyof typeof ARRAYS;

/**
 * What packed weights are but for the numbers in their arrays: plain JSON. Arrays are [type, length], and lie one after
 * the other, each from a whole word on.
 */
export type WeightsLayout = Record<string, string | number | boolean | readonly [type: ArrayName, length: number]>;

const wordsOf = (bytes: number): number => Math.ceil(bytes / 4);

const nameOf = (array: ArrayBufferView): ArrayName =>
  (Object.keys(ARRAYS) as ArrayName[]).find((name) => array instanceof ARRAYS[name])!;

/** Words of all arrays. */
export function layoutWords(layout: WeightsLayout): number {
  let words = 0;
  for (const value of Object.values(layout)) {
    if (Array.isArray(value)) words += wordsOf(value[1] * ARRAYS[value[0] as ArrayName].BYTES_PER_ELEMENT);
  }
  return words;
}

/** Packed weights as JSON and words. */
export function writeWeights(weights: Weights): { layout: WeightsLayout; words: Int32Array } {
  const layout: WeightsLayout = {};
  const arrays: ArrayBufferView[] = [];
  for (const [field, value] of Object.entries(weights)) {
    if (ArrayBuffer.isView(value)) {
      layout[field] = [nameOf(value), (value as Uint8Array).length];
      arrays.push(value);
    } else if (value !== undefined) layout[field] = value as number;
  }
  const words = new Int32Array(layoutWords(layout));
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    new Uint8Array(words.buffer, 4 * at, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength));
    at += wordsOf(byteLength);
  }
  return { layout, words };
}

/**
 * The weights again, checked as if a stranger had written them.
 * @throws ThinferError `bad-weights`
 */
export function readWeights(layout: WeightsLayout, words: Int32Array, place: string): Weights {
  requireLayout(layout, place);
  const wanted = layoutWords(layout);
  if (words.length !== wanted) refuse(place, `${wanted} words`, String(words.length));
  const weights: Record<string, unknown> = {};
  let at = 0;
  for (const [field, value] of Object.entries(layout)) {
    if (!Array.isArray(value)) {
      weights[field] = value;
      continue;
    }
    const [type, length] = value as [ArrayName, number];
    const Type = ARRAYS[type];
    const bytes = length * Type.BYTES_PER_ELEMENT;
    const { buffer, byteOffset } = words;
    weights[field] = new Type(buffer.slice(byteOffset + 4 * at, byteOffset + 4 * at + bytes) as ArrayBuffer);
    at += wordsOf(bytes);
  }
  return validate(weights as unknown as Weights, place);
}

/** @throws ThinferError `bad-weights` unless it is one: before anything is made of it */
export function requireLayout(layout: unknown, place: string): asserts layout is WeightsLayout {
  if (typeof layout !== 'object' || layout === null || Array.isArray(layout)) {
    refuse(place, 'an object that says how the weights are packed', describe(layout));
  }
  for (const [field, value] of Object.entries(layout as object)) {
    if (!Array.isArray(value)) {
      if (['string', 'number', 'boolean'].includes(typeof value)) continue;
      refuse(`${place}.${field}`, 'a string, a number, a boolean or [type, length]', describe(value));
    }
    const [type, length] = value;
    if (typeof type !== 'string' || !Object.hasOwn(ARRAYS, type)) {
      refuse(`${place}.${field}[0]`, Object.keys(ARRAYS).join(', '), describe(type));
    }
    if (!Number.isInteger(length) || length < 0 || length > 2 ** 31) {
      refuse(`${place}.${field}[1]`, 'a length', describe(length));
    }
  }
}

function refuse(place: string, expected: string, got: string): never {
  throw new ThinferError({ code: 'bad-weights', place, expected, got });
}
