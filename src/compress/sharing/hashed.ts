import { requireInteger, ThinferError } from '../../errors.js';
import { codeBytes, readCode } from '../../formats/bits.js';
import { requireChoice } from '../../formats/checks.js';
import { codeBitsOf } from '../../formats/codebook.js';
import { hashCodes } from '../../formats/hashed.js';
import type { CodebookWeights, Weights } from '../../formats/index.js';
import { atLayer, isPruned, relativeError, unitsOf, valuesOf, withWeights } from '../layers.js';
import type { LayerChoice, Step } from '../step.js';

export interface HashOptions extends LayerChoice {
  /** Numbers that all weights of a layer share, those of either sign counted: 16 or 256. Default 256. */
  entries?: 16 | 256;
  /** Of the hash; each layer's is one more than that of the layer before. Default 1. */
  seed?: number;
}

/**
 * Hashed weights (Chen et al. 2015, Compressing Neural Networks with the Hashing Trick): a hash of its place says which of a
 * few shared numbers a weight is, and with which sign, so that a file has those numbers and a seed only. Each number is the
 * mean of its weights times their signs, which is what is nearest to them all. Runs as a codebook, the second half of which is
 * the negative of the first. After training much is lost: networks are meant to be trained with the hash, and
 * the numbers of one that was so are found exactly.
 * @param options or the numbers of a layer
 */
export function hash(options: 16 | 256 | HashOptions = {}): Step {
  const given: HashOptions = typeof options === 'number' ? { entries: options } : options;
  const { entries = 256, seed = 1 } = given;
  requireChoice(entries, [16, 256], 'hash.entries');
  requireInteger(seed, 'hash.seed', { max: 2 ** 30 });
  return {
    name: `hash to ${entries}`,
    apply(job) {
      const units = unitsOf(job.graph, given, 'hash');
      const replaced = new Map<Weights, Weights>();
      for (const [i, { name, weights, layers }] of units.entries()) {
        job.progress(i / units.length, name);
        const packed = atLayer(name, () => hashWeights(weights, entries, seed + i));
        replaced.set(weights, packed);
        const error = relativeError(valuesOf(packed), valuesOf(weights));
        for (const layer of layers) job.note({ layer: layer.name, did: `hashed, error ${error.toPrecision(2)}` });
      }
      return withWeights(job.graph, replaced);
    },
  };
}

function hashWeights(weights: Weights, entries: 16 | 256, seed: number): CodebookWeights {
  if (isPruned(weights)) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'hash',
      expected: 'layers that are not pruned: the hash does not know which weights are zero',
      got: weights.format,
      hint: 'Leave the layer out (except), or use cluster.',
    });
  }
  const { rows, cols } = weights;
  const values = valuesOf(weights);
  const codes = hashCodes(rows, cols, entries, seed);
  const bits = codeBitsOf(entries);
  const stride = codeBytes(cols, bits);
  const half = entries / 2;
  const sums = new Float64Array(half);
  const counts = new Float64Array(half);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const code = readCode(codes, r * stride, c, bits);
      sums[code % half] += values[r * cols + c] * (code < half ? 1 : -1);
      counts[code % half]++;
    }
  }
  const codebook = new Float32Array(entries);
  for (let i = 0; i < half; i++) {
    codebook[i] = counts[i] > 0 ? sums[i] / counts[i] : 0;
    codebook[half + i] = -codebook[i];
  }
  return { format: 'codebook', rows, cols, entries, codebook, seed, codes };
}
