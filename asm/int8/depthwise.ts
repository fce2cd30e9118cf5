import { Sample, sampleAt } from './quantize';
import { imageAt } from '../shared/image';
import { MatmulJob, OutputKind } from '../shared/job';
import { outputBytes } from '../shared/outputs';
import { imageHeight, imageWidth } from '../shared/windows';
import { Ending, finish, setEnding, start } from '../shared/bytes/ending';
import { widenPairs } from '../shared/bytes/pairs';

// Depthwise conv2d (groups = channels, one output each) of 8-bit codes: two taps at a time by i32x4.dot_i16x8_s, from the
// image that `widen_image` made, eight channels at a time.
// w0: int8 [channels / 8][steps][8 channels][2 taps]; scales in w1, zero points in w2, [channels rounded up to 8].
// Pairs of taps follow each other as they are numbered, a tap of weight 0 behind an odd number. Of 3 x 3 windows that move
// one or two columns: three columns of the upper two lines, the left two of the last line, and its right one, with a tap of
// weight 0 behind it, or before it where windows move one column.

/** What a line of windows shares. */
@unmanaged
class Line extends Ending {
  /** Of eight channels, i16 [steps][8][2], zero points removed. */
  weights: usize;
  steps: u32;
  /** Distances of two taps for each pair, from a window's first pixel. */
  taps: usize;
  outWidth: u32;
  pixelBytes: usize;
  /** From a window to the next. */
  step: usize;
  lineBytes: usize;
  /** Address of the scale of the sample. */
  scaleA: usize;
}

/** Channels 0 .. 3 of two pixels side by side. */
// @ts-ignore: decorator
@inline
function lower(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

/** Channels 4 .. 7. */
// @ts-ignore: decorator
@inline
function upper(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// @ts-ignore: decorator
@inline
function add(sums: v128, x: v128, w: usize): v128 {
  return i32x4.add(sums, i32x4.dot_i16x8_s(x, v128.load(w)));
}

/** 3 x 3, one column on: each column of input is part of three outputs. */
// @ts-ignore: decorator
@inline
function line3x3(line: Line, from: usize, to: usize, kind: u32): void {
  const pixelBytes = line.pixelBytes, lineBytes = line.lineBytes, rowBytes = line.rowBytes, scaleA = line.scaleA;
  const w = line.weights;
  let x0 = from, x1 = from + lineBytes, x2 = x1 + lineBytes;
  let previous = v128.load(x2);
  // Of the outputs that began one and two columns before this one.
  let y10 = start(line, 0, kind), y11 = start(line, 1, kind), y20 = y10, y21 = y11;
  let left = line.outWidth + 2;
  do {
    const a = v128.load(x0), b = v128.load(x1), c = v128.load(x2);
    const low = lower(a, b), high = upper(a, b);
    const last0 = lower(previous, c), last1 = upper(previous, c);
    y20 = add(add(y20, low, w + 64), last0, w + 128);
    y21 = add(add(y21, high, w + 80), last1, w + 144);
    if (left <= line.outWidth) {
      finish(y20, y21, line, scaleA, to, kind);
      to += rowBytes;
    }
    y20 = add(add(y10, low, w + 32), last0, w + 96);
    y21 = add(add(y11, high, w + 48), last1, w + 112);
    y10 = add(start(line, 0, kind), low, w);
    y11 = add(start(line, 1, kind), high, w + 16);
    previous = c;
    x0 += pixelBytes;
    x1 += pixelBytes;
    x2 += pixelBytes;
  } while (--left);
}

/** 3 x 3, two columns on: every other column is part of two outputs. */
// @ts-ignore: decorator
@inline
function line3x3x2(line: Line, from: usize, to: usize, kind: u32): void {
  const pixelBytes = line.pixelBytes, lineBytes = line.lineBytes, rowBytes = line.rowBytes, scaleA = line.scaleA;
  const w = line.weights;
  let x0 = from, x1 = from + lineBytes, x2 = x1 + lineBytes;
  let y0 = start(line, 0, kind), y1 = start(line, 1, kind);
  let left = line.outWidth + 1;
  do {
    let a = v128.load(x0), b = v128.load(x1);
    const c = v128.load(x2), d = v128.load(x2 + pixelBytes);
    let low = lower(a, b), high = upper(a, b);
    const last0 = lower(c, d), last1 = upper(c, d);
    if (left <= line.outWidth) {
      finish(add(add(y0, low, w + 64), last0, w + 128), add(add(y1, high, w + 80), last1, w + 144), line, scaleA, to, kind);
      to += rowBytes;
    }
    y0 = add(add(start(line, 0, kind), low, w), last0, w + 96);
    y1 = add(add(start(line, 1, kind), high, w + 16), last1, w + 112);
    a = v128.load(x0 + pixelBytes);
    b = v128.load(x1 + pixelBytes);
    y0 = add(y0, lower(a, b), w + 32);
    y1 = add(y1, upper(a, b), w + 48);
    x0 += 2 * pixelBytes;
    x1 += 2 * pixelBytes;
    x2 += 2 * pixelBytes;
  } while (--left);
}

/** Any window, two outputs at a time. */
// @ts-ignore: decorator
@inline
function anyLine(line: Line, from: usize, to: usize, kind: u32): void {
  const step = line.step, rowBytes = line.rowBytes, scaleA = line.scaleA;
  const end = line.weights + <usize>line.steps * 32;
  for (let left = line.outWidth; left > 0;) {
    const next = left > 1 ? step : 0;
    let s00 = start(line, 0, kind), s01 = start(line, 1, kind), s10 = s00, s11 = s01;
    let w = line.weights, taps = line.taps;
    do {
      const x = from + load<usize>(taps, 0), y = from + load<usize>(taps, sizeof<usize>());
      let a = v128.load(x), b = v128.load(y);
      s00 = add(s00, lower(a, b), w);
      s01 = add(s01, upper(a, b), w + 16);
      a = v128.load(x + next);
      b = v128.load(y + next);
      s10 = add(s10, lower(a, b), w);
      s11 = add(s11, upper(a, b), w + 16);
      w += 32;
      taps += 2 * sizeof<usize>();
    } while (w < end);
    finish(s00, s01, line, scaleA, to, kind);
    if (left == 1) return;
    finish(s10, s11, line, scaleA, to + rowBytes, kind);
    to += 2 * rowBytes;
    from += 2 * step;
    left -= 2;
  }
}

// Functions of their own, called through the table: see asm/shared/depthwise.ts.
type LineKernel = (line: Line, from: usize, to: usize) => void;

function line3x3F32(line: Line, from: usize, to: usize): void {
  line3x3(line, from, to, OutputKind.F32);
}

function line3x3Sums(line: Line, from: usize, to: usize): void {
  line3x3(line, from, to, OutputKind.INT32);
}

function line3x3Codes(line: Line, from: usize, to: usize): void {
  line3x3(line, from, to, OutputKind.INT8);
}

function line3x3x2F32(line: Line, from: usize, to: usize): void {
  line3x3x2(line, from, to, OutputKind.F32);
}

function line3x3x2Sums(line: Line, from: usize, to: usize): void {
  line3x3x2(line, from, to, OutputKind.INT32);
}

function line3x3x2Codes(line: Line, from: usize, to: usize): void {
  line3x3x2(line, from, to, OutputKind.INT8);
}

function anyLineF32(line: Line, from: usize, to: usize): void {
  anyLine(line, from, to, OutputKind.F32);
}

function anyLineSums(line: Line, from: usize, to: usize): void {
  anyLine(line, from, to, OutputKind.INT32);
}

function anyLineCodes(line: Line, from: usize, to: usize): void {
  anyLine(line, from, to, OutputKind.INT8);
}

function kernelOf(kind: u32, small: bool, two: bool): LineKernel {
  if (kind == OutputKind.F32) return small ? two ? line3x3x2F32 : line3x3F32 : anyLineF32;
  if (kind == OutputKind.INT32) return small ? two ? line3x3x2Sums : line3x3Sums : anyLineSums;
  return small ? two ? line3x3x2Codes : line3x3Codes : anyLineCodes;
}

/**
 * Tiles are blocks of `rowBlock` lines of output, counted over all images. Scratch: Line, taps of pairs [steps][2], weights of
 * all channels.
 */
export function int8_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const channels = job.channels, steps = job.steps, outWidth = job.outWidth, outHeight = job.outHeight;
  const pixelBytes = <usize>job.chunk * 2, lineBytes = pixelBytes * imageWidth(job);
  const imageBytes = lineBytes * imageHeight(job);
  const elementBytes = outputBytes(job), kind = job.outputKind;
  const line = changetype<Line>(scratch);
  line.taps = scratch + 128;
  line.steps = steps;
  line.outWidth = outWidth;
  line.pixelBytes = pixelBytes;
  line.lineBytes = lineBytes;
  line.step = pixelBytes * job.strideWidth;
  line.rowBytes = <usize>channels * elementBytes;
  setEnding(job, line);
  const taps = job.kernelHeight * job.kernelWidth;
  const small = taps == 9 && job.kernelWidth == 3 && job.dilationHeight * job.dilationWidth == 1 && job.strideWidth <= 2;
  for (let i: u32 = 0; i < 2 * steps; i++) {
    const tap = min(i, taps - 1);
    const distance = tap / job.kernelWidth * job.dilationHeight * lineBytes +
      tap % job.kernelWidth * job.dilationWidth * pixelBytes;
    store<usize>(line.taps + i * sizeof<usize>(), distance);
  }
  const weights = (line.taps + 2 * steps * sizeof<usize>() + 63) & ~63;
  const blocks = (channels + 7) / 8;
  for (let i: u32 = 0; i < blocks; i++) {
    widenPairs(job.w0 + <usize>i * steps * 16, steps, job.weightZeros ? job.w2 + i * 32 : 0, weights + <usize>i * steps * 32);
  }
  const kernel = kernelOf(kind, small, job.strideWidth == 2);
  const image = imageAt(job);
  const last = min(end * job.rowBlock, job.M / outWidth);
  for (let l = begin * job.rowBlock; l < last; l++) {
    const sample = l / outHeight;
    line.scaleA = changetype<usize>(sampleAt(job, sample)) + offsetof<Sample>('scale');
    const from = image + <usize>sample * imageBytes + <usize>(l % outHeight) * job.strideHeight * lineBytes;
    const to = job.output + <usize>l * outWidth * line.rowBytes;
    for (let c: u32 = 0; c < channels; c += 8) {
      line.weights = weights + <usize>c * steps * 4;
      line.scales = job.w1 + <usize>c * 4;
      line.bias = job.bias + <usize>c * 4;
      line.cols = channels - c;
      kernel(line, from + <usize>c * 2, to + c * elementBytes);
    }
  }
}
