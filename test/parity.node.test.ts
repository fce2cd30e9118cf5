// The shipped models against onnxruntime-web, on the first 1,000 test images. Node only: onnxruntime-web's WASM would
// need more rights than the page of the browser tests grants.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import * as ort from 'onnxruntime-web';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadOnnx } from '../src/onnx/index.js';
import { createRuntime } from '../src/runtime.js';

const IMAGES = 1000;
const BATCH = 100;

const root = process.cwd();
const parity = suite('parity with onnxruntime-web');

function testImages(): Float32Array {
  const idx = gunzipSync(readFileSync(join(root, 'data/t10k-images-idx3-ubyte.gz')));
  return Float32Array.from(idx.subarray(16, 16 + IMAGES * 784), (byte) => byte / 255);
}

const images = testImages();
ort.env.wasm.numThreads = 1;

for (const name of ['fashion_float', 'fashion_pruned90', 'fashion_student']) {
  parity(name, async () => {
    const bytes = readFileSync(join(root, `models/${name}.onnx`));
    const session = await ort.InferenceSession.create(bytes);
    const runtime = await createRuntime({ backends: ['wasm'] });
    const model = await loadOnnx(runtime, bytes);
    let largest = 0;
    let magnitude = 0;
    for (let first = 0; first < IMAGES; first += BATCH) {
      const image = images.subarray(first * 784, (first + BATCH) * 784);
      const { logits } = await session.run({ image: new ort.Tensor('float32', image, [BATCH, 1, 28, 28]) });
      const ours = (await model.run({ image })).logits;
      assert.equal(ours.shape, [BATCH, 10]);
      const theirs = logits.data as Float32Array;
      assert.is(theirs.length, ours.data.length);
      for (const [i, value] of theirs.entries()) {
        const difference = Math.abs(value - ours.data[i]);
        // A NaN on either side must not pass for agreement.
        largest = difference <= largest ? largest : difference;
        magnitude = Math.max(magnitude, Math.abs(value));
      }
    }
    console.log(
      `${name}: largest difference of a logit ${largest.toExponential(2)}, largest logit ${magnitude.toFixed(1)}`,
    );
    // Both sum in f32: eight layers whose sums differ by some ulps of the largest magnitudes.
    assert.ok(largest <= magnitude * 1e-5, `${largest} over ${IMAGES} images`);
    model.free();
    runtime.free();
    await session.release();
  });
}

parity.run();
