import { type Graph, isLayer } from '../../graph/ir.js';
import { huffmanBytes } from '../../onnx/write/huffman.js';
import { bytesOf } from '../layers.js';
import { type PruneOptions, prune } from '../pruning/prune.js';
import type { LayerChoice, Step } from '../step.js';
import { type ClusterOptions, cluster } from './cluster.js';

export interface DeepCompressionOptions extends LayerChoice {
  /** The share of weights that become 0. Default 0.9. */
  sparsity?: number;
  /** Default `global`, which loses least where nothing is trained again; the paper prunes each layer by its deviation. */
  scope?: PruneOptions['scope'];
  /** Of a layer's codebook. Default 256 for convolutions, 16 for linear layers, as in the paper. */
  entries?: 16 | 256;
  init?: ClusterOptions['init'];
}

/** Bytes of a layer's weights after each stage. */
export interface StageBytes {
  dense: number;
  pruned: number;
  shared: number;
  /** In a file that `writeOnnx(graph, { huffman: true })` makes. */
  coded: number;
}

/**
 * Deep Compression's three stages (Han et al. 2016): prune, share what is left, and Huffman-code codes and distances of
 * columns in the stored file. The report has the bytes of each layer after each stage as evidence; `stagesOf` adds them up. After
 * training and without the paper's retraining between the stages, it is for moderate shares.
 * @param options or the sparsity
 */
export function deepCompression(options: number | DeepCompressionOptions = {}): Step {
  const given: DeepCompressionOptions = typeof options === 'number' ? { sparsity: options } : options;
  const { sparsity = 0.9, scope = 'global', entries, init, only, except } = given;
  const first = prune({ sparsity, scope, only, except });
  return {
    name: `Deep Compression, ${first.name}`,
    async apply(job) {
      const pruned = await first.apply({ ...job, progress: (done, what) => job.progress(done / 3, what) });
      let shared = pruned;
      for (const op of ['conv2d', 'linear'] as const) {
        const chosen = changed(job.graph, pruned).filter((name) =>
          pruned.nodes.some((n) => n.name === name && n.op === op),
        );
        if (chosen.length === 0) continue;
        const step = cluster({ entries: entries ?? (op === 'conv2d' ? 256 : 16), init, only: chosen });
        const progress = (done: number, what: string) => job.progress((op === 'conv2d' ? 1 : 2) / 3 + done / 3, what);
        shared = await step.apply({ ...job, graph: shared, progress });
      }
      for (const [i, node] of shared.nodes.entries()) {
        const before = pruned.nodes[i];
        if (!isLayer(node) || !isLayer(before) || node.weights === before.weights) continue;
        const { rows, cols } = node.weights;
        const stages: StageBytes = {
          dense: 4 * rows * cols,
          pruned: bytesOf(before.weights),
          shared: bytesOf(node.weights),
          coded: huffmanBytes(node.weights),
        };
        job.note({ layer: node.name, did: `${stages.coded} bytes Huffman-coded`, evidence: { stages } });
      }
      return shared;
    },
  };
}

/** Names of layers whose weights a step has changed. */
function changed(before: Graph, after: Graph): string[] {
  return after.nodes.flatMap((node, i) => {
    const old = before.nodes[i];
    return isLayer(node) && isLayer(old) && node.weights !== old.weights ? [node.name] : [];
  });
}

/** The bytes of all layers of a report after each stage. */
export function stagesOf(layers: readonly { evidence?: Readonly<Record<string, unknown>> }[]): StageBytes {
  const total: StageBytes = { dense: 0, pruned: 0, shared: 0, coded: 0 };
  for (const { evidence } of layers) {
    const stages = evidence?.stages as StageBytes | undefined;
    if (stages) for (const key of Object.keys(total) as (keyof StageBytes)[]) total[key] += stages[key];
  }
  return total;
}
