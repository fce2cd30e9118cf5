import type { Backend, DeviceBuffer, Kernel, Operands } from '../backend.js';
import { describe, isLost, ThinferError } from '../errors.js';
import type { FormatName } from '../formats/format.js';
import { isMatmul, type Problem } from '../plan/problem.js';
import { type Selection, select } from '../plan/select.js';
import type { BackendName, Candidate } from '../plan/variant.js';
import { Tensor } from '../tensor.js';
import { type Graph, isLayer, type Node, type ValueId } from './ir.js';
import { type Lifetime, type MemoryPlan, planMemory } from './memory.js';
import { packGraph, type WeightsSpec } from './pack.js';
import { optimize } from './passes/index.js';
import { problemOf } from './problems.js';
import { formatShape, inferShapes, isConcrete, type Shape } from './shapes.js';

/** What a model needs from a runtime. Backends are preferred in this order when their predicted times are equal. */
export interface RuntimeLike {
  readonly backends: readonly Backend[];
}

export interface ModelOptions {
  /** How weights are packed, a layer or all. Default `auto`. */
  weights?: WeightsSpec;
  /** Run on this backend only. Default: the one with the lowest predicted time for the shape. */
  backend?: BackendName;
}

/** f32 data with its shape, row-major. */
export interface TensorLike {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * A plain array for an input whose shape has at most one open dimension: the batch follows from its length. A Tensor
 * on the device that the model runs on is read where it lies.
 */
export type ModelInput = Float32Array | TensorLike | Tensor;
export type ModelInputs = Readonly<Record<string, ModelInput>>;
export type ModelOutputs = Record<string, { shape: number[]; data: Float32Array }>;

/** What the plan in use does with one node. */
export interface NodeReport {
  name: string;
  op: Node['op'];
  /** Of the output. */
  shape: number[];
  backend: BackendName;
  /** The row of the backend's table that runs it; for a reshape `alias`: nothing runs. */
  variant: string;
  predictedMs: number;
  /** Layers with weights only. */
  format?: FormatName;
  /** Bytes of packed weights and bias on the device, padding included. Layers with weights only. */
  weightBytes?: number;
  /** Every row that was considered on the chosen backend, and why it was chosen or not. */
  candidates: Candidate[];
}

/** What was predicted for one backend when the plan in use was made. */
export interface PlacementReport {
  backend: BackendName;
  device: string;
  /** Milliseconds of one run; infinite where the graph can't run. */
  predictedMs: number;
  chosen: boolean;
  reason: string;
}

/** Bytes that a model holds on devices. */
export interface ModelMemory {
  /** Packed weights and biases. */
  weightBytes: number;
  /** Constant operands of elementwise operators. */
  constantBytes: number;
  /** Buffers of activations, of all plans that are kept. */
  activationBytes: number;
  /** Buffers of activations of the plan in use, as planned. */
  plannedBytes: number;
  /** The same without sharing buffers. */
  unsharedBytes: number;
}

/** Plans for different input shapes that are kept; the least recently used is freed first. */
export const MAX_PLANS = 4;

/** Things on devices that plans share: made when the first plan asks, freed when the last lets go. */
class Shared<T extends { readonly bytes: number }> {
  readonly #entries = new Map<string, { item: T; users: number; free(): void }>();

  acquire(key: string, make: () => T, free: (item: T) => void): T {
    let entry = this.#entries.get(key);
    if (!entry) {
      const item = make();
      entry = { item, users: 0, free: () => free(item) };
      this.#entries.set(key, entry);
    }
    entry.users++;
    return entry.item;
  }

  release(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry || --entry.users > 0) return;
    this.#entries.delete(key);
    entry.free();
  }

  get bytes(): number {
    return [...this.#entries.values()].reduce((sum, { item }) => sum + item.bytes, 0);
  }
}

type InputData = ReadonlyMap<ValueId, Float32Array | Tensor>;

interface Step {
  node: Node;
  problem: Problem;
  selection: Selection;
}

/** What one backend would do for one shape: nothing is allocated yet. */
interface Draft {
  backend: Backend;
  steps: Step[];
  predictedMs: number;
}

/** A draft with its kernels and weights on the device. Buffers of activations come with the first run. */
interface Plan extends Draft {
  key: string;
  shapes: ReadonlyMap<ValueId, readonly number[]>;
  kernels: Kernel[];
  operands: (Operands | undefined)[];
  constants: ReadonlyMap<ValueId, DeviceBuffer>;
  memory: MemoryPlan;
  buffers: DeviceBuffer[] | undefined;
  placements: PlacementReport[];
  /** Ends its use of everything shared. */
  release: (() => void)[];
  ran: boolean;
}

function product(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

/**
 * A network with its weights packed, on a runtime's backends. The whole graph runs on one backend: the one with the
 * lowest sum of predicted times for the input's shape. Calls may overlap; they run one after the other.
 */
export class Model {
  readonly #runtime: RuntimeLike;
  readonly #graph: Graph;
  readonly #forced: BackendName | undefined;
  /** The value whose memory a value lies in: itself, or what its reshape reads. */
  readonly #roots: ReadonlyMap<ValueId, ValueId>;
  /** Most recently used last. */
  readonly #plans: Plan[] = [];
  readonly #operands = new Shared<Operands>();
  readonly #constants = new Shared<DeviceBuffer>();
  readonly #lost = new Set<Backend>();
  #queue: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #disposed = false;

  private constructor(runtime: RuntimeLike, graph: Graph, forced: BackendName | undefined) {
    this.#runtime = runtime;
    this.#graph = graph;
    this.#forced = forced;
    const roots = new Map<ValueId, ValueId>([...graph.values.keys()].map((id) => [id, id]));
    for (const node of graph.nodes) {
      if (node.op === 'reshape') roots.set(node.output, roots.get(node.inputs[0])!);
    }
    this.#roots = roots;
  }

  /**
   * Optimises a graph, packs its weights and, where only the batch is open, plans for a batch of 1, so that weights and
   * kernels are on the device before the first run.
   * @throws ThinferError `bad-argument` for options that do not fit, `unsupported` for a backend that is not there, `no-kernel` when no backend can run the graph
   */
  static async create(runtime: RuntimeLike, graph: Graph, options: ModelOptions = {}): Promise<Model> {
    const offered = runtime.backends.map((backend) => backend.device.backend);
    const fits = options.backend === undefined ? offered.length > 0 : offered.includes(options.backend);
    if (!fits) {
      throw new ThinferError({
        code: 'unsupported',
        place: 'model.backend',
        expected:
          options.backend === undefined ? 'a runtime with a backend' : `one of ${offered.join(', ') || '(none)'}`,
        got: options.backend === undefined ? 'none' : describe(options.backend),
        hint: 'These are the backends that work on this machine.',
      });
    }
    const model = new Model(runtime, packGraph(optimize(graph), options.weights), options.backend);
    const shapes = model.#shapesForBatchOfOne();
    try {
      if (shapes) await model.#enqueue(() => model.#planFor(shapes));
    } catch (error) {
      model.free();
      throw error;
    }
    return model;
  }

  /** Names and declared shapes; a dimension that is open has a name instead of a size. */
  get inputs(): { name: string; shape: Shape }[] {
    return this.#graph.inputs.map(({ name, value }) => ({ name, shape: this.#graph.values.get(value)!.shape }));
  }

  get outputs(): { name: string; shape: Shape }[] {
    return this.#graph.outputs.map(({ name, value }) => ({ name, shape: this.#graph.values.get(value)!.shape }));
  }

  /** Bytes of packed weights and biases on devices. */
  get weightBytes(): number {
    return this.#operands.bytes;
  }

  get memory(): ModelMemory {
    const plan = this.#plans.at(-1);
    const buffers = this.#plans.flatMap(({ buffers }) => buffers ?? []);
    return {
      weightBytes: this.#operands.bytes,
      constantBytes: this.#constants.bytes,
      activationBytes: buffers.reduce((sum, { bytes }) => sum + bytes, 0),
      plannedBytes: plan?.memory.peakBytes ?? 0,
      unsharedBytes: plan?.memory.unsharedBytes ?? 0,
    };
  }

  /** What the plan used last does with each node; empty before the first plan (a model with open image sizes). */
  explain(): NodeReport[] {
    const plan = this.#plans.at(-1);
    if (!plan) return [];
    const steps = new Map(plan.steps.map((step, i) => [step.node, { ...step, operands: plan.operands[i] }]));
    const { device } = plan.backend;
    return this.#graph.nodes.map((node) => {
      const step = steps.get(node);
      const chosen = step?.selection.candidates.find((candidate) => candidate.chosen);
      const report: NodeReport = {
        name: node.name,
        op: node.op,
        shape: [...plan.shapes.get(node.output)!],
        backend: device.backend,
        variant: step?.selection.variant.name ?? 'alias',
        predictedMs: chosen ? chosen.predictedMs - device.runMs : 0,
        candidates: step?.selection.candidates ?? [],
      };
      if (isLayer(node)) {
        report.format = node.weights.format;
        report.weightBytes = step?.operands?.bytes ?? 0;
      }
      return report;
    });
  }

  /** Why the plan used last is where it is; empty before the first plan. */
  placements(): PlacementReport[] {
    return this.#plans.at(-1)?.placements ?? [];
  }

  /**
   * Computes all outputs. Input arrays are read when the run's turn comes: leave them unchanged until it resolves.
   * @param inputs f32, one for each graph input, row-major in the model's own layout
   * @param options `signal`: refuses the run, or its result once it is there, when it is aborted
   * @throws ThinferError `bad-argument` (names), `bad-shape`, `disposed`, `no-kernel`, `out-of-memory`, or
   * `device-lost` when the device does not come back and no other can take over. The signal's reason when it is aborted.
   */
  async run(inputs: ModelInputs, { signal }: { signal?: AbortSignal } = {}): Promise<ModelOutputs> {
    const { shapes, data } = this.#readInputs(inputs);
    return this.#enqueue(async () => {
      const retried = new Set<Backend>();
      for (;;) {
        signal?.throwIfAborted();
        const plan = await this.#planFor(shapes);
        signal?.throwIfAborted();
        try {
          const outputs = await this.#execute(plan, data);
          signal?.throwIfAborted();
          return outputs;
        } catch (error) {
          if (!isLost(error)) throw error;
          const { backend } = plan;
          const again = !retried.has(backend) && (await backend.recover?.());
          retried.add(backend);
          if (again) this.#freePlans((old) => old.backend === backend);
          else this.#abandon(backend, error);
        }
      }
    });
  }

  /** Frees everything on the devices, after the run in progress if there is one; runs that wait are refused. */
  free(): void {
    this.#disposed = true;
    if (this.#pending === 0) this.#freePlans(() => true);
  }

  async #enqueue<T>(work: () => Promise<T>): Promise<T> {
    this.#requireAlive();
    this.#pending++;
    const result = this.#queue.then(() => {
      this.#requireAlive();
      return work();
    });
    const settled = () => {
      if (--this.#pending === 0 && this.#disposed) this.#freePlans(() => true);
    };
    this.#queue = result.then(settled, settled);
    return result;
  }

  #requireAlive(): void {
    if (!this.#disposed) return;
    throw new ThinferError({ code: 'disposed', place: 'model', expected: 'a model in use', got: 'one after free()' });
  }

  #shapesForBatchOfOne(): Map<ValueId, number[]> | undefined {
    const shapes = new Map<ValueId, number[]>();
    for (const { value } of this.#graph.inputs) {
      const [batch, ...rest] = this.#graph.values.get(value)!.shape;
      if (!isConcrete(rest)) return undefined;
      shapes.set(value, batch === undefined ? [] : [typeof batch === 'number' ? batch : 1, ...rest]);
    }
    return shapes;
  }

  #readInputs(inputs: ModelInputs): { shapes: Map<ValueId, readonly number[]>; data: InputData } {
    const expected = this.#graph.inputs.map(({ name }) => name);
    const given = typeof inputs === 'object' && inputs !== null ? Object.keys(inputs) : [];
    if (given.length !== expected.length || !expected.every((name) => given.includes(name))) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'model.run: inputs',
        expected: `an object with ${expected.map((name) => JSON.stringify(name)).join(', ') || 'no inputs'}`,
        got: given.map((name) => JSON.stringify(name)).join(', ') || describe(inputs),
      });
    }
    const shapes = new Map<ValueId, readonly number[]>();
    const data = new Map<ValueId, Float32Array | Tensor>();
    const sizes = new Map<string, number>();
    // Shapes that are given settle open dimensions for the arrays that come without.
    const withShape = (name: string) => !(inputs[name] instanceof Float32Array);
    const ordered = [...this.#graph.inputs].sort((a, b) => Number(withShape(b.name)) - Number(withShape(a.name)));
    for (const { name, value } of ordered) {
      const { shape: declared } = this.#graph.values.get(value)!;
      const input = readInput(name, inputs[name], declared, sizes);
      shapes.set(value, input.shape);
      data.set(value, input.data);
    }
    return { shapes, data };
  }

  /** The plan for these input shapes, made unless it is kept. */
  async #planFor(inputShapes: ReadonlyMap<ValueId, readonly number[]>): Promise<Plan> {
    const key = JSON.stringify(this.#graph.inputs.map(({ value }) => inputShapes.get(value)));
    const kept = this.#plans.findIndex((plan) => plan.key === key);
    if (kept >= 0) {
      const [plan] = this.#plans.splice(kept, 1);
      this.#plans.push(plan);
      return plan;
    }
    const plan = await this.#makePlan(key, inferShapes(this.#graph, inputShapes));
    // A plan that was made ahead and never ran has served its purpose when another shape comes.
    this.#freePlans((old) => !old.ran);
    this.#plans.push(plan);
    while (this.#plans.length > MAX_PLANS) this.#freePlans((old) => old === this.#plans[0]);
    return plan;
  }

  async #makePlan(key: string, shapes: ReadonlyMap<ValueId, readonly number[]>): Promise<Plan> {
    const placements: PlacementReport[] = [];
    const errors: unknown[] = [];
    const drafts: Draft[] = [];
    const refuse = (backend: Backend, error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      const { backend: name, label } = backend.device;
      placements.push({ backend: name, device: label, predictedMs: Number.POSITIVE_INFINITY, chosen: false, reason });
      errors.push(error);
    };
    for (const backend of this.#runtime.backends) {
      if (this.#forced !== undefined && backend.device.backend !== this.#forced) continue;
      try {
        if (this.#lost.has(backend)) throw lostError(backend);
        drafts.push(this.#draft(backend, shapes));
      } catch (error) {
        if (!(error instanceof ThinferError) || error.code === 'bad-shape') throw error;
        refuse(backend, error);
      }
    }
    drafts.sort((a, b) => a.predictedMs - b.predictedMs);
    let plan: Plan | undefined;
    for (const draft of drafts) {
      if (plan) {
        const { backend, label } = draft.backend.device;
        const reason = `predicted ${(draft.predictedMs / plan.predictedMs).toFixed(2)} x the chosen one's time`;
        placements.push({ backend, device: label, predictedMs: draft.predictedMs, chosen: false, reason });
        continue;
      }
      try {
        plan = await this.#realise(draft, key, shapes).catch(async (error) => {
          if (!isLost(error) || !(await draft.backend.recover?.())) throw error;
          this.#freePlans((old) => old.backend === draft.backend);
          return this.#realise(this.#draft(draft.backend, shapes), key, shapes);
        });
        const { backend, label } = draft.backend.device;
        const reason = this.#forced ? 'forced by name' : 'lowest predicted time';
        placements.push({ backend, device: label, predictedMs: draft.predictedMs, chosen: true, reason });
      } catch (error) {
        if (!(error instanceof ThinferError)) throw error;
        refuse(draft.backend, error);
      }
    }
    if (plan) {
      plan.placements = placements;
      return plan;
    }
    if (errors.length === 1) throw errors[0];
    throw new ThinferError({
      code: 'no-kernel',
      place: 'model',
      expected: 'a backend that runs every node',
      got: placements.map(({ device, reason }) => `${device} (${reason})`).join('; '),
      cause: errors[0],
    });
  }

  /** Selects a row for every node on one backend. */
  #draft(backend: Backend, shapes: ReadonlyMap<ValueId, readonly number[]>): Draft {
    const { device, variants } = backend;
    const steps: Step[] = [];
    let predictedMs = device.runMs;
    for (const node of this.#graph.nodes) {
      const problem = product(shapes.get(node.output)!) === 0 ? undefined : problemOf(node, shapes);
      if (!problem) continue;
      const selection = select(problem, [{ device, variants }], { place: `node "${node.name}"` });
      predictedMs += selection.candidates.find((candidate) => candidate.chosen)!.predictedMs - device.runMs;
      steps.push({ node, problem, selection });
    }
    return { backend, steps, predictedMs };
  }

  /** Puts weights and constants on the device and prepares the kernels; frees what it made when it fails. */
  async #realise(draft: Draft, key: string, shapes: ReadonlyMap<ValueId, readonly number[]>): Promise<Plan> {
    const release: (() => void)[] = [];
    try {
      const constants = this.#uploadConstants(draft, release);
      const operands = draft.steps.map((step) => this.#packStep(draft.backend, step, release));
      const kernels: Kernel[] = [];
      release.push(() => kernels.forEach((kernel) => void kernel.free()));
      const preparing = draft.steps.map(async ({ selection, problem }, i) => {
        kernels[i] = await draft.backend.prepare(selection.variant, problem, operands[i]);
      });
      for (const { status, reason } of (await Promise.allSettled(preparing)) as PromiseRejectedResult[]) {
        if (status === 'rejected') throw reason;
      }
      const memory = planMemory(this.#lifetimes(draft.steps, shapes));
      return {
        ...draft,
        key,
        shapes,
        kernels,
        operands,
        constants,
        memory,
        buffers: undefined,
        placements: [],
        release,
        ran: false,
      };
    } catch (error) {
      for (const free of release.reverse()) free();
      throw error;
    }
  }

  #packStep(backend: Backend, { node, problem, selection }: Step, release: (() => void)[]): Operands | undefined {
    if (!isLayer(node) || !isMatmul(problem)) return undefined;
    const { variant } = selection;
    const key = this.#key(backend, `${node.output} ${backend.layoutOf(variant, problem)}`);
    const operands = this.#operands.acquire(
      key,
      () => backend.pack(variant, problem, node.weights, node.bias),
      (packed) => packed.free(),
    );
    release.push(() => this.#operands.release(key));
    return operands;
  }

  #uploadConstants({ backend, steps }: Draft, release: (() => void)[]): Map<ValueId, DeviceBuffer> {
    const buffers = new Map<ValueId, DeviceBuffer>();
    for (const id of steps.flatMap(({ node }) => node.inputs)) {
      const root = this.#roots.get(id)!;
      const constant = this.#graph.constants.get(root);
      if (!constant || buffers.has(root)) continue;
      const key = this.#key(backend, String(root));
      const label = this.#graph.values.get(root)!.name;
      const upload = () => {
        const buffer = backend.createBuffer(Math.max(constant.data.byteLength, 4), label);
        backend.write(buffer, constant.data);
        return buffer;
      };
      const buffer = this.#constants.acquire(key, upload, (unused) => backend.freeBuffer(unused));
      buffers.set(root, buffer);
      release.push(() => this.#constants.release(key));
    }
    return buffers;
  }

  #key(backend: Backend, what: string): string {
    return `${this.#runtime.backends.indexOf(backend)} ${what}`;
  }

  /** When each tensor is needed: step i writes its output and reads its inputs. Inputs are written before step 0. */
  #lifetimes(steps: readonly Step[], shapes: ReadonlyMap<ValueId, readonly number[]>): Lifetime[] {
    const lifetimes = new Map<ValueId, Lifetime>();
    const bytesOf = (id: ValueId) => Math.max(4 * product(shapes.get(id)!), 4);
    const inputs = new Set(this.#graph.inputs.map(({ value }) => value));
    const read = (id: ValueId, step: number) => {
      const root = this.#roots.get(id)!;
      const lifetime = lifetimes.get(root);
      if (lifetime) lifetime.last = step;
      else if (inputs.has(root)) lifetimes.set(root, { id: root, bytes: bytesOf(root), first: -1, last: step });
    };
    for (const [i, { node }] of steps.entries()) {
      for (const id of node.inputs) read(id, i);
      lifetimes.set(node.output, { id: node.output, bytes: bytesOf(node.output), first: i, last: i });
    }
    // Outputs that steps wrote live on until they are read back; those that are inputs are copied on the host.
    for (const { value } of this.#graph.outputs) {
      const lifetime = lifetimes.get(this.#roots.get(value)!);
      if (lifetime && !inputs.has(lifetime.id)) lifetime.last = steps.length;
    }
    return [...lifetimes.values()];
  }

  async #execute(plan: Plan, data: InputData): Promise<ModelOutputs> {
    const { backend, memory, steps, kernels, constants, shapes } = plan;
    plan.ran = true;
    const buffers = plan.buffers ?? this.#allocate(plan);
    plan.buffers = buffers;
    const here = new Map<ValueId, DeviceBuffer>(constants);
    for (const [id, slot] of memory.slotOf) here.set(id, buffers[slot]);
    for (const [id, input] of data) {
      const buffer = here.get(id);
      if (!buffer) continue;
      if (!(input instanceof Tensor)) backend.write(buffer, input);
      else if (input.backend === backend) here.set(id, input.buffer);
      else backend.write(buffer, await input.data());
    }
    const bufferOf = (id: ValueId) => here.get(this.#roots.get(id)!)!;
    const pass = backend.beginPass();
    for (const [i, { node }] of steps.entries()) pass.run(kernels[i], node.inputs.map(bufferOf), bufferOf(node.output));
    await pass.submit();
    const outputs: ModelOutputs = {};
    for (const { name, value } of this.#graph.outputs) {
      const root = this.#roots.get(value)!;
      const shape = [...shapes.get(value)!];
      const known = data.get(root) ?? this.#graph.constants.get(root)?.data;
      if (known) outputs[name] = { shape, data: known instanceof Tensor ? await known.data() : known.slice() };
      else if (product(shape) === 0) outputs[name] = { shape, data: new Float32Array(0) };
      else outputs[name] = { shape, data: await backend.read(bufferOf(root), product(shape)) };
    }
    return outputs;
  }

  /** The plan's buffers; when there is no room, those of other plans make some. */
  #allocate({ backend, memory }: Plan): DeviceBuffer[] {
    const buffers: DeviceBuffer[] = [];
    const create = () => {
      for (const [i, bytes] of memory.slots.entries()) buffers.push(backend.createBuffer(bytes, `activations ${i}`));
    };
    const drop = () => {
      for (const buffer of buffers.splice(0)) backend.freeBuffer(buffer);
    };
    try {
      create();
    } catch (error) {
      drop();
      if (!this.#freeBuffers()) throw error;
      try {
        create();
      } catch (again) {
        drop();
        throw again;
      }
    }
    return buffers;
  }

  /** Frees the activations of all plans; they are allocated anew when a plan runs. False when there were none. */
  #freeBuffers(): boolean {
    const holders = this.#plans.filter(({ buffers }) => buffers !== undefined);
    for (const plan of holders) {
      for (const buffer of plan.buffers ?? []) plan.backend.freeBuffer(buffer);
      plan.buffers = undefined;
    }
    return holders.length > 0;
  }

  /** Stops using a backend whose device is gone; says so once. */
  #abandon(backend: Backend, error: unknown): void {
    const remains = (other: Backend) => other !== backend && !this.#lost.has(other);
    this.#lost.add(backend);
    this.#freePlans((plan) => plan.backend === backend);
    if (this.#forced !== undefined || !this.#runtime.backends.some(remains)) throw error;
    console.warn(`thinfer: ${backend.device.label} was lost; the model goes on without it.`);
  }

  #freePlans(unwanted: (plan: Plan) => boolean): void {
    const dropped = this.#plans.filter(unwanted);
    for (const plan of dropped) {
      this.#plans.splice(this.#plans.indexOf(plan), 1);
      for (const buffer of plan.buffers ?? []) plan.backend.freeBuffer(buffer);
      for (const free of plan.release.reverse()) free();
    }
  }
}

function lostError(backend: Backend): ThinferError {
  const { label } = backend.device;
  return new ThinferError({ code: 'device-lost', place: 'model', expected: `${label} in use`, got: 'a lost device' });
}

function badInput(name: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-shape', place: `model.run: input "${name}"`, expected, got, hint });
}

/** Checks one input against its declared shape; open dimensions are settled in `sizes`. */
function readInput(
  name: string,
  input: ModelInput,
  declared: Shape,
  sizes: Map<string, number>,
): { shape: readonly number[]; data: Float32Array | Tensor } {
  const data = input instanceof Float32Array || input instanceof Tensor ? input : input?.data;
  const given = input instanceof Float32Array ? undefined : input?.shape;
  const isData = data instanceof Float32Array || (data instanceof Tensor && data.dtype === 'float32');
  if (!isData || !(input instanceof Float32Array || Array.isArray(given))) {
    throw new ThinferError({
      code: 'bad-argument',
      place: `model.run: input "${name}"`,
      expected: 'a Float32Array, { shape, data: Float32Array } or a Tensor of float32',
      got: describe(input),
    });
  }
  const length = data instanceof Tensor ? data.size : data.length;
  if (given) matchShape(name, given, declared, sizes);
  else settle(name, declared, length, sizes);
  const shape = declared.map((dim) => (typeof dim === 'string' ? sizes.get(dim)! : dim));
  if (product(shape) !== length) {
    badInput(name, `${product(shape)} elements for the shape ${formatShape(shape)}`, String(length));
  }
  return { shape, data };
}

/** Checks a shape that came with the data. */
function matchShape(name: string, given: readonly number[], declared: Shape, sizes: Map<string, number>): void {
  const fits = given.every((size, axis) => {
    const dim = declared[axis];
    const wanted = typeof dim === 'string' ? (sizes.get(dim) ?? size) : dim;
    if (typeof dim === 'string') sizes.set(dim, wanted);
    return Number.isSafeInteger(size) && size >= 0 && wanted === size;
  });
  if (!fits || given.length !== declared.length)
    badInput(name, `the shape ${formatShape(declared)}`, formatShape(given));
}

/** Finds the one open dimension of an array that comes without a shape. */
function settle(name: string, declared: Shape, length: number, sizes: Map<string, number>): void {
  const open = declared.filter((dim) => typeof dim === 'string' && !sizes.has(dim)) as string[];
  if (open.length === 0) return;
  const known = product(declared.map((dim) => (typeof dim === 'number' ? dim : (sizes.get(dim) ?? 1))));
  if (open.length > 1) {
    badInput(
      name,
      'a tensor',
      'an array',
      `Its shape ${formatShape(declared)} has open dimensions: pass { shape, data }.`,
    );
  }
  const size = length / known;
  if (!Number.isSafeInteger(size)) {
    badInput(name, `a multiple of ${known} elements for the shape ${formatShape(declared)}`, String(length));
  }
  sizes.set(open[0], size);
}
