import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';
import type { DeviceBuffer } from '../backend.js';
import type { Layer } from '../layers/layer.js';
import type { Runtime } from '../runtime.js';
import { Tensor } from '../tensor.js';
import type { WasmBackend } from '../wasm/backend.js';
import type { Host } from './host.js';

/** What tfjs's wasm backend knows of a tensor. */
interface TensorData {
  id: number;
  memoryOffset: number | null;
  shape: readonly number[];
  dtype: string;
  refCount: number;
  thinfer?: Resident;
}

/** tfjs's wasm backend, as far as it is used. */
export interface TfjsWasm {
  wasm: {
    HEAPU8: Uint8Array;
    _malloc(bytes: number): number;
    tfjs: { registerTensor(id: number, size: number, memoryOffset: number): void };
  };
  dataIdNextNumber: number;
  dataIdMap: {
    get(dataId: DataId): TensorData;
    set(dataId: DataId, data: TensorData): void;
    has(dataId: DataId): boolean;
    delete(dataId: DataId): boolean;
  };
  readSync(dataId: DataId): ArrayBufferView;
  disposeData(dataId: DataId, force?: boolean): boolean;
  refCount(dataId: DataId): number;
  incRef(dataId: DataId): void;
}

/** A copy of a tensor in our memory, or the tensor itself as long as tfjs has not asked for it. */
interface Resident {
  buffer: DeviceBuffer;
  bytes: number;
  /** tfjs has it in its own memory as well. */
  inTfjs: boolean;
}

/**
 * Tensors of tfjs's wasm backend. What our layers give stays in our memory until a kernel of tfjs asks where it is: all of
 * them do that by `dataIdMap.get`. So nothing is copied between two layers of ours, and once where tfjs is next to them.
 */
export class WasmHost implements Host {
  readonly name = 'wasm';
  readonly backend: TfjsWasm;
  readonly #backend: WasmBackend;
  /** tfjs's own ways. */
  readonly #get: (dataId: DataId) => TensorData;
  readonly #residents = new Set<TensorData>();

  constructor(
    tfjs: TfjsWasm,
    readonly runtime: Runtime,
  ) {
    this.backend = tfjs;
    this.#backend = runtime.backends[0] as WasmBackend;
    const { dataIdMap } = tfjs;
    const get = dataIdMap.get.bind(dataIdMap);
    const disposeData = tfjs.disposeData.bind(tfjs);
    this.#get = get;
    dataIdMap.get = (dataId) => {
      const data = get(dataId);
      if (data?.thinfer && !data.thinfer.inTfjs) this.#handOver(data);
      return data;
    };
    tfjs.disposeData = (dataId, force = false) => {
      const data = dataIdMap.has(dataId) ? get(dataId) : undefined;
      if (!data?.thinfer) return disposeData(dataId, force);
      if (data.thinfer.inTfjs) {
        const gone = disposeData(dataId, force);
        if (gone) this.#drop(data);
        return gone;
      }
      data.refCount--;
      if (!force && data.refCount > 0) return false;
      this.#drop(data);
      dataIdMap.delete(dataId);
      return true;
    };
    tfjs.refCount = (dataId) => (dataIdMap.has(dataId) ? get(dataId).refCount : 0);
    tfjs.incRef = (dataId) => {
      const data = get(dataId);
      if (data) data.refCount++;
    };
  }

  run(layer: Layer, x: TensorInfo, shape: readonly number[], outputShape: readonly number[]): TensorInfo | undefined {
    const size = outputShape.reduce((product, dim) => product * dim, 1);
    const input = new Tensor(this.#backend, this.#residentOf(x), shape, 'float32');
    const buffer = this.#backend.createBuffer(size * 4, 'output');
    const output = new Tensor(this.#backend, buffer, layer.outputShape(shape), 'float32');
    try {
      if (!layer.runNow(input, shape, output)) {
        output.free();
        return undefined;
      }
    } catch (error) {
      output.free();
      throw error;
    }
    return this.#adopt(buffer, size * 4, outputShape);
  }

  /** x in our memory, where it stays as long as the tensor lives. */
  #residentOf(x: TensorInfo): DeviceBuffer {
    const data = this.#get(x.dataId);
    if (data.thinfer) return data.thinfer.buffer;
    const bytes = x.shape.reduce((product, dim) => product * dim, 1) * 4;
    const buffer = this.#backend.createBuffer(bytes, 'input');
    const offset = data.memoryOffset!;
    this.#backend.view(buffer).set(this.backend.wasm.HEAPU8.subarray(offset, offset + bytes));
    data.thinfer = { buffer, bytes, inTfjs: true };
    this.#residents.add(data);
    return buffer;
  }

  #adopt(buffer: DeviceBuffer, bytes: number, shape: readonly number[]): TensorInfo {
    const dataId = { id: this.backend.dataIdNextNumber++ };
    const data: TensorData = {
      id: this.backend.dataIdNextNumber++,
      memoryOffset: null,
      shape,
      dtype: 'float32',
      refCount: 1,
      thinfer: { buffer, bytes, inTfjs: false },
    };
    this.backend.dataIdMap.set(dataId, data);
    this.#residents.add(data);
    return { dataId, shape: [...shape], dtype: 'float32' };
  }

  /** Gives tfjs a tensor that only we have. */
  #handOver(data: TensorData): void {
    const { wasm } = this.backend;
    const resident = data.thinfer!;
    const { buffer, bytes } = resident;
    const offset = wasm._malloc(bytes) >>> 0;
    // The heap of tfjs may have grown, and HEAPU8 is another then.
    wasm.HEAPU8.set(this.#backend.view(buffer).subarray(0, bytes), offset);
    data.memoryOffset = offset;
    wasm.tfjs.registerTensor(data.id, bytes / 4, offset);
    resident.inTfjs = true;
  }

  #drop(data: TensorData): void {
    this.#backend.freeBuffer(data.thinfer!.buffer);
    data.thinfer = undefined;
    this.#residents.delete(data);
  }

  read(dataId: DataId): Float32Array {
    return this.backend.readSync(dataId) as Float32Array;
  }

  flush(): void {}

  close(): void {
    for (const data of this.#residents) {
      if (!data.thinfer!.inTfjs) this.#handOver(data);
      this.#drop(data);
    }
    // What was put on the objects hides what their classes have.
    const { dataIdMap } = this.backend as { dataIdMap: Partial<TfjsWasm['dataIdMap']> };
    delete dataIdMap.get;
    const tfjs = this.backend as Partial<TfjsWasm>;
    delete tfjs.disposeData;
    delete tfjs.refCount;
    delete tfjs.incRef;
    this.runtime.free();
  }
}
