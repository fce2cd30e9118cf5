import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Heap } from '../src/wasm/heap.js';

const test = suite('WASM heap');

test('a vector that begins anywhere in a block ends inside the memory', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 64 });
  const heap = new Heap(memory, 0);
  // Sizes that would end with a page, in the first memory and in those that grew.
  for (const bytes of [65536 - 64, 64, 64, 65536, 3 * 65536, 65536 - 128]) {
    const address = heap.allocate(bytes, 'test');
    assert.ok(address + bytes + 64 <= memory.buffer.byteLength, `${bytes} bytes at ${address}`);
  }
});

test('what is freed is given away again', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 64 });
  const heap = new Heap(memory, 100);
  const first = heap.allocate(1000, 'test');
  const second = heap.allocate(100_000, 'test');
  const bytes = memory.buffer.byteLength;
  heap.free(first);
  heap.free(second);
  assert.is(heap.allocate(101_000, 'test'), first);
  assert.is(memory.buffer.byteLength, bytes);
});

test.run();
