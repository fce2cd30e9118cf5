import type { Backend, DeviceBuffer, Kernel, Operands } from '../backend.js';
import { byteLength } from '../dtype.js';
import { ThinferError } from '../errors.js';
import type { Form } from '../formats/forms.js';
import { formsFor, type MemoryMode } from '../layers/forms.js';
import type { ArithmeticOption } from '../layers/problem.js';
import { isMatmul, type Problem } from '../plan/problem.js';
import { msOf, type Selection, select } from '../plan/select.js';
import { product } from '../plan/strides.js';
import type { Tuner } from '../plan/tuner.js';
import type { BackendName } from '../plan/variant.js';
import { type Graph, isLayer, type LayerNode, type Node, type ValueId } from './ir.js';
import { type Lifetime, type MemoryPlan, planMemory } from './memory.js';
import { type PlacedValue, placementMs, placeNodes } from './placement.js';
import type { ConcreteGraph } from './shapes.js';
import { stepsOf } from './steps.js';
import { asElements, elementType } from './types.js';

/** What was predicted for one backend, or several together, when the plan in use was made. */
export interface PlacementReport {
  /** Several: those that share the nodes. */
  backend: BackendName | 'several';
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
  backend: Backend;
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

/** What a run is asked for, as far as plans depend on it. */
export interface Demand {
  shapes: InputShapes;
  /** Inputs that lie on a device already; the others are arrays. */
  homes: ReadonlyMap<ValueId, Backend>;
  /** What becomes of the results: arrays, tensors wherever they were computed, or tensors on one backend. */
  results: 'arrays' | 'tensors' | Backend;
}

/** Where results shall be; undefined: in the caller's memory, or anywhere. */
export const deviceOf = (results: Demand['results']): Backend | undefined =>
  typeof results === 'string' ? undefined : results;

/** A placement of all nodes for one shape: nothing is allocated yet. */
export interface Draft {
  /** That run anything, in the order in which they begin. */
  backends: readonly Backend[];
  /** In the order in which they run. */
  steps: Step[];
  /** Milliseconds of one run: steps as measured where they were, else as predicted, and transfers. */
  predictedMs: number;
}

/** A value that the step after it needs on another backend. */
export interface Move {
  id: ValueId;
  from: Backend;
  to: Backend;
}

/** What a plan has on one backend. */
export interface Share {
  backend: Backend;
  constants: ReadonlyMap<ValueId, DeviceBuffer>;
  memory: MemoryPlan;
  /** Of activations: they come with the first run. */
  buffers: DeviceBuffer[] | undefined;
}

/** A draft with its kernels and weights on the devices. */
export interface Plan extends Draft {
  key: string;
  demand: Demand;
  shapes: ReadonlyMap<ValueId, readonly number[]>;
  kernels: Kernel[];
  operands: (Operands | undefined)[];
  /** By step: what it waits for. */
  moves: ReadonlyMap<number, readonly Move[]>;
  /** One a backend. */
  shares: readonly Share[];
  /** Where the last step that writes a value runs. */
  homes: ReadonlyMap<ValueId, Backend>;
  placements: PlacementReport[];
  /** Ends its use of everything shared. */
  release: (() => void)[];
  ran: boolean;
  /** Rows were timed for it, or are about to be. */
  tuned: boolean;
}

export interface PlannerOptions {
  memory?: MemoryMode;
  arithmetic?: ArithmeticOption;
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

  /**
   * The placements of a graph that may be the fastest, the fastest first: all of it on each of the backends, and shared
   * by the first two. The errors say why a backend can't run all of it.
   * @param backends in the order of preference
   * @param graph with the sizes that the demand's shapes make
   */
  drafts(
    backends: readonly Backend[],
    graph: ConcreteGraph,
    demand: Demand,
  ): { drafts: Draft[]; errors: Map<Backend, unknown> } {
    const errors = new Map<Backend, unknown>();
    const rows = backends.map((backend) =>
      graph.nodes.map((node): NodeRows | undefined => {
        try {
          return this.#rowsOf(backend, node, graph);
        } catch (error) {
          if (!(error instanceof ThinferError) || error.code === 'bad-shape') throw error;
          if (!errors.has(backend)) errors.set(backend, error);
          return undefined;
        }
      }),
    );
    const values = this.#placedValues(graph, backends, demand);
    const drafts: Draft[] = [];
    for (const [i, backend] of backends.entries()) {
      if (errors.has(backend)) continue;
      const draft = this.#draft(graph, rows, values, Array(graph.nodes.length).fill(i));
      // A graph without work runs somewhere too.
      drafts.push({ ...draft, backends: [backend] });
    }
    if (backends.length > 1) {
      const never = Number.POSITIVE_INFINITY;
      const nodes = graph.nodes.map((_, i) => [rows[0][i]?.ms ?? never, rows[1][i]?.ms ?? never] as const);
      const sides = placeNodes({ nodes, values });
      const mixed = sides && this.#draft(graph, rows, values, sides);
      if (mixed && mixed.backends.length > 1) drafts.push(mixed);
    }
    drafts.sort((a, b) => a.predictedMs - b.predictedMs);
    return { drafts, errors };
  }

  /** Selects rows for a node on one backend. */
  #rowsOf(backend: Backend, node: Node, { shapes }: ConcreteGraph): NodeRows {
    const { device, variants } = backend;
    const { memory, tuner, arithmetic } = this.#options;
    if (product(shapes.get(node.output)!) === 0) return { steps: [], ms: 0 };
    const dtypeOf = (id: ValueId) => elementType(this.#graph.values.get(id)!);
    let ms = 0;
    const steps = stepsOf(node, shapes, dtypeOf).map(({ problem, inputs }): Step => {
      const asked = isMatmul(problem) && arithmetic === 'f16' ? { ...problem, arithmetic } : problem;
      const forms = isLayer(node) && isMatmul(asked) ? formsFor(node.weights, asked.output.dtype, memory) : [];
      const measured = isMatmul(asked) ? tuner?.measured(asked) : undefined;
      const place = `node "${node.name}"`;
      const selection = select(asked, [{ device, variants }], { place, forms, measured });
      ms += msOf(selection.candidates.find(({ chosen }) => chosen)!) - device.runMs;
      return { node, backend, asked, problem: selection.problem, inputs, selection, forms };
    });
    return { steps, ms };
  }

  /** What is read of each node's output and each input, by the nodes' places in the graph. */
  #placedValues(
    { shapes, nodes }: ConcreteGraph,
    backends: readonly Backend[],
    { homes, results }: Demand,
  ): PlacedValue[] {
    // The first backend and arrays are on the one side, the second backend on the other.
    const sideOf = (backend: Backend | undefined) => (backend && backends.indexOf(backend) > 0 ? 1 : 0);
    const values = new Map<ValueId, PlacedValue & { consumers: number[] }>();
    const enter = (id: ValueId, producer: number | undefined) => {
      const bytes = this.bytesOf(id, shapes);
      values.set(id, { producer, home: sideOf(homes.get(id)), consumers: [], movesMs: movesMs(backends, bytes) });
    };
    for (const { value } of this.#graph.inputs) enter(value, undefined);
    for (const [i, node] of nodes.entries()) {
      if (node.op !== 'reshape') enter(node.output, i);
      for (const id of node.inputs) {
        if (node.op !== 'reshape') values.get(this.rootOf(id))?.consumers.push(i);
      }
    }
    for (const { value } of results === 'tensors' ? [] : this.#graph.outputs) {
      const root = values.get(this.rootOf(value));
      if (root && root.producer !== undefined) root.output = sideOf(deviceOf(results));
    }
    return [...values.values()];
  }

  /** @param sides by node: the backend's number */
  #draft(
    { nodes }: ConcreteGraph,
    rows: readonly (readonly (NodeRows | undefined)[])[],
    values: readonly PlacedValue[],
    sides: readonly number[],
  ): Draft {
    const chosen = nodes.map((_, i) => rows[sides[i]][i]!);
    const order = groupBySide(nodes, sides, (id) => this.rootOf(id));
    const steps = order.flatMap((i) => chosen[i].steps);
    const backends = [...new Set(steps.map(({ backend }) => backend))];
    // Values move between the first backend and the others; one that shares the host's memory has no transfers.
    const moves = placementMs(
      { nodes: chosen.map(({ ms }) => [ms, ms] as const), values },
      sides.map((side) => (side === 0 ? 0 : 1)),
    );
    // What a run costs on a device with memory of its own is in the transfers, unless it is the only one.
    const away = new Set(order.flatMap((i) => (sides[i] === 0 ? [] : chosen[i].steps.map(({ backend }) => backend))));
    const runs = backends.map((backend) => (backend.device.transfer && away.has(backend) ? 0 : backend.device.runMs));
    return { backends, steps, predictedMs: moves + runs.reduce((a, b) => a + b, 0) };
  }

  /** Puts weights and constants on the devices and prepares the kernels; frees what it made when it fails. */
  async realise(
    draft: Draft,
    key: string,
    demand: Demand,
    shapes: ReadonlyMap<ValueId, readonly number[]>,
  ): Promise<Plan> {
    const release: (() => void)[] = [];
    try {
      for (const { backend, node, problem, selection, forms } of draft.steps) {
        // Weights in another form are packed from these first.
        if (isMatmul(problem) && problem.weights !== forms[0]?.facts) continue;
        backend.warm?.(selection.variant, problem, isLayer(node) ? node.weights : undefined);
      }
      const constants = draft.backends.map((backend) => this.#uploadConstants(backend, draft.steps, release));
      const operands = draft.steps.map((step) => this.#packStep(step, release));
      const kernels: Kernel[] = [];
      release.push(() => kernels.forEach((kernel) => void kernel.free()));
      const preparing = draft.steps.map(async ({ backend, selection, problem }, i) => {
        kernels[i] = await backend.prepare(selection.variant, problem, operands[i]);
      });
      for (const { status, reason } of (await Promise.allSettled(preparing)) as PromiseRejectedResult[]) {
        if (status === 'rejected') throw reason;
      }
      const homes = new Map(draft.steps.map(({ node, backend }) => [node.output, backend]));
      const moves = this.#movesOf(draft.steps, homes);
      const shares = draft.backends.map((backend, i): Share => {
        const memory = planMemory(this.#lifetimes(backend, draft.steps, moves, homes, shapes));
        return { backend, constants: constants[i], memory, buffers: undefined };
      });
      return {
        ...draft,
        key,
        demand,
        shapes,
        kernels,
        operands,
        moves,
        shares,
        homes,
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

  /** Values that steps need from other backends: each is brought over once, before the first step that reads it. */
  #movesOf(steps: readonly Step[], homes: ReadonlyMap<ValueId, Backend>): Map<number, Move[]> {
    const moves = new Map<number, Move[]>();
    const moved = new Map<Backend, Set<ValueId>>();
    for (const [i, { backend: to, inputs }] of steps.entries()) {
      for (const input of inputs) {
        const id = this.rootOf(input);
        const from = homes.get(id);
        if (!from || from === to || moved.get(to)?.has(id)) continue;
        moved.set(to, (moved.get(to) ?? new Set()).add(id));
        moves.set(i, [...(moves.get(i) ?? []), { id, from, to }]);
      }
    }
    return moves;
  }

  #packStep(step: Step, release: (() => void)[]): Operands | undefined {
    const { backend, node, problem, selection, forms } = step;
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

  #uploadConstants(backend: Backend, steps: readonly Step[], release: (() => void)[]): Map<ValueId, DeviceBuffer> {
    const buffers = new Map<ValueId, DeviceBuffer>();
    for (const id of steps.flatMap((step) => (step.backend === backend ? step.inputs : []))) {
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

  /** Bytes of a value. */
  bytesOf(id: ValueId, shapes: ReadonlyMap<ValueId, readonly number[]>): number {
    return Math.max(byteLength(elementType(this.#graph.values.get(id)!), product(shapes.get(id)!)), 4);
  }

  /**
   * When each tensor is needed on a backend: step i writes its output and reads its inputs. Inputs of the graph are
   * written before step 0, what moves is written before the step that waits for it.
   */
  #lifetimes(
    backend: Backend,
    steps: readonly Step[],
    moves: ReadonlyMap<number, readonly Move[]>,
    homes: ReadonlyMap<ValueId, Backend>,
    shapes: ReadonlyMap<ValueId, readonly number[]>,
  ): Lifetime[] {
    const lifetimes = new Map<ValueId, Lifetime>();
    const inputs = new Set(this.#graph.inputs.map(({ value }) => value));
    /** A tensor is used at a step; it lives from `first` on if it didn't yet. */
    const use = (id: ValueId, step: number, first: number) => {
      const lifetime = lifetimes.get(id);
      if (lifetime) lifetime.last = step;
      else lifetimes.set(id, { id, bytes: this.bytesOf(id, shapes), first, last: step });
    };
    for (const [i, step] of steps.entries()) {
      for (const { id, from, to } of moves.get(i) ?? []) if (from === backend || to === backend) use(id, i, i);
      if (step.backend !== backend) continue;
      for (const id of step.inputs) {
        const root = this.rootOf(id);
        if (lifetimes.has(root) || inputs.has(root)) use(root, i, -1);
      }
      use(step.node.output, i, i);
    }
    // Outputs that steps wrote live on until they are read back; those that are inputs are copied on the host.
    for (const { value } of this.#graph.outputs) {
      const root = this.rootOf(value);
      const lifetime = lifetimes.get(root);
      if (lifetime && homes.get(root) === backend) lifetime.last = steps.length;
    }
    return [...lifetimes.values()];
  }
}

/** What one backend does for one node. */
interface NodeRows {
  steps: Step[];
  ms: number;
}

/** Milliseconds from the first backend to the second and back; 0 where there is one only. */
function movesMs([first, second]: readonly Backend[], bytes: number): [number, number] {
  let [there, back] = [0, 0];
  for (const device of [first?.device, second?.device]) {
    if (!device?.transfer) continue;
    const { writeMs, readMs, bytesPerNs } = device.transfer;
    const ms = bytes / bytesPerNs / 1e6;
    there += writeMs + ms;
    back += readMs + ms;
  }
  return [there, back];
}

/** The nodes' places in an order in which each follows what it reads and backends alternate seldom. */
function groupBySide(nodes: readonly Node[], sides: readonly number[], rootOf: (id: ValueId) => ValueId): number[] {
  if (sides.every((side) => side === sides[0])) return nodes.map((_, i) => i);
  const writers = new Map<ValueId, number>();
  for (const [i, { op, output }] of nodes.entries()) if (op !== 'reshape') writers.set(output, i);
  const waiting = new Set(nodes.keys());
  const isReady = (i: number) => nodes[i].inputs.every((id) => !waiting.has(writers.get(rootOf(id)) ?? -1));
  const order: number[] = [];
  let side = sides[0];
  while (waiting.size > 0) {
    const next = [...waiting].find((i) => sides[i] === side && isReady(i));
    if (next === undefined) side = 1 - side;
    else {
      order.push(next);
      waiting.delete(next);
    }
  }
  return order;
}
