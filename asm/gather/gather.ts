import { Job } from '../shared/job';

// C[o, i, n] = A[o, B[i], n]: tiles are rows of `inner` elements. Indices from the end are negative; those out of range,
// which only the data of a run can be, read the nearest row.

@unmanaged
class GatherJob extends Job {
  size: u32;
  inner: u32;
  count: u32;
  /** Of an element: 4, or 1 for codes. */
  bytes: u32;
}

export function gather(job: GatherJob, begin: u32, end: u32, scratch: usize): void {
  const size = <i32>job.size;
  const bytes = <usize>job.inner * job.bytes;
  for (let row = begin; row < end; row++) {
    const given = i32x4.trunc_sat_f32x4_s(v128.load32_zero(job.input2 + <usize>(row % job.count) * 4));
    let index = i32x4.extract_lane(given, 0);
    if (index < 0) index += size;
    index = min(max(index, 0), size - 1);
    const from = job.input + (<usize>(row / job.count) * size + index) * bytes;
    const to = job.output + <usize>row * bytes;
    if (bytes == 4) f32.store(to, f32.load(from));
    else memory.copy(to, from, bytes);
  }
}
