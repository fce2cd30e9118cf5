// Threads of the WASM backend: what happens when there are none, and when one ends or throws.

import plainBase64 from 'thinfer:wasm/c';
import unrulyBase64 from 'thinfer:wasm/unruly';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRuntime, dense, int8, ThinferError } from '../src/index.js';
import { decodeBase64 } from '../src/wasm/base64.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { shareMemory } from '../src/wasm/module.js';
import { controlBytes, instantiate } from '../src/wasm/pool/control.js';
import { canShareMemory, Pool } from '../src/wasm/pool/pool.js';
import { createRandom } from './support/random.js';
import { wasmUrl } from './support/wasm-url.js';

const TILES = 100;

/** A pool over the misbehaving kernels of asm/unruly.ts. */
async function startPool(workers: number, stallMs?: number) {
  const module = new WebAssembly.Module(shareMemory(decodeBase64(unrulyBase64))!);
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  const instance = instantiate(module, memory);
  const control = Math.ceil((instance.exports.heap_base as () => number)() / 64) * 64;
  const job = control + Math.ceil(controlBytes(workers) / 64) * 64;
  const scratch = 65536;
  const words = new Uint32Array(memory.buffer, job, 2 + TILES);
  const pool = await Pool.start({ module, memory, control }, instance, workers, {
    url: wasmUrl && `${wasmUrl}/worker.js`,
    stallMs,
  });
  const run = async (name: string, tiles = TILES) => {
    words[0] = scratch;
    words[1] = 0;
    await pool.run(name, job, tiles, scratch, 64);
  };
  return { pool, run, counts: () => [...words.subarray(2)] };
}

async function failure(promise: Promise<unknown>): Promise<ThinferError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, ThinferError);
    return error as ThinferError;
  }
  throw new Error('expected a ThinferError');
}

const threads = suite('threads');

threads('memory can be shared here', () => {
  assert.ok(canShareMemory());
});

threads('each tile is done once', async () => {
  const { pool, run, counts } = await startPool(3);
  assert.is(pool.threads, 4, pool.failure);
  for (let times = 1; times <= 2000; times++) await run('count', 1 + (times % TILES));
  const expected = Array.from(
    { length: TILES },
    (_, tile) => Array.from({ length: 2000 }, (_, i) => 1 + ((i + 1) % TILES)).filter((tiles) => tile < tiles).length,
  );
  assert.equal(counts(), expected);
  pool.free();
});

threads('more tiles than chunks are all done', async () => {
  const { pool, run, counts } = await startPool(1);
  await run('count');
  assert.equal(counts(), Array(TILES).fill(1));
  pool.free();
});

threads('a kernel that throws in a worker fails the call, and the pool goes on', async () => {
  const { pool, run, counts } = await startPool(1);
  const error = await failure(run('trap'));
  assert.is(error.code, 'worker-failed');
  assert.match(error.message, /unreachable/);
  await run('count');
  assert.equal(counts(), Array(TILES).fill(1));
  assert.is(pool.threads, 2);
  pool.free();
});

threads("what a kernel throws in the caller's thread is thrown after the others are done", async () => {
  const { pool, run, counts } = await startPool(1);
  let thrown: unknown;
  await run('trap_here').catch((error) => {
    thrown = error;
  });
  assert.instance(thrown, WebAssembly.RuntimeError);
  await run('count');
  assert.equal(counts(), Array(TILES).fill(1));
  pool.free();
});

threads('a worker that does not come back fails the call, and the rest go on', async () => {
  const { pool, run, counts } = await startPool(2, 300);
  assert.is(pool.threads, 3, pool.failure);
  // Only the first to begin is sure to hang; the other may find nothing left.
  const error = await failure(run('hang', 2));
  assert.is(error.code, 'worker-failed');
  assert.match(error.message, /not done with its part after 300 ms/);
  assert.ok(pool.threads < 3, `${pool.threads} threads`);
  await run('count');
  assert.equal(counts(), Array(TILES).fill(1));
  pool.free();
});

threads('a worker that ends while it works fails the call', async () => {
  const { pool, run } = await startPool(1);
  const running = failure(run('hang', 2));
  setTimeout(() => pool.free(), 50);
  const error = await running;
  assert.is(error.code, 'worker-failed');
  assert.match(error.message, /freed/);
  assert.is(pool.threads, 1);
});

threads('one thread when no worker starts, and a note that says why', async () => {
  const url = 'data:text/javascript,no';
  const wasm = { module: 'C', bytes: decodeBase64(plainBase64), url, threads: 2 } as const;
  const runtime = await createRuntime({ cache: false, tune: 'off', backends: ['wasm'], wasm });
  assert.is(runtime.backends[0].device.threads, 1);
  assert.match(runtime.notes.join(), /WASM runs on 1 thread, not 2/);
  const layer = await runtime.linear(dense.pack(new Float32Array(6).fill(1), { rows: 2, cols: 3 }));
  const y = await layer.run(new Float32Array(30).fill(1));
  assert.equal([...(await y.data())], Array(20).fill(3));
  runtime.free();
});

threads('calls at once on one backend do not mix, and answer as on one thread', async () => {
  const random = createRandom(7);
  const floats = (length: number) => Float32Array.from({ length }, () => random.next() - 0.5);
  const weights = [
    dense.pack(floats(90 * 70), { rows: 90, cols: 70 }),
    int8.pack(floats(50 * 70), { rows: 50, cols: 70 }),
  ];
  const inputs = Array.from({ length: 12 }, (_, i) => floats(70 * (i * 40 + 1)));
  const answers: number[][][] = [];
  for (const count of [1, 3]) {
    const runtime = await createRuntime({
      cache: false,
      tune: 'off',
      backends: ['wasm'],
      wasm: { threads: count, url: wasmUrl },
    });
    assert.is(runtime.backends[0].device.threads, count, runtime.notes.join());
    assert.equal(runtime.notes, []);
    const layers = await Promise.all(weights.map((w) => runtime.linear(w)));
    answers.push(
      await Promise.all(
        inputs.map(async (x, i) => {
          const y = await layers[i % 2].run(x);
          return [...(await y.data())];
        }),
      ),
    );
    runtime.free();
  }
  // Not to the bit: with more threads another kernel may be the fastest.
  for (const [i, y] of answers[0].entries()) {
    assert.is(y.length, answers[1][i].length);
    assert.ok(
      y.every((value, j) => Math.abs(value - answers[1][i][j]) < 1e-5),
      `input ${i}`,
    );
  }
});

threads('a number of threads that makes no sense is refused', async () => {
  for (const count of [0, 1.5, -1, 1000, Number.NaN]) {
    const error = await failure(createWasmBackend({ threads: count }));
    assert.is(error.code, 'bad-argument');
    assert.match(error.message, /wasm.threads/);
  }
});

threads.run();
