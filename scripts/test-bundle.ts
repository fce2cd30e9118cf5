// The tests that need nothing but their own folder, bundled for a machine or root without anything else.
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './paths.js';
import { standalone } from './plugins.js';

/** Starts the harness as the tests do, which tells its parent the totals. */
const RUN = `import { fork } from 'node:child_process';
const names = process.argv.length > 2 ? process.argv.slice(2) : NAMES;
const child = fork(new URL('./harness.js', import.meta.url), names, { cwd: new URL('..', import.meta.url) });
let totals;
child.on('message', (message) => { totals = message; child.kill(); });
child.on('exit', () => {
  console.log(totals ? \`\${totals.passed} passed, \${totals.failed} failed, \${totals.skipped} skipped\` : 'no end of the tests');
  process.exit(totals && totals.failed === 0 && totals.passed > 0 ? 0 : 1);
});
`;

/** Names of the tests that a bundle holds. */
export const TESTS = readdirSync(join(root, 'test'))
  .filter((file) => file.endsWith('.test.ts') && !file.endsWith('.node.test.ts'))
  .map((file) => file.slice(0, -'.ts'.length));

export async function bundle(entryPoints: { in: string; out: string }[], outdir: string): Promise<void> {
  await build({ ...standalone, entryPoints, outdir, splitting: true, minifyWhitespace: true });
}

/** Imported by names that bundlers don't see. */
const PACKAGES = ['env-paths', 'is-safe-filename'].map((name) => `node_modules/${name}`);

/** Puts tests and what they read into a folder: `node test/run.js [name ...]` runs them. Dawn's binary is not among it. */
export async function bundleTests(out: string): Promise<void> {
  await bundle(
    [{ in: 'scripts/harness.ts', out: 'harness' }, ...TESTS.map((name) => ({ in: `test/${name}.ts`, out: name }))],
    join(out, 'test'),
  );
  writeFileSync(join(out, 'test/run.js'), `const NAMES = ${JSON.stringify(TESTS)};\n${RUN}`);
  for (const folder of ['models', 'data', 'test/data', ...PACKAGES])
    cpSync(join(root, folder), join(out, folder), { recursive: true });
  writeFileSync(join(out, 'package.json'), '{ "private": true, "type": "module" }\n');
  mkdirSync(join(out, 'node_modules/webgpu'), { recursive: true });
  for (const file of ['package.json', 'index.js', 'LICENSE.md']) {
    cpSync(join(root, 'node_modules/webgpu', file), join(out, 'node_modules/webgpu', file));
  }
}

/** Dawn's binary for Linux on x64, below the root and below a bundle. */
export const DAWN = 'node_modules/webgpu/dist/linux-x64/dawn.node';
