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

// @ts-ignore: decorator
@inline
function combine(sum: v128, x: v128, isMax: bool): v128 {
  // max, not pmax: a NaN in the window is the answer.
  return isMax ? f32x4.max(sum, x) : f32x4.add(sum, x);
}

// @ts-ignore: decorator
@inline
function pool(job: PoolJob, begin: u32, end: u32, isMax: bool): void {
  const channels = job.channels;
  const pixelBytes = <usize>channels * 4;
  const dilationHeight = <i32>job.dilationHeight, dilationWidth = <i32>job.dilationWidth;
  for (let pixel = begin; pixel < end; pixel++) {
    const column = pixel % job.outWidth;
    const rest = pixel / job.outWidth;
    const line = rest % job.outHeight;
    const image = rest / job.outHeight;
    const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
    const x0 = <i32>(column * job.strideWidth) - <i32>job.padLeft;
    const khFirst = firstTap(y0, dilationHeight);
    const khPast = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight);
    const kwFirst = firstTap(x0, dilationWidth);
    const kwPast = pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth);
    let count = max(khPast - khFirst, 0) * max(kwPast - kwFirst, 0);
    if (job.countIncludePad) {
      // Taps inside the padded image: windows of ceil mode may overhang it.
      count = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight + job.padBottom)
        * pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth + job.padRight);
    }
    const weight = f32x4.splat(1 / <f32>count);
    const base = job.input + <usize>image * job.inHeight * job.inWidth * pixelBytes;
    const to = job.output + <usize>pixel * pixelBytes;
    const start: f32 = isMax ? -Infinity : 0;
    let c: u32 = 0;
    for (; c + 16 <= channels; c += 16) {
      let s0 = f32x4.splat(start), s1 = s0, s2 = s0, s3 = s0;
      for (let kh = khFirst; kh < khPast; kh++) {
        let at = base + <usize>(((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kwFirst * dilationWidth))
          * pixelBytes + c * 4;
        for (let kw = kwFirst; kw < kwPast; kw++) {
          s0 = combine(s0, v128.load(at, 0), isMax);
          s1 = combine(s1, v128.load(at, 16), isMax);
          s2 = combine(s2, v128.load(at, 32), isMax);
          s3 = combine(s3, v128.load(at, 48), isMax);
          at += <usize>dilationWidth * pixelBytes;
        }
      }
      v128.store(to + c * 4, isMax ? s0 : f32x4.mul(s0, weight), 0);
      v128.store(to + c * 4, isMax ? s1 : f32x4.mul(s1, weight), 16);
      v128.store(to + c * 4, isMax ? s2 : f32x4.mul(s2, weight), 32);
      v128.store(to + c * 4, isMax ? s3 : f32x4.mul(s3, weight), 48);
    }
    for (; c + 4 <= channels; c += 4) {
      let sum = f32x4.splat(start);
      for (let kh = khFirst; kh < khPast; kh++) {
        let at = base + <usize>(((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kwFirst * dilationWidth))
          * pixelBytes + c * 4;
        for (let kw = kwFirst; kw < kwPast; kw++) {
          sum = combine(sum, v128.load(at), isMax);
          at += <usize>dilationWidth * pixelBytes;
        }
      }
      v128.store(to + c * 4, isMax ? sum : f32x4.mul(sum, weight));
    }
    for (; c < channels; c++) {
      let sum = start;
      for (let kh = khFirst; kh < khPast; kh++) {
        for (let kw = kwFirst; kw < kwPast; kw++) {
          const at = base + <usize>((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kw * dilationWidth)
            * pixelBytes + c * 4;
          sum = isMax ? max(sum, f32.load(at)) : sum + f32.load(at);
        }
      }
      f32.store(to + c * 4, isMax ? sum : sum * f32x4.extract_lane(weight, 0));
    }
  }
}

export function max_pool2d(job: PoolJob, begin: u32, end: u32, scratch: usize): void {
  pool(job, begin, end, true);
}

export function average_pool2d(job: PoolJob, begin: u32, end: u32, scratch: usize): void {
  pool(job, begin, end, false);
}
