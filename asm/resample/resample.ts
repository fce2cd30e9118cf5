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

// @ts-ignore: decorator
@inline
function put(to: usize, past: usize, y: v128): void {
  if (to + 16 <= past) v128.store(to, y);
  else storeTail(to, y, y, <u32>(past - to) / 4);
}

/** Codes: of nearest neighbours, which are moved as they are. */
export function resample_codes(job: ResampleJob, begin: u32, end: u32, scratch: usize): void {
  const bytes = <usize>job.inner;
  for (let row = begin; row < end; row++) {
    const index = load<u32>(changetype<usize>(job) + offsetof<ResampleJob>() + <usize>(row % job.outSize) * 8);
    memory.copy(job.output + <usize>row * bytes, job.input + (<usize>(row / job.outSize) * job.inSize + index) * bytes, bytes);
  }
}

export function resample(job: ResampleJob, begin: u32, end: u32, scratch: usize): void {
  const bytes = <usize>job.inner * 4;
  const taps = job.taps;
  for (let row = begin; row < end; row++) {
    const table = changetype<usize>(job) + offsetof<ResampleJob>() + <usize>(row % job.outSize) * taps * 8;
    const image = job.input + <usize>(row / job.outSize) * job.inSize * bytes;
    let to = job.output + <usize>row * bytes;
    const past = to + bytes;
    // What is read past the end is not stored.
    if (taps == 1) {
      let a = image + load<u32>(table) * bytes;
      const weight = v128.load32_splat(table, 4);
      for (; to < past; to += 16) {
        put(to, past, f32x4.mul(v128.load(a), weight));
        a += 16;
      }
    } else if (taps == 2) {
      let a = image + load<u32>(table) * bytes, b = image + load<u32>(table, 8) * bytes;
      const wa = v128.load32_splat(table, 4), wb = v128.load32_splat(table, 12);
      for (; to < past; to += 16) {
        put(to, past, madd(v128.load(a), wa, f32x4.mul(v128.load(b), wb)));
        a += 16;
        b += 16;
      }
    } else {
      for (let n: usize = 0; n < bytes; n += 16) {
        let sum = f32x4.splat(0);
        let at = table;
        for (let t: u32 = 0; t < taps; t++) {
          sum = madd(v128.load32_splat(at, 4), v128.load(image + load<u32>(at) * bytes + n), sum);
          at += 8;
        }
        put(to + n, past, sum);
      }
    }
  }
}
