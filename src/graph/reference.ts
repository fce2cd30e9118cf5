import { activate } from '../formats/reference.js';
import type {
  ActivationProblem,
  BinaryProblem,
  PoolProblem,
  SoftmaxProblem,
  TransposeProblem,
} from '../plan/problem.js';

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
 */
export function referencePool(problem: PoolProblem, x: Float32Array): Float64Array {
  const { op, window, channels, countIncludePad } = problem;
  const pixels = window.batch * window.outHeight * window.outWidth;
  const y = new Float64Array(pixels * channels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let c = 0; c < channels; c++) {
      let max = -Infinity;
      let sum = 0;
      let count = 0;
      eachTap(problem, pixel, (at) => {
        if (at >= 0) {
          max = Math.max(max, x[at + c]);
          sum += x[at + c];
        }
        if (at >= 0 || countIncludePad) count++;
      });
      y[pixel * channels + c] = op === 'maxPool2d' ? max : sum / Math.max(count, 1);
    }
  }
  return y;
}

const BINARY: Record<BinaryProblem['op'], (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

/** C = clamp(A op B), each operand read with its strides. Returns C [dims]; no dims: one element. */
export function referenceBinary(problem: BinaryProblem, a: Float32Array, b: Float32Array): Float64Array {
  const { dims, aStrides, bStrides, clamp } = problem;
  const operator = BINARY[problem.op];
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
export function referenceActivation({ size, ...activation }: ActivationProblem, a: Float32Array): Float64Array {
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

/** C[i[perm[0]], i[perm[1]], ...] = A[i[0], i[1], ...]: dimension d of C is dimension perm[d] of A. */
export function referenceTranspose({ dims, perm }: TransposeProblem, a: Float32Array): Float64Array {
  const strides = dims.map((_, d) => dims.slice(d + 1).reduce((count, dim) => count * dim, 1));
  const outDims = perm.map((d) => dims[d]);
  const c = new Float64Array(dims.reduce((count, dim) => count * dim, 1));
  for (let i = 0; i < c.length; i++) {
    let at = 0;
    for (let d = outDims.length - 1, rest = i; d >= 0; d--) {
      const index = rest % outDims[d];
      rest = (rest - index) / outDims[d];
      at += index * strides[perm[d]];
    }
    c[i] = a[at];
  }
  return c;
}
