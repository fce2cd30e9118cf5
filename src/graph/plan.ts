import type { Backend, DeviceBuffer, Kernel, Operands } from '../backend.js';
import { byteLength } from '../dtype.js';
import type { Form } from '../formats/forms.js';
import { formsFor, type MemoryMode } from '../layers/forms.js';
import { isMatmul, type Problem } from '../plan/problem.js';
import { msOf, type Selection, select } from '../plan/select.js';
import { product } from '../plan/strides.js';
import type { Tuner } from '../plan/tuner.js';
import type { BackendName } from '../plan/variant.js';
import { type Graph, isLayer, type LayerNode, type Node, type ValueId } from './ir.js';
import { type Lifetime, type MemoryPlan, planMemory } from './memory.js';
import type { ConcreteGraph } from './shapes.js';
import { stepsOf } from './steps.js';
import { asElements, elementType } from './types.js';

/** What was predicted for one backend when the plan in use was made. */
export interface PlacementReport {
  backend: BackendName;
  device: string;
  /** Milliseconds of one run; infinite where the graph can't run. */
  predictedMs: number;
  chosen: boolean;
  reason: string;
}

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

export interface Step {
  node: Node;
  /** What the graph asks for; of layers with the weights as they are. */
  asked: Problem;
  /** The same with the weights in the form that was chosen. */
  problem: Problem;
  inputs: readonly ValueId[];
  selection: Selection;
  /** Layers: what the weights may be stored as. */
  forms: readonly Form[];
}

/** Of the graph's inputs. */
export type InputShapes = ReadonlyMap<ValueId, readonly number[]>;

/** What one backend would do for one shape: nothing is allocated yet. */
export interface Draft {
  backend: Backend;
  steps: Step[];
  /** Milliseconds of one run: of each step as measured where it was, else as predicted. */
  predictedMs: number;
}

/** A draft with its kernels and weights on the device. Buffers of activations come with the first run. */
export interface Plan extends Draft {
  key: string;
  inputShapes: InputShapes;
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
  /** Rows were timed for it, or are about to be. */
  tuned: boolean;
}

export interface PlannerOptions {
  memory?: MemoryMode;
  tuner?: Tuner;
}

/** Makes plans of a graph: which kernels run it, and what they need on the device. */
export class Planner {
  readonly #graph: Graph;
  readonly #backends: readonly Backend[];
  /** The value whose memory a value lies in: itself, or what its reshape reads. */
  readonly #roots: ReadonlyMap<ValueId, ValueId>;
  readonly #operands = new Shared<Operands>();
  readonly #constants = new Shared<DeviceBuffer>();
  /** Weights and biases, numbered as they are met. */
  readonly #numbers = new Map<object, number>();
  readonly #options: PlannerOptions;

  constructor(graph: Graph, backends: readonly Backend[], options: PlannerOptions = {}) {
    this.#graph = graph;
    this.#backends = backends;
    this.#options = options;
    const roots = new Map<ValueId, ValueId>([...graph.values.keys()].map((id) => [id, id]));
    for (const node of graph.nodes) {
      if (node.op === 'reshape') roots.set(node.output, roots.get(node.inputs[0])!);
    }
    this.#roots = roots;
  }

  get weightBytes(): number {
    return this.#operands.bytes;
  }

  get constantBytes(): number {
    return this.#constants.bytes;
  }

  rootOf(id: ValueId): ValueId {
    return this.#roots.get(id)!;
  }

  /** Selects a row for every node on one backend. */
  draft(backend: Backend, { shapes, nodes }: ConcreteGraph): Draft {
    const { device, variants } = backend;
    const { memory, tuner } = this.#options;
    const steps: Step[] = [];
    let predictedMs = device.runMs;
    const dtypeOf = (id: ValueId) => elementType(this.#graph.values.get(id)!);
    for (const node of nodes) {
      if (product(shapes.get(node.output)!) === 0) continue;
      for (const { problem: asked, inputs } of stepsOf(node, shapes, dtypeOf)) {
        const forms = isLayer(node) ? formsFor(node.weights, memory) : [];
        const measured = isMatmul(asked) ? tuner?.measured(asked) : undefined;
        const place = `node "${node.name}"`;
        const selection = select(asked, [{ device, variants }], { place, forms, measured });
        predictedMs += msOf(selection.candidates.find(({ chosen }) => chosen)!) - device.runMs;
        steps.push({ node, asked, problem: selection.problem, inputs, selection, forms });
      }
    }
    return { backend, steps, predictedMs };
  }

  /** Puts weights and constants on the device and prepares the kernels; frees what it made when it fails. */
  async realise(
    draft: Draft,
    key: string,
    inputShapes: InputShapes,
    shapes: ReadonlyMap<ValueId, readonly number[]>,
  ): Promise<Plan> {
    const release: (() => void)[] = [];
    try {
      for (const { node, problem, selection, forms } of draft.steps) {
        // Weights in another form are packed from these first.
        if (isMatmul(problem) && problem.weights !== forms[0]?.facts) continue;
        draft.backend.warm?.(selection.variant, problem, isLayer(node) ? node.weights : undefined);
      }
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
        inputShapes,
        shapes,
        kernels,
        operands,
        constants,
        memory,
        buffers: undefined,
        placements: [],
        release,
        ran: false,
        tuned: false,
      };
    } catch (error) {
      for (const free of release.reverse()) free();
      throw error;
    }
  }

  #packStep(backend: Backend, step: Step, release: (() => void)[]): Operands | undefined {
    const { node, problem, selection, forms } = step;
    if (!isLayer(node) || !isMatmul(problem)) return undefined;
    const { variant } = selection;
    const key = this.#key(backend, `${this.#weightsId(node)} ${backend.layoutOf(variant, problem)}`);
    const operands = this.#operands.acquire(
      key,
      () => backend.pack(variant, problem, forms.find(({ facts }) => facts === problem.weights)!.make(), node.bias),
      (packed) => packed.free(),
    );
    release.push(() => this.#operands.release(key));
    return operands;
  }

  /** A number for a layer's weights and bias: layers that share both share one copy. */
  #weightsId({ weights, bias }: LayerNode): string {
    const numbers = [weights, bias].map((part) => {
      if (!part) return '-';
      const known = this.#numbers.get(part) ?? this.#numbers.size;
      this.#numbers.set(part, known);
      return known;
    });
    return numbers.join(' ');
  }

  #uploadConstants({ backend, steps }: Draft, release: (() => void)[]): Map<ValueId, DeviceBuffer> {
    const buffers = new Map<ValueId, DeviceBuffer>();
    for (const id of steps.flatMap(({ inputs }) => inputs)) {
      const root = this.rootOf(id);
      const constant = this.#graph.constants.get(root);
      if (!constant || buffers.has(root)) continue;
      const key = this.#key(backend, String(root));
      const value = this.#graph.values.get(root)!;
      const upload = () => {
        const data = asElements(elementType(value), constant.data);
        const buffer = backend.createBuffer(Math.max(data.byteLength, 4), value.name);
        backend.write(buffer, data);
        return buffer;
      };
      const buffer = this.#constants.acquire(key, upload, (unused) => backend.freeBuffer(unused));
      buffers.set(root, buffer);
      release.push(() => this.#constants.release(key));
    }
    return buffers;
  }

  #key(backend: Backend, what: string): string {
    return `${this.#backends.indexOf(backend)} ${what}`;
  }

  /** When each tensor is needed: step i writes its output and reads its inputs. Inputs are written before step 0. */
  #lifetimes(steps: readonly Step[], shapes: ReadonlyMap<ValueId, readonly number[]>): Lifetime[] {
    const lifetimes = new Map<ValueId, Lifetime>();
    const bytesOf = (id: ValueId) =>
      Math.max(byteLength(elementType(this.#graph.values.get(id)!), product(shapes.get(id)!)), 4);
    const inputs = new Set(this.#graph.inputs.map(({ value }) => value));
    const read = (id: ValueId, step: number) => {
      const root = this.rootOf(id);
      const lifetime = lifetimes.get(root);
      if (lifetime) lifetime.last = step;
      else if (inputs.has(root)) lifetimes.set(root, { id: root, bytes: bytesOf(root), first: -1, last: step });
    };
    for (const [i, { node, inputs }] of steps.entries()) {
      for (const id of inputs) read(id, i);
      const { output } = node;
      const begun = lifetimes.get(output);
      if (begun) begun.last = i;
      else lifetimes.set(output, { id: output, bytes: bytesOf(output), first: i, last: i });
    }
    // Outputs that steps wrote live on until they are read back; those that are inputs are copied on the host.
    for (const { value } of this.#graph.outputs) {
      const lifetime = lifetimes.get(this.rootOf(value));
      if (lifetime && !inputs.has(lifetime.id)) lifetime.last = steps.length;
    }
    return [...lifetimes.values()];
  }
}
