const MAP_READ = 0x01;
const COPY_SRC = 0x04;
const COPY_DST = 0x08;
const QUERY_RESOLVE = 0x200;
/** Two 64-bit nanoseconds. */
const BYTES = 16;

/** The GPU's own time of one pass, from its first dispatch to its last: needs the feature `timestamp-query`. */
export class Timer {
  ms: number | undefined;
  readonly writes: GPUComputePassTimestampWrites;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #readable: GPUBuffer;

  constructor(gpu: GPUDevice) {
    this.#queries = gpu.createQuerySet({ type: 'timestamp', count: 2 });
    this.#resolved = gpu.createBuffer({ size: BYTES, usage: QUERY_RESOLVE | COPY_SRC });
    this.#readable = gpu.createBuffer({ size: BYTES, usage: COPY_DST | MAP_READ });
    this.writes = { querySet: this.#queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
  }

  resolve(encoder: GPUCommandEncoder): void {
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#readable, 0, BYTES);
  }

  /** After the pass is done. */
  async read(): Promise<void> {
    await this.#readable.mapAsync(MAP_READ);
    const [begin, end] = new BigUint64Array(this.#readable.getMappedRange());
    // Clocks that were set back between the two say nothing.
    if (end >= begin) this.ms = Number(end - begin) / 1e6;
  }

  free(): void {
    for (const used of [this.#queries, this.#resolved, this.#readable]) used.destroy();
  }
}
