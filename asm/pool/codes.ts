import { storeSome } from '../codes/codes';
import { MAGIC } from '../shared/outputs';
import { clamp } from '../shared/simd';
import { firstTap, pastTap, PoolJob } from './pool';

// Pooling of NHWC images of codes. Tiles are output pixels. Channels go sixteen (max) or eight (average) at a time; what
// is read past the last is not stored.

@unmanaged
class CodesJob extends PoolJob {
  signed: u32;
  zeroPoint: i32;
  scale: f32;
  outSigned: u32;
  outZeroPoint: i32;
  outScale: f32;
}

// @ts-ignore: decorator
@inline
function most(a: v128, b: v128, signed: bool): v128 {
  return signed ? i8x16.max_s(a, b) : i8x16.max_u(a, b);
}

// @ts-ignore: decorator
@inline
function maxPool(job: CodesJob, begin: u32, end: u32, signed: bool): void {
  const channels = job.channels;
  const dilationHeight = <i32>job.dilationHeight, dilationWidth = <i32>job.dilationWidth;
  for (let pixel = begin; pixel < end; pixel++) {
    const column = pixel % job.outWidth;
    const rest = pixel / job.outWidth;
    const y0 = <i32>(rest % job.outHeight * job.strideHeight) - <i32>job.padTop;
    const x0 = <i32>(column * job.strideWidth) - <i32>job.padLeft;
    const khFirst = firstTap(y0, dilationHeight), khPast = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight);
    const kwFirst = firstTap(x0, dilationWidth), kwPast = pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth);
    const base = job.input + <usize>(rest / job.outHeight) * job.inHeight * job.inWidth * channels;
    const to = job.output + <usize>pixel * channels;
    for (let c: u32 = 0; c < channels; c += 16) {
      let top = i8x16.splat(signed ? -128 : 0);
      for (let kh = khFirst; kh < khPast; kh++) {
        let at = base + <usize>((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kwFirst * dilationWidth) * channels + c;
        for (let kw = kwFirst; kw < kwPast; kw++) {
          top = most(top, v128.load(at), signed);
          at += <usize>dilationWidth * channels;
        }
      }
      if (c + 16 <= channels) v128.store(to + c, top);
      else storeSome(to + c, top, channels - c);
    }
  }
}

export function max_pool2d_codes(job: CodesJob, begin: u32, end: u32, scratch: usize): void {
  if (job.signed) maxPool(job, begin, end, true);
  else maxPool(job, begin, end, false);
}

// @ts-ignore: decorator
@inline
function averagePool(job: CodesJob, begin: u32, end: u32, signed: bool): void {
  const channels = job.channels;
  const dilationHeight = <i32>job.dilationHeight, dilationWidth = <i32>job.dilationWidth;
  const zero = job.outZeroPoint;
  const least = job.outSigned ? -128 : 0, largest = job.outSigned ? 127 : 255;
  const low = f32x4.splat(<f32>(least - zero)), high = f32x4.splat(<f32>(largest - zero));
  const magic = f32x4.splat(MAGIC), back = i32x4.splat(zero - reinterpret<i32>(MAGIC));
  for (let pixel = begin; pixel < end; pixel++) {
    const column = pixel % job.outWidth;
    const rest = pixel / job.outWidth;
    const y0 = <i32>(rest % job.outHeight * job.strideHeight) - <i32>job.padTop;
    const x0 = <i32>(column * job.strideWidth) - <i32>job.padLeft;
    const khFirst = firstTap(y0, dilationHeight), khPast = pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight);
    const kwFirst = firstTap(x0, dilationWidth), kwPast = pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth);
    const inside = max(khPast - khFirst, 0) * max(kwPast - kwFirst, 0);
    const count = job.countIncludePad
      ? pastTap(y0, dilationHeight, job.kernelHeight, job.inHeight + job.padBottom)
        * pastTap(x0, dilationWidth, job.kernelWidth, job.inWidth + job.padRight)
      : inside;
    const multiplier = f32x4.splat(job.scale / (job.outScale * <f32>max(count, 1)));
    const start = i32x4.splat(-inside * job.zeroPoint);
    const base = job.input + <usize>(rest / job.outHeight) * job.inHeight * job.inWidth * channels;
    const to = job.output + <usize>pixel * channels;
    for (let c: u32 = 0; c < channels; c += 8) {
      let s0 = start, s1 = start;
      for (let kh = khFirst; kh < khPast; kh++) {
        let at = base + <usize>((y0 + kh * dilationHeight) * <i32>job.inWidth + x0 + kwFirst * dilationWidth) * channels + c;
        for (let kw = kwFirst; kw < kwPast; kw++) {
          const x = signed ? v128.load8x8_s(at) : v128.load8x8_u(at);
          s0 = i32x4.add(s0, i32x4.extend_low_i16x8_s(x));
          s1 = i32x4.add(s1, i32x4.extend_high_i16x8_s(x));
          at += <usize>dilationWidth * channels;
        }
      }
      const f0 = f32x4.add(clamp(f32x4.mul(f32x4.convert_i32x4_s(s0), multiplier), low, high), magic);
      const f1 = f32x4.add(clamp(f32x4.mul(f32x4.convert_i32x4_s(s1), multiplier), low, high), magic);
      const words = i16x8.narrow_i32x4_s(i32x4.add(f0, back), i32x4.add(f1, back));
      const codes = job.outSigned ? i8x16.narrow_i16x8_s(words, words) : i8x16.narrow_i16x8_u(words, words);
      if (c + 8 <= channels) v128.store64_lane(to + c, codes, 0);
      else storeSome(to + c, codes, channels - c);
    }
  }
}

export function average_pool2d_codes(job: CodesJob, begin: u32, end: u32, scratch: usize): void {
  if (job.signed) averagePool(job, begin, end, true);
  else averagePool(job, begin, end, false);
}
