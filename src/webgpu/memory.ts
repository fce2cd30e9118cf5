import type { DeviceBuffer } from '../backend.js';
import { ThinferError } from '../errors.js';

/** GPUBufferUsage and GPUMapMode by number: Node has no such globals. */
export const USAGE = { mapRead: 0x1, copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80 } as const;
const MAP_READ = 1;

/** Freed buffers are kept for reuse up to this many bytes. */
const POOL_BYTES = 64 * 2 ** 20;

/** Memory that shaders see. Sizes are multiples of 16 bytes, so that any buffer may be read as vectors of 4. */
export class WebgpuBuffer implements DeviceBuffer {
  freed = false;
  /** Set when the device turned out to have no room; whoever uses the buffer throws it. */
  failure: ThinferError | undefined;

  constructor(
    readonly gpu: GPUBuffer,
    readonly bytes: number,
    readonly label: string,
    /** Resolves when it is known whether the device had room. */
    readonly checked: Promise<GPUError | null>,
    readonly pooled: boolean,
    /** Of the device that it lies on. */
    readonly memory: WebgpuMemory,
  ) {
    checked.then((error) => {
      if (!error) return;
      this.failure = new ThinferError({
        code: 'out-of-memory',
        place: `WebGPU buffer ${label}`,
        expected: `room for ${bytes} bytes on the device`,
        got: error.message.split('\n')[0],
        hint: 'Free other layers, or use a smaller batch.',
      });
    });
  }

  /** Throws when the buffer was freed or the device had no room for it. */
  get usable(): this {
    if (this.failure) throw this.failure;
    if (this.freed) {
      throw new ThinferError({
        code: 'disposed',
        place: `WebGPU buffer ${this.label}`,
        expected: 'a live buffer',
        got: 'one that was freed',
      });
    }
    return this;
  }
}

/** Capacities of pooled buffers: four to an octave, so at most a quarter is waste. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2);
  return Math.ceil(bytes / step) * step;
}

/** Makes, reuses and counts the buffers of one device. */
export class WebgpuMemory {
  /** Bytes in use, without those kept for reuse. */
  bytes = 0;
  /** The most there ever were on the device, with those kept for reuse. */
  peakBytes = 0;
  /** Called before a buffer is destroyed: a caller who encodes commands himself submits them there. */
  beforeDestroy: () => void = () => {};
  #idleBytes = 0;
  readonly #idle = new Map<string, GPUBuffer[]>();
  readonly #live = new Set<GPUBuffer>();

  constructor(private readonly device: GPUDevice) {}

  /** A buffer for activations, whose content is undefined; goes back to the pool when freed. */
  create(bytes: number, label: string): WebgpuBuffer {
    const usage = USAGE.storage | USAGE.copySrc | USAGE.copyDst;
    const size = this.#checkSize(bytes, label);
    const capacity = Math.min(sizeClass(size), this.device.limits.maxBufferSize);
    return this.#take(capacity, size, usage, label);
  }

  /** A buffer that holds `data`, of its exact size. */
  upload(data: ArrayBufferView, usage: number, label: string): WebgpuBuffer {
    const { device } = this;
    // A kernel may bind parts of it.
    const size = this.#checkSize(data.byteLength, label, device.limits.maxBufferSize);
    device.pushErrorScope('out-of-memory');
    let gpu: GPUBuffer;
    try {
      gpu = device.createBuffer({ size, usage, label, mappedAtCreation: true });
      new Uint8Array(gpu.getMappedRange()).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      gpu.unmap();
    } catch (cause) {
      void device.popErrorScope().catch(() => null);
      throw new ThinferError({
        code: 'out-of-memory',
        place: `WebGPU buffer ${label}`,
        expected: `room for ${size} bytes`,
        got: String(cause),
        cause,
      });
    }
    this.#count(gpu);
    return new WebgpuBuffer(gpu, size, label, this.#popScope(), false, this);
  }

  free(buffer: WebgpuBuffer, reuse = buffer.pooled): void {
    if (buffer.freed) return;
    buffer.freed = true;
    this.#release(buffer.gpu, reuse && !buffer.failure);
  }

  /** The first `bytes` of a buffer, through a mapped copy. */
  async read(buffer: WebgpuBuffer, bytes: number): Promise<ArrayBuffer> {
    const { device } = this;
    const size = Math.max(Math.ceil(bytes / 4) * 4, 4);
    const staging = this.#take(sizeClass(size), size, USAGE.mapRead | USAGE.copyDst, `read ${buffer.label}`);
    try {
      // Encoded at once, so that what the caller writes next does not overtake the copy.
      device.pushErrorScope('validation');
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer.gpu, 0, staging.gpu, 0, size);
      device.queue.submit([encoder.finish()]);
      void this.#popScope();
      await staging.gpu.mapAsync(MAP_READ, 0, size);
      const copy = staging.gpu.getMappedRange(0, size).slice(0, bytes);
      staging.gpu.unmap();
      this.free(staging);
      return copy;
    } catch (cause) {
      this.free(staging, false);
      throw staging.failure ?? cause;
    }
  }

  /** Destroys every buffer, in use or not. */
  destroy(): void {
    for (const gpu of this.#live) gpu.destroy();
    this.#live.clear();
    this.#idle.clear();
    this.bytes = 0;
    this.#idleBytes = 0;
  }

  #take(capacity: number, bytes: number, usage: number, label: string): WebgpuBuffer {
    const reused = this.#idle.get(`${usage}:${capacity}`)?.pop();
    if (reused) {
      this.#idleBytes -= capacity;
      this.bytes += capacity;
      return new WebgpuBuffer(reused, bytes, label, Promise.resolve(null), true, this);
    }
    this.device.pushErrorScope('out-of-memory');
    const gpu = this.device.createBuffer({ size: capacity, usage, label });
    const checked = this.#popScope();
    checked.then((error) => error && this.#evict(gpu));
    this.#count(gpu);
    return new WebgpuBuffer(gpu, bytes, label, checked, true, this);
  }

  /** The largest buffer that can be bound whole. */
  get #bindable(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    return Math.min(maxBufferSize, maxStorageBufferBindingSize);
  }

  #count(gpu: GPUBuffer): void {
    this.#live.add(gpu);
    this.bytes += gpu.size;
    this.peakBytes = Math.max(this.peakBytes, this.bytes + this.#idleBytes);
  }

  #release(gpu: GPUBuffer, reuse: boolean): void {
    if (!this.#live.has(gpu)) return;
    this.bytes -= gpu.size;
    if (reuse && this.#idleBytes + gpu.size <= POOL_BYTES) {
      const key = `${gpu.usage}:${gpu.size}`;
      const idle = this.#idle.get(key) ?? [];
      idle.push(gpu);
      this.#idle.set(key, idle);
      this.#idleBytes += gpu.size;
    } else {
      this.#live.delete(gpu);
      this.beforeDestroy();
      gpu.destroy();
    }
  }

  /** Takes a buffer that the device had no room for out of the pool, if it was freed before that was known. */
  #evict(gpu: GPUBuffer): void {
    const idle = this.#idle.get(`${gpu.usage}:${gpu.size}`);
    const index = idle?.indexOf(gpu) ?? -1;
    if (!idle || index < 0) return;
    idle.splice(index, 1);
    this.#idleBytes -= gpu.size;
    this.#live.delete(gpu);
    gpu.destroy();
  }

  /** A lost device reports its loss elsewhere. */
  #popScope(): Promise<GPUError | null> {
    return this.device.popErrorScope().catch(() => null);
  }

  #checkSize(bytes: number, label: string, limit = this.#bindable): number {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (!(size <= limit)) {
      throw new ThinferError({
        code: 'out-of-memory',
        place: `WebGPU buffer ${label}`,
        expected: `at most ${limit} bytes, the device's limit`,
        got: `${bytes}`,
      });
    }
    return size;
  }
}
