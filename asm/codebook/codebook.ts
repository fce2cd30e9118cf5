import { MatmulJob } from '../shared/job';
import { gemmF32, gemvF32 } from '../shared/gemm_f32';
import { gemmI8, gemvI8 } from '../shared/gemm_i8';
import { pick } from '../shared/simd';

// w0: codes; w1: the codebook. Codes become one f32 panel in L1, once a tile of A.
//
// 16 entries. w0: [panels][ceil(K / 4)][16 bytes]; byte i of block q holds channel i % 8: low nibble k = 4q + i / 8,
// high nibble k = 4q + 2 + i / 8. w1: four byte planes, plane b = byte b of each of the 16 centroids.
// 256 entries. w0: [panels][K][8 bytes]; w1: f32 [256].

/** Sixteen centroids by sixteen codes, to 64 bytes at `to`. */
// @ts-ignore: decorator
@inline
function decode16(codes: v128, p0: v128, p1: v128, p2: v128, p3: v128, to: usize): void {
  const b0 = pick(p0, codes), b1 = pick(p1, codes), b2 = pick(p2, codes), b3 = pick(p3, codes);
  const low01 = i8x16.shuffle(b0, b1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const high01 = i8x16.shuffle(b0, b1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const low23 = i8x16.shuffle(b2, b3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const high23 = i8x16.shuffle(b2, b3, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  v128.store(to, i16x8.shuffle(low01, low23, 0, 8, 1, 9, 2, 10, 3, 11), 0);
  v128.store(to, i16x8.shuffle(low01, low23, 4, 12, 5, 13, 6, 14, 7, 15), 16);
  v128.store(to, i16x8.shuffle(high01, high23, 0, 8, 1, 9, 2, 10, 3, 11), 32);
  v128.store(to, i16x8.shuffle(high01, high23, 4, 12, 5, 13, 6, 14, 7, 15), 48);
}

function panel16(job: MatmulJob, panel: u32, to: usize): usize {
  const blocks = (job.K + 3) / 4;
  let from = job.w0 + <usize>panel * blocks * 16;
  const end = from + <usize>blocks * 16;
  const planes = job.w1;
  const p0 = v128.load(planes, 0), p1 = v128.load(planes, 16), p2 = v128.load(planes, 32), p3 = v128.load(planes, 48);
  const nibble = i8x16.splat(15);
  let at = to;
  do {
    const codes = v128.load(from);
    decode16(v128.and(codes, nibble), p0, p1, p2, p3, at);
    decode16(v128.and(i16x8.shr_u(codes, 4), nibble), p0, p1, p2, p3, at + 64);
    from += 16;
    at += 128;
  } while (from < end);
  return to;
}

function panel256(job: MatmulJob, panel: u32, to: usize): usize {
  let from = job.w0 + <usize>panel * job.K * 8;
  const end = from + <usize>job.K * 8;
  const table = job.w1;
  let at = to;
  do {
    const codes = load<u64>(from);
    f32.store(at, f32.load(table + <usize>((codes & 255) << 2)), 0);
    f32.store(at, f32.load(table + <usize>(((codes >> 8) & 255) << 2)), 4);
    f32.store(at, f32.load(table + <usize>(((codes >> 16) & 255) << 2)), 8);
    f32.store(at, f32.load(table + <usize>(((codes >> 24) & 255) << 2)), 12);
    f32.store(at, f32.load(table + <usize>(((codes >> 32) & 255) << 2)), 16);
    f32.store(at, f32.load(table + <usize>(((codes >> 40) & 255) << 2)), 20);
    f32.store(at, f32.load(table + <usize>(((codes >> 48) & 255) << 2)), 24);
    f32.store(at, f32.load(table + <usize>((codes >> 56) << 2)), 28);
    from += 8;
    at += 32;
  } while (from < end);
  return to;
}

export function codebook16_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panel16);
}

export function codebook16_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, panel16);
}

export function codebook256_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panel256);
}

export function codebook256_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, panel256);
}

// ---- int8 centroids: codes become panels of signed bytes (asm/shared/gemm_i8.ts) ----
// 16 entries. w0: as int4 in asm/grouped/grouped.ts; w3: int8 [16]. 256 entries. w0: [panels][steps][8][4]; w3: int8 [256].

/** Centroids need 8 bits: too many for maddubs. */
const PAIRS = MODULE != 0;

function bytes16(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 16;
  const end = from + <usize>count * 16;
  const table = v128.load(job.w3), mask = i8x16.splat(15);
  let at = to;
  do {
    const codes = v128.load(from);
    v128.store(at, pick(table, v128.and(codes, mask)), 0);
    v128.store(at, pick(table, v128.and(i16x8.shr_u(codes, 4), mask)), 16);
    from += 16;
    at += 32;
  } while (from < end);
  return to;
}

function bytes256(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 32;
  const end = from + <usize>count * 32;
  const table = job.w3;
  let at = to;
  do {
    const codes = load<u32>(from);
    store<u8>(at, load<u8>(table + <usize>(codes & 255)), 0);
    store<u8>(at, load<u8>(table + <usize>((codes >> 8) & 255)), 1);
    store<u8>(at, load<u8>(table + <usize>((codes >> 16) & 255)), 2);
    store<u8>(at, load<u8>(table + <usize>(codes >> 24)), 3);
    from += 4;
    at += 4;
  } while (from < end);
  return to;
}

export function codebook16i8_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, bytes16, PAIRS, false);
}

export function codebook16i8_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, bytes16, PAIRS, false);
}

export function codebook256i8_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, bytes256, PAIRS, false);
}

export function codebook256i8_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, bytes256, PAIRS, false);
}
