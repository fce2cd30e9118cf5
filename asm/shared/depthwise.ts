import { codesAt, sampleAt } from '../int8/quantize';
import { MatmulJob, OutputKind } from './job';
import { finishIntegers, outputBytes } from './outputs';
import { clamp, clampScalar, madd } from './simd';

// Depthwise conv2d (groups = channels, one output each) in f32: four pixels of a line of output at a time, so that a
// weight is loaded once for four products, eight channels at a time. Weights: f32 [taps][paddedN].
//
// Formats of 8-bit activations run through the same loops. Activations less zeroA and weights less their zero points are
// integers, and their sums stay below 2^24 (taps <= 256), so f32 holds them exactly; scales follow as in
// asm/shared/bytes/. Without a byte dot instruction pmaddubsw on pairs of taps would need the weights in two halves
// and takes as many instructions.

/** Address of the weights, f32 [taps][paddedN]; may decode them into `to`. */
export type TapSource = (job: MatmulJob, to: usize) => usize;

/**
 * Pointers to the pixels that a line of output reads: [kernelHeight][columns], `outside` in the padding.
 * @param lines address of a line by y: lines + (y % ring) * lineBytes
 */
function linePointers(job: MatmulJob, line: u32, columns: u32, lines: usize, ring: u32, pixelBytes: usize,
  to: usize): void {
  const inWidth = job.inWidth, outside = job.zeros;
  const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
  for (let kh: u32 = 0; kh < job.kernelHeight; kh++) {
    const y = <u32>(y0 + <i32>(kh * job.dilationHeight));
    if (y >= job.inHeight) {
      for (let i: u32 = 0; i < columns; i++) store<usize>(to + i * sizeof<usize>(), outside);
    } else {
      const from = lines + <usize>(y % ring) * inWidth * pixelBytes;
      for (let i: u32 = 0; i < columns; i++) {
        const x = i - job.padLeft;
        store<usize>(to + i * sizeof<usize>(), x < inWidth ? from + x * pixelBytes : outside);
      }
    }
    to += columns * sizeof<usize>();
  }
}

/** Pointers [taps][4] of four pixels from column `first` of the output; of `count` only, the last repeated. */
function tapPointers(job: MatmulJob, table: usize, columns: u32, first: u32, count: u32, to: usize): void {
  const step = <usize>job.strideWidth * sizeof<usize>();
  const s1 = count > 1 ? step : 0, s2 = count > 2 ? s1 + step : s1, s3 = count > 3 ? s2 + step : s2;
  const dilation = <usize>job.dilationWidth * sizeof<usize>();
  let row = table + first * step;
  for (let kh: u32 = 0; kh < job.kernelHeight; kh++) {
    let at = row;
    for (let kw: u32 = 0; kw < job.kernelWidth; kw++) {
      store<usize>(to, load<usize>(at), 0 * sizeof<usize>());
      store<usize>(to, load<usize>(at + s1), 1 * sizeof<usize>());
      store<usize>(to, load<usize>(at + s2), 2 * sizeof<usize>());
      store<usize>(to, load<usize>(at + s3), 3 * sizeof<usize>());
      to += 4 * sizeof<usize>();
      at += dilation;
    }
    row += columns * sizeof<usize>();
  }
}

/** What ends the sums of one call. Scaled: y = sum * scaleW * scaleA + bias, else sums begin with the bias. */
@unmanaged
class Ending {
  bias: usize;
  scaleW: usize;
  scaleA: f32;
  low: f32;
  high: f32;
  /** Of a line of 3 x 3 windows: the weights, and three lines of input, whose pixels lie `step` bytes apart (0: padding). */
  weights: usize;
  tapBytes: usize;
  line0: usize;
  line1: usize;
  line2: usize;
  step0: usize;
  step1: usize;
  step2: usize;
  inWidth: u32;
  outWidth: u32;
  padLeft: u32;
  to: usize;
  rowBytes: usize;
}

// @ts-ignore: decorator
@inline
function finish(sum: v128, ending: Ending, c: usize, scaled: bool): v128 {
  const low = f32x4.splat(ending.low), high = f32x4.splat(ending.high);
  if (!scaled) return clamp(sum, low, high);
  const partial = f32x4.mul(sum, v128.load(ending.scaleW + c));
  return clamp(madd(partial, f32x4.splat(ending.scaleA), v128.load(ending.bias + c)), low, high);
}

/**
 * Eight channels, from byte c, of four pixels. A function of its own, called through the table: inlined into the loops
 * around it, its accumulators spill.
 */
// @ts-ignore: decorator
@inline
function block(p: usize, pointersEnd: usize, w: usize, tapBytes: usize, c: usize, ending: Ending, scaled: bool, to: usize,
  rowBytes: usize, count: u32): void {
  let s00 = f32x4.splat(0), s01 = s00;
  if (!scaled) {
    s00 = v128.load(ending.bias + c, 0);
    s01 = v128.load(ending.bias + c, 16);
  }
  let s10 = s00, s11 = s01, s20 = s00, s21 = s01, s30 = s00, s31 = s01;
  do {
    const w0 = v128.load(w, 0), w1 = v128.load(w, 16);
    let x = load<usize>(p, 0 * sizeof<usize>()) + c;
    s00 = madd(w0, v128.load(x, 0), s00);
    s01 = madd(w1, v128.load(x, 16), s01);
    x = load<usize>(p, 1 * sizeof<usize>()) + c;
    s10 = madd(w0, v128.load(x, 0), s10);
    s11 = madd(w1, v128.load(x, 16), s11);
    x = load<usize>(p, 2 * sizeof<usize>()) + c;
    s20 = madd(w0, v128.load(x, 0), s20);
    s21 = madd(w1, v128.load(x, 16), s21);
    x = load<usize>(p, 3 * sizeof<usize>()) + c;
    s30 = madd(w0, v128.load(x, 0), s30);
    s31 = madd(w1, v128.load(x, 16), s31);
    w += tapBytes;
    p += 4 * sizeof<usize>();
  } while (p < pointersEnd);
  v128.store(to, finish(s00, ending, c, scaled), 0);
  v128.store(to, finish(s01, ending, c + 16, scaled), 16);
  if (count <= 1) return;
  to += rowBytes;
  v128.store(to, finish(s10, ending, c, scaled), 0);
  v128.store(to, finish(s11, ending, c + 16, scaled), 16);
  if (count <= 2) return;
  to += rowBytes;
  v128.store(to, finish(s20, ending, c, scaled), 0);
  v128.store(to, finish(s21, ending, c + 16, scaled), 16);
  if (count <= 3) return;
  to += rowBytes;
  v128.store(to, finish(s30, ending, c, scaled), 0);
  v128.store(to, finish(s31, ending, c + 16, scaled), 16);
}

type Block = (p: usize, pointersEnd: usize, w: usize, tapBytes: usize, c: usize, ending: Ending, to: usize,
  rowBytes: usize, count: u32) => void;

function blockF32(p: usize, pointersEnd: usize, w: usize, tapBytes: usize, c: usize, ending: Ending, to: usize,
  rowBytes: usize, count: u32): void {
  block(p, pointersEnd, w, tapBytes, c, ending, false, to, rowBytes, count);
}

function blockScaled(p: usize, pointersEnd: usize, w: usize, tapBytes: usize, c: usize, ending: Ending, to: usize,
  rowBytes: usize, count: u32): void {
  block(p, pointersEnd, w, tapBytes, c, ending, true, to, rowBytes, count);
}

/**
 * Four channels, from byte c, of a line of 3 x 3 windows that move one or two columns. Nine weights stay in registers;
 * three pixels of a column of input go to the three, or two, outputs that they are part of.
 */
// @ts-ignore: decorator
@inline
function line3x3(e: Ending, c: usize, two: bool, scaled: bool): void {
  const tapBytes = e.tapBytes;
  let w = e.weights + c;
  const w00 = v128.load(w), w01 = v128.load(w + tapBytes), w02 = v128.load(w + 2 * tapBytes);
  w += 3 * tapBytes;
  const w10 = v128.load(w), w11 = v128.load(w + tapBytes), w12 = v128.load(w + 2 * tapBytes);
  w += 3 * tapBytes;
  const w20 = v128.load(w), w21 = v128.load(w + tapBytes), w22 = v128.load(w + 2 * tapBytes);
  const start = scaled ? f32x4.splat(0) : v128.load(e.bias + c);
  const step0 = e.step0, step1 = e.step1, step2 = e.step2;
  let x0 = e.line0 + c, x1 = e.line1 + c, x2 = e.line2 + c;
  const inWidth = e.inWidth, outWidth = e.outWidth;
  let column: u32 = 0 - e.padLeft;
  let to = e.to + c;
  // Of the outputs that begin at this column, the one before it and the second before it.
  let y0 = start, y1 = start, y2 = start;
  if (two) {
    for (let i: u32 = 0; i <= outWidth; i++) {
      if (column < inWidth) {
        const a = v128.load(x0), b = v128.load(x1), d = v128.load(x2);
        y1 = madd(w22, d, madd(w12, b, madd(w02, a, y1)));
        y0 = madd(w20, d, madd(w10, b, madd(w00, a, y0)));
        x0 += step0;
        x1 += step1;
        x2 += step2;
      }
      column++;
      if (i > 0) {
        v128.store(to, finish(y1, e, c, scaled));
        to += e.rowBytes;
      }
      y1 = y0;
      y0 = start;
      if (column < inWidth) {
        const a = v128.load(x0), b = v128.load(x1), d = v128.load(x2);
        y1 = madd(w21, d, madd(w11, b, madd(w01, a, y1)));
        x0 += step0;
        x1 += step1;
        x2 += step2;
      }
      column++;
    }
    return;
  }
  for (let i: u32 = 0; i < outWidth + 2; i++) {
    if (column < inWidth) {
      const a = v128.load(x0), b = v128.load(x1), d = v128.load(x2);
      y2 = madd(w22, d, madd(w12, b, madd(w02, a, y2)));
      y1 = madd(w21, d, madd(w11, b, madd(w01, a, y1)));
      y0 = madd(w20, d, madd(w10, b, madd(w00, a, y0)));
      x0 += step0;
      x1 += step1;
      x2 += step2;
    }
    column++;
    if (i > 1) {
      v128.store(to, finish(y2, e, c, scaled));
      to += e.rowBytes;
    }
    y2 = y1;
    y1 = y0;
    y0 = start;
  }
}

type LineKernel = (e: Ending, c: usize) => void;

function line3x3F32(e: Ending, c: usize): void {
  line3x3(e, c, false, false);
}

function line3x3x2F32(e: Ending, c: usize): void {
  line3x3(e, c, true, false);
}

function line3x3Scaled(e: Ending, c: usize): void {
  line3x3(e, c, false, true);
}

function line3x3x2Scaled(e: Ending, c: usize): void {
  line3x3(e, c, true, true);
}

/** One channel, at byte c. */
function single(pointers: usize, pointersEnd: usize, w: usize, tapBytes: usize, c: usize, ending: Ending, scaled: bool,
  to: usize, rowBytes: usize, count: u32): void {
  for (let r: u32 = 0; r < count; r++) {
    let sum: f32 = scaled ? 0 : f32.load(ending.bias + c);
    let at = w;
    for (let p = pointers + r * sizeof<usize>(); p < pointersEnd; p += 4 * sizeof<usize>()) {
      sum += f32.load(at) * f32.load(load<usize>(p) + c);
      at += tapBytes;
    }
    if (scaled) sum = sum * f32.load(ending.scaleW + c) * ending.scaleA + f32.load(ending.bias + c);
    f32.store(to + r * rowBytes, clampScalar(sum, ending.low, ending.high));
  }
}

/** Codes of `size` values, less their zero point, as f32. */
// @ts-ignore: decorator
@inline
function centre(from: usize, size: u32, zeroPoint: i32, signed: bool, to: usize): void {
  const zero = i16x8.splat(<i16>zeroPoint);
  let i: u32 = 0;
  for (; i + 8 <= size; i += 8) {
    const codes = signed ? v128.load8x8_s(from + i) : v128.load8x8_u(from + i);
    const x = i16x8.sub(codes, zero);
    v128.store(to + i * 4, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(x)), 0);
    v128.store(to + i * 4, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(x)), 16);
  }
  for (; i < size; i++) {
    const code = signed ? <i32>load<i8>(from + i) : <i32>load<u8>(from + i);
    f32.store(to + i * 4, <f32>(code - zeroPoint));
  }
}

/** A line of the image as f32, its pixels `pixelBytes` apart: from codes, or f32. */
function stageLine(job: MatmulJob, image: u32, y: u32, scaled: bool, pixelBytes: usize, to: usize): void {
  const channels = job.channels, inWidth = job.inWidth;
  const first = <usize>(image * job.inHeight + y) * inWidth * channels;
  if (!scaled) {
    let from = job.input + first * 4;
    const bytes = <usize>channels * 4;
    for (let x: u32 = 0; x < inWidth; x++) {
      for (let c: usize = 0; c < bytes; c += 16) v128.store(to + c, v128.load(from + c));
      from += bytes;
      to += pixelBytes;
    }
    return;
  }
  const signed = job.dotFlip != 0;
  const zeroPoint = sampleAt(job, image).zeroPoint;
  let from = codesAt(job) + first;
  for (let x: u32 = 0; x < inWidth; x++) {
    centre(from, channels, zeroPoint, signed, to);
    from += channels;
    to += pixelBytes;
  }
}

/** Whole numbers in the range of i32. */
// @ts-ignore: decorator
@inline
function integersOf(x: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_trunc_f32x4_s(x);
  return i32x4.trunc_sat_f32x4_s(x);
}

/** A line of sums, f32 [outWidth][channels], to integers of the output, eight channels at a time. */
function finishLine(job: MatmulJob, sums: usize, integers: usize, to: usize): void {
  const channels = job.channels;
  const pixelBytes = <usize>channels * outputBytes(job), elementBytes = outputBytes(job);
  const past = integers + <usize>job.outWidth * 32;
  for (let c: u32 = 0; c < channels; c += 8) {
    let from = sums + c * 4;
    for (let at = integers; at < past; at += 32) {
      v128.store(at, integersOf(v128.load(from, 0)), 0);
      v128.store(at, integersOf(v128.load(from, 16)), 16);
      from += <usize>channels * 4;
    }
    finishIntegers(job, job.outWidth, integers, 0, 0, 0, job.w1 + c * 4, job.w1, 0, job.bias + c * 4,
      to + c * elementBytes, pixelBytes, channels - c);
  }
}

/**
 * Tiles are blocks of `rowBlock` lines of output, counted over all images.
 * @param scaled activations are 8-bit codes (stage 1 is int8_quantize) and sums are scaled: w1 scales f32 [paddedN].
 * Scratch: ending, pointers [taps][4], pointers [kernelHeight][columns], weights [taps][paddedN], and scaled a ring of
 * input lines [(kernelHeight - 1) * dilation + 1][inWidth], pixels `chunk` bytes apart, where
 * `chunk` is not 0: always when scaled. Before the ring, for integer outputs: ones [paddedN], integers
 * [outWidth][8], a line of sums [outWidth][channels].
 */
export function depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: TapSource, scaled: bool): void {
  const channels = job.channels, inWidth = job.inWidth, inHeight = job.inHeight;
  const outWidth = job.outWidth, outHeight = job.outHeight;
  const rowBytes = <usize>channels * 4;
  const tapBytes = <usize>job.paddedN * 4;
  const taps = job.kernelHeight * job.kernelWidth;
  const columns = (outWidth - 1) * job.strideWidth + (job.kernelWidth - 1) * job.dilationWidth + 1;
  const reach = (job.kernelHeight - 1) * job.dilationHeight + 1;
  const ending = changetype<Ending>(scratch);
  const pointers = scratch + 128;
  const pointersEnd = pointers + <usize>taps * 4 * sizeof<usize>();
  const table = pointersEnd;
  const decoded = (table + <usize>job.kernelHeight * columns * sizeof<usize>() + 63) & ~63;
  const ones = (decoded + taps * tapBytes + 63) & ~63;
  const integers = job.outputKind != OutputKind.F32;
  const integersAt = ones + (integers ? tapBytes : 0);
  const sums = integersAt + (integers ? <usize>outWidth * 32 : 0);
  const ring = (sums + (integers ? <usize>outWidth * rowBytes + 64 : 0) + 63) & ~63;
  const staged = job.chunk != 0;
  const pixelBytes = staged ? <usize>job.chunk : rowBytes;
  const lineBytes = inWidth * pixelBytes;
  ending.bias = job.bias;
  ending.scaleW = job.w1;
  ending.low = job.low;
  ending.high = job.high;
  if (integers) {
    // The sums as they are, exact in f32; finishLine does the rest.
    for (let i: usize = 0; i < tapBytes; i += 4) f32.store(ones + i, 1);
    ending.bias = job.zeros;
    ending.scaleW = ones;
    ending.scaleA = 1;
    ending.low = -Infinity;
    ending.high = Infinity;
  }
  const kernel: Block = scaled ? blockScaled : blockF32;
  const weights = source(job, decoded);
  const small = job.kernelHeight == 3 && job.kernelWidth == 3 && job.dilationHeight == 1 && job.dilationWidth == 1 &&
    job.strideWidth <= 2;
  const two = job.strideWidth == 2;
  const lineKernel: LineKernel = scaled
    ? two ? line3x3x2Scaled : line3x3Scaled
    : two ? line3x3x2F32 : line3x3F32;
  ending.weights = weights;
  ending.tapBytes = tapBytes;
  ending.inWidth = inWidth;
  ending.outWidth = outWidth;
  ending.padLeft = job.padLeft;
  ending.rowBytes = rowBytes;
  const images = job.M / (outWidth * outHeight);
  let image: u32 = -1;
  let ready: i32 = 0;
  for (let l = begin * job.rowBlock, past = min(end * job.rowBlock, images * outHeight); l < past; l++) {
    const line = l % outHeight;
    let inputLines = job.input + <usize>(l / outHeight) * inHeight * lineBytes;
    if (staged) {
      const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
      if (l / outHeight != image) {
        image = l / outHeight;
        ready = 0;
        if (scaled && !integers) ending.scaleA = sampleAt(job, image).scale;
      }
      ready = max(ready, y0);
      for (const needed = min(y0 + <i32>reach, <i32>inHeight); ready < needed; ready++) {
        stageLine(job, image, ready, scaled, pixelBytes, ring + <usize>(<u32>ready % reach) * lineBytes);
      }
      inputLines = ring;
    }
    const lines = staged ? reach : inHeight;
    const output = job.output + <usize>l * outWidth * channels * outputBytes(job);
    let to = integers ? sums : output;
    let done: usize = 0;
    if (small) {
      for (let kh: u32 = 0; kh < 3; kh++) {
        const y = line * job.strideHeight - job.padTop + kh;
        const inside = y < inHeight;
        const at = scratch + kh * sizeof<usize>();
        store<usize>(at, inside ? inputLines + <usize>(y % lines) * lineBytes : job.zeros, offsetof<Ending>('line0'));
        store<usize>(at, inside ? pixelBytes : 0, offsetof<Ending>('step0'));
      }
      ending.to = to;
      done = rowBytes & ~15;
      for (let c: usize = 0; c < done; c += 16) lineKernel(ending, c);
    }
    if (done < rowBytes) {
      linePointers(job, line, columns, inputLines, lines, pixelBytes, table);
      for (let x: u32 = 0; x < outWidth; x += 4) {
        const count = min(outWidth - x, 4);
        tapPointers(job, table, columns, x, count, pointers);
        let c = done;
        for (; c + 32 <= rowBytes; c += 32) {
          kernel(pointers, pointersEnd, weights + c, tapBytes, c, ending, to + c, rowBytes, count);
        }
        for (; c < rowBytes; c += 4) {
          single(pointers, pointersEnd, weights + c, tapBytes, c, ending, scaled, to + c, rowBytes, count);
        }
        to += 4 * rowBytes;
      }
    }
    if (integers) finishLine(job, sums, integersAt, output);
  }
}

// ---- weights as codes: w0 [taps][paddedN] of `steps` bits, the first in the lowest bits; w2 zero points f32 [paddedN]
// (8-bit activations only); w3 the codes' values f32 [1 << steps], or none: bytes are signed weights ----

/** Weights less zero points as f32 [taps][paddedN]. */
export function decodeTaps(job: MatmulJob, to: usize): usize {
  const bits = job.steps, mask = (<u32>1 << bits) - 1;
  const values = job.w3, zeros = job.w2;
  const taps = job.kernelHeight * job.kernelWidth, paddedN = job.paddedN;
  let from = job.w0;
  let at = to;
  for (let tap: u32 = 0; tap < taps; tap++) {
    if (values == 0) {
      // paddedN is a multiple of 8.
      for (let n: u32 = 0; n < paddedN; n += 8) {
        const w = v128.load8x8_s(from + n);
        const z0 = v128.load(zeros + n * 4, 0), z1 = v128.load(zeros + n * 4, 16);
        v128.store(at + n * 4, f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(w)), z0), 0);
        v128.store(at + n * 4, f32x4.sub(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(w)), z1), 16);
      }
    } else {
      for (let n: u32 = 0; n < paddedN; n++) {
        const bit = n * bits;
        const code = (<u32>load<u8>(from + (bit >> 3)) >> (bit & 7)) & mask;
        f32.store(at + n * 4, f32.load(values + code * 4) - f32.load(zeros + n * 4));
      }
    }
    from += (paddedN * bits) >> 3;
    at += paddedN * 4;
  }
  return to;
}

/** 8-bit activations. */
export function codes_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  depthwise(job, begin, end, scratch, decodeTaps, true);
}

/** f32 activations. */
export function codebook_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  depthwise(job, begin, end, scratch, decodeTaps, false);
}
