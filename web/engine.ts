// All that computes: runs in a worker, so that the page never waits for it.
import type { DataByDType, ElementType } from '../src/dtype.js';
import { isLost, ThinferError } from '../src/errors.js';
import { type Graph, isLayer } from '../src/graph/ir.js';
import { Model, type ModelInputs, type ModelOutputs, type NodeReport, type ValueReport } from '../src/graph/model.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { clockStepMs } from '../src/plan/clock.js';
import type { BackendName } from '../src/plan/variant.js';
import { createRuntime, type Runtime } from '../src/runtime.js';
import { readTflite } from '../src/tflite/index.js';
import { argmax, type Batch } from './answers.js';
import {
  type FormName,
  factsOf,
  type LayerFacts,
  labelOfLayer,
  openLayers,
  type Pruning,
  specOf,
  Thresholds,
  withoutZeros,
} from './forms.js';

/** How a model is to run. */
export interface Config {
  form: FormName;
  backend: BackendName;
  pruning: Pruning;
}

/** A file that was read. */
export interface Loaded {
  inputs: ValueReport[];
  /** Layers whose form can be chosen. */
  layers: LayerFacts[];
  /** Those that the file has packed: how many, and as what. */
  packed: { count: number; formats: string[] };
  fileBytes: number;
}

/** One row of the table of layers. */
export interface NodeFacts {
  name: string;
  label: string;
  kernel: string;
  format: string;
  bytes: number | undefined;
  ms: number;
  /** Timed on the device; else predicted. */
  measured: boolean;
}

export interface Report {
  device: string;
  nodes: NodeFacts[];
  weightBytes: number;
  denseBytes: number;
}

export interface Answer {
  name: string;
  shape: readonly number[];
  dtype: ElementType;
  data: DataByDType[ElementType];
  ms: number;
  /** What the dense form answers to the same input; absent where it is the one that ran, or is too large to keep beside. */
  dense: DataByDType[ElementType] | undefined;
  report: Report;
  /** Where it ran: not where it was wanted, when a GPU is lost for good. */
  backend: BackendName;
}

/** A GPU, or why there is none. */
export type Gpu = { label: string; isSoftware: boolean } | { reason: string };

/** What the test images tell. */
export interface Agreement {
  images: number;
  /** Answers that are those of the dense form. */
  same: number;
  correct: number;
}

/** The yardstick is kept beside models of up to so many bytes of dense weights. */
const MOST_DENSE_BYTES = 2 ** 27;
/** Test images are run in batches of so many, with a look at the messages in between. */
const BATCH = 10;
/** A time is told from this many steps of the clock. */
const STEPS_A_RUN = 5;
/** Rates of software adapters are below: timing their kernels takes longer than it brings. */
const SOFTWARE_RATE = 1;

/** Lets messages in. */
const breathe = () => new Promise((resolve) => setTimeout(resolve));

export class Engine {
  readonly #runtimes = new Map<BackendName, Runtime>();
  #graph: Graph | undefined;
  #thresholds = new Thresholds();
  #denseBytes = 0;
  #config: Config | undefined;
  #model: Model | undefined;
  #dense: Model | undefined;
  #images: Batch | undefined;
  /** How far the test images are. */
  #tested: (Agreement & { model: Model; next: number }) | undefined;
  /** What the dense form says to the test images. */
  #denseAnswers: number[] = [];
  #inputs: ModelInputs = {};
  #run = new AbortController();
  #idle = new AbortController();

  /** Starts WASM with so many threads; models that ran on the one before have to be configured again. */
  async open(threads: number | undefined): Promise<{ label: string; threads: number; notes: readonly string[] }> {
    if (this.#config?.backend === 'wasm') this.#freeModel();
    this.#freeDense();
    this.#runtimes.get('wasm')?.free();
    this.#runtimes.delete('wasm');
    const runtime = await createRuntime({ backends: ['wasm'], wasm: { threads }, tune: 'off' });
    this.#runtimes.set('wasm', runtime);
    const { device } = runtime.backends[0];
    return { label: device.label, threads: device.threads!, notes: runtime.notes };
  }

  /**
   * Looks for a GPU: its name, or why there is none.
   * @param onLost called with the reason each time a device is gone
   */
  async findGpu(onLost: (why: string) => void): Promise<Gpu> {
    const { gpu } = navigator;
    if (!gpu) return { reason: 'this browser has none.' };
    try {
      const runtime = await createRuntime({ backends: ['webgpu'], gpu: watched(gpu, onLost), tune: 'off' });
      this.#runtimes.set('webgpu', runtime);
      const { label, macsPerNs } = runtime.backends[0].device;
      return { label, isSoftware: macsPerNs < SOFTWARE_RATE };
    } catch (error) {
      return { reason: error instanceof ThinferError ? (error.hint ?? error.message) : String(error) };
    }
  }

  /**
   * Reads a model. The one before stays in use when this fails.
   * @param source its bytes, or where to fetch it
   * @param onProgress called with the bytes that are there and, where it is known, how many there will be
   */
  async load(
    source: ArrayBuffer | string,
    onProgress: (bytes: number, total: number | undefined) => void,
  ): Promise<Loaded> {
    const { signal } = this.#run;
    const bytes = typeof source === 'string' ? await download(source, onProgress, signal) : new Uint8Array(source);
    const isTflite = new TextDecoder().decode(bytes.subarray(4, 8)) === 'TFL3';
    const graph = optimize((isTflite ? readTflite : readOnnx)(bytes));
    signal.throwIfAborted();
    this.#freeModel();
    this.#freeDense();
    this.#graph = graph;
    this.#thresholds = new Thresholds();
    const layers = graph.nodes.filter(isLayer);
    this.#denseBytes = layers.reduce((sum, { weights: { rows, cols } }) => sum + 4 * rows * cols, 0);
    const packed = layers.filter(({ weights }) => weights.format !== 'dense');
    return {
      inputs: graph.inputs.map(({ name, value }) => {
        const { shape, dtype = 'float32' } = graph.values.get(value)!;
        return { name, shape, dtype };
      }),
      layers: factsOf(graph),
      packed: { count: packed.length, formats: [...new Set(packed.map(({ weights }) => weights.format))] },
      fileBytes: bytes.length,
    };
  }

  /** Packs the weights in a form, and plans. The model before stays in use when this fails. */
  async configure(config: Config): Promise<void> {
    const model = await this.#create(config);
    this.#freeModel();
    this.#model = model;
    this.#config = config;
  }

  /** Computes the answer to inputs, and what the dense form says to them. Aborted by `interrupt(true)`. */
  async run(inputs: ModelInputs): Promise<Answer> {
    const { signal } = this.#run;
    this.#inputs = inputs;
    const { outputs, ms } = await this.#timed(inputs, signal);
    const [[name, { shape, data }]] = Object.entries(outputs);
    const dense = await this.#denseModel();
    const yardstick = dense && (Object.values(await dense.run(inputs, { signal }))[0].data as Answer['data']);
    const { dtype } = this.#model!.outputs[0];
    const { backend } = this.#config!;
    return { name, shape, dtype, data: data as Answer['data'], ms, dense: yardstick, report: this.#report(), backend };
  }

  /** Milliseconds of more runs on the same inputs: as many as wanted, or fewer when time is up or something else is. */
  async measure(runs: number, mostMs: number): Promise<number[]> {
    const { signal } = this.#idle;
    const times: number[] = [];
    const shortest = STEPS_A_RUN * clockStepMs();
    for (const until = performance.now() + mostMs; times.length < runs && performance.now() < until; ) {
      // A clock that is too coarse for one run tells what several take.
      let [count, spent] = [0, 0];
      for (; count === 0 || spent < shortest; count++) spent += (await this.#timed(this.#inputs, this.#run.signal)).ms;
      times.push(spent / count);
      await breathe();
      if (signal.aborted) break;
    }
    return times;
  }

  /** Times the kernels of each layer and goes on with the fastest; undefined where that is not worth its time. */
  async tune(): Promise<Report | undefined> {
    const { device } = this.#runtimes.get(this.#config!.backend)!.backends[0];
    if (device.macsPerNs < SOFTWARE_RATE) return undefined;
    // Its own batch, not that of the test images.
    await this.#model!.run(this.#inputs);
    await this.#model!.tune({ effort: 'quick' });
    // The plan that was tuned is in use from the next run on.
    await this.#model!.run(this.#inputs);
    return this.#report();
  }

  /** Test images for `agreement`. */
  setImages(images: Batch): void {
    this.#images = images;
    this.#tested = undefined;
    this.#denseAnswers = [];
  }

  /**
   * How many test images get the answer that the dense form gives; undefined where that is not worth its time. What was
   * interrupted goes on where it was, as long as the model is the same.
   */
  async agreement(): Promise<Agreement | 'interrupted' | undefined> {
    const { signal } = this.#idle;
    const { device } = this.#runtimes.get(this.#config!.backend)!.backends[0];
    if (!this.#images || device.macsPerNs < SOFTWARE_RATE) return undefined;
    const { count, pixels, labels } = this.#images;
    const model = this.#model!;
    if (this.#tested?.model !== model) this.#tested = { model, next: 0, images: count, same: 0, correct: 0 };
    const result = this.#tested;
    const dense = (await this.#denseModel()) ?? model;
    for (; result.next < count; result.next += BATCH) {
      if (signal.aborted) return 'interrupted';
      const first = result.next;
      const image = pixels.subarray(first * 784, Math.min(first + BATCH, count) * 784);
      const answersOf = async (model: Model) =>
        argmax(Object.values(await model.run({ [model.inputs[0].name]: image }))[0]);
      if (this.#denseAnswers.length <= first) this.#denseAnswers.push(...(await answersOf(dense)));
      for (const [i, answer] of (await answersOf(model)).entries()) {
        result.same += Number(answer === this.#denseAnswers[first + i]);
        result.correct += Number(answer === labels[first + i]);
      }
      await breathe();
    }
    const { images, same, correct } = result;
    return { images, same, correct };
  }

  /** Ends what is done in idle time; with `all`, the run or download in progress too: its call fails with AbortError. */
  interrupt(all: boolean): void {
    this.#idle.abort();
    this.#idle = new AbortController();
    if (!all) return;
    this.#run.abort();
    this.#run = new AbortController();
  }

  async #create({ form, backend, pruning }: Config): Promise<Model> {
    const runtime = this.#runtimes.get(backend)!;
    const graph = form === 'dense' ? withoutZeros(this.#graph!) : this.#graph!;
    const weights = specOf(this.#graph!, form, pruning, this.#thresholds);
    // Packed: each form is itself, or one that takes no more bytes.
    return Model.create(runtime, graph, { weights, memory: 'packed', backend });
  }

  /** A run, with what it took. A GPU that does not come back is left for WASM. */
  async #timed(inputs: ModelInputs, signal: AbortSignal) {
    for (;;) {
      const start = performance.now();
      try {
        const outputs: ModelOutputs = await this.#model!.run(inputs, { signal });
        return { outputs, ms: performance.now() - start };
      } catch (error) {
        if (!isLost(error) || this.#config!.backend === 'wasm') throw error;
        await this.configure({ ...this.#config!, backend: 'wasm' });
      }
    }
  }

  /** The yardstick: dense f32 on WASM. */
  async #denseModel(): Promise<Model | undefined> {
    const { form, backend } = this.#config!;
    if ((form === 'dense' && backend === 'wasm') || this.#denseBytes > MOST_DENSE_BYTES) return undefined;
    if (openLayers(this.#graph!).length === 0) return undefined;
    this.#dense ??= await this.#create({ form: 'dense', backend: 'wasm', pruning: { share: 0 } });
    return this.#dense;
  }

  #report(): Report {
    const { nodes, totals } = this.#model!.report()!;
    const layers = this.#graph!.nodes.filter(isLayer);
    const labels = new Map(layers.map((layer, i) => [layer.name, labelOfLayer(layer, i)]));
    return {
      device: this.#runtimes.get(this.#config!.backend)!.backends[0].device.label,
      nodes: nodes.filter(({ variant }) => variant !== 'alias').map((node) => nodeFacts(node, labels)),
      weightBytes: totals.weightBytes,
      denseBytes: totals.denseBytes,
    };
  }

  #freeModel(): void {
    this.#model?.free();
    this.#model = undefined;
  }

  #freeDense(): void {
    this.#dense?.free();
    this.#dense = undefined;
    this.#denseAnswers = [];
  }
}

function nodeFacts(node: NodeReport, labels: ReadonlyMap<string, string>): NodeFacts {
  const { name, op, variant, format = '', weightBytes, predictedMs, measuredMs } = node;
  return {
    name,
    label: labels.get(name) ?? op,
    kernel: variant,
    format,
    bytes: weightBytes,
    ms: Math.max(measuredMs ?? predictedMs, 0),
    measured: measuredMs !== undefined,
  };
}

/** A GPU whose devices are watched. */
function watched(gpu: GPU, onLost: (why: string) => void): GPU {
  return {
    wgslLanguageFeatures: gpu.wgslLanguageFeatures,
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await gpu.requestAdapter(options);
      if (!adapter) return null;
      const requestDevice = adapter.requestDevice.bind(adapter);
      adapter.requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
        const device = await requestDevice(descriptor);
        device.lost.then(({ reason, message }) => onLost(message || reason));
        return device;
      };
      return adapter;
    },
  } as GPU;
}

async function download(
  url: string,
  onProgress: (bytes: number, total: number | undefined) => void,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const response = await fetch(url, { signal }).catch((error) => {
    signal.throwIfAborted();
    throw new Error(`${url} can't be fetched (${error.message}).`);
  });
  if (!response.ok || !response.body)
    throw new Error(`${url} can't be fetched: ${response.status} ${response.statusText}.`);
  // What a host compressed is longer than it says.
  const length = response.headers.get('Content-Encoding') ? 0 : Number(response.headers.get('Content-Length'));
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    bytes += value.length;
    onProgress(bytes, length || undefined);
  }
}
