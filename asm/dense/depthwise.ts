import { MatmulJob } from '../shared/job';
import { gatherRows, tapCount } from '../shared/rows';
import { clamp, clampScalar, madd } from '../shared/simd';

// Depthwise conv2d (groups = channels, one output each), f32. Four pixels of the output at a time, so that a weight is
// loaded once for four products; four channels a vector. w0: f32 [taps][paddedN], bias [paddedN], paddedN = channels
// rounded up to 4.

const ROWS: u32 = 4;
/** Rows of C in a tile. */
const BLOCK: u32 = 64;

/** Tiles are blocks of 64 pixels. Scratch: pointers [taps][4]. */
export function dense_depthwise(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const taps = tapCount(job);
  const channels = job.channels;
  const whole = channels & ~3;
  const rowBytes = <usize>channels * 4;
  const tapBytes = <usize>job.paddedN * 4;
  const pointersEnd = scratch + taps * ROWS * sizeof<usize>();
  const low = f32x4.splat(job.low), high = f32x4.splat(job.high);
  for (let m = begin * BLOCK, past = min(end * BLOCK, job.M); m < past; m += ROWS) {
    const rows = min(ROWS, past - m);
    gatherRows(job, job.input, 4, channels, 0, m, ROWS, job.zeros, scratch);
    const to = job.output + m * rowBytes;
    for (let c: usize = 0; c < <usize>whole * 4; c += 16) {
      let s0 = v128.load(job.bias + c), s1 = s0, s2 = s0, s3 = s0;
      let w = job.w0 + c;
      for (let p = scratch; p < pointersEnd; p += ROWS * sizeof<usize>()) {
        const x = v128.load(w);
        s0 = madd(x, v128.load(load<usize>(p, 0 * sizeof<usize>()) + c), s0);
        s1 = madd(x, v128.load(load<usize>(p, 1 * sizeof<usize>()) + c), s1);
        s2 = madd(x, v128.load(load<usize>(p, 2 * sizeof<usize>()) + c), s2);
        s3 = madd(x, v128.load(load<usize>(p, 3 * sizeof<usize>()) + c), s3);
        w += tapBytes;
      }
      v128.store(to + c, clamp(s0, low, high));
      if (rows > 1) v128.store(to + rowBytes + c, clamp(s1, low, high));
      if (rows > 2) v128.store(to + 2 * rowBytes + c, clamp(s2, low, high));
      if (rows > 3) v128.store(to + 3 * rowBytes + c, clamp(s3, low, high));
    }
    for (let c: usize = <usize>whole * 4; c < rowBytes; c += 4) {
      for (let r: u32 = 0; r < rows; r++) {
        let sum = f32.load(job.bias + c);
        let w = job.w0 + c;
        for (let p = scratch + r * sizeof<usize>(); p < pointersEnd; p += ROWS * sizeof<usize>()) {
          sum += f32.load(w) * f32.load(load<usize>(p) + c);
          w += tapBytes;
        }
        f32.store(to + r * rowBytes + c, clampScalar(sum, job.low, job.high));
      }
    }
  }
}
