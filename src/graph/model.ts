import type { Backend, DeviceBuffer, Operands } from '../backend.js';
import { asData, type DataByDType, type ElementType } from '../dtype.js';
import { describe, isLost, ThinferError } from '../errors.js';
import type { FormatName } from '../formats/format.js';
import type { MemoryMode } from '../layers/forms.js';
import type { Effort } from '../plan/choices.js';
import { isMatmul } from '../plan/problem.js';
import { msOf, type Selection } from '../plan/select.js';
import { product } from '../plan/strides.js';
import type { Tuner } from '../plan/tuner.js';
import type { BackendName, Candidate } from '../plan/variant.js';
import { Tensor } from '../tensor.js';
import { type InputData, type ModelInputs, readInputs } from './inputs.js';
import { type Graph, isLayer, type Node, type ValueId } from './ir.js';
import { packGraph, type WeightsSpec } from './pack.js';
import { optimize } from './passes/index.js';
import { type Draft, type InputShapes, type PlacementReport, type Plan, Planner, type Step } from './plan.js';
import { type ConcreteGraph, concretize, isConcrete, type Shape } from './shapes.js';
import { asElements, elementType } from './types.js';

export type { ModelInput, ModelInputs, TensorLike } from './inputs.js';
export type { PlacementReport } from './plan.js';

/** What a model needs from a runtime. Backends are preferred in this order when their predicted times are equal. */
export interface RuntimeLike {
  readonly backends: readonly Backend[];
  /** Absent: kernels are chosen by predicted time alone. */
  readonly tuner?: Tuner;
}

export interface ModelOptions {
  /** How weights are packed, a layer or all. Default `auto`. */
  weights?: WeightsSpec;
  /** Run on this backend only. Default: the one with the lowest predicted time for the shape. */
  backend?: BackendName;
  /**
   * `any`: weights may be stored in another format where that is faster and multiplies the same numbers: csr weights as
   * dense ones, for example. `packed`: in no format that takes more bytes than theirs. Default `any`.
   */
  memory?: MemoryMode;
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
  /** The same from timing on the device; layers that were timed only. */
  measuredMs?: number;
  /** What the weights are stored as. Layers with weights only. */
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

/** Backends whose prediction takes more times the plan's are not timed. */
const BACKEND_REACH = 4;

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

  private constructor(runtime: RuntimeLike, graph: Graph, { backend, memory }: ModelOptions) {
    this.#runtime = runtime;
    this.#graph = graph;
    this.#forced = backend;
    this.#planner = new Planner(graph, runtime.backends, { memory, tuner: runtime.tuner });
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
    const model = new Model(runtime, packGraph(optimize(graph), options.weights), options);
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
      if (chosen.some(({ measuredMs }) => measuredMs !== undefined)) {
        report.measuredMs = chosen.reduce((sum, candidate) => sum + msOf(candidate) - device.runMs, 0);
      }
      if (isLayer(node)) {
        report.format = chosen[0]?.format ?? node.weights.format;
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
          this.#tuneLater(plan);
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

  /**
   * Times the kernels that may be the fastest for each layer, and goes on with the fastest.
   * @param options `effort`: `full` times more kernels for longer. Default `full`. Without `shapes`, for the inputs of the
   * last run, or a batch of 1 where only the batch is open.
   * @throws ThinferError `bad-argument` before the first run of a model with open sizes
   */
  async tune({ effort = 'full' }: { effort?: Effort } = {}): Promise<void> {
    const plan = this.#plans.at(-1);
    if (!plan) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'model.tune',
        expected: 'a run before it, which tells the sizes that are open',
        got: 'none',
      });
    }
    const { tuner } = this.#runtime;
    if (!tuner) return;
    plan.tuned = true;
    await tuner.now(effort, (...how) => this.#tunePlan(plan, tuner, ...how));
  }

  #tuneLater(plan: Plan): void {
    const { tuner } = this.#runtime;
    if (plan.tuned || !tuner) return;
    plan.tuned = true;
    tuner.later((...how) => this.#tunePlan(plan, tuner, ...how));
  }

  /** Times the layers of a plan, those that take longest first; the plan is made anew between two runs. */
  async #tunePlan(plan: Plan, tuner: Tuner, effort: Effort, budgetMs: number): Promise<void> {
    const alive = () => !this.#disposed && this.#plans.includes(plan);
    let left = budgetMs;
    for (const { backend, steps } of this.#draftsWorthTiming(plan)) {
      for (const { asked: problem, node, forms } of byDuration(steps)) {
        if (!alive()) return;
        if (left <= 0) break;
        if (!isLayer(node) || !isMatmul(problem)) continue;
        const { spentMs } = await tuner.tune({ backend, problem, forms, bias: node.bias, alive }, effort, left);
        left -= spentMs;
      }
    }
    if (alive()) await this.#enqueue(() => this.#replan(plan));
  }

  /** The plan's own draft, and those of other backends that may turn out to be faster. */
  #draftsWorthTiming(plan: Plan): Draft[] {
    const others = this.#runtime.backends.filter(
      (backend) => backend !== plan.backend && this.#forced === undefined && !this.#lost.has(backend),
    );
    const graph = concretize(this.#graph, plan.inputShapes);
    const drafts = others.flatMap((backend) => {
      try {
        return [this.#planner.draft(backend, graph)];
      } catch {
        return [];
      }
    });
    return [plan, ...drafts.filter(({ predictedMs }) => predictedMs <= BACKEND_REACH * plan.predictedMs)];
  }

  /** Puts a plan with the rows that are known to be the fastest now in the place of one that was made before. */
  async #replan(old: Plan): Promise<void> {
    const at = this.#plans.indexOf(old);
    if (at < 0) return;
    const { drafts, placements } = this.#drafts(concretize(this.#graph, old.inputShapes));
    if (drafts[0] && sameKernels(drafts[0], old)) {
      Object.assign(old, drafts[0], { placements: [...placements, ...placementsOf(drafts, this.#forced)] });
      return;
    }
    const plan = await this.#makePlan(old.key, old.inputShapes);
    plan.tuned = true;
    plan.ran = old.ran;
    this.#plans.splice(at, 0, plan);
    this.#freePlans((other) => other === old);
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
  async #planFor(inputShapes: InputShapes): Promise<Plan> {
    const key = JSON.stringify(this.#graph.inputs.map(({ value }) => inputShapes.get(value)));
    const kept = this.#plans.findIndex((plan) => plan.key === key);
    if (kept >= 0) {
      const [plan] = this.#plans.splice(kept, 1);
      this.#plans.push(plan);
      return plan;
    }
    const plan = await this.#makePlan(key, inputShapes);
    // A plan that was made ahead and never ran has served its purpose when another shape comes.
    this.#freePlans((old) => !old.ran);
    this.#plans.push(plan);
    while (this.#plans.length > MAX_PLANS) this.#freePlans((old) => old === this.#plans[0]);
    return plan;
  }

  async #makePlan(key: string, inputShapes: InputShapes): Promise<Plan> {
    const graph = concretize(this.#graph, inputShapes);
    const { drafts, placements, errors } = this.#drafts(graph);
    let plan: Plan | undefined;
    while (!plan && drafts.length > 0) {
      const [draft] = drafts;
      try {
        plan = await this.#planner.realise(draft, key, inputShapes, graph.shapes).catch(async (error) => {
          if (!isLost(error) || !(await draft.backend.recover?.())) throw error;
          this.#freePlans((old) => old.backend === draft.backend);
          return this.#planner.realise(this.#planner.draft(draft.backend, graph), key, inputShapes, graph.shapes);
        });
        placements.push(...placementsOf(drafts, this.#forced));
      } catch (error) {
        if (!(error instanceof ThinferError)) throw error;
        placements.push(refused(draft.backend, error));
        errors.push(error);
        drafts.shift();
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

  /** What each backend would do, the fastest first, and those that can't. */
  #drafts(graph: ConcreteGraph): { drafts: Draft[]; placements: PlacementReport[]; errors: unknown[] } {
    const drafts: Draft[] = [];
    const placements: PlacementReport[] = [];
    const errors: unknown[] = [];
    for (const backend of this.#runtime.backends) {
      if (this.#forced !== undefined && backend.device.backend !== this.#forced) continue;
      try {
        if (this.#lost.has(backend)) throw lostError(backend);
        drafts.push(this.#planner.draft(backend, graph));
      } catch (error) {
        if (!(error instanceof ThinferError) || error.code === 'bad-shape') throw error;
        placements.push(refused(backend, error));
        errors.push(error);
      }
    }
    drafts.sort((a, b) => a.predictedMs - b.predictedMs);
    return { drafts, placements, errors };
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

function byDuration(steps: readonly Step[]): Step[] {
  const msOfStep = ({ selection }: Step) => msOf(selection.candidates.find(({ chosen }) => chosen)!);
  return [...steps].sort((a, b) => msOfStep(b) - msOfStep(a));
}

const sameKernels = (a: Draft, b: Draft): boolean =>
  a.backend === b.backend &&
  a.steps.length === b.steps.length &&
  a.steps.every(({ selection: { variant } }, i) => variant === b.steps[i].selection.variant);

/** Why the first of the drafts is the plan, and the others are not. */
function placementsOf(drafts: readonly Draft[], forced: BackendName | undefined): PlacementReport[] {
  return drafts.map(({ backend: { device }, predictedMs }, i) => {
    const ratio = (predictedMs / drafts[0].predictedMs).toFixed(2);
    const first = forced ? 'forced by name' : 'lowest predicted time';
    const reason = i === 0 ? first : `predicted ${ratio} x the chosen one's time`;
    return { backend: device.backend, device: device.label, predictedMs, chosen: i === 0, reason };
  });
}

function refused({ device }: Backend, error: unknown): PlacementReport {
  const reason = error instanceof Error ? error.message : String(error);
  const { backend, label } = device;
  return { backend, device: label, predictedMs: Number.POSITIVE_INFINITY, chosen: false, reason };
}

function lostError(backend: Backend): ThinferError {
  const { label } = backend.device;
  return new ThinferError({ code: 'device-lost', place: 'model', expected: `${label} in use`, got: 'a lost device' });
}
