// npm run bench:gpu: bundles gpu-suite.ts and runs it in Node. Where there is no GPU, on the software adapter of an
// installed Chrome, which says nothing of speed.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { findBrowser, vulkanEnvironment } from '../scripts/browser.js';
import { root } from '../scripts/paths.js';
import { plugins } from '../scripts/plugins.js';
import { buildWasm } from '../scripts/wasm.js';
import { installPeers } from './install.js';

installPeers();
await buildWasm();
const outfile = join(root, 'build/bench/gpu.js');
await build({
  absWorkingDir: root,
  entryPoints: ['bench/gpu-suite.ts'],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  // The peers' packages go into the bundle, from bench/node_modules.
  external: ['webgpu'],
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  plugins,
  logLevel: 'error',
});
const software = process.argv.includes('--software');
const options = process.argv.slice(2).filter((option) => option !== '--software');
const env = { ...(software ? vulkanEnvironment(findBrowser()) : {}), ...process.env };
const { status } = spawnSync(process.execPath, [outfile, ...options], { cwd: root, env, stdio: 'inherit' });
process.exit(status ?? 1);
