import { Job } from '../shared/job';
import { storeTransposed } from '../shared/simd';

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
  const rowBytes = <usize>cols * 4;
  const dims = changetype<usize>(job) + offsetof<TransposeJob>();
  const innerSize = load<u32>(dims + (OUTER - 1) * 8, 0);
  // Neighbouring rows that lie side by side in A go four at a time.
  const fours = load<u32>(dims + (OUTER - 1) * 8, 4) == 1 && step != 4;
  let row = begin;
  while (row < end) {
    let rest = row;
    let from = job.input;
    for (let i: i32 = OUTER - 1; i >= 0; i--) {
      const size = load<u32>(dims + i * 8, 0);
      from += <usize>(rest % size) * load<u32>(dims + i * 8, 4) * 4;
      rest /= size;
    }
    let to = job.output + <usize>row * rowBytes;
    if (step == 4) {
      memory.copy(to, from, rowBytes);
      row++;
      continue;
    }
    let c: u32 = 0;
    if (fours && row + 4 <= end && row % innerSize + 4 <= innerSize) {
      for (; c + 4 <= cols; c += 4) {
        storeTransposed(v128.load(from), v128.load(from + step), v128.load(from + 2 * step), v128.load(from + 3 * step),
          to, rowBytes);
        from += 4 * step;
        to += 16;
      }
      for (; c < cols; c++) {
        const x = v128.load(from);
        v128.store32_lane(to, x, 0);
        v128.store32_lane(to + rowBytes, x, 1);
        v128.store32_lane(to + 2 * rowBytes, x, 2);
        v128.store32_lane(to + 3 * rowBytes, x, 3);
        from += step;
        to += 4;
      }
      row += 4;
      continue;
    }
    for (; c < cols; c++) {
      f32.store(to, f32.load(from));
      from += step;
      to += 4;
    }
    row++;
  }
}
