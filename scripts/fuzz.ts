// Changes valid files and reads them: npx tsx scripts/fuzz.ts [--format onnx|domain|tflite|safetensors] [--runs N] [--seed N] [--case N]
// A case is an answer or a typed error, within two seconds; anything else is named with its number, for --case.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { root } from './paths.js';
import { plugins } from './plugins.js';

const { values: flags } = parseArgs({
  options: {
    format: { type: 'string' },
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    case: { type: 'string' },
  },
});

/** A case may take this long on a machine with other work. */
const LIMIT_MS = 2000;

// Sources import shaders and modules, which the bundler knows.
const outfile = join(root, 'build/fuzz.js');
await build({
  stdin: {
    contents: `export { Fuzzer } from './test/support/fuzz.ts'; export { createRandom } from './test/support/random.ts';
      export { ReferenceBackend } from './test/support/reference-backend.ts';`,
    resolveDir: root,
  },
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  packages: 'external',
  plugins,
  logLevel: 'warning',
});
const { Fuzzer, createRandom, ReferenceBackend } = await import(pathToFileURL(outfile).href);

const formats = flags.format ? [flags.format] : ['onnx', 'domain', 'tflite', 'safetensors'];
const first = flags.case === undefined ? 0 : Number(flags.case);
const past = flags.case === undefined ? Number(flags.runs) : first + 1;
for (const format of formats) {
  const fuzzer = await Fuzzer.create(format, new ReferenceBackend());
  const counts = { answer: 0, refused: 0, unwritten: 0 };
  let slowest = { ms: 0, at: 0 };
  for (let at = first; at < past; at++) {
    const start = performance.now();
    try {
      const result: 'answer' | 'refused' | undefined = await fuzzer.attempt(
        createRandom(Number(flags.seed) * 1e6 + at),
      );
      counts[result ?? 'unwritten']++;
    } catch (error) {
      console.error(`case ${at} of seed ${flags.seed}: ${(error as Error).message}`);
      process.exitCode = 1;
      if (flags.case === undefined) continue;
    }
    const ms = performance.now() - start;
    if (ms > slowest.ms) slowest = { ms, at };
    if (ms > LIMIT_MS) {
      console.error(`case ${at} of seed ${flags.seed} took ${ms.toFixed(0)} ms`);
      process.exitCode = 1;
    }
  }
  console.log(`${format}: ${JSON.stringify(counts)}, slowest ${slowest.ms.toFixed(0)} ms (case ${slowest.at})`);
}
