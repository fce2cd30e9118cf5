import { Job } from '../shared/job';

// C[r, c] = exp(A[r, c] - max A[r]) / sum exp(A[r, *] - max A[r]). Tiles are rows.

@unmanaged
class SoftmaxJob extends Job {
  cols: u32;
}

export function softmax(job: SoftmaxJob, begin: u32, end: u32, scratch: usize): void {
  const bytes = <usize>job.cols * 4;
  for (let row = begin; row < end; row++) {
    const from = job.input + row * bytes, to = job.output + row * bytes;
    let highest: f32 = -Infinity;
    for (let i: usize = 0; i < bytes; i += 4) highest = max(highest, f32.load(from + i));
    let sum: f32 = 0;
    for (let i: usize = 0; i < bytes; i += 4) {
      const e = Mathf.exp(f32.load(from + i) - highest);
      f32.store(to + i, e);
      sum += e;
    }
    const weight: f32 = 1 / sum;
    for (let i: usize = 0; i < bytes; i += 4) f32.store(to + i, f32.load(to + i) * weight);
  }
}
