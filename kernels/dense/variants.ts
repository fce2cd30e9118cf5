import type { DenseWeights } from '../../src/formats/dense.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Layout } from '../../src/plan/variant.js';
import finish from '../shared/finish_f32.wgsl';
import inputF32 from '../shared/input_f32.wgsl';
import inputF32x4 from '../shared/input_f32x4.wgsl';
import { groupChannels, matmulRows } from '../shared/matmul.js';
import padding from '../shared/padding_zero.wgsl';
import product from '../shared/product_f32.wgsl';
import weightsRows from '../shared/weights_rows.wgsl';

/** Rows of f32, each padded with zeros to a multiple of 4 columns. */
const rowsOfQuads: Layout<DenseWeights> = {
  name: 'NK_k4_f32',
  pack({ rows, cols, values }) {
    const width = Math.ceil(cols / 4) * 4;
    if (width === cols) return { weights: values };
    const weights = new Float32Array(rows * width);
    for (let r = 0; r < rows; r++) weights.set(values.subarray(r * cols, (r + 1) * cols), r * width);
    return { weights };
  },
};

/** The activations of f32 arithmetics. */
export function inputOf(p: MatmulProblem): string {
  return groupChannels(p) % 4 === 0 ? inputF32x4 : inputF32;
}

export const dense = matmulRows({
  format: 'dense',
  isa: 'wgsl',
  layout: rowsOfQuads,
  channels: groupChannels,
  snippets: (p) => [inputOf(p), padding, weightsRows, product, finish],
  rowBytes: (p) => ({ weights: 16 * Math.ceil(p.K / 4) }),
  rate: 1,
});
