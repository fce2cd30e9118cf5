// Generates src/tflite/generated/tflite_generated.ts from src/tflite/tflite.fbs, and the same with objects that can be changed
// and written for the tests: npx tsx scripts/generate-tflite.ts
// Needs `flatc` on the PATH (Debian: flatbuffers-compiler).
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const schema = readFileSync(join(root, 'src/tflite/tflite.fbs'), 'utf8');
// The compiler declares type parameters that it does not use.
const head = `${schema.slice(0, schema.indexOf('\n\n'))}\n// @ts-nocheck\n`;

function generate(folder: string, ...flags: string[]): void {
  const args = ['--ts', '--ts-flat-files', ...flags, '-o', folder, 'src/tflite/tflite.fbs'];
  execFileSync('flatc', args, { cwd: root, stdio: 'inherit' });
  const file = join(root, folder, 'tflite_generated.ts');
  writeFileSync(file, head + readFileSync(file, 'utf8'));
}

generate('src/tflite/generated');
generate('test/support/generated', '--gen-object-api');
