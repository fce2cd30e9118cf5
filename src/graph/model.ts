import type { Backend, DeviceBuffer, Operands } from '../backend.js';
import { asData, type DataByDType, type ElementType } from '../dtype.js';
import { describe, isLost, ThinferError } from '../errors.js';
import type { FormatName } from '../formats/format.js';
import type { Selection } from '../plan/select.js';
import { product } from '../plan/strides.js';
import type { BackendName, Candidate } from '../plan/variant.js';
import { Tensor } from '../tensor.js';
import { type InputData, type ModelInputs, readInputs } from './inputs.js';
import { type Graph, isLayer, type Node, type ValueId } from './ir.js';
import { packGraph, type WeightsSpec } from './pack.js';
import { optimize } from './passes/index.js';
import { type Draft, type PlacementReport, type Plan, Planner } from './plan.js';
import { type ConcreteGraph, concretize, isConcrete, type Shape } from './shapes.js';
import { asElements, elementType } from './types.js';

export type { ModelInput, ModelInputs, TensorLike } from './inputs.js';
export type { PlacementReport } from './plan.js';

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

/** f32, or, where the model's output is codes or int32, those. */
export type ModelOutputs = Record<string, { shape: number[]; data: DataByDType[ElementType] }>;

/** An input or output of a model. */
export interface ValueReport {
  name: string;
  shape: Shape;
  dtype: ElementType;
}

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
  /** Bytes of packed weights and bias on the device, padding included; 0 for those that a layer before has. Layers with weights only. */
  weightBytes?: number;
  /** Every row that was considered on the chosen backend, and why it was chosen or not. */
  candidates: Candidate[];
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

/**
 * A network with its weights packed, on a runtime's backends. The whole graph runs on one backend: the one with the
 * lowest sum of predicted times for the input's shape. Calls may overlap; they run one after the other.
 */
export class Model {
  readonly #runtime: RuntimeLike;
  readonly #graph: Graph;
  readonly #forced: BackendName | undefined;
  readonly #planner: Planner;
  /** Most recently used last. */
  readonly #plans: Plan[] = [];
  readonly #lost = new Set<Backend>();
  #queue: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #disposed = false;

  private constructor(runtime: RuntimeLike, graph: Graph, forced: BackendName | undefined) {
    this.#runtime = runtime;
    this.#graph = graph;
    this.#forced = forced;
    this.#planner = new Planner(graph, runtime.backends);
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

  /** Names, declared shapes and what elements are; a dimension that is open has a name instead of a size. */
  get inputs(): ValueReport[] {
    return this.#graph.inputs.map((input) => this.#report(input));
  }

  get outputs(): ValueReport[] {
    return this.#graph.outputs.map((output) => this.#report(output));
  }

  #report({ name, value }: Graph['inputs'][number]): ValueReport {
    const known = this.#graph.values.get(value)!;
    return { name, shape: known.shape, dtype: elementType(known) };
  }

  /** Bytes of packed weights and biases on devices. */
  get weightBytes(): number {
    return this.#planner.weightBytes;
  }

  get memory(): ModelMemory {
    const plan = this.#plans.at(-1);
    const buffers = this.#plans.flatMap(({ buffers }) => buffers ?? []);
    return {
      weightBytes: this.#planner.weightBytes,
      constantBytes: this.#planner.constantBytes,
      activationBytes: buffers.reduce((sum, { bytes }) => sum + bytes, 0),
      plannedBytes: plan?.memory.peakBytes ?? 0,
      unsharedBytes: plan?.memory.unsharedBytes ?? 0,
    };
  }

  /** What the plan used last does with each node; empty before the first plan (a model with open image sizes). */
  explain(): NodeReport[] {
    const plan = this.#plans.at(-1);
    if (!plan) return [];
    const { device } = plan.backend;
    const reported = new Set<Operands>();
    const stepsOf = new Map<ValueId, { selection: Selection; operands: Operands | undefined }[]>();
    for (const [i, { node, selection }] of plan.steps.entries()) {
      const others = stepsOf.get(node.output) ?? [];
      stepsOf.set(node.output, [...others, { selection, operands: plan.operands[i] }]);
    }
    return this.#graph.nodes.map((node) => {
      const steps = stepsOf.get(node.output) ?? [];
      const candidates = steps.flatMap(({ selection }) => selection.candidates);
      const chosen = candidates.filter((candidate) => candidate.chosen);
      const report: NodeReport = {
        name: node.name,
        op: node.op,
        shape: [...plan.shapes.get(node.output)!],
        backend: device.backend,
        variant: [...new Set(chosen.map(({ variant }) => variant))].join(', ') || 'alias',
        predictedMs: chosen.reduce((sum, { predictedMs }) => sum + predictedMs - device.runMs, 0),
        candidates,
      };
      if (isLayer(node)) {
        report.format = node.weights.format;
        const operands = steps[0]?.operands;
        report.weightBytes = operands && !reported.has(operands) ? operands.bytes : 0;
        if (operands) reported.add(operands);
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
   * @param inputs one for each graph input, row-major in the model's own layout: f32, or the codes that it takes
   * @param options `signal`: refuses the run, or its result once it is there, when it is aborted
   * @throws ThinferError `bad-argument` (names), `bad-shape`, `disposed`, `no-kernel`, `out-of-memory`, or
   * `device-lost` when the device does not come back and no other can take over. The signal's reason when it is aborted.
   */
  async run(inputs: ModelInputs, { signal }: { signal?: AbortSignal } = {}): Promise<ModelOutputs> {
    const { shapes, data } = readInputs(this.#graph, inputs);
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

  /** The plan for these input shapes, made unless it is kept. */
  async #planFor(inputShapes: ReadonlyMap<ValueId, readonly number[]>): Promise<Plan> {
    const key = JSON.stringify(this.#graph.inputs.map(({ value }) => inputShapes.get(value)));
    const kept = this.#plans.findIndex((plan) => plan.key === key);
    if (kept >= 0) {
      const [plan] = this.#plans.splice(kept, 1);
      this.#plans.push(plan);
      return plan;
    }
    const plan = await this.#makePlan(key, concretize(this.#graph, inputShapes));
    // A plan that was made ahead and never ran has served its purpose when another shape comes.
    this.#freePlans((old) => !old.ran);
    this.#plans.push(plan);
    while (this.#plans.length > MAX_PLANS) this.#freePlans((old) => old === this.#plans[0]);
    return plan;
  }

  async #makePlan(key: string, graph: ConcreteGraph): Promise<Plan> {
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
        drafts.push(this.#planner.draft(backend, graph));
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
        plan = await this.#planner.realise(draft, key, graph.shapes).catch(async (error) => {
          if (!isLost(error) || !(await draft.backend.recover?.())) throw error;
          this.#freePlans((old) => old.backend === draft.backend);
          return this.#planner.realise(this.#planner.draft(draft.backend, graph), key, graph.shapes);
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
    const bufferOf = (id: ValueId) => here.get(this.#planner.rootOf(id))!;
    const pass = backend.beginPass();
    for (const [i, { node, inputs }] of steps.entries()) {
      pass.run(kernels[i], inputs.map(bufferOf), bufferOf(node.output));
    }
    await pass.submit();
    const outputs: ModelOutputs = {};
    for (const { name, value } of this.#graph.outputs) {
      const root = this.#planner.rootOf(value);
      const shape = [...shapes.get(value)!];
      const dtype = elementType(this.#graph.values.get(value)!);
      const constant = this.#graph.constants.get(root)?.data;
      const known = data.get(root) ?? (constant && asElements(dtype, constant));
      if (known instanceof Tensor) outputs[name] = { shape, data: await (known as Tensor<ElementType>).data() };
      else if (known) outputs[name] = { shape, data: known.slice() };
      else if (product(shape) === 0) outputs[name] = { shape, data: asData(dtype, new ArrayBuffer(0)) };
      else outputs[name] = { shape, data: await backend.read(bufferOf(root), product(shape), dtype) };
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
