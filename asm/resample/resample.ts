import { Job } from '../shared/job';
import { madd, storeTail } from '../shared/simd';

// C[o, i, n] = sum over t of weight[i, t] * A[o, index[i, t], n]: tiles are rows of `inner` floats.

@unmanaged
class ResampleJob extends Job {
  inSize: u32;
  outSize: u32;
  inner: u32;
  taps: u32;
  // Then, for each i and t: index, weight.
}

export function resample(job: ResampleJob, begin: u32, end: u32, scratch: usize): void {
  const bytes = <usize>job.inner * 4;
  const taps = job.taps;
  for (let row = begin; row < end; row++) {
    const table = changetype<usize>(job) + offsetof<ResampleJob>() + <usize>(row % job.outSize) * taps * 8;
    const image = job.input + <usize>(row / job.outSize) * job.inSize * bytes;
    const to = job.output + <usize>row * bytes;
    for (let n: usize = 0; n < bytes; n += 16) {
      let sum = f32x4.splat(0);
      let at = table;
      for (let t: u32 = 0; t < taps; t++) {
        sum = madd(v128.load32_splat(at, 4), v128.load(image + load<u32>(at) * bytes + n), sum);
        at += 8;
      }
      if (n + 16 <= bytes) v128.store(to + n, sum);
      else storeTail(to + n, sum, sum, <u32>(bytes - n) / 4);
    }
  }
}
