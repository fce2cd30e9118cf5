import { MatmulJob } from '../shared/job';
import { addLanes, madd } from '../shared/simd';
import { entryAt, recordAt } from '../shared/sparse/entries';
import { spmm } from '../shared/sparse/spmm';

// Blocks of W: w0, w1 and w2 as in asm/shared/sparse/entries.ts, an entry being a block and a record a row of
// blocks; w3: f32 [blocks][R] or [blocks][4 columns].

/** Two of a block's R channels at a time over strips of 16 columns: they share the loads of a column. */
// @ts-ignore: decorator
@inline
function sumPairs(job: MatmulJob, strip: usize, block: u32, sums: usize, R: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, values = job.w3 + entryAt(job, block) * R * 4;
  while (record < past) {
    const bytes: usize = load<u16>(record, 2);
    const end = offset + bytes;
    let to = sums + load<u16>(record);
    const last = values + R * 4;
    for (let first = values; first < last; first += 8) {
      let value = first;
      let at = offset;
      let a0 = v128.load(to, 0), a1 = v128.load(to, 16), a2 = v128.load(to, 32), a3 = v128.load(to, 48);
      let b0 = v128.load(to, 64), b1 = v128.load(to, 80);
      let b2 = v128.load(to, 96), b3 = v128.load(to, 112);
      do {
        const x = strip + load<u16>(at);
        const w0 = v128.load32_splat(value, 0), w1 = v128.load32_splat(value, 4);
        let c = v128.load(x, 0);
        a0 = madd(w0, c, a0);
        b0 = madd(w1, c, b0);
        c = v128.load(x, 16);
        a1 = madd(w0, c, a1);
        b1 = madd(w1, c, b1);
        c = v128.load(x, 32);
        a2 = madd(w0, c, a2);
        b2 = madd(w1, c, b2);
        c = v128.load(x, 48);
        a3 = madd(w0, c, a3);
        b3 = madd(w1, c, b3);
        at += 2;
        value += R * 4;
      } while (at < end);
      v128.store(to, a0, 0);
      v128.store(to, a1, 16);
      v128.store(to, a2, 32);
      v128.store(to, a3, 48);
      v128.store(to, b0, 64);
      v128.store(to, b1, 80);
      v128.store(to, b2, 96);
      v128.store(to, b3, 112);
      to += 128;
    }
    offset = end;
    values += (bytes >> 1) * R * 4;
    record += 4;
  }
}

/** Four of a block's R channels over strips of 8 columns. */
// @ts-ignore: decorator
@inline
function sumFours(job: MatmulJob, strip: usize, block: u32, sums: usize, R: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, values = job.w3 + entryAt(job, block) * R * 4;
  while (record < past) {
    const bytes: usize = load<u16>(record, 2);
    const end = offset + bytes;
    let to = sums + load<u16>(record);
    const last = values + R * 4;
    for (let first = values; first < last; first += 16) {
      let value = first;
      let at = offset;
      let a0 = v128.load(to, 0), a1 = v128.load(to, 16), b0 = v128.load(to, 32), b1 = v128.load(to, 48);
      let c0 = v128.load(to, 64), c1 = v128.load(to, 80), d0 = v128.load(to, 96), d1 = v128.load(to, 112);
      do {
        const x = strip + load<u16>(at);
        const x0 = v128.load(x, 0), x1 = v128.load(x, 16);
        let w = v128.load32_splat(value, 0);
        a0 = madd(w, x0, a0);
        a1 = madd(w, x1, a1);
        w = v128.load32_splat(value, 4);
        b0 = madd(w, x0, b0);
        b1 = madd(w, x1, b1);
        w = v128.load32_splat(value, 8);
        c0 = madd(w, x0, c0);
        c1 = madd(w, x1, c1);
        w = v128.load32_splat(value, 12);
        d0 = madd(w, x0, d0);
        d1 = madd(w, x1, d1);
        at += 2;
        value += R * 4;
      } while (at < end);
      v128.store(to, a0, 0);
      v128.store(to, a1, 16);
      v128.store(to, b0, 32);
      v128.store(to, b1, 48);
      v128.store(to, c0, 64);
      v128.store(to, c1, 80);
      v128.store(to, d0, 96);
      v128.store(to, d1, 112);
      to += 128;
    }
    offset = end;
    values += (bytes >> 1) * R * 4;
    record += 4;
  }
}

/** Blocks of 1 x 4 over strips of 16 columns. */
function rows1x4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, value = job.w3 + entryAt(job, block) * 16;
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to, 0), c1 = v128.load(to, 16), c2 = v128.load(to, 32), c3 = v128.load(to, 48);
    let d0 = f32x4.splat(0), d1 = d0, d2 = d0, d3 = d0;
    // One weight a turn where products have registers of their own: V8 loads ahead, and more would not fit.
    while (MODULE == 2 && offset < end) {
      let x = strip + load<u16>(offset);
      const past = value + 16;
      do {
        const w = v128.load32_splat(value);
        c0 = madd(w, v128.load(x, 0), c0);
        c1 = madd(w, v128.load(x, 16), c1);
        c2 = madd(w, v128.load(x, 32), c2);
        c3 = madd(w, v128.load(x, 48), c3);
        x += 64;
        value += 4;
      } while (value < past);
      offset += 2;
    }
    while (MODULE != 2 && offset < end) {
      const x = strip + load<u16>(offset);
      const four = v128.load(value);
      let w = i32x4.shuffle(four, four, 0, 0, 0, 0);
      c0 = madd(w, v128.load(x, 0), c0);
      c1 = madd(w, v128.load(x, 16), c1);
      c2 = madd(w, v128.load(x, 32), c2);
      c3 = madd(w, v128.load(x, 48), c3);
      w = i32x4.shuffle(four, four, 1, 1, 1, 1);
      d0 = madd(w, v128.load(x, 64), d0);
      d1 = madd(w, v128.load(x, 80), d1);
      d2 = madd(w, v128.load(x, 96), d2);
      d3 = madd(w, v128.load(x, 112), d3);
      w = i32x4.shuffle(four, four, 2, 2, 2, 2);
      c0 = madd(w, v128.load(x, 128), c0);
      c1 = madd(w, v128.load(x, 144), c1);
      c2 = madd(w, v128.load(x, 160), c2);
      c3 = madd(w, v128.load(x, 176), c3);
      w = i32x4.shuffle(four, four, 3, 3, 3, 3);
      d0 = madd(w, v128.load(x, 192), d0);
      d1 = madd(w, v128.load(x, 208), d1);
      d2 = madd(w, v128.load(x, 224), d2);
      d3 = madd(w, v128.load(x, 240), d3);
      offset += 2;
      value += 16;
    }
    v128.store(to, f32x4.add(c0, d0), 0);
    v128.store(to, f32x4.add(c1, d1), 16);
    v128.store(to, f32x4.add(c2, d2), 32);
    v128.store(to, f32x4.add(c3, d3), 48);
    record += 4;
  }
}

/** The same over one column. Blocks of a row come in twos. */
function row1x4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, value = job.w3 + entryAt(job, block) * 16;
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = f32x4.splat(0), c1 = c0;
    do {
      c0 = madd(v128.load(value, 0), v128.load(strip + load<u16>(offset, 0)), c0);
      c1 = madd(v128.load(value, 16), v128.load(strip + load<u16>(offset, 2)), c1);
      offset += 4;
      value += 32;
    } while (offset < end);
    f32.store(to, f32.load(to) + addLanes(f32x4.add(c0, c1)));
    record += 4;
  }
}

/** Blocks of R x 1 over one column: a value of A times a vector of channels. Blocks of a row come in twos. */
// @ts-ignore: decorator
@inline
function sumColumn(job: MatmulJob, strip: usize, block: u32, sums: usize, R: usize): void {
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, value = job.w3 + entryAt(job, block) * R * 4;
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = f32x4.splat(0), c1 = c0, d0 = c0, d1 = c0;
    if (R == 2) {
      // Two blocks are a vector: channels 0 and 1 of one, then of the other.
      do {
        const x = v128.load32_splat(strip + load<u16>(offset, 0)), y = v128.load32_splat(strip + load<u16>(offset, 2));
        c0 = madd(v128.load(value), i64x2.shuffle(x, y, 0, 2), c0);
        offset += 4;
        value += 16;
      } while (offset < end);
      c0 = f32x4.add(c0, i64x2.shuffle(c0, c0, 1, 1));
      v128.store64_lane(to, f32x4.add(c0, v128.load64_zero(to)), 0);
    } else {
      do {
        const x = v128.load32_splat(strip + load<u16>(offset, 0)), y = v128.load32_splat(strip + load<u16>(offset, 2));
        c0 = madd(v128.load(value, 0), x, c0);
        if (R == 8) d0 = madd(v128.load(value, 16), x, d0);
        c1 = madd(v128.load(value + R * 4, 0), y, c1);
        if (R == 8) d1 = madd(v128.load(value + R * 4, 16), y, d1);
        offset += 4;
        value += 2 * R * 4;
      } while (offset < end);
      v128.store(to, f32x4.add(v128.load(to), f32x4.add(c0, c1)));
      if (R == 8) v128.store(to, f32x4.add(v128.load(to, 16), f32x4.add(d0, d1)), 16);
    }
    record += 4;
  }
}

function pairs2(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumPairs(job, strip, block, sums, 2);
}

function column2(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumColumn(job, strip, block, sums, 2);
}

function pairs4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumPairs(job, strip, block, sums, 4);
}

function column4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumColumn(job, strip, block, sums, 4);
}

function pairs8(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumPairs(job, strip, block, sums, 8);
}

function column8(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumColumn(job, strip, block, sums, 8);
}

function fours4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumFours(job, strip, block, sums, 4);
}

function fours8(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumFours(job, strip, block, sums, 8);
}

export function bcsr2x1_spmm_16x2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, pairs2);
}

export function bcsr2x1_gemv_1x2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, column2);
}

export function bcsr4x1_spmm_16x2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, pairs4);
}

export function bcsr4x1_gemv_1x4(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, column4);
}

export function bcsr8x1_spmm_16x2(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, pairs8);
}

export function bcsr8x1_gemv_1x8(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, column8);
}

export function bcsr4x1_spmm_8x4(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 8, false, fours4);
}

export function bcsr8x1_spmm_8x4(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 8, false, fours8);
}

export function bcsr1x4_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, rows1x4);
}

export function bcsr1x4_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, row1x4);
}
