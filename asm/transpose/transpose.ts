import { Job } from '../shared/job';

// C = A with dimensions permuted. Tiles are rows of C's last dimension; `from` strides are A's, in C's order.

const OUTER: u32 = 5;

@unmanaged
class TransposeJob extends Job {
  cols: u32;
  /** Stride in A along C's last dimension, in elements. */
  step: u32;
  // Then, for C's outer dimensions, innermost last: size, stride in A.
}

export function transpose(job: TransposeJob, begin: u32, end: u32, scratch: usize): void {
  const cols = job.cols;
  const step = <usize>job.step * 4;
  for (let row = begin; row < end; row++) {
    let rest = row;
    let from = job.input;
    for (let i: i32 = OUTER - 1; i >= 0; i--) {
      const at = changetype<usize>(job) + offsetof<TransposeJob>() + i * 8;
      const size = load<u32>(at, 0);
      from += <usize>(rest % size) * load<u32>(at, 4) * 4;
      rest /= size;
    }
    let to = job.output + <usize>row * cols * 4;
    if (step == 4) {
      memory.copy(to, from, <usize>cols * 4);
      continue;
    }
    for (let c: u32 = 0; c < cols; c++) {
      f32.store(to, f32.load(from));
      from += step;
      to += 4;
    }
  }
}
