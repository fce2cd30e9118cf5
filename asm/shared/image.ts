import { codesAt, sampleAt } from '../int8/quantize';
import { InputKind, MatmulJob } from './job';
import { imageHeight, imageWidth } from './windows';

// Images as kernels that walk windows read them: exactly the pixels that windows read, zeros around the input. Codes become
// 16-bit integers less their zero point, i16 [images][height][width][chunk].

/** Values that one tile converts where images stay as they are: WIDEN_TILE in asm/shared/pair-variants.ts. */
const WIDEN_TILE: u32 = 4096;

/** Where they lie: in the shared scratch, behind the codes if those are made there. */
export function imageAt(job: MatmulJob): usize {
  if (job.inputKind == InputKind.CODES || job.inputKind == InputKind.FLIPPED) return job.shared;
  return (codesAt(job) + <usize>job.samples * (job.sampleSize + job.sampleParts * 8) + 127) & ~63;
}

/** `count` codes; nothing is written behind them, where another tile's lie. */
// @ts-ignore: decorator
@inline
function widen(from: usize, count: u32, zeroPoint: i32, signed: bool, to: usize): void {
  const zero = i16x8.splat(<i16>zeroPoint);
  for (const past = to + <usize>(count & ~7) * 2; to < past; to += 16) {
    v128.store(to, i16x8.sub(signed ? v128.load8x8_s(from) : v128.load8x8_u(from), zero));
    from += 8;
  }
  for (let i = count & 7; i > 0; i--) {
    const code = signed ? <i32>load<i8>(from++) : <i32>load<u8>(from++);
    store<i16>(to, <i16>(code - zeroPoint));
    to += 2;
  }
}

function widenSigned(from: usize, count: u32, zeroPoint: i32, to: usize): void {
  widen(from, count, zeroPoint, true, to);
}

function widenUnsigned(from: usize, count: u32, zeroPoint: i32, to: usize): void {
  widen(from, count, zeroPoint, false, to);
}

/** Zeros up to `past`, where that lies behind `to`. */
function clear(to: usize, past: usize): void {
  const zero = i16x8.splat(0);
  for (; to + 16 <= past; to += 16) v128.store(to, zero);
  for (; to < past; to += 2) store<i16>(to, 0);
}

/** Tiles are lines of images; where these are the input as it lies, WIDEN_TILE values of a sample. */
export function widen_image(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  // Codes whose highest bit is to be inverted are signed: they are read as such.
  const signed = job.inputKind == InputKind.FLIPPED;
  const codes = signed ? job.input : codesAt(job);
  const flip = signed ? 128 : 0;
  const image = imageAt(job);
  const channels = job.channels, pixel = job.chunk;
  const width = imageWidth(job), height = imageHeight(job);
  const inWidth = job.inWidth, inHeight = job.inHeight;
  const asItLies = pixel == channels && job.kernelHeight * job.kernelWidth == 1 && width == inWidth && height == inHeight &&
    job.strideWidth * job.strideHeight == 1;
  const parts = asItLies ? (job.sampleSize + WIDEN_TILE - 1) / WIDEN_TILE : height;
  for (let tile = begin; tile < end; tile++) {
    const sample = tile / parts, part = tile % parts;
    const zeroPoint = sampleAt(job, sample).zeroPoint - flip;
    if (asItLies) {
      const first = part * WIDEN_TILE, at = sample * job.sampleSize + first;
      const from = codes + at, to = image + <usize>at * 2, count = min(job.sampleSize - first, WIDEN_TILE);
      if (signed) widenSigned(from, count, zeroPoint, to);
      else widenUnsigned(from, count, zeroPoint, to);
      continue;
    }
    let to = image + <usize>tile * width * pixel * 2;
    const past = to + <usize>width * pixel * 2;
    const y = part - job.padTop;
    if (y < inHeight && job.padLeft < width) {
      const left = to + <usize>job.padLeft * pixel * 2;
      clear(to, left);
      to = left;
      let from = codes + <usize>((sample * inHeight + y) * inWidth) * channels;
      // Pixels with room for more channels than there are take whole vectors.
      const runs: u32 = pixel == channels ? 1 : min(inWidth, width - job.padLeft);
      const count = pixel == channels ? min(inWidth, width - job.padLeft) * channels : pixel;
      for (let i: u32 = 0; i < runs; i++) {
        if (signed) widenSigned(from, count, zeroPoint, to);
        else widenUnsigned(from, count, zeroPoint, to);
        from += channels;
        to += <usize>count * 2;
      }
    }
    clear(to, past);
  }
}

/** f32 images with zeros around them, [images][height][width][channels]. Tiles are lines. */
export function pad_image(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const channels = job.channels, width = imageWidth(job), height = imageHeight(job);
  const inWidth = job.inWidth, inHeight = job.inHeight;
  const pixelBytes = <usize>channels * 4, lineBytes = pixelBytes * width;
  for (let tile = begin; tile < end; tile++) {
    let to = job.shared + <usize>tile * lineBytes;
    const past = to + lineBytes;
    const y = tile % height - job.padTop;
    if (y < inHeight && job.padLeft < width) {
      const left = to + job.padLeft * pixelBytes;
      clear(to, left);
      to = left;
      let from = job.input + <usize>(tile / height * inHeight + y) * inWidth * pixelBytes;
      const end = to + min(inWidth, width - job.padLeft) * pixelBytes;
      for (; to + 16 <= end; to += 16) {
        v128.store(to, v128.load(from));
        from += 16;
      }
      for (; to < end; to += 4) {
        f32.store(to, f32.load(from));
        from += 4;
      }
    }
    clear(to, past);
  }
}
