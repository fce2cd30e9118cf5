import type { ArrayByType, ElementType } from '../../src/safetensors/index.js';

/** One tensor to write. */
export interface TensorToWrite<T extends ElementType = ElementType> {
  type: T;
  shape: readonly number[];
  data: ArrayByType[T];
}

/** A file of a length, a header (any text) and data. */
export function safetensorsFile(header: string, data: Uint8Array, padding = 8): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const length = Math.ceil(text.length / padding) * padding;
  const file = new Uint8Array(8 + length + data.length).fill(32);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(text, 8);
  file.set(data, 8 + length);
  return file;
}

/**
 * A safetensors file of these tensors, in this order.
 * @param padding the header's length becomes a multiple of it: 8 aligns the data, as writers do
 */
export function writeSafetensors(
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata?: Readonly<Record<string, string>>,
  padding = 8,
): Uint8Array<ArrayBuffer> {
  const entries = new Map<string, unknown>(metadata ? [['__metadata__', metadata]] : []);
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const [name, { type, shape, data }] of Object.entries(tensors)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    entries.set(name, { dtype: type, shape, data_offsets: [at, at + bytes.length] });
    parts.push(bytes);
    at += bytes.length;
  }
  const body = new Uint8Array(at);
  let to = 0;
  for (const part of parts) {
    body.set(part, to);
    to += part.length;
  }
  // Entry by entry: an object literal would lose a tensor that is called __proto__.
  const fields = [...entries].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return safetensorsFile(`{${fields.join(',')}}`, body, padding);
}
