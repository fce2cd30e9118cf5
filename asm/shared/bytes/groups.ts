import { MatmulJob } from '../job';
import { clear, FACTS, RowFacts, scaleInto } from './rows';
import { dot, maddubs, widened, widenInto } from './tiles';

// Tiles of formats with groups of scales: f32 sums over the groups [MR][8], at `partial`.
// `inits` is what expandInits made of the weights' sums; `facts` are the RowFacts of the MR rows.

/** Minus zeroA times four sums. */
// @ts-ignore: decorator
@inline
function initDot(facts: usize, row: usize, negated: v128): v128 {
  return i32x4.mul(v128.load32_splat(facts + row * FACTS + offsetof<RowFacts>('zeroPoint')), negated);
}

/** Minus a row's sum over a group times four zero points. */
// @ts-ignore: decorator
@inline
function lessZero(c: v128, sum: usize, zeros: v128): v128 {
  return i32x4.sub(c, i32x4.mul(v128.load32_splat(sum), zeros));
}

/** @param zeros of bytes: zero points i32 [groups][8], where `rowSums` are the rows' of asm/shared/bytes/rows.ts; else 0 */
export function tileDotGroups(job: MatmulJob, a: usize, b: usize, inits: usize, scales: usize, facts: usize, zeros: usize,
  rowSums: usize, partial: usize): void {
  if (MODULE != 0) return;
  clear(partial, 192);
  const groupSteps = job.groupSteps, rowBytes = <usize>job.scaleGroups * 4;
  let left = job.steps;
  do {
    const count = min(left, groupSteps);
    const s0 = v128.load(inits, 0), s1 = v128.load(inits, 16);
    let c00 = initDot(facts, 0, s0), c01 = initDot(facts, 0, s1), c10 = initDot(facts, 1, s0);
    let c11 = initDot(facts, 1, s1), c20 = initDot(facts, 2, s0), c21 = initDot(facts, 2, s1);
    let c30 = initDot(facts, 3, s0), c31 = initDot(facts, 3, s1), c40 = initDot(facts, 4, s0);
    let c41 = initDot(facts, 4, s1), c50 = initDot(facts, 5, s0), c51 = initDot(facts, 5, s1);
    if (zeros) {
      const z0 = v128.load(zeros, 0), z1 = v128.load(zeros, 16);
      let at = rowSums;
      c00 = lessZero(c00, at, z0);
      c01 = lessZero(c01, at, z1);
      at += rowBytes;
      c10 = lessZero(c10, at, z0);
      c11 = lessZero(c11, at, z1);
      at += rowBytes;
      c20 = lessZero(c20, at, z0);
      c21 = lessZero(c21, at, z1);
      at += rowBytes;
      c30 = lessZero(c30, at, z0);
      c31 = lessZero(c31, at, z1);
      at += rowBytes;
      c40 = lessZero(c40, at, z0);
      c41 = lessZero(c41, at, z1);
      at += rowBytes;
      c50 = lessZero(c50, at, z0);
      c51 = lessZero(c51, at, z1);
      zeros += 32;
      rowSums += 4;
    }
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

export function tileMaddubsGroups(job: MatmulJob, a: usize, b: usize, inits: usize, scales: usize, facts: usize,
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
export function tilePairsGroups(job: MatmulJob, a: usize, b: usize, scales: usize, partial: usize): void {
  if (MODULE == 0) return;
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
 * minus its sums as i32 [groups][8] for the dot. `wide`: they are i32 [groups][8] in w2 too.
 */
export function expandInits(job: MatmulJob, panel: u32, wide: bool, to: usize): void {
  if (MODULE == 2) return;
  if (wide) {
    const bytes = <usize>job.scaleGroups * 32;
    let sums = job.w2 + panel * bytes;
    for (const end = sums + bytes; sums < end; sums += 16, to += 16) v128.store(to, i32x4.neg(v128.load(sums)));
    return;
  }
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
