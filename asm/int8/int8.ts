import { gemmI8 } from '../shared/bytes/gemm';
import { gemvI8 } from '../shared/bytes/gemv';
import { MatmulJob } from '../shared/job';

// w0: int8 panels [groups * paddedN / 8][ceil(K / 4)][8][4], zero points (w3) not removed.

/** Weights need 8 bits: too many for maddubs. */
const PAIRS = MODULE != 0;

function panelAt(job: MatmulJob, panel: u32, first: u32, count: u32, to: usize): usize {
  return job.w0 + (<usize>panel * job.steps + first) * 32;
}

export function int8_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmI8(job, begin, end, scratch, panelAt, PAIRS, true);
}

export function int8_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvI8(job, begin, end, scratch, panelAt, PAIRS, true);
}
