// The formats that given weights can be turned into without changing what they multiply to.

import { areF16 } from '../half.js';
import type { WeightFacts } from '../plan/problem.js';
import type { BlockShape } from './bcsr.js';
import type { Weights } from './format.js';
import type { Int8GroupedWeights } from './grouped.js';
import { bcsr, csr, csrInt8, dense, f16, formatOf, int8, int8Grouped, nm } from './index.js';
import { indexType, type Pattern } from './pattern.js';
import { ofRow, SMALLEST_SCALE } from './scales.js';

/** One way to store weights. */
export interface Form {
  readonly facts: WeightFacts;
  /** Packs them so. What comes with the weights is the weights themselves. */
  make(): Weights;
  /** Signs of scales have moved to codes: integer sums of these rows, and biases in their units, are others. */
  movesSigns?: boolean;
}

/** Sparse forms are offered up to this share of non-zeros: above, hardly a kernel of ours beats dense (docs/scheduler.md). */
const SPARSE_DENSITY = 0.7;
/** Patterned forms may store this many numbers for each that is not zero. */
const FILL = 1.5;
/** Forms larger than this are not offered. */
const MOST_BYTES = 2 ** 30;
/** Weights looked at before all zeros are counted. */
const SAMPLE = 4096;

const BLOCKS: readonly BlockShape[] = [
  [8, 1],
  [4, 1],
  [2, 1],
  [1, 4],
];

/** f32 numbers multiplied by f32 activations: whatever the format, the same products. */
const FLOATS: ReadonlySet<string> = new Set(['dense', 'f16', 'csr', 'bcsr', 'nm', 'csrCodebook']);

const known = new WeakMap<Weights, readonly Form[]>();

/**
 * Every form of the weights that multiplies the same numbers in the same arithmetic: f32 formats become each other (sums
 * differ by the order of rounding; where activations are infinite, a zero that is stored makes NaN), formats of 8-bit
 * arithmetic with one scale a row become int8 (the same integer sums). The first is the weights as they are.
 * @param facts of the weights
 */
export function formsOf(weights: Weights, facts: WeightFacts): readonly Form[] {
  let forms = known.get(weights);
  if (!forms) {
    const own: Form = { facts, make: () => weights };
    const others = isFloat(facts) ? floatForms(weights, facts) : integerForms(weights, facts);
    forms = [own, ...others.filter((form) => form.facts.bytes <= MOST_BYTES)];
    known.set(weights, forms);
  }
  return forms;
}

const isFloat = ({ format, centroids }: WeightFacts): boolean =>
  FLOATS.has(format) || (format === 'codebook' && centroids === 'f32');

function floatForms(weights: Weights, own: WeightFacts): Form[] {
  const { rows, cols } = weights;
  const values = () => valuesOf(weights);
  const forms: Form[] = [];
  const add = (facts: WeightFacts, make: () => Weights) => {
    if (facts.format !== own.format || facts.block?.join() !== own.block?.join()) forms.push({ facts, make });
  };
  add({ format: 'dense', nnz: rows * cols, bytes: 4 * rows * cols }, () => dense.pack(values(), { rows, cols }));
  if (own.format !== 'f16' && areF16(values())) {
    add({ format: 'f16', nnz: rows * cols, bytes: 2 * rows * cols }, () => f16.pack(values(), { rows, cols }));
  }
  const pattern = patternOf(weights);
  if (!pattern) return forms;
  const nnz = pattern.indices.length;
  const indexBytes = indexType(cols).BYTES_PER_ELEMENT;
  add({ format: 'csr', nnz, bytes: 4 * (rows + 1) + nnz * (indexBytes + 4) }, () => csr.pack(values(), { rows, cols }));
  for (const block of BLOCKS) {
    const [blockRows, blockCols] = block;
    const entries = countBlocks(pattern, rows, cols, block);
    const stored = entries * blockRows * blockCols;
    if (stored > FILL * nnz) continue;
    const entryBytes = indexType(Math.ceil(cols / blockCols)).BYTES_PER_ELEMENT + 4 * blockRows * blockCols;
    const bytes = 4 * (Math.ceil(rows / blockRows) + 1) + entries * entryBytes;
    add({ format: 'bcsr', nnz: stored, bytes, block }, () => bcsr.pack(values(), { rows, cols, block }));
  }
  const groups = Math.ceil(cols / 4);
  if (2 * rows * groups <= FILL * nnz && hasPairs(pattern, rows)) {
    const bytes = 8 * rows * groups + rows * Math.ceil(groups / 2);
    add({ format: 'nm', nnz: 2 * rows * groups, bytes }, () => nm.pack(values(), { rows, cols }));
  }
  return forms;
}

/** Dense values, not to be written to: those of dense weights are not copied. */
function valuesOf(weights: Weights): Float32Array {
  return weights.format === 'dense' ? weights.values : formatOf(weights).unpack(weights);
}

/** Where the non-zeros are; undefined where there are too many, or where all are stored anyway. */
function patternOf(weights: Weights): Pattern | undefined {
  const { rows, cols } = weights;
  if (weights.format === 'csr' || weights.format === 'csrCodebook') return weights;
  if (weights.format === 'codebook' && !weights.codebook.includes(0)) return undefined;
  const values = valuesOf(weights);
  const stride = Math.max(Math.floor(values.length / SAMPLE), 1);
  let zeros = 0;
  let seen = 0;
  for (let i = 0; i < values.length; i += stride, seen++) if (values[i] === 0) zeros++;
  if (zeros < 0.8 * (1 - SPARSE_DENSITY) * seen) return undefined;
  const indptr = new Uint32Array(rows + 1);
  let nnz = 0;
  for (let r = 0; r < rows; r++) {
    for (let i = r * cols; i < (r + 1) * cols; i++) if (values[i] !== 0) nnz++;
    indptr[r + 1] = nnz;
  }
  if (nnz > SPARSE_DENSITY * values.length) return undefined;
  const indices = new (indexType(cols))(nnz);
  for (let i = 0, at = 0; i < values.length; i++) if (values[i] !== 0) indices[at++] = i % cols;
  return { indptr, indices };
}

/** Blocks that hold a non-zero. */
function countBlocks({ indptr, indices }: Pattern, rows: number, cols: number, block: BlockShape): number {
  const [blockRows, blockCols] = block;
  const last = new Int32Array(Math.ceil(cols / blockCols)).fill(-1);
  let count = 0;
  for (let r = 0; r < rows; r++) {
    const blockRow = Math.floor(r / blockRows);
    for (let i = indptr[r]; i < indptr[r + 1]; i++) {
      const blockCol = Math.floor(indices[i] / blockCols);
      if (last[blockCol] === blockRow) continue;
      last[blockCol] = blockRow;
      count++;
    }
  }
  return count;
}

/** True when no four columns of a row hold more than two non-zeros. */
function hasPairs({ indptr, indices }: Pattern, rows: number): boolean {
  for (let r = 0; r < rows; r++) {
    for (let i = indptr[r]; i + 2 < indptr[r + 1]; i++) {
      if (indices[i] >> 2 === indices[i + 2] >> 2) return false;
    }
  }
  return true;
}

/** Formats with one scale a row that int8 can hold, and int8 that csrInt8 can. */
function integerForms(weights: Weights, facts: WeightFacts): Form[] {
  const { rows, cols } = weights;
  const oneScale = facts.groupSize === undefined || facts.groupSize >= cols;
  const bytes = rows * cols + 4 * rows;
  switch (weights.format) {
    case 'int8Grouped':
      return oneScale ? wholeRows(weights, facts, bytes) : [];
    case 'int4':
    case 'int2':
    case 'codebook':
    case 'ternary':
    case 'binary':
    case 'csrInt8':
      if (!oneScale) return [];
      return [
        {
          facts: { format: 'int8', nnz: rows * cols, bytes, symmetric: true },
          make: () => asInt8(weights),
          movesSigns: weights.scale!.some((value) => value <= 0),
        },
      ];
    case 'int8':
      return facts.symmetric ? sparseInt8(weights) : [];
    default:
      return [];
  }
}

/** Codes less 128, and zero points, which int8 has for rows; scales of 0 and below it does not have. */
function wholeRows(weights: Int8GroupedWeights, { symmetric }: WeightFacts, bytes: number): Form[] {
  const { rows, cols, groupSize, codes, scale, zeroPoint } = int8Grouped.validate(weights);
  if (!scale.every((value) => value >= SMALLEST_SCALE)) return [];
  const make = (): Weights => ({
    format: 'int8',
    rows,
    cols,
    codes: Int8Array.from(
      { length: rows * cols },
      (_, i) => codes[Math.floor(i / cols) * groupSize + (i % cols)] - 128,
    ),
    scale,
    ...(zeroPoint && { zeroPoint: Int8Array.from(zeroPoint, (zero) => zero - 128) }),
  });
  return [{ facts: { format: 'int8', nnz: rows * cols, bytes: bytes + (zeroPoint?.length ?? 0), symmetric }, make }];
}

/** int8 has no scales of 0 and below: signs move to the codes, and a scale of 0 to them as well. */
function asInt8(weights: Weights & { scale?: Float32Array }): Weights {
  const { rows, cols } = weights;
  const signs = weights.scale!.map(Math.sign);
  // Formats with groups would multiply by the scale.
  const { values } = formatOf(weights).decode({ ...weights, scale: new Float32Array(rows).fill(1) } as Weights);
  const codes = Int8Array.from(values, (value, i) => value * ofRow(signs, Math.floor(i / cols)));
  const scale = weights.scale!.map((value) => Math.abs(value) || 1);
  return int8.validate({ format: 'int8', rows, cols, codes, scale });
}

function sparseInt8(weights: Weights & { format: 'int8' }): Form[] {
  const { rows, cols, codes, scale } = int8.validate(weights);
  let nnz = 0;
  for (const code of codes) {
    if (code === -128) return [];
    if (code !== 0) nnz++;
  }
  if (nnz > SPARSE_DENSITY * codes.length) return [];
  const make = (): Weights => {
    const indptr = new Uint32Array(rows + 1);
    const indices = new (indexType(cols))(nnz);
    const kept = new Int8Array(nnz);
    let at = 0;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        if (codes[r * cols + c] === 0) continue;
        indices[at] = c;
        kept[at++] = codes[r * cols + c];
      }
      indptr[r + 1] = at;
    }
    const scales = scale.length === rows ? scale.slice() : new Float32Array(rows).fill(scale[0]);
    return csrInt8.validate({
      format: 'csrInt8',
      rows,
      cols,
      blockCols: 1,
      indptr,
      indices,
      codes: kept,
      scale: scales,
    });
  };
  const bytes = 4 * (rows + 1) + nnz * (indexType(cols).BYTES_PER_ELEMENT + 1) + 4 * rows;
  return [{ facts: { format: 'csrInt8', nnz, bytes, block: [1, 1] }, make }];
}
