import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { ThinferError } from '../errors.js';

/** Labelled images of Fashion-MNIST (Xiao et al. 2017). */
export interface Images {
  count: number;
  /** [count, 784], 0..1 */
  pixels: Float32Array;
  /** [count], 0..9 */
  labels: Uint8Array;
}

const PIXELS = 28 * 28;

/** The folder of the package: the nearest one above this file with a package.json. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** A file of the repository: models and data are not part of the npm package. */
export async function readShipped(path: string): Promise<Uint8Array> {
  try {
    return await readFile(join(packageRoot(), path));
  } catch (cause) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'thinfer demo',
      expected: `the file ${path} of the repository`,
      got: 'none',
      hint: 'The demo needs the shipped models and images: run it in a clone of the repository.',
      cause,
    });
  }
}

/** The payload of an IDX file of unsigned bytes, whose header must announce exactly `dims` after the count. */
function idx(bytes: Uint8Array, dims: readonly number[], place: string): { count: number; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = 4 + 4 * (dims.length + 1);
  const size = dims.reduce((a, b) => a * b, 1);
  const sound =
    bytes.length >= header &&
    view.getUint32(0) === 0x0800 + dims.length + 1 &&
    dims.every((dim, i) => view.getUint32(8 + 4 * i) === dim);
  const count = sound ? view.getUint32(4) : 0;
  if (!sound || bytes.length !== header + count * size) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: `an IDX file of bytes [count${dims.map((dim) => `, ${dim}`).join('')}]`,
      got: `${bytes.length} bytes with another header or length`,
      hint: 'Restore the file with git checkout.',
    });
  }
  return { count, data: bytes.subarray(header) };
}

/** The first `limit` of the 10,000 test images. */
export async function loadTestImages(limit: number): Promise<Images> {
  const read = async (path: string, dims: number[]) => idx(gunzipSync(await readShipped(path)), dims, path);
  const images = await read('data/t10k-images-idx3-ubyte.gz', [28, 28]);
  const labels = await read('data/t10k-labels-idx1-ubyte.gz', []);
  const count = Math.min(limit, images.count, labels.count);
  const pixels = new Float32Array(count * PIXELS);
  for (let i = 0; i < pixels.length; i++) pixels[i] = images.data[i] / 255;
  return { count, pixels, labels: labels.data };
}

/** How many rows of `logits` [n, 10] have their largest value at the label. */
export function countCorrect(logits: Float32Array, labels: Uint8Array): number {
  let correct = 0;
  for (const [i, label] of labels.entries()) {
    const row = logits.subarray(i * 10, i * 10 + 10);
    if (row.indexOf(Math.max(...row)) === label) correct++;
  }
  return correct;
}
