import { MatmulJob } from './job';
import { storeTransposed } from './simd';

/**
 * The indirection table of `count` rows of A from row m0, for one group: pointers[tap][row] is the address of
 * the channels that this tap of the window reads, or `outside` where it lies in the padding. Rows past M repeat
 * the last one, so that packing needs no bounds.
 * @param base address of the image, `elementBytes` an element
 */
export function gatherRows(
  job: MatmulJob, base: usize, elementBytes: u32, channels: u32, groupOffset: u32,
  m0: u32, count: u32, outside: usize, pointers: usize,
): void {
  const pixelBytes = <usize>channels * elementBytes;
  base += <usize>groupOffset * elementBytes;
  const kernelHeight = job.kernelHeight, kernelWidth = job.kernelWidth;
  const outWidth = job.outWidth, outHeight = job.outHeight;
  const last = job.M - 1;
  for (let r: u32 = 0; r < count; r++) {
    const m = min(m0 + r, last);
    const column = m % outWidth;
    const rest = m / outWidth;
    const line = rest % outHeight;
    const image = rest / outHeight;
    const imageBase = base + <usize>image * job.inHeight * job.inWidth * pixelBytes;
    const y0 = <i32>(line * job.strideHeight) - <i32>job.padTop;
    const x0 = <i32>(column * job.strideWidth) - <i32>job.padLeft;
    let to = pointers + r * sizeof<usize>();
    for (let kh: u32 = 0; kh < kernelHeight; kh++) {
      const y = <u32>(y0 + <i32>(kh * job.dilationHeight));
      const lineBase = imageBase + <usize>y * job.inWidth * pixelBytes;
      for (let kw: u32 = 0; kw < kernelWidth; kw++) {
        const x = <u32>(x0 + <i32>(kw * job.dilationWidth));
        // Negative positions wrap to huge ones: one comparison a side.
        const inside = y < job.inHeight && x < job.inWidth;
        store<usize>(to, inside ? lineBase + <usize>x * pixelBytes : outside);
        to += count * sizeof<usize>();
      }
    }
  }
}

/** Taps of the window. */
// @ts-ignore: decorator
@inline
export function tapCount(job: MatmulJob): u32 {
  return job.kernelHeight * job.kernelWidth;
}

/**
 * A panel: 4 or 6 rows gathered through pointers[taps][rows], interleaved to [taps * channels][rows]. Elements are 32
 * bits: f32, or four codes.
 */
// @ts-ignore: decorator
@inline
function packRows(pointers: usize, taps: u32, channels: u32, six: bool, to: usize): void {
  const rows: u32 = six ? 6 : 4;
  const stride: usize = rows * 4;
  for (let tap: u32 = 0; tap < taps; tap++) {
    let p0 = load<usize>(pointers, 0 * sizeof<usize>());
    let p1 = load<usize>(pointers, 1 * sizeof<usize>());
    let p2 = load<usize>(pointers, 2 * sizeof<usize>());
    let p3 = load<usize>(pointers, 3 * sizeof<usize>());
    let p4: usize = 0, p5: usize = 0;
    if (six) {
      p4 = load<usize>(pointers, 4 * sizeof<usize>());
      p5 = load<usize>(pointers, 5 * sizeof<usize>());
    }
    pointers += rows * sizeof<usize>();
    let c: u32 = 0;
    // Two or three channels at the end take a vector too: what it writes past them is overwritten, or in spare scratch.
    for (; c + 2 <= channels; c += 4) {
      storeTransposed(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), to, stride);
      if (six) {
        const r4 = v128.load(p4), r5 = v128.load(p5);
        const f = i32x4.shuffle(r4, r5, 0, 4, 1, 5), g = i32x4.shuffle(r4, r5, 2, 6, 3, 7);
        v128.store64_lane(to, f, 0, 16);
        v128.store64_lane(to + stride, f, 1, 16);
        v128.store64_lane(to + 2 * stride, g, 0, 16);
        v128.store64_lane(to + 3 * stride, g, 1, 16);
        p4 += 16;
        p5 += 16;
      }
      p0 += 16;
      p1 += 16;
      p2 += 16;
      p3 += 16;
      to += min(channels - c, 4) * stride;
    }
    for (; c < channels; c++) {
      f32.store(to, f32.load(p0), 0);
      f32.store(to, f32.load(p1), 4);
      f32.store(to, f32.load(p2), 8);
      f32.store(to, f32.load(p3), 12);
      if (six) {
        f32.store(to, f32.load(p4), 16);
        f32.store(to, f32.load(p5), 20);
        p4 += 4;
        p5 += 4;
      }
      p0 += 4;
      p1 += 4;
      p2 += 4;
      p3 += 4;
      to += stride;
    }
  }
}

export function packRows4(pointers: usize, taps: u32, channels: u32, to: usize): void {
  packRows(pointers, taps, channels, false, to);
}

export function packRows6(pointers: usize, taps: u32, channels: u32, to: usize): void {
  packRows(pointers, taps, channels, true, to);
}
