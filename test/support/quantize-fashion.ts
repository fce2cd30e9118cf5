import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { createRuntime } from '../../src/runtime.js';
import { calibrate, quantizeModel } from './quantize-model.js';

/** Writes both int8 forms of a shipped model into a folder, calibrated on the last 500 test images. */
export async function quantizeFashion(root: string, name: string, folder: string): Promise<void> {
  const idx = gunzipSync(readFileSync(join(root, 'data/t10k-images-idx3-ubyte.gz')));
  const image = Float32Array.from(idx.subarray(-500 * 784), (byte) => byte / 255);
  const bytes = readFileSync(join(root, `models/${name}.onnx`));
  const runtime = await createRuntime({ backends: ['wasm'] });
  const ranges = await calibrate(runtime, bytes, [{ image }]);
  runtime.free();
  mkdirSync(folder, { recursive: true });
  for (const form of ['qdq', 'qoperator'] as const) {
    const file = join(folder, `${name}_${form}.onnx`);
    const written = quantizeModel(bytes, ranges, form);
    writeFileSync(file, written);
    console.log(`${file}: ${written.length} bytes (${bytes.length} in f32)`);
  }
}
