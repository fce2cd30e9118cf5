// The page of web/ as static files in dist/web.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { SHIPPED } from '../web/models.js';
import { root } from './paths.js';
import { plugins } from './plugins.js';

const out = join(root, 'dist/web');

/** Test images that the page has: enough for a share of equal answers to mean something. */
const IMAGES = 100;
const PIXELS = 28 * 28;
/** Headers of IDX files of images and labels. */
const IMAGES_HEADER = 16;
const LABELS_HEADER = 8;

/** For each image a byte for its class and 784 for its pixels. */
function testImages(): Uint8Array {
  const read = (name: string) => gunzipSync(readFileSync(join(root, 'data', name)));
  const images = read('t10k-images-idx3-ubyte.gz').subarray(IMAGES_HEADER);
  const labels = read('t10k-labels-idx1-ubyte.gz').subarray(LABELS_HEADER);
  const packed = new Uint8Array(IMAGES * (PIXELS + 1));
  for (let i = 0; i < IMAGES; i++) {
    packed[i * (PIXELS + 1)] = labels[i];
    packed.set(images.subarray(i * PIXELS, (i + 1) * PIXELS), i * (PIXELS + 1) + 1);
  }
  return packed;
}

export async function buildWeb(): Promise<void> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['web/main.ts', 'web/worker.ts', 'web/style.css'],
    outdir: out,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: ['node:*', 'webgpu'],
    chunkNames: 'chunks/[name]-[hash]',
    minify: true,
    legalComments: 'eof',
    plugins,
    write: false,
    logLevel: 'warning',
  });
  rmSync(out, { recursive: true, force: true });
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
  for (const name of ['index.html', 'icon.svg', 'NOTICE.txt']) cpSync(join(root, 'web', name), join(out, name));
  for (const { file } of SHIPPED) {
    const folder = file.endsWith('.onnx') ? 'models' : 'test/data/tflite';
    cpSync(join(root, folder, file), join(out, 'models', file));
  }
  // Its licence, whose text some of what the page is made of wants to be given along.
  cpSync(join(root, 'node_modules/comlink/LICENSE'), join(out, 'apache-2.0.txt'));
  writeFileSync(join(out, 'images.bin'), testImages());
}
