import type { Backend, DeviceBuffer, Pass } from '../backend.js';
import { asData, type DataByDType, type ElementType, type TensorData } from '../dtype.js';
import { product } from '../plan/strides.js';
import { Tensor } from '../tensor.js';
import type { InputData } from './inputs.js';
import type { Graph, Node, ValueId } from './ir.js';
import type { Plan, Planner } from './plan.js';
import { asElements, elementType } from './types.js';

export type ModelOutputs = Record<string, { shape: number[]; data: DataByDType[ElementType] }>;
/** The caller's to free. */
export type ModelTensors = Record<string, Tensor<ElementType>>;

/** Where each value of a run lies, on each backend. */
type Places = Map<Backend, Map<ValueId, DeviceBuffer>>;

/** Told of each step of a run: the node that it is of, and the milliseconds that it took. */
export type OnStep = (node: Node, ms: number) => void;

/**
 * One run of a plan whose buffers are there, to arrays.
 * @param onStep makes each step a pass of its own
 */
export async function execute(
  graph: Graph,
  planner: Planner,
  plan: Plan,
  data: InputData,
  onStep?: OnStep,
): Promise<ModelOutputs> {
  const places = placesOf(plan);
  await runSteps(graph, planner, plan, places, data, onStep);
  const outputs: ModelOutputs = {};
  for (const { name, value } of graph.outputs) {
    const read = await readOutput(graph, planner, plan, places, data, value);
    outputs[name] = { shape: [...plan.shapes.get(value)!], data: read };
  }
  return outputs;
}

/**
 * The same to tensors: results are written to buffers of their own, which go to the caller. Those that are wanted on
 * another device than the one that computed them come over the host, as do inputs, constants and what is asked for twice.
 * @param wanted where all results shall be; default: where they are computed
 */
export async function executeToTensors(
  graph: Graph,
  planner: Planner,
  plan: Plan,
  data: InputData,
  wanted: Backend | undefined,
): Promise<ModelTensors> {
  const places = placesOf(plan);
  /** Made here, and not yet a tensor's. */
  const own = new Map<ValueId, Tensor<ElementType>>();
  const outputs: ModelTensors = {};
  const make = (backend: Backend, value: ValueId) => {
    const buffer = backend.createBuffer(planner.bytesOf(value, plan.shapes), graph.values.get(value)!.name);
    return new Tensor(backend, buffer, plan.shapes.get(value)!, elementType(graph.values.get(value)!));
  };
  try {
    for (const { value } of graph.outputs) {
      const root = planner.rootOf(value);
      const home = plan.homes.get(root);
      if (!home || own.has(root) || (wanted && wanted !== home)) continue;
      own.set(root, make(home, value));
      places.get(home)!.set(root, own.get(root)!.buffer);
    }
    await runSteps(graph, planner, plan, places, data);
    for (const { name, value } of graph.outputs) {
      const root = planner.rootOf(value);
      const there = own.get(root);
      own.delete(root);
      outputs[name] = there ?? make(wanted ?? plan.homes.get(root) ?? plan.backends[0], value);
      if (there) continue;
      const { backend, buffer } = outputs[name];
      backend.write(buffer, await readOutput(graph, planner, plan, places, data, value));
    }
    return outputs;
  } catch (error) {
    for (const tensor of [...own.values(), ...Object.values(outputs)]) tensor.free();
    throw error;
  }
}

function placesOf(plan: Plan): Places {
  const places: Places = new Map();
  for (const { backend, constants, memory, buffers } of plan.shares) {
    const here = new Map(constants);
    for (const [id, slot] of memory.slotOf) here.set(id, buffers![slot]);
    places.set(backend, here);
  }
  return places;
}

/** A pass for each stretch of steps on one backend. */
async function runSteps(
  graph: Graph,
  planner: Planner,
  plan: Plan,
  places: Places,
  data: InputData,
  onStep?: OnStep,
): Promise<void> {
  await writeInputs(places, data);
  const elementsOf = (id: ValueId) => product(plan.shapes.get(id)!);
  const dtypeOf = (id: ValueId) => elementType(graph.values.get(id)!);
  const bufferOf = (backend: Backend, id: ValueId) => places.get(backend)!.get(planner.rootOf(id))!;
  let pass: { backend: Backend; open: Pass } | undefined;
  for (const [i, { backend, node, inputs }] of plan.steps.entries()) {
    if (pass?.backend !== backend) {
      await pass?.open.submit();
      pass = undefined;
    }
    for (const { id, from, to } of plan.moves.get(i) ?? []) {
      const moved = await from.read(bufferOf(from, id), elementsOf(id), dtypeOf(id));
      to.write(bufferOf(to, id), moved);
    }
    pass ??= { backend, open: backend.beginPass({ timed: onStep !== undefined }) };
    const start = performance.now();
    pass.open.run(
      plan.kernels[i],
      inputs.map((id) => bufferOf(backend, id)),
      bufferOf(backend, node.output),
    );
    if (!onStep) continue;
    await pass.open.submit();
    onStep(node, pass.open.elapsedMs ?? performance.now() - start);
    pass = undefined;
  }
  await pass?.open.submit();
}

/** A copy of what an output is after a run: what a step wrote, an input or a constant. */
async function readOutput(
  graph: Graph,
  planner: Planner,
  plan: Plan,
  places: Places,
  data: InputData,
  value: ValueId,
): Promise<DataByDType[ElementType]> {
  const root = planner.rootOf(value);
  const dtype = elementType(graph.values.get(value)!);
  const constant = graph.constants.get(root)?.data;
  const known = data.get(root) ?? (constant && asElements(dtype, constant));
  const home = plan.homes.get(root);
  if (known instanceof Tensor) return (known as Tensor<ElementType>).data();
  if (known) return known.slice();
  if (!home) return asData(dtype, new ArrayBuffer(0));
  return home.read(places.get(home)!.get(root)!, product(plan.shapes.get(value)!), dtype);
}

/** Puts inputs where they are read; a tensor that lies there already is read where it is. */
async function writeInputs(places: Places, data: InputData): Promise<void> {
  for (const [id, input] of data) {
    let read: TensorData | undefined;
    for (const [backend, here] of places) {
      const buffer = here.get(id);
      if (!buffer) continue;
      if (input instanceof Tensor && input.backend === backend) {
        here.set(id, input.buffer);
        continue;
      }
      read ??= input instanceof Tensor ? await input.data() : input;
      backend.write(buffer, read);
    }
  }
}

/** Makes a plan's buffers; frees what it made when there is no room. */
export function allocate(plan: Plan): void {
  try {
    for (const share of plan.shares) {
      share.buffers ??= [];
      for (const bytes of share.memory.slots.slice(share.buffers.length)) {
        share.buffers.push(share.backend.createBuffer(bytes, `activations ${share.buffers.length}`));
      }
    }
  } catch (error) {
    freeBuffers(plan);
    throw error;
  }
}

/** False when there were none. */
export function freeBuffers(plan: Plan): boolean {
  const held = plan.shares.filter(({ buffers }) => buffers !== undefined);
  for (const share of held) {
    for (const buffer of share.buffers!) share.backend.freeBuffer(buffer);
    share.buffers = undefined;
  }
  return held.length > 0;
}
