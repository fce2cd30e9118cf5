import { storeRow } from './gemm_f32';
import { MatmulJob, OutputKind } from './job';
import { clamp } from './simd';

// Integer outputs: src/formats/outputs.ts says what they are, to the last bit.

/** Bytes of one element of the output. */
// @ts-ignore: decorator
@inline
export function outputBytes(job: MatmulJob): usize {
  return job.outputKind == OutputKind.UINT8 || job.outputKind == OutputKind.INT8 ? 1 : 4;
}

/** Stores the first `count` (1 .. 8) of the lowest eight bytes. */
// @ts-ignore: decorator
@inline
export function storeBytes(to: usize, bytes: v128, count: u32): void {
  if (count >= 8) {
    v128.store64_lane(to, bytes, 0);
    return;
  }
  let rest = i64x2.extract_lane(bytes, 0);
  for (; count > 0; count--) {
    store<u8>(to++, <u8>rest);
    rest >>= 8;
  }
}

/** 1.5 * 2^23: an f32 of magnitude up to 2^22 added to it leaves its nearest integer, half to even, in the last bits. */
export const MAGIC: f32 = 12582912;

/**
 * The first `cols` (or 8) outputs of each of some rows from i32 sums [rows][8] of a * w, a and w as bytes with zero
 * points left in:
 * v = sums - zeroA * sumW - zeroW * centred[row] + bias, then v clamped (int32), or
 * nearest(f32(v) * multiplier) + zeroPoint clamped (uint8, int8).
 * @param centred address of the first row's, `centredStride` bytes apart; read where there are zeroW
 * @param zeroW 0 where weights have no zero points, or were stripped of them
 */
export function finishIntegers(job: MatmulJob, rows: u32, sums: usize, zeroA: i32, centred: usize, centredStride: usize,
  multipliers: usize, sumW: usize, zeroW: usize, bias: usize, to: usize, rowBytes: usize, cols: u32): void {
  const zeros = i32x4.splat(zeroA);
  const base0 = i32x4.sub(v128.load(bias, 0), i32x4.mul(zeros, v128.load(sumW, 0)));
  const base1 = i32x4.sub(v128.load(bias, 16), i32x4.mul(zeros, v128.load(sumW, 16)));
  const end = sums + <usize>rows * 32;
  if (zeroW) {
    const w0 = v128.load(zeroW, 0), w1 = v128.load(zeroW, 16);
    for (let at = sums; at < end; at += 32) {
      const c = v128.load32_splat(centred);
      v128.store(at, i32x4.sub(v128.load(at, 0), i32x4.mul(c, w0)), 0);
      v128.store(at, i32x4.sub(v128.load(at, 16), i32x4.mul(c, w1)), 16);
      centred += centredStride;
    }
  }
  const kind = job.outputKind;
  if (kind == OutputKind.INT32) {
    const low = i32x4.splat(job.outputLow), high = i32x4.splat(job.outputHigh);
    for (; sums < end; sums += 32) {
      const v0 = i32x4.add(v128.load(sums, 0), base0), v1 = i32x4.add(v128.load(sums, 16), base1);
      storeRow(to, i32x4.min_s(i32x4.max_s(v0, low), high), i32x4.min_s(i32x4.max_s(v1, low), high), cols);
      to += rowBytes;
    }
    return;
  }
  const m0 = v128.load(multipliers, 0), m1 = v128.load(multipliers, 16);
  // The bounds are integers, so that a clamp before rounding is one after it, and leaves what MAGIC can round.
  const zero = job.outputZeroPoint;
  const low = f32x4.splat(<f32>(job.outputLow - zero)), high = f32x4.splat(<f32>(job.outputHigh - zero));
  const magic = f32x4.splat(MAGIC), back = i32x4.splat(zero - reinterpret<i32>(MAGIC));
  for (; sums < end; sums += 32) {
    let f0 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(v128.load(sums, 0), base0)), m0);
    let f1 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(v128.load(sums, 16), base1)), m1);
    f0 = f32x4.add(clamp(f0, low, high), magic);
    f1 = f32x4.add(clamp(f1, low, high), magic);
    const codes = i16x8.narrow_i32x4_s(i32x4.add(f0, back), i32x4.add(f1, back));
    storeBytes(to, kind == OutputKind.UINT8 ? i8x16.narrow_i16x8_u(codes, codes) : i8x16.narrow_i16x8_s(codes, codes), cols);
    to += rowBytes;
  }
}
