import { BINARY, type BinaryProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { activationConsts, activationSnippets } from '../shared/activation.js';
import { fits, predictMs } from '../shared/cost.js';
import binaryShader from './binary.wgsl';
import operate from './operate.wgsl';

const sizeOf = ({ dims }: BinaryProblem): number => dims.reduce((product, dim) => product * dim, 1);

/** Elements that strides reach. */
function reach({ dims }: BinaryProblem, strides: readonly number[]): number {
  return dims.reduce((last, dim, d) => last + (dim - 1) * strides[d], 1);
}

function isDense({ dims }: BinaryProblem, strides: readonly number[]): boolean {
  let expected = 1;
  for (let d = dims.length - 1; d >= 0; d--) {
    if (dims[d] !== 1 && strides[d] !== expected) return false;
    expected *= dims[d];
  }
  return true;
}

const binary: WebgpuVariant<BinaryProblem> = {
  name: 'binary_1x1_wgsl',
  ops: BINARY,
  supports: (p, device) =>
    fits(device, { input: 4 * reach(p, p.aStrides), input2: 4 * reach(p, p.bStrides), output: 4 * sizeOf(p) }),
  stages: (p) => {
    const scalar = p.dims.length === 0;
    return [
      {
        label: 'elementwise/binary.wgsl',
        source: binaryShader,
        snippets: [operate, ...activationSnippets(p)],
        consts: {
          OPERATOR: BINARY.indexOf(p.op),
          RANK: Math.max(p.dims.length, 1),
          // The first is not read: a batch of another size needs no other shader.
          DIMS: [1, ...p.dims.slice(1)],
          A_STRIDES: scalar ? [0] : p.aStrides,
          B_STRIDES: scalar ? [0] : p.bStrides,
          A_DENSE: isDense(p, p.aStrides),
          B_DENSE: isDense(p, p.bStrides),
          ...activationConsts(p),
        },
        params: [sizeOf(p)],
        workgroups: Math.ceil(sizeOf(p) / 64),
      },
    ];
  },
  cost: (p, device) =>
    predictMs(device, {
      macs: sizeOf(p),
      efficiency: 0.05,
      threads: sizeOf(p),
      bytes: 4 * (sizeOf(p) + reach(p, p.aStrides) + reach(p, p.bStrides)),
      dispatches: 1,
    }),
};

export const elementwise = [binary];
