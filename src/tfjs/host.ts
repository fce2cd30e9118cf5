import * as tf from '@tensorflow/tfjs-core';
import { describe, ThinferError } from '../errors.js';
import type { Layer } from '../layers/layer.js';
import { createRuntime, type Runtime } from '../runtime.js';
import type { WasmOptions } from '../wasm/module.js';
import { CpuHost, type TfjsCpu } from './cpu.js';
import { type TfjsWasm, WasmHost } from './wasm.js';
import { type TfjsWebgpu, WebgpuHost } from './webgpu.js';

/** How our kernels get at the tensors of one of tfjs's backends. */
export interface Host {
  /** tfjs's backend, and its name. */
  readonly backend: object;
  readonly name: string;
  readonly runtime: Runtime;
  /**
   * Runs a layer before it returns.
   * @param shape of x as the layer takes it
   * @param outputShape as tfjs is to see it
   * @returns undefined where it can't be done now (see Layer.runNow)
   */
  run(
    layer: Layer,
    x: tf.TensorInfo,
    shape: readonly number[],
    outputShape: readonly number[],
  ): tf.TensorInfo | undefined;
  /** A copy of the elements; undefined where only the GPU has them. */
  read(dataId: tf.DataId): Float32Array | undefined;
  /** Submits what tfjs has encoded: before anything else is done on the same device. */
  flush(): void;
  /** Leaves tfjs's backend as it was. */
  close(): void;
}

interface Entry {
  opening: Promise<Host>;
  host?: Host;
  users: number;
}

const entries = new WeakMap<object, Entry>();

/**
 * The host of the backend that tfjs uses now, made for its first user; each gives it back by `releaseHost`.
 * @param wasm counts for the first
 * @throws ThinferError `unsupported` for other backends than wasm, webgpu and cpu
 */
export async function acquireHost(wasm?: WasmOptions): Promise<Host> {
  const { backend, backendName } = tf.engine();
  let entry = entries.get(backend);
  if (!entry) {
    entry = { opening: open(backendName, backend, wasm), users: 0 };
    entries.set(backend, entry);
  }
  entry.users++;
  try {
    entry.host = await entry.opening;
    return entry.host;
  } catch (error) {
    entries.delete(backend);
    throw error;
  }
}

/** One more user of a host that is open. */
export function retainHost(host: Host): void {
  entries.get(host.backend)!.users++;
}

/** The last one to give it back closes it. */
export function releaseHost(host: Host): void {
  const entry = entries.get(host.backend);
  if (!entry || --entry.users > 0) return;
  entries.delete(host.backend);
  host.close();
}

/** The host of a backend, if there is one now. */
export const hostNow = (backend: object): Host | undefined => entries.get(backend)?.host;

async function open(name: string, backend: object, wasm: WasmOptions | undefined): Promise<Host> {
  // Layers are timed when `accelerate` says so: nothing goes on in the background while tfjs runs.
  switch (name) {
    case 'wasm':
      return new WasmHost(backend as TfjsWasm, await createRuntime({ backends: ['wasm'], wasm, tune: 'off' }));
    case 'cpu':
      return new CpuHost(backend as TfjsCpu, await createRuntime({ backends: ['wasm'], wasm, tune: 'off' }));
    case 'webgpu': {
      const { device } = backend as TfjsWebgpu;
      return new WebgpuHost(
        backend as TfjsWebgpu,
        await createRuntime({ backends: ['webgpu'], gpu: device, tune: 'off' }),
      );
    }
    default:
      throw new ThinferError({
        code: 'unsupported',
        place: 'tfjs backend',
        expected: 'wasm, webgpu or cpu',
        got: describe(name),
        hint: "await tf.setBackend('wasm'), or 'webgpu', before.",
      });
  }
}
