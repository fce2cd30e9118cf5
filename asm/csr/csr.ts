import { MatmulJob } from '../shared/job';
import { sumRows1, sumRows16, sumRows32, sumRows4, Weight } from '../shared/sparse/entries';
import { spmm } from '../shared/sparse/spmm';

// Entries are f32 weights: see asm/shared/sparse/entries.ts.

function csrRows32(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows32(job, strip, block, sums, Weight.Value);
}

function csrRows16(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows16(job, strip, block, sums, Weight.Value);
}

function csrRows4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows4(job, strip, block, sums, Weight.Value);
}

function csrRows1(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows1(job, strip, block, sums, Weight.Value);
}

export function csr_spmm_32x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 32, false, csrRows32);
}

export function csr_spmm_16x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 16, false, csrRows16);
}

export function csr_spmm_4x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 4, true, csrRows4);
}

export function csr_gemv_1x1(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  spmm(job, begin, end, scratch, 1, true, csrRows1);
}
