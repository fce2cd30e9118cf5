import { sampleAt } from '../../int8/quantize';
import { imageAt } from '../image';
import { MatmulJob, OutputKind } from '../job';
import { outputBytes } from '../outputs';
import { imageHeight, imageWidth, runsOf, windowsOf } from '../windows';
import { bytes16, codes8, Ending, finish, setEnding, start } from './ending';

// The product of 8-bit codes by 16-bit pairs, i32x4.dot_i16x8_s, for modules without a byte dot. A is read where
// `widen_image` put it: the taps of a window are `groupSteps` runs of memory, `steps` pairs each, at the same
// distances from every window's first pixel.
// w0: int8 panels [panels][groupSteps][steps][8 channels][2], behind the end of a run 0; scales in w1, zero points in w2, [panels][8].

const MR: u32 = 4;
const NR: u32 = 8;

/** What the tiles of a panel share. */
@unmanaged
class Panel extends Ending {
  /** Distances of the runs from a window's first pixel, and what lies behind them. */
  runs: usize;
  runsEnd: usize;
  /** Bytes of a run. */
  runBytes: usize;
  /** i16 [groupSteps][steps][8][2], zero points removed. */
  weights: usize;
}

/**
 * Outputs of four rows by a panel; `rows` of them exist.
 * @param windows addresses of the rows' first pixels
 * @param scaleA scales of the rows, for f32 outputs
 */
// @ts-ignore: decorator
@inline
function tile(panel: Panel, windows: usize, scaleA: usize, to: usize, rows: u32, kind: u32): void {
  const bias0 = start(panel, 0, kind), bias1 = start(panel, 1, kind);
  let c00 = bias0, c01 = bias1, c10 = bias0, c11 = bias1, c20 = bias0, c21 = bias1, c30 = bias0, c31 = bias1;
  let b = panel.weights, run = panel.runs;
  const runsEnd = panel.runsEnd, runBytes = panel.runBytes;
  do {
    const offset = load<usize>(run);
    let a0 = load<usize>(windows, 0) + offset, a1 = load<usize>(windows, 4) + offset;
    let a2 = load<usize>(windows, 8) + offset, a3 = load<usize>(windows, 12) + offset;
    const end = a0 + runBytes;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a0);
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a1);
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a2);
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
      x = v128.load32_splat(a3);
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
      a0 += 4;
      a1 += 4;
      a2 += 4;
      a3 += 4;
      b += 32;
    } while (a0 < end);
    run += sizeof<usize>();
  } while (run < runsEnd);
  const rowBytes = panel.rowBytes;
  if (kind == OutputKind.INT8 && rows >= MR && panel.cols >= NR) {
    const upper = bytes16(codes8(c00, c01, panel), codes8(c10, c11, panel), panel);
    const lower = bytes16(codes8(c20, c21, panel), codes8(c30, c31, panel), panel);
    v128.store64_lane(to, upper, 0);
    v128.store64_lane(to + rowBytes, upper, 1);
    to += 2 * rowBytes;
    v128.store64_lane(to, lower, 0);
    v128.store64_lane(to + rowBytes, lower, 1);
    return;
  }
  finish(c00, c01, panel, scaleA, to, kind);
  if (rows <= 1) return;
  to += rowBytes;
  finish(c10, c11, panel, scaleA + 4, to, kind);
  if (rows <= 2) return;
  to += rowBytes;
  finish(c20, c21, panel, scaleA + 8, to, kind);
  if (rows <= 3) return;
  to += rowBytes;
  finish(c30, c31, panel, scaleA + 12, to, kind);
}

// Functions of their own, called through the table: see asm/shared/depthwise.ts.
type Tile = (panel: Panel, windows: usize, scaleA: usize, to: usize, rows: u32) => void;

function tileF32(panel: Panel, windows: usize, scaleA: usize, to: usize, rows: u32): void {
  tile(panel, windows, scaleA, to, rows, OutputKind.F32);
}

function tileSums(panel: Panel, windows: usize, scaleA: usize, to: usize, rows: u32): void {
  tile(panel, windows, scaleA, to, rows, OutputKind.INT32);
}

function tileCodes(panel: Panel, windows: usize, scaleA: usize, to: usize, rows: u32): void {
  tile(panel, windows, scaleA, to, rows, OutputKind.INT8);
}

/** Pairs of eight channels, int8 [steps][8][2], as i16 with zero points i32 [8] removed, if there are any. */
export function widenPairs(from: usize, steps: u32, zeroW: usize, to: usize): void {
  let z0 = i16x8.splat(0), z1 = z0;
  if (zeroW) {
    const z = i16x8.narrow_i32x4_s(v128.load(zeroW, 0), v128.load(zeroW, 16));
    z0 = i16x8.shuffle(z, z, 0, 0, 1, 1, 2, 2, 3, 3);
    z1 = i16x8.shuffle(z, z, 4, 4, 5, 5, 6, 6, 7, 7);
  }
  for (const past = to + <usize>steps * 32; to < past; to += 32) {
    v128.store(to, i16x8.sub(v128.load8x8_s(from, 0), z0), 0);
    v128.store(to, i16x8.sub(v128.load8x8_s(from, 8), z1), 16);
    from += 16;
  }
}

/**
 * Tiles are blocks of `rowBlock` rows, a multiple of 4, group of channels after group of channels, in `parts` of N.
 * Scratch: Panel, distances of runs, addresses of windows [rowBlock], scales of A [rowBlock], weights of a panel.
 */
export function int8_gemm_pairs(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  if (MODULE == 0) return;
  const N = job.N, M = job.M, rowBlock = job.rowBlock, steps = job.steps, runs = job.groupSteps;
  const panels = job.paddedN / NR;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const elementBytes = outputBytes(job), rowBytes = <usize>job.groups * N * elementBytes;
  const groupBytes = <usize>(job.channels / job.groups) * 2;
  const pixelBytes = <usize>job.chunk * 2, lineBytes = pixelBytes * imageWidth(job), imageBytes = lineBytes * imageHeight(job);
  const kind = job.outputKind;
  const panel = changetype<Panel>(scratch);
  panel.runs = scratch + 128;
  panel.runsEnd = panel.runs + <usize>runs * sizeof<usize>();
  panel.runBytes = steps * 4;
  const windows = (panel.runsEnd + 63) & ~63;
  const scales = windows + <usize>rowBlock * 4;
  panel.weights = (scales + <usize>rowBlock * 4 + 63) & ~63;
  panel.rowBytes = rowBytes;
  setEnding(job, panel);
  const kernel: Tile = kind == OutputKind.F32 ? tileF32 : kind == OutputKind.INT32 ? tileSums : tileCodes;
  runsOf(job, runs, pixelBytes, lineBytes, panel.runs);
  const image = imageAt(job);
  let ready: u32 = -1;
  for (let index = begin; index < end; index++) {
    const block = index / parts, part = index % parts;
    const group = block / mTiles;
    const m0 = (block % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    if (block != ready) {
      windowsOf(job, image + group * groupBytes, pixelBytes, lineBytes, imageBytes, m0, (rows + MR - 1) & ~(MR - 1), windows);
      for (let r: u32 = 0; r < rows && kind == OutputKind.F32; r++) {
        f32.store(scales + r * 4, sampleAt(job, (m0 + r) / job.rowsPerSample).scale);
      }
      ready = block;
    }
    for (let p = panels * part / parts, past = panels * (part + 1) / parts; p < past; p++) {
      const n = p * NR, at = <usize>(group * panels + p) * 32;
      widenPairs(job.w0 + <usize>(group * panels + p) * runs * steps * 16, runs * steps, job.weightZeros ? job.w2 + at : 0,
        panel.weights);
      panel.scales = job.w1 + at;
      panel.bias = job.bias + at;
      panel.cols = N - n;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * elementBytes;
      for (let r: u32 = 0; r < rows; r += MR) {
        kernel(panel, windows + r * sizeof<usize>(), scales + r * 4, to, rows - r);
        to += MR * rowBytes;
      }
    }
  }
}
