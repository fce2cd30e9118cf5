import { Job } from '../shared/job';

// Pooling of NHWC images. Tiles are output pixels. Channels go sixteen, then four at a time.

@unmanaged
export class PoolJob extends Job {
  channels: u32;
  inHeight: u32;
  inWidth: u32;
  kernelHeight: u32;
  kernelWidth: u32;
  strideHeight: u32;
  strideWidth: u32;
  dilationHeight: u32;
  dilationWidth: u32;
  padTop: u32;
  padLeft: u32;
  padBottom: u32;
  padRight: u32;
  outHeight: u32;
  outWidth: u32;
  countIncludePad: u32;
}

/** First and past-the-end tap of a window at `start` that lie in [0, size). */
// @ts-ignore: decorator
@inline
export function firstTap(start: i32, dilation: i32): i32 {
  return start >= 0 ? 0 : (-start + dilation - 1) / dilation;
}

// @ts-ignore: decorator
@inline
export function pastTap(start: i32, dilation: i32, taps: i32, size: i32): i32 {
  return start >= size ? 0 : min(taps, (size - 1 - start) / dilation + 1);
}

/** One channel of the pixels at `count` addresses, `at` bytes into each: sum, or maximum. */
// @ts-ignore: decorator
@inline
function pool1(pointers: usize, count: u32, at: usize, weight: f32, to: usize, isMax: bool): void {
  let sum: f32 = isMax ? -Infinity : 0;
  for (const past = pointers + <usize>count * sizeof<usize>(); pointers < past; pointers += sizeof<usize>()) {
    const x = f32.load(load<usize>(pointers) + at);
    sum = isMax ? max(sum, x) : sum + x;
  }
  f32.store(to, isMax ? sum : sum * weight);
}

/** Four channels. */
// @ts-ignore: decorator
@inline
function pool4(pointers: usize, count: u32, at: usize, weight: v128, to: usize, isMax: bool): void {
  let sum = f32x4.splat(isMax ? -Infinity : 0);
  for (const past = pointers + <usize>count * sizeof<usize>(); pointers < past; pointers += sizeof<usize>()) {
    const x = v128.load(load<usize>(pointers) + at);
    // max keeps a NaN.
    sum = isMax ? f32x4.max(sum, x) : f32x4.add(sum, x);
  }
  v128.store(to, isMax ? sum : f32x4.mul(sum, weight));
}

/** Sixteen channels. */
// @ts-ignore: decorator
@inline
function pool16(pointers: usize, count: u32, at: usize, weight: v128, to: usize, isMax: bool): void {
  const past = pointers + <usize>count * sizeof<usize>();
  let s0 = f32x4.splat(isMax ? -Infinity : 0), s1 = s0, s2 = s0, s3 = s0, all = f32x4.splat(0);
  for (let pointer = pointers; pointer < past; pointer += sizeof<usize>()) {
    const from = load<usize>(pointer) + at;
    const x0 = v128.load(from, 0), x1 = v128.load(from, 16), x2 = v128.load(from, 32), x3 = v128.load(from, 48);
    // pmax is one instruction where max is many, but loses a NaN.
    s0 = isMax ? f32x4.pmax(s0, x0) : f32x4.add(s0, x0);
    s1 = isMax ? f32x4.pmax(s1, x1) : f32x4.add(s1, x1);
    s2 = isMax ? f32x4.pmax(s2, x2) : f32x4.add(s2, x2);
    s3 = isMax ? f32x4.pmax(s3, x3) : f32x4.add(s3, x3);
    if (isMax) all = f32x4.add(all, f32x4.add(f32x4.add(x0, x1), f32x4.add(x2, x3)));
  }
  // A NaN, or infinities of both signs: rare, so once more.
  if (isMax && v128.any_true(f32x4.ne(all, all))) {
    for (let i: usize = 0; i < 64; i += 16) pool4(pointers, count, at + i, weight, to + i, true);
    return;
  }
  v128.store(to, isMax ? s0 : f32x4.mul(s0, weight), 0);
  v128.store(to, isMax ? s1 : f32x4.mul(s1, weight), 16);
  v128.store(to, isMax ? s2 : f32x4.mul(s2, weight), 32);
  v128.store(to, isMax ? s3 : f32x4.mul(s3, weight), 48);
}

/** Scratch: pointers to the pixels of a window, [taps]. */
// @ts-ignore: decorator
@inline
function pool(job: PoolJob, begin: u32, end: u32, pointers: usize, isMax: bool): void {
  const channels = job.channels;
  const pixelBytes = <usize>channels * 4;
  const dilationHeight = <i32>job.dilationHeight, dilationWidth = <i32>job.dilationWidth;
  const step = <usize>dilationWidth * pixelBytes;
  let column = begin % job.outWidth, line = begin / job.outWidth % job.outHeight;
  let image = begin / job.outWidth / job.outHeight;
  for (let pixel = begin; pixel < end; pixel++) {
    const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
    const x0 = <i32>(column * job.strideWidth) - <i32>job.padLeft;
    const khFirst = firstTap(y0, dilationHeight);
    const khPast = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight);
    const kwFirst = firstTap(x0, dilationWidth);
    const kwPast = pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth);
    const taps = <u32>(max(khPast - khFirst, 0) * max(kwPast - kwFirst, 0));
    let count = <i32>taps;
    if (job.countIncludePad) {
      // Taps inside the padded image: windows of ceil mode may overhang it.
      count = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight + job.padBottom)
        * pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth + job.padRight);
    }
    const base = job.input + <usize>image * job.inHeight * job.inWidth * pixelBytes;
    let next = pointers;
    for (let kh = khFirst; kh < khPast; kh++) {
      let from = base + <usize>((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kwFirst * dilationWidth) * pixelBytes;
      for (let kw = kwFirst; kw < kwPast; kw++) {
        store<usize>(next, from);
        from += step;
        next += sizeof<usize>();
      }
    }
    const weight: f32 = 1 / <f32>count, weights = f32x4.splat(weight);
    const to = job.output + <usize>pixel * pixelBytes;
    let at: usize = 0;
    for (; at + 64 <= pixelBytes; at += 64) pool16(pointers, taps, at, weights, to + at, isMax);
    for (; at + 16 <= pixelBytes; at += 16) pool4(pointers, taps, at, weights, to + at, isMax);
    for (; at < pixelBytes; at += 4) pool1(pointers, taps, at, weight, to + at, isMax);
    if (++column == job.outWidth) {
      column = 0;
      if (++line == job.outHeight) {
        line = 0;
        image++;
      }
    }
  }
}

export function max_pool2d(job: PoolJob, begin: u32, end: u32, scratch: usize): void {
  pool(job, begin, end, scratch, true);
}

export function average_pool2d(job: PoolJob, begin: u32, end: u32, scratch: usize): void {
  pool(job, begin, end, scratch, false);
}
