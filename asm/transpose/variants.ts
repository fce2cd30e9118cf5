import type { TransposeProblem } from '../../src/plan/problem.js';
import { mergeDims, product, type StridedDims, stridesOf } from '../../src/plan/strides.js';
import { predictMs, row } from '../../src/wasm/variant.js';

const OUTER = 5;

function merged({ dims, perm }: TransposeProblem): StridedDims {
  const strides = stridesOf(dims);
  return mergeDims({ dims: perm.map((d) => dims[d]), strides: [perm.map((d) => strides[d])] });
}

export const transpose = [
  row<TransposeProblem>({
    name: 'transpose_f32',
    ops: ['transpose'],
    supports: (p) => merged(p).dims.length <= OUTER + 1 || `over ${OUTER + 1} dimensions after merging`,
    stages: [{ export: 'transpose', tiles: (p) => product(merged(p).dims.slice(0, -1)) }],
    params(p) {
      const {
        dims,
        strides: [a],
      } = merged(p);
      const params = [dims.at(-1)!, a.at(-1)!];
      for (let i = 0; i < OUTER; i++) {
        const d = dims.length - 1 - OUTER + i;
        params.push(...(d < 0 ? [1, 0] : [dims[d], a[d]]));
      }
      return params;
    },
    cost: (p, device) => predictMs(device, product(p.dims) * 8, 0.5, product(p.dims) * 8),
  }),
];
