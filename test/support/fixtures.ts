/** A file of the repository, by its path from the root: fetched in a browser, read from the working directory in Node. */
export async function readFixture(path: string): Promise<Uint8Array> {
  if (typeof process !== 'undefined' && process.versions?.node) {
    // Through a variable, so that bundlers for the browser do not look for it.
    const fs = 'node:fs/promises';
    const { readFile } = await import(fs);
    return new Uint8Array(await readFile(path));
  }
  const response = await fetch(`/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function gunzip(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Test images of Fashion-MNIST: `images` [count, 1, 28, 28] in 0..1, `labels` [count]. */
export async function readFashion(count: number, first = 0): Promise<{ images: Float32Array; labels: Uint8Array }> {
  const [pixels, labels] = await Promise.all(
    ['data/t10k-images-idx3-ubyte.gz', 'data/t10k-labels-idx1-ubyte.gz'].map(async (path) =>
      gunzip(await readFixture(path)),
    ),
  );
  const images = Float32Array.from(pixels.subarray(16 + first * 784, 16 + (first + count) * 784), (x) => x / 255);
  return { images, labels: labels.slice(8 + first, 8 + first + count) };
}

/** Files of a gzipped ustar archive. */
export async function untarGzip(bytes: Uint8Array): Promise<Map<string, Uint8Array>> {
  const archive = await gunzip(bytes);
  const text = (start: number, length: number) =>
    new TextDecoder().decode(archive.subarray(start, start + length)).replace(/\0.*/s, '');
  const files = new Map<string, Uint8Array>();
  for (let at = 0; text(at, 100) !== ''; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    files.set(text(at, 100), archive.subarray(at + 512, at + 512 + size));
    at += 512 + 512 * Math.ceil(size / 512);
  }
  return files;
}
