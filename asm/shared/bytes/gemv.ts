import { codesAt } from '../../int8/quantize';
import { MatmulJob, OutputKind } from '../job';
import { finishIntegers, outputBytes } from '../outputs';
import { gatherRows, tapCount } from '../rows';
import { ByteSource } from './gemm';
import { chunksOf } from './groups';
import { addRow, centredOf, FACTS, finishRow, flatRow, RowFacts, scaleGroup, scaleRow, sumGroups } from './rows';
import { dot, maddubs, NR } from './tiles';

// Few rows: panels of bytes, or panels that are decoded in registers.

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

/** Steps that a GEMV decodes before it multiplies: the panel stays in L1. */
const GEMV_STEPS: u32 = 128;

/**
 * Few rows: tiles are panels of 8 channels. Each row's codes are packed once a call, all rows walk a decoded piece.
 * Scratch: pointers [taps], facts [M], sums [8], partial results [M][8], rows [M], panel as bytes, sums of the rows over
 * groups [M][groups].
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
  const rowSums = bytePanel + GEMV_STEPS * 32, rowSumBytes = <usize>scaleGroups * 4;
  let packed: u32 = -1;
  for (let panel = begin; panel < end; panel++) {
    const group = panel / panels;
    if (group != packed) {
      for (let m: u32 = 0; m < M; m++) {
        gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m, 1, 0, pointers);
        flatRow(job, m, pointers, sizeof<usize>(), pairs, hasZeros, rows + m * rowStride,
          changetype<RowFacts>(facts + m * FACTS));
        if (hasZeros && scaleGroups > 1) {
          sumGroups(job, rows + m * rowStride, pairs, changetype<RowFacts>(facts + m * FACTS), rowSums + m * rowSumBytes);
        }
      }
      packed = group;
    }
    const n = (panel % panels) * NR;
    const zeroW = hasZeros ? job.w3 + <usize>panel * scaleGroups * 32 : 0;
    const scales = job.w1 + <usize>panel * scaleGroups * 32;
    const sumsOfW = job.w2 + <usize>panel * (scaleGroups > 1 && !zeros ? scaleGroups * chunks * 16 : scaleGroups * 32);
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
          } else if (zeros) {
            const at = <usize>g * 32;
            if (hasZeros) rowFacts.centred = load<i32>(rowSums + m * rowSumBytes + g * 4);
            scaleRow(total, rowFacts, scales + at, sumsOfW + at, zeroW ? zeroW + at : 0, sums);
            addRow(sums, g == 0, partial);
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
