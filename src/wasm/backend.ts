import { wasmVariants } from '../../asm/variants.js';
import type { Backend, DeviceBuffer, Kernel, Operands, Pass } from '../backend.js';
import { asData, byteLength, type DataByDType, type DType, type TensorData } from '../dtype.js';
import { ThinferError } from '../errors.js';
import type { Bias, Weights } from '../formats/format.js';
import { epilogueOf } from '../formats/outputs.js';
import { isMatmul, type MatmulProblem, outputSize, type Problem } from '../plan/problem.js';
import type { Device } from '../plan/variant.js';
import { Heap } from './heap.js';
import { type LoadedModule, loadModule, type WasmOptions } from './module.js';
import type { Pool } from './pool/pool.js';
import { roundUp, type WasmVariant } from './variant.js';

/** Job in asm/shared/job.ts: 10 addresses and 2 floats, in 4-byte fields. */
const HEADER_FIELDS = 12;
const INPUT = 0;
const INPUT2 = 1;
const OUTPUT = 2;
const FIRST_WEIGHT = 3;
const MAX_WEIGHTS = 4;
const BIAS = 7;
const SHARED = 8;
const ZEROS = 9;
const LOW = 10;

/** What takes less by one thread is not worth the microseconds that the others need to notice it. */
const WORTH_SHARING_MS = 0.02;

interface WasmBuffer extends DeviceBuffer {
  address: number;
}

class WasmOperands implements Operands {
  readonly layout: string;
  readonly bytes: number;
  /** Addresses of the layout's arrays in their order, then of the bias. */
  readonly addresses: number[];
  readonly bias: number;
  #heap: Heap;
  #block: number;

  constructor(heap: Heap, layout: string, arrays: readonly ArrayBufferView[], bias: Bias) {
    this.layout = layout;
    const all = [...arrays, bias];
    const offsets: number[] = [];
    let total = 0;
    for (const array of all) {
      offsets.push(total);
      total += roundUp(array.byteLength, 64);
    }
    this.bytes = total;
    this.#heap = heap;
    this.#block = heap.allocate(total, `weights in layout ${layout}`);
    for (const [i, { buffer, byteOffset, byteLength }] of all.entries()) {
      heap.uint8(this.#block + offsets[i], byteLength).set(new Uint8Array(buffer, byteOffset, byteLength));
    }
    this.addresses = offsets.slice(0, -1).map((offset) => this.#block + offset);
    this.bias = this.#block + offsets.at(-1)!;
  }

  free(): void {
    if (this.#block) this.#heap.free(this.#block);
    this.#block = 0;
  }
}

interface Stage {
  export: string;
  tiles: number;
}

class WasmKernel implements Kernel {
  readonly variant: string;
  readonly problem: Problem;
  readonly job: number;
  readonly stages: readonly Stage[];
  /** Scratch of one thread. */
  readonly scratchBytes: number;
  /** Too short for several threads. */
  readonly alone: boolean;
  readonly #free: () => void;
  #freed = false;

  constructor(
    variant: string,
    problem: Problem,
    job: number,
    stages: readonly Stage[],
    scratchBytes: number,
    alone: boolean,
    free: () => void,
  ) {
    this.variant = variant;
    this.problem = problem;
    this.job = job;
    this.stages = stages;
    this.scratchBytes = scratchBytes;
    this.alone = alone;
    this.#free = free;
  }

  free(): void {
    if (!this.#freed) this.#free();
    this.#freed = true;
  }
}

/** A kernel with the buffers it is to read and write. */
interface Run {
  kernel: WasmKernel;
  inputs: readonly DeviceBuffer[];
  output: DeviceBuffer;
}

/** A region that all kernels share, as large as the most demanding one that lives. */
class SharedRegion {
  address = 0;
  #bytes = 0;
  #users = 0;
  readonly #heap: Heap;
  readonly #label: string;

  constructor(heap: Heap, label: string) {
    this.#heap = heap;
    this.#label = label;
  }

  acquire(bytes: number): void {
    if (bytes > this.#bytes) {
      if (this.address) this.#heap.free(this.address);
      this.address = 0;
      this.#bytes = 0;
      this.address = this.#heap.allocate(bytes, this.#label);
      this.#bytes = bytes;
      this.#heap.uint8(this.address, bytes).fill(0);
    }
    this.#users++;
  }

  release(): void {
    if (--this.#users > 0) return;
    if (this.address) this.#heap.free(this.address);
    this.address = 0;
    this.#bytes = 0;
  }
}

/** The WASM backend: one module, one memory, and the threads of a pool. */
export class WasmBackend implements Backend<WasmVariant> {
  readonly device: Device;
  readonly variants = wasmVariants;
  /** Which of the modules A, B and C runs. */
  readonly module: LoadedModule['name'];
  /** Why there are fewer threads than were wanted. */
  readonly note: string | undefined;
  readonly #heap: Heap;
  readonly #pool: Pool;
  /** Scratch of the threads, scratch between stages, and f32 zeros that stand for the padding of images. */
  readonly #scratch: SharedRegion;
  readonly #shared: SharedRegion;
  readonly #zeros: SharedRegion;
  /** Settled when the last pass that was submitted is done: passes don't mix. */
  #busy: Promise<void> | undefined;
  /** A pass under way waits for a thread. */
  #waiting = false;
  #freed = false;

  constructor({ name, engine, memory, heapBase, pool, note }: LoadedModule) {
    this.module = name;
    this.note = note;
    this.#pool = pool;
    this.#heap = new Heap(memory, heapBase);
    this.#scratch = new SharedRegion(this.#heap, 'scratch');
    this.#shared = new SharedRegion(this.#heap, 'scratch between stages');
    this.#zeros = new SharedRegion(this.#heap, 'padding');
    const features = new Set<string>(['simd']);
    features.add(name === 'C' ? 'plain-simd' : 'relaxed-simd');
    if (name === 'A') features.add('fast-dot').add(engine.dot!);
    else features.add('pairs');
    if (name === 'B') features.add('maddubs');
    if (engine.x86) features.add('x86');
    const what = { A: `relaxed SIMD, ${engine.dot}`, B: 'relaxed SIMD', C: 'plain SIMD' }[name];
    const { threads } = pool;
    this.device = {
      backend: 'wasm',
      label: `wasm ${name} (${what}${threads > 1 ? `, ${threads} threads` : ''})`,
      features,
      threads,
      // 128-bit multiply-adds at some 3.5 GHz: two a cycle where they are fused, else at most two thirds of that.
      macsPerNs: name === 'C' ? 18 : 27,
      bytesPerNs: 30,
      dispatchMs: 0.001,
      runMs: 0.005,
    };
  }

  get memory() {
    return { bytes: this.#heap.bytes, peakBytes: this.#heap.peakBytes };
  }

  createBuffer(bytes: number, label: string): DeviceBuffer {
    this.#assertAlive();
    return { bytes, address: this.#heap.allocate(bytes, label) } as WasmBuffer;
  }

  freeBuffer(buffer: DeviceBuffer): void {
    if (!this.#freed) this.#heap.free((buffer as WasmBuffer).address);
  }

  write(buffer: DeviceBuffer, data: TensorData): void {
    this.#assertAlive();
    assertFits(buffer, data.byteLength, 'write');
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#heap.uint8((buffer as WasmBuffer).address, bytes.length).set(bytes);
  }

  /** What a buffer holds, until the memory grows. */
  view(buffer: DeviceBuffer): Uint8Array {
    this.#assertAlive();
    return this.#heap.uint8((buffer as WasmBuffer).address, buffer.bytes);
  }

  async read<D extends DType = 'float32'>(
    buffer: DeviceBuffer,
    length: number,
    dtype = 'float32' as D,
  ): Promise<DataByDType[D]> {
    this.#assertAlive();
    const bytes = byteLength(dtype, length);
    assertFits(buffer, bytes, 'read');
    return asData(dtype, this.#heap.uint8((buffer as WasmBuffer).address, bytes).slice().buffer);
  }

  layoutOf(variant: WasmVariant): string {
    return variant.layout!.name;
  }

  pack(variant: WasmVariant, problem: Problem, weights: Weights, bias: Bias | undefined): Operands {
    this.#assertAlive();
    const p = problem as MatmulProblem;
    const layout = variant.layout!;
    const epilogue = epilogueOf(weights, p, bias);
    const arrays = Object.values(layout.pack(epilogue.weights as never, p));
    const paddedN = roundUp(p.N, layout.panel);
    const Type = epilogue.bias instanceof Int32Array ? Int32Array : Float32Array;
    const paddedBias = new Type(p.groups * paddedN).fill(epilogue.biasPadding);
    for (let g = 0; epilogue.bias && g < p.groups; g++) {
      paddedBias.set(epilogue.bias.subarray(g * p.N, (g + 1) * p.N), g * paddedN);
    }
    return new WasmOperands(this.#heap, layout.name, arrays, paddedBias);
  }

  async prepare(variant: WasmVariant, problem: Problem, operands?: Operands): Promise<Kernel> {
    // Scratch may move, which a pass that still runs would notice.
    while (this.#busy) await this.#busy;
    return this.#prepare(variant, problem, operands);
  }

  prepareNow(variant: WasmVariant, problem: Problem, operands?: Operands): Kernel | undefined {
    return this.#waiting ? undefined : this.#prepare(variant, problem, operands);
  }

  #prepare(variant: WasmVariant, problem: Problem, operands: Operands | undefined): WasmKernel {
    this.#assertAlive();
    if (outputSize(problem) === 0) return new WasmKernel(variant.name, problem, 0, [], 0, true, () => {});
    const params = variant.params(problem, this.device);
    const fields = HEADER_FIELDS + params.length;
    const job = this.#heap.allocate(fields * 4, `job of ${variant.name}`);
    const words = this.#heap.words(job, fields);
    words.fill(0);
    if (operands) {
      const { addresses, bias } = operands as WasmOperands;
      for (let i = 0; i < Math.min(addresses.length, MAX_WEIGHTS); i++) words[FIRST_WEIGHT + i] = addresses[i];
      words[BIAS] = bias;
    }
    words.set(params, HEADER_FIELDS);
    this.#heap.floats(job, fields).set(variant.clamp!(problem), LOW);
    const regions: SharedRegion[] = [];
    const acquire = (region: SharedRegion, bytes: number) => {
      region.acquire(bytes);
      regions.push(region);
    };
    const free = () => {
      if (this.#freed) return;
      this.#heap.free(job);
      for (const region of regions) region.release();
    };
    const scratchBytes = roundUp(variant.scratchBytes?.(problem, this.device) ?? 0, 64);
    try {
      const sharedBytes = variant.sharedBytes?.(problem, this.device) ?? 0;
      if (scratchBytes) acquire(this.#scratch, scratchBytes * this.device.threads!);
      if (sharedBytes) acquire(this.#shared, sharedBytes);
      if (isMatmul(problem)) acquire(this.#zeros, problem.channels * 4 + 16);
    } catch (error) {
      free();
      throw error;
    }
    const stages = variant.stages
      .map((stage) => ({ export: stage.export, tiles: stage.tiles(problem, this.device) }))
      .filter(({ tiles }) => tiles > 0);
    const alone = variant.cost(problem, { ...this.device, threads: 1 }) < WORTH_SHARING_MS;
    return new WasmKernel(variant.name, problem, job, stages, scratchBytes, alone, free);
  }

  beginPass({ timed = false } = {}): Pass {
    this.#assertAlive();
    const runs: Run[] = [];
    const pass: Pass & { elapsedMs?: number } = {
      run: (kernel, inputs, output) => {
        runs.push({ kernel: kernel as WasmKernel, inputs, output });
      },
      submit: async () => {
        const elapsedMs = await this.#submit(runs);
        if (timed) pass.elapsedMs = elapsedMs;
      },
    };
    return pass;
  }

  #submit(runs: readonly Run[]): Promise<number> {
    const pass = this.#busy ? this.#busy.then(() => this.#execute(runs)) : this.#execute(runs);
    const settled = pass
      .then(
        () => {},
        () => {},
      )
      .then(() => {
        if (this.#busy === settled) this.#busy = undefined;
      });
    this.#busy = settled;
    return pass;
  }

  /** Milliseconds. Does all of it before it returns its promise, unless a slow thread has to be waited for. */
  async #execute(runs: readonly Run[]): Promise<number> {
    const start = performance.now();
    for (const run of runs) {
      this.#assertAlive();
      this.#bind(run);
      const { job, stages, scratchBytes, alone } = run.kernel;
      for (const { export: name, tiles } of stages) {
        const scratch = this.#scratch.address;
        if (alone) this.#pool.runAlone(name, job, tiles, scratch);
        else {
          const slow = this.#pool.run(name, job, tiles, scratch, scratchBytes);
          if (!slow) continue;
          this.#waiting = true;
          await slow.finally(() => {
            this.#waiting = false;
          });
        }
      }
    }
    return performance.now() - start;
  }

  runNow(kernel: Kernel, inputs: readonly DeviceBuffer[], output: DeviceBuffer): boolean {
    if (this.#waiting) return false;
    this.#assertAlive();
    this.#bind({ kernel: kernel as WasmKernel, inputs, output });
    const { job, stages, scratchBytes, alone } = kernel as WasmKernel;
    const scratch = this.#scratch.address;
    for (const { export: name, tiles } of stages) {
      if (alone) this.#pool.runAlone(name, job, tiles, scratch);
      else this.#pool.runNow(name, job, tiles, scratch, scratchBytes);
    }
    return true;
  }

  /** Writes the addresses of a run into its job. */
  #bind({ kernel: { job, stages }, inputs, output }: Run): void {
    if (stages.length === 0) return;
    const words = this.#heap.words(job, HEADER_FIELDS);
    words[INPUT] = (inputs[0] as WasmBuffer).address;
    words[INPUT2] = inputs.length > 1 ? (inputs[1] as WasmBuffer).address : 0;
    words[OUTPUT] = (output as WasmBuffer).address;
    words[SHARED] = this.#shared.address;
    words[ZEROS] = this.#zeros.address;
  }

  free(): void {
    // The memory goes with the last reference to it.
    this.#freed = true;
    this.#pool.free();
  }

  #assertAlive(): void {
    if (this.#freed) {
      throw new ThinferError({
        code: 'disposed',
        place: 'WASM backend',
        expected: 'a runtime that was not freed',
        got: 'one that was',
      });
    }
  }
}

function assertFits(buffer: DeviceBuffer, bytes: number, what: string): void {
  if (bytes > buffer.bytes) {
    throw new ThinferError({
      code: 'bad-shape',
      place: `WASM backend: ${what}`,
      expected: `at most ${buffer.bytes} bytes`,
      got: String(bytes),
    });
  }
}

/** @throws ThinferError `unsupported` when the engine has no WASM SIMD, or cannot run the module asked for */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  return new WasmBackend(await loadModule(options));
}
