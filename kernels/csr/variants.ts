import type { BcsrWeights } from '../../src/formats/bcsr.js';
import type { CsrWeights } from '../../src/formats/csr.js';
import type { CsrCodebookWeights } from '../../src/formats/csr-codebook.js';
import type { CsrInt8Weights } from '../../src/formats/csr-int8.js';
import type { FormatName } from '../../src/formats/format.js';
import type { NmWeights } from '../../src/formats/nm.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Device, Layout, VariantBase } from '../../src/plan/variant.js';
import type { Consts, Stage } from '../../src/webgpu/variant.js';
import { inputOf } from '../dense/variants.js';
import {
  BYTE_INPUTS,
  inputOf as bytesOf,
  DOT4,
  elementsOf,
  finishSymmetric,
  PLAIN,
  packFacts,
  paddingOf,
  quantizedScratch,
  quantizeStages,
  sampleConsts,
  sum,
  wordsOf,
} from '../int8/variants.js';
import { activationConsts, activationSnippets } from '../shared/activation.js';
import { fits, predictMs, windowConsts } from '../shared/cost.js';
import finishF32 from '../shared/finish_f32.wgsl';
import inputF32 from '../shared/input_f32.wgsl';
import { groupChannels, type MatmulVariant, matmulBuffers, rowSource, storeOf } from '../shared/matmul.js';
import paddingZero from '../shared/padding_zero.wgsl';
import productF32 from '../shared/product_f32.wgsl';
import gemv from './gemv.wgsl';
import gemvSubgroup from './gemv_subgroup.wgsl';
import nmItems from './nm.wgsl';
import { fitsInParts, type OperandBytes, partsOf } from './parts.js';
import pattern from './pattern.wgsl';
import planes from './planes.wgsl';
import planesConv from './planes_conv.wgsl';
import planesF32 from './planes_f32.wgsl';
import planesLinear from './planes_linear.wgsl';
import planesWords from './planes_words.wgsl';
import spmm from './spmm.wgsl';
import valuesCodebook from './values_codebook.wgsl';
import valuesF32 from './values_f32.wgsl';
import valuesInt8 from './values_int8.wgsl';

const rowsOf = (p: MatmulProblem): number => p.groups * p.N;
const blockOf = (p: MatmulProblem): readonly [rows: number, cols: number] => p.weights.block ?? [1, 1];
const indexBits = (p: MatmulProblem): number => (Math.ceil(p.K / blockOf(p)[1]) <= 65536 ? 16 : 32);

/** Rows of W that a workgroup (spmm) or its lanes (gemv) compute: those of a block, if they share their group. */
function shareOf(p: MatmulProblem): number {
  const [blockRows] = blockOf(p);
  return p.groups === 1 || p.N % blockRows === 0 ? blockRows : 1;
}

/** What activations are to sparse weights: f32, or words of four signed bytes. */
interface Domain extends Pick<VariantBase, 'inputs'> {
  isa: string;
  requires?: readonly string[];
  /** Elements of one pixel of one group. */
  channels(p: MatmulProblem): number;
  /** WGSL of planes, of activations in pixels (one at a time, or as they fit), and of what is outside the image. */
  planes: string;
  elements(p: MatmulProblem): string;
  input(p: MatmulProblem): string;
  padding(p: MatmulProblem): readonly string[];
  /** WGSL that defines add_product and finish. */
  product(p: MatmulProblem): readonly string[];
  consts(p: MatmulProblem): Consts;
  before(p: MatmulProblem): Stage[];
  scratch(p: MatmulProblem): Record<string, number>;
  /** Products relative to those of f32. */
  rate: number;
}

const floats: Domain = {
  isa: 'wgsl',
  channels: groupChannels,
  planes: planesF32,
  elements: () => inputF32,
  input: inputOf,
  padding: () => [paddingZero],
  product: () => [productF32, finishF32],
  consts: () => ({}),
  before: () => [],
  scratch: () => ({}),
  rate: 1,
};

const bytes = ({ isa, product, requires }: typeof DOT4 | typeof PLAIN, rate: number): Domain => ({
  isa,
  requires,
  inputs: BYTE_INPUTS,
  channels: wordsOf,
  planes: planesWords,
  elements: elementsOf,
  input: bytesOf,
  padding: paddingOf,
  product: (p) => [product, ...finishSymmetric(p)],
  consts: sampleConsts,
  before: quantizeStages,
  scratch: quantizedScratch,
  rate,
});

/** A sparse format. */
interface Sparse {
  format: FormatName;
  // biome-ignore lint/suspicious/noExplicitAny: each knows the weights of its format
  layout: Layout<any>;
  /** WGSL that defines begin_of, end_of, element_of, value_of. */
  items: readonly string[];
  consts(p: MatmulProblem): Consts;
  /** Weights that an item multiplies in each row. */
  itemCols?(p: MatmulProblem): number;
  operandBytes(p: MatmulProblem): OperandBytes;
}

/** Constants of pattern.wgsl for items of one column of a block each. */
function patternConsts(p: MatmulProblem): Consts {
  const cols = blockOf(p)[1];
  return {
    INDEX_BITS: indexBits(p),
    ITEMS: cols,
    OVERHANG: (cols - (p.K % cols)) % cols,
    LAST_COLUMN: Math.ceil(p.K / cols) - 1,
  };
}

function supports(p: MatmulProblem, device: Device, sparse: Sparse, scratch: Record<string, number>): true | string {
  const bound = fitsInParts(p, device, sparse.operandBytes(p));
  return bound === true ? fits(device, { ...matmulBuffers(p), ...scratch }) : bound;
}

function paddedSize({ window: w }: MatmulProblem): [height: number, width: number] {
  return [w.padTop + w.inHeight + w.padBottom, w.padLeft + w.inWidth + w.padRight];
}

function planesBytes(p: MatmulProblem, channels: number): number {
  const [height, width] = paddedSize(p);
  return 4 * p.window.batch * p.groups * channels * height * width;
}

const SPMM_THREADS = 64;

/** @param per rows of A a thread holds */
function spmmRow(sparse: Sparse, domain: Domain, per: 1 | 4, efficiency: number): MatmulVariant {
  const { format, layout } = sparse;
  const { isa, requires, inputs } = domain;
  const tile = SPMM_THREADS * per;
  const name = `${format}_spmm_${tile}x1_${isa}`;
  const jobs = (p: MatmulProblem) => Math.ceil(rowsOf(p) / shareOf(p));
  const workgroups = (p: MatmulProblem) => Math.ceil(p.M / tile) * jobs(p);
  const scratch = (p: MatmulProblem) => ({ ...domain.scratch(p), planes: planesBytes(p, domain.channels(p)) });
  return {
    name,
    ops: ['linear', 'conv2d'],
    format,
    requires,
    inputs,
    layout,
    supports: (p, device) => supports(p, device, sparse, scratch(p)),
    scratch,
    stages(p, device, weights) {
      const { batch, inHeight, inWidth, padTop, padLeft } = p.window;
      const [height, width] = paddedSize(p);
      const conv = { ...windowConsts(p), PADDED_HEIGHT: height, PADDED_WIDTH: width };
      const channels = domain.channels(p);
      const elements = p.groups * channels;
      return [
        ...domain.before(p),
        {
          label: 'csr/planes.wgsl',
          source: planes,
          snippets: [domain.elements(p), ...domain.padding(p)],
          consts: { CHANNELS: channels, PLANES: elements, ...domain.consts(p) },
          params: [batch, inHeight, inWidth, padTop, padLeft, height, width],
          workgroups: batch * Math.ceil((height * width) / 16) * Math.ceil(elements / 16),
        },
        ...partsOf(p, device, sparse.operandBytes(p), weights).map(
          ({ first, count, base, slices }): Stage => ({
            label: name,
            source: spmm,
            snippets: [
              domain.planes,
              ...domain.padding(p),
              ...sparse.items,
              ...domain.product(p),
              p.op === 'linear' ? planesLinear : planesConv,
              ...activationSnippets(p),
              storeOf(p),
            ],
            consts: {
              N: count / p.groups,
              ROWS: count,
              OUTPUTS: rowsOf(p),
              GROUPS: p.groups,
              CHANNELS: channels,
              BLOCK_ROWS: blockOf(p)[0],
              SHARE: shareOf(p),
              THREADS: SPMM_THREADS,
              PER: per,
              ...(p.op === 'linear' ? {} : conv),
              ...sparse.consts(p),
              ...domain.consts(p),
              ...activationConsts(p),
            },
            params: [p.M, first, base],
            slices,
            workgroups: workgroups({ ...p, N: count / p.groups }),
          }),
        ),
      ];
    },
    cost(p, device) {
      const { input, output } = matmulBuffers(p);
      // An element of A is loaded once for all weights that it meets; loads are the limit, up to a point.
      const reuse = shareOf(p) * (sparse.itemCols?.(p) ?? 1);
      return predictMs(device, {
        macs: Math.ceil(p.M / tile) * tile * p.weights.nnz,
        efficiency: domain.rate * Math.min(efficiency * reuse, 0.6),
        threads: workgroups(p) * SPMM_THREADS,
        bytes: input + 2 * planesBytes(p, domain.channels(p)) + output + p.weights.bytes * Math.ceil(p.M / tile),
        dispatches: domain.before(p).length + 2,
      });
    },
  };
}

const GEMV_THREADS = 64;

/** How sums of a row of few meet. */
interface GemvWalk {
  name: string;
  source: string;
  enables?: readonly string[];
  requires?: readonly string[];
  /** Threads that share a row. */
  lanes: number;
}

const inMemory: GemvWalk = { name: 'gemv_1x4', source: gemv, lanes: 16 };
/** For rows of many items. */
const bySubgroup: GemvWalk = {
  name: 'gemv_1x1_sg',
  source: gemvSubgroup,
  enables: ['subgroups'],
  requires: ['subgroups', 'subgroup_id'],
  lanes: GEMV_THREADS,
};

function gemvRow(sparse: Sparse, domain: Domain, walk = inMemory): MatmulVariant {
  const { format, layout } = sparse;
  const { isa, inputs } = domain;
  const { source, enables, lanes } = walk;
  const name = `${format}_${walk.name}_${isa}`;
  const requires = walk.requires ? [...walk.requires, ...(domain.requires ?? [])] : domain.requires;
  const perGroup = GEMV_THREADS / lanes;
  const tilesN = (p: MatmulProblem) => Math.ceil(rowsOf(p) / shareOf(p) / perGroup);
  return {
    name,
    ops: ['linear', 'conv2d'],
    format,
    requires,
    inputs,
    layout,
    supports: (p, device) => supports(p, device, sparse, domain.scratch(p)),
    scratch: domain.scratch,
    stages(p, device, weights) {
      const { rows, consts } = rowSource(p, domain.channels(p));
      return [
        ...domain.before(p),
        ...partsOf(p, device, sparse.operandBytes(p), weights).map(
          ({ first, count, base, slices }): Stage => ({
            label: name,
            source,
            enables,
            snippets: [
              domain.input(p),
              ...domain.padding(p),
              ...sparse.items,
              ...domain.product(p),
              rows,
              ...activationSnippets(p),
              storeOf(p),
            ],
            consts: {
              N: count / p.groups,
              ROWS: count,
              OUTPUTS: rowsOf(p),
              BLOCK_ROWS: blockOf(p)[0],
              SHARE: shareOf(p),
              NR: perGroup,
              LANES: lanes,
              THREADS: GEMV_THREADS,
              TILES_N: tilesN({ ...p, N: count / p.groups }),
              ...consts,
              ...sparse.consts(p),
              ...domain.consts(p),
              ...activationConsts(p),
            },
            params: [p.M, first, base],
            slices,
            workgroups: p.M * tilesN({ ...p, N: count / p.groups }),
          }),
        ),
      ];
    },
    cost(p, device) {
      const { input, output } = matmulBuffers(p);
      const reuse = shareOf(p) * (sparse.itemCols?.(p) ?? 1);
      const items = Math.ceil(p.weights.nnz / rowsOf(p) / lanes) * lanes;
      return predictMs(device, {
        macs: p.M * (lanes === GEMV_THREADS ? rowsOf(p) * items : p.weights.nnz),
        efficiency: 0.04 * domain.rate * Math.min(reuse, 4),
        threads: p.M * tilesN(p) * GEMV_THREADS,
        bytes: input + output + p.weights.bytes * p.M,
        dispatches: domain.before(p).length + 1,
      });
    },
  };
}

const sparseRows = (sparse: Sparse, domain: Domain): MatmulVariant[] => [
  spmmRow(sparse, domain, 4, 0.2),
  spmmRow(sparse, domain, 1, 0.1),
  gemvRow(sparse, domain),
];

/** Columns as they are stored, or in 16 bits where they fit. */
function columnsOf(indices: Uint16Array | Uint32Array, p: MatmulProblem): Uint8Array {
  const fitting = indexBits(p) === 16 ? Uint16Array : Uint32Array;
  const { buffer, byteOffset, byteLength } = indices instanceof fitting ? indices : new fitting(indices);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

const csrRows: Layout<CsrWeights> = {
  name: 'csr',
  pack: ({ indptr, indices, values }, p) => ({ indptr, indices: columnsOf(indices, p), values }),
};

const bcsrRows: Layout<BcsrWeights> = {
  name: 'bcsr',
  pack: ({ indptr, indices, values }, p) => ({ indptr, indices: columnsOf(indices, p), values }),
};

const nmRows: Layout<NmWeights> = {
  name: 'nm',
  pack: ({ positions, values }) => ({ positions, values }),
};

const csrCodebookRows: Layout<CsrCodebookWeights> = {
  name: 'csrCodebook',
  pack: ({ indptr, indices, codes, codebook }, p) => ({ indptr, indices: columnsOf(indices, p), codes, codebook }),
};

/** The format as it is, and facts of each row as int8 has them. */
const csrInt8Rows: Layout<CsrInt8Weights> = {
  name: 'csrInt8',
  pack({ rows, blockCols, indptr, indices, codes, scale }, p) {
    const sumOf = (r: number) => {
      const first = indptr[r] * blockCols;
      return sum(indptr[r + 1] * blockCols - first, (i) => codes[first + i]);
    };
    return { indptr, indices: columnsOf(indices, p), codes, facts: packFacts(rows, (r) => scale[r], sumOf) };
  },
};

const csrFormat: Sparse = {
  format: 'csr',
  layout: csrRows,
  items: [pattern, valuesF32],
  consts: patternConsts,
  operandBytes: (p) => ({
    rows: {},
    entries: { indices: indexBits(p) / 8, values: 4 * blockOf(p)[0] * blockOf(p)[1] },
  }),
};

const bcsrFormat: Sparse = { ...csrFormat, format: 'bcsr', layout: bcsrRows };

const nmFormat: Sparse = {
  format: 'nm',
  layout: nmRows,
  items: [nmItems],
  consts: (p) => ({ PAIRS: Math.ceil(p.K / 4), LAST_COLUMNS: p.K % 4 || 4 }),
  operandBytes: (p) => ({ rows: { values: 8 * Math.ceil(p.K / 4), positions: Math.ceil(p.K / 8) }, entries: {} }),
};

const csrCodebookFormat: Sparse = {
  format: 'csrCodebook',
  layout: csrCodebookRows,
  items: [pattern, valuesCodebook],
  consts: (p) => ({ ...patternConsts(p), BITS: p.weights.entries === 16 ? 4 : 8 }),
  operandBytes: (p) => ({
    rows: {},
    entries: { indices: indexBits(p) / 8, codes: p.weights.entries === 16 ? 0.5 : 1 },
  }),
};

/** Whether a block is a word of activations; else it is four items. */
const wholeWords = (p: MatmulProblem): boolean =>
  blockOf(p)[1] === 4 && (groupChannels(p) % 4 === 0 || groupChannels(p) === p.K);

const csrInt8Format: Sparse = {
  format: 'csrInt8',
  layout: csrInt8Rows,
  items: [pattern, valuesInt8],
  consts: (p) => ({
    ...patternConsts(p),
    // Past the last column both codes and activations are 0.
    ...(wholeWords(p) && { ITEMS: 1, OVERHANG: 0 }),
    WHOLE_WORDS: wholeWords(p),
    PIXEL_CHANNELS: groupChannels(p),
  }),
  itemCols: (p) => (wholeWords(p) ? 4 : 1),
  operandBytes: (p) => ({ rows: { facts: 16 }, entries: { indices: indexBits(p) / 8, codes: blockOf(p)[1] } }),
};

export const csr = [
  ...sparseRows(csrFormat, floats),
  ...sparseRows(bcsrFormat, floats),
  gemvRow(nmFormat, floats, bySubgroup),
  ...sparseRows(nmFormat, floats),
  ...sparseRows(csrCodebookFormat, floats),
  ...sparseRows(csrInt8Format, bytes(DOT4, 0.9)),
  spmmRow(csrInt8Format, bytes(PLAIN, 0.4), 1, 0.1),
  gemvRow(csrInt8Format, bytes(PLAIN, 0.4)),
];
