import type { Backend, Operands } from '../backend.js';
import type { FormatName } from '../formats/format.js';
import { msOf, type Selection } from '../plan/select.js';
import type { BackendName, Candidate } from '../plan/variant.js';
import { type Graph, isLayer, type Node, type ValueId } from './ir.js';
import type { Draft, PlacementReport, Plan } from './plan.js';

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
  /** Every row that was considered on the chosen backend, and why it was chosen or not. */
  candidates: Candidate[];
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
