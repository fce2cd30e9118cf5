import { ThinferError } from '../errors.js';
import { decodeBase64 } from './base64.js';
import { chooseModule, type Engine, type ModuleName, probeEngine } from './probe.js';

export interface WasmOptions {
  /** Force a module instead of the one that the probe chooses. */
  module?: ModuleName;
  /** Folder that `a.wasm`, `b.wasm` and `c.wasm` are served from; default: the copy inlined in the package. */
  url?: string | URL;
  /** The module's bytes, when the caller has them. */
  bytes?: BufferSource;
  /** With `bytes` of a module whose dot instruction is spelled out: its kind. Used by the tests. */
  dot?: 'usdot' | 'sdot';
}

export interface LoadedModule {
  name: ModuleName;
  engine: Engine;
  exports: Record<string, CallableFunction>;
  memory: WebAssembly.Memory;
  heapBase: number;
}

const inlined: Record<ModuleName, () => Promise<{ default: string }>> = {
  A: () => import('thinfer:wasm/a'),
  B: () => import('thinfer:wasm/b'),
  C: () => import('thinfer:wasm/c'),
};

async function compile(name: ModuleName, { bytes, url }: WasmOptions): Promise<WebAssembly.Module> {
  if (bytes) return WebAssembly.compile(bytes);
  if (url === undefined) return WebAssembly.compile(decodeBase64((await inlined[name]()).default));
  const folder = String(url).replace(/\/?$/, '/');
  const file = `${folder}${name.toLowerCase()}.wasm`;
  const response = await fetch(file);
  if (!response.ok) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'createRuntime: wasm.url',
      expected: `a WASM module at ${file}`,
      got: `HTTP status ${response.status}`,
      hint: 'Copy dist/wasm/*.wasm of the package there, or leave wasm.url out to use the inlined copy.',
    });
  }
  return WebAssembly.compile(await response.arrayBuffer());
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
  const module = await compile(name, options);
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
  const { exports } = await WebAssembly.instantiate(module, {
    env: {
      memory,
      abort: () => {
        throw new Error('WASM abort');
      },
    },
  });
  const callable = exports as unknown as Record<string, CallableFunction>;
  return { name, engine, exports: callable, memory, heapBase: callable.heap_base() };
}
