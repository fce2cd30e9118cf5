import { MatmulJob } from './job';

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
