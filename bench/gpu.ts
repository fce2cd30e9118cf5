// npm run bench:gpu: bundles gpu-suite.ts and runs it in Node. Where there is no GPU, on the software adapter of an
// installed Chrome, which says nothing of speed.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { findBrowser, vulkanEnvironment } from '../scripts/browser.js';
import { root } from '../scripts/paths.js';
import { standalone } from '../scripts/plugins.js';
import { buildWasm } from '../scripts/wasm.js';
import { installPeers } from './install.js';

installPeers();
await buildWasm();
const outfile = join(root, 'build/bench/gpu.js');
// The peers' packages go into the bundle, from bench/node_modules.
await build({ ...standalone, entryPoints: ['bench/gpu-suite.ts'], outfile });
const software = process.argv.includes('--software');
const options = process.argv.slice(2).filter((option) => option !== '--software');
const env = { ...(software ? vulkanEnvironment(findBrowser()) : {}), ...process.env };
const { status } = spawnSync(process.execPath, [outfile, ...options], { cwd: root, env, stdio: 'inherit' });
process.exit(status ?? 1);
