import type { Backend, DeviceBuffer } from './backend.js';
import { ThinferError } from './errors.js';

/** An f32 array on a device. Images are [batch, height, width, channels]. */
export class Tensor {
  readonly shape: readonly number[];
  readonly backend: Backend;
  #buffer: DeviceBuffer | undefined;

  /** Takes the buffer over: it is freed with the tensor. */
  constructor(backend: Backend, buffer: DeviceBuffer, shape: readonly number[]) {
    this.backend = backend;
    this.shape = [...shape];
    this.#buffer = buffer;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((size, dim) => size * dim, 1);
  }

  /** Where it lies. @throws ThinferError `disposed` after free() */
  get buffer(): DeviceBuffer {
    if (!this.#buffer) {
      throw new ThinferError({
        code: 'disposed',
        place: 'Tensor',
        expected: 'a tensor that was not freed',
        got: 'one that was',
      });
    }
    return this.#buffer;
  }

  /** A copy of the elements, row-major. */
  async data(): Promise<Float32Array> {
    return this.backend.read(this.buffer, this.size);
  }

  /** Gives the memory back. Calling it again does nothing. */
  free(): void {
    if (this.#buffer) this.backend.freeBuffer(this.#buffer);
    this.#buffer = undefined;
  }
}
