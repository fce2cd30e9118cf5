import type { BinaryWeights } from '../../src/formats/binary.js';
import { codeBytes, readCode, signWords } from '../../src/formats/bits.js';
import type { FormatName } from '../../src/formats/format.js';
import type { Int2Weights, Int4Weights, Int8GroupedWeights } from '../../src/formats/grouped.js';
import type { TernaryWeights } from '../../src/formats/ternary.js';
import { type MatmulProblem, tapsOf } from '../../src/plan/problem.js';
import type { Layout, PackedOperands } from '../../src/plan/variant.js';
import type { Stage } from '../../src/webgpu/variant.js';
import rowSumAffine from '../int8/row_sum_affine.wgsl';
import {
  type ByteArithmetic,
  byteRows,
  finishOf,
  finishSymmetric,
  inputOf,
  packFacts,
  paddingOf,
  rowSumStage,
  sampleConsts,
  sum,
  wordsOf,
} from '../int8/variants.js';
import { GEMV_WALKS, groupChannels, LEAST_WALKS, plainRows, rowSource, SHARED_WALKS } from '../shared/matmul.js';
import weightsRows from '../shared/weights_rows.wgsl';
import differences from './differences.wgsl';
import finishGrouped from './finish_grouped.wgsl';
import inputUnfolded from './input_unfolded.wgsl';
import sumsGrouped from './sums_grouped.wgsl';
import sumsGroupedAffine from './sums_grouped_affine.wgsl';
import unfold from './unfold.wgsl';
import weights1 from './weights_1.wgsl';
import weights2 from './weights_2.wgsl';
import weights4 from './weights_4.wgsl';
import zeroOfRow from './zero_of_row.wgsl';

type Bits = 1 | 2 | 4 | 8;

/** Groups of columns in a row, each with a scale of its own. */
const groupsOf = ({ K, weights }: Pick<MatmulProblem, 'K' | 'weights'>): number =>
  Math.ceil(K / (weights.groupSize ?? K));

/** Whether rows of A are made anew without gaps: groups of columns would begin inside a word of a pixel. */
const unfolds = (p: MatmulProblem): boolean => groupsOf(p) > 1 && tapsOf(p) > 1 && groupChannels(p) % 4 !== 0;

/** Words of a row of A. */
const depthOf = (p: MatmulProblem): number => (unfolds(p) ? Math.ceil(p.K / 4) : tapsOf(p) * wordsOf(p));

/** u32 of a row of weights: whole quads of words, each of which takes 4 * bits bits of 32. */
export const rowWords = (p: MatmulProblem, bits: Bits): number => Math.ceil((Math.ceil(depthOf(p) / 4) * bits) / 2);

/**
 * Rows of codes in the order of words of activations: word w of a row holds four columns, its byte j has the bits from
 * 8 * j + bits * (w mod (8 / bits)) of u32 floor(w * bits / 8). What is no column has code 0, and meets zeros.
 */
export function packCodes(
  p: MatmulProblem,
  bits: Bits,
  rows: number,
  codeOf: (row: number, column: number) => number,
): Uint32Array {
  const channels = groupChannels(p);
  const width = rowWords(p, bits);
  const packed = new Uint32Array(rows * width);
  const contiguous = unfolds(p);
  const pixelBytes = 4 * wordsOf(p);
  for (let c = 0; c < p.K; c++) {
    const at = contiguous ? c : Math.floor(c / channels) * pixelBytes + (c % channels);
    const word = at >> 2;
    const index = Math.floor((word * bits) / 8);
    const shift = 8 * (at & 3) + bits * (word % (8 / bits));
    for (let r = 0; r < rows; r++) packed[r * width + index] |= codeOf(r, c) << shift;
  }
  return packed;
}

/** Codes; and of each group the bits of its scale, and its sum of weights << 8 | its zero point. */
const grouped = (bits: 2 | 4): Layout<Int4Weights | Int2Weights> => ({
  name: `NK_k16_u${bits}`,
  pack({ rows, cols, groupSize, codes, scale, zeroPoint }, p): PackedOperands {
    const count = Math.ceil(cols / groupSize);
    const groupBytes = codeBytes(groupSize, bits);
    const zeroBytes = codeBytes(count, bits);
    const codeOf = (r: number, c: number) => {
      const g = Math.floor(c / groupSize);
      return readCode(codes, (r * count + g) * groupBytes, c - g * groupSize, bits);
    };
    const zeroOf = (r: number, g: number) =>
      zeroPoint ? readCode(zeroPoint, r * zeroBytes, g, bits) : 2 ** (bits - 1);
    const weights = packCodes(p, bits, rows, codeOf);
    if (count === 1) {
      const sumOf = (r: number) => sum(cols, (c) => codeOf(r, c) - zeroOf(r, 0));
      return {
        weights,
        facts: packFacts(
          rows,
          (r) => scale[r],
          sumOf,
          (r) => zeroOf(r, 0),
        ),
      };
    }
    const groups = new Int32Array(2 * rows * count);
    const scales = new Float32Array(groups.buffer);
    for (let r = 0; r < rows; r++) {
      for (let g = 0; g < count; g++) {
        const at = 2 * (r * count + g);
        const zero = zeroOf(r, g);
        const size = Math.min(groupSize, cols - g * groupSize);
        scales[at] = scale[r * count + g];
        groups[at + 1] = (sum(size, (c) => codeOf(r, g * groupSize + c) - zero) << 8) | zero;
      }
    }
    return { weights, groups };
  },
});

/** Codes less 128, as of int8; and of each group the bits of its scale, and its sum less columns x zero point << 8 | that. */
const groupedBytes: Layout<Int8GroupedWeights> = {
  name: 'NK_k16_g8',
  pack({ rows, cols, groupSize, codes, scale, zeroPoint }, p): PackedOperands {
    const count = Math.ceil(cols / groupSize);
    const codeOf = (r: number, c: number) => codes[r * count * groupSize + c] - 128;
    const zeroOf = (r: number, g: number) => (zeroPoint ? zeroPoint[r * count + g] - 128 : 0);
    const weights = packCodes(p, 8, rows, (r, c) => codeOf(r, c) & 255);
    const groups = new Int32Array(count === 1 ? 4 * rows : 2 * rows * count);
    const scales = new Float32Array(groups.buffer);
    for (let r = 0; r < rows; r++) {
      for (let g = 0; g < count; g++) {
        const zero = zeroOf(r, g);
        const size = Math.min(groupSize, cols - g * groupSize);
        const total = sum(size, (c) => codeOf(r, g * groupSize + c) - zero);
        const at = count === 1 ? 4 * r : 2 * (r * count + g);
        scales[at] = scale[r * count + g];
        groups[at + 1] = count === 1 ? total : (total << 8) | (zero & 255);
        if (count === 1) groups[at + 2] = zero;
      }
    }
    return count === 1 ? { weights, facts: groups } : { weights, groups };
  },
};

const ternaryRows: Layout<TernaryWeights> = {
  name: 'NK_k16_t2',
  pack({ rows, cols, codes, scale }, p) {
    const stride = codeBytes(cols, 2);
    const codeOf = (r: number, c: number) => readCode(codes, r * stride, c, 2);
    return {
      weights: packCodes(p, 2, rows, codeOf),
      facts: packFacts(
        rows,
        (r) => scale[r],
        (r) => sum(cols, (c) => codeOf(r, c) - 1),
      ),
    };
  },
};

const binaryRows: Layout<BinaryWeights> = {
  name: 'NK_k32_b1',
  pack({ rows, cols, bits, scale }, p) {
    const words = signWords(cols);
    const codeOf = (r: number, c: number) => (bits[r * words + (c >>> 5)] >>> (c & 31)) & 1;
    return {
      weights: packCodes(p, 1, rows, codeOf),
      facts: packFacts(
        rows,
        (r) => scale[r],
        (r) => sum(cols, (c) => 2 * codeOf(r, c) - 1),
      ),
    };
  },
};

/** Formats whose rows have one scale. */
function wholeRows(format: FormatName, bits: 1 | 2, layout: ByteArithmetic['layout']): ByteArithmetic {
  return {
    format,
    layout,
    weights: () => [zeroOfRow, differences, bits === 1 ? weights1 : weights2],
    consts: (p) => ({ ZERO: 1, ROW_WORDS: rowWords(p, bits) }),
    rowBytes: (p) => ({ weights: 4 * rowWords(p, bits), facts: 16 }),
  };
}

/** Words of a group of columns. */
const spanOf = (p: MatmulProblem): number | undefined => (groupsOf(p) > 1 ? p.weights.groupSize! / 4 : undefined);

/** Rows that are unfolded or not, with what that takes. */
const unfolding = {
  input: (p: MatmulProblem) => (unfolds(p) ? inputUnfolded : inputOf(p)),
  rowSource: (p: MatmulProblem) => (unfolds(p) ? plainRows(p, depthOf(p)) : rowSource(p, wordsOf(p))),
  span: spanOf,
  before: (p: MatmulProblem) => (unfolds(p) ? [unfoldStage(p)] : []),
  scratch: (p: MatmulProblem): Record<string, number> =>
    unfolds(p) ? { unfolded: 4 * p.M * p.groups * depthOf(p) } : {},
};

/** Scaling a group's sum takes the time of 2.5 products of words. */
function groupRate(p: MatmulProblem): number {
  const span = spanOf(p);
  return span ? span / (span + 2.5) : 1;
}

const int8Grouped: ByteArithmetic = {
  format: 'int8Grouped',
  layout: groupedBytes,
  weights: (p) => [...(groupsOf(p) > 1 ? [p.weights.symmetric ? sumsGrouped : sumsGroupedAffine] : []), weightsRows],
  finish(p) {
    if (groupsOf(p) > 1) return [finishGrouped];
    return p.weights.symmetric ? finishSymmetric(p) : [rowSumAffine, finishOf(p)];
  },
  consts: (p) => ({ ZERO: 0, ROW_GROUPS: groupsOf(p) }),
  ...unfolding,
  before: (p) => [
    ...unfolding.before(p),
    ...(p.weights.symmetric ? [] : [rowSumStage(p, spanOf(p), unfolding.rowSource(p), unfolding.input(p))]),
  ],
  scratch: (p): Record<string, number> => ({
    ...unfolding.scratch(p),
    ...(!p.weights.symmetric && { row_sums: 4 * p.M * p.groups * groupsOf(p) }),
  }),
  rowBytes(p): Record<string, number> {
    const weights = 4 * rowWords(p, 8);
    return groupsOf(p) > 1 ? { weights, groups: 8 * groupsOf(p) } : { weights, facts: 16 };
  },
  rate: groupRate,
};

function groupedRows(format: FormatName, bits: 2 | 4): ByteArithmetic {
  return {
    format,
    layout: grouped(bits),
    weights: (p) => [...(groupsOf(p) > 1 ? [sumsGrouped] : [zeroOfRow]), differences, bits === 4 ? weights4 : weights2],
    finish: (p) => (groupsOf(p) > 1 ? [finishGrouped] : finishSymmetric(p)),
    consts: (p) => ({ ZERO: p.weights.symmetric ? 2 ** (bits - 1) : 255, ROW_GROUPS: groupsOf(p) }),
    ...unfolding,
    rowBytes(p): Record<string, number> {
      const weights = 4 * rowWords(p, bits);
      return groupsOf(p) > 1 ? { weights, groups: 8 * groupsOf(p) } : { weights, facts: 16 };
    },
    rate: groupRate,
  };
}

function unfoldStage(p: MatmulProblem): Stage {
  const { rows, consts } = rowSource(p, wordsOf(p));
  const threads = 64;
  return {
    label: 'lowbit/unfold.wgsl',
    source: unfold,
    snippets: [inputOf(p), ...paddingOf(p), rows],
    consts: {
      ...sampleConsts(p),
      ...consts,
      PIXEL_CHANNELS: groupChannels(p),
      COLUMNS: p.K,
      ROW_WORDS: depthOf(p),
      THREADS: threads,
    },
    params: [p.M],
    workgroups: Math.ceil((p.M * p.groups * depthOf(p)) / threads),
  };
}

export const lowbit = [
  ...byteRows(int8Grouped, GEMV_WALKS, LEAST_WALKS),
  ...byteRows(groupedRows('int4', 4), GEMV_WALKS, LEAST_WALKS),
  ...byteRows(groupedRows('int2', 2), SHARED_WALKS, LEAST_WALKS),
  ...byteRows(wholeRows('ternary', 2, ternaryRows), SHARED_WALKS, LEAST_WALKS),
  ...byteRows(wholeRows('binary', 1, binaryRows), SHARED_WALKS, LEAST_WALKS),
];
