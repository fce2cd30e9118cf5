import type { F16Weights } from '../../src/formats/f16.js';
import type { Layout } from '../../src/plan/variant.js';
import { inputOf } from '../dense/variants.js';
import { groupChannels, matmulRows } from '../shared/matmul.js';
import padding from '../shared/padding_f32.wgsl';
import product from '../shared/product_f32.wgsl';
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

export const f16 = matmulRows({
  format: 'f16',
  isa: 'wgsl',
  layout: rowsOfHalves,
  channels: groupChannels,
  snippets: (p) => [inputOf(p), padding, weights, product],
  rowBytes: (p) => ({ weights: 8 * Math.ceil(p.K / 4) }),
  rate: 0.95,
});
