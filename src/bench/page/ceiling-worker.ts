import plain from 'thinfer:wasm/ceilings';
import relaxed from 'thinfer:wasm/ceilings-relaxed';
import { decodeBase64 } from '../../wasm/base64.js';
import type { Rates } from './ceilings.js';

interface Kernels {
  memory: WebAssembly.Memory;
  /** Multiply-adds of one step of `fma`. */
  MACS: WebAssembly.Global;
  fma(steps: number): number;
  /** Copies the second half of the memory's `bytes` onto the first. */
  copy(bytes: number): void;
}

/** Beyond every cache; both halves of it. */
const BYTES = 128 << 20;
const STEPS = 20_000;
/** Turns of about so long; the fastest counts: what disturbs one makes it longer. */
const TURNS = 8;
const TURN_MS = 15;

/** Calls a nanosecond in the fastest turn. */
function fastest(call: () => void): number {
  let best = 0;
  let calls = 1;
  for (let turn = 0; turn < TURNS; turn++) {
    const from = performance.now();
    for (let i = 0; i < calls; i++) call();
    const ms = performance.now() - from;
    if (ms > 0) best = Math.max(best, calls / ms / 1e6);
    calls = Math.max(Math.round(calls * Math.min(TURN_MS / Math.max(ms, 0.1), 10)), 1);
  }
  return best;
}

async function measure(): Promise<Rates> {
  const [better, simple] = [decodeBase64(relaxed), decodeBase64(plain)];
  const { instance } = await WebAssembly.instantiate(WebAssembly.validate(better) ? better : simple, {});
  const { memory, MACS, fma, copy } = instance.exports as unknown as Kernels;
  memory.grow((BYTES - memory.buffer.byteLength) >> 16);
  // Memory that was never written may be one page many times.
  new Uint8Array(memory.buffer).fill(1);
  // x, y and the sums of `fma`, which stay of ordinary size: x * s + 1 goes to 2.
  new Float32Array(memory.buffer, 0, 56).fill(1).fill(0.5, 0, 4);
  return {
    gmacs: fastest(() => fma(STEPS)) * STEPS * MACS.value,
    gbytes: fastest(() => copy(BYTES)) * BYTES,
  };
}

const port = globalThis.process?.getBuiltinModule?.('node:worker_threads').parentPort;
const post = (message: unknown) => (port ? port.postMessage(message) : globalThis.postMessage(message));
const answer = () => void measure().then(post);
if (port) port.once('message', answer);
else globalThis.onmessage = answer;
post('ready');
