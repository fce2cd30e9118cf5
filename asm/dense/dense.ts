import { MatmulJob } from '../shared/job';
import { addRow, gemmF32, gemvF32 } from '../shared/gemm_f32';

// w0: f32 panels [groups * paddedN / 8][K][8].

function panelAt(job: MatmulJob, panel: u32, to: usize): usize {
  return job.w0 + <usize>panel * job.K * 32;
}

export function dense_gemm(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemmF32(job, begin, end, scratch, panelAt);
}

function row(job: MatmulJob, panel: u32, a: usize, to: usize, sums: usize): void {
  addRow(a, panelAt(job, panel, to), job.K, sums);
}

export function dense_gemv(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  gemvF32(job, begin, end, scratch, row);
}
