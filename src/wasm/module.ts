import { requireInteger, ThinferError } from '../errors.js';
import { decodeBase64 } from './base64.js';
import { controlBytes, instantiate } from './pool/control.js';
import { canShareMemory, Pool } from './pool/pool.js';
import { chooseModule, type Engine, type ModuleName, probeEngine } from './probe.js';

export interface WasmOptions {
  /** Force a module instead of the one that the probe chooses. */
  module?: ModuleName;
  /**
   * Folder that `a.wasm`, `b.wasm`, `c.wasm` and `worker.js` are served from; default: the copies inlined in the
   * package. A page whose content security policy has no `worker-src blob:` needs it for threads.
   */
  url?: string | URL;
  /** The module's bytes, when the caller has them. */
  bytes?: BufferSource;
  /** With `bytes` of a module whose dot instruction is spelled out: its kind. Used by the tests. */
  dot?: 'usdot' | 'sdot';
  /**
   * Threads that share the work, the calling one among them. Default: the cores, up to 8; 1 where memory can't be
   * shared (a page that is not cross-origin isolated) or workers don't start.
   */
  threads?: number;
}

const MOST_THREADS = 64;
const DEFAULT_MOST_THREADS = 8;

export interface LoadedModule {
  name: ModuleName;
  engine: Engine;
  memory: WebAssembly.Memory;
  /** First free byte of the memory. */
  heapBase: number;
  pool: Pool;
  /** Why there are fewer threads than were wanted. */
  note: string | undefined;
}

const inlined: Record<ModuleName, () => Promise<{ default: string }>> = {
  A: () => import('thinfer:wasm/a'),
  B: () => import('thinfer:wasm/b'),
  C: () => import('thinfer:wasm/c'),
};

async function bytesOf(name: ModuleName, { bytes, url }: WasmOptions): Promise<BufferSource> {
  if (bytes) return bytes;
  if (url === undefined) return decodeBase64((await inlined[name]()).default);
  const file = `${folderOf(url)}${name.toLowerCase()}.wasm`;
  const response = await fetch(file);
  if (!response.ok) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'createRuntime: wasm.url',
      expected: `a WASM module at ${file}`,
      got: `HTTP status ${response.status}`,
      hint: 'Copy dist/wasm/* of the package there, or leave wasm.url out to use the inlined copy.',
    });
  }
  return response.arrayBuffer();
}

const folderOf = (url: string | URL): string => String(url).replace(/\/?$/, '/');

/** Threads to use: what was asked for, or the cores. */
function threadsFor(asked: number | undefined): number {
  if (asked !== undefined) requireInteger(asked, 'createRuntime: wasm.threads', { min: 1, max: MOST_THREADS });
  const cores = globalThis.navigator?.hardwareConcurrency ?? coresOfNode();
  return asked ?? Math.min(cores, DEFAULT_MOST_THREADS);
}

/** Node 20 has no navigator. */
const coresOfNode = (): number => globalThis.process?.getBuiltinModule?.('node:os').availableParallelism() ?? 1;

/** The import of the memory as asc writes it, and as a shared memory is imported: flags, least and most pages. */
const OWN_MEMORY = [0x02, 0x0f, 0x01, 3, 0x65, 0x6e, 0x76, 6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2, 0, 1];
const SHARED_MEMORY = [0x02, 0x12, ...OWN_MEMORY.slice(2, -2), 3, 1, 0x80, 0x80, 4];
const MOST_PAGES = 65536;

/**
 * The same module over shared memory; undefined when its import is another. Kernels use no atomics, so that their code
 * is the same: only how the memory is imported differs, and the package holds each module once.
 */
export function shareMemory(bytes: BufferSource): Uint8Array<ArrayBuffer> | undefined {
  const own =
    bytes instanceof ArrayBuffer
      ? new Uint8Array(bytes)
      : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = own.findIndex((_, i) => i < 4096 && OWN_MEMORY.every((byte, j) => own[i + j] === byte));
  if (at < 0) return undefined;
  const shared = new Uint8Array(own.length + SHARED_MEMORY.length - OWN_MEMORY.length);
  shared.set(own.subarray(0, at));
  shared.set(SHARED_MEMORY, at);
  shared.set(own.subarray(at + OWN_MEMORY.length), at + SHARED_MEMORY.length);
  return shared;
}

/**
 * Loads the module that suits this engine, or the one forced.
 * @throws ThinferError `unsupported` when the engine cannot run it, or not exactly
 */
export async function loadModule(options: WasmOptions): Promise<LoadedModule> {
  const probed = probeEngine();
  const engine = options.dot ? { ...probed, dot: options.dot } : probed;
  const name = options.module ?? chooseModule(engine);
  const needs = name === 'C' ? 'SIMD128' : 'relaxed SIMD';
  if (!(name === 'C' ? engine.simd : engine.relaxedSimd)) {
    throw new ThinferError({
      code: 'unsupported',
      place: `WASM module ${name}`,
      expected: `an engine with ${needs}`,
      got: 'one without',
      hint: name === 'C' ? 'Use a browser of 2021 or later, or Node 16 or later.' : 'Let the probe choose the module.',
    });
  }
  const exact = { A: engine.dot !== undefined, B: engine.maddubs, C: true }[name];
  if (!exact) {
    throw new ThinferError({
      code: 'unsupported',
      place: `WASM module ${name}`,
      expected: `an engine whose ${name === 'A' ? '32' : '16'}-bit relaxed dot is exact for an unsigned 8-bit operand`,
      got: 'one that is not',
      hint: `Use module ${chooseModule(engine)}, which the probe would choose.`,
    });
  }
  const wanted = threadsFor(options.threads);
  const bytes = await bytesOf(name, options);
  const shared = wanted > 1 && canShareMemory() ? shareMemory(bytes) : undefined;
  const module = await WebAssembly.compile(shared ?? bytes);
  const memory = new WebAssembly.Memory({ initial: 2, maximum: MOST_PAGES, shared: shared !== undefined });
  const instance = instantiate(module, memory);
  const control = Math.ceil((instance.exports.heap_base as () => number)() / 64) * 64;
  const workers = shared ? wanted - 1 : 0;
  const url = options.url && `${folderOf(options.url)}worker.js`;
  const pool = await Pool.start({ module, memory, control }, instance, workers, { url });
  const { threads } = pool;
  const note =
    threads < wanted
      ? `WASM runs on ${threads} thread${threads > 1 ? 's' : ''}, not ${wanted}: ${shared ? pool.failure : 'memory cannot be shared (is the page cross-origin isolated?)'}.`
      : undefined;
  return { name, engine, memory, heapBase: control + controlBytes(workers), pool, note };
}
