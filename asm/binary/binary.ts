import { gemmI8, gemvI8 } from '../shared/gemm_i8';
import { MatmulJob } from '../shared/job';

// 1-bit weights, 8-bit activations. w0: [panels][steps / 4][16 bytes]; bit 2 * s + h of byte i is k = i % 4 of step s,
// channel 4 * h + i / 4: 1 for +1, 0 for -1. What lies past K decodes to -1 and meets activations of 0.

const PAIRS = MODULE == 2;

/** +1 where `bit` is set in a byte, else -1. */
// @ts-ignore: decorator
@inline
function signs(bytes: v128, bit: v128, one: v128): v128 {
  const clear = i8x16.eq(v128.and(bytes, bit), i8x16.splat(0));
  return i8x16.add(i8x16.add(clear, clear), one);
}

function decode1(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  let from = job.w0 + (<usize>panel * job.steps + first) * 4;
  const end = from + <usize>count * 4;
  const one = i8x16.splat(1);
  let at = to;
  do {
    const bytes = v128.load(from);
    v128.store(at, signs(bytes, i8x16.splat(1), one), 0);
    v128.store(at, signs(bytes, i8x16.splat(2), one), 16);
    v128.store(at, signs(bytes, i8x16.splat(4), one), 32);
    v128.store(at, signs(bytes, i8x16.splat(8), one), 48);
    v128.store(at, signs(bytes, i8x16.splat(16), one), 64);
    v128.store(at, signs(bytes, i8x16.splat(32), one), 80);
    v128.store(at, signs(bytes, i8x16.splat(64), one), 96);
    v128.store(at, signs(bytes, i8x16.splat(-128), one), 112);
    from += 16;
    at += 128;
  } while (from < end);
  return to;
}

export function binary_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, decode1, PAIRS, false);
}

export function binary_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, decode1, PAIRS, false);
}
