import { BINARY, type BinaryProblem } from '../../src/plan/problem.js';
import { mergeDims, product, type StridedDims } from '../../src/plan/strides.js';
import { predictMs, row } from '../../src/wasm/variant.js';

/** Outer dimensions that the job has room for. */
const OUTER = 5;
/** Elements of a row that one tile does. */
const BLOCK = 4096;

const merged = (p: BinaryProblem): StridedDims => mergeDims({ dims: p.dims, strides: [p.aStrides, p.bStrides] });

/** The row dimension: the innermost one, if both operands step through it by 0 or 1; else rows of one. */
function rowOf({ dims, strides }: StridedDims): StridedDims {
  if (strides.every((s) => s.at(-1)! <= 1)) return { dims, strides };
  return { dims: [...dims, 1], strides: strides.map((s) => [...s, 0]) };
}

const binary = (op: BinaryProblem['op']) =>
  row<BinaryProblem>({
    name: `${op}_f32`,
    ops: [op],
    supports: (p) => rowOf(merged(p)).dims.length <= OUTER + 1 || `over ${OUTER + 1} dimensions after merging`,
    stages: [
      {
        export: 'binary',
        tiles(p) {
          const { dims } = rowOf(merged(p));
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
      } = rowOf(merged(p));
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
