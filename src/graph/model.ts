import type { Backend } from '../backend.js';
import type { ElementType } from '../dtype.js';
import { describe, isLost, ThinferError } from '../errors.js';
import { requireChoice } from '../formats/checks.js';
import type { MemoryMode } from '../layers/forms.js';
import type { ArithmeticOption } from '../layers/problem.js';
import type { Effort } from '../plan/choices.js';
import { isMatmul } from '../plan/problem.js';
import { msOf } from '../plan/select.js';
import type { Tuner } from '../plan/tuner.js';
import type { BackendName } from '../plan/variant.js';
import { Tensor } from '../tensor.js';
import {
  allocate,
  execute,
  executeToTensors,
  freeBuffers,
  type ModelOutputs,
  type ModelTensors,
  type StepClock,
} from './execute.js';
import { type InputData, type ModelInputs, readInputs } from './inputs.js';
import { type Graph, isLayer, type ValueId } from './ir.js';
import type { MemoryPlan } from './memory.js';
import { packGraph, type WeightsSpec } from './pack.js';
import { optimize } from './passes/index.js';
import { type Demand, type Draft, deviceOf, type PlacementReport, type Plan, Planner, type Step } from './plan.js';
import { type ModelReport, modelReport, type NodeReport, nodeReports, placementsOf, refused } from './report.js';
import { type ConcreteGraph, concretize, isConcrete, type Shape } from './shapes.js';
import { elementType } from './types.js';

export type { ModelOutputs, ModelTensors } from './execute.js';
export type { ModelInput, ModelInputs, TensorLike } from './inputs.js';
export type { PlacementReport } from './plan.js';
export type { ModelReport, NodeReport, TransferReport } from './report.js';

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
  /** How exactly activations are multiplied with weights in format f16; default `f32`: as they are. */
  arithmetic?: ArithmeticOption;
}

export interface ModelRunOptions {
  /** Refuses the run, or its result once it is there, when it is aborted. */
  signal?: AbortSignal;
  /** Told what the kernels of each node take, by its index in `explain`. The run is slower for it. */
  onNode?: (node: number, ms: number) => void;
  /** With `onNode`: each kernel runs so many times, because clocks have steps. Default 1. */
  repeats?: number;
}

/** An input or output of a model. */
export interface ValueReport {
  name: string;
  shape: Shape;
  dtype: ElementType;
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

  private constructor(runtime: RuntimeLike, graph: Graph, { backend, memory, arithmetic }: ModelOptions) {
    this.#runtime = runtime;
    this.#graph = graph;
    this.#forced = backend;
    this.#planner = new Planner(graph, runtime.backends, { memory, arithmetic, tuner: runtime.tuner });
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
    requireChoice(options.arithmetic ?? 'f32', ['f32', 'f16'], 'model.arithmetic');
    const model = new Model(runtime, packGraph(optimize(graph), options.weights), options);
    const shapes = model.#shapesForBatchOfOne();
    try {
      const ahead = shapes && ({ shapes, homes: new Map(), results: 'arrays' } as const);
      if (ahead) await model.#enqueue(() => model.#planFor(ahead));
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
    const buffers = this.#plans.flatMap(({ shares }) => shares.flatMap((share) => share.buffers ?? []));
    return {
      weightBytes: this.#planner.weightBytes,
      constantBytes: this.#planner.constantBytes,
      activationBytes: buffers.reduce((sum, { bytes }) => sum + bytes, 0),
      plannedBytes: total(plan, ({ peakBytes }) => peakBytes),
      unsharedBytes: total(plan, ({ unsharedBytes }) => unsharedBytes),
    };
  }

  /** What the plan used last does with each node; empty before the first plan (a model with open image sizes). */
  explain(): NodeReport[] {
    const plan = this.#plans.at(-1);
    if (!plan) return [];
    return nodeReports(this.#graph, plan);
  }

  /** The plan used last with its transfers and totals; undefined before the first plan. */
  report(): ModelReport | undefined {
    const plan = this.#plans.at(-1);
    return plan && modelReport(this.#graph, this.#planner, plan);
  }

  /** Why the plan used last is where it is; empty before the first plan. */
  placements(): PlacementReport[] {
    return this.#plans.at(-1)?.placements ?? [];
  }

  /**
   * Computes all outputs. Input arrays are read when the run's turn comes: leave them unchanged until it resolves.
   * @param inputs one for each graph input, row-major in the model's own layout: f32, or the codes that it takes
   * @returns by name: arrays, f32 or, where the model's output is codes or int32, those
   * @throws ThinferError `bad-argument` (names), `bad-shape`, `disposed`, `no-kernel`, `out-of-memory`, or
   * `device-lost` when the device does not come back and no other can take over. The signal's reason when it is aborted.
   */
  async run(inputs: ModelInputs, { signal, onNode, repeats = 1 }: ModelRunOptions = {}): Promise<ModelOutputs> {
    const clock = onNode && this.#clock(onNode, repeats);
    const arrays = (plan: Plan, data: InputData) => execute(this.#graph, this.#planner, plan, data, clock);
    const outputs = await this.#run(inputs, 'arrays', arrays, signal);
    signal?.throwIfAborted();
    return outputs;
  }

  /**
   * The same with results that stay on a device, without a copy: for what goes on with them there, such as another model
   * or the caller's own WebGPU code (`tensor.buffer.gpu`). Together with inputs that are tensors nothing leaves the device.
   * @param options `backend`: where all results shall be. Default: wherever each is computed, at no cost for its way
   * @returns tensors by name, the caller's to free
   * @throws ThinferError as `run` does, and `unsupported` for a backend that is not there
   */
  async runToTensors(
    inputs: ModelInputs,
    { signal, backend }: Pick<ModelRunOptions, 'signal'> & { backend?: BackendName } = {},
  ): Promise<ModelTensors> {
    const there = this.#runtime.backends.filter((other) => !this.#lost.has(other));
    const wanted = there.find(({ device }) => device.backend === backend);
    if (backend !== undefined && !wanted) {
      throw new ThinferError({
        code: 'unsupported',
        place: 'model.runToTensors: backend',
        expected: `one of ${there.map(({ device }) => device.backend).join(', ')}`,
        got: describe(backend),
      });
    }
    const tensors = (plan: Plan, data: InputData) => executeToTensors(this.#graph, this.#planner, plan, data, wanted);
    const outputs = await this.#run(inputs, wanted ?? 'tensors', tensors, signal);
    if (!signal?.aborted) return outputs;
    for (const tensor of Object.values(outputs)) tensor.free();
    throw signal.reason;
  }

  async #run<T>(
    inputs: ModelInputs,
    results: Demand['results'],
    execute: (plan: Plan, data: InputData) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { shapes, data } = readInputs(this.#graph, inputs);
    const homes = new Map([...data].flatMap(([id, input]) => (input instanceof Tensor ? [[id, input.backend]] : [])));
    const wanted = deviceOf(results);
    return this.#enqueue(async () => {
      const retried = new Set<Backend>();
      for (;;) {
        signal?.throwIfAborted();
        if (wanted && this.#lost.has(wanted)) throw lostError(wanted);
        const plan = await this.#planFor({ shapes, homes, results });
        signal?.throwIfAborted();
        try {
          this.#makeRoom(plan);
          const outputs = await execute(plan, data);
          this.#tuneLater(plan);
          return outputs;
        } catch (error) {
          if (!isLost(error)) throw error;
          const backend = losable([...plan.backends, ...homes.values(), ...(wanted ? [wanted] : [])]);
          const again = !retried.has(backend) && (await backend.recover?.());
          retried.add(backend);
          if (again) this.#freePlans((old) => old.backends.includes(backend));
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
    for (const { steps } of this.#draftsWorthTiming(plan)) {
      for (const { backend, asked: problem, node, forms } of byDuration(steps)) {
        if (!alive()) return;
        if (left <= 0) break;
        if (!isLayer(node) || !isMatmul(problem)) continue;
        const { spentMs } = await tuner.tune({ backend, problem, forms, bias: node.bias, alive }, effort, left);
        left -= spentMs;
      }
    }
    if (alive()) await this.#enqueue(() => this.#replan(plan));
  }

  /** The plan's own draft, and others that may turn out to be faster. */
  #draftsWorthTiming(plan: Plan): Draft[] {
    const { drafts } = this.#drafts(concretize(this.#graph, plan.demand.shapes), plan.demand);
    return [plan, ...drafts.filter(({ predictedMs }) => predictedMs <= BACKEND_REACH * plan.predictedMs)];
  }

  /** Puts a plan with the rows that are known to be the fastest now in the place of one that was made before. */
  async #replan(old: Plan): Promise<void> {
    const at = this.#plans.indexOf(old);
    if (at < 0) return;
    const { drafts, placements } = this.#drafts(concretize(this.#graph, old.demand.shapes), old.demand);
    if (drafts[0] && sameKernels(drafts[0], old)) {
      Object.assign(old, drafts[0], { placements: [...placements, ...placementsOf(drafts, this.#forced)] });
      return;
    }
    const plan = await this.#makePlan(old.key, old.demand);
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

  /** The plan for a demand, made unless it is kept. */
  async #planFor(demand: Demand): Promise<Plan> {
    const key = this.#keyOf(demand);
    const kept = this.#plans.findIndex((plan) => plan.key === key);
    if (kept >= 0) {
      const [plan] = this.#plans.splice(kept, 1);
      this.#plans.push(plan);
      return plan;
    }
    const plan = await this.#makePlan(key, demand);
    // A plan that was made ahead and never ran has served its purpose when another shape comes.
    this.#freePlans((old) => !old.ran);
    this.#plans.push(plan);
    while (this.#plans.length > MAX_PLANS) this.#freePlans((old) => old === this.#plans[0]);
    return plan;
  }

  /** Where values come from and go to matters only where some way costs something. */
  #keyOf({ shapes, homes, results }: Demand): string {
    const placed = (backend: Backend | undefined) => (backend?.device.transfer ? backend.device.backend : '');
    const inputs = this.#graph.inputs.map(({ value }) => [shapes.get(value), placed(homes.get(value))]);
    const costly = this.#runtime.backends.some(({ device }) => device.transfer);
    return JSON.stringify([inputs, costly && (deviceOf(results)?.device.backend ?? results)]);
  }

  async #makePlan(key: string, demand: Demand): Promise<Plan> {
    const graph = concretize(this.#graph, demand.shapes);
    const { drafts, placements, errors } = this.#drafts(graph, demand);
    let plan: Plan | undefined;
    while (!plan && drafts.length > 0) {
      const [draft] = drafts;
      try {
        plan = await this.#planner.realise(draft, key, demand, graph.shapes).catch(async (error) => {
          const backend = losable(draft.backends);
          if (!isLost(error) || !(await backend.recover?.())) throw error;
          this.#freePlans((old) => old.backends.includes(backend));
          const [again] = this.#drafts(graph, demand).drafts;
          return this.#planner.realise(again, key, demand, graph.shapes);
        });
        placements.push(...placementsOf(drafts, this.#forced));
      } catch (error) {
        if (!(error instanceof ThinferError)) throw error;
        if (draft.backends.length === 1) {
          placements.push(refused(draft.backends[0], error));
          errors.push(error);
        }
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

  /** What backends would do, the fastest first, and those that can't. */
  #drafts(graph: ConcreteGraph, demand: Demand): { drafts: Draft[]; placements: PlacementReport[]; errors: unknown[] } {
    const wanted = this.#runtime.backends.filter(
      ({ device }) => this.#forced === undefined || device.backend === this.#forced,
    );
    const { drafts, errors } = this.#planner.drafts(
      wanted.filter((backend) => !this.#lost.has(backend)),
      graph,
      demand,
    );
    for (const backend of wanted) if (this.#lost.has(backend)) errors.set(backend, lostError(backend));
    const placements = [...errors].map(([backend, error]) => refused(backend, error));
    return { drafts, placements, errors: [...errors.values()] };
  }

  #clock(onNode: (node: number, ms: number) => void, repeats: number): StepClock {
    const indices = new Map(this.#graph.nodes.map(({ output }, i) => [output, i]));
    return { repeats, onStep: ({ output }, ms) => onNode(indices.get(output)!, ms) };
  }

  #makeRoom(plan: Plan): void {
    plan.ran = true;
    try {
      allocate(plan);
    } catch (error) {
      // The activations of other plans are made anew when those run.
      if (this.#plans.filter(freeBuffers).length === 0) throw error;
      allocate(plan);
    }
  }

  /** Stops using a backend whose device is gone; says so once. */
  #abandon(backend: Backend, error: unknown): void {
    const remains = (other: Backend) => other !== backend && !this.#lost.has(other);
    // Gone before: what is asked for needs it all the same.
    if (this.#lost.has(backend)) throw error;
    this.#lost.add(backend);
    this.#freePlans((plan) => plan.backends.includes(backend));
    if (this.#forced !== undefined || !this.#runtime.backends.some(remains)) throw error;
    console.warn(`thinfer: ${backend.device.label} was lost; the model goes on without it.`);
  }

  #freePlans(unwanted: (plan: Plan) => boolean): void {
    const dropped = this.#plans.filter(unwanted);
    for (const plan of dropped) {
      this.#plans.splice(this.#plans.indexOf(plan), 1);
      freeBuffers(plan);
      for (const free of plan.release.reverse()) free();
    }
  }
}

function byDuration(steps: readonly Step[]): Step[] {
  const msOfStep = ({ selection }: Step) => msOf(selection.candidates.find(({ chosen }) => chosen)!);
  return [...steps].sort((a, b) => msOfStep(b) - msOfStep(a));
}

const sameKernels = (a: Draft, b: Draft): boolean =>
  a.steps.length === b.steps.length &&
  a.steps.every(
    ({ backend, selection: { variant } }, i) =>
      backend === b.steps[i].backend && variant === b.steps[i].selection.variant,
  );

/** The backend whose device may be gone: one that can be opened again, if there is any. */
const losable = (backends: readonly Backend[]): Backend => backends.find(({ recover }) => recover) ?? backends[0];

const total = (plan: Plan | undefined, bytes: (memory: MemoryPlan) => number): number =>
  plan?.shares.reduce((sum, { memory }) => sum + bytes(memory), 0) ?? 0;

function lostError(backend: Backend): ThinferError {
  const { label } = backend.device;
  return new ThinferError({ code: 'device-lost', place: 'model', expected: `${label} in use`, got: 'a lost device' });
}
