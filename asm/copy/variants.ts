import type { ElementType } from '../../src/dtype.js';
import type { CopyProblem, TransposeProblem } from '../../src/plan/problem.js';
import { mergeDims, product, type StridedDims, transposeAsCopy } from '../../src/plan/strides.js';
import { predictMs, row } from '../../src/wasm/variant.js';

const OUTER = 5;

const asCopy = (p: CopyProblem | TransposeProblem): CopyProblem => (p.op === 'copy' ? p : transposeAsCopy(p));

function merged(p: CopyProblem | TransposeProblem): StridedDims {
  const { dims, fromStrides, toStrides } = asCopy(p);
  return mergeDims({ dims, strides: [fromStrides, toStrides] });
}

const copies = (name: string, exported: string, dtypes: readonly ElementType[], bytes: number) =>
  row<CopyProblem | TransposeProblem>({
    name,
    ops: ['copy', 'transpose'],
    inputs: dtypes,
    outputs: dtypes,
    supports: (p) => merged(p).dims.length <= OUTER + 1 || `over ${OUTER + 1} dimensions after merging`,
    stages: [{ export: exported, tiles: (p) => product(merged(p).dims.slice(0, -1)) }],
    params(p) {
      const { from, to } = asCopy(p);
      const {
        dims,
        strides: [a, c],
      } = merged(p);
      const params = [dims.at(-1)!, from, to, a.at(-1)!, c.at(-1)!];
      for (let i = 0; i < OUTER; i++) {
        const d = dims.length - 1 - OUTER + i;
        params.push(...(d < 0 ? [1, 0, 0] : [dims[d], a[d], c[d]]));
      }
      return params;
    },
    cost: (p, device) => predictMs(device, product(p.dims) * 8, 0.5, product(p.dims) * 2 * bytes),
  });

export const copy = [
  copies('copy_f32', 'copy', ['float32', 'int32'], 4),
  copies('copy_codes', 'copy_bytes', ['uint8', 'int8'], 1),
];
