import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ThinferError } from '../../src/errors.js';
import { loadOnnx } from '../../src/onnx/index.js';
import { ReferenceBackend } from './reference-backend.js';

/** Loads, or throws a ThinferError; soon, and without taking much. */
export async function loadsOrRefuses(bytes: Uint8Array): Promise<boolean> {
  const backend = new ReferenceBackend();
  const start = performance.now();
  try {
    const model = await loadOnnx({ backends: [backend] }, bytes);
    model.free();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    assert.ok(error.message.length < 20000, 'a message that can be read');
    return false;
  } finally {
    assert.ok(performance.now() - start < 2000, 'in time');
    assert.is(backend.memory.bytes, 0, 'nothing leaks');
    assert.ok(backend.memory.peakBytes < 64 * bytes.length + 2 ** 20, `${backend.memory.peakBytes} bytes`);
  }
  return true;
}

export interface Damage {
  kind: 'flip' | 'set' | 'cut' | 'insert' | 'remove';
  at: number;
  value: number;
}

/** Some changes to the bytes of a model. */
export const damage = fc.array(
  fc.record<Damage>({
    kind: fc.constantFrom('flip', 'set', 'cut', 'insert', 'remove'),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    value: fc.nat(255),
  }),
  { minLength: 1, maxLength: 4 },
);

export function apply(bytes: Uint8Array, changes: readonly Damage[]): Uint8Array {
  let result = Array.from(bytes);
  for (const { kind, at, value } of changes) {
    const i = Math.floor(at * result.length);
    if (kind === 'flip') result[i] ^= 1 << (value % 8);
    else if (kind === 'set') result[i] = value;
    else if (kind === 'cut') result = result.slice(0, i);
    else if (kind === 'insert') result.splice(i, 0, value);
    else result.splice(i, 1 + (value % 4));
  }
  return Uint8Array.from(result);
}
