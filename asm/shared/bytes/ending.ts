import { storeRow } from '../gemm_f32';
import { MatmulJob, OutputKind } from '../job';
import { MAGIC, storeBytes } from '../outputs';
import { clamp, madd } from '../simd';

// What becomes of int32 sums in registers, eight channels at a time: asm/shared/outputs.ts says what integers are.

/** What ends the sums of eight channels. */
@unmanaged
export class Ending {
  /** f32, or i32 that the sums begin with. */
  bias: usize;
  /** Of weights, or multipliers to codes. */
  scales: usize;
  /** Of outputs, between rows. */
  rowBytes: usize;
  /** Channels that exist. */
  cols: u32;
  low: f32;
  high: f32;
  /** Of integer sums. */
  least: i32;
  most: i32;
  /** Of codes: what turns the bits of a rounded f32 into them. */
  back: i32;
  /** MAGIC: a constant would be made anew for each output. */
  magic: f32;
  signed: u32;
}

export const ENDING: usize = 64;

export function setEnding(job: MatmulJob, to: Ending): void {
  to.magic = MAGIC;
  to.low = job.low;
  to.high = job.high;
  to.least = job.outputLow;
  to.most = job.outputHigh;
  const kind = job.outputKind;
  to.signed = u32(kind == OutputKind.INT8);
  if (kind != OutputKind.UINT8 && kind != OutputKind.INT8) return;
  // The bounds are integers, so that a clamp before rounding is one after it, and leaves what MAGIC can round.
  const zero = job.outputZeroPoint;
  to.low = <f32>(job.outputLow - zero);
  to.high = <f32>(job.outputHigh - zero);
  to.back = zero - reinterpret<i32>(MAGIC);
}

/** What sums begin with. */
// @ts-ignore: decorator
@inline
export function start(ending: Ending, half: usize, kind: u32): v128 {
  return kind == OutputKind.F32 ? i32x4.splat(0) : v128.load(ending.bias + half * 16);
}

// @ts-ignore: decorator
@inline
function codes4(sums: v128, ending: Ending, half: usize): v128 {
  const steps = f32x4.mul(f32x4.convert_i32x4_s(sums), v128.load(ending.scales + half * 16));
  const bounded = clamp(steps, v128.load32_splat(changetype<usize>(ending), offsetof<Ending>('low')),
    v128.load32_splat(changetype<usize>(ending), offsetof<Ending>('high')));
  return i32x4.add(f32x4.add(bounded, v128.load32_splat(changetype<usize>(ending), offsetof<Ending>('magic'))),
    v128.load32_splat(changetype<usize>(ending), offsetof<Ending>('back')));
}

/** Codes of eight sums, as i16. */
// @ts-ignore: decorator
@inline
export function codes8(s0: v128, s1: v128, ending: Ending): v128 {
  return i16x8.narrow_i32x4_s(codes4(s0, ending, 0), codes4(s1, ending, 1));
}

/** Codes of two rows as bytes. */
// @ts-ignore: decorator
@inline
export function bytes16(w0: v128, w1: v128, ending: Ending): v128 {
  return ending.signed ? i8x16.narrow_i16x8_s(w0, w1) : i8x16.narrow_i16x8_u(w0, w1);
}

// @ts-ignore: decorator
@inline
function scaled(sums: v128, scaleA: v128, ending: Ending, half: usize): v128 {
  const partial = f32x4.mul(f32x4.convert_i32x4_s(sums), v128.load(ending.scales + half * 16));
  return clamp(madd(partial, scaleA, v128.load(ending.bias + half * 16)), f32x4.splat(ending.low), f32x4.splat(ending.high));
}

// @ts-ignore: decorator
@inline
function bounded(sums: v128, ending: Ending): v128 {
  return i32x4.min_s(i32x4.max_s(sums, i32x4.splat(ending.least)), i32x4.splat(ending.most));
}

/** A row's outputs. `kind`: INT8 for codes of either sign; `scaleA`: address of the row's scale, for F32. */
// @ts-ignore: decorator
@inline
export function finish(s0: v128, s1: v128, ending: Ending, scaleA: usize, to: usize, kind: u32): void {
  if (kind == OutputKind.F32) {
    const scale = v128.load32_splat(scaleA);
    storeRow(to, scaled(s0, scale, ending, 0), scaled(s1, scale, ending, 1), ending.cols);
  } else if (kind == OutputKind.INT32) {
    storeRow(to, bounded(s0, ending), bounded(s1, ending), ending.cols);
  } else {
    const words = codes8(s0, s1, ending);
    storeBytes(to, bytes16(words, words, ending), ending.cols);
  }
}
