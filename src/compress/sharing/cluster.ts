import { requireInteger } from '../../errors.js';
import { codeBytes, writeCode } from '../../formats/bits.js';
import { requireChoice } from '../../formats/checks.js';
import { codeBitsOf, makeCodebook } from '../../formats/codebook.js';
import { type CodebookWeights, type CsrCodebookWeights, csr, type Weights } from '../../formats/index.js';
import { stepSize } from '../../formats/scales.js';
import { atLayer, isPruned, relativeError, unitsOf, valuesOf, withWeights } from '../layers.js';
import type { LayerChoice, Step } from '../step.js';
import { STARTS, type Start, startOf } from './start.js';

export interface ClusterOptions extends LayerChoice {
  /** Of a codebook: codes are of 4 or 8 bits. Default 16. */
  entries?: 16 | 256;
  /**
   * What shares a codebook. `tensor`: all weights of a layer. `channel`: all, each row times a scale of its own, which are
   * int8 centroids that multiply 8-bit activations. `group`: rows of like size, 16 entries a group. Default `tensor`.
   */
  per?: 'tensor' | 'channel' | 'group';
  /** `per: 'group'`: how many groups, up to 16. Default 16. */
  groups?: number;
  /** How k-means begins. Default `best`. */
  init?: Start;
  /** Of `init: 'kmeans++'`. Default 1. */
  seed?: number;
}

/** Groups that a codebook of 256 entries has pages for. */
const PAGES = 16;

/**
 * Weight sharing: k-means of each layer's weights, which then are codes into a codebook (Han et al. 2016, Deep Compression:
 * Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding). Layers that were pruned stay so:
 * only what is left is clustered, as csrCodebook.
 * @param options or the entries of a codebook
 */
export function cluster(options: 16 | 256 | ClusterOptions = {}): Step {
  const given: ClusterOptions = typeof options === 'number' ? { entries: options } : options;
  const { per = 'tensor', entries = per === 'group' ? 256 : 16, init = 'best', groups = PAGES, seed = 1 } = given;
  requireChoice(entries, per === 'group' ? [256, 256] : [16, 256], 'cluster.entries');
  requireChoice(per, ['tensor', 'channel', 'group'], 'cluster.per');
  requireChoice(init, STARTS, 'cluster.init');
  requireInteger(groups, 'cluster.groups', { min: 1, max: PAGES });
  requireInteger(seed, 'cluster.seed', { max: 2 ** 31 - 1 });
  const settings: Settings = { entries, init, seed, groups };
  const what = [
    per === 'group' ? `${groups} x 16` : String(entries),
    per !== 'tensor' && `a ${per}`,
    init !== 'best' && init,
  ];
  return {
    name: `cluster ${what.filter(Boolean).join(', ')}`,
    apply(job) {
      const units = unitsOf(job.graph, given, 'cluster');
      const replaced = new Map<Weights, Weights>();
      for (const [i, { name, weights, layers }] of units.entries()) {
        job.progress(i / units.length, name);
        const packed = atLayer(name, () => clusterWeights(weights, per, settings));
        replaced.set(weights, packed);
        const error = relativeError(valuesOf(packed), valuesOf(weights));
        const shared =
          packed.format === 'csrCodebook' && per !== 'tensor' ? ', of the whole tensor as it is sparse' : '';
        const did = `${packed.format} of ${packed.entries}${shared}, error ${error.toPrecision(2)}`;
        for (const layer of layers) job.note({ layer: layer.name, did });
      }
      return withWeights(job.graph, replaced);
    },
  };
}

interface Settings {
  entries: 16 | 256;
  init: Start;
  seed: number;
  groups: number;
}

function clusterWeights(
  weights: Weights,
  per: NonNullable<ClusterOptions['per']>,
  settings: Settings,
): CodebookWeights | CsrCodebookWeights {
  if (isPruned(weights)) return sparse(weights, settings);
  if (per === 'channel') return perChannel(weights, settings);
  return per === 'group' ? perGroup(weights, settings) : perTensor(weights, settings);
}

/** A codebook for values, and the code of each. */
function codebookOf<T extends Float32Array | Int8Array>(
  values: Float32Array,
  codebook: T,
  { init, seed }: Pick<Settings, 'init' | 'seed'>,
) {
  return makeCodebook(values.slice().sort(), codebook, 'cluster', startOf(init, seed));
}

function perTensor(weights: Weights, settings: Settings): CodebookWeights {
  const { rows, cols } = weights;
  const { entries } = settings;
  const values = valuesOf(weights);
  const { codebook, codeOf } = codebookOf(values, new Float32Array(entries), settings);
  return {
    format: 'codebook',
    rows,
    cols,
    entries,
    codebook,
    codes: codesOf(weights, entries, (i) => codeOf(values[i])),
  };
}

function codesOf({ rows, cols }: Weights, entries: 16 | 256, codeOf: (i: number) => number): Uint8Array {
  const bits = codeBitsOf(entries);
  const stride = codeBytes(cols, bits);
  const codes = new Uint8Array(rows * stride);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) writeCode(codes, r * stride, c, bits, codeOf(r * cols + c));
  }
  return codes;
}

/** Rows divided by their scales, max |w| / 127, rounded and clustered together. */
function perChannel(weights: Weights, settings: Settings): CodebookWeights {
  const { rows, cols } = weights;
  const { entries } = settings;
  const values = valuesOf(weights);
  const scale = new Float32Array(rows);
  const steps = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * cols, (r + 1) * cols);
    scale[r] = stepSize(
      row.reduce((most, w) => Math.max(most, Math.abs(w)), 0),
      127,
    );
    for (let c = 0; c < cols; c++) steps[r * cols + c] = Math.round(row[c] / scale[r]);
  }
  const { codebook, codeOf } = codebookOf(steps, new Int8Array(entries), settings);
  const codes = codesOf(weights, entries, (i) => codeOf(values[i] / scale[Math.floor(i / cols)]));
  return { format: 'codebook', rows, cols, entries, codebook, scale, codes };
}

/** Rows of like size share 16 entries, one page of a codebook of 256. */
function perGroup(weights: Weights, settings: Settings): CodebookWeights {
  const { rows, cols } = weights;
  const values = valuesOf(weights);
  const groups = Math.min(settings.groups, rows);
  const sizes = Float64Array.from({ length: rows }, (_, r) =>
    values.subarray(r * cols, (r + 1) * cols).reduce((sum, w) => sum + w * w, 0),
  );
  const bySize = Array.from(sizes.keys()).sort((a, b) => sizes[a] - sizes[b] || a - b);
  const codebook = new Float32Array(256);
  const codes = new Uint8Array(rows * cols);
  for (let g = 0; g < groups; g++) {
    const members = bySize.slice(Math.floor((g * rows) / groups), Math.floor(((g + 1) * rows) / groups));
    const own = new Float32Array(members.length * cols);
    for (const [i, r] of members.entries()) own.set(values.subarray(r * cols, (r + 1) * cols), i * cols);
    const { codebook: page, codeOf } = codebookOf(own, new Float32Array(16), settings);
    codebook.set(page, 16 * g);
    for (const r of members) {
      for (let i = r * cols; i < (r + 1) * cols; i++) codes[i] = 16 * g + codeOf(values[i]);
    }
  }
  return { format: 'codebook', rows, cols, entries: 256, codebook, codes };
}

/** What is left of pruned weights; zeros take no entry. */
function sparse(weights: Weights, settings: Settings): CsrCodebookWeights {
  const { rows, cols } = weights;
  const { entries } = settings;
  const { indptr, indices, values } = csr.pack(valuesOf(weights), { rows, cols });
  const { codebook, codeOf } = codebookOf(values, new Float32Array(entries), settings);
  const bits = codeBitsOf(entries);
  const codes = new Uint8Array(codeBytes(values.length, bits));
  for (let i = 0; i < values.length; i++) writeCode(codes, 0, i, bits, codeOf(values[i]));
  return { format: 'csrCodebook', rows, cols, entries, codebook, indptr, indices, codes };
}
