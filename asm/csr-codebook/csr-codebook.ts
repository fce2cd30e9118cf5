import { MatmulJob } from '../shared/job';
import { sumRows1, sumRows16, sumRows32, sumRows4, Weight } from '../shared/sparse/entries';
import { spmm } from '../shared/sparse/spmm';

function csrCodebook16Rows32(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows32(job, strip, block, sums, Weight.Code4);
}

function csrCodebook16Rows16(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows16(job, strip, block, sums, Weight.Code4);
}

function csrCodebook16Rows4(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows4(job, strip, block, sums, Weight.Code4);
}

function csrCodebook16Rows1(job: MatmulJob, strip: usize, block: u32, sums: usize): void {
  sumRows1(job, strip, block, sums, Weight.Code4);
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
