import { describe, ThinferError } from '../errors.js';
import type { FormatName } from '../formats/format.js';
import { validate } from '../formats/index.js';
import { type Graph, isLayer, type LayerNode } from '../graph/ir.js';
import { optimize } from '../graph/passes/index.js';
import { createRuntime, type Runtime } from '../runtime.js';
import { type Comparison, compare } from './compare.js';
import { atLayer, bytesOf, relativeError, valuesOf } from './layers.js';
import { checkCalibration, requireCalibration } from './observe.js';
import type { Calibration, Job, Note, Step } from './step.js';

export interface CompressOptions {
  /** What the model sees in use. Steps that need it say so; without it errors of outputs are not known. */
  calibration?: Calibration;
  /** Where the graph runs on calibration data. Default: one that is made for the time. */
  runtime?: Runtime;
  /** Called before each piece of work: how much of all is done, 0..1, and what comes. */
  onProgress?: (done: number, what: string) => void;
  signal?: AbortSignal;
}

/** What became of one layer. */
export interface LayerReport {
  layer: string;
  /** By step, in words. */
  did: string[];
  /** What took its place, where it is not there any more. */
  into?: readonly string[];
  format: { before: FormatName; after?: FormatName };
  bytes: { before: number; after: number };
  /** Of the weights that stayed. */
  density?: number;
  /** ||W' - W|| / ||W||, where the weights still have their shape. */
  weightError?: number;
  evidence?: Readonly<Record<string, unknown>>;
}

export interface CompressionReport {
  steps: string[];
  layers: LayerReport[];
  /** Of all weights and biases, as packed. */
  bytes: { before: number; after: number };
  /** Of the model's outputs, on the calibration data. */
  outputs?: Comparison;
  /** What steps found out about the model as a whole. */
  evidence?: Readonly<Record<string, unknown>>;
}

export interface Compressed {
  /** Runs by `Model.create`, its weights packed as they are. */
  graph: Graph;
  report: CompressionReport;
}

/**
 * Compresses a model after training by one step after the other.
 * @param source a graph of `readOnnx` or `readTflite`; it is not changed
 * @throws ThinferError what the steps throw, `bad-argument` and `bad-shape` for calibration data that is missing or does not
 * fit; the signal's reason when it is aborted
 */
export async function compress(
  source: Graph,
  steps: readonly Step[],
  options: CompressOptions = {},
): Promise<Compressed> {
  const { calibration, onProgress = () => {}, signal } = options;
  if (!Array.isArray(steps) || steps.some((step) => typeof step?.apply !== 'function')) {
    const expected = 'an array of steps, like [prune({ sparsity: 0.5 })]';
    throw new ThinferError({ code: 'bad-argument', place: 'compress: steps', expected, got: describe(steps) });
  }
  const before = optimize(source);
  if (calibration) checkCalibration(before, calibration);
  for (const step of steps) if (step.needs) requireCalibration({ calibration }, `compress: ${step.name}`);
  const notes: Note[] = [];
  let own: Promise<Runtime> | undefined;
  const runtime = () => {
    own ??= options.runtime ? Promise.resolve(options.runtime) : createRuntime({ tune: 'off' });
    return own;
  };
  try {
    let graph = before;
    for (const [i, step] of steps.entries()) {
      const progress = (done: number, what: string) => {
        signal?.throwIfAborted();
        onProgress((i + done) / (steps.length + 1), `${step.name}: ${what}`);
      };
      progress(0, '');
      const job: Job = { graph, calibration, runtime, progress, note: (note) => notes.push(note), signal };
      graph = checked(await step.apply(job));
    }
    const report = reportOf(before, graph, steps, notes);
    if (calibration) {
      onProgress(steps.length / (steps.length + 1), 'comparing outputs');
      report.outputs = await compare(before, graph, { calibration, runtime, signal });
    }
    onProgress(1, '');
    return { graph, report };
  } finally {
    if (own && !options.runtime) (await own).free();
  }
}

/** A step's result is run as it is: its weights have to be sound. */
function checked(graph: Graph): Graph {
  for (const node of graph.nodes) if (isLayer(node)) atLayer(node.name, () => validate(node.weights));
  return graph;
}

const layersOf = ({ nodes }: Graph): Map<string, LayerNode> =>
  new Map(nodes.filter(isLayer).map((layer) => [layer.name, layer]));

function reportOf(before: Graph, after: Graph, steps: readonly Step[], notes: readonly Note[]): CompressionReport {
  const then = layersOf(before);
  const now = layersOf(after);
  const layers = [...then.values()].map((old): LayerReport => {
    const own = notes.filter(({ layer }) => layer === old.name);
    const into = own.findLast((note) => note.into)?.into;
    const parts = (into ?? [old.name]).flatMap((name) => now.get(name) ?? []);
    const only = parts.length === 1 ? parts[0] : undefined;
    return {
      layer: old.name,
      did: own.map(({ did }) => did),
      ...(into && { into }),
      format: { before: old.weights.format, after: only?.weights.format },
      bytes: { before: layerBytes(old), after: parts.reduce((sum, part) => sum + layerBytes(part), 0) },
      ...(only && weightReport(old, only)),
      ...evidenceOf(own),
    };
  });
  const bytes = { before: graphBytes(before), after: graphBytes(after) };
  const evidence = evidenceOf(notes.filter(({ layer }) => layer === undefined));
  return { steps: steps.map(({ name }) => name), layers, bytes, ...evidence };
}

/** All evidence of some notes, where there is any: of equal names the last. */
function evidenceOf(notes: readonly Note[]): Pick<LayerReport, 'evidence'> {
  const evidence = Object.assign({}, ...notes.map((note) => note.evidence)) as Record<string, unknown>;
  return Object.keys(evidence).length > 0 ? { evidence } : {};
}

function weightReport(old: LayerNode, now: LayerNode): Pick<LayerReport, 'density' | 'weightError'> {
  const values = valuesOf(now.weights);
  const density = values.reduce((count, x) => count + Number(x !== 0), 0) / values.length;
  if (old.weights.rows !== now.weights.rows || old.weights.cols !== now.weights.cols) return { density };
  return { density, weightError: relativeError(values, valuesOf(old.weights)) };
}

const layerBytes = ({ weights, bias }: LayerNode): number => bytesOf(weights) + (bias?.byteLength ?? 0);

/** Packed weights and biases; what layers share counts once. */
export function graphBytes({ nodes }: Graph): number {
  const layers = nodes.filter(isLayer);
  const weights = [...new Set(layers.map((layer) => layer.weights))];
  const biases = [...new Set(layers.flatMap(({ bias }) => bias ?? []))];
  return weights.reduce((sum, w) => sum + bytesOf(w), 0) + biases.reduce((sum, { byteLength }) => sum + byteLength, 0);
}
