import type { Backend, DeviceBuffer, Pass } from '../backend.js';
import { asData, type DataByDType, type ElementType, type TensorData } from '../dtype.js';
import { product } from '../plan/strides.js';
import { Tensor } from '../tensor.js';
import type { InputData } from './inputs.js';
import type { Graph, Node, ValueId } from './ir.js';
import type { Plan, Planner } from './plan.js';
import { asElements, elementType } from './types.js';

export type ModelOutputs = Record<string, { shape: number[]; data: DataByDType[ElementType] }>;

/** Where each value of a run lies, on each backend. */
type Places = Map<Backend, Map<ValueId, DeviceBuffer>>;

/** Times the steps of a run. */
export interface StepClock {
  /** Told of each step: the node that it is of, and the milliseconds that its kernel took. */
  onStep(node: Node, ms: number): void;
  /** Each kernel runs so many times: short ones are shorter than a browser's clock can tell. */
  repeats: number;
}

/**
 * One run of a plan whose buffers are there: a pass for each stretch of steps on one backend.
 * @param clock makes each step a pass of its own
 */
export async function execute(
  graph: Graph,
  planner: Planner,
  plan: Plan,
  data: InputData,
  clock?: StepClock,
): Promise<ModelOutputs> {
  const places: Places = new Map();
  for (const { backend, constants, memory, buffers } of plan.shares) {
    const here = new Map(constants);
    for (const [id, slot] of memory.slotOf) here.set(id, buffers![slot]);
    places.set(backend, here);
  }
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
    pass ??= { backend, open: backend.beginPass({ timed: clock !== undefined }) };
    const start = performance.now();
    for (let times = clock?.repeats ?? 1; times > 0; times--) {
      pass.open.run(
        plan.kernels[i],
        inputs.map((id) => bufferOf(backend, id)),
        bufferOf(backend, node.output),
      );
    }
    if (!clock) continue;
    await pass.open.submit();
    clock.onStep(node, (pass.open.elapsedMs ?? performance.now() - start) / clock.repeats);
    pass = undefined;
  }
  await pass?.open.submit();

  const outputs: ModelOutputs = {};
  for (const { name, value } of graph.outputs) {
    const root = planner.rootOf(value);
    const shape = [...plan.shapes.get(value)!];
    const dtype = dtypeOf(value);
    const constant = graph.constants.get(root)?.data;
    const known = data.get(root) ?? (constant && asElements(dtype, constant));
    const home = plan.homes.get(root);
    if (known instanceof Tensor) outputs[name] = { shape, data: await (known as Tensor<ElementType>).data() };
    else if (known) outputs[name] = { shape, data: known.slice() };
    else if (!home) outputs[name] = { shape, data: asData(dtype, new ArrayBuffer(0)) };
    else outputs[name] = { shape, data: await home.read(bufferOf(home, root), product(shape), dtype) };
  }
  return outputs;
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
