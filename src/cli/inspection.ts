// What a model is made of, and what would run it.

import { ThinferError } from '../errors.js';
import type { Weights } from '../formats/format.js';
import { formatOf } from '../formats/index.js';
import { type Graph, isLayer } from '../graph/ir.js';
import { modelOfFile } from '../graph/load.js';
import type { ModelReport, NodeReport, ValueReport } from '../graph/model.js';
import { packGraph } from '../graph/pack.js';
import { optimize } from '../graph/passes/index.js';
import type { MatmulProblem } from '../plan/problem.js';
import type { BackendName } from '../plan/variant.js';
import { formatBytes, type Section } from '../report/sections.js';
import type { Runtime } from '../runtime.js';
import { inputsOf, madeUpInputs } from './model.js';

export interface InspectedNode {
  name: string;
  op: string;
  /** Of the output. */
  shape: number[];
  /** Layers only: the format that the weights come in, their number, the share of zeros, bytes, and as dense f32. */
  weights?: { format: string; count: number; zeros: number; bytes: number; denseBytes: number };
  /** Multiply-adds of one run with dense weights. Layers only. */
  macs?: number;
  /** The row of each backend's table that predicted time chooses. */
  kernels: Partial<Record<BackendName, string>>;
}

export interface Inspection {
  model: string;
  inputs: ValueReport[];
  outputs: ValueReport[];
  nodes: InspectedNode[];
  /** By backend: the device, or why it would not run the model. */
  backends: { backend: BackendName; device?: string; reason?: string; predictedMs?: number }[];
  notes: readonly string[];
}

const BACKENDS: readonly BackendName[] = ['wasm', 'webgpu'];

export const macsOf = ({ M, N, K, groups }: MatmulProblem): number => M * N * K * groups;

export async function inspectGraph(
  runtime: Runtime,
  model: string,
  graph: Graph,
  shapes: readonly string[],
): Promise<Inspection> {
  const reports = new Map<BackendName, ModelReport>();
  const backends: Inspection['backends'] = [];
  let outputs: ValueReport[] = [];
  for (const backend of BACKENDS) {
    const found = runtime.backends.find(({ device }) => device.backend === backend);
    if (!found) {
      backends.push({ backend, reason: runtime.notes.join(' ') || 'not asked for' });
      continue;
    }
    try {
      const loaded = await modelOfFile(runtime, graph, { backend });
      if (!loaded.report()) await loaded.run(madeUpInputs(loaded.inputs, shapes));
      const report = loaded.report()!;
      outputs = loaded.outputs;
      reports.set(backend, report);
      backends.push({ backend, device: found.device.label, predictedMs: report.placements[0].predictedMs });
      loaded.free();
    } catch (error) {
      if (!(error instanceof ThinferError) || error.place.startsWith('--')) throw error;
      backends.push({ backend, reason: error.message });
    }
  }
  const layers = new Map<string, Weights>();
  for (const node of packGraph(optimize(graph)).nodes) if (isLayer(node)) layers.set(node.name, node.weights);
  const [first] = reports.values();
  const nodes = (first?.nodes ?? []).map((node, i) => ({
    ...nodeFacts(node, layers.get(node.name)),
    kernels: Object.fromEntries([...reports].map(([backend, { nodes }]) => [backend, nodes[i].variant])),
  }));
  return { model, inputs: inputsOf(graph), outputs, nodes, backends, notes: runtime.notes };
}

function nodeFacts({ name, op, shape, problem }: NodeReport, weights: Weights | undefined) {
  if (!weights || !problem) return { name, op, shape };
  const { format, rows, cols } = weights;
  const values = formatOf(weights).unpack(weights);
  let zeros = 0;
  for (const value of values) if (value === 0) zeros++;
  const count = rows * cols;
  const facts = { format, count, zeros: zeros / count, bytes: formatOf(weights).bytes(weights), denseBytes: 4 * count };
  return { name, op, shape, weights: facts, macs: macsOf(problem) };
}

export function formatCount(count: number | undefined): string {
  if (count === undefined) return '-';
  if (count < 1e3) return String(count);
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (count >= size) return `${(count / size).toPrecision(3)} ${unit}`;
  }
  return String(count);
}

const describeValue = ({ name, shape, dtype }: ValueReport) => `${name} [${shape.join(', ')}] ${dtype}`;

export function inspectionSections({ model, inputs, outputs, nodes, backends }: Inspection): Section[] {
  const sum = (of: (node: InspectedNode) => number | undefined) =>
    nodes.reduce((total, node) => total + (of(node) ?? 0), 0);
  const right = (title: string) => ({ title, align: 'right' as const });
  const names = backends.flatMap(({ backend, device }) => (device ? [backend] : []));
  return [
    {
      title: model,
      facts: [
        `in: ${inputs.map(describeValue).join('; ')}`,
        `out: ${outputs.map(describeValue).join('; ')}`,
        `${formatCount(sum(({ weights }) => weights?.count))} weights in ${formatBytes(sum(({ weights }) => weights?.bytes))} ` +
          `(${formatBytes(sum(({ weights }) => weights?.denseBytes))} as dense f32), ` +
          `${formatCount(sum(({ macs }) => macs))} multiply-adds a run`,
      ],
      columns: [
        { title: 'node' },
        { title: 'operator' },
        right('output'),
        { title: 'weights' },
        right('zeros'),
        right('bytes'),
        right('MACs'),
        ...names.map((title) => ({ title: `kernel on ${title}` })),
      ],
      rows: nodes.map(({ name, op, shape, weights, macs, kernels }) => ({
        strong: weights !== undefined,
        weak: Object.values(kernels).every((kernel) => kernel === 'alias'),
        cells: [
          name,
          op,
          shape.join(' x '),
          weights?.format ?? '-',
          weights ? `${(100 * weights.zeros).toFixed(0)} %` : '-',
          formatBytes(weights?.bytes),
          formatCount(macs),
          ...names.map((backend) => kernels[backend] ?? '-'),
        ],
      })),
    },
    {
      title: 'Backends',
      columns: [{ title: 'backend' }, right('predicted ms'), { title: 'device, or why not' }],
      rows: backends.map(({ backend, device, reason, predictedMs }) => ({
        weak: !device,
        cells: [backend, predictedMs?.toPrecision(3) ?? '-', device ?? reason ?? '-'],
      })),
    },
  ];
}
