import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';
import type { Layer } from '../layers/layer.js';
import type { Runtime } from '../runtime.js';
import { Tensor } from '../tensor.js';
import type { WasmBackend } from '../wasm/backend.js';
import type { Host } from './host.js';

/** tfjs's cpu backend, as far as it is used. */
export interface TfjsCpu {
  data: { get(dataId: DataId): { values: Float32Array } };
  makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): TensorInfo;
}

/** Tensors of tfjs's cpu backend, which are arrays: copied in and out. */
export class CpuHost implements Host {
  readonly name = 'cpu';
  readonly backend: TfjsCpu;
  readonly #backend: WasmBackend;

  constructor(
    tfjs: TfjsCpu,
    readonly runtime: Runtime,
  ) {
    this.backend = tfjs;
    this.#backend = runtime.backends[0] as WasmBackend;
  }

  run(layer: Layer, x: TensorInfo, shape: readonly number[], outputShape: readonly number[]): TensorInfo | undefined {
    const values = Float32Array.from(this.backend.data.get(x.dataId).values);
    const input = this.runtime.tensor(values, shape);
    const bytes = outputShape.reduce((product, dim) => product * dim, 4);
    try {
      const buffer = this.#backend.createBuffer(bytes, 'output');
      const output = new Tensor(this.#backend, buffer, layer.outputShape(shape), 'float32');
      try {
        if (!layer.runNow(input, shape, output)) return undefined;
        const copy = this.#backend.view(buffer).slice(0, bytes);
        return this.backend.makeTensorInfo([...outputShape], 'float32', new Float32Array(copy.buffer));
      } finally {
        output.free();
      }
    } finally {
      input.free();
    }
  }

  read(dataId: DataId): Float32Array {
    return Float32Array.from(this.backend.data.get(dataId).values);
  }

  flush(): void {}

  close(): void {
    this.runtime.free();
  }
}
