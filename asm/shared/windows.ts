import { MatmulJob } from './job';

// Windows over images that hold all pixels that any of them reads: each window's taps lie at the same distances from its
// first pixel, so that a kernel walks one pointer a window, and needs no table of all taps.

/** Width of an image in pixels. */
// @ts-ignore: decorator
@inline
export function imageWidth(job: MatmulJob): u32 {
  return (job.outWidth - 1) * job.strideWidth + (job.kernelWidth - 1) * job.dilationWidth + 1;
}

// @ts-ignore: decorator
@inline
export function imageHeight(job: MatmulJob): u32 {
  return (job.outHeight - 1) * job.strideHeight + (job.kernelHeight - 1) * job.dilationHeight + 1;
}

/** Addresses of the first pixels of windows m0 .. m0 + count - 1; those past M are the last one's. */
export function windowsOf(job: MatmulJob, base: usize, pixelBytes: usize, lineBytes: usize, imageBytes: usize, m0: u32,
  count: u32, to: usize): void {
  const outWidth = job.outWidth, outHeight = job.outHeight;
  const step = pixelBytes * job.strideWidth, lineStep = lineBytes * job.strideHeight;
  let column = m0 % outWidth;
  let line = m0 / outWidth % outHeight;
  let first = base + m0 / outWidth / outHeight * imageBytes + line * lineStep;
  let at = first + column * step;
  const past = to + <usize>min(count, job.M - m0) * sizeof<usize>(), end = to + <usize>count * sizeof<usize>();
  do {
    store<usize>(to, at);
    to += sizeof<usize>();
    at += step;
    if (++column < outWidth) continue;
    column = 0;
    first += lineStep;
    if (++line == outHeight) {
      line = 0;
      first += imageBytes - outHeight * lineStep;
    }
    at = first;
  } while (to < past);
  const last = load<usize>(to - sizeof<usize>());
  for (; to < end; to += sizeof<usize>()) store<usize>(to, last);
}

/**
 * Distances of a window's runs of memory from its first pixel: of lines of taps where `runs` is the height of a window, else of
 * single taps.
 */
export function runsOf(job: MatmulJob, runs: u32, pixelBytes: usize, lineBytes: usize, to: usize): void {
  const taps = runs / job.kernelHeight;
  for (let i: u32 = 0; i < runs; i++) {
    const distance = i / taps * job.dilationHeight * lineBytes + i % taps * job.dilationWidth * pixelBytes;
    store<usize>(to + i * sizeof<usize>(), distance);
  }
}
