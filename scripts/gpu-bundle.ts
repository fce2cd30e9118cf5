// npm run gpu-bundle: one folder that proves and times the WebGPU kernels on a Linux x64 machine that has a GPU driver
// and nothing else: no network, no Node, no Vulkan loader. Carry build/gpu-bundle there and run ./run.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, gzipSync } from 'node:zlib';
import { installPeers } from '../bench/install.js';
import { buildAll } from './build.js';
import { root } from './paths.js';
import { bundle, bundleTests, DAWN } from './test-bundle.js';

const MOST_BYTES = 60 * 2 ** 20;

const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'build/gpu-bundle') } } });
const out = values.out;
if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.error('gpu-bundle: packs the Node that runs it, so it must run on Linux x64');
  process.exit(1);
}

const RUN = `#!/bin/sh
# ./run                 tests, then the benchmark
# ./run test [file ...] tests only
# ./run bench [options] benchmark only; --help lists the options
set -e
cd "$(dirname "$0")"
for packed in bin/node.gz node_modules/webgpu/dist/linux-x64/dawn.node.gz; do
  if [ -f "$packed" ]; then gzip -d "$packed"; chmod +x "\${packed%.gz}"; fi
done
export LD_LIBRARY_PATH="$PWD/lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# The loader looks in the usual places for drivers; this one it does not know.
driver=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "$VK_ICD_FILENAMES$VK_DRIVER_FILES" ] && [ -f "$driver" ]; then export VK_DRIVER_FILES="$driver"; fi
# A GPU compiles fast enough for every case; a software adapter (TEST_ALL= ./run test) does not.
export TEST_ALL="\${TEST_ALL-true}"
what="\${1:-all}"
[ $# -gt 0 ] && shift
case "$what" in
  test) exec bin/node test/run.js "$@" ;;
  bench) exec bin/node --expose-gc bench/gpu.js "$@" ;;
  all) bin/node test/run.js && exec bin/node --expose-gc bench/gpu.js ;;
  *) echo "run: expected test, bench or nothing, got $what" >&2; exit 2 ;;
esac
`;

function loader(): string {
  const listed = execFileSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  const path = /libvulkan\.so\.1 \(libc6,x86-64\) => (\S+)/.exec(listed)?.[1];
  if (!path) throw new Error('gpu-bundle: no Vulkan loader here; install libvulkan1');
  return realpathSync(path);
}

function pack(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(`${to}.gz`, gzipSync(readFileSync(from), { level: constants.Z_BEST_COMPRESSION }));
}

function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

installPeers();
await buildAll({ types: false });
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'lib'), { recursive: true });
await bundleTests(out);
await bundle([{ in: 'bench/gpu-suite.ts', out: 'gpu' }], join(out, 'bench'));
cpSync(join(root, 'bench/gpu_torch.py'), join(out, 'bench/gpu_torch.py'));
pack(join(root, DAWN), join(out, DAWN));
pack(process.execPath, join(out, 'bin/node'));
cpSync(loader(), join(out, 'lib/libvulkan.so.1'));
writeFileSync(join(out, 'run'), RUN);
chmodSync(join(out, 'run'), 0o755);
const bytes = bytesIn(out);
console.log(`${out}: ${(bytes / 2 ** 20).toFixed(1)} MiB; carry it and run ./run`);
if (bytes > MOST_BYTES) {
  console.error(`gpu-bundle: over ${MOST_BYTES / 2 ** 20} MiB`);
  process.exit(1);
}
