import { MatmulJob } from '../shared/job';
import { madd, pick } from '../shared/simd';
import { spmm } from '../shared/sparse/spmm';

// 2:4 sparsity over the walk of asm/shared/sparse/spmm.ts: no records, every row has as many weights.

/** First row, rows, first byte of a row and bytes of a row in a block. */
// @ts-ignore: decorator
@inline
function firstRow(job: MatmulJob, block: u32): u32 {
  const kBlocks = (job.K + job.chunk - 1) / job.chunk;
  const nBlocks = (job.N + job.channelBlock - 1) / job.channelBlock;
  const at = block / kBlocks;
  return (at / nBlocks) * job.N + (at % nBlocks) * job.channelBlock;
}

// @ts-ignore: decorator
@inline
function rowsOf(job: MatmulJob, row: u32): u32 {
  return min(job.channelBlock, job.N - row % job.N);
}

// @ts-ignore: decorator
@inline
function firstByte(job: MatmulJob, block: u32): u32 {
  return (block % ((job.K + job.chunk - 1) / job.chunk)) * (job.chunk / 8);
}

/**
 * Strips of 16. w1: u8 positions as the format has them, [blocks][rows][bytes of the block's columns], ceil(K / 8)
 * bytes in all for a row: a byte places four values in eight columns. w0: f32 values, four a byte.
 */
function rows16(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const P: usize = (job.K + 7) / 8;
  const row = firstRow(job, block), first = firstByte(job, block);
  const count = min<usize>(job.chunk / 8, P - first);
  const rows = rowsOf(job, row);
  let place = job.w1 + row * P + rows * first;
  let value = job.w0 + (row * P + rows * first) * 16;
  const past = sums + rows * 64;
  do {
    let x = strip;
    const end = place + count;
    let c0 = v128.load(sums, 0), c1 = v128.load(sums, 16), c2 = v128.load(sums, 32), c3 = v128.load(sums, 48);
    let d0 = f32x4.splat(0), d1 = d0, d2 = d0, d3 = d0;
    do {
      const byte: usize = load<u8>(place);
      const four = v128.load(value);
      let at = x + ((byte & 3) << 6);
      let w = i32x4.shuffle(four, four, 0, 0, 0, 0);
      c0 = madd(w, v128.load(at, 0), c0);
      c1 = madd(w, v128.load(at, 16), c1);
      c2 = madd(w, v128.load(at, 32), c2);
      c3 = madd(w, v128.load(at, 48), c3);
      at = x + ((byte & 12) << 4);
      w = i32x4.shuffle(four, four, 1, 1, 1, 1);
      d0 = madd(w, v128.load(at, 0), d0);
      d1 = madd(w, v128.load(at, 16), d1);
      d2 = madd(w, v128.load(at, 32), d2);
      d3 = madd(w, v128.load(at, 48), d3);
      at = x + ((byte & 48) << 2);
      w = i32x4.shuffle(four, four, 2, 2, 2, 2);
      c0 = madd(w, v128.load(at, 256), c0);
      c1 = madd(w, v128.load(at, 272), c1);
      c2 = madd(w, v128.load(at, 288), c2);
      c3 = madd(w, v128.load(at, 304), c3);
      at = x + (byte & 192);
      w = i32x4.shuffle(four, four, 3, 3, 3, 3);
      d0 = madd(w, v128.load(at, 256), d0);
      d1 = madd(w, v128.load(at, 272), d1);
      d2 = madd(w, v128.load(at, 288), d2);
      d3 = madd(w, v128.load(at, 304), d3);
      x += 512;
      value += 16;
      place++;
    } while (place < end);
    v128.store(sums, f32x4.add(c0, d0), 0);
    v128.store(sums, f32x4.add(c1, d1), 16);
    v128.store(sums, f32x4.add(c2, d2), 32);
    v128.store(sums, f32x4.add(c3, d3), 48);
    sums += 64;
  } while (sums < past);
}

/**
 * One column: panels of 8 channels, so that a vector of four columns of A is picked from for all of them. w0: f32
 * [panels][groups] [2 values][8]; w1: u8 [panels][groups][2 values][2], the positions of four channels in a byte;
 * w2: u8 [256][16], the bytes that such a byte picks.
 */
function panels1(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const kBlocks = (job.K + job.chunk - 1) / job.chunk;
  const nBlocks = (job.N + job.channelBlock - 1) / job.channelBlock;
  const at = block / kBlocks;
  const n = (at % nBlocks) * job.channelBlock;
  const perGroup = (job.N + 7) / 8;
  const G: usize = (job.K + 3) / 4;
  const first: usize = (block % kBlocks) * (job.chunk / 4);
  const count = min<usize>(job.chunk / 4, G - first);
  const picks = job.w2;
  const past = sums + min(job.channelBlock, job.N - n) * 4;
  let panel: usize = (at / nBlocks) * perGroup + n / 8;
  do {
    let value = job.w0 + (panel * G + first) * 64, place = job.w1 + (panel * G + first) * 4;
    let x = strip;
    const end = strip + count * 16;
    let c0 = v128.load(sums, 0), c1 = v128.load(sums, 16), d0 = f32x4.splat(0), d1 = d0;
    do {
      const four = v128.load(x);
      c0 = madd(v128.load(value, 0), pick(four, v128.load(picks + (<usize>load<u8>(place, 0) << 4))), c0);
      c1 = madd(v128.load(value, 16), pick(four, v128.load(picks + (<usize>load<u8>(place, 1) << 4))), c1);
      d0 = madd(v128.load(value, 32), pick(four, v128.load(picks + (<usize>load<u8>(place, 2) << 4))), d0);
      d1 = madd(v128.load(value, 48), pick(four, v128.load(picks + (<usize>load<u8>(place, 3) << 4))), d1);
      x += 16;
      value += 64;
      place += 4;
    } while (x < end);
    v128.store(sums, f32x4.add(c0, d0), 0);
    v128.store(sums, f32x4.add(c1, d1), 16);
    panel++;
    sums += 32;
  } while (sums < past);
}

export function nm_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, rows16);
}

export function nm_gemv_1x8(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, panels1);
}
