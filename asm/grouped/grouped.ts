import { gemmI8, gemvI8 } from '../shared/gemm_i8';
import { MatmulJob } from '../shared/job';

// int4, int2 and ternary: codes in groups along K with a scale and a zero point each. A decoded panel holds
// code - zeroPoint. w3: zero points u8 [panels][groups][8].
// int4: w0 [panels][steps][16 bytes]: byte i holds k = i % 4 of channel i / 4 in its low nibble, of 4 + i / 4 in its high.
// int2: w0 [panels][steps / 2][16 bytes]: bits 0-1 and 2-3 of byte i are the same two of the even step, 4-5 and 6-7 of
// the odd one.

/** Weights of up to 4 bits: maddubs can't overflow. */
const PAIRS = MODULE == 2;

/** Zero points of channels 0 .. 3, or 4 .. 7, each four times. */
// @ts-ignore: decorator
@inline
function zeroPoints(at: usize, high: bool): v128 {
  const z = v128.load64_zero(at);
  return high
    ? i8x16.shuffle(z, z, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7)
    : i8x16.shuffle(z, z, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
}

function decode4(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 16;
  const groupSteps = job.groupSteps;
  let zeros = job.w3 + (<usize>panel * job.scaleGroups + first / groupSteps) * 8;
  const mask = i8x16.splat(15);
  let at = to;
  const past = first + count;
  while (first < past) {
    const z0 = zeroPoints(zeros, false), z1 = zeroPoints(zeros, true);
    const groupEnd = min(past, (first / groupSteps + 1) * groupSteps);
    const end = from + <usize>(groupEnd - first) * 16;
    do {
      const codes = v128.load(from);
      v128.store(at, i8x16.sub(v128.and(codes, mask), z0), 0);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 4), mask), z1), 16);
      from += 16;
      at += 32;
    } while (from < end);
    first = groupEnd;
    zeros += 8;
  }
  return to;
}

function decode2(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 8;
  const groupSteps = job.groupSteps;
  let zeros = job.w3 + (<usize>panel * job.scaleGroups + first / groupSteps) * 8;
  const mask = i8x16.splat(3);
  let at = to;
  const past = first + count;
  while (first < past) {
    const z0 = zeroPoints(zeros, false), z1 = zeroPoints(zeros, true);
    const groupEnd = min(past, (first / groupSteps + 1) * groupSteps);
    const end = from + <usize>(groupEnd - first) * 8;
    do {
      const codes = v128.load(from);
      v128.store(at, i8x16.sub(v128.and(codes, mask), z0), 0);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 2), mask), z1), 16);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 4), mask), z0), 32);
      v128.store(at, i8x16.sub(v128.and(i16x8.shr_u(codes, 6), mask), z1), 48);
      from += 16;
      at += 64;
    } while (from < end);
    first = groupEnd;
    zeros += 8;
  }
  return to;
}

export function int4_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode4, PAIRS, false);
}

export function int4_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, decode4, PAIRS, false);
}

export function int2_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode2, PAIRS, false);
}

export function int2_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, decode2, PAIRS, false);
}
