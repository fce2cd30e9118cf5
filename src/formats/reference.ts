import { storedLength, type TensorData } from '../dtype.js';
import { requireInteger, requireLength } from '../errors.js';
import { UNARY_FUNCTIONS } from '../plan/functions.js';
import type { MatmulProblem, OutputActivation, UnaryFunction, WeightFacts } from '../plan/problem.js';
import { givenActivations } from './activations.js';
import type { Bias, DecodedActivations, Weights } from './format.js';
import { formatOf } from './index.js';
import { multipliers, outputRange, requantize } from './outputs.js';

/** What the oracle says about one problem. All arrays are [M, groups * N], row-major (conv2d: NHWC). */
export interface ReferenceOutput {
  /**
   * Outputs of f32: the exact answer in f64, clamp(sums * rowScale * sampleScale + bias). Others: the integers that
   * every kernel must give; `bits` as 0 and 1.
   */
  y: Float64Array;
  /** Sums of products in the format's arithmetic, before row and sample scales: integers where `exactSums`. */
  sums: Float64Array;
  /** sum |a * w| * rowScale * sampleScale + |bias|: what rounding errors are relative to (see `tolerance`). */
  magnitude: Float64Array;
  /**
   * Arithmetic `f16` only: the part of the products in `magnitude` with an operand that halves have no whole precision for
   * (below 2^-14), which kernels may flush to zero.
   */
  vanishing?: Float64Array;
}

/** The smallest half with all of its 11 bits. */
const SMALLEST_HALF = 2 ** -14;

/**
 * The oracle: plain loops in f64 over unpacked weights. Slow on purpose, never chosen for speed.
 *
 * y[m, g * N + n] = clamp(bias[g * N + n] + rowScale[g * N + n] * sampleScale[m] * sum over k of w[g * N + n, k] *
 * a[m, g, k])
 *
 * where k counts kernel rows, kernel columns and the channels of group g, in this order, and a[m, g, k] is the input
 * under the window of output pixel m. The whole input is brought into the format's arithmetic first (int8 and others:
 * quantised by sample; xnor: signs). Outside the image a is 0 in that arithmetic, or +1 for `xnor` with padValue 1. A
 * weight that a sparse format does not store contributes nothing, even times infinity.
 *
 * Other outputs than f32 begin with the sums s = sum of w * a: `int32` is clamp(s + bias); `uint8` and `int8` are
 * clamp(requantize(s + bias, multipliers[r])); `bits` is f32(f32(f32(s) * rowScale) + bias) >= 0, in these roundings.
 * @param x linear: [M, K]; conv2d: [batch, inHeight, inWidth, channels]; of the problem's input dtype
 * @param bias [groups * N]
 */
export function referenceMatmul(weights: Weights, problem: MatmulProblem, x: TensorData, bias?: Bias): ReferenceOutput {
  const { M, N, K, groups, channels, samples, window, input } = problem;
  const rows = groups * N;
  requireInteger(weights.rows, 'reference.weights.rows', { min: rows, max: rows });
  requireInteger(weights.cols, 'reference.weights.cols', { min: K, max: K });
  const pixels = window.batch * window.inHeight * window.inWidth;
  requireLength(x, storedLength(input.dtype, [pixels, channels]), 'reference.x');
  if (bias) requireLength(bias, rows, 'reference.bias');

  const { values: w, rowScale, stored } = formatOf(weights).decode(unscaled(weights, problem));
  const { values: a, sampleScale } = decodeInput(weights, problem, x);
  const integerOutput = integerEpilogue(weights, problem, rowScale, bias);
  const padding = weights.format === 'xnor' ? problem.padValue : 0;
  const groupChannels = channels / groups;

  const y = new Float64Array(M * rows);
  const sums = new Float64Array(M * rows);
  const magnitude = new Float64Array(M * rows);
  const vanishing = problem.arithmetic && new Float64Array(M * rows);
  const at = new Int32Array(K);
  for (let m = 0; m < M; m++) {
    const scaleOfSample = sampleScale[Math.floor((m * samples) / M)];
    for (let g = 0; g < groups; g++) {
      gather(problem, m, g * groupChannels, groupChannels, at);
      for (let r = g * N; r < (g + 1) * N; r++) {
        let sum = 0;
        let absolute = 0;
        for (let k = 0; k < K; k++) {
          if (stored && stored[r * K + k] === 0) continue;
          const factor = at[k] < 0 ? padding : a[at[k]];
          const product = w[r * K + k] * factor;
          sum += product;
          absolute += Math.abs(product);
          if (!vanishing) continue;
          const small = Math.min(Math.abs(w[r * K + k]), Math.abs(factor)) < SMALLEST_HALF;
          if (small) vanishing[m * rows + r] += Math.abs(product);
        }
        const scale = rowScale[r] * scaleOfSample;
        const i = m * rows + r;
        sums[i] = sum;
        magnitude[i] = absolute * scale + Math.abs(bias?.[r] ?? 0);
        const real = sum * scale + (bias?.[r] ?? 0);
        y[i] = integerOutput ? integerOutput(sum, r) : activate(real, problem);
      }
    }
  }
  return { y, sums, magnitude, vanishing };
}

/** Integer outputs sum the integers of the weights: their scale goes into the multipliers. */
function unscaled(weights: Weights, { output }: MatmulProblem): Weights {
  if (output.dtype === 'float32' || output.dtype === 'bits') return weights;
  return { ...weights, scale: new Float32Array(weights.rows).fill(1) } as Weights;
}

/** The input in the format's arithmetic. */
function decodeInput(weights: Weights, problem: MatmulProblem, x: TensorData): DecodedActivations {
  const { samples, channels, input } = problem;
  if (x instanceof Uint32Array) {
    const words = Math.ceil(channels / 32);
    const sign = (i: number) => {
      const c = i % channels;
      return (x[Math.floor(i / channels) * words + (c >>> 5)] >>> (c & 31)) & 1 ? 1 : -1;
    };
    const values = Float64Array.from({ length: (x.length / words) * channels }, (_, i) => sign(i));
    return { values, sampleScale: new Float64Array(samples).fill(1) };
  }
  if (input.quantization && !(x instanceof Int32Array)) return givenActivations(x, samples, input.quantization);
  return formatOf(weights).decodeActivations(x as Float32Array, samples, weights);
}

/** From an exact sum of row r to the output; undefined for outputs of f32. */
function integerEpilogue(
  weights: Weights,
  problem: MatmulProblem,
  rowScale: Float64Array,
  bias: Bias | undefined,
): ((sum: number, r: number) => number) | undefined {
  const { input, output } = problem;
  if (output.dtype === 'float32') return undefined;
  const biasOf = (r: number) => bias?.[r] ?? 0;
  if (output.dtype === 'bits') {
    return (sum, r) => (Math.fround(Math.fround(Math.fround(sum) * rowScale[r]) + biasOf(r)) >= 0 ? 1 : 0);
  }
  const [low, high] = outputRange(problem);
  const { quantization } = output;
  if (!quantization) return (sum, r) => Math.min(Math.max(sum + biasOf(r), low), high);
  const factors = multipliers(weights, input.quantization!, quantization, 'reference.output');
  return (sum, r) => Math.min(Math.max(requantize(sum + biasOf(r), factors[r], quantization), low), high);
}

/** clamp(f(x)) in f64. */
export function activate(
  x: number,
  { nonlinearity, clamp }: { nonlinearity?: UnaryFunction; clamp: readonly [min: number, max: number] },
): number {
  const y = nonlinearity ? UNARY_FUNCTIONS[nonlinearity](x) : x;
  return Math.min(Math.max(y, clamp[0]), clamp[1]);
}

/** Where in the input the K operands of output pixel m lie, for one group of channels; -1 outside the image. */
function gather(
  { window, channels }: MatmulProblem,
  m: number,
  firstChannel: number,
  groupChannels: number,
  at: Int32Array,
): void {
  const { inHeight, inWidth, outHeight, outWidth } = window;
  const ow = m % outWidth;
  const oh = Math.floor(m / outWidth) % outHeight;
  const image = Math.floor(m / (outWidth * outHeight));
  let k = 0;
  for (let kh = 0; kh < window.kernelHeight; kh++) {
    const ih = oh * window.strideHeight - window.padTop + kh * window.dilationHeight;
    for (let kw = 0; kw < window.kernelWidth; kw++) {
      const iw = ow * window.strideWidth - window.padLeft + kw * window.dilationWidth;
      const inside = ih >= 0 && ih < inHeight && iw >= 0 && iw < inWidth;
      const pixel = (image * inHeight + ih) * inWidth + iw;
      for (let c = 0; c < groupChannels; c++) at[k++] = inside ? pixel * channels + firstChannel + c : -1;
    }
  }
}

/** True when activations are quantised to 8 bits, one scale and zero point a sample (see `quantizeSample`). */
export function quantizesActivations({ format, centroids }: WeightFacts): boolean {
  switch (format) {
    case 'int8':
    case 'int8Grouped':
    case 'int4':
    case 'int2':
    case 'ternary':
    case 'binary':
    case 'csrInt8':
      return true;
    case 'codebook':
      return centroids === 'int8';
    default:
      return false;
  }
}

/**
 * True when a sum is an integer without rounding, equal on every backend: only row and sample scales and bias round.
 */
export function exactSums(facts: WeightFacts): boolean {
  if (facts.groupSize !== undefined) return false;
  return facts.format === 'xnor' || quantizesActivations(facts);
}

/** Roundings between a product and the sum of all. */
function sumRoundings({ weights, K }: MatmulProblem): number {
  if (exactSums(weights)) return 0;
  return weights.groupSize === undefined ? K : Math.ceil(K / weights.groupSize);
}

/**
 * The largest |kernel - reference.y| / reference.magnitude that correct f32 arithmetic can show.
 *
 * With n roundings between a product and the result, each relative to u, the error is at most
 * gamma_n = n u / (1 - n u) times the sum of magnitudes, in whatever order the products are added and with or
 * without fused multiply-add (Higham 2002, Accuracy and Stability of Numerical Algorithms, sections 3.1 and 4.2).
 *
 * - u = 2^-23: WebGPU lets an addition or multiplication round either way, so the unit is a whole last place,
 *   twice the 2^-24 of rounding to nearest.
 * - n = K for f32 sums (one product, K - 1 additions); 0 for integer sums (see `exactSums`); for int4 and int2, whose
 *   integer sums are scaled and added by group, the number of groups.
 * - The epilogue adds 4: integer to float (or one more partial sum), product of the scales, times the sum, plus bias.
 * - Activations that are rounded to halves (arithmetic `f16`) are off by 2^-10 each at most, in either direction; their
 *   products with halves are exact in f32.
 * - Quantised activations add 3: the scale of a sample is a quotient, which WebGPU allows to be 2.5 last places off.
 *
 * The bound holds where nothing underflows: f32 below 2^-126 may be flushed to zero, so that a comparison needs an
 * absolute term as well when operands are that small (see `errorBound`).
 */
export function tolerance(problem: MatmulProblem): number {
  const n = sumRoundings(problem) + 4 + (quantizesActivations(problem.weights) ? 3 : 0);
  const u = 2 ** -23;
  const gamma = (n * u) / (1 - n * u);
  return problem.arithmetic === 'f16' ? gamma + 2 ** -10 * (1 + gamma) : gamma;
}

/**
 * The largest |kernel - reference.y| of one output: `tolerance` times its magnitude, plus what K + 4 results flushed to
 * zero can take away, and the products of halves that are.
 */
export function errorBound(problem: MatmulProblem, magnitude: number, vanishing = 0): number {
  const rounding = tolerance(problem) * (magnitude + vanishing);
  return activationBound(problem, magnitude, rounding + vanishing + (problem.K + 4) * 2 ** -126);
}

/**
 * The largest error of f(x), when x is off by at most `error` and |x| <= `magnitude`: no slope of ours is over 1.5, and
 * kernels compute f itself to within 16 * 2^-23 of max(1, |x|), WebGPU's `exp` being the coarsest part, with up to
 * 3 + 2 |x| last places where e^x matters.
 */
export function activationBound({ nonlinearity }: OutputActivation, magnitude: number, error: number): number {
  return nonlinearity ? 1.5 * error + 16 * 2 ** -23 * Math.max(1, magnitude) : error;
}
