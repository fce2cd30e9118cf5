import type { Backend, Kernel, Operands } from '../backend.js';
import { byteLength, type DType, dtypeOf, storedLength, type TensorData } from '../dtype.js';
import { describe, elementCount, isLost, ThinferError } from '../errors.js';
import type { Bias, Weights } from '../formats/format.js';
import type { Form } from '../formats/forms.js';
import type { Effort } from '../plan/choices.js';
import { inputSize, type MatmulProblem, type Problem, type WeightFacts } from '../plan/problem.js';
import { type Selection, select } from '../plan/select.js';
import type { Tuner } from '../plan/tuner.js';
import type { Candidate, VariantBase } from '../plan/variant.js';
import { Tensor } from '../tensor.js';
import type { LayerDtypes } from './dtypes.js';

/** A shape whose first dimension is the batch: [M, K] of linear, [batch, height, width, channels] of conv2d. */
type Shape = readonly number[];

/** What a layer multiplies by: f32, or what `input` and the format of the weights make it take besides. */
export type LayerInput = Float32Array | Uint8Array | Int8Array | Tensor<DType>;

/** What makes a layer linear or conv2d. */
export interface LayerKind {
  place: string;
  /** The shape of a plain array that comes without one; throws when it can't be known. */
  shapeOf(length: number): Shape;
  /** Throws ThinferError `bad-shape` when the shape does not suit the weights. */
  problemOf(shape: Shape, dtype: DType): MatmulProblem;
  outputShape(problem: MatmulProblem): Shape;
}

/** How one run differs from others. */
export interface RunOptions<D extends DType = 'float32'> {
  /** Refuses the run, or its result once it is there, when it is aborted: work on the device is not cut short. */
  signal?: AbortSignal;
  /** Where the result goes, instead of a new tensor: of its shape and dtype; it is returned. */
  output?: Tensor<D>;
}

/** What a layer is made of, checked. */
export interface LayerParts<D extends DType> {
  kind: LayerKind;
  backends: readonly Backend[];
  weights: Weights;
  /** What the weights may be stored as: as they are first. */
  forms: readonly Form[];
  bias: Bias | undefined;
  dtypes: LayerDtypes<D>;
  /** The name of the only row that may run, or ''. */
  force: string;
  tuner: Tuner;
}

/** Where one run has to be, and where its input is. */
interface Where {
  /** The backend that has to do it, if one has to. */
  only?: Backend | undefined;
  /** The device with memory of its own that the input lies on, if it does. */
  from?: Backend | undefined;
}

interface Plan {
  problem: MatmulProblem;
  backend: Backend;
  where: Where;
  /** The row, by name, and what it multiplies by, by its key in #operands. */
  variant: string;
  packed: string;
  kernel: Promise<Kernel>;
  /** The same, once it is there. */
  ready?: Kernel;
  /** Runs that hold it now. */
  users: number;
  /** Rows were timed for it, or are about to be. */
  tuned: boolean;
}

/** Backends whose best row is predicted to take more times the best one's time are not tried. */
const BACKEND_REACH = 4;

/** Problems (batch sizes, image sizes) that a layer keeps kernels for. */
const PLANS_KEPT = 8;

/** Packed weights on a device, with a kernel chosen for each size of input they have met. */
export class Layer<D extends DType = 'float32'> {
  readonly weights: Weights;
  readonly #parts: LayerParts<D>;
  readonly #kind: LayerKind;
  readonly #dtypes: LayerDtypes<D>;
  /** In order of last use. */
  readonly #plans = new Map<string, Plan>();
  /** Plans that others have taken the place of while runs held them. */
  readonly #retired = new Set<Plan>();
  readonly #operands = new Map<string, { owner: Backend; operands: Operands }>();
  /** Backends whose device is gone for good. */
  readonly #lost = new Set<Backend>();
  #last: MatmulProblem | undefined;
  #freed = false;

  /** Made by Runtime.linear and Runtime.conv2d. */
  constructor(parts: LayerParts<D>) {
    this.#parts = parts;
    this.#kind = parts.kind;
    this.#dtypes = parts.dtypes;
    this.weights = parts.weights;
  }

  /** About the weights as they were given. */
  get facts(): WeightFacts {
    return this.#parts.forms[0].facts;
  }

  /** Bytes of packed weights on devices: one copy for each layout in use. */
  get bytes(): number {
    let bytes = 0;
    for (const { operands } of this.#operands.values()) bytes += operands.bytes;
    return bytes;
  }

  /**
   * Multiplies.
   * @param x linear: [M, K] with any M; conv2d: [batch, height, width, channels]; row-major f32, codes of the dtype that
   * the option `input` names, or, for xnor weights, a tensor of `bits`
   * @param shape of a plain array; needed by conv2d, optional for linear
   * @returns [M, N] or [batch, outHeight, outWidth, outputs] of the dtype that the option `output` names, on the device
   * that computed it; free it after use
   * @throws ThinferError `bad-shape`; `bad-argument` for a dtype that the layer does not take; `device-lost` when the
   * device is gone and neither comes back nor has another to take over. The signal's reason when it is aborted.
   */
  async run(x: LayerInput, shape?: Shape, options: RunOptions<D> = {}): Promise<Tensor<D>> {
    this.#requireAlive();
    const problem = this.#kind.problemOf(this.#shapeOf(x, shape), this.#dtypeOf(x));
    this.#requireOutput(problem, options.output);
    const from = x instanceof Tensor && x.backend.device.transfer ? x.backend : undefined;
    const run = async (plan: Plan) => {
      const result = await this.#runPlan(plan, x, options);
      this.#tuneLater(plan);
      return result;
    };
    return this.#withPlan(problem, run, options, from);
  }

  /**
   * Makes ready for inputs of a shape, as the first run would: chooses the kernel, packs the weights, compiles. Runs that
   * follow find it done.
   * @param shape of an input: [M, K] of linear, [batch, height, width, channels] of conv2d
   * @param dtype of an input: one that the layer takes
   * @throws ThinferError as `run` does
   */
  async prepare(shape: Shape, dtype: DType = 'float32'): Promise<void> {
    this.#requireAlive();
    elementCount(shape, `${this.#kind.place}: shape`);
    const problem = this.#kind.problemOf(shape, this.#requireDtype(dtype));
    await this.#withPlan(problem, async ({ kernel }) => void (await kernel));
  }

  /**
   * Multiplies before it returns, for callers that can't wait: on WASM the work is done then, on WebGPU it is encoded.
   * Sizes that were not prepared are prepared first. Nothing is timed afterwards.
   * @param x on the device that the layer runs on
   * @param shape of x, as `run` takes it
   * @param output of the result's shape and dtype, on the same device
   * @param pass WebGPU: where commands go; the caller ends and submits it before anything is freed
   * @returns false where it can't be done now, as other work on the device waits for a thread, or is still being prepared:
   * then nothing was done
   */
  runNow(x: Tensor<DType>, shape: Shape, output: Tensor<D>, pass?: GPUComputePassEncoder): boolean {
    this.#requireAlive();
    const problem = this.#kind.problemOf(this.#shapeOf(x, shape), this.#dtypeOf(x));
    this.#requireOutput(problem, output);
    const plan = this.#planFor(problem, { only: x.backend }, true);
    if (!plan?.ready || plan.backend !== x.backend || x.backend !== output.backend) return false;
    const done = plan.backend.runNow?.(plan.ready, [x.buffer], output.buffer, pass) ?? false;
    this.#evict();
    return done;
  }

  /** The shape of what an input of this shape gives. */
  outputShape(shape: Shape, dtype: DType = 'float32'): Shape {
    return this.#kind.outputShape(this.#kind.problemOf(shape, this.#requireDtype(dtype)));
  }

  /** Works with the plan for a problem, with another one where its device is lost. */
  async #withPlan<T>(
    problem: MatmulProblem,
    work: (plan: Plan) => Promise<T>,
    { signal, output }: RunOptions<D> = {},
    from?: Backend,
  ): Promise<T> {
    const retried = new Set<Backend>();
    for (;;) {
      signal?.throwIfAborted();
      const plan = this.#planFor(problem, { only: output?.backend, from });
      plan.users++;
      try {
        return await work(plan);
      } catch (error) {
        if (!isLost(error)) throw error;
        await this.#survive(plan.backend, retried, error);
      } finally {
        plan.users--;
        this.#evict();
      }
    }
  }

  /** After the loss of a device: it is opened again, once a run, or left; throws when no other is there. */
  async #survive(backend: Backend, retried: Set<Backend>, error: unknown): Promise<void> {
    const again = !retried.has(backend) && (await backend.recover?.());
    retried.add(backend);
    this.#forget(backend);
    if (again) return;
    this.#lost.add(backend);
    if (this.#living(undefined).length === 0) throw error;
    console.warn(`thinfer: ${backend.device.label} was lost; ${this.#kind.place} goes on without it.`);
  }

  /** Drops what lay on a device. Runs that still hold a plan free nothing of it twice. */
  #forget(backend: Backend): void {
    for (const [key, plan] of this.#plans) {
      if (plan.backend !== backend) continue;
      this.#plans.delete(key);
      dropKernel(plan);
    }
    for (const [key, { owner, operands }] of this.#operands) {
      if (owner !== backend) continue;
      this.#operands.delete(key);
      operands.free();
    }
  }

  #living(only: Backend | undefined): readonly Backend[] {
    return this.#parts.backends.filter(
      (backend) => !this.#lost.has(backend) && (only === undefined || backend === only),
    );
  }

  #requireOutput(problem: MatmulProblem, output: Tensor<D> | undefined): void {
    if (!output) return;
    const shape = this.#kind.outputShape(problem);
    const same = output.shape.length === shape.length && shape.every((size, i) => size === output.shape[i]);
    if (same && output.dtype === this.#dtypes.output && this.#parts.backends.includes(output.backend)) return;
    throw new ThinferError({
      code: 'bad-shape',
      place: `${this.#kind.place}: output`,
      expected: `a ${this.#dtypes.output} tensor [${shape.join(', ')}] on a device of the layer`,
      got: `${output.dtype} [${output.shape.join(', ')}] on ${output.backend.device.label}`,
    });
  }

  async #runPlan(
    { problem, backend, kernel }: Plan,
    x: LayerInput,
    { signal, output: given }: RunOptions<D>,
  ): Promise<Tensor<D>> {
    const shape = this.#kind.outputShape(problem);
    const dtype = this.#dtypes.output;
    const ready = await kernel;
    signal?.throwIfAborted();
    // A tensor of another device comes over the host.
    const data: TensorData | Tensor<DType> = x instanceof Tensor && x.backend !== backend ? await x.data() : x;
    const input = data instanceof Tensor ? data.buffer : backend.createBuffer(data.byteLength, 'input');
    try {
      if (!(data instanceof Tensor)) backend.write(input, data);
      elementCount(shape, this.#kind.place);
      const bytes = byteLength(dtype, storedLength(dtype, shape));
      const output = given ?? new Tensor(backend, backend.createBuffer(bytes, 'output'), shape, dtype);
      try {
        const pass = backend.beginPass();
        pass.run(ready, [input], output.buffer);
        await pass.submit();
        signal?.throwIfAborted();
        return output;
      } catch (error) {
        if (!given) output.free();
        throw error;
      }
    } finally {
      if (!(data instanceof Tensor)) backend.freeBuffer(input);
    }
  }

  /**
   * Every kernel that could do this layer's work, best first: predicted time, the chosen one, and why not the others.
   * @param shape of an input; default: that of the last run, or one row for a linear layer that has not run
   */
  explain(shape?: Shape): Candidate[] {
    return this.#select(this.#problemAt(shape), this.#living(undefined)).candidates;
  }

  /**
   * Times the rows that may be the fastest for an input's size, and goes on with the fastest. What was found for the same
   * problem before, by another layer or another run of the program, is not timed again.
   * @param shape of an input; default: that of the last run, or one row for a linear layer that has not run
   * @param options `effort`: `full` times more rows for longer. Default `full`.
   */
  async tune(shape?: Shape, { effort = 'full' }: { effort?: Effort } = {}): Promise<void> {
    const problem = this.#problemAt(shape);
    const plan = this.#planFor(problem, {});
    plan.tuned = true;
    plan.users++;
    try {
      await this.#parts.tuner.now(effort, (...how) => this.#tune(plan, ...how));
    } finally {
      plan.users--;
      this.#evict();
    }
  }

  #problemAt(shape: Shape | undefined): MatmulProblem {
    if (shape) return this.#kind.problemOf(shape, this.#last?.input.dtype ?? 'float32');
    return this.#last ?? this.#kind.problemOf(this.#kind.shapeOf(this.weights.cols), 'float32');
  }

  #tuneLater(plan: Plan): void {
    if (plan.tuned) return;
    plan.tuned = true;
    this.#parts.tuner.later((...how) => this.#tune(plan, ...how));
  }

  /** Times rows for a plan's problem; when others win, the plan is replaced by one of them, between two runs. */
  async #tune(plan: Plan, effort: Effort, budgetMs: number): Promise<void> {
    const { problem } = plan;
    const { tuner, forms, bias, force } = this.#parts;
    const entry = [...this.#plans].find(([, other]) => other === plan);
    if (!entry) return;
    const [key] = entry;
    const alive = () => !this.#freed && this.#plans.get(key) === plan;
    let left = budgetMs;
    for (const backend of this.#worthTrying(problem)) {
      const { spentMs } = await tuner.tune({ backend, problem, forms, bias, force, alive }, effort, left);
      left -= spentMs;
      if (left <= 0) break;
    }
    if (!alive()) return;
    const better = this.#makePlan(problem, plan.where);
    better.tuned = true;
    await better.kernel.catch(() => {});
    if (!alive() || better.variant === plan.variant) {
      dropKernel(better);
      return;
    }
    // In its place, so that the order of last use stays.
    this.#plans.set(key, better);
    this.#retired.add(plan);
  }

  #worthTrying(problem: MatmulProblem): Backend[] {
    const living = this.#living(undefined);
    const { candidates } = this.#select(problem, living);
    const bestOf = (backend: Backend) =>
      Math.min(
        ...candidates.filter(({ device }) => device === backend.device.label).map(({ predictedMs }) => predictedMs),
      );
    const best = Math.min(...living.map(bestOf));
    return living.filter((backend) => bestOf(backend) <= BACKEND_REACH * best);
  }

  #select(problem: MatmulProblem, backends: readonly Backend[], from?: Backend): Selection {
    const { forms, force, tuner } = this.#parts;
    const { transfer } = from?.device ?? {};
    const bytes = byteLength(problem.input.dtype, inputSize(problem));
    const wayMs = transfer ? transfer.readMs + bytes / transfer.bytesPerNs / 1e6 : 0;
    return select<VariantBase>(problem, backends, {
      force,
      forms,
      place: this.#kind.place,
      measured: tuner.measured(problem),
      arrivalMs: (device) => (device === from?.device ? 0 : wayMs),
    });
  }

  /** Gives back the weights and kernels. Runs under way finish first when they were started before. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#evict();
  }

  #dtypeOf(x: LayerInput): DType {
    return this.#requireDtype(x instanceof Tensor ? x.dtype : dtypeOf(x)!);
  }

  #requireDtype(dtype: DType): DType {
    const { inputs } = this.#dtypes;
    if (inputs.includes(dtype)) return dtype;
    throw new ThinferError({
      code: 'bad-argument',
      place: `${this.#kind.place}: x`,
      expected: inputs.join(' or '),
      got: dtype,
      hint: inputs.length === 1 ? 'Codes need the option input: { dtype, scale, zeroPoint }.' : '',
    });
  }

  #requireAlive(): void {
    if (!this.#freed) return;
    const { place } = this.#kind;
    throw new ThinferError({ code: 'disposed', place, expected: 'a layer that was not freed', got: 'one that was' });
  }

  #shapeOf(x: LayerInput, given: Shape | undefined): Shape {
    const { place } = this.#kind;
    if (!(x instanceof Tensor) && !(x instanceof Float32Array || x instanceof Uint8Array || x instanceof Int8Array)) {
      throw new ThinferError({
        code: 'bad-argument',
        place: `${place}: x`,
        expected: 'a Float32Array, a Uint8Array, an Int8Array or a Tensor',
        got: describe(x),
      });
    }
    const shape = given ?? (x instanceof Tensor ? x.shape : this.#kind.shapeOf(x.length));
    const size = x instanceof Tensor ? x.size : x.length;
    const count = elementCount(shape, `${place}: shape`);
    if (count !== size) {
      throw new ThinferError({
        code: 'bad-shape',
        place: `${place}: x`,
        expected: `[${shape.join(', ')}] = ${count} elements`,
        got: `${size}`,
      });
    }
    if (x instanceof Tensor && x.dtype === 'bits' && shape.at(-1) !== x.shape.at(-1)) {
      throw new ThinferError({
        code: 'bad-shape',
        place: `${place}: shape`,
        expected: `[..., ${x.shape.at(-1)}], as rows of bits start on words`,
        got: `[${shape.join(', ')}]`,
      });
    }
    return shape;
  }

  #planFor(problem: MatmulProblem, where: Where): Plan;
  /** @param now undefined where it can't be made without waiting */
  #planFor(problem: MatmulProblem, where: Where, now: true): Plan | undefined;
  #planFor(problem: MatmulProblem, wanted: Where, now = false): Plan | undefined {
    this.#last = problem;
    // With one device there is nothing to tell apart.
    const where = this.#parts.backends.length > 1 ? wanted : {};
    const places = [where.only, where.from].map((backend) => (backend ? this.#parts.backends.indexOf(backend) : -1));
    const key = JSON.stringify([problem.M, problem.window, problem.input.dtype, places]);
    let plan = this.#plans.get(key);
    if (plan) this.#plans.delete(key);
    else plan = now ? this.#makePlanNow(problem, where) : this.#makePlan(problem, where);
    if (!plan) return undefined;
    this.#plans.set(key, plan);
    return plan;
  }

  #makePlan(problem: MatmulProblem, where: Where): Plan {
    const backends = this.#living(where.only);
    const { variant, device, problem: asked } = this.#select(problem, backends, where.from);
    const backend = backends.find((b) => b.device === device)!;
    // Async from the start, so that all that fails on the device fails where the kernel is awaited.
    const make = async () => {
      // In another form they are packed from these first.
      if ((asked as MatmulProblem).weights === this.#parts.forms[0].facts) backend.warm?.(variant, asked, this.weights);
      return backend.prepare(variant, asked, this.#operandsFor(backend, variant, asked as MatmulProblem));
    };
    const kernel = make();
    const packed = operandsKey(backend, variant, asked);
    const plan: Plan = { problem, backend, where, variant: variant.name, packed, kernel, users: 0, tuned: false };
    kernel.then(
      (ready) => {
        plan.ready = ready;
      },
      () => {},
    );
    return plan;
  }

  #makePlanNow(problem: MatmulProblem, where: Where): Plan | undefined {
    const backends = this.#living(where.only);
    const { variant, device, problem: asked } = this.#select(problem, backends, where.from);
    const backend = backends.find((b) => b.device === device)!;
    const ready = backend.prepareNow?.(variant, asked, this.#operandsFor(backend, variant, asked as MatmulProblem));
    if (!ready) return undefined;
    const packed = operandsKey(backend, variant, asked);
    const kernel = Promise.resolve(ready);
    return { problem, backend, where, variant: variant.name, packed, kernel, ready, users: 0, tuned: true };
  }

  #operandsFor(backend: Backend, variant: VariantBase, problem: MatmulProblem): Operands {
    const key = operandsKey(backend, variant, problem);
    const packed = this.#operands.get(key);
    if (packed) return packed.operands;
    const { forms, bias } = this.#parts;
    const form = forms.find(({ facts }) => facts === problem.weights)!;
    const operands = backend.pack(variant, problem, form.make(), bias);
    this.#operands.set(key, { owner: backend, operands });
    return operands;
  }

  /** Frees the plans that nobody holds, oldest first, down to what is kept; all of them once the layer is freed. */
  #evict(): void {
    for (const plan of this.#retired) {
      if (plan.users > 0) continue;
      this.#retired.delete(plan);
      dropKernel(plan);
      const { packed } = plan;
      if ([...this.#plans.values(), ...this.#retired].some((other) => other.packed === packed)) continue;
      this.#operands.get(packed)?.operands.free();
      this.#operands.delete(packed);
    }
    for (const [key, plan] of this.#plans) {
      if (!this.#freed && this.#plans.size <= PLANS_KEPT) return;
      if (plan.users > 0) continue;
      this.#plans.delete(key);
      dropKernel(plan);
    }
    if (this.#freed && this.#plans.size + this.#retired.size === 0) {
      for (const { operands } of this.#operands.values()) operands.free();
      this.#operands.clear();
    }
  }
}

const operandsKey = (backend: Backend, variant: VariantBase, problem: Problem): string =>
  `${backend.device.backend}/${backend.layoutOf(variant, problem)}`;

function dropKernel({ kernel }: Plan): void {
  kernel.then(
    (ready) => ready.free(),
    () => {},
  );
}
