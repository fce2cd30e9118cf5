import { Job } from '../shared/job';
import { madd, storeTail } from '../shared/simd';

// C[o, n] = reduction over i of A[o, i, n], by its number in REDUCTIONS of src/plan/problem.ts. Tiles are blocks of 16
// neighbours n of one o.

const BLOCK: u32 = 16;

@unmanaged
class ReduceJob extends Job {
  reduction: u32;
  size: u32;
  inner: u32;
}

// @ts-ignore: decorator
@inline
function start(reduction: u32): f32 {
  if (reduction == 2) return -Infinity;
  if (reduction == 3) return Infinity;
  return reduction == 4 ? 1 : 0;
}

/** The accumulator with one more x in each lane. */
// @ts-ignore: decorator
@inline
function add(sum: v128, x: v128, reduction: u32): v128 {
  switch (reduction) {
    case 2: return f32x4.max(sum, x);
    case 3: return f32x4.min(sum, x);
    case 4: return f32x4.mul(sum, x);
    case 5: case 6: return madd(x, x, sum);
    default: return f32x4.add(sum, x);
  }
}

/** Two accumulators in one. */
// @ts-ignore: decorator
@inline
function join(a: v128, b: v128, reduction: u32): v128 {
  return reduction == 5 || reduction == 6 ? f32x4.add(a, b) : add(a, b, reduction);
}

// @ts-ignore: decorator
@inline
function finish(sum: v128, size: u32, reduction: u32): v128 {
  if (reduction == 1) return f32x4.div(sum, f32x4.splat(<f32>size));
  return reduction == 6 ? f32x4.sqrt(sum) : sum;
}

/** One row of `size` floats. */
// @ts-ignore: decorator
@inline
function rowOf(from: usize, size: u32, to: usize, reduction: u32): void {
  let s0 = f32x4.splat(start(reduction)), s1 = s0, s2 = s0, s3 = s0;
  const past = from + <usize>size * 4;
  for (; from + 64 <= past; from += 64) {
    s0 = add(s0, v128.load(from, 0), reduction);
    s1 = add(s1, v128.load(from, 16), reduction);
    s2 = add(s2, v128.load(from, 32), reduction);
    s3 = add(s3, v128.load(from, 48), reduction);
  }
  for (; from + 16 <= past; from += 16) s0 = add(s0, v128.load(from), reduction);
  s0 = join(join(s0, s1, reduction), join(s2, s3, reduction), reduction);
  s0 = join(s0, i32x4.shuffle(s0, s0, 2, 3, 0, 1), reduction);
  s0 = join(s0, i32x4.shuffle(s0, s0, 1, 0, 3, 2), reduction);
  for (; from < past; from += 4) s0 = add(s0, v128.load32_splat(from), reduction);
  v128.store32_lane(to, finish(s0, size, reduction), 0);
}

/** Up to four columns of `size` floats, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function columnsOf(from: usize, size: u32, stride: usize, to: usize, count: u32, reduction: u32): void {
  let sum = f32x4.splat(start(reduction));
  for (let i: u32 = 0; i < size; i++) {
    sum = add(sum, v128.load(from), reduction);
    from += stride;
  }
  const y = finish(sum, size, reduction);
  storeTail(to, y, y, count);
}

/** Sixteen columns. */
// @ts-ignore: decorator
@inline
function columns16(from: usize, size: u32, stride: usize, to: usize, reduction: u32): void {
  let s0 = f32x4.splat(start(reduction)), s1 = s0, s2 = s0, s3 = s0;
  for (let i: u32 = 0; i < size; i++) {
    s0 = add(s0, v128.load(from, 0), reduction);
    s1 = add(s1, v128.load(from, 16), reduction);
    s2 = add(s2, v128.load(from, 32), reduction);
    s3 = add(s3, v128.load(from, 48), reduction);
    from += stride;
  }
  v128.store(to, finish(s0, size, reduction), 0);
  v128.store(to, finish(s1, size, reduction), 16);
  v128.store(to, finish(s2, size, reduction), 32);
  v128.store(to, finish(s3, size, reduction), 48);
}

/** The index of the first largest (or smallest) of `size` floats, `stride` bytes apart; of a NaN, if there is one. */
function argOf(from: usize, size: u32, stride: usize, largest: bool): f32 {
  let best = f32.load(from);
  let at: u32 = 0;
  for (let i: u32 = 1; i < size && best == best; i++) {
    from += stride;
    const x = f32.load(from);
    if ((largest ? x > best : x < best) || x != x) {
      best = x;
      at = i;
    }
  }
  return <f32>at;
}

// @ts-ignore: decorator
@inline
function run(job: ReduceJob, begin: u32, end: u32, reduction: u32): void {
  const size = job.size, inner = job.inner;
  const blocks = (inner + BLOCK - 1) / BLOCK;
  const stride = <usize>inner * 4;
  for (let tile = begin; tile < end; tile++) {
    const n = (tile % blocks) * BLOCK;
    const o = tile / blocks;
    const count = min(inner - n, BLOCK);
    const from = job.input + (<usize>o * size * inner + n) * 4;
    const to = job.output + (<usize>o * inner + n) * 4;
    if (reduction >= 7) {
      for (let i: u32 = 0; i < count; i++) {
        f32.store(to + i * 4, argOf(from + i * 4, size, stride, reduction == 7));
      }
    } else if (inner == 1) {
      rowOf(from, size, to, reduction);
    } else if (count == BLOCK) {
      columns16(from, size, stride, to, reduction);
    } else {
      for (let i: u32 = 0; i < count; i += 4) {
        columnsOf(from + i * 4, size, stride, to + i * 4, min(count - i, 4), reduction);
      }
    }
  }
}

export function reduce(job: ReduceJob, begin: u32, end: u32, scratch: usize): void {
  switch (job.reduction) {
    case 0: run(job, begin, end, 0); break;
    case 1: run(job, begin, end, 1); break;
    case 2: run(job, begin, end, 2); break;
    case 3: run(job, begin, end, 3); break;
    case 4: run(job, begin, end, 4); break;
    case 5: run(job, begin, end, 5); break;
    case 6: run(job, begin, end, 6); break;
    case 7: run(job, begin, end, 7); break;
    default: run(job, begin, end, 8);
  }
}
