// npm run lavapipe: the WebGPU tests in Node on Mesa's software Vulkan, which has what SwiftShader lacks: shader-f16 and
// subgroup matrices. A Mesa that is new enough comes with Debian's unstable, so this makes a root of it, once, in
// build/lavapipe, and runs the tests in there. Needs root, debootstrap and a Debian mirror; Linux on x64.
//
// npm run lavapipe -- [--kernel NAME] [--all] [test ...]: kernels whose `backend: name` contains NAME, every case
// however slow, files by name (default: kernels.test, its rows on WebGPU).
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './paths.js';
import { bundleTests, DAWN } from './test-bundle.js';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    root: { type: 'string', default: join(root, 'build/lavapipe') },
    mirror: { type: 'string', default: 'http://deb.debian.org/debian' },
    suite: { type: 'string', default: 'sid' },
    kernel: { type: 'string', default: 'webgpu: ' },
    all: { type: 'boolean' },
  },
});

/** Below the root of the other system. */
const DRIVER = '/usr/share/vulkan/icd.d/lvp_icd.json';
const HOME = '/thinfer';
const NODE = '/usr/local/bin/node';

function refuse(why: string): never {
  console.error(`lavapipe: ${why}`);
  process.exit(1);
}

/** A minimal Debian with Mesa's drivers. */
function makeRoot(path: string): void {
  if (spawnSync('debootstrap', ['--version']).status !== 0) refuse('needs debootstrap: apt-get install debootstrap');
  const packages = 'ca-certificates,libstdc++6,libvulkan1,mesa-vulkan-drivers';
  console.log(`lavapipe: debootstrap ${flags.suite} into ${path}, some 900 MB, once`);
  execFileSync('debootstrap', ['--variant=minbase', `--include=${packages}`, flags.suite, path, flags.mirror], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

if (process.platform !== 'linux' || process.arch !== 'x64') refuse('runs on Linux x64 only');
if (process.getuid?.() !== 0) refuse('needs root, for debootstrap and chroot');
if (!existsSync(join(flags.root, DRIVER))) makeRoot(flags.root);

const home = join(flags.root, HOME);
rmSync(home, { recursive: true, force: true });
await bundleTests(home);
for (const [from, to] of [
  [join(root, DAWN), join(home, DAWN)],
  [process.execPath, join(flags.root, NODE)],
]) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

// In a mount namespace of its own, which takes its /proc along when it ends.
const enter = 'root=$1; shift; mount -t proc proc "$root/proc" && exec chroot "$root" "$@"';
const tests = positionals.length > 0 ? positionals : ['kernels.test'];
const { status } = spawnSync(
  'unshare',
  ['--mount', 'sh', '-c', enter, 'sh', flags.root, NODE, `${HOME}/test/run.js`, ...tests],
  {
    stdio: 'inherit',
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: '/tmp',
      VK_DRIVER_FILES: DRIVER,
      TEST_KERNEL: flags.kernel,
      TEST_ALL: flags.all ? 'true' : '',
    },
  },
);
process.exit(status ?? 1);
