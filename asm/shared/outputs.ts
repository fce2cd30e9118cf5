import { storeRow } from './gemm_f32';
import { MatmulJob, OutputKind } from './job';

// Integer outputs: src/formats/outputs.ts says what they are, to the last bit.

/** Bytes of one element of the output. */
// @ts-ignore: decorator
@inline
export function outputBytes(job: MatmulJob): usize {
  return job.outputKind == OutputKind.UINT8 || job.outputKind == OutputKind.INT8 ? 1 : 4;
}

/** Stores the first `count` (1 .. 8) of the lowest eight bytes. */
function storeBytes(to: usize, bytes: v128, count: u32): void {
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

/**
 * The first `cols` (or 8) outputs of a row from i32 sums of a * w, a and w as bytes with zero points left in:
 * v = sums - zeroA * sumW - zeroW * centred + bias, then v clamped (int32), or
 * saturate(nearest(f32(v) * multiplier) + zeroPoint) clamped (uint8, int8).
 * @param zeroW 0 where weights have no zero points, or were stripped of them
 */
export function finishIntegers(job: MatmulJob, sums: usize, zeroA: i32, centred: i32, multipliers: usize, sumW: usize,
  zeroW: usize, bias: usize, to: usize, cols: u32): void {
  const zeros = i32x4.splat(zeroA);
  let s0 = i32x4.sub(v128.load(sums, 0), i32x4.mul(zeros, v128.load(sumW, 0)));
  let s1 = i32x4.sub(v128.load(sums, 16), i32x4.mul(zeros, v128.load(sumW, 16)));
  if (zeroW) {
    const c = i32x4.splat(centred);
    s0 = i32x4.sub(s0, i32x4.mul(c, v128.load(zeroW, 0)));
    s1 = i32x4.sub(s1, i32x4.mul(c, v128.load(zeroW, 16)));
  }
  s0 = i32x4.add(s0, v128.load(bias, 0));
  s1 = i32x4.add(s1, v128.load(bias, 16));
  if (job.outputKind == OutputKind.INT32) {
    const low = i32x4.splat(job.outputLow), high = i32x4.splat(job.outputHigh);
    storeRow(to, i32x4.min_s(i32x4.max_s(s0, low), high), i32x4.min_s(i32x4.max_s(s1, low), high), cols);
    return;
  }
  const f0 = f32x4.nearest(f32x4.mul(f32x4.convert_i32x4_s(s0), v128.load(multipliers, 0)));
  const f1 = f32x4.nearest(f32x4.mul(f32x4.convert_i32x4_s(s1), v128.load(multipliers, 16)));
  // 16 bits are room for the zero point, and what saturates here does so below.
  let steps = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(f0), i32x4.trunc_sat_f32x4_s(f1));
  steps = i16x8.add_sat_s(steps, i16x8.splat(<i16>job.outputZeroPoint));
  steps = i16x8.min_s(i16x8.max_s(steps, i16x8.splat(<i16>job.outputLow)), i16x8.splat(<i16>job.outputHigh));
  const unsigned = job.outputKind == OutputKind.UINT8;
  storeBytes(to, unsigned ? i8x16.narrow_i16x8_u(steps, steps) : i8x16.narrow_i16x8_s(steps, steps), cols);
}
