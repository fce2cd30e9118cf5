import { ThinferError } from '../errors.js';

const PAGE = 65536;
const ALIGN = 64;
/** At the end of the memory, never given away: kernels may read a vector that begins in the last block. */
const SPARE = 64;
/** wasm32 memory: 65536 pages. */
const MAX_BYTES = 2 ** 32 - PAGE;

interface Block {
  address: number;
  bytes: number;
}

/**
 * First-fit allocator over a WebAssembly.Memory. Everything is aligned to 64 bytes (a cache line, four vectors).
 * Views of the memory are made anew at each use: growing detaches old ones.
 */
export class Heap {
  readonly memory: WebAssembly.Memory;
  /** Free blocks by ascending address, never adjacent. */
  #free: Block[];
  #used = new Map<number, number>();
  #bytes = 0;
  #peakBytes = 0;

  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory;
    const start = Math.ceil(base / ALIGN) * ALIGN;
    this.#free = [{ address: start, bytes: memory.buffer.byteLength - SPARE - start }];
  }

  get bytes(): number {
    return this.#bytes;
  }

  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** @throws ThinferError `out-of-memory` */
  allocate(bytes: number, place: string): number {
    const size = Math.max(Math.ceil(bytes / ALIGN) * ALIGN, ALIGN);
    let at = this.#free.findIndex((block) => block.bytes >= size);
    if (at < 0) {
      this.#grow(size, place);
      at = this.#free.length - 1;
    }
    const block = this.#free[at];
    const { address } = block;
    block.address += size;
    block.bytes -= size;
    if (block.bytes === 0) this.#free.splice(at, 1);
    this.#used.set(address, size);
    this.#bytes += size;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return address;
  }

  free(address: number): void {
    const bytes = this.#used.get(address);
    if (bytes === undefined) throw new Error(`Heap.free: ${address} was not allocated`);
    this.#used.delete(address);
    this.#bytes -= bytes;
    this.#release({ address, bytes });
  }

  /** Puts a block back, joined with its free neighbours. */
  #release(block: Block): void {
    const next = this.#free.findIndex((other) => other.address > block.address);
    const at = next < 0 ? this.#free.length : next;
    this.#free.splice(at, 0, block);
    this.#join(at);
    if (at > 0) this.#join(at - 1);
  }

  #join(at: number): void {
    const block = this.#free[at];
    const after = this.#free[at + 1];
    if (!after || block.address + block.bytes !== after.address) return;
    block.bytes += after.bytes;
    this.#free.splice(at + 1, 1);
  }

  /** Makes the last free block at least `size` bytes long. */
  #grow(size: number, place: string): void {
    const end = this.memory.buffer.byteLength - SPARE;
    const last = this.#free.at(-1);
    const atEnd = last && last.address + last.bytes === end ? last.bytes : 0;
    const needed = size - atEnd;
    // Growing by an eighth keeps the number of growths, each of which may copy, logarithmic.
    const wanted = Math.min(Math.max(needed, end >> 3), Math.max(MAX_BYTES - end, needed));
    for (const bytes of [wanted, needed]) {
      const pages = Math.ceil(bytes / PAGE);
      try {
        this.memory.grow(pages);
      } catch {
        continue;
      }
      this.#release({ address: end, bytes: pages * PAGE });
      return;
    }
    throw new ThinferError({
      code: 'out-of-memory',
      place,
      expected: `${size} more bytes of WASM memory`,
      got: `${this.#bytes} in use and no room to grow`,
      hint: 'Free layers and models that are no longer needed, or run a smaller batch.',
    });
  }

  floats(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }

  words(address: number, length: number): Uint32Array {
    return new Uint32Array(this.memory.buffer, address, length);
  }

  uint8(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }
}
