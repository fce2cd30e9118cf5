import type { F16Weights } from '../../src/formats/f16.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import { inputOf } from '../dense/variants.js';
import finish from '../shared/finish_f32.wgsl';
import inputF16 from '../shared/input_f16.wgsl';
import inputF16x4 from '../shared/input_f16x4.wgsl';
import { type Arithmetic, groupChannels, matmulRows } from '../shared/matmul.js';
import { MATRIX_TILES, matrixRows } from '../shared/matrix.js';
import padding from '../shared/padding_zero.wgsl';
import product from '../shared/product_f32.wgsl';
import weightsRows from '../shared/weights_rows.wgsl';
import matrix from './matrix.wgsl';
import productF16 from './product.wgsl';
import weights from './weights.wgsl';

/** Rows of halves, each padded with zeros to a multiple of 4 columns. */
const rowsOfHalves: Layout<F16Weights> = {
  name: 'NK_k4_f16',
  pack({ rows, cols, halves }) {
    const width = Math.ceil(cols / 4) * 4;
    if (width === cols) return { weights: halves };
    const padded = new Uint16Array(rows * width);
    for (let r = 0; r < rows; r++) padded.set(halves.subarray(r * cols, (r + 1) * cols), r * width);
    return { weights: padded };
  },
};

const common = {
  format: 'f16',
  layout: rowsOfHalves,
  channels: groupChannels,
  rowBytes: (p: MatmulProblem) => ({ weights: 8 * Math.ceil(p.K / 4) }),
} as const;

/** Where the caller allows activations to be rounded to halves: both operands are f16, sums are f32. */
const halves = {
  ...common,
  enables: ['f16'],
  supports: (p: MatmulProblem) => p.arithmetic === 'f16' || 'for arithmetic f16, which rounds activations',
};
const inputHalves = (p: MatmulProblem): string => (groupChannels(p) % 4 === 0 ? inputF16x4 : inputF16);

const floats: Arithmetic = {
  ...common,
  isa: 'wgsl',
  snippets: (p) => [inputOf(p), padding, weights, product, finish],
  rate: 0.95,
};

/** Those of halves first: of two that memory limits alike, the first is chosen. */
export const f16 = [
  ...matmulRows({
    ...halves,
    isa: 'f16',
    requires: ['shader-f16'],
    snippets: (p) => [inputHalves(p), padding, weightsRows, productF16, finish],
    // Workgroup memory holds twice as many.
    rate: 1.2,
  }),
  ...matrixRows(
    {
      ...halves,
      requires: ['shader-f16'],
      snippets: (p) => [inputHalves(p), padding, weightsRows, matrix, finish],
      rate: 8,
    },
    { component: 'f16', result: 'f32', columns: 1 },
    MATRIX_TILES,
  ),
  ...matmulRows(floats),
];
