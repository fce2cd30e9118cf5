import { codesAt, sampleAt } from '../int8/quantize';
import { MatmulJob } from './job';
import { clamp, clampScalar, madd } from './simd';

// Depthwise conv2d (groups = channels, one output each) in f32: four pixels of a line of output at a time, so that a
// weight is loaded once for four products, eight channels at a time. Weights: f32 [taps][paddedN].
//
// Formats of 8-bit activations run through the same loops. Activations less zeroA and weights less their zero points are
// integers, and their sums stay below 2^24 (taps <= 256), so f32 holds them exactly; scales follow as in
// asm/shared/gemm_i8.ts. Without a byte dot instruction pmaddubsw on pairs of taps would need the weights in two halves
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
}

// @ts-ignore: decorator
@inline
function finish(sum: v128, ending: Ending, c: usize, scaled: bool): v128 {
  const low = f32x4.splat(ending.low), high = f32x4.splat(ending.high);
  if (!scaled) return clamp(sum, low, high);
  const partial = f32x4.mul(sum, v128.load(ending.scaleW + c));
  return clamp(madd(partial, f32x4.splat(ending.scaleA), v128.load(ending.bias + c)), low, high);
}

/** Four pixels, all channels. */
// @ts-ignore: decorator
@inline
function pixels(pointers: usize, pointersEnd: usize, weights: usize, tapBytes: usize, rowBytes: usize, count: u32,
  ending: Ending, scaled: bool, to: usize): void {
  let c: usize = 0;
  const zero = f32x4.splat(0);
  for (const whole = rowBytes & ~31; c < whole; c += 32) {
    let s00 = zero, s01 = zero;
    if (!scaled) {
      s00 = v128.load(ending.bias + c, 0);
      s01 = v128.load(ending.bias + c, 16);
    }
    let s10 = s00, s11 = s01, s20 = s00, s21 = s01, s30 = s00, s31 = s01;
    let w = weights + c;
    let p = pointers;
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
    let y = to + c;
    v128.store(y, finish(s00, ending, c, scaled), 0);
    v128.store(y, finish(s01, ending, c + 16, scaled), 16);
    if (count <= 1) continue;
    y += rowBytes;
    v128.store(y, finish(s10, ending, c, scaled), 0);
    v128.store(y, finish(s11, ending, c + 16, scaled), 16);
    if (count <= 2) continue;
    y += rowBytes;
    v128.store(y, finish(s20, ending, c, scaled), 0);
    v128.store(y, finish(s21, ending, c + 16, scaled), 16);
    if (count <= 3) continue;
    y += rowBytes;
    v128.store(y, finish(s30, ending, c, scaled), 0);
    v128.store(y, finish(s31, ending, c + 16, scaled), 16);
  }
  for (; c < rowBytes; c += 4) {
    for (let r: u32 = 0; r < count; r++) {
      let sum: f32 = scaled ? 0 : f32.load(ending.bias + c);
      let w = weights + c;
      for (let p = pointers + r * sizeof<usize>(); p < pointersEnd; p += 4 * sizeof<usize>()) {
        sum += f32.load(w) * f32.load(load<usize>(p) + c);
        w += tapBytes;
      }
      if (scaled) sum = sum * f32.load(ending.scaleW + c) * ending.scaleA + f32.load(ending.bias + c);
      f32.store(to + r * rowBytes + c, clampScalar(sum, ending.low, ending.high));
    }
  }
}

type PixelKernel = (pointers: usize, pointersEnd: usize, weights: usize, tapBytes: usize, rowBytes: usize, count: u32,
  ending: Ending, to: usize) => void;

function pixelsF32(pointers: usize, pointersEnd: usize, weights: usize, tapBytes: usize, rowBytes: usize, count: u32,
  ending: Ending, to: usize): void {
  pixels(pointers, pointersEnd, weights, tapBytes, rowBytes, count, ending, false, to);
}

function pixelsScaled(pointers: usize, pointersEnd: usize, weights: usize, tapBytes: usize, rowBytes: usize, count: u32,
  ending: Ending, to: usize): void {
  pixels(pointers, pointersEnd, weights, tapBytes, rowBytes, count, ending, true, to);
}

/** Codes of `size` values, less their zero point, as f32. */
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

/**
 * Tiles are blocks of `rowBlock` lines of output, counted over all images.
 * @param scaled activations are 8-bit codes (stage 1 is int8_quantize) and sums are scaled: w1 scales f32 [paddedN].
 * Scratch: ending, pointers [taps][4], pointers [kernelHeight][columns], weights [taps][paddedN], and scaled a ring of
 * input lines [(kernelHeight - 1) * dilation + 1][inWidth][channels].
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
  const pointers = scratch + 64;
  const pointersEnd = pointers + <usize>taps * 4 * sizeof<usize>();
  const table = pointersEnd;
  const decoded = (table + <usize>job.kernelHeight * columns * sizeof<usize>() + 63) & ~63;
  const ring = (decoded + taps * tapBytes + 63) & ~63;
  const lineSize = inWidth * channels;
  ending.bias = job.bias;
  ending.scaleW = job.w1;
  ending.low = job.low;
  ending.high = job.high;
  const kernel: PixelKernel = scaled ? pixelsScaled : pixelsF32;
  const weights = source(job, decoded);
  const images = job.M / (outWidth * outHeight);
  let image: u32 = -1;
  let ready: i32 = 0;
  for (let l = begin * job.rowBlock, past = min(end * job.rowBlock, images * outHeight); l < past; l++) {
    const line = l % outHeight;
    let inputLines = job.input + <usize>(l / outHeight) * inHeight * lineSize * 4;
    if (scaled) {
      const sample = sampleAt(job, l / outHeight);
      const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
      if (l / outHeight != image) {
        image = l / outHeight;
        ready = 0;
      }
      const codes = codesAt(job) + <usize>image * inHeight * lineSize;
      ready = max(ready, y0);
      for (const needed = min(y0 + <i32>reach, <i32>inHeight); ready < needed; ready++) {
        centre(codes + <usize>ready * lineSize, lineSize, sample.zeroPoint, job.dotFlip != 0,
          ring + <usize>(<u32>ready % reach) * lineSize * 4);
      }
      ending.scaleA = sample.scale;
      inputLines = ring;
    }
    linePointers(job, line, columns, inputLines, scaled ? reach : inHeight, rowBytes, table);
    let to = job.output + <usize>l * outWidth * rowBytes;
    for (let x: u32 = 0; x < outWidth; x += 4) {
      const count = min(outWidth - x, 4);
      tapPointers(job, table, columns, x, count, pointers);
      kernel(pointers, pointersEnd, weights, tapBytes, rowBytes, count, ending, to);
      to += 4 * rowBytes;
    }
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
