import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';
import { env } from '@tensorflow/tfjs-core';
import type { Layer } from '../layers/layer.js';
import type { Runtime } from '../runtime.js';
import { Tensor } from '../tensor.js';
import type { WebgpuBackend } from '../webgpu/backend.js';
import type { WebgpuBuffer } from '../webgpu/memory.js';
import type { Host } from './host.js';

/** tfjs's webgpu backend, as far as it is used. */
export interface TfjsWebgpu {
  device: GPUDevice;
  tensorMap: { get(dataId: DataId): { resource: GPUBuffer; values: ArrayLike<number> | null } };
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<DataId>;
  dispatchCountInPass: number;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  makeTensorInfo(shape: number[], dtype: 'float32'): TensorInfo;
  uploadToGPU(dataId: DataId): void;
  disposeData(dataId: DataId, force?: boolean): boolean;
}

/**
 * Tensors of tfjs's webgpu backend. Our kernels read and write its buffers, and are encoded into its own compute pass
 * between its own kernels: the order is that of the calls, and nothing is submitted for our sake.
 */
export class WebgpuHost implements Host {
  readonly name = 'webgpu';
  readonly backend: TfjsWebgpu;
  readonly #backend: WebgpuBackend;

  constructor(
    tfjs: TfjsWebgpu,
    readonly runtime: Runtime,
  ) {
    this.backend = tfjs;
    this.#backend = runtime.backends[0] as WebgpuBackend;
    this.#backend.memory.beforeDestroy = () => this.flush();
  }

  run(layer: Layer, x: TensorInfo, shape: readonly number[], outputShape: readonly number[]): TensorInfo | undefined {
    const tfjs = this.backend;
    tfjs.uploadToGPU(x.dataId);
    const out = tfjs.makeTensorInfo([...outputShape], 'float32');
    const temporary: WebgpuBuffer[] = [];
    try {
      tfjs.uploadToGPU(out.dataId);
      const bytes = outputShape.reduce((product, dim) => product * dim, 4);
      const target = tfjs.tensorMap.get(out.dataId).resource;
      const input = this.#input(x, temporary);
      const output = this.#output(target, bytes, temporary);
      tfjs.ensureCommandEncoderReady();
      tfjs.computePassEncoder ??= tfjs.commandEncoder!.beginComputePass({ label: 'thinfer' });
      const from = new Tensor(this.#backend, input, shape, 'float32');
      const to = new Tensor(this.#backend, output, layer.outputShape(shape), 'float32');
      if (!layer.runNow(from, shape, to, tfjs.computePassEncoder)) {
        tfjs.disposeData(out.dataId);
        return undefined;
      }
      if (output.gpu !== target) this.#copy(output.gpu, target, bytes);
    } catch (error) {
      tfjs.disposeData(out.dataId);
      throw error;
    } finally {
      for (const buffer of temporary) this.#backend.freeBuffer(buffer);
    }
    tfjs.commandQueueOwnedIds.add(x.dataId);
    tfjs.commandQueueOwnedIds.add(out.dataId);
    tfjs.dispatchCountInPass++;
    if (tfjs.dispatchCountInPass >= Number(env().get('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE'))) this.flush();
    return out;
  }

  /** Its buffer, or a copy of it where shaders could not read it as whole vectors. */
  #input(x: TensorInfo, temporary: WebgpuBuffer[]): WebgpuBuffer {
    const bytes = x.shape.reduce((product, dim) => product * dim, 4);
    const { resource } = this.backend.tensorMap.get(x.dataId);
    if (resource.size % 16 === 0) return this.#backend.wrap(resource, bytes);
    const buffer = this.#backend.createBuffer(bytes, 'input');
    temporary.push(buffer);
    this.#copy(resource, buffer.gpu, bytes);
    return buffer;
  }

  #output(target: GPUBuffer, bytes: number, temporary: WebgpuBuffer[]): WebgpuBuffer {
    if (target.size % 16 === 0) return this.#backend.wrap(target, bytes);
    const buffer = this.#backend.createBuffer(bytes, 'output');
    temporary.push(buffer);
    return buffer;
  }

  #copy(from: GPUBuffer, to: GPUBuffer, bytes: number): void {
    const tfjs = this.backend;
    tfjs.ensureCommandEncoderReady();
    tfjs.endComputePassEncoder();
    tfjs.commandEncoder!.copyBufferToBuffer(from, 0, to, 0, bytes);
  }

  read(dataId: DataId): Float32Array | undefined {
    const { values } = this.backend.tensorMap.get(dataId);
    return values ? Float32Array.from(values) : undefined;
  }

  flush(): void {
    this.backend.endComputePassEncoder();
    if (this.backend.commandEncoder) this.backend.submitQueue();
  }

  close(): void {
    this.flush();
    this.runtime.free();
  }
}
