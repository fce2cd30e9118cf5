// npm run build: asm/ to WASM, src/ to ESM bundles and type declarations, web/ to a page, all in dist/.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { root } from './paths.js';
import { plugins, workerText } from './plugins.js';
import { buildWasm, wasmFile, wasmModules } from './wasm.js';
import { buildWeb } from './web.js';

const dist = join(root, 'dist');
const isMain = process.argv[1] === import.meta.filename;

/** What npm installs beside the package and the bundles import by name. */
export function externals(): string[] {
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return ['node:*', ...Object.keys({ ...dependencies, ...peerDependencies }).flatMap((name) => [name, `${name}/*`])];
}

const doors = [
  { in: 'src/index.ts', out: 'index' },
  { in: 'src/onnx/index.ts', out: 'onnx' },
  { in: 'src/onnx/write/index.ts', out: 'onnx-writer' },
  { in: 'src/advise/index.ts', out: 'advise' },
  { in: 'src/compress/index.ts', out: 'compress' },
  { in: 'src/report/index.ts', out: 'report' },
  { in: 'src/tflite/index.ts', out: 'tflite' },
  { in: 'src/safetensors/index.ts', out: 'safetensors' },
  { in: 'src/tfjs/index.ts', out: 'tfjs' },
  { in: 'src/tfjs/graph.ts', out: 'tfjs-graph' },
  { in: 'src/cli/index.ts', out: 'cli' },
].filter((door) => existsSync(join(root, door.in)));

async function bundle(): Promise<void> {
  const inlined = wasmModules.filter((module) => module.shipped && existsSync(wasmFile(module.name)));
  const options: BuildOptions = {
    absWorkingDir: root,
    entryPoints: [
      ...doors,
      // Entry points, so that each keeps its own file: a page loads the one it needs.
      ...inlined
        .filter(({ name }) => name !== 'probe')
        .map(({ name }) => ({ in: `thinfer:wasm/${name}`, out: `wasm/${name}` })),
    ],
    outdir: dist,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'neutral',
    // Of what is bundled because users should not have to install it: the plots of reports.
    mainFields: ['module', 'main'],
    target: 'es2022',
    external: externals(),
    chunkNames: 'chunks/[name]-[hash]',
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    plugins,
    metafile: true,
    write: false,
    logLevel: 'warning',
  };
  const { outputFiles, metafile } = await build(options);
  const written = new Set<string>();
  const put = (file: string, contents: Uint8Array) => {
    mkdirSync(dirname(file), { recursive: true });
    const aside = `${file}.${process.pid}.tmp`;
    writeFileSync(aside, contents);
    renameSync(aside, file);
    written.add(file);
  };
  const cli = join(dist, 'cli.js');
  for (const { path, contents, text } of outputFiles ?? []) {
    put(path, path === cli && !text.startsWith('#!') ? Buffer.from(`#!/usr/bin/env node\n${text}`) : contents);
  }
  for (const { path, contents } of await benchFiles()) put(path, contents);
  put(join(dist, 'wasm/worker.js'), Buffer.from(await workerText()));
  for (const { name } of inlined) {
    if (name !== 'probe') put(join(dist, 'wasm', `${name}.wasm`), readFileSync(wasmFile(name)));
  }
  if (written.has(cli)) chmodSync(cli, 0o755);
  for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    const path = join(dist, file);
    // The page is another build's.
    if (/\.(js|wasm|tmp)$/.test(file) && !/^web\b/.test(file) && !written.has(path)) rmSync(path, { force: true });
  }
  for (const door of doors) {
    const first = join(dist, `${door.out}.js`);
    const files = [first, ...staticImports(first, metafile?.outputs ?? {})];
    const bytes = files.reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0);
    console.log(`${relative(root, first)}: ${(bytes / 1000).toFixed(1)} kB gzip with its ${files.length - 1} chunks`);
  }
}

/** What pages of `thinfer bench` load, and a process of Node: everything in them but the large WASM modules. */
async function benchFiles() {
  const options: BuildOptions = {
    absWorkingDir: root,
    outdir: join(dist, 'bench'),
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    chunkNames: 'chunks/[name]-[hash]',
    legalComments: 'none',
    write: false,
    logLevel: 'warning',
    // They lie beside: dist/wasm/a.js is the same.
    plugins: [besideBench, ...plugins],
    external: ['node:*', 'webgpu', '/peers/*'],
    platform: 'neutral',
    mainFields: ['module', 'main'],
  };
  const names = ['browser', 'node', 'ceiling-worker', 'thinfer-onnx', 'thinfer-tflite', 'ort', 'litert'];
  const entryPoints = names.map((name) => ({ in: `src/bench/page/${name}.ts`, out: name }));
  // Apart: models should load what a page of theirs would, and nothing that the other one needs.
  const shapes = [{ in: 'bench/page.ts', out: 'shapes' }];
  const built = await Promise.all([entryPoints, shapes].map((entries) => build({ ...options, entryPoints: entries })));
  return built.flatMap(({ outputFiles }) => outputFiles ?? []);
}

/** Modules that are shipped are imported from where they lie, seen from dist/bench/chunks. */
const besideBench: Plugin = {
  name: 'beside-bench',
  setup(build) {
    build.onResolve({ filter: /^thinfer:wasm\/[abc]$/ }, ({ path }) => ({
      path: `../../wasm/${path.slice('thinfer:wasm/'.length)}.js`,
      external: true,
    }));
    // The page of bench/ with the peers of users.
    build.onResolve({ filter: /^\.\/modules\.js$/ }, ({ importer }) =>
      importer.includes('peers') ? { path: join(root, 'src/bench/page/peer-modules.ts') } : undefined,
    );
  },
};

function staticImports(file: string, outputs: NonNullable<Awaited<ReturnType<typeof build>>['metafile']>['outputs']) {
  const seen = new Set<string>();
  const visit = (path: string) => {
    for (const { path: imported, kind, external } of outputs[path]?.imports ?? []) {
      if (kind !== 'import-statement' || external || seen.has(imported)) continue;
      seen.add(imported);
      visit(imported);
    }
  };
  visit(relative(root, file));
  return [...seen].map((path) => join(root, path));
}

/** Declarations of what the public doors reach, in dist/types with the folders of the sources. */
function declarations(): void {
  const all = join(root, 'build/types');
  rmSync(all, { recursive: true, force: true });
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.types.json'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('build: no declarations, because types do not fit (see above)');
  const wanted = new Set<string>();
  const visit = (file: string) => {
    if (wanted.has(file)) return;
    wanted.add(file);
    for (const [, specifier] of readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?'(\.[^']*)'/g)) {
      visit(resolve(dirname(file), specifier.replace(/\.js$/, '.d.ts')));
    }
  };
  for (const door of doors) {
    if (door.out !== 'cli') visit(join(all, door.in.replace(/\.ts$/, '.d.ts')));
  }
  const types = join(dist, 'types');
  rmSync(types, { recursive: true, force: true });
  const gpuNames = new Set<string>();
  for (const file of wanted) {
    const target = join(types, relative(all, file));
    const text = readFileSync(file, 'utf8');
    for (const [name] of text.matchAll(/\bGPU[A-Z]?\w*/g)) gpuNames.add(name);
    mkdirSync(dirname(target), { recursive: true });
    const header = doors.some((door) => file.endsWith(door.in.replace(/\.ts$/, '.d.ts')))
      ? `/// <reference path="${relative(dirname(target), join(types, 'gpu.d.ts'))}" />\n`
      : '';
    writeFileSync(target, header + text);
  }
  writeFileSync(join(types, 'gpu.d.ts'), gpuInterfaces(gpuNames));
}

/** WebGPU interfaces that our declarations may name. Type aliases are not among them: those can't be merged. */
const GPU_INTERFACES = new Set(['GPU', 'GPUAdapter', 'GPUDevice', 'GPUBuffer', 'GPUComputePassEncoder']);

/**
 * Empty interfaces of WebGPU's names. They merge with those of lib.dom or @webgpu/types where there are any, and
 * stand in for them where not, so that users need neither.
 */
function gpuInterfaces(names: ReadonlySet<string>): string {
  const alias = [...names].find((name) => !GPU_INTERFACES.has(name));
  if (alias) throw new Error(`${alias} is in the public declarations: name only ${[...GPU_INTERFACES].join(', ')}`);
  return `${[...names]
    .sort()
    .map((name) => `interface ${name} {}`)
    .join('\n')}\n`;
}

/** @param types also the declarations; without them what is in dist/types stays as it was */
export async function buildAll({ types = true } = {}): Promise<void> {
  await buildWasm();
  await bundle();
  await buildWeb();
  if (types) declarations();
}

if (isMain) {
  await buildAll().catch((error: Error) => {
    console.error(error.message);
    process.exit(1);
  });
}
