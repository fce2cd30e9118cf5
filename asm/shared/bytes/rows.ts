import { sampleAt } from '../../int8/quantize';
import { storeRow } from '../gemm_f32';
import { MatmulJob } from '../job';
import { tapCount } from '../rows';
import { clamp, madd } from '../simd';

// Rows of A as the kernels of 8-bit arithmetic multiply them, and the f32 outputs that their sums become.

/** What is known of a packed row of A. */
@unmanaged
export class RowFacts {
  scale: f32;
  /** As the packed bytes count. 0 for k2, whose rows have it removed. */
  zeroPoint: i32;
  /** Sum of (a - zeroA) over all K, where weights have zero points. */
  centred: i32;
  /** The zero point twice, as 16-bit integers: a 32-bit splat is a mere load. */
  zeroPair: u32;
}

export const FACTS: usize = 16;

/** Where it lies, FACTS bytes before that of the next row. */
// @ts-ignore: decorator
@inline
export function centredOf(row: RowFacts): usize {
  return changetype<usize>(row) + offsetof<RowFacts>('centred');
}

// ---- rows of A ----

/** Sum of 32-bit lanes. */
function sumLanes(x: v128): i32 {
  return i32x4.extract_lane(x, 0) + i32x4.extract_lane(x, 1) + i32x4.extract_lane(x, 2) + i32x4.extract_lane(x, 3);
}

/** Sum of the bytes, or 16-bit integers, from .. end - 1; zeros follow up to a multiple of 16 bytes. */
function sumRow(from: usize, end: usize, pairs: bool, signed: bool): i32 {
  let sums = i32x4.splat(0);
  for (; from < end; from += 16) {
    let x = v128.load(from);
    if (!pairs) x = signed ? i16x8.extadd_pairwise_i8x16_s(x) : i16x8.extadd_pairwise_i8x16_u(x);
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_s(x));
  }
  return sumLanes(sums);
}

/**
 * Row m of A, contiguous, from the pointers of its taps, `stride` bytes apart: bytes, zeroA in the padding of the image;
 * or 16-bit integers with zeroA removed. Zeros up to a multiple of 16 codes follow.
 */
export function flatRow(job: MatmulJob, m: u32, pointers: usize, stride: usize, pairs: bool, zeros: bool, to: usize,
  facts: RowFacts): void {
  const taps = tapCount(job);
  const channels = job.channels / job.groups;
  const sample = sampleAt(job, m / job.rowsPerSample);
  const zeroPoint = sample.zeroPoint;
  const zero = i16x8.splat(<i16>zeroPoint);
  const start = to;
  facts.scale = sample.scale;
  facts.zeroPoint = pairs ? 0 : zeroPoint;
  facts.zeroPair = <u32>(zeroPoint & 0xffff) * 0x10001;
  for (let tap: u32 = 0; tap < taps; tap++) {
    const from = load<usize>(pointers + tap * stride);
    // Whole vectors: what they write past the tap, the next one or the zeros at the end overwrite.
    if (pairs) {
      if (from == 0) {
        for (let c: u32 = 0; c < channels; c += 8) v128.store(to + c * 2, i16x8.splat(0));
      } else {
        for (let c: u32 = 0; c < channels; c += 8) v128.store(to + c * 2, i16x8.sub(v128.load8x8_u(from + c), zero));
      }
      to += channels * 2;
    } else {
      if (from == 0) {
        const outside = i8x16.splat(<i8>zeroPoint);
        for (let c: u32 = 0; c < channels; c += 16) v128.store(to + c, outside);
      } else {
        for (let c: u32 = 0; c < channels; c += 16) v128.store(to + c, v128.load(from + c));
      }
      to += channels;
    }
  }
  v128.store(to, i8x16.splat(0), 0);
  v128.store(to, i8x16.splat(0), 16);
  if (!zeros) return;
  const sum = sumRow(start, to, pairs, job.dotFlip != 0);
  facts.centred = sum - <i32>job.K * facts.zeroPoint;
}

/** Sums of (a - zeroA) of a packed row over each of its groups, i32 [groups] at `to`, where groups have zero points. */
export function sumGroups(job: MatmulJob, row: usize, pairs: bool, facts: RowFacts, to: usize): void {
  const codes = job.groupSteps * 4;
  const bytes: usize = pairs ? 2 : 1;
  for (let k: u32 = 0; k < job.K; k += codes) {
    const here = min(codes, job.K - k);
    const sum = sumRow(row + k * bytes, row + (k + here) * bytes, pairs, job.dotFlip != 0);
    store<i32>(to, sum - <i32>here * facts.zeroPoint);
    to += 4;
  }
}

// ---- what becomes of their sums ----

/**
 * A row's sums over all K, to f32: partial = scaleW * (sums - zeroA * sum of w - zeroW * centred).
 * zeroW is there for whole-K formats on bytes only: elsewhere decoding removed it.
 */
// @ts-ignore: decorator
@inline
export function scaleRow(sums: usize, facts: RowFacts, scaleW: usize, sumW: usize, zeroW: usize, partial: usize): void {
  const zeroA = i32x4.splat(facts.zeroPoint);
  let s0 = i32x4.sub(v128.load(sums, 0), i32x4.mul(zeroA, v128.load(sumW, 0)));
  let s1 = i32x4.sub(v128.load(sums, 16), i32x4.mul(zeroA, v128.load(sumW, 16)));
  if (zeroW) {
    const centred = i32x4.splat(facts.centred);
    s0 = i32x4.sub(s0, i32x4.mul(centred, v128.load(zeroW, 0)));
    s1 = i32x4.sub(s1, i32x4.mul(centred, v128.load(zeroW, 16)));
  }
  v128.store(partial, f32x4.mul(f32x4.convert_i32x4_s(s0), v128.load(scaleW, 0)), 0);
  v128.store(partial, f32x4.mul(f32x4.convert_i32x4_s(s1), v128.load(scaleW, 16)), 16);
}

/** to += scale * sums. */
// @ts-ignore: decorator
@inline
export function scaleInto(to: usize, sums: v128, scale: v128): void {
  v128.store(to, madd(f32x4.convert_i32x4_s(sums), scale, v128.load(to)));
}

/** to (+)= four and four numbers. */
// @ts-ignore: decorator
@inline
export function addRow(from: usize, first: bool, to: usize): void {
  if (first) clear(to, 32);
  v128.store(to, f32x4.add(v128.load(to, 0), v128.load(from, 0)), 0);
  v128.store(to, f32x4.add(v128.load(to, 16), v128.load(from, 16)), 16);
}

// @ts-ignore: decorator
@inline
export function clear(from: usize, bytes: usize): void {
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(from + i, zero);
}

/** A row's sums of one group: partial (+)= scaleW * (sums - zeroA * sum of w); `halves`: of its chunks, in w2. */
// @ts-ignore: decorator
@inline
export function scaleGroup(sums: usize, facts: RowFacts, scaleW: usize, halves: usize, chunks: u32, partial: usize, first: bool)
: void {
  const zeroA = i16x8.splat(<i16>-facts.zeroPoint);
  let s0 = v128.load(sums, 0), s1 = v128.load(sums, 16);
  const end = halves + <usize>chunks * 16;
  do {
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load8x8_s(halves, 0), zeroA));
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load8x8_s(halves, 8), zeroA));
    halves += 16;
  } while (halves < end);
  if (first) clear(partial, 32);
  scaleInto(partial, s0, v128.load(scaleW, 0));
  scaleInto(partial + 16, s1, v128.load(scaleW, 16));
}

// @ts-ignore: decorator
@inline
export function finishRow(job: MatmulJob, partial: usize, scale: f32, bias: usize, to: usize, cols: u32): void {
  const s = f32x4.splat(scale), low = f32x4.splat(job.low), high = f32x4.splat(job.high);
  const y0 = madd(v128.load(partial, 0), s, v128.load(bias, 0));
  const y1 = madd(v128.load(partial, 16), s, v128.load(bias, 16));
  storeRow(to, clamp(y0, low, high), clamp(y1, low, high), cols);
}
