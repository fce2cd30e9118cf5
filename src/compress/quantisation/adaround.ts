import { requireInteger } from '../../errors.js';
import { requireChoice } from '../../formats/checks.js';
import { dense, int2, int4, int8, type Weights } from '../../formats/index.js';
import { relativeError, valuesOf } from '../layers.js';
import { eachWithMoments, type Moments, type Sequence } from '../products.js';
import type { Job, LayerChoice, Step } from '../step.js';
import type { IntegerFormat } from './quantize.js';

export interface AdaroundOptions extends LayerChoice, Sequence {
  format: IntegerFormat;
  /** Steps of the optimiser for each layer. Default 300. */
  iterations?: number;
  /** Of the optimiser (Adam), in the variable that rounding is chosen by. Default 0.03. */
  rate?: number;
  /** How much the term weighs that draws roundings to up or down, over the rounding error to nearest. Default 0.1. */
  regularisation?: number;
}

/** The share of iterations before roundings are drawn to up or down. */
const WARM_UP = 0.2;
/** The exponent of that term, first and last: it lets roundings in between be at first. */
const SHARPNESS = [20, 2] as const;
/** The rectified sigmoid reaches 0 and 1. */
const [ZETA, GAMMA] = [1.1, -0.1];

type Limits = readonly [least: number, most: number];
const LIMITS: Readonly<Record<IntegerFormat, Limits>> = { int8: [-127, 127], int4: [-8, 7], int2: [-2, 1] };

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const rectified = (v: number): number => Math.min(Math.max(sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0), 1);

/**
 * AdaRound (Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization): for each weight whether it is
 * rounded up or down, so that the squared error of the layer's outputs on calibration data is least, found by gradient
 * descent on a relaxation. The error is taken before the activation, where it follows from the second moments of the inputs
 * alone. Weights that are 0 stay so. int4 and int2 have one scale a row.
 * @param options or the format
 */
export function adaround(options: IntegerFormat | AdaroundOptions): Step {
  const given: AdaroundOptions = typeof options === 'string' ? { format: options } : options;
  const { format, iterations = 300 } = given;
  requireChoice(format, ['int8', 'int4', 'int2'], 'adaround.format');
  requireInteger(iterations, 'adaround.iterations', { min: 1, max: 1e6 });
  return {
    name: `AdaRound ${format}`,
    needs: 'calibration',
    apply: (job) =>
      eachWithMoments(job, given, 'adaround', async (unit, moments) => {
        const { packed, before, after } = await round(job, unit.weights, moments, { ...given, iterations });
        const error = relativeError(valuesOf(packed), valuesOf(unit.weights));
        const did = `${format}, error ${error.toPrecision(2)}`;
        const evidence = { squaredOutputError: { nearest: before, adaround: after } };
        for (const { name } of unit.layers) job.note({ layer: name, did, evidence });
        return packed;
      }),
  };
}

async function round(
  job: Job,
  weights: Weights,
  moments: readonly Moments[],
  options: AdaroundOptions & { iterations: number },
): Promise<{ packed: Weights; before: number; after: number }> {
  const { rows, cols } = weights;
  const { format } = options;
  const values = valuesOf(weights);
  const nearest =
    format === 'int8'
      ? int8.pack(values, { rows, cols })
      : { int4, int2 }[format].pack(values, { rows, cols, groupSize: cols });
  const limits = LIMITS[format];
  const part = rows / moments.length;
  const steps = new Float64Array(values.length);
  let [before, after] = [0, 0];
  for (const [g, moment] of moments.entries()) {
    const from = g * part * cols;
    const slice = values.subarray(from, from + part * cols);
    const scale = nearest.scale.subarray(g * part, (g + 1) * part);
    const found = await descend(job, slice, scale, limits, moment, options);
    steps.set(found.steps, from);
    before += found.before;
    after += found.after;
  }
  return { packed: withSteps(nearest, steps), before, after };
}

/** The packed weights with other codes, given as steps from the zero point. */
function withSteps(packed: Weights, steps: Float64Array): Weights {
  if (packed.format === 'int8') return { ...packed, codes: Int8Array.from(steps) };
  if (packed.format !== 'int4' && packed.format !== 'int2') throw new TypeError(packed.format);
  const bits = packed.format === 'int4' ? 4 : 2;
  const { rows, cols } = packed;
  const rowBytes = packed.codes.length / rows;
  const codes = new Uint8Array(packed.codes.length);
  const zero = 2 ** (bits - 1);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < (rowBytes * 8) / bits; i++) {
      const code = zero + (i < cols ? steps[r * cols + i] : 0);
      codes[r * rowBytes + Math.floor((i * bits) / 8)] |= code << ((i * bits) % 8);
    }
  }
  return { ...packed, codes };
}

/** Roundings of one group's weights: `v` is what the rectified sigmoid makes the share of a step of that is rounded up. */
interface Roundings {
  values: Float32Array;
  v: Float64Array;
  scaleOf(i: number): number;
  /** The step of a weight that is rounded up by a share of one. */
  stepOf(i: number, share: number): number;
}

function roundingsOf(values: Float32Array, scale: Float32Array, cols: number, [least, most]: Limits): Roundings {
  const scaleOf = (i: number) => scale[Math.floor(i / cols)];
  const stepOf = (i: number, share: number) =>
    values[i] === 0 ? 0 : Math.min(Math.max(Math.floor(values[i] / scaleOf(i)) + share, least), most);
  // What makes the share that a weight has now.
  const v = Float64Array.from(values, (x, i) => {
    const rest = Math.min(Math.max(x / scaleOf(i) - Math.floor(x / scaleOf(i)), 0.01), 0.99);
    return -Math.log((ZETA - GAMMA) / (rest - GAMMA) - 1);
  });
  return { values, v, scaleOf, stepOf };
}

async function descend(
  job: Job,
  values: Float32Array,
  scale: Float32Array,
  limits: Limits,
  { gram, mean }: Moments,
  options: AdaroundOptions & { iterations: number },
): Promise<{ steps: Float64Array; before: number; after: number }> {
  const cols = mean.length;
  const roundings = roundingsOf(values, scale, cols, limits);
  const { v, scaleOf, stepOf } = roundings;
  const nearest = (i: number) => stepOf(i, Math.round(values[i] / scaleOf(i)) - Math.floor(values[i] / scaleOf(i)));
  const hard = (i: number) => stepOf(i, Number(rectified(v[i]) >= 0.5));
  const hessian = await (await job.runtime()).linear(dense.pack(Float32Array.from(gram), { rows: cols, cols }));
  /** How far outputs are off, and half its gradient by the weights. */
  const errorOf = async (step: (i: number) => number) => {
    const difference = Float32Array.from(values, (x, i) => step(i) * scaleOf(i) - x);
    const product = await hessian.run(difference);
    const gradient = await product.data();
    product.free();
    return { gradient, error: difference.reduce((sum, x, i) => sum + x * gradient[i], 0) };
  };
  try {
    const { error: before } = await errorOf(nearest);
    await optimise(
      job,
      roundings,
      before,
      options,
      async () => (await errorOf((i) => stepOf(i, rectified(v[i])))).gradient,
    );
    const { error: after } = await errorOf(hard);
    // Never worse than what it set out from.
    const step = after < before ? hard : nearest;
    return { steps: Float64Array.from(values, (_, i) => step(i)), before, after: Math.min(after, before) };
  } finally {
    hessian.free();
  }
}

/** Adam (Kingma and Ba 2015) on v. */
async function optimise(
  job: Job,
  { values, v, scaleOf }: Roundings,
  error: number,
  { iterations, rate = 0.03, regularisation = 0.1 }: AdaroundOptions & { iterations: number },
  gradientOf: () => Promise<Float32Array>,
): Promise<void> {
  const weight = (regularisation * Math.max(error, 1e-30)) / v.length;
  const [m, s] = [new Float64Array(v.length), new Float64Array(v.length)];
  for (let t = 1; t <= iterations; t++) {
    job.signal?.throwIfAborted();
    const gradient = await gradientOf();
    const done = (t / iterations - WARM_UP) / (1 - WARM_UP);
    const beta = SHARPNESS[1] + 0.5 * (SHARPNESS[0] - SHARPNESS[1]) * (1 + Math.cos(Math.PI * Math.max(done, 0)));
    for (let i = 0; i < v.length; i++) {
      const p = sigmoid(v[i]);
      const h = p * (ZETA - GAMMA) + GAMMA;
      if (values[i] === 0 || h <= 0 || h >= 1) continue;
      const away = 2 * h - 1;
      const draw = done > 0 ? -weight * beta * 2 * Math.sign(away) * Math.abs(away) ** (beta - 1) : 0;
      const slope = (2 * gradient[i] * scaleOf(i) + draw) * (ZETA - GAMMA) * p * (1 - p);
      m[i] = 0.9 * m[i] + 0.1 * slope;
      s[i] = 0.999 * s[i] + 0.001 * slope * slope;
      v[i] -= (rate * (m[i] / (1 - 0.9 ** t))) / (Math.sqrt(s[i] / (1 - 0.999 ** t)) + 1e-30);
    }
  }
}
