import { MatmulJob } from '../job';
import { addLanes, madd } from '../simd';

// Row sums of the formats whose entries are single f32 weights: BlockSum of asm/shared/sparse/spmm.ts.
// w0: u32 [blocks + 1][2], first record and entry of each block; w1: records u16 { byte offset of the row's sums,
// bytes of its offsets }; w2: u16 [entries], byte offset of the entry's column in the packed strip; w3: values.

/** What an entry's weight is. */
export const enum Weight {
  /** w3: f32 [entries]. */
  Value,
  /** w3: f32 codebook [256], then u8 [entries]. */
  Code8,
  /** w3: f32 codebook [16]. The entry in w2 is column << 4 | code. */
  Code4,
}

// @ts-ignore: decorator
@inline
export function recordAt(job: MatmulJob, block: u32): usize {
  return job.w1 + <usize>load<u32>(job.w0 + <usize>block * 8) * 4;
}

// @ts-ignore: decorator
@inline
export function entryAt(job: MatmulJob, block: u32): usize {
  return load<u32>(job.w0 + <usize>block * 8, 4);
}

/** Where the weights of entry `entry` on begin. */
// @ts-ignore: decorator
@inline
function weightsAt(job: MatmulJob, entry: usize, kind: Weight): usize {
  if (kind == Weight.Value) return job.w3 + entry * 4;
  if (kind == Weight.Code8) return job.w3 + 1024 + entry;
  return 0;
}

// @ts-ignore: decorator
@inline
function weightBytes(kind: Weight): usize {
  return kind == Weight.Value ? 4 : kind == Weight.Code8 ? 1 : 0;
}

/** Byte offset in the strip of a word of w2, and address of its centroid. */
// @ts-ignore: decorator
@inline
function offsetOf(word: usize, S: u32, kind: Weight): usize {
  return kind == Weight.Code4 ? (word >> 4) * (S * 4) : word;
}

// @ts-ignore: decorator
@inline
function centroidAt(word: usize, weights: usize, table: usize, kind: Weight): usize {
  return table + (kind == Weight.Code4 ? (word & 15) : <usize>load<u8>(weights)) * 4;
}

/** Sums over strips of 16 columns; entries of a row come in twos. */
// @ts-ignore: decorator
@inline
export function sumRows16(job: MatmulJob, strip: usize, block: u32, sums: usize, kind: Weight): void {
  const table = job.w3;
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, weights = weightsAt(job, entryAt(job, block), kind);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to, 0), c1 = v128.load(to, 16), c2 = v128.load(to, 32), c3 = v128.load(to, 48);
    let d0 = f32x4.splat(0), d1 = d0, d2 = d0, d3 = d0;
    // Where products have registers of their own, those of two entries would not fit beside their sums.
    while (MODULE == 2 && offset < end) {
      const word: usize = load<u16>(offset);
      const w = v128.load32_splat(kind == Weight.Value ? weights : centroidAt(word, weights, table, kind));
      const x = strip + offsetOf(word, 16, kind);
      c0 = madd(w, v128.load(x, 0), c0);
      c1 = madd(w, v128.load(x, 16), c1);
      c2 = madd(w, v128.load(x, 32), c2);
      c3 = madd(w, v128.load(x, 48), c3);
      offset += 2;
      weights += weightBytes(kind);
    }
    while (MODULE != 2 && offset < end) {
      const word0: usize = load<u16>(offset, 0), word1: usize = load<u16>(offset, 2);
      let w0: v128, w1: v128;
      if (kind == Weight.Value) {
        // Loads are what limits these loops: two weights come by one.
        const pair = v128.load64_zero(weights);
        w0 = i32x4.shuffle(pair, pair, 0, 0, 0, 0);
        w1 = i32x4.shuffle(pair, pair, 1, 1, 1, 1);
      } else {
        w0 = v128.load32_splat(centroidAt(word0, weights, table, kind));
        w1 = v128.load32_splat(centroidAt(word1, weights + 1, table, kind));
      }
      let x = strip + offsetOf(word0, 16, kind);
      c0 = madd(w0, v128.load(x, 0), c0);
      c1 = madd(w0, v128.load(x, 16), c1);
      c2 = madd(w0, v128.load(x, 32), c2);
      c3 = madd(w0, v128.load(x, 48), c3);
      x = strip + offsetOf(word1, 16, kind);
      d0 = madd(w1, v128.load(x, 0), d0);
      d1 = madd(w1, v128.load(x, 16), d1);
      d2 = madd(w1, v128.load(x, 32), d2);
      d3 = madd(w1, v128.load(x, 48), d3);
      offset += 4;
      weights += 2 * weightBytes(kind);
    }
    v128.store(to, f32x4.add(c0, d0), 0);
    v128.store(to, f32x4.add(c1, d1), 16);
    v128.store(to, f32x4.add(c2, d2), 32);
    v128.store(to, f32x4.add(c3, d3), 48);
    record += 4;
  }
}

/** Sums over strips of 32 columns; entries of a row come in twos. */
// @ts-ignore: decorator
@inline
export function sumRows32(job: MatmulJob, strip: usize, block: u32, sums: usize, kind: Weight): void {
  const table = job.w3;
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, weights = weightsAt(job, entryAt(job, block), kind);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to, 0), c1 = v128.load(to, 16), c2 = v128.load(to, 32), c3 = v128.load(to, 48);
    let c4 = v128.load(to, 64), c5 = v128.load(to, 80), c6 = v128.load(to, 96), c7 = v128.load(to, 112);
    do {
      const word0: usize = load<u16>(offset, 0), word1: usize = load<u16>(offset, 2);
      let w0: v128, w1: v128;
      if (kind == Weight.Value) {
        const pair = v128.load64_zero(weights);
        w0 = i32x4.shuffle(pair, pair, 0, 0, 0, 0);
        w1 = i32x4.shuffle(pair, pair, 1, 1, 1, 1);
      } else {
        w0 = v128.load32_splat(centroidAt(word0, weights, table, kind));
        w1 = v128.load32_splat(centroidAt(word1, weights + 1, table, kind));
      }
      let x = strip + offsetOf(word0, 32, kind);
      c0 = madd(w0, v128.load(x, 0), c0);
      c1 = madd(w0, v128.load(x, 16), c1);
      c2 = madd(w0, v128.load(x, 32), c2);
      c3 = madd(w0, v128.load(x, 48), c3);
      c4 = madd(w0, v128.load(x, 64), c4);
      c5 = madd(w0, v128.load(x, 80), c5);
      c6 = madd(w0, v128.load(x, 96), c6);
      c7 = madd(w0, v128.load(x, 112), c7);
      x = strip + offsetOf(word1, 32, kind);
      c0 = madd(w1, v128.load(x, 0), c0);
      c1 = madd(w1, v128.load(x, 16), c1);
      c2 = madd(w1, v128.load(x, 32), c2);
      c3 = madd(w1, v128.load(x, 48), c3);
      c4 = madd(w1, v128.load(x, 64), c4);
      c5 = madd(w1, v128.load(x, 80), c5);
      c6 = madd(w1, v128.load(x, 96), c6);
      c7 = madd(w1, v128.load(x, 112), c7);
      offset += 4;
      weights += 2 * weightBytes(kind);
    } while (offset < end);
    v128.store(to, c0, 0);
    v128.store(to, c1, 16);
    v128.store(to, c2, 32);
    v128.store(to, c3, 48);
    v128.store(to, c4, 64);
    v128.store(to, c5, 80);
    v128.store(to, c6, 96);
    v128.store(to, c7, 112);
    record += 4;
  }
}

// @ts-ignore: decorator
@inline
function product4(strip: usize, offset: usize, weights: usize, i: usize, table: usize, kind: Weight, sum: v128): v128 {
  const word: usize = load<u16>(offset + i * 2);
  const at = kind == Weight.Value ? weights + i * 4 : centroidAt(word, weights + i, table, kind);
  return madd(v128.load32_splat(at), v128.load(strip + offsetOf(word, 4, kind)), sum);
}

/** Sums over strips of 4 columns; entries of a row come in fours. */
// @ts-ignore: decorator
@inline
export function sumRows4(job: MatmulJob, strip: usize, block: u32, sums: usize, kind: Weight): void {
  const table = job.w3;
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, weights = weightsAt(job, entryAt(job, block), kind);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c0 = v128.load(to), c1 = f32x4.splat(0), c2 = c1, c3 = c1;
    do {
      c0 = product4(strip, offset, weights, 0, table, kind, c0);
      c1 = product4(strip, offset, weights, 1, table, kind, c1);
      c2 = product4(strip, offset, weights, 2, table, kind, c2);
      c3 = product4(strip, offset, weights, 3, table, kind, c3);
      offset += 8;
      weights += 4 * weightBytes(kind);
    } while (offset < end);
    v128.store(to, f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3)));
    record += 4;
  }
}

/** Four entries' values of A. */
// @ts-ignore: decorator
@inline
export function gather(strip: usize, offset: usize): v128 {
  let x = v128.load32_zero(strip + load<u16>(offset, 0));
  x = v128.load32_lane(strip + load<u16>(offset, 2), x, 1);
  x = v128.load32_lane(strip + load<u16>(offset, 4), x, 2);
  return v128.load32_lane(strip + load<u16>(offset, 6), x, 3);
}

// @ts-ignore: decorator
@inline
function centroid(weights: usize, i: usize, table: usize): usize {
  return table + <usize>load<u8>(weights + i) * 4;
}

/** Four entries' weights, f32 or by code. */
// @ts-ignore: decorator
@inline
function weightsOf(weights: usize, table: usize, kind: Weight): v128 {
  if (kind == Weight.Value) return v128.load(weights);
  let w = v128.load32_zero(centroid(weights, 0, table));
  w = v128.load32_lane(centroid(weights, 1, table), w, 1);
  w = v128.load32_lane(centroid(weights, 2, table), w, 2);
  return v128.load32_lane(centroid(weights, 3, table), w, 3);
}

/** Sums over one column, of values or bytes of codes; entries of a row come in fours. */
// @ts-ignore: decorator
@inline
export function sumRows1(job: MatmulJob, strip: usize, block: u32, sums: usize, kind: Weight): void {
  const table = job.w3;
  const past = recordAt(job, block + 1);
  let record = recordAt(job, block);
  let offset = job.w2 + entryAt(job, block) * 2, weights = weightsAt(job, entryAt(job, block), kind);
  while (record < past) {
    const to = sums + load<u16>(record);
    const end = offset + load<u16>(record, 2);
    let c = f32x4.splat(0);
    do {
      c = madd(weightsOf(weights, table, kind), gather(strip, offset), c);
      offset += 8;
      weights += 4 * weightBytes(kind);
    } while (offset < end);
    f32.store(to, f32.load(to) + addLanes(c));
    record += 4;
  }
}
