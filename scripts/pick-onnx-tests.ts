// Writes test/data/onnx-node.tar.gz: those of the ONNX project's node tests that thinfer runs and passes.
//   npx tsx scripts/pick-onnx-tests.ts FOLDER    (onnx/backend/test/data/node of the ONNX project, 1.12)
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { runNodeTest } from '../test/support/onnx-node.js';
import { ReferenceBackend } from '../test/support/reference-backend.js';
import { root } from './paths.js';

/** Larger tests say nothing that the others don't. */
const MOST_BYTES = 100_000;

const [folder] = process.argv.slice(2);
if (!folder) throw new Error('usage: npx tsx scripts/pick-onnx-tests.ts FOLDER');

const picked: string[] = [];
for (const name of readdirSync(folder).sort()) {
  let bytes = 0;
  const read = (file: string) => {
    const data = readFileSync(join(folder, name, file));
    bytes += data.length;
    return data;
  };
  let wrong: unknown;
  try {
    wrong = await runNodeTest(new ReferenceBackend(), read);
  } catch (error) {
    wrong = error instanceof Error ? error.message : error;
  }
  if (wrong === undefined && bytes <= MOST_BYTES) picked.push(name);
  else console.log(`left out: ${name}: ${String(wrong ?? `${bytes} bytes`).slice(0, 160)}`);
}
const flags = [
  '--format=ustar',
  '--sort=name',
  '--mtime=@0',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--mode=644',
];
const { stdout, status } = spawnSync(
  'tar',
  ['-C', folder, ...flags, '--exclude=test_data_set_[1-9]*', '-cf', '-', ...picked],
  {
    maxBuffer: 1 << 28,
  },
);
if (status !== 0) throw new Error('tar failed');
const archive = gzipSync(stdout, { level: 9 });
writeFileSync(join(root, 'test/data/onnx-node.tar.gz'), archive);
console.log(`${picked.length} tests, ${archive.length} bytes`);
