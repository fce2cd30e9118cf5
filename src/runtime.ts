import type { Backend } from './backend.js';
import { byteLength, type DataByDType, type DType, dtypeOf, storedLength, type TensorData } from './dtype.js';
import { describe, elementCount, requireLength, ThinferError } from './errors.js';
import type { Weights } from './formats/format.js';
import { validate } from './formats/index.js';
import { requireDtypes } from './layers/dtypes.js';
import { formsFor, type MemoryMode } from './layers/forms.js';
import { Layer, type LayerKind } from './layers/layer.js';
import {
  type Conv2dOptions,
  conv2dProblem,
  linearProblem,
  type MatmulOptions,
  type OutputDType,
  type OutputOption,
  weightFacts,
} from './layers/problem.js';
import type { ChoicesFile } from './plan/choices.js';
import { type ChoiceStorage, platformStorage } from './plan/storage.js';
import { type TuneMode, Tuner } from './plan/tuner.js';
import type { BackendName } from './plan/variant.js';
import { Tensor } from './tensor.js';
import { createWasmBackend, type WasmOptions } from './wasm/index.js';
import { createWebgpuBackend, type WebgpuBackend } from './webgpu/index.js';

export interface RuntimeOptions {
  /** Which backends to use where they exist. Default: both. */
  backends?: readonly BackendName[];
  wasm?: WasmOptions;
  /** A GPU to ask for an adapter, or a device of the caller's, which is never destroyed. Default: the platform's. */
  gpu?: GPU | GPUDevice;
  /**
   * Timing of kernels on this machine, so that each layer gets the fastest. `quick`: after the first run of a layer or
   * model, in the background, for `tuneMs` at most. `full`: all that may win, as long as it takes. `off`: choices that are
   * known from before, and else predictions. Default `quick`.
   */
  tune?: TuneMode;
  /** Milliseconds of timing for a model, or for one input size of a layer. Default 300. */
  tuneMs?: number;
  /**
   * Whether what was measured is kept for the next time: in IndexedDB (browsers) or a file in the user's cache folder
   * (Node), or where the caller says. Default true. A first run does not wait for IndexedDB when that is slow: what was
   * kept is then used from a later run on, but for `tune: 'off'`, which waits.
   */
  cache?: boolean | ChoiceStorage;
}

/** How one layer is to be run, beyond what it computes. */
export interface LayerOptions {
  /** Only on this backend. */
  backend?: BackendName;
  /** Only this kernel, by its name in the table: those that `Layer.explain` lists. */
  variant?: string;
  /**
   * `any`: weights may be stored in another format where that is faster and multiplies the same numbers: csr weights as
   * dense ones, for example. `packed`: in no format that takes more bytes than theirs. Default `any`.
   */
  memory?: MemoryMode;
}

/** A runtime waits this long for the browser's storage. */
const PATIENCE_MS = 10;

/** The dtype whose elements an array holds. */
type DTypeOf<T extends TensorData> = { [D in DType]: T extends DataByDType[D] ? D : never }[DType];

/** The devices of this process, and the way to layers on them. */
export class Runtime {
  /** In order of preference at equal predicted time. */
  readonly backends: readonly Backend[];
  /** Why a backend that was wanted is missing, or has fewer threads than were wanted. */
  readonly notes: readonly string[];
  /** Times kernels and knows the fastest. */
  readonly tuner: Tuner;

  /** Made by createRuntime. */
  constructor(backends: readonly Backend[], notes: readonly string[], tuner: Tuner) {
    this.backends = backends;
    this.notes = notes;
    this.tuner = tuner;
  }

  /** Resolves when the timing in the background is done. */
  async tuned(): Promise<void> {
    await this.tuner.idle();
  }

  /** What was measured, as JSON: to be shipped to devices of the same kind. */
  exportChoices(): ChoicesFile {
    return this.tuner.export();
  }

  /**
   * Takes over what `exportChoices` gave, there or on another machine. Choices of other devices and engines have no effect
   * here; those of another version of the package are dropped.
   * @returns how many choices were added
   * @throws ThinferError `bad-argument` for what is no such file: then nothing changes
   */
  importChoices(file: unknown): number {
    return this.tuner.import(file);
  }

  /**
   * C[M,N] = activation(A[M,K] * W[N,K]^T + bias[N]), for any M. `options.input` and `options.output` make it take and
   * give integers.
   * @param weights [N, K] in any format; they stay packed
   * @throws ThinferError `bad-weights`, `bad-argument`, `bad-shape`, `no-kernel`
   */
  async linear<const O extends OutputOption = 'float32'>(
    weights: Weights,
    options: MatmulOptions<O> & LayerOptions = {},
  ): Promise<Layer<OutputDType<O>>> {
    return this.linearNow(weights, options);
  }

  /** As `linear`, without a promise: nothing is packed before a layer runs or is prepared. */
  linearNow<const O extends OutputOption = 'float32'>(
    weights: Weights,
    options: MatmulOptions<O> & LayerOptions = {},
  ): Layer<OutputDType<O>> {
    validate(weights, 'linear.weights');
    const { rows, cols } = weights;
    const facts = weightFacts(weights);
    return this.#layer(weights, options, {
      place: 'linear',
      shapeOf: (length) => [length / cols, cols],
      problemOf: (shape, dtype) => {
        if (shape.at(-1) !== cols) throw wrongShape('linear', `[..., ${cols}]`, shape);
        return linearProblem(facts, weights, elementCount(shape, 'linear: shape') / cols, options, dtype);
      },
      outputShape: ({ M }) => [M, rows],
    });
  }

  /**
   * The convolution of NHWC images with weights in OHWI order: rows = outputs, cols = kernelHeight * kernelWidth *
   * channels / groups. Computes activation(conv + bias). `options.input` and `options.output` make it take and give
   * integers.
   * @throws ThinferError `bad-weights`, `bad-argument`, `bad-shape`, `no-kernel`
   */
  async conv2d<const O extends OutputOption = 'float32'>(
    weights: Weights,
    options: Conv2dOptions<O> & LayerOptions,
  ): Promise<Layer<OutputDType<O>>> {
    return this.conv2dNow(weights, options);
  }

  /** As `conv2d`, without a promise. */
  conv2dNow<const O extends OutputOption = 'float32'>(
    weights: Weights,
    options: Conv2dOptions<O> & LayerOptions,
  ): Layer<OutputDType<O>> {
    validate(weights, 'conv2d.weights');
    const { rows } = weights;
    const facts = weightFacts(weights);
    return this.#layer(weights, options, {
      place: 'conv2d',
      shapeOf: (length) => {
        throw wrongShape('conv2d', 'a Tensor, or run(x, [batch, height, width, channels])', [length]);
      },
      problemOf: (shape, dtype) => {
        if (shape.length !== 4) throw wrongShape('conv2d', '[batch, height, width, channels]', shape);
        const [batch, height, width, channels] = shape;
        const problem = conv2dProblem(facts, weights, [batch, height, width], options, dtype);
        if (channels !== problem.channels) {
          throw wrongShape('conv2d', `[batch, height, width, ${problem.channels}]`, shape);
        }
        return problem;
      },
      outputShape: ({ window }) => [window.batch, window.outHeight, window.outWidth, rows],
    });
  }

  #layer<O extends OutputOption>(
    weights: Weights,
    options: MatmulOptions<O> & LayerOptions,
    kind: LayerKind,
  ): Layer<OutputDType<O>> {
    const { bias, backend, variant: force = '', memory } = options;
    const dtypes = requireDtypes(weights, options, kind.place);
    const forms = formsFor(weights, dtypes.output, memory, kind.place);
    const backends = this.#backendsFor(backend, kind.place);
    return new Layer({ kind, backends, weights, forms, bias, dtypes, force, tuner: this.tuner });
  }

  /**
   * Copies an array to a device. The dtype is that of the array: float32, int32, uint8, int8, or of a Uint32Array `bits`:
   * each row of the last dimension takes whole words, channel c bit c mod 32 of word floor(c / 32).
   */
  tensor<T extends TensorData>(data: T, shape: readonly number[], backend?: BackendName): Tensor<DTypeOf<T>> {
    const dtype = dtypeOf(data) as DTypeOf<T> | undefined;
    if (!dtype) {
      const expected = 'a Float32Array, Int32Array, Uint8Array, Int8Array or Uint32Array';
      throw new ThinferError({ code: 'bad-argument', place: 'tensor.data', expected, got: describe(data) });
    }
    elementCount(shape, 'tensor.shape');
    requireLength(data, storedLength(dtype, shape), 'tensor.data', { code: 'bad-shape' });
    const [target] = this.#backendsFor(backend, 'tensor');
    const tensor = new Tensor(target, target.createBuffer(data.byteLength, 'tensor'), shape, dtype);
    target.write(tensor.buffer, data);
    return tensor;
  }

  /**
   * A caller's GPU buffer as a tensor, without a copy: of the device that was passed to `createRuntime` as `gpu`, with
   * the usage STORAGE and at least the tensor's bytes, rounded up to 16. It stays the caller's: freeing the tensor leaves
   * it alive. A result on the GPU is the other way round at hand as `tensor.buffer.gpu`, until the tensor is freed.
   * @throws ThinferError `unsupported` without WebGPU, `bad-argument` for another buffer
   */
  wrap<D extends DType = 'float32'>(buffer: GPUBuffer, shape: readonly number[], dtype = 'float32' as D): Tensor<D> {
    const [backend] = this.#backendsFor('webgpu', 'wrap');
    elementCount(shape, 'wrap: shape');
    const bytes = byteLength(dtype, storedLength(dtype, shape));
    return new Tensor(backend, (backend as WebgpuBackend).wrap(buffer, bytes), shape, dtype);
  }

  /** Frees all memory of all backends. Layers, models and tensors of this runtime are of no use after it. */
  free(): void {
    this.tuner.close();
    for (const backend of this.backends) backend.free();
  }

  #backendsFor(name: BackendName | undefined, place: string): readonly Backend[] {
    if (name === undefined) return this.backends;
    const found = this.backends.filter(({ device }) => device.backend === name);
    if (found.length > 0) return found;
    throw new ThinferError({
      code: 'unsupported',
      place: `${place}.backend`,
      expected: `one of ${this.backends.map(({ device }) => device.backend).join(', ')}`,
      got: name,
      hint: this.notes.join(' '),
    });
  }
}

function wrongShape(place: string, expected: string, shape: readonly number[]): ThinferError {
  return new ThinferError({ code: 'bad-shape', place: `${place}: shape`, expected, got: `[${shape.join(', ')}]` });
}

/**
 * Finds out what this machine can do. The lack of one backend is noted in Runtime.notes, not thrown.
 * @throws ThinferError `unsupported` when none of the wanted backends exists
 */
export async function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const wanted = options.backends ?? ['wasm', 'webgpu'];
  const backends: Backend[] = [];
  const notes: string[] = [];
  // Side by side: a module is compiled while the adapter is asked for and the storage opened.
  const [wasm, webgpu, storage] = await Promise.allSettled([
    wanted.includes('wasm') ? createWasmBackend(options.wasm) : undefined,
    wanted.includes('webgpu') ? createWebgpuBackend({ gpu: options.gpu }) : undefined,
    storageOf(options),
  ]);
  const gpu = webgpu.status === 'fulfilled' ? webgpu.value : undefined;
  // What the caller asked for by name must not silently become something else.
  const named = Object.values(options.wasm ?? {}).some((value) => value !== undefined);
  const failed = [wasm.status === 'rejected' && named && wasm, webgpu.status === 'rejected' && webgpu].find(Boolean);
  if (failed) {
    if (wasm.status === 'fulfilled') wasm.value?.free();
    if (typeof gpu === 'object') gpu.free();
    throw (failed as PromiseRejectedResult).reason;
  }
  if (wasm.status === 'rejected') notes.push(`No WASM: ${wasm.reason.message}`);
  else if (wasm.value) {
    backends.push(wasm.value);
    if (wasm.value.note) notes.push(wasm.value.note);
  }
  if (typeof gpu === 'string') notes.push(`No WebGPU: ${gpu}`);
  else if (gpu) backends.push(gpu);
  if (backends.length === 0) {
    throw new ThinferError({
      code: 'unsupported',
      place: 'createRuntime',
      expected: `one of ${wanted.join(', ')}`,
      got: 'none',
      hint: notes.join(' '),
    });
  }
  const tuner = new Tuner(backends, {
    mode: options.tune,
    budgetMs: options.tuneMs,
    storage: storage.status === 'fulfilled' ? storage.value : undefined,
  });
  const loading = tuner.load();
  // Opening IndexedDB can take longer than loading a model and running it. Plans are made anew when it comes late.
  const patient = tuner.mode === 'off' || typeof options.cache === 'object' || !globalThis.indexedDB;
  await (patient ? loading : Promise.race([loading, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]));
  return new Runtime(backends, notes, tuner);
}

async function storageOf({ cache = true }: RuntimeOptions): Promise<ChoiceStorage | undefined> {
  if (typeof cache === 'object') return cache;
  return cache ? platformStorage().catch(() => undefined) : undefined;
}
