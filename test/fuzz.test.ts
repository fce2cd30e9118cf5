import { suite } from 'uvu';
import { type FuzzedFormat, Fuzzer } from './support/fuzz.js';
import { createRandom } from './support/random.js';
import { ReferenceBackend } from './support/reference-backend.js';

const fuzz = suite('changed files');

/** `npx tsx scripts/fuzz.ts` does tens of thousands. */
const CASES: Record<FuzzedFormat, number> = { onnx: 500, domain: 500, tflite: 500, safetensors: 1000 };

for (const [format, cases] of Object.entries(CASES) as [FuzzedFormat, number][]) {
  fuzz(`${cases} of ${format}: an answer or a typed error`, async () => {
    const fuzzer = await Fuzzer.create(format, new ReferenceBackend());
    for (let at = 0; at < cases; at++) await fuzzer.attempt(createRandom(1e6 + at));
  });
}

fuzz.run();
