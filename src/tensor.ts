import type { Backend, DeviceBuffer } from './backend.js';
import { type DataByDType, type DType, storedLength } from './dtype.js';
import { ThinferError } from './errors.js';

/**
 * An array on a device: f32 unless its type says otherwise. Images are [batch, height, width, channels]. A tensor of
 * `bits` has the shape of what it holds the signs of; each pixel (row) of it starts on a word.
 */
export class Tensor<D extends DType = 'float32'> {
  readonly shape: readonly number[];
  readonly dtype: D;
  readonly backend: Backend;
  #buffer: DeviceBuffer | undefined;

  /** Takes the buffer over: it is freed with the tensor. */
  constructor(backend: Backend, buffer: DeviceBuffer, shape: readonly number[], dtype: D) {
    this.backend = backend;
    this.shape = [...shape];
    this.dtype = dtype;
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

  /** A copy of the elements, row-major; of `bits` the words, [..., ceil(channels / 32)]. */
  async data(): Promise<DataByDType[D]> {
    return this.backend.read(this.buffer, storedLength(this.dtype, this.shape), this.dtype);
  }

  /** Gives the memory back. Calling it again does nothing. */
  free(): void {
    if (this.#buffer) this.backend.freeBuffer(this.#buffer);
    this.#buffer = undefined;
  }
}
