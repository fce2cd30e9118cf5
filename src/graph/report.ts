import type { Backend, Operands } from '../backend.js';
import type { FormatName } from '../formats/format.js';
import { isMatmul, type MatmulProblem } from '../plan/problem.js';
import { msOf, type Selection } from '../plan/select.js';
import type { BackendName, Candidate } from '../plan/variant.js';
import { type Graph, isLayer, type Node, type ValueId } from './ir.js';
import { type Draft, deviceOf, type PlacementReport, type Plan, type Planner } from './plan.js';

/** What the plan in use does with one node. */
export interface NodeReport {
  name: string;
  op: Node['op'];
  /** Of the output. */
  shape: number[];
  backend: BackendName;
  /** The row of the backend's table that runs it; for a reshape `alias`: nothing runs. */
  variant: string;
  /** Milliseconds of the node's kernels. */
  predictedMs: number;
  /** The same from timing on the device; layers that were timed only. */
  measuredMs?: number;
  /** What the weights are stored as. Layers with weights only. */
  format?: FormatName;
  /** Bytes of packed weights and bias on the device, padding included; 0 for those that a layer before has. Layers with weights only. */
  weightBytes?: number;
  /** Layers with weights: the work of one run, with the weights in the form that was chosen. */
  problem?: MatmulProblem;
  /** Every row that was considered on the chosen backend, and why it was chosen or not. */
  candidates: Candidate[];
}

/** A value that moves between two devices in each run. */
export interface TransferReport {
  value: string;
  from: string;
  to: string;
  bytes: number;
  predictedMs: number;
}

/** What a model's plan does, and what it takes. */
export interface ModelReport {
  nodes: NodeReport[];
  /** Values between devices, and inputs and outputs of devices with memory of their own. */
  transfers: TransferReport[];
  /** Why the nodes are where they are. */
  placements: PlacementReport[];
  totals: {
    /** Kernels: as measured where they were, else as predicted. */
    kernelMs: number;
    /** How much of `kernelMs` was measured, 0..1. */
    measuredShare: number;
    transferMs: number;
    /** Packed weights and biases on devices. */
    weightBytes: number;
    /** The same weights as dense f32. */
    denseBytes: number;
    /** Buffers of activations. */
    activationBytes: number;
  };
}

/** What a plan does. */
export function modelReport(graph: Graph, planner: Planner, plan: Plan): ModelReport {
  const nodes = nodeReports(graph, plan);
  const transfers = transfersOf(graph, planner, plan);
  const sum = <T>(items: readonly T[], of: (item: T) => number) => items.reduce((total, item) => total + of(item), 0);
  const kernelMs = sum(nodes, ({ measuredMs, predictedMs }) => measuredMs ?? predictedMs);
  const measured = sum(nodes, ({ measuredMs = 0 }) => measuredMs);
  const layers = new Set(graph.nodes.flatMap((node) => (isLayer(node) ? [node.weights] : [])));
  return {
    nodes,
    transfers,
    placements: plan.placements,
    totals: {
      kernelMs,
      measuredShare: kernelMs > 0 ? measured / kernelMs : 0,
      transferMs: sum(transfers, ({ predictedMs }) => predictedMs),
      weightBytes: sum(nodes, ({ weightBytes = 0 }) => weightBytes),
      denseBytes: sum([...layers], ({ rows, cols }) => 4 * rows * cols),
      activationBytes: sum(plan.shares, ({ memory }) => memory.peakBytes),
    },
  };
}

function transfersOf(graph: Graph, planner: Planner, plan: Plan): TransferReport[] {
  const host = "the caller's memory";
  const transfers: TransferReport[] = [];
  const add = (id: ValueId, from: Backend | undefined, to: Backend | undefined) => {
    const bytes = planner.bytesOf(id, plan.shapes);
    const [write, read] = [to?.device.transfer, from?.device.transfer];
    if (!write && !read) return;
    const predictedMs =
      (read ? read.readMs + bytes / read.bytesPerNs / 1e6 : 0) +
      (write ? write.writeMs + bytes / write.bytesPerNs / 1e6 : 0);
    const { name } = graph.values.get(id)!;
    transfers.push({ value: name, from: from?.device.label ?? host, to: to?.device.label ?? host, bytes, predictedMs });
  };
  for (const { value } of graph.inputs) {
    const home = plan.demand.homes.get(value);
    for (const { backend, memory } of plan.shares) {
      if (memory.slotOf.has(value) && backend !== home) add(value, home, backend);
    }
  }
  for (const { id, from, to } of [...plan.moves.values()].flat()) add(id, from, to);
  const { results } = plan.demand;
  for (const { value } of results === 'tensors' ? [] : graph.outputs) {
    const home = plan.homes.get(planner.rootOf(value));
    const wanted = deviceOf(results);
    if (home && home !== wanted) add(value, home, wanted);
  }
  return transfers;
}

/** What a plan does with each node of a graph. */
export function nodeReports(graph: Graph, plan: Plan): NodeReport[] {
  const reported = new Set<Operands>();
  const stepsOf = new Map<ValueId, { backend: Backend; selection: Selection; operands: Operands | undefined }[]>();
  for (const [i, { node, backend, selection }] of plan.steps.entries()) {
    const others = stepsOf.get(node.output) ?? [];
    stepsOf.set(node.output, [...others, { backend, selection, operands: plan.operands[i] }]);
  }
  return graph.nodes.map((node) => {
    const steps = stepsOf.get(node.output) ?? [];
    const { device } = steps[0]?.backend ?? plan.backends[0];
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
      const problem = steps[0]?.selection.problem;
      if (problem && isMatmul(problem)) report.problem = problem;
    }
    return report;
  });
}

/** Why the first of the drafts is the plan, and the others are not. */
export function placementsOf(drafts: readonly Draft[], forced: BackendName | undefined): PlacementReport[] {
  return drafts.map(({ backends, predictedMs }, i) => {
    const ratio = (predictedMs / drafts[0].predictedMs).toFixed(2);
    const first = forced ? 'forced by name' : 'lowest predicted time';
    const reason = i === 0 ? first : `predicted ${ratio} x the chosen one's time`;
    const backend = backends.length > 1 ? 'several' : backends[0].device.backend;
    const device = backends.map(({ device }) => device.label).join(' and ');
    return { backend, device, predictedMs, chosen: i === 0, reason };
  });
}

/** A backend that can't run the graph, or did not manage to. */
export function refused({ device }: Backend, error: unknown): PlacementReport {
  const reason = error instanceof Error ? error.message : String(error);
  const { backend, label } = device;
  return { backend, device: label, predictedMs: Number.POSITIVE_INFINITY, chosen: false, reason };
}
