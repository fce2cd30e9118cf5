// npm run bench:micro: bundles micro-suite.ts and runs it in Node, with relaxed SIMD where that needs a flag.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from '../scripts/paths.js';
import { plugins } from '../scripts/plugins.js';
import { buildWasm } from '../scripts/wasm.js';

await buildWasm();
const outfile = join(root, 'build/bench/micro.js');
await build({
  absWorkingDir: root,
  entryPoints: ['bench/micro-suite.ts'],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  packages: 'external',
  plugins,
  logLevel: 'error',
});
// Node 20 has relaxed SIMD behind a flag, later ones don't know the flag.
const flags = Number(process.versions.node.split('.')[0]) < 22 ? ['--experimental-wasm-relaxed-simd'] : [];
const { status } = spawnSync(process.execPath, [...flags, outfile, ...process.argv.slice(2)], { stdio: 'inherit' });
process.exit(status ?? 1);
