// Compiles asm/ to WASM modules: one source, the differences chosen by compile-time constants.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { root } from './paths.js';

/** One WASM file made from asm/. */
export interface WasmModule {
  name: string;
  entry: string;
  /** Shipped in dist/; the others are for tests. */
  shipped: boolean;
  args: string[];
}

const RELAXED = ['--enable', 'simd,relaxed-simd'];
const PLAIN = ['--enable', 'simd'];
const kernels = (name: string, shipped: boolean, features: string[], MODULE: number, EMULATE_DOT: number) => ({
  name,
  entry: 'asm/index.ts',
  shipped,
  // The host makes the memory; static data must fit its first page.
  args: [
    ...features,
    ...['--use', `MODULE=${MODULE}`, '--use', `EMULATE_DOT=${EMULATE_DOT}`],
    ...['--importMemory', '--noExportMemory', '--initialMemory', '1'],
  ],
});

/**
 * a: relaxed SIMD with a fast dot instruction; b: relaxed SIMD without it; c: plain SIMD128.
 * a-usdot and a-sdot are `a` with the dot instruction emulated exactly as x64 VNNI and ARM DOTPROD do it, so
 * that both are tested on every machine.
 */
export const wasmModules: readonly WasmModule[] = [
  kernels('a', true, RELAXED, 0, 0),
  kernels('b', true, RELAXED, 1, 0),
  kernels('c', true, PLAIN, 2, 0),
  kernels('a-usdot', false, RELAXED, 0, 1),
  kernels('a-sdot', false, RELAXED, 0, 2),
  {
    name: 'unruly',
    entry: 'asm/unruly.ts',
    shipped: false,
    args: ['--enable', 'threads', '--importMemory', '--noExportMemory', '--initialMemory', '1'],
  },
  {
    name: 'ceilings',
    entry: 'asm/ceilings.ts',
    shipped: false,
    args: [...PLAIN, '--use', 'RELAXED=0'],
  },
  {
    name: 'ceilings-relaxed',
    entry: 'asm/ceilings.ts',
    shipped: false,
    args: [...RELAXED, '--use', 'RELAXED=1'],
  },
  {
    name: 'probe',
    entry: 'asm/probe.ts',
    shipped: true,
    args: [...RELAXED, '--initialMemory', '1', '--noExportMemory'],
  },
];

const OPTIMIZE = [
  ...['--runtime', 'stub', '--noAssert', '-O3', '--shrinkLevel', '0', '--converge'],
  // AS201 warns of usize that a 64-bit memory would widen, AS112 of v128 that would cross to JavaScript: the
  // memory is 32-bit, and what crosses are pointers and sizes.
  ...['--disableWarning', '201', '--disableWarning', '112'],
];

const outDir = join(root, 'build/wasm');
const compiler = join(root, 'node_modules/assemblyscript/bin/asc.js');
const execute = promisify(execFile);

/** Where the compiled module lies. */
export const wasmFile = (name: string): string => join(outDir, `${name}.wasm`);

function sources(): string[] {
  return readdirSync(join(root, 'asm'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('variants.ts'))
    .sort()
    .map((file) => join(root, 'asm', file));
}

/** Compiles one module unless the same sources and arguments made it already. */
async function compile(module: WasmModule, sourceHash: string): Promise<string> {
  const args = [module.entry, ...OPTIMIZE, ...module.args];
  const key = createHash('sha256').update(sourceHash).update(args.join('\n')).digest('hex');
  const keyFile = join(outDir, `${module.name}.key`);
  const file = wasmFile(module.name);
  if (existsSync(file) && existsSync(keyFile) && readFileSync(keyFile, 'utf8') === key) return 'unchanged';
  // Written aside and renamed, so that two builds at once do not read half a file.
  const aside = join(outDir, `${module.name}.${process.pid}.tmp.wasm`);
  try {
    const { stderr } = await execute(process.execPath, [compiler, ...args, '--noColors', '-o', aside], { cwd: root });
    if (stderr.trim()) console.error(stderr.trim());
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`asc failed on module ${module.name} (${module.entry}):\n${stdout}${stderr}`);
  }
  renameSync(aside, file);
  writeFileSync(keyFile, key);
  return `${readFileSync(file).length} bytes`;
}

/** Compiles every module, as many at once as there are cores. */
export async function buildWasm(): Promise<void> {
  mkdirSync(outDir, { recursive: true });
  const hash = createHash('sha256').update(
    readFileSync(join(dirname(compiler), '../package.json'), 'utf8').match(/"version": "(.*)"/)?.[1] ?? '',
  );
  for (const file of sources()) hash.update(file.slice(root.length)).update('\0').update(readFileSync(file));
  const sourceHash = hash.digest('hex');
  const waiting = wasmModules.filter((module) => existsSync(join(root, module.entry)));
  const done: string[] = [];
  const work = async () => {
    for (let module = waiting.shift(); module; module = waiting.shift()) {
      done.push(`${module.name} ${await compile(module, sourceHash)}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), waiting.length) }, work));
  console.log(`wasm: ${done.sort().join(', ')}`);
}
