// Generates src/tflite/generated/tflite_generated.ts from src/tflite/tflite.fbs: npx tsx scripts/generate-tflite.ts
// Needs `flatc` on the PATH (Debian: flatbuffers-compiler).
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

execFileSync('flatc', ['--ts', '--ts-flat-files', '-o', 'src/tflite/generated', 'src/tflite/tflite.fbs'], {
  cwd: root,
  stdio: 'inherit',
});

const file = join(root, 'src/tflite/generated/tflite_generated.ts');
const schema = readFileSync(join(root, 'src/tflite/tflite.fbs'), 'utf8');
// The compiler declares type parameters that it does not use.
const head = `${schema.slice(0, schema.indexOf('\n\n'))}\n// @ts-nocheck\n`;
writeFileSync(file, head + readFileSync(file, 'utf8'));
