import { webgpuVariants } from '../../kernels/variants.js';
import type { Backend, DeviceBuffer, Kernel, Operands, Pass } from '../backend.js';
import { asData, byteLength, type DataByDType, type DType, type TensorData } from '../dtype.js';
import { describe, ThinferError } from '../errors.js';
import type { Bias, Weights } from '../formats/format.js';
import { epilogueOf } from '../formats/outputs.js';
import { isMatmul, type MatmulProblem, outputSize, type Problem } from '../plan/problem.js';
import type { Device } from '../plan/variant.js';
import { type OpenedDevice, openDevice, type WebgpuOptions } from './device.js';
import { USAGE, WebgpuBuffer, WebgpuMemory } from './memory.js';
import { type Pipeline, PipelineCache } from './pipelines.js';
import { Timer } from './timer.js';
import { foldGrid, type Stage, type WebgpuVariant } from './variant.js';

/** Operands as buffers, by the names that shaders declare. */
class WebgpuOperands implements Operands {
  readonly bytes: number;

  constructor(
    readonly layout: string,
    readonly buffers: ReadonlyMap<string, WebgpuBuffer>,
    readonly weights: Weights,
    readonly memory: WebgpuMemory,
  ) {
    this.bytes = [...buffers.values()].reduce((sum, buffer) => sum + buffer.bytes, 0);
  }

  free(): void {
    for (const buffer of this.buffers.values()) this.memory.free(buffer);
  }
}

interface Dispatch extends Pipeline {
  label: string;
  params: WebgpuBuffer | undefined;
  slices: Stage['slices'];
  grid: [x: number, y: number];
  /** What it binds, in the order of `bindings`; numbers count what changes from run to run: see VARYING and SCRATCH. */
  sources: (WebgpuBuffer | number)[];
  /** The last bind groups and what they bind: a run with the same buffers makes none. */
  bound: { gpus: GPUBuffer[]; sizes: number[]; group: GPUBindGroup }[];
}

/** Buffers that come with each run, in this order; those of scratch(p) follow. */
const VARYING = ['input', 'input2', 'output'];
const SCRATCH = VARYING.length;

/** Bind groups that a dispatch keeps. */
const GROUPS_KEPT = 4;

class WebgpuKernel implements Kernel {
  constructor(
    readonly variant: string,
    readonly problem: Problem,
    readonly dispatches: readonly Dispatch[],
    readonly operands: WebgpuOperands | undefined,
    readonly scratch: Readonly<Record<string, number>>,
    readonly memory: WebgpuMemory,
  ) {}

  free(): void {
    for (const { params } of this.dispatches) if (params) this.memory.free(params);
  }
}

interface Step {
  kernel: WebgpuKernel;
  inputs: readonly WebgpuBuffer[];
  output: WebgpuBuffer;
}

/** A device that is lost more often is given up: some kernel may be what it dies of. */
const MOST_RECOVERIES = 3;

/** WebGPU as a backend: a device, its memory, its compiled shaders. */
export class WebgpuBackend implements Backend<WebgpuVariant> {
  readonly variants: readonly WebgpuVariant[] = webgpuVariants;
  readonly #reopen: () => Promise<OpenedDevice | string>;
  #opened: OpenedDevice;
  #memory: WebgpuMemory;
  #pipelines: PipelineCache;
  #gone: ThinferError | undefined;
  #recovering: Promise<boolean> | undefined;
  #recoveries = 0;

  /** @param reopen another device after the loss of one of ours */
  constructor(opened: OpenedDevice, reopen: () => Promise<OpenedDevice | string>) {
    this.#reopen = reopen;
    this.#opened = opened;
    this.#memory = new WebgpuMemory(opened.gpu);
    this.#pipelines = new PipelineCache(opened.gpu);
    this.#watch(opened);
  }

  /** Another one after a recovery. */
  get device(): Device {
    return this.#opened.facts;
  }

  get memory(): WebgpuMemory {
    return this.#memory;
  }

  get #gpu(): GPUDevice {
    return this.#opened.gpu;
  }

  #watch(opened: OpenedDevice): void {
    opened.gpu.lost.then(({ reason, message }) => {
      if (this.#opened === opened) this.#gone ??= lossOf(opened, `${reason || 'unknown'}: ${message}`);
    });
  }

  async recover(): Promise<boolean> {
    if (!this.#gone) return true;
    if (this.#gone.code !== 'device-lost' || !this.#opened.owned || this.#recoveries >= MOST_RECOVERIES) return false;
    this.#recovering ??= this.#openAgain().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  async #openAgain(): Promise<boolean> {
    this.#recoveries++;
    const opened = await this.#reopen();
    if (typeof opened === 'string') return false;
    if (this.#gone?.code !== 'device-lost') {
      opened.gpu.destroy();
      return false;
    }
    console.warn(`thinfer: ${this.device.label} was lost and opened again; weights are uploaded anew.`);
    this.#memory.destroy();
    this.#opened = opened;
    this.#memory = new WebgpuMemory(opened.gpu);
    this.#pipelines = new PipelineCache(opened.gpu);
    this.#gone = undefined;
    this.#watch(opened);
    return true;
  }

  /**
   * A caller's buffer on the same device, which stays the caller's: freeing it here leaves it alive.
   * @throws ThinferError `bad-argument` unless it is a storage buffer of at least `bytes`, rounded up to 16
   */
  wrap(gpu: GPUBuffer, bytes: number): WebgpuBuffer {
    this.#requireAlive();
    const size = Math.max(Math.ceil(bytes / 16) * 16, 16);
    if (!(gpu?.size >= size) || (gpu.usage & USAGE.storage) === 0) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'wrap: buffer',
        expected: `a GPUBuffer with the usage STORAGE and at least ${size} bytes, a multiple of 16`,
        got: gpu?.size === undefined ? describe(gpu) : `one of ${gpu.size} bytes, usage 0x${gpu.usage.toString(16)}`,
      });
    }
    return new WebgpuBuffer(gpu, size, 'a buffer of the caller', Promise.resolve(null), false, this.#memory);
  }

  createBuffer(bytes: number, label: string): WebgpuBuffer {
    this.#requireAlive();
    return this.memory.create(bytes, label);
  }

  freeBuffer(buffer: DeviceBuffer): void {
    const { memory } = ours(buffer, 'freeBuffer');
    memory.free(buffer as WebgpuBuffer);
  }

  write(buffer: DeviceBuffer, data: TensorData): void {
    this.#requireAlive();
    const { gpu, bytes } = this.#here(buffer, 'write').usable;
    if (data.byteLength > bytes) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'write: data',
        expected: `at most ${bytes} bytes`,
        got: `${data.byteLength}`,
      });
    }
    if (data.byteLength % 4 === 0) {
      this.#gpu.queue.writeBuffer(gpu, 0, data.buffer, data.byteOffset, data.byteLength);
    } else {
      // Whole words only; buffers are made of whole vectors.
      const words = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
      words.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      this.#gpu.queue.writeBuffer(gpu, 0, words);
    }
  }

  async read<D extends DType = 'float32'>(
    buffer: DeviceBuffer,
    length: number,
    dtype = 'float32' as D,
  ): Promise<DataByDType[D]> {
    this.#requireAlive();
    const source = this.#here(buffer, 'read').usable;
    const bytes = byteLength(dtype, length);
    if (bytes > source.bytes) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'read: length',
        expected: `at most ${source.bytes} bytes`,
        got: String(bytes),
      });
    }
    try {
      return asData(dtype, await this.memory.read(source, bytes));
    } catch (error) {
      await this.#settleLoss();
      throw source.failure ?? error;
    }
  }

  layoutOf(variant: WebgpuVariant, _problem: Problem): string {
    return variant.layout?.name ?? '';
  }

  pack(variant: WebgpuVariant, problem: Problem, weights: Weights, bias: Bias | undefined): WebgpuOperands {
    this.#requireAlive();
    const { layout } = variant;
    if (!layout || !isMatmul(problem)) throw noWeights(variant, problem);
    const epilogue = epilogueOf(weights, problem, bias);
    const packed = layout.pack(epilogue.weights, problem);
    const arrays = { ...packed, bias: epilogue.bias ?? new Float32Array(weights.rows) };
    const usage = USAGE.storage | USAGE.copySrc | USAGE.copyDst;
    const buffers = new Map<string, WebgpuBuffer>();
    try {
      for (const [name, data] of Object.entries(arrays)) {
        buffers.set(name, this.memory.upload(data, usage, `${layout.name}.${name}`));
      }
    } catch (error) {
      for (const buffer of buffers.values()) this.memory.free(buffer);
      throw error;
    }
    return new WebgpuOperands(layout.name, buffers, weights, this.memory);
  }

  warm(variant: WebgpuVariant, problem: Problem, weights?: Weights): void {
    if (this.#gone) return;
    for (const stage of this.#stagesOf(variant, problem, weights)) this.#pipelines.get(stage).catch(() => {});
  }

  #stagesOf(variant: WebgpuVariant, problem: Problem, weights: Weights | undefined): Stage[] {
    return outputSize(problem) === 0 ? [] : variant.stages(problem, this.device, weights);
  }

  async prepare(variant: WebgpuVariant, problem: Problem, given?: Operands): Promise<WebgpuKernel> {
    const operands = this.#requireOperands(variant, problem, given);
    const stages = this.#stagesOf(variant, problem, operands?.weights);
    const pipelines = await Promise.all(stages.map((stage) => this.#pipelines.get(stage))).catch(async (error) => {
      await this.#settleLoss();
      throw error;
    });
    for (const buffer of operands?.buffers.values() ?? []) {
      await buffer.checked;
      buffer.usable;
    }
    this.#requireAlive();
    return this.#kernel(variant, problem, operands, stages, pipelines);
  }

  /** Failures to compile and to make room are the device's own errors, later. */
  prepareNow(variant: WebgpuVariant, problem: Problem, operands?: Operands): WebgpuKernel {
    const own = this.#requireOperands(variant, problem, operands);
    const stages = this.#stagesOf(variant, problem, own?.weights);
    const pipelines = stages.map((stage) => this.#pipelines.getNow(stage));
    return this.#kernel(variant, problem, own, stages, pipelines);
  }

  #requireOperands(variant: WebgpuVariant, problem: Problem, operands: Operands | undefined) {
    this.#requireAlive();
    if (operands && !(operands instanceof WebgpuOperands)) throw foreign('prepare: operands', operands);
    if ((variant.layout?.name ?? undefined) !== operands?.layout) throw noWeights(variant, problem, operands);
    if (operands && operands.memory !== this.#memory) throw lossOf(this.#opened, 'weights of the device before');
    return operands;
  }

  #kernel(
    variant: WebgpuVariant,
    problem: Problem,
    operands: WebgpuOperands | undefined,
    stages: readonly Stage[],
    pipelines: readonly Pipeline[],
  ): WebgpuKernel {
    const limit = this.#gpu.limits.maxComputeWorkgroupsPerDimension;
    const scratch = stages.length ? (variant.scratch?.(problem) ?? {}) : {};
    const varying = [...VARYING, ...Object.keys(scratch)];
    const dispatches = stages.map(({ label, params: values, slices, workgroups }, i): Dispatch => {
      const params = values && this.memory.upload(new Uint32Array(values), USAGE.uniform, `${variant.name} params`);
      const sources = pipelines[i].bindings.map(({ name }) => {
        const source = name === 'params' ? params : (operands?.buffers.get(name) ?? varying.indexOf(name));
        if (source === undefined || source === -1)
          throw new Error(`${label} declares ${name}, which its row does not provide`);
        return source;
      });
      return { ...pipelines[i], label, slices, grid: foldGrid(workgroups, limit), params, sources, bound: [] };
    });
    return new WebgpuKernel(variant.name, problem, dispatches, operands, scratch, this.memory);
  }

  /** Nothing is encoded before `submit`: a pass that is dropped costs nothing. */
  beginPass({ timed = false } = {}): Pass {
    this.#requireAlive();
    const steps: Step[] = [];
    const timer = timed && this.#gpu.features.has('timestamp-query') ? new Timer(this.#gpu) : undefined;
    return {
      get elapsedMs() {
        return timer?.ms;
      },
      run: (kernel, inputs, output) => {
        if (!(kernel instanceof WebgpuKernel)) throw foreign('run: kernel', kernel);
        if (kernel.memory !== this.#memory) throw lossOf(this.#opened, 'a kernel of the device before');
        steps.push({
          kernel,
          inputs: inputs.map((input) => this.#here(input, `${kernel.variant}: input`)),
          output: this.#here(output, `${kernel.variant}: output`),
        });
      },
      submit: () => this.#submit(steps.splice(0), timer).finally(() => timer?.free()),
    };
  }

  runNow(kernel: Kernel, inputs: readonly DeviceBuffer[], output: DeviceBuffer, pass?: GPUComputePassEncoder): boolean {
    this.#requireAlive();
    if (!(kernel instanceof WebgpuKernel)) throw foreign('runNow: kernel', kernel);
    if (!pass) throw foreign('runNow: pass', pass);
    const here = (buffer: DeviceBuffer) => this.#here(buffer, kernel.variant);
    const scratch: WebgpuBuffer[] = [];
    this.#encode(pass, { kernel, inputs: inputs.map(here), output: here(output) }, scratch, undefined);
    // What is encoded later runs later, and may use them again.
    for (const buffer of scratch.reverse()) this.memory.free(buffer);
    return true;
  }

  free(): void {
    const loss = new ThinferError({
      code: 'disposed',
      place: 'WebGPU backend',
      expected: 'a live backend',
      got: 'one that was freed',
    });
    this.#gone ??= loss;
    this.memory.destroy();
    if (this.#opened.owned) this.#gpu.destroy();
  }

  async #submit(steps: readonly Step[], timer: Timer | undefined): Promise<void> {
    this.#requireAlive();
    const used = steps.flatMap(({ inputs, output }) => [...inputs, output]);
    for (const buffer of used) buffer.usable;
    const gpu = this.#gpu;
    gpu.pushErrorScope('validation');
    gpu.pushErrorScope('out-of-memory');
    const scratch: WebgpuBuffer[] = [];
    let encoded: unknown;
    try {
      const encoder = gpu.createCommandEncoder({ label: 'thinfer' });
      const pass = encoder.beginComputePass({ label: 'thinfer', timestampWrites: timer?.writes });
      let last: GPUComputePipeline | undefined;
      for (const step of steps) last = this.#encode(pass, step, scratch, last);
      pass.end();
      timer?.resolve(encoder);
      gpu.queue.submit([encoder.finish()]);
    } catch (error) {
      encoded = error;
    }
    const errors = [gpu.popErrorScope(), gpu.popErrorScope()].map((scope) => scope.catch(() => null));
    // Later work on these buffers queues behind this pass, so they may be taken at once: the next pass of this kind takes
    // them in the same order, and finds its bind groups.
    for (const buffer of scratch.reverse()) this.memory.free(buffer);
    if (encoded) throw encoded;
    const [outOfMemory, validation] = await Promise.all([
      ...errors,
      gpu.queue.onSubmittedWorkDone().then(
        () => null,
        () => null,
      ),
    ]);
    this.#requireAlive();
    for (const buffer of [...used, ...scratch]) if (buffer.failure) throw buffer.failure;
    const error = outOfMemory ?? validation;
    if (error) {
      throw new ThinferError({
        code: outOfMemory ? 'out-of-memory' : 'unsupported',
        place: `WebGPU pass of ${steps.map(({ kernel }) => kernel.variant).join(', ')}`.slice(0, 200),
        expected: 'commands that the device accepts',
        got: error.message.split('\n')[0],
        cause: error,
      });
    }
    await timer?.read();
  }

  /**
   * @param last the pipeline that is set
   * @returns the one that is then
   */
  #encode(
    pass: GPUComputePassEncoder,
    { kernel, inputs, output }: Step,
    scratch: WebgpuBuffer[],
    last: GPUComputePipeline | undefined,
  ): GPUComputePipeline | undefined {
    // Kernels of one pass run one after the other and may use the same scratch memory.
    const varying = [inputs[0], inputs[1], output];
    for (const [name, bytes] of Object.entries(kernel.scratch)) {
      const size = Math.max(16, Math.ceil(bytes / 16) * 16);
      let buffer = scratch.find((candidate) => candidate.bytes === size && !varying.includes(candidate, SCRATCH));
      if (!buffer) {
        buffer = this.memory.create(bytes, `${kernel.variant} ${name}`);
        scratch.push(buffer);
      }
      varying.push(buffer);
    }
    for (const dispatch of kernel.dispatches) {
      const [x, y] = dispatch.grid;
      if (x === 0) continue;
      if (dispatch.pipeline !== last) pass.setPipeline(dispatch.pipeline);
      last = dispatch.pipeline;
      pass.setBindGroup(0, this.#bindGroup(dispatch, varying));
      pass.dispatchWorkgroups(x, y);
    }
    return last;
  }

  /** The bind group for these buffers: one that was made before, if it is among the last few. */
  #bindGroup(dispatch: Dispatch, varying: readonly WebgpuBuffer[]): GPUBindGroup {
    const { sources, bound } = dispatch;
    const buffers = sources.map((source) => (typeof source === 'number' ? varying[source] : source).usable);
    const known = bound.find((made) =>
      buffers.every(({ gpu, bytes }, i) => made.gpus[i] === gpu && made.sizes[i] === bytes),
    );
    if (known) return known.group;
    const group = this.#gpu.createBindGroup({
      label: dispatch.label,
      layout: dispatch.layout,
      entries: dispatch.bindings.map(({ index, name }, i) => {
        const { gpu, bytes } = buffers[i];
        const [offset, size] = dispatch.slices?.[name] ?? [0, bytes];
        // Whole vectors, as everywhere: buffers are a multiple of 16 bytes long.
        return { binding: index, resource: { buffer: gpu, offset, size: Math.ceil(size / 16) * 16 } };
      }),
    });
    if (bound.length === GROUPS_KEPT) bound.pop();
    bound.unshift({ gpus: buffers.map(({ gpu }) => gpu), sizes: buffers.map(({ bytes }) => bytes), group });
    return group;
  }

  #requireAlive(): void {
    if (this.#gone) throw this.#gone;
  }

  /** A buffer of ours, on the device that is open now. */
  #here(buffer: DeviceBuffer, place: string): WebgpuBuffer {
    const owned = ours(buffer, place);
    if (owned.memory !== this.#memory) throw lossOf(this.#opened, `${owned.label} of the device before`);
    return owned;
  }

  /** After a failure: throws the loss of the device if that is why. Its news may come a little later. */
  async #settleLoss(): Promise<void> {
    const soon = new Promise<void>((resolve) => setTimeout(resolve, 50));
    await Promise.race([this.#gpu.lost, soon]);
    this.#requireAlive();
  }
}

function ours(buffer: DeviceBuffer, place: string): WebgpuBuffer {
  if (!(buffer instanceof WebgpuBuffer)) throw foreign(place, buffer);
  return buffer;
}

function lossOf({ facts, owned }: OpenedDevice, got: string): ThinferError {
  return new ThinferError({
    code: 'device-lost',
    place: `WebGPU device ${facts.label}`,
    expected: 'a live device',
    got: `a lost one (${got})`,
    hint: owned ? 'Make what was on it again.' : 'Create a new runtime with a new device.',
  });
}

function foreign(place: string, value: unknown): ThinferError {
  return new ThinferError({ code: 'bad-argument', place, expected: 'an object of this backend', got: describe(value) });
}

function noWeights(variant: WebgpuVariant, problem: Problem | MatmulProblem, operands?: Operands): ThinferError {
  return new ThinferError({
    code: 'bad-argument',
    place: `${variant.name}: ${problem.op}`,
    expected: variant.layout ? `operands of layout ${variant.layout.name}` : 'no operands',
    got: operands ? `operands of layout ${operands.layout}` : 'none',
  });
}

/** WebGPU as a backend, or why there is none here. */
export async function createWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend | string> {
  const opened = await openDevice(options);
  return typeof opened === 'string' ? opened : new WebgpuBackend(opened, () => openDevice(options));
}
