import { BINARY, type BinaryProblem } from '../../src/plan/problem.js';
import { mergeDims, product, type StridedDims } from '../../src/plan/strides.js';
import { predictMs, row, rowsOf } from '../../src/wasm/variant.js';

/** Outer dimensions that the job has room for. */
const OUTER = 5;
/** Elements of a row that one tile does. */
const BLOCK = 4096;

const merged = (p: BinaryProblem): StridedDims =>
  rowsOf(mergeDims({ dims: p.dims, strides: [p.aStrides, p.bStrides] }));

const binary = (op: BinaryProblem['op']) =>
  row<BinaryProblem>({
    name: `${op}_f32`,
    ops: [op],
    supports: (p) => merged(p).dims.length <= OUTER + 1 || `over ${OUTER + 1} dimensions after merging`,
    stages: [
      {
        export: 'binary',
        tiles(p) {
          const { dims } = merged(p);
          return product(dims.slice(0, -1)) * Math.ceil(dims.at(-1)! / BLOCK);
        },
      },
    ],
    scratchBytes: () => 128,
    clamp: (p) => p.clamp,
    params(p) {
      const {
        dims,
        strides: [a, b],
      } = merged(p);
      const params = [BINARY.indexOf(p.op), dims.at(-1)!, a.at(-1)!, b.at(-1)!];
      for (let i = 0; i < OUTER; i++) {
        const d = dims.length - 1 - OUTER + i;
        params.push(...(d < 0 ? [1, 0, 0] : [dims[d], a[d], b[d]]));
      }
      return params;
    },
    cost: (p, device) => predictMs(device, product(p.dims) * (op === 'pow' ? 30 : 2), 0.5, product(p.dims) * 12),
  });

export const elementwise = BINARY.map(binary);
