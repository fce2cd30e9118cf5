import type { TensorData } from '../dtype.js';
import { codeRange, quantizeLinear, roundHalfEven } from '../formats/activations.js';
import { addCodes, fixedFactor, fixedSum, multiplyCodes } from '../formats/fixed.js';
import { averageMultiplier } from '../formats/outputs.js';
import { activate } from '../formats/reference.js';
import { BINARY_FUNCTIONS } from '../plan/functions.js';
import type {
  ActivationProblem,
  BatchMatmulProblem,
  BinaryProblem,
  CodeBinaryProblem,
  CopyProblem,
  DequantizeProblem,
  GatherProblem,
  LookupProblem,
  MatmulProblem,
  NormalizeProblem,
  PoolProblem,
  Problem,
  Quantization,
  QuantizeProblem,
  ReduceProblem,
  ResampleProblem,
  SoftmaxProblem,
  TransposeProblem,
} from '../plan/problem.js';
import { product, transposeAsCopy } from '../plan/strides.js';

/** Constants are folded in f64 where they are integers. */
type Floats = Float32Array | Float64Array;
/** Any operand: codes and sums come as what they are, or as floats of the same integers. */
export type Numbers = Floats | TensorData;

/*
 * The oracle of the operators without weights: plain loops in f64, never chosen for speed. The oracle of those with
 * weights is src/formats/reference.ts.
 */

/**
 * Calls `visit` for the taps of one output pixel's window: those inside the image with the index of the pixel's first
 * channel in x, those outside with -1. Taps beyond the trailing padding (a window of ceilMode may overhang it) are left
 * out: they are no part of the padded image.
 */
function eachTap({ window, channels }: PoolProblem, pixel: number, visit: (at: number) => void): void {
  const { inHeight, inWidth, outHeight, outWidth } = window;
  const ow = pixel % outWidth;
  const oh = Math.floor(pixel / outWidth) % outHeight;
  const image = Math.floor(pixel / (outWidth * outHeight));
  for (let kh = 0; kh < window.kernelHeight; kh++) {
    const ih = oh * window.strideHeight - window.padTop + kh * window.dilationHeight;
    if (ih >= inHeight + window.padBottom) break;
    for (let kw = 0; kw < window.kernelWidth; kw++) {
      const iw = ow * window.strideWidth - window.padLeft + kw * window.dilationWidth;
      if (iw >= inWidth + window.padRight) break;
      const inside = ih >= 0 && ih < inHeight && iw >= 0 && iw < inWidth;
      visit(inside ? ((image * inHeight + ih) * inWidth + iw) * channels : -1);
    }
  }
}

/**
 * Pooling over x [batch, inHeight, inWidth, channels]; returns [batch, outHeight, outWidth, channels].
 *
 * - maxPool2d: padding never wins; a window wholly outside the image gives -Infinity. A NaN in the window gives NaN.
 * - averagePool2d: the sum of the pixels inside the image, divided by the number of taps inside the padded image
 *   (countIncludePad) or inside the image, the rule of PyTorch and ONNX; 0 when that is none.
 * - of codes: the same of code - zeroPoint, as integers; the average rounded once, from f32(sum) * averageMultiplier.
 */
export function referencePool(problem: PoolProblem, x: Numbers): Float64Array {
  const { op, window, channels, countIncludePad, codes } = problem;
  const zero = op === 'averagePool2d' ? (codes?.input.zeroPoint ?? 0) : 0;
  const least = codes ? codeRange(codes.input.dtype)[0] : -Infinity;
  const pixels = window.batch * window.outHeight * window.outWidth;
  const y = new Float64Array(pixels * channels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let c = 0; c < channels; c++) {
      let max = least;
      let sum = 0;
      let count = 0;
      eachTap(problem, pixel, (at) => {
        if (at >= 0) {
          max = Math.max(max, x[at + c]);
          sum += x[at + c] - zero;
        }
        if (at >= 0 || countIncludePad) count++;
      });
      const average = () => (codes ? averageCode(codes, sum, Math.max(count, 1)) : sum / Math.max(count, 1));
      y[pixel * channels + c] = op === 'maxPool2d' ? max : average();
    }
  }
  return y;
}

function averageCode({ input, output }: NonNullable<PoolProblem['codes']>, sum: number, count: number): number {
  const [min, max] = codeRange(output.dtype);
  const steps = roundHalfEven(Math.fround(Math.fround(sum) * averageMultiplier(input, output, count)));
  return Math.min(Math.max(steps + output.zeroPoint, min), max);
}

/** What a code stands for, in f32. */
const realOf = (code: number, { scale, zeroPoint }: Pick<Quantization, 'scale' | 'zeroPoint'>): number =>
  Math.fround(Math.fround(code - zeroPoint) * Math.fround(scale));

/** C = codes of A. */
export function referenceQuantize({ size, output }: QuantizeProblem, a: Numbers): Float64Array {
  return Float64Array.from({ length: size }, (_, i) => quantizeLinear(a[i], output));
}

/** C = what A stands for. */
export function referenceDequantize(p: DequantizeProblem, a: Numbers): Float64Array {
  return Float64Array.from({ length: p.size }, (_, i) => realOf(a[i], p));
}

/** C = table[A] */
export function referenceLookup({ size, table }: LookupProblem, a: Numbers): Float64Array {
  return Float64Array.from({ length: size }, (_, i) => table[a[i] & 255]);
}

/** C = clamp(codes of A op B). */
export function referenceCodeBinary(p: CodeBinaryProblem, a: Numbers, b: Numbers): Float64Array {
  const c = new Float64Array(product(p.dims));
  const codeOf = codeFunction(p);
  let at = 0;
  eachIndex(p.dims, [p.aStrides, p.bStrides], ([i, j]) => {
    c[at++] = Math.min(Math.max(codeOf(a[i], b[j]), p.clamp[0]), p.clamp[1]);
  });
  return c;
}

function codeFunction({ op, a, b, output }: CodeBinaryProblem): (x: number, y: number) => number {
  switch (op) {
    case 'qAdd':
      return (x, y) => quantizeLinear(Math.fround(realOf(x, a) + realOf(y, b)), output);
    case 'qMul':
      return (x, y) => quantizeLinear(Math.fround(realOf(x, a) * realOf(y, b)), output);
    case 'fixedMul': {
      const factor = fixedFactor(a, b, output)!;
      return (x, y) => multiplyCodes(factor, x - a.zeroPoint, y - b.zeroPoint, output);
    }
    default: {
      const sum = fixedSum(a, b, output, op === 'fixedSub' ? -1 : 1)!;
      return (x, y) => addCodes(sum, x - a.zeroPoint, y - b.zeroPoint, output);
    }
  }
}

/** C = clamp(A op B), each operand read with its strides. Returns C [dims]; no dims: one element. */
export function referenceBinary(problem: BinaryProblem, a: Floats, b: Floats): Float64Array {
  const { dims, aStrides, bStrides, clamp } = problem;
  const operator = BINARY_FUNCTIONS[problem.op];
  const c = new Float64Array(dims.reduce((count, dim) => count * dim, 1));
  for (let i = 0; i < c.length; i++) {
    let aAt = 0;
    let bAt = 0;
    for (let d = dims.length - 1, rest = i; d >= 0; d--) {
      const at = rest % dims[d];
      rest = (rest - at) / dims[d];
      aAt += at * aStrides[d];
      bAt += at * bStrides[d];
    }
    c[i] = activate(operator(a[aAt], b[bAt]), { clamp });
  }
  return c;
}

/** C = clamp(f(A)); NaN stays NaN. */
export function referenceActivation({ size, ...activation }: ActivationProblem, a: Floats): Float64Array {
  return Float64Array.from(a.subarray(0, size), (value) => activate(value, activation));
}

/** exp(A - max) / sum of exp(A - max), along each row of A [rows, cols]. A row with a NaN or +Infinity becomes NaN. */
export function referenceSoftmax({ rows, cols }: SoftmaxProblem, a: Float32Array): Float64Array {
  const c = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const row = a.subarray(r * cols, (r + 1) * cols);
    const max = row.reduce((m, value) => Math.max(m, value), -Infinity);
    let sum = 0;
    for (let i = 0; i < cols; i++) sum += Math.exp(row[i] - max);
    for (let i = 0; i < cols; i++) c[r * cols + i] = Math.exp(row[i] - max) / sum;
  }
  return c;
}

/** Calls `visit` with the offset of each operand for every index below `dims`, the last counted fastest. */
export function eachIndex(
  dims: readonly number[],
  strides: readonly (readonly number[])[],
  visit: (offsets: readonly number[]) => void,
): void {
  const count = product(dims);
  const index = new Array<number>(dims.length).fill(0);
  const offsets = strides.map(() => 0);
  for (let i = 0; i < count; i++) {
    visit(offsets);
    for (let d = dims.length - 1; d >= 0; d--) {
      const wraps = ++index[d] === dims[d];
      for (let s = 0; s < strides.length; s++) offsets[s] += strides[s][d] * (wraps ? 1 - dims[d] : 1);
      if (!wraps) break;
      index[d] = 0;
    }
  }
}

/** Writes into C; elements may be of any type. */
export function referenceCopy<T>(
  { dims, from, fromStrides, to, toStrides }: CopyProblem,
  a: ArrayLike<T>,
  c: { [i: number]: T },
): void {
  eachIndex(dims, [fromStrides, toStrides], ([source, target]) => {
    c[to + target] = a[from + source];
  });
}

/** C[i[perm[0]], i[perm[1]], ...] = A[i[0], i[1], ...]: dimension d of C is dimension perm[d] of A. */
export function referenceTranspose(problem: TransposeProblem, a: Numbers): Float64Array {
  const c = new Float64Array(product(problem.dims));
  referenceCopy(transposeAsCopy(problem), a, c);
  return c;
}

/** C[o, i, n] = A[o, B[i], n] */
export function referenceGather({ outer, size, inner, count }: GatherProblem, a: Numbers, b: Numbers) {
  return Float64Array.from({ length: outer * count * inner }, (_, at) => {
    const index = b[Math.floor(at / inner) % count];
    const row = Math.min(Math.max(index < 0 ? index + size : index, 0), size - 1);
    return a[(Math.floor(at / (inner * count)) * size + row) * inner + (at % inner)];
  });
}

/** C[o, i, n] = sum over t of weight[i, t] * A[o, index[i, t], n] */
export function referenceResample(p: ResampleProblem, a: Numbers): Float64Array {
  return Float64Array.from({ length: p.outer * p.outSize * p.inner }, (_, at) => {
    const i = Math.floor(at / p.inner) % p.outSize;
    const start = Math.floor(at / (p.inner * p.outSize)) * p.inSize;
    let sum = 0;
    for (let t = i * p.taps; t < (i + 1) * p.taps; t++) {
      if (p.weight[t] !== 0) sum += p.weight[t] * a[(start + p.index[t]) * p.inner + (at % p.inner)];
    }
    return sum;
  });
}

/** C[o, n] = reduction over i of A[o, i, n]. Nothing at all sums to 0 and multiplies to 1. */
export function referenceReduce({ reduction, outer, size, inner }: ReduceProblem, a: Floats): Float64Array {
  return Float64Array.from({ length: outer * inner }, (_, at) => {
    const start = Math.floor(at / inner) * size * inner + (at % inner);
    const x = Array.from({ length: size }, (_, i) => a[start + i * inner]);
    const sum = (f: (value: number) => number) => x.reduce((total, value) => total + f(value), 0);
    switch (reduction) {
      case 'sum':
        return sum((value) => value);
      case 'mean':
        return sum((value) => value) / size;
      case 'sumSquare':
        return sum((value) => value * value);
      case 'l2':
        return Math.sqrt(sum((value) => value * value));
      case 'prod':
        return x.reduce((total, value) => total * value, 1);
      case 'max':
        return x.reduce((most, value) => Math.max(most, value), -Infinity);
      case 'min':
        return x.reduce((least, value) => Math.min(least, value), Infinity);
      case 'argMax':
        return x.indexOf(x.reduce((most, value) => Math.max(most, value), -Infinity));
      case 'argMin':
        return x.indexOf(x.reduce((least, value) => Math.min(least, value), Infinity));
    }
  });
}

/** C[r, c] = (A[r, c] - m) / sqrt(v + epsilon) * B[0, c] + B[1, c] */
export function referenceNormalize(p: NormalizeProblem, a: Floats, b?: Floats): Float64Array {
  const { rows, cols, epsilon, center, affine } = p;
  const c = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const row = Float64Array.from(a.subarray(r * cols, (r + 1) * cols));
    const mean = center ? row.reduce((sum, x) => sum + x, 0) / cols : 0;
    const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / cols;
    for (let i = 0; i < cols; i++) {
      const y = (row[i] - mean) / Math.sqrt(variance + epsilon);
      c[r * cols + i] = affine ? y * b![i] + b![cols + i] : y;
    }
  }
  return c;
}

/** C[..., M, N] = A[..., M, K] * B[..., K, N] */
export function referenceBatchMatmul(p: BatchMatmulProblem, a: Floats, b: Floats): Float64Array {
  const c = new Float64Array(product(p.batch) * p.M * p.N);
  let at = 0;
  eachIndex(
    [...p.batch, p.M, p.N],
    [
      [...p.a.batch, p.a.row, 0],
      [...p.b.batch, 0, p.b.col],
    ],
    ([row, col]) => {
      let sum = 0;
      for (let k = 0; k < p.K; k++) sum += a[row + k * p.a.col] * b[col + k * p.b.row];
      c[at++] = sum;
    },
  );
  return c;
}

/** A problem of an operator without weights. */
export type WeightlessProblem = Exclude<Problem, MatmulProblem>;

/** Computes any operator without weights into C: what constants are folded by, and what tests run. */
export function computeWeightless(p: WeightlessProblem, [a, b]: readonly Numbers[], c: Numbers): void {
  if (p.op === 'copy') referenceCopy(p, a, c);
  else c.set(weightless(p, a, b));
}

function weightless(p: Exclude<WeightlessProblem, CopyProblem>, left: Numbers, right: Numbers): Float64Array {
  // Those that know no codes.
  const [a, b] = [left as Floats, right as Floats];
  switch (p.op) {
    case 'maxPool2d':
    case 'averagePool2d':
      return referencePool(p, a);
    case 'activation':
      return referenceActivation(p, a);
    case 'softmax':
      return referenceSoftmax(p, Float32Array.from(a));
    case 'transpose':
      return referenceTranspose(p, a);
    case 'gather':
      return referenceGather(p, a, b);
    case 'resample':
      return referenceResample(p, a);
    case 'reduce':
      return referenceReduce(p, a);
    case 'normalize':
      return referenceNormalize(p, a, b);
    case 'batchMatmul':
      return referenceBatchMatmul(p, a, b);
    case 'quantize':
      return referenceQuantize(p, a);
    case 'dequantize':
      return referenceDequantize(p, a);
    case 'lookup':
      return referenceLookup(p, a);
    case 'qAdd':
    case 'qMul':
    case 'fixedAdd':
    case 'fixedSub':
    case 'fixedMul':
      return referenceCodeBinary(p, a, b);
    default:
      return referenceBinary(p, a, b);
  }
}
