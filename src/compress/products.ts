// What the weights of layers are multiplied by on calibration data: rows of products, and their second moments.

import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import { ThinferError } from '../errors.js';
import type { Weights } from '../formats/format.js';
import { dense } from '../formats/index.js';
import type { Graph, LayerNode } from '../graph/ir.js';
import { nodeWindow } from '../graph/shapes.js';
import type { Runtime } from '../runtime.js';
import { type Unit, unitsOf, withWeights } from './layers.js';
import { type Observation, type Observer, observe, requireCalibration } from './observe.js';
import type { Job, LayerChoice } from './step.js';

/** What one group of a layer's channels is multiplied by: x is a column of weights' products. */
export interface Moments {
  /** [cols, cols], the mean of x x^T: half the Hessian of the mean squared error of an output. */
  gram: Float64Array;
  /** [cols], the mean of x. */
  mean: Float64Array;
  /** Rows that were looked at. */
  rows: number;
}

/** Rows that are looked at, at least: more for weights of more columns. */
const LEAST_ROWS = 4096;
const ROWS_A_COLUMN = 4;
/** Rows whose products are summed in f32. */
const CHUNK = 2048;
/** Up to this many columns a loop is as fast as a layer. */
const FEW_COLUMNS = 40;

export const groupsOf = (layer: LayerNode): number => (layer.op === 'conv2d' ? layer.groups : 1);

/**
 * Rows [rows, cols] of what one group's weights are multiplied by, of as many outputs, spread evenly over all: padding is 0.
 */
export function productRows(
  layer: LayerNode,
  { data, shape }: Pick<Observation, 'data' | 'shape'>,
  group: number,
  wanted: number,
): Float32Array {
  const { cols } = layer.weights;
  if (layer.op === 'linear') {
    const rows = pick(data.length / cols, wanted);
    const out = new Float32Array(rows.length * cols);
    rows.forEach((row, i) => {
      out.set(data.subarray(row * cols, (row + 1) * cols), i * cols);
    });
    return out;
  }
  const [batch, height, width, channels] = shape;
  const w = nodeWindow(layer, layer.window, [batch, height, width]);
  const groupChannels = channels / layer.groups;
  const pixels = pick(batch * w.outHeight * w.outWidth, wanted);
  const out = new Float32Array(pixels.length * cols);
  pixels.forEach((pixel, i) => {
    const ow = pixel % w.outWidth;
    const oh = Math.floor(pixel / w.outWidth) % w.outHeight;
    const image = Math.floor(pixel / (w.outWidth * w.outHeight));
    let to = i * cols;
    for (let kh = 0; kh < w.kernelHeight; kh++) {
      const ih = oh * w.strideHeight - w.padTop + kh * w.dilationHeight;
      for (let kw = 0; kw < w.kernelWidth; kw++, to += groupChannels) {
        const iw = ow * w.strideWidth - w.padLeft + kw * w.dilationWidth;
        if (ih < 0 || ih >= height || iw < 0 || iw >= width) continue;
        const from = ((image * height + ih) * width + iw) * channels + group * groupChannels;
        out.set(data.subarray(from, from + groupChannels), to);
      }
    }
  });
  return out;
}

/** `wanted` of `count` indices, one somewhere in each of as many equal parts: the same every time. */
function pick(count: number, wanted: number): number[] {
  if (wanted >= count) return Array.from({ length: count }, (_, i) => i);
  // The golden ratio's multiples are spread evenly modulo 1, so that no period of the image is met.
  return Array.from({ length: wanted }, (_, i) => Math.floor(((i + ((i * 0.6180339887) % 1)) * count) / wanted));
}

/** Adds X^T X and the sums of columns of X [rows, cols] to moments. */
async function add(moments: Moments, x: Float32Array, runtime: () => Promise<Runtime>): Promise<void> {
  const cols = moments.mean.length;
  const rows = x.length / cols;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) moments.mean[c] += x[r * cols + c];
  moments.rows += rows;
  if (moments.gram.length === 0) return;
  if (cols <= FEW_COLUMNS) {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < cols; i++) {
        const xi = x[r * cols + i];
        if (xi !== 0) for (let j = 0; j < cols; j++) moments.gram[i * cols + j] += xi * x[r * cols + j];
      }
    }
    return;
  }
  for (let from = 0; from < rows; from += CHUNK) {
    const count = Math.min(CHUNK, rows - from);
    const transposed = new Float32Array(cols * count);
    for (let r = 0; r < count; r++) {
      for (let c = 0; c < cols; c++) transposed[c * count + r] = x[(from + r) * cols + c];
    }
    const product = await multiply(await runtime(), transposed, transposed, count);
    for (let i = 0; i < product.length; i++) moments.gram[i] += product[i];
  }
}

/** A [M, K] times the transpose of B [N, K], on a device. */
export async function multiply(runtime: Runtime, a: Float32Array, b: Float32Array, K: number): Promise<Float32Array> {
  const layer = await runtime.linear(dense.pack(b, { rows: b.length / K, cols: K }));
  const product = await layer.run(a);
  try {
    return await product.data();
  } finally {
    product.free();
    layer.free();
  }
}

/**
 * Moments of units, one a group of channels; those that several layers share are of all of them.
 * @param options `gram`: false for means only
 */
export async function momentsOf(
  job: Observer & Pick<Job, 'moments'>,
  units: readonly Unit[],
  visit: (unit: Unit, moments: Moments[]) => void | Promise<void>,
  { gram = true } = {},
): Promise<void> {
  const batches = requireCalibration(job, 'compress').batches.length;
  const cache = gram ? job.moments?.of(job.graph) : undefined;
  if (cache && units.every(({ weights }) => cache.has(weights))) {
    for (const unit of units) await visit(unit, cache.get(unit.weights)!);
    return;
  }
  const found = new Map<Unit, Moments[]>();
  const values = [...new Set(units.flatMap(({ layers }) => layers.map(({ inputs }) => inputs[0])))];
  const left = new Map(units.map((unit) => [unit, unit.layers.length * batches]));
  await observe(job, values, async (id, observation) => {
    for (const unit of units) {
      const { cols } = unit.weights;
      for (const layer of unit.layers) {
        if (layer.inputs[0] !== id) continue;
        const groups = groupsOf(layer);
        const all = found.get(unit) ?? Array.from({ length: groups }, () => empty(cols, gram));
        found.set(unit, all);
        const wanted = Math.ceil(Math.max(LEAST_ROWS, ROWS_A_COLUMN * cols) / (batches * unit.layers.length));
        for (let g = 0; g < groups; g++) await add(all[g], productRows(layer, observation, g, wanted), job.runtime);
        left.set(unit, left.get(unit)! - 1);
      }
      if (left.get(unit) === 0) {
        left.delete(unit);
        const moments = found.get(unit)!;
        found.delete(unit);
        const means = moments.map(averaged);
        cache?.set(unit.weights, means);
        await visit(unit, means);
      }
    }
  });
}

const empty = (cols: number, gram: boolean): Moments => ({
  gram: new Float64Array(gram ? cols * cols : 0),
  mean: new Float64Array(cols),
  rows: 0,
});

function averaged({ gram, mean, rows }: Moments): Moments {
  return { gram: gram.map((x) => x / rows), mean: mean.map((x) => x / rows), rows };
}

/** Moments of one graph's weights that several steps ask for. */
export class MomentsCache {
  readonly #graph: Graph;
  readonly #found = new Map<Weights, Moments[]>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** What is known of this graph: nothing is kept of others. */
  of(graph: Graph): Map<Weights, Moments[]> | undefined {
    return graph === this.#graph ? this.#found : undefined;
  }
}

export interface Sequence {
  /** Whether what a layer is multiplied by is looked at after the layers before it were changed. Default true. */
  sequential?: boolean;
}

/**
 * Changes the weights of one unit after the other by what they are multiplied by.
 * @param change new weights, or undefined where they stay
 */
export async function eachWithMoments(
  job: Job,
  { sequential = true, ...choice }: LayerChoice & Sequence,
  place: string,
  change: (unit: Unit, moments: Moments[]) => Weights | undefined | Promise<Weights | undefined>,
): Promise<Graph> {
  const units = unitsOf(job.graph, choice, place);
  const replaced = new Map<Weights, Weights>();
  let done = 0;
  const visit = async (unit: Unit, moments: Moments[]) => {
    job.progress(done++ / units.length, unit.name);
    const weights = await change(unit, moments);
    if (weights) replaced.set(unit.weights, weights);
  };
  if (!sequential) await momentsOf(job, units, visit);
  else {
    for (const unit of units) await momentsOf({ ...job, graph: withWeights(job.graph, replaced) }, [unit], visit);
  }
  return withWeights(job.graph, replaced);
}

/**
 * U with H^-1 = U^T U, upper triangular, row-major: of a gram matrix with `damping` times its mean diagonal added, so that
 * it can be inverted. Found by one Cholesky decomposition: where H = M M^T with an upper triangular M, U = M^-1.
 * @throws ThinferError `bad-argument` when that is not positive definite
 */
export function inverseFactor(gram: Float64Array, cols: number, damping: number, place: string): Float64Array {
  const known = factors.get(gram);
  if (known?.damping === damping) return known.factor;
  const factor = findFactor(gram, cols, damping, place);
  factors.set(gram, { damping, factor });
  return factor;
}

const factors = new WeakMap<Float64Array, { damping: number; factor: Float64Array }>();

function findFactor(gram: Float64Array, cols: number, damping: number, place: string): Float64Array {
  let trace = 0;
  for (let i = 0; i < cols; i++) trace += gram[i * cols + i];
  const added = trace > 0 ? (damping * trace) / cols : 1;
  const last = cols - 1;
  const reversed = Matrix.zeros(cols, cols);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) {
      // Symmetric to the last bit, which a product in f32 need not be.
      const value = (gram[(last - i) * cols + last - j] + gram[(last - j) * cols + last - i]) / 2;
      reversed.set(i, j, i === j ? value + added : value);
    }
  }
  const cholesky = new CholeskyDecomposition(reversed);
  if (!cholesky.isPositiveDefinite()) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: 'second moments that are positive definite with the damping',
      got: `damping ${damping}`,
      hint: 'Use a larger damping, or more calibration data.',
    });
  }
  const lower = cholesky.lowerTriangularMatrix.to1DArray();
  return inverseOfUpper(
    Float64Array.from({ length: cols * cols }, (_, i) => lower[cols * cols - 1 - i]),
    cols,
  );
}

/** The inverse of an upper triangular matrix, by back substitution. */
function inverseOfUpper(m: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let i = n - 1; i >= 0; i--) {
    const row = inverse.subarray(i * n, (i + 1) * n);
    row[i] = 1;
    for (let k = i + 1; k < n; k++) {
      const factor = m[i * n + k];
      if (factor === 0) continue;
      for (let j = k; j < n; j++) row[j] -= factor * inverse[k * n + j];
    }
    for (let j = i; j < n; j++) row[j] /= m[i * n + i];
  }
  return inverse;
}
