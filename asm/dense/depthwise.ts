import { depthwise } from '../shared/depthwise';
import { MatmulJob } from '../shared/job';

// w0: f32 [taps][paddedN], paddedN = channels rounded up to 4.

function tapsAt(job: MatmulJob, to: usize): usize {
  return job.w0;
}

export function dense_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  depthwise(job, begin, end, scratch, tapsAt, false);
}
