import { codesAt } from '../../int8/quantize';
import { MatmulJob, OutputKind } from '../job';
import { finishIntegers, outputBytes } from '../outputs';
import { gatherRows, packRows4, packRows6, tapCount } from '../rows';
import { expandInits, tileDotGroups, tileMaddubsGroups, tilePairsGroups } from './groups';
import { centredOf, FACTS, finishRow, flatRow, RowFacts, scaleRow, sumGroups } from './rows';
import { MR, NR, tileDot, tileMaddubs, tilePairs, widenPanel } from './tiles';

// f32 outputs (integers: asm/shared/outputs.ts, for formats without groups):
// C = clamp(scaleA[sample] * sum over groups g of scaleW[g, n] * S[g] + bias[n]), where S[g] = sum over k in the group
// of (a - zeroA) * w in int32, exact. For every format whose weights become signed bytes, zero point removed:
//   B panel: int8 [steps][8 channels][4 k], steps = ceil(K / 4) (low-bit formats pad K to 16: those weights are 0).
// Formats without groups have one group of all K. Stage 1 is int8_quantize, these are stage 2.
//
// Three ways to multiply, one a module (they agree to the bit):
//   dot     (A) bytes by i32x4.relaxed_dot_i8x16_i7x16_add_s, weights first. A panel: [steps][6][4] bytes.
//   maddubs (B) the same bytes by i16x8.relaxed_dot_i8x16_i7x16_s, which x64 does as pmaddubsw: exact while
//           255 * |w| * 2 fits 16 bits, and `chunk` steps may be added before the sums are widened. [steps][4][4].
//   k2      (C, and B for weights over 6 bits) 16-bit pairs by i32x4.dot_i16x8_s. The B panel is widened to
//           i16 [2 * steps][8][2]; A panel: i16 [2 * steps][4][2], zeroA removed.

/** Address of steps first .. first + count - 1 of a panel (counted over all groups of channels); may decode to `to`. */
export type ByteSource = (job: MatmulJob, panel: u32, first: u32, count: u32, to: usize) => usize;

// w1: scales f32 [panels][groups][8]. w2: sums of w, i32 [panels][8] where a row is one group; else i8
// [panels][groups][chunks][8][2], the sums over chunks of steps, each as two halves. w3: what the source makes of it.
// Formats whose zero points no source removes (`zeros`) have them and the sums as i32 [panels][groups][8].

/**
 * Tiles are blocks of `rowBlock` rows, group of channels after group of channels.
 * @param pairs multiply 16-bit pairs (module C always does; never module A)
 * @param zeros w3 holds zero points that the source did not remove
 * Scratch: pointers [taps][MR], pointers [MR] to flat rows, the rows, facts [rowBlock], sums and partial results [MR][8]
 * each, A panels, B panel as bytes, B panel as pairs or inits of its groups, sums of the rows over groups [rowBlock][groups].
 */
export function gemmI8(job: MatmulJob, begin: u32, end: u32, scratch: usize, source: ByteSource, pairs: bool,
  zeros: bool): void {
  const N = job.N, M = job.M, rowBlock = job.rowBlock, steps = job.steps;
  const panels = job.paddedN / NR;
  const groupChannels = job.channels / job.groups;
  const mTiles = (M + rowBlock - 1) / rowBlock, parts = job.parts;
  const elementBytes = outputBytes(job), rowBytes = <usize>job.groups * N * elementBytes;
  const integers = job.outputKind != OutputKind.F32;
  const scaleGroups = job.scaleGroups;
  const stepBytes: usize = pairs ? MR * 8 : MR * 4;
  const flatBytes = <usize>steps * (pairs ? 8 : 4) + 64;
  // Widening removes the weights' zero points; bytes leave them to the epilogue, which needs each row's sum.
  const sumRows = zeros && !pairs && job.weightZeros != 0;
  const pointers = scratch;
  const flatPointers = pointers + tapCount(job) * MR * sizeof<usize>();
  const flats = (flatPointers + MR * sizeof<usize>() + 63) & ~63;
  const facts = flats + MR * flatBytes;
  const sums = (facts + rowBlock * FACTS + 63) & ~63;
  const partial = sums + MR * NR * 4;
  const aPanels = (partial + MR * NR * 4 + 63) & ~63;
  const aPanelBytes = <usize>steps * stepBytes;
  const bytePanel = (aPanels + <usize>(rowBlock / MR) * aPanelBytes + 63) & ~63;
  const pairPanel = bytePanel + <usize>steps * 32;
  const grouped = scaleGroups > 1;
  const rowSums = pairPanel + <usize>steps * 64, rowSumBytes = <usize>scaleGroups * 4;
  for (let i: u32 = 0; i < MR; i++) store<usize>(flatPointers + i * sizeof<usize>(), flats + i * flatBytes);
  let packed: u32 = -1;
  for (let tile = begin; tile < end; tile++) {
    const block = tile / parts, part = tile % parts;
    const group = block / mTiles;
    const m0 = (block % mTiles) * rowBlock;
    const rows = min(rowBlock, M - m0);
    for (let r: u32 = 0; r < rows && block != packed; r += MR) {
      gatherRows(job, codesAt(job), 1, job.channels, group * groupChannels, m0 + r, MR, 0, pointers);
      for (let i: u32 = 0; i < MR; i++) {
        flatRow(job, min(m0 + r + i, M - 1), pointers + i * sizeof<usize>(), MR * sizeof<usize>(), pairs, sumRows,
          flats + i * flatBytes, changetype<RowFacts>(facts + (r + i) * FACTS));
        if (grouped && sumRows) {
          sumGroups(job, flats + i * flatBytes, pairs, changetype<RowFacts>(facts + (r + i) * FACTS),
            rowSums + (r + i) * rowSumBytes);
        }
      }
      const to = aPanels + <usize>(r / MR) * aPanelBytes;
      if (MR == 6) packRows6(flatPointers, 1, steps, to);
      else packRows4(flatPointers, 1, pairs ? 2 * steps : steps, to);
    }
    packed = block;
    for (let p = panels * part / parts, past = panels * (part + 1) / parts; p < past; p++) {
      const n = p * NR;
      const panel = group * panels + p;
      const zeroW = zeros && job.weightZeros ? job.w3 + <usize>panel * scaleGroups * 32 : 0;
      let b = source(job, panel, 0, steps, bytePanel);
      if (pairs) {
        // Zero points differ from group to group.
        const pieceSteps = zeroW ? job.groupSteps : steps;
        for (let first: u32 = 0, at = zeroW; first < steps; first += pieceSteps, at += 32) {
          const count = min(pieceSteps, steps - first);
          widenPanel(b + <usize>first * 32, count, zeroW ? at : 0, pairPanel + <usize>first * 64);
        }
        b = pairPanel;
      }
      if (grouped && !pairs) expandInits(job, panel, zeros, pairPanel);
      const bias = job.bias + <usize>panel * 32;
      const scales = job.w1 + <usize>panel * scaleGroups * 32;
      const sumsOfW = job.w2 + <usize>panel * 32;
      let to = job.output + <usize>m0 * rowBytes + <usize>(group * N + n) * elementBytes;
      for (let r: u32 = 0; r < rows; r += MR) {
        const here = min(MR, rows - r);
        const a = aPanels + <usize>(r / MR) * aPanelBytes;
        const rowFacts = facts + r * FACTS;
        if (grouped) {
          if (MODULE == 0) {
            tileDotGroups(job, a, b, pairPanel, scales, rowFacts, zeroW, rowSums + r * rowSumBytes, partial);
          } else if (MODULE == 1 && !pairs) tileMaddubsGroups(job, a, b, pairPanel, scales, rowFacts, sums, partial);
          else tilePairsGroups(job, a, b, scales, partial);
        } else {
          if (MODULE == 0) tileDot(a, b, steps, sums);
          else if (pairs) tilePairs(a, b, steps, sums);
          else tileMaddubs(a, b, steps, job.chunk, sums);
        }
        if (integers) {
          const row = changetype<RowFacts>(rowFacts);
          finishIntegers(job, here, sums, row.zeroPoint, centredOf(row), FACTS, scales, sumsOfW, pairs ? 0 : zeroW, bias,
            to, rowBytes, N - n);
          to += here * rowBytes;
          continue;
        }
        if (!grouped) {
          for (let i: u32 = 0; i < here; i++) {
            scaleRow(sums + i * 32, changetype<RowFacts>(rowFacts + i * FACTS), scales, sumsOfW, pairs ? 0 : zeroW,
              partial + i * 32);
          }
        }
        for (let i: u32 = 0; i < here; i++) {
          const scale = changetype<RowFacts>(rowFacts + i * FACTS).scale;
          finishRow(job, partial + i * 32, scale, bias, to, N - n);
          to += rowBytes;
        }
      }
    }
  }
}
