// What the benchmarks compare with lives in bench/node_modules, and weighs on nobody who installs the library.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../scripts/paths.js';

const folder = join(root, 'bench');

/** True when every package that bench/package.json names is there. */
function installed(): boolean {
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  return Object.keys(dependencies).every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')));
}

/** @throws Error when npm fails */
export function installPeers(): void {
  if (installed()) return;
  console.log('bench: installing the peers (npm ci --prefix bench)');
  const { status } = spawnSync('npm', ['ci', '--prefix', folder, '--ignore-scripts'], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error('npm ci --prefix bench failed; --peers none runs without the peers');
}
