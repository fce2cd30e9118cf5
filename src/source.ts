import { describe, ThinferError } from './errors.js';

/** Where a file comes from: its bytes, a Blob or File, a URL, or (a string) a path in Node and a URL in a browser. */
export type FileSource = Uint8Array | ArrayBuffer | Blob | URL | string;

/**
 * The bytes of a file. Bytes that are given are not copied.
 * @param place the call that asks, for messages
 * @throws ThinferError `bad-argument` for what is no source, or one that can't be read
 */
export async function readSource(source: FileSource, place: string): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  try {
    if (typeof Blob !== 'undefined' && source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
    if (typeof source === 'string' || source instanceof URL) return await readAddress(source);
  } catch (cause) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: 'a file that can be read',
      got: `${String(source).slice(0, 200)} (${cause instanceof Error ? cause.message : String(cause)})`,
      cause,
    });
  }
  throw new ThinferError({
    code: 'bad-argument',
    place,
    expected: 'a Uint8Array, ArrayBuffer, Blob, URL or path',
    got: describe(source),
    hint: 'Pass the contents of the file, e.g. await (await fetch(url)).arrayBuffer().',
  });
}

async function readAddress(address: string | URL): Promise<Uint8Array> {
  const files = globalThis.process?.getBuiltinModule?.('node:fs/promises');
  const isPath = typeof address === 'string' && !/^(https?|data|blob|file):/.test(address);
  if (files && (isPath || String(address).startsWith('file:'))) {
    return new Uint8Array(await files.readFile(isPath ? address : new URL(address)));
  }
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}
