import { Job } from '../shared/job';
import { storeTransposed } from '../shared/simd';

// C[to + i . toStrides] = A[from + i . fromStrides]: transposes, slices, parts of a concatenation, broadcasts. Tiles are
// rows of the last dimension. Strides and offsets are in elements and may be negative, in two's complement. T is u32 for
// elements of 4 bytes, u8 for codes.

const OUTER: u32 = 5;
/** Bytes up to which a loop is faster than memory.copy. */
const SHORT: usize = 1024;

@unmanaged
class CopyJob extends Job {
  cols: u32;
  from: u32;
  to: u32;
  fromStep: u32;
  toStep: u32;
  // Then, for the outer dimensions, innermost last: size, stride in A, stride in C.
}

// @ts-ignore: decorator
@inline
function fill<T>(to: usize, past: usize, value: T): void {
  if (sizeof<T>() == 1) {
    memory.fill(to, <u8>value, past - to);
    return;
  }
  const values = i32x4.splat(<i32>value);
  for (; to + 16 <= past; to += 16) v128.store(to, values);
  for (; to < past; to += sizeof<T>()) store<T>(to, value);
}

/** Short rows are copied here: V8 calls a function of its own for memory.copy. */
function copyRow(to: usize, from: usize, bytes: usize): void {
  if (bytes > SHORT) {
    memory.copy(to, from, bytes);
    return;
  }
  const past = to + bytes;
  for (; to + 64 <= past; to += 64) {
    const x0 = v128.load(from, 0), x1 = v128.load(from, 16), x2 = v128.load(from, 32), x3 = v128.load(from, 48);
    v128.store(to, x0, 0);
    v128.store(to, x1, 16);
    v128.store(to, x2, 32);
    v128.store(to, x3, 48);
    from += 64;
  }
  for (; to + 16 <= past; to += 16) {
    v128.store(to, v128.load(from));
    from += 16;
  }
  for (; to + 4 <= past; to += 4) {
    store<u32>(to, load<u32>(from));
    from += 4;
  }
  for (; to < past; to++) store<u8>(to, load<u8>(from++));
}

// @ts-ignore: decorator
@inline
function copyRows<T>(job: CopyJob, begin: u32, end: u32): void {
  const SIZE: usize = sizeof<T>();
  const cols = job.cols;
  const fromStep = <usize>job.fromStep * SIZE, toStep = <usize>job.toStep * SIZE;
  const rowBytes = <usize>cols * SIZE;
  const dims = changetype<usize>(job) + offsetof<CopyJob>();
  const inner = dims + (OUTER - 1) * 12;
  const innerSize = load<u32>(inner, 0);
  const innerTo = <usize>load<u32>(inner, 8) * SIZE;
  // Neighbouring rows that lie side by side in A go four at a time.
  const fours = SIZE == 4 && load<u32>(inner, 4) == 1 && fromStep != 4 && toStep == 4;
  let row = begin;
  while (row < end) {
    let rest = row;
    let from = job.input + <usize>job.from * SIZE, to = job.output + <usize>job.to * SIZE;
    for (let i: i32 = OUTER - 1; rest > 0; i--) {
      const size = load<u32>(dims + i * 12, 0);
      const index = <usize>(rest % size) * SIZE;
      from += index * load<u32>(dims + i * 12, 4);
      to += index * load<u32>(dims + i * 12, 8);
      rest /= size;
    }
    if (toStep == SIZE && (fromStep == SIZE || fromStep == 0)) {
      if (fromStep) copyRow(to, from, rowBytes);
      else fill<T>(to, to + rowBytes, load<T>(from));
      row++;
      continue;
    }
    let c: u32 = 0;
    if (SIZE == 4 && fours && row + 4 <= end && row % innerSize + 4 <= innerSize) {
      for (; c + 4 <= cols; c += 4) {
        storeTransposed(v128.load(from), v128.load(from + fromStep), v128.load(from + 2 * fromStep),
          v128.load(from + 3 * fromStep), to, innerTo);
        from += 4 * fromStep;
        to += 16;
      }
      for (; c < cols; c++) {
        const x = v128.load(from);
        v128.store32_lane(to, x, 0);
        v128.store32_lane(to + innerTo, x, 1);
        v128.store32_lane(to + 2 * innerTo, x, 2);
        v128.store32_lane(to + 3 * innerTo, x, 3);
        from += fromStep;
        to += 4;
      }
      row += 4;
      continue;
    }
    for (; c < cols; c++) {
      store<T>(to, load<T>(from));
      from += fromStep;
      to += toStep;
    }
    row++;
  }
}

export function copy(job: CopyJob, begin: u32, end: u32, scratch: usize): void {
  copyRows<u32>(job, begin, end);
}

export function copy_bytes(job: CopyJob, begin: u32, end: u32, scratch: usize): void {
  copyRows<u8>(job, begin, end);
}
