import { MatmulJob } from '../shared/job';
import { addLanes, madd, pick } from '../shared/simd';
import {
  entryAt, gather, recordAt, sumRows1, sumRows16, sumRows32, sumRows4, Weight,
} from '../shared/sparse/entries';
import { spmm } from '../shared/sparse/spmm';

// Entries are codes: see asm/shared/sparse/entries.ts.

function csrCodebook16Rows32(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows32(job, strip, block, sums, Weight.Code4);
}

function csrCodebook16Rows16(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows16(job, strip, block, sums, Weight.Code4);
}

function csrCodebook16Rows4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows4(job, strip, block, sums, Weight.Code4);
}

/**
 * Bytes that spread four over 16-bit lanes, each to two; and what lifts the first's low nibble to where the
 * second's high one is.
 */
const SPREAD = memory.data<u8>([0, 128, 0, 128, 1, 128, 1, 128, 2, 128, 2, 128, 3, 128, 3, 128], 16);
const LIFT = memory.data<u16>([16, 1, 16, 1, 16, 1, 16, 1], 16);
/** In memory, because constants are built anew in a loop. Bytes of 128 and more pick 0. */
const LOW = memory.data<u16>([15, 15, 15, 15, 15, 15, 15, 15], 16);
const ODD = memory.data<u16>([0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000], 16);
const EVEN = memory.data<u16>([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], 16);

/**
 * One column, entries in eights, offsets as in csr. w3: the codebook's byte planes [4][16], then a nibble an entry.
 * Swizzles and interleaves make of eight codes what sixteen loads would.
 */
function csrCodebook16Rows1(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, codes = job.w3 + 64 + entryAt(job, block) / 2;
  const p0 = v128.load(job.w3, 0), p1 = v128.load(job.w3, 16);
  const p2 = v128.load(job.w3, 32), p3 = v128.load(job.w3, 48);
  const spread = v128.load(SPREAD), lift = v128.load(LIFT);
  const low = v128.load(LOW), odd = v128.load(ODD), even = v128.load(EVEN);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = f32x4.splat(0), c1 = c0;
    do {
      const lifted = i16x8.mul(pick(v128.load32_splat(codes), spread), lift);
      const code = v128.and(i16x8.shr_u(lifted, 4), low);
      const first = v128.or(code, odd), second = v128.or(i16x8.shl(code, 8), even);
      const halves = v128.or(pick(p0, first), pick(p1, second)), tops = v128.or(pick(p2, first), pick(p3, second));
      c0 = madd(i16x8.shuffle(halves, tops, 0, 8, 1, 9, 2, 10, 3, 11), gather(strip, offset), c0);
      c1 = madd(i16x8.shuffle(halves, tops, 4, 12, 5, 13, 6, 14, 7, 15), gather(strip, offset + 8), c1);
      offset += 16;
      codes += 4;
    } while (offset < end);
    f32.store(to, f32.load(to) + addLanes(f32x4.add(c0, c1)));
    record += 4;
  }
}

export function csrCodebook16_spmm_32x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 32, false, csrCodebook16Rows32);
}

export function csrCodebook16_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, csrCodebook16Rows16);
}

export function csrCodebook16_spmm_4x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 4, true, csrCodebook16Rows4);
}

export function csrCodebook16_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, csrCodebook16Rows1);
}

function csrCodebook256Rows32(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows32(job, strip, block, sums, Weight.Code8);
}

function csrCodebook256Rows16(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows16(job, strip, block, sums, Weight.Code8);
}

function csrCodebook256Rows4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows4(job, strip, block, sums, Weight.Code8);
}

function csrCodebook256Rows1(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows1(job, strip, block, sums, Weight.Code8);
}

export function csrCodebook256_spmm_32x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 32, false, csrCodebook256Rows32);
}

export function csrCodebook256_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, csrCodebook256Rows16);
}

export function csrCodebook256_spmm_4x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 4, true, csrCodebook256Rows4);
}

export function csrCodebook256_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, csrCodebook256Rows1);
}
