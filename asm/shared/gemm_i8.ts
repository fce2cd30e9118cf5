import { codesAt, sampleAt } from '../int8/quantize';
import { storeRow } from './gemm_f32';
import { MatmulJob, OutputKind } from './job';
import { finishIntegers, outputBytes } from './outputs';
import { gatherRows, packRows4, packRows6, tapCount } from './rows';
import { clamp, madd } from './simd';

// f32 outputs (integers: asm/shared/outputs.ts, for formats without groups):
// C = clamp(scaleA[sample] * sum over groups g of scaleW[g, n] * S[g] + bias[n]), where S[g] = sum over k in the group
// of (a - zeroA) * w in int32, exact. For every format whose weights become signed bytes, zero point removed:
//   B panel: int8 [steps][8 channels][4 k], steps = ceil(K / 4) (low-bit formats pad K to 16: those weights are 0).
// Formats without groups have one group of all K. Stage 1 is int8_quantize, these are stage 2.
//
// Three ways to multiply, one a module (they agree to the bit):
//   dot     (A) bytes by i32x4.relaxed_dot_i8x16_i7x16_add_s, weights first. A panel: [steps][6][4] bytes.
//   maddubs (B) the same bytes by i16x8.relaxed_dot_i8x16_i7x16_s, which x64 does as pmaddubsw: exact while
//           255 * |w| * 2 fits 16 bits, and `chunk` steps may be added before the sums are widened. [steps][4][4].
//   k2      (C, and B for weights over 6 bits) 16-bit pairs by i32x4.dot_i16x8_s. The B panel is widened to
//           i16 [2 * steps][8][2]; A panel: i16 [2 * steps][4][2], zeroA removed.

/** Address of steps first .. first + count - 1 of a panel (counted over all groups of channels); may decode to `to`. */
export type ByteSource = (job: MatmulJob, panel: u32, first: u32, count: u32, to: usize) => usize;

const NR: u32 = 8;
/** Rows of the register tile: only the dot adds up without a register for the product. */
const MR: u32 = MODULE == 0 ? 6 : 4;

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

const FACTS: usize = 16;

/** Where it lies, FACTS bytes before that of the next row. */
// @ts-ignore: decorator
@inline
function centredOf(row: RowFacts): usize {
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
function flatRow(job: MatmulJob, m: u32, pointers: usize, stride: usize, pairs: bool, zeros: bool, to: usize,
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
    let c: u32 = 0;
    if (pairs) {
      if (from == 0) {
        memory.fill(to, 0, channels * 2);
      } else {
        for (; c + 8 <= channels; c += 8) v128.store(to + c * 2, i16x8.sub(v128.load8x8_u(from + c), zero));
        for (; c < channels; c++) store<i16>(to + c * 2, <i16>(<i32>load<u8>(from + c) - zeroPoint));
      }
      to += channels * 2;
    } else {
      if (from == 0) {
        memory.fill(to, <u8>zeroPoint, channels);
      } else {
        for (; c + 16 <= channels; c += 16) v128.store(to + c, v128.load(from + c));
        for (; c < channels; c++) store<u8>(to + c, load<u8>(from + c));
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

// ---- tiles: i32 sums [MR][8] of `steps` steps, stored at `to` ----

/** w (signed) times a, summed in fours into c. */
// @ts-ignore: decorator
@inline
export function dot(w: v128, a: v128, c: v128): v128 {
  if (EMULATE_DOT == 0) return i32x4.relaxed_dot_i8x16_i7x16_add_s(w, a, c);
  // Test builds: the same sums spelled out, with `a` unsigned (1) or signed (2).
  const w0 = i16x8.extend_low_i8x16_s(w), w1 = i16x8.extend_high_i8x16_s(w);
  const a0 = EMULATE_DOT == 1 ? i16x8.extend_low_i8x16_u(a) : i16x8.extend_low_i8x16_s(a);
  const a1 = EMULATE_DOT == 1 ? i16x8.extend_high_i8x16_u(a) : i16x8.extend_high_i8x16_s(a);
  const s0 = i32x4.dot_i16x8_s(w0, a0), s1 = i32x4.dot_i16x8_s(w1, a1);
  return i32x4.add(c, i32x4.add(i32x4.shuffle(s0, s1, 0, 2, 4, 6), i32x4.shuffle(s0, s1, 1, 3, 5, 7)));
}

function tileDot(a: usize, b: usize, steps: u32, to: usize): void {
  if (MODULE != 0) return;
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  const end = a + <usize>steps * 24;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = dot(b0, x, c00);
    c01 = dot(b1, x, c01);
    x = v128.load32_splat(a, 4);
    c10 = dot(b0, x, c10);
    c11 = dot(b1, x, c11);
    x = v128.load32_splat(a, 8);
    c20 = dot(b0, x, c20);
    c21 = dot(b1, x, c21);
    x = v128.load32_splat(a, 12);
    c30 = dot(b0, x, c30);
    c31 = dot(b1, x, c31);
    x = v128.load32_splat(a, 16);
    c40 = dot(b0, x, c40);
    c41 = dot(b1, x, c41);
    x = v128.load32_splat(a, 20);
    c50 = dot(b0, x, c50);
    c51 = dot(b1, x, c51);
    a += 24;
    b += 32;
  } while (a < end);
  v128.store(to, c00, 0);
  v128.store(to, c01, 16);
  v128.store(to, c10, 32);
  v128.store(to, c11, 48);
  v128.store(to, c20, 64);
  v128.store(to, c21, 80);
  v128.store(to, c30, 96);
  v128.store(to, c31, 112);
  v128.store(to, c40, 128);
  v128.store(to, c41, 144);
  v128.store(to, c50, 160);
  v128.store(to, c51, 176);
}

/** w (signed) times a (unsigned), summed in twos, as pmaddubsw does it. */
// @ts-ignore: decorator
@inline
export function maddubs(w: v128, a: v128): v128 {
  if (MODULE == 1) return v128.relaxed_dot<i16>(w, a);
  return w;
}

/** Four channels' 32-bit sums, and their pairs of 16-bit sums. */
// @ts-ignore: decorator
@inline
function widened(sums: usize, pairs: v128): v128 {
  return i32x4.add(v128.load(sums), i32x4.extadd_pairwise_i16x8_s(pairs));
}

// @ts-ignore: decorator
@inline
function widenInto(to: usize, pairs: v128): void {
  v128.store(to, widened(to, pairs));
}

function tileMaddubs(a: usize, b: usize, steps: u32, chunk: u32, to: usize): void {
  if (MODULE != 1) return;
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) v128.store(to + i, zero);
  while (steps > 0) {
    const count = min(steps, chunk);
    let c00 = i16x8.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    const end = a + <usize>count * 16;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a, 0);
      c00 = i16x8.add(c00, maddubs(b0, x));
      c01 = i16x8.add(c01, maddubs(b1, x));
      x = v128.load32_splat(a, 4);
      c10 = i16x8.add(c10, maddubs(b0, x));
      c11 = i16x8.add(c11, maddubs(b1, x));
      x = v128.load32_splat(a, 8);
      c20 = i16x8.add(c20, maddubs(b0, x));
      c21 = i16x8.add(c21, maddubs(b1, x));
      x = v128.load32_splat(a, 12);
      c30 = i16x8.add(c30, maddubs(b0, x));
      c31 = i16x8.add(c31, maddubs(b1, x));
      a += 16;
      b += 32;
    } while (a < end);
    widenInto(to, c00);
    widenInto(to + 16, c01);
    widenInto(to + 32, c10);
    widenInto(to + 48, c11);
    widenInto(to + 64, c20);
    widenInto(to + 80, c21);
    widenInto(to + 96, c30);
    widenInto(to + 112, c31);
    steps -= count;
  }
}

function tilePairs(a: usize, b: usize, steps: u32, to: usize): void {
  if (MODULE == 0) return;
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const end = a + <usize>steps * 32;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 4);
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 8);
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 12);
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
    a += 16;
    b += 32;
  } while (a < end);
  v128.store(to, c00, 0);
  v128.store(to, c01, 16);
  v128.store(to, c10, 32);
  v128.store(to, c11, 48);
  v128.store(to, c20, 64);
  v128.store(to, c21, 80);
  v128.store(to, c30, 96);
  v128.store(to, c31, 112);
}

// ---- tiles of formats with groups of scales: f32 sums over the groups [MR][8], at `partial` ----
// `inits` is what expandInits made of the weights' sums; `facts` are the RowFacts of the MR rows.

/** to += scale * sums. */
// @ts-ignore: decorator
@inline
function scaleInto(to: usize, sums: v128, scale: v128): void {
  v128.store(to, madd(f32x4.convert_i32x4_s(sums), scale, v128.load(to)));
}

// @ts-ignore: decorator
@inline
function clear(from: usize, bytes: usize): void {
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(from + i, zero);
}

/** Minus zeroA times four sums. */
// @ts-ignore: decorator
@inline
function initDot(facts: usize, row: usize, negated: v128): v128 {
  return i32x4.mul(v128.load32_splat(facts + row * FACTS + offsetof<RowFacts>('zeroPoint')), negated);
}

function tileDotGroups(job: MatmulJob, a: usize, b: usize, inits: usize, scales: usize, facts: usize, partial: usize)
: void {
  if (MODULE != 0) return;
  clear(partial, 192);
  const groupSteps = job.groupSteps;
  let left = job.steps;
  do {
    const count = min(left, groupSteps);
    const s0 = v128.load(inits, 0), s1 = v128.load(inits, 16);
    let c00 = initDot(facts, 0, s0), c01 = initDot(facts, 0, s1), c10 = initDot(facts, 1, s0);
    let c11 = initDot(facts, 1, s1), c20 = initDot(facts, 2, s0), c21 = initDot(facts, 2, s1);
    let c30 = initDot(facts, 3, s0), c31 = initDot(facts, 3, s1), c40 = initDot(facts, 4, s0);
    let c41 = initDot(facts, 4, s1), c50 = initDot(facts, 5, s0), c51 = initDot(facts, 5, s1);
    const end = a + <usize>count * 24;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a, 0);
      c00 = dot(b0, x, c00);
      c01 = dot(b1, x, c01);
      x = v128.load32_splat(a, 4);
      c10 = dot(b0, x, c10);
      c11 = dot(b1, x, c11);
      x = v128.load32_splat(a, 8);
      c20 = dot(b0, x, c20);
      c21 = dot(b1, x, c21);
      x = v128.load32_splat(a, 12);
      c30 = dot(b0, x, c30);
      c31 = dot(b1, x, c31);
      x = v128.load32_splat(a, 16);
      c40 = dot(b0, x, c40);
      c41 = dot(b1, x, c41);
      x = v128.load32_splat(a, 20);
      c50 = dot(b0, x, c50);
      c51 = dot(b1, x, c51);
      a += 24;
      b += 32;
    } while (a < end);
    scaleInto(partial, c00, v128.load(scales, 0));
    scaleInto(partial + 16, c01, v128.load(scales, 16));
    scaleInto(partial + 32, c10, v128.load(scales, 0));
    scaleInto(partial + 48, c11, v128.load(scales, 16));
    scaleInto(partial + 64, c20, v128.load(scales, 0));
    scaleInto(partial + 80, c21, v128.load(scales, 16));
    scaleInto(partial + 96, c30, v128.load(scales, 0));
    scaleInto(partial + 112, c31, v128.load(scales, 16));
    scaleInto(partial + 128, c40, v128.load(scales, 0));
    scaleInto(partial + 144, c41, v128.load(scales, 16));
    scaleInto(partial + 160, c50, v128.load(scales, 0));
    scaleInto(partial + 176, c51, v128.load(scales, 16));
    inits += 32;
    scales += 32;
    left -= count;
  } while (left > 0);
}

/**
 * The 16-bit sums of a chunk begin at -zeroA times half a channel's sum of weights and may wrap on the way: those of
 * centred activations, which they end at, fit. Proof: with |w| <= L, n products a lane and W, V the sums of weights of
 * the two lanes of a channel, one lane ends at sum of w * (a - zeroA / 2) - zeroA / 2 * V, at most
 * n L max(zeroA / 2, 255 - zeroA / 2) + n L zeroA / 2 = 255 n L, for which `chunk` is chosen. (Where W + V is odd one
 * weight is not at its limit, which makes up for the half.)
 */
// @ts-ignore: decorator
@inline
function initPairs(facts: usize, row: usize, negatedHalves: v128): v128 {
  return i16x8.mul(v128.load32_splat(facts + row * FACTS + offsetof<RowFacts>('zeroPair')), negatedHalves);
}

function tileMaddubsGroups(job: MatmulJob, a: usize, b: usize, inits: usize, scales: usize, facts: usize,
  sums: usize, partial: usize): void {
  if (MODULE != 1) return;
  clear(partial, 128);
  const groupSteps = job.groupSteps, chunk = job.chunk;
  let left = job.steps;
  do {
    let inGroup = min(left, groupSteps);
    left -= inGroup;
    let first = true;
    do {
      const count = min(inGroup, chunk);
      const h0 = v128.load(inits, 0), h1 = v128.load(inits, 16);
      let c00 = initPairs(facts, 0, h0), c01 = initPairs(facts, 0, h1);
      let c10 = initPairs(facts, 1, h0), c11 = initPairs(facts, 1, h1);
      let c20 = initPairs(facts, 2, h0), c21 = initPairs(facts, 2, h1);
      let c30 = initPairs(facts, 3, h0), c31 = initPairs(facts, 3, h1);
      const end = a + <usize>count * 16;
      do {
        const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
        let x = v128.load32_splat(a, 0);
        c00 = i16x8.add(c00, maddubs(b0, x));
        c01 = i16x8.add(c01, maddubs(b1, x));
        x = v128.load32_splat(a, 4);
        c10 = i16x8.add(c10, maddubs(b0, x));
        c11 = i16x8.add(c11, maddubs(b1, x));
        x = v128.load32_splat(a, 8);
        c20 = i16x8.add(c20, maddubs(b0, x));
        c21 = i16x8.add(c21, maddubs(b1, x));
        x = v128.load32_splat(a, 12);
        c30 = i16x8.add(c30, maddubs(b0, x));
        c31 = i16x8.add(c31, maddubs(b1, x));
        a += 16;
        b += 32;
      } while (a < end);
      inits += 32;
      inGroup -= count;
      if (inGroup > 0) {
        if (first) {
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c00), 0);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c01), 16);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c10), 32);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c11), 48);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c20), 64);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c21), 80);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c30), 96);
          v128.store(sums, i32x4.extadd_pairwise_i16x8_s(c31), 112);
        } else {
          widenInto(sums, c00);
          widenInto(sums + 16, c01);
          widenInto(sums + 32, c10);
          widenInto(sums + 48, c11);
          widenInto(sums + 64, c20);
          widenInto(sums + 80, c21);
          widenInto(sums + 96, c30);
          widenInto(sums + 112, c31);
        }
        first = false;
        continue;
      }
      const s0 = v128.load(scales, 0), s1 = v128.load(scales, 16);
      if (first) {
        scaleInto(partial, i32x4.extadd_pairwise_i16x8_s(c00), s0);
        scaleInto(partial + 16, i32x4.extadd_pairwise_i16x8_s(c01), s1);
        scaleInto(partial + 32, i32x4.extadd_pairwise_i16x8_s(c10), s0);
        scaleInto(partial + 48, i32x4.extadd_pairwise_i16x8_s(c11), s1);
        scaleInto(partial + 64, i32x4.extadd_pairwise_i16x8_s(c20), s0);
        scaleInto(partial + 80, i32x4.extadd_pairwise_i16x8_s(c21), s1);
        scaleInto(partial + 96, i32x4.extadd_pairwise_i16x8_s(c30), s0);
        scaleInto(partial + 112, i32x4.extadd_pairwise_i16x8_s(c31), s1);
      } else {
        scaleInto(partial, widened(sums, c00), s0);
        scaleInto(partial + 16, widened(sums + 16, c01), s1);
        scaleInto(partial + 32, widened(sums + 32, c10), s0);
        scaleInto(partial + 48, widened(sums + 48, c11), s1);
        scaleInto(partial + 64, widened(sums + 64, c20), s0);
        scaleInto(partial + 80, widened(sums + 80, c21), s1);
        scaleInto(partial + 96, widened(sums + 96, c30), s0);
        scaleInto(partial + 112, widened(sums + 112, c31), s1);
      }
    } while (inGroup > 0);
    scales += 32;
  } while (left > 0);
}

/** zeroA is removed from `a` already. */
function tilePairsGroups(job: MatmulJob, a: usize, b: usize, scales: usize, partial: usize): void {
  if (MODULE != 2) return;
  clear(partial, 128);
  const groupSteps = job.groupSteps;
  let left = job.steps;
  do {
    const count = min(left, groupSteps);
    let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    const end = a + <usize>count * 32;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a, 0);
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a, 4);
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a, 8);
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a, 12);
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
      a += 16;
      b += 32;
    } while (a < end);
    const s0 = v128.load(scales, 0), s1 = v128.load(scales, 16);
    scaleInto(partial, c00, s0);
    scaleInto(partial + 16, c01, s1);
    scaleInto(partial + 32, c10, s0);
    scaleInto(partial + 48, c11, s1);
    scaleInto(partial + 64, c20, s0);
    scaleInto(partial + 80, c21, s1);
    scaleInto(partial + 96, c30, s0);
    scaleInto(partial + 112, c31, s1);
    scales += 32;
    left -= count;
  } while (left > 0);
}

/** Chunks of a group. */
// @ts-ignore: decorator
@inline
export function chunksOf(job: MatmulJob): u32 {
  return (job.groupSteps + job.chunk - 1) / job.chunk;
}

/**
 * What the tiles of groups begin a panel's sums with, from w2: minus its half sums as i16 [chunks][8][2] for maddubs, or
 * minus its sums as i32 [groups][8] for the dot.
 */
function expandInits(job: MatmulJob, panel: u32, to: usize): void {
  if (MODULE == 2) return;
  const chunks = chunksOf(job);
  let left = job.steps;
  let from = job.w2 + <usize>panel * job.scaleGroups * chunks * 16;
  do {
    let inGroup = min(left, job.groupSteps);
    left -= inGroup;
    let next = from + chunks * 16;
    if (MODULE == 0) clear(to, 32);
    do {
      const h0 = i16x8.neg(v128.load8x8_s(from, 0)), h1 = i16x8.neg(v128.load8x8_s(from, 8));
      if (MODULE == 1) {
        v128.store(to, h0, 0);
        v128.store(to, h1, 16);
        to += 32;
      } else {
        v128.store(to, i32x4.add(v128.load(to, 0), i32x4.extadd_pairwise_i16x8_s(h0)), 0);
        v128.store(to, i32x4.add(v128.load(to, 16), i32x4.extadd_pairwise_i16x8_s(h1)), 16);
      }
      from += 16;
      inGroup -= min(inGroup, job.chunk);
    } while (inGroup > 0);
    if (MODULE == 0) to += 32;
    from = next;
  } while (left > 0);
}

/** Products of sixteen weights, four channels of 4 k, with four values of A, in pairs. */
// @ts-ignore: decorator
@inline
function pairsLow(w: v128, x: v128): v128 {
  return i32x4.dot_i16x8_s(x, i16x8.extend_low_i8x16_s(w));
}

// @ts-ignore: decorator
@inline
function pairsHigh(w: v128, x: v128): v128 {
  return i32x4.dot_i16x8_s(x, i16x8.extend_high_i8x16_s(w));
}

/** Two channels' pairs of sums, twice, to four channels' sums. */
// @ts-ignore: decorator
@inline
function addPairs(low: v128, high: v128): v128 {
  return i32x4.add(i32x4.shuffle(low, high, 0, 2, 4, 6), i32x4.shuffle(low, high, 1, 3, 5, 7));
}

/** The one row of a GEMV by a panel of bytes: `a` holds bytes (dot, maddubs) or 16-bit integers. Sums [8] at `to`. */
function tileRow(a: usize, b: usize, steps: u32, chunk: u32, pairs: bool, to: usize): void {
  let c0 = i32x4.splat(0), c1 = c0, c2 = c0, c3 = c0;
  if (MODULE != 0 && pairs) {
    const end = a + <usize>steps * 8;
    do {
      const x = v128.load64_splat(a);
      const w0 = v128.load(b, 0), w1 = v128.load(b, 16);
      c0 = i32x4.add(c0, pairsLow(w0, x));
      c1 = i32x4.add(c1, pairsHigh(w0, x));
      c2 = i32x4.add(c2, pairsLow(w1, x));
      c3 = i32x4.add(c3, pairsHigh(w1, x));
      a += 8;
      b += 32;
    } while (a < end);
    v128.store(to, addPairs(c0, c1), 0);
    v128.store(to, addPairs(c2, c3), 16);
    return;
  } else if (MODULE == 1) {
    while (steps > 0) {
      const count = min(steps, chunk);
      let d0 = i16x8.splat(0), d1 = d0;
      const end = a + <usize>count * 4;
      do {
        const x = v128.load32_splat(a);
        d0 = i16x8.add(d0, maddubs(v128.load(b, 0), x));
        d1 = i16x8.add(d1, maddubs(v128.load(b, 16), x));
        a += 4;
        b += 32;
      } while (a < end);
      c0 = i32x4.add(c0, i32x4.extadd_pairwise_i16x8_s(d0));
      c1 = i32x4.add(c1, i32x4.extadd_pairwise_i16x8_s(d1));
      steps -= count;
    }
  } else if (MODULE == 0) {
    const whole = a + (<usize>steps & ~1) * 4;
    while (a < whole) {
      let x = v128.load32_splat(a, 0);
      c0 = dot(v128.load(b, 0), x, c0);
      c1 = dot(v128.load(b, 16), x, c1);
      x = v128.load32_splat(a, 4);
      c2 = dot(v128.load(b, 32), x, c2);
      c3 = dot(v128.load(b, 48), x, c3);
      a += 8;
      b += 64;
    }
    if (steps & 1) {
      const x = v128.load32_splat(a);
      c0 = dot(v128.load(b, 0), x, c0);
      c1 = dot(v128.load(b, 16), x, c1);
    }
  }
  v128.store(to, i32x4.add(c0, c2), 0);
  v128.store(to, i32x4.add(c1, c3), 16);
}

/** A panel of bytes as 16-bit pairs with weight zero points removed: int8 [steps][8][4] to i16 [2 * steps][8][2]. */
function widenPanel(from: usize, steps: u32, zeroW: usize, to: usize): void {
  let z0 = i16x8.splat(0), z1 = z0, z2 = z0, z3 = z0;
  if (zeroW) {
    const z = i16x8.narrow_i32x4_s(v128.load(zeroW, 0), v128.load(zeroW, 16));
    z0 = i16x8.shuffle(z, z, 0, 0, 0, 0, 1, 1, 1, 1);
    z1 = i16x8.shuffle(z, z, 2, 2, 2, 2, 3, 3, 3, 3);
    z2 = i16x8.shuffle(z, z, 4, 4, 4, 4, 5, 5, 5, 5);
    z3 = i16x8.shuffle(z, z, 6, 6, 6, 6, 7, 7, 7, 7);
  }
  const end = from + <usize>steps * 32;
  do {
    const low = v128.load(from, 0), high = v128.load(from, 16);
    const w0 = i16x8.sub(i16x8.extend_low_i8x16_s(low), z0), w1 = i16x8.sub(i16x8.extend_high_i8x16_s(low), z1);
    const w2 = i16x8.sub(i16x8.extend_low_i8x16_s(high), z2), w3 = i16x8.sub(i16x8.extend_high_i8x16_s(high), z3);
    v128.store(to, i32x4.shuffle(w0, w1, 0, 2, 4, 6), 0);
    v128.store(to, i32x4.shuffle(w2, w3, 0, 2, 4, 6), 16);
    v128.store(to, i32x4.shuffle(w0, w1, 1, 3, 5, 7), 32);
    v128.store(to, i32x4.shuffle(w2, w3, 1, 3, 5, 7), 48);
    from += 32;
    to += 64;
  } while (from < end);
}

// ---- epilogue ----

/**
 * A row's sums over all K, to f32: partial = scaleW * (sums - zeroA * sum of w - zeroW * centred).
 * zeroW is there for whole-K formats on bytes only: elsewhere decoding removed it.
 */
// @ts-ignore: decorator
@inline
function scaleRow(sums: usize, facts: RowFacts, scaleW: usize, sumW: usize, zeroW: usize, partial: usize): void {
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

/** A row's sums of one group: partial (+)= scaleW * (sums - zeroA * sum of w); `halves`: of its chunks, in w2. */
// @ts-ignore: decorator
@inline
function scaleGroup(sums: usize, facts: RowFacts, scaleW: usize, halves: usize, chunks: u32, partial: usize, first: bool)
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
function finishRow(job: MatmulJob, partial: usize, scale: f32, bias: usize, to: usize, cols: u32): void {
  const s = f32x4.splat(scale), low = f32x4.splat(job.low), high = f32x4.splat(job.high);
  const y0 = madd(v128.load(partial, 0), s, v128.load(bias, 0));
  const y1 = madd(v128.load(partial, 16), s, v128.load(bias, 16));
  storeRow(to, clamp(y0, low, high), clamp(y1, low, high), cols);
}

// w1: scales f32 [panels][groups][8]. w2: sums of w, i32 [panels][8] where a row is one group; else i8
// [panels][groups][chunks][8][2], the sums over chunks of steps, each as two halves. w3: zero points of whole-K formats
// i32 [panels][8], or what the source makes of it.

/**
 * Tiles are blocks of `rowBlock` rows, group of channels after group of channels.
 * @param pairs multiply 16-bit pairs (module C always does; never module A)
 * @param zeros w3 holds zero points that the source did not remove
 * Scratch: pointers [taps][MR], pointers [MR] to flat rows, the rows, facts [rowBlock], sums and partial results [MR][8]
 * each, A panels, B panel as bytes, B panel as pairs or inits of its groups.
 */
export function gemmI8(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: ByteSource, pairs: bool,
  zeros: bool): void {
  const N = job.N, M = job.M, rowBlock = job.rowBlock, steps = job.steps;
  const panels = job.paddedN / NR;
  const groupChannels = job.channels / job.groups;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const elementBytes = outputBytes(job), rowBytes = <usize>job.groups * N * elementBytes;
  const integers = job.outputKind != OutputKind.F32;
  const scaleGroups = job.scaleGroups;
  const stepBytes: usize = pairs ? MR * 8 : MR * 4;
  const flatBytes = <usize>steps * (pairs ? 8 : 4) + 64;
  // Widening removes the weights' zero points; bytes leave them to the epilogue, which needs each row's sum.
  const sumRows = zeros && !pairs && job.weightZeros != 0;
  const pointers = scratch;
  const flatPointers = pointers + tapCount(job) * MR * sizeof<usize>();
  const flats = (flatPointers + MR * sizeof<usize>() + 63) & ~63;
  const facts = flats + MR * flatBytes;
  const sums = (facts + rowBlock * FACTS + 63) & ~63;
  const partial = sums + MR * NR * 4;
  const aPanels = (partial + MR * NR * 4 + 63) & ~63;
  const aPanelBytes = <usize>steps * stepBytes;
  const bytePanel = (aPanels + <usize>(rowBlock / MR) * aPanelBytes + 63) & ~63;
  const pairPanel = bytePanel + <usize>steps * 32;
  const grouped = scaleGroups > 1;
  for (let i: u32 = 0; i < MR; i++) store<usize>(flatPointers + i * sizeof<usize>(), flats + i * flatBytes);
  let packed: u32 = -1;
  for (let tile = begin; tile < end; tile++) {
    const block = tile / parts, part = tile % parts;
    const group = block / mTiles;
    const m0 = (block % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let r: u32 = 0; r < rows && block != packed; r += MR) {
      gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m0 + r, MR, 0, pointers);
      for (let i: u32 = 0; i < MR; i++) {
        flatRow(job, min(m0 + r + i, M - 1), pointers + i * sizeof<usize>(), MR * sizeof<usize>(), pairs, sumRows,
          flats + i * flatBytes, changetype<RowFacts>(facts + (r + i) * FACTS));
      }
      const to = aPanels + <usize>(r / MR) * aPanelBytes;
      if (MR == 6) packRows6(flatPointers, 1, steps, to);
      else packRows4(flatPointers, 1, pairs ? 2 * steps : steps, to);
    }
    packed = block;
    for (let p = panels * part / parts, past = panels * (part + 1) / parts; p < past; p++) {
      const n = p * NR;
      const panel = group * panels + p;
      const zeroW = zeros && job.weightZeros ? job.w3 + <usize>panel * 32 : 0;
      let b = source(job, panel, 0, steps, bytePanel);
      if (pairs) {
        widenPanel(b, steps, zeroW, pairPanel);
        b = pairPanel;
      }
      if (grouped) expandInits(job, panel, pairPanel);
      const bias = job.bias + <usize>panel * 32;
      const scales = job.w1 + <usize>panel * scaleGroups * 32;
      const sumsOfW = job.w2 + <usize>panel * 32;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * elementBytes;
      for (let r: u32 = 0; r < rows; r += MR) {
        const here = min(MR, rows - r);
        const a = aPanels + <usize>(r / MR) * aPanelBytes;
        const rowFacts = facts + r * FACTS;
        if (grouped) {
          if (MODULE == 0) tileDotGroups(job, a, b, pairPanel, scales, rowFacts, partial);
          else if (MODULE == 1) tileMaddubsGroups(job, a, b, pairPanel, scales, rowFacts, sums, partial);
          else tilePairsGroups(job, a, b, scales, partial);
        } else {
          if (MODULE == 0) tileDot(a, b, steps, sums);
          else if (pairs) tilePairs(a, b, steps, sums);
          else tileMaddubs(a, b, steps, job.chunk, sums);
        }
        if (integers) {
          const row = changetype<RowFacts>(rowFacts);
          finishIntegers(job, here, sums, row.zeroPoint, centredOf(row), FACTS, scales, sumsOfW, pairs ? 0 : zeroW, bias,
            to, rowBytes, N - n);
          to += here * rowBytes;
          continue;
        }
        if (!grouped) {
          for (let i: u32 = 0; i < here; i++) {
            scaleRow(sums + i * 32, changetype<RowFacts>(rowFacts + i * FACTS), scales, sumsOfW, pairs ? 0 : zeroW,
              partial + i * 32);
          }
        }
        for (let i: u32 = 0; i < here; i++) {
          const scale = changetype<RowFacts>(rowFacts + i * FACTS).scale;
          finishRow(job, partial + i * 32, scale, bias, to, N - n);
          to += rowBytes;
        }
      }
    }
  }
}

/** Steps that a GEMV decodes before it multiplies: the panel stays in L1. */
const GEMV_STEPS: u32 = 128;

/**
 * Few rows: tiles are panels of 8 channels. Each row's codes are packed once a call, all rows walk a decoded piece.
 * Scratch: pointers [taps], facts [M], sums [8], partial results [M][8], rows [M], panel as bytes.
 */
export function gemvI8(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: ByteSource, pairs: bool,
  zeros: bool): void {
  const N = job.N, M = job.M, steps = job.steps;
  const panels = job.paddedN / NR;
  const groupChannels = job.channels / job.groups;
  const elementBytes = outputBytes(job), rowBytes = <usize>job.groups * N * elementBytes;
  const integers = job.outputKind != OutputKind.F32;
  const scaleGroups = job.scaleGroups, groupSteps = job.groupSteps;
  const chunks = chunksOf(job);
  const stepBytes: usize = pairs ? 8 : 4;
  const hasZeros = zeros && job.weightZeros != 0;
  const pointers = scratch;
  const facts = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const sums = (facts + M * FACTS + 63) & ~63;
  const partials = sums + 64;
  const rows = partials + M * 32;
  const rowStride = <usize>steps * stepBytes + 64;
  const bytePanel = (rows + M * rowStride + 63) & ~63;
  let packed: u32 = -1;
  for (let panel = begin; panel < end; panel++) {
    const group = panel / panels;
    if (group != packed) {
      for (let m: u32 = 0; m < M; m++) {
        gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, pointers);
        flatRow(job, m, pointers, sizeof<usize>(), pairs, hasZeros, rows + m * rowStride,
          changetype<RowFacts>(facts + m * FACTS));
      }
      packed = group;
    }
    const n = (panel % panels) * NR;
    const zeroW = hasZeros ? job.w3 + <usize>panel * 32 : 0;
    const scales = job.w1 + <usize>panel * scaleGroups * 32;
    const sumsOfW = job.w2 + <usize>panel * (scaleGroups > 1 ? scaleGroups * chunks * 16 : 32);
    for (let g: u32 = 0; g < scaleGroups; g++) {
      const groupStart = g * groupSteps, groupEnd = min(groupStart + groupSteps, steps);
      for (let step = groupStart; step < groupEnd; step += GEMV_STEPS) {
        const count = min(groupEnd - step, GEMV_STEPS);
        const b = source(job, panel, step, count, bytePanel);
        for (let m: u32 = 0; m < M; m++) {
          tileRow(rows + m * rowStride + step * stepBytes, b, count, job.chunk, pairs, sums);
          const partial = partials + m * 32;
          let total = sums;
          // Integer sums of one long group in pieces, or that stay integers, wait in `partial`.
          if (integers || count < groupEnd - groupStart) {
            total = partial;
            const more = step != groupStart;
            const s0 = v128.load(sums, 0), s1 = v128.load(sums, 16);
            v128.store(total, more ? i32x4.add(s0, v128.load(total, 0)) : s0, 0);
            v128.store(total, more ? i32x4.add(s1, v128.load(total, 16)) : s1, 16);
            if (integers || step + count < groupEnd) continue;
          }
          const rowFacts = changetype<RowFacts>(facts + m * FACTS);
          if (scaleGroups == 1) {
            scaleRow(total, rowFacts, scales, sumsOfW, zeroW, partial);
          } else {
            scaleGroup(total, rowFacts, scales + <usize>g * 32, sumsOfW + <usize>g * chunks * 16, chunks, partial,
              g == 0);
          }
        }
      }
    }
    const bias = job.bias + <usize>panel * 32;
    const to = job.output + <usize>(group * N + n) * elementBytes;
    if (integers) {
      const row = changetype<RowFacts>(facts);
      finishIntegers(job, M, partials, row.zeroPoint, centredOf(row), FACTS, scales, sumsOfW, zeroW, bias, to, rowBytes,
        N - n);
      continue;
    }
    for (let m: u32 = 0; m < M; m++) {
      finishRow(job, partials + m * 32, changetype<RowFacts>(facts + m * FACTS).scale, bias, to + m * rowBytes, N - n);
    }
  }
}

// ---- one row by panels that are decoded in registers (maddubs only) ----

/**
 * A row by one panel: f32 sums over the groups at `to` where there are groups of scales, else the int32 sums.
 * `pairs`: for each `subSteps` steps the sums of a at k = 0, 1 and of those at k = 2, 3 (mod 4), as two u16.
 */
export type RowKernel = (job: MatmulJob, panel: u32, a: usize, pairs: usize, facts: RowFacts, to: usize) => void;

/** Steps that a RowKernel adds up in 16 bits. */
export function subStepsOf(job: MatmulJob): u32 {
  return min(job.groupSteps, 8);
}

/** Fills `pairs` of a RowKernel. */
function sumPairs(from: usize, steps: u32, subSteps: u32, to: usize): void {
  while (steps > 0) {
    const count = min(steps, subSteps);
    let sums = i16x8.splat(0);
    for (const end = from + <usize>count * 4; from < end; from += 16) {
      sums = i16x8.add(sums, i16x8.extadd_pairwise_i8x16_u(v128.load(from)));
    }
    sums = i16x8.add(sums, i32x4.shuffle(sums, sums, 2, 3, 0, 1));
    sums = i16x8.add(sums, i32x4.shuffle(sums, sums, 1, 0, 3, 2));
    v128.store32_lane(to, sums, 0);
    to += 4;
    steps -= count;
  }
}

/** Scratch: pointers [taps], facts [M], sums [8], partial results [8], rows [M], each with its `pairs`. */
export function gemvRows(job: MatmulJob, begin: u32, end: u32, scratch: usize, kernel: RowKernel): void {
  const N = job.N, M = job.M, steps = job.steps;
  const panels = job.paddedN / NR;
  const groupChannels = job.channels / job.groups;
  const elementBytes = outputBytes(job), rowBytes = <usize>job.groups * N * elementBytes;
  const integers = job.outputKind != OutputKind.F32;
  const scaleGroups = job.scaleGroups;
  const pointers = scratch;
  const facts = (pointers + tapCount(job) * sizeof<usize>() + 63) & ~63;
  const sums = (facts + M * FACTS + 63) & ~63;
  const partial = sums + 64;
  const rows = partial + 64;
  const flatBytes = (<usize>steps * 4 + 64 + 63) & ~63;
  const rowStride = flatBytes + ((<usize>steps + 63) & ~63);
  let packed: u32 = -1;
  for (let panel = begin; panel < end; panel++) {
    const group = panel / panels;
    if (group != packed) {
      for (let m: u32 = 0; m < M; m++) {
        const row = rows + m * rowStride;
        gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, pointers);
        flatRow(job, m, pointers, sizeof<usize>(), false, true, row, changetype<RowFacts>(facts + m * FACTS));
        sumPairs(row, steps, subStepsOf(job), row + flatBytes);
      }
      packed = group;
    }
    const n = (panel % panels) * NR;
    const scales = job.w1 + <usize>panel * 32, sumsOfW = job.w2 + <usize>panel * 32;
    const bias = job.bias + <usize>panel * 32;
    let to = job.output + <usize>(group * N + n) * elementBytes;
    for (let m: u32 = 0; m < M; m++) {
      const row = rows + m * rowStride;
      const rowFacts = changetype<RowFacts>(facts + m * FACTS);
      if (scaleGroups > 1) {
        kernel(job, panel, row, row + flatBytes, rowFacts, partial);
      } else {
        kernel(job, panel, row, row + flatBytes, rowFacts, sums);
        if (!integers) scaleRow(sums, rowFacts, scales, sumsOfW, 0, partial);
      }
      if (integers) {
        finishIntegers(job, 1, sums, rowFacts.zeroPoint, centredOf(rowFacts), FACTS, scales, sumsOfW, 0, bias, to, rowBytes,
          N - n);
      } else {
        finishRow(job, partial, rowFacts.scale, bias, to, N - n);
      }
      to += rowBytes;
    }
  }
}
