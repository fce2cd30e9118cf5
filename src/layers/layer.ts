import type { Backend, Kernel, Operands } from '../backend.js';
import { byteLength, type DType, dtypeOf, storedLength, type TensorData } from '../dtype.js';
import { describe, elementCount, isLost, ThinferError } from '../errors.js';
import type { Bias, Weights } from '../formats/format.js';
import type { MatmulProblem } from '../plan/problem.js';
import { select } from '../plan/select.js';
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

interface Plan {
  problem: MatmulProblem;
  backend: Backend;
  candidates: Candidate[];
  kernel: Promise<Kernel>;
  /** Runs that hold it now. */
  users: number;
}

/** Problems (batch sizes, image sizes) that a layer keeps kernels for. */
const PLANS_KEPT = 8;

/** Packed weights on a device, with a kernel chosen for each size of input they have met. */
export class Layer<D extends DType = 'float32'> {
  readonly weights: Weights;
  readonly #bias: Bias | undefined;
  readonly #dtypes: LayerDtypes<D>;
  readonly #kind: LayerKind;
  readonly #backends: readonly Backend[];
  readonly #force: string;
  /** In order of last use. */
  readonly #plans = new Map<string, Plan>();
  readonly #operands = new Map<string, { owner: Backend; operands: Operands }>();
  /** Backends whose device is gone for good. */
  readonly #lost = new Set<Backend>();
  #last: MatmulProblem | undefined;
  #freed = false;

  /** Made by Runtime.linear and Runtime.conv2d. `weights` are validated, `force` is a variant's name or ''. */
  constructor(
    kind: LayerKind,
    backends: readonly Backend[],
    weights: Weights,
    bias: Bias | undefined,
    dtypes: LayerDtypes<D>,
    force: string,
  ) {
    this.#dtypes = dtypes;
    this.#kind = kind;
    this.#backends = backends;
    this.weights = weights;
    this.#bias = bias;
    this.#force = force;
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
    return this.#withPlan(problem, (plan) => this.#runPlan(plan, x, options), options);
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

  /** Works with the plan for a problem, with another one where its device is lost. */
  async #withPlan<T>(
    problem: MatmulProblem,
    work: (plan: Plan) => Promise<T>,
    { signal, output }: RunOptions<D> = {},
  ): Promise<T> {
    const retried = new Set<Backend>();
    for (;;) {
      signal?.throwIfAborted();
      const plan = this.#planFor(problem, output?.backend);
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
      plan.kernel.then(
        (kernel) => kernel.free(),
        () => {},
      );
    }
    for (const [key, { owner, operands }] of this.#operands) {
      if (owner !== backend) continue;
      this.#operands.delete(key);
      operands.free();
    }
  }

  #living(only: Backend | undefined): readonly Backend[] {
    return this.#backends.filter((backend) => !this.#lost.has(backend) && (only === undefined || backend === only));
  }

  #requireOutput(problem: MatmulProblem, output: Tensor<D> | undefined): void {
    if (!output) return;
    const shape = this.#kind.outputShape(problem);
    const same = output.shape.length === shape.length && shape.every((size, i) => size === output.shape[i]);
    if (same && output.dtype === this.#dtypes.output && this.#backends.includes(output.backend)) return;
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
    const { place } = this.#kind;
    const problem = shape
      ? this.#kind.problemOf(shape, this.#last?.input.dtype ?? 'float32')
      : (this.#last ?? this.#kind.problemOf(this.#kind.shapeOf(this.weights.cols), 'float32'));
    return select(problem, this.#living(undefined), { force: this.#force, place }).candidates;
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

  /** @param only the backend that has to do it */
  #planFor(problem: MatmulProblem, only: Backend | undefined): Plan {
    this.#last = problem;
    const where = only ? this.#backends.indexOf(only) : -1;
    const key = JSON.stringify([problem.M, problem.window, problem.input.dtype, where]);
    let plan = this.#plans.get(key);
    if (plan) this.#plans.delete(key);
    else plan = this.#makePlan(problem, only);
    this.#plans.set(key, plan);
    return plan;
  }

  #makePlan(problem: MatmulProblem, only: Backend | undefined): Plan {
    const backends = this.#living(only);
    const { variant, device, candidates } = select<VariantBase>(problem, backends, {
      force: this.#force,
      place: this.#kind.place,
    });
    const backend = backends.find((b) => b.device === device)!;
    // Async from the start, so that all that fails on the device fails where the kernel is awaited.
    const make = async () => {
      backend.warm?.(variant, problem, this.weights);
      return backend.prepare(variant, problem, this.#operandsFor(backend, variant, problem));
    };
    const kernel = make();
    kernel.catch(() => {});
    return { problem, backend, candidates, kernel, users: 0 };
  }

  #operandsFor(backend: Backend, variant: VariantBase, problem: MatmulProblem): Operands {
    const key = `${backend.device.backend}/${backend.layoutOf(variant, problem)}`;
    const packed = this.#operands.get(key);
    if (packed) return packed.operands;
    const operands = backend.pack(variant, problem, this.weights, this.#bias);
    this.#operands.set(key, { owner: backend, operands });
    return operands;
  }

  /** Frees the plans that nobody holds, oldest first, down to what is kept; all of them once the layer is freed. */
  #evict(): void {
    for (const [key, plan] of this.#plans) {
      if (!this.#freed && this.#plans.size <= PLANS_KEPT) return;
      if (plan.users > 0) continue;
      this.#plans.delete(key);
      plan.kernel.then(
        (kernel) => kernel.free(),
        () => {},
      );
    }
    if (this.#freed && this.#plans.size === 0) {
      for (const { operands } of this.#operands.values()) operands.free();
      this.#operands.clear();
    }
  }
}
