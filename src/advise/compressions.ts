import type { Weights } from '../formats/format.js';
import { formatOf } from '../formats/index.js';
import { linearProblem } from '../layers/problem.js';
import type { MatmulProblem, WeightFacts } from '../plan/problem.js';

/** One layer that a compressed layer becomes. */
export interface Part {
  /** With the facts of any weights: those of `make` take their place. */
  problem: MatmulProblem;
  make(): Weights;
}

/** A way to compress a layer. */
export interface Compression {
  name: string;
  /** What it makes of a layer, or why it can't be done to it. */
  parts(problem: MatmulProblem): Part[] | string;
}

/** Which weights stay: each block of rows x cols of them with this probability. */
interface Pruning {
  density: number;
  block?: readonly [rows: number, cols: number];
  /** Two of every four instead. */
  pairs?: boolean;
}

type Shape = { rows: number; cols: number };

const shapeOf = ({ N, K, groups }: MatmulProblem): Shape => ({ rows: N * groups, cols: K });

/** Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): in [0, 1), scattered, the same every time. */
const hash = (i: number): number => (Math.imul(i + 1, 0x9e3779b1) >>> 0) / 2 ** 32;

/** Made-up weights in [-1, 1), on `levels` values where a codebook has to hold them. */
function madeUp({ rows, cols }: Shape, { density, block = [1, 1], pairs }: Pruning, levels = 0): Float32Array {
  const values = new Float32Array(rows * cols);
  const [blockRows, blockCols] = block;
  const blocksAcross = Math.ceil(cols / blockCols);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++, i++) {
      const at = Math.floor(r / blockRows) * blocksAcross + Math.floor(c / blockCols);
      const kept = pairs ? (c + (r & 3)) % 4 < 2 : hash(at ^ 0x5bd1e995) < density;
      if (!kept) continue;
      const x = hash(i);
      values[i] = levels ? (2 * Math.floor(x * levels) + 1) / levels - 1 : 2 * x - 1 || 1;
    }
  }
  return values;
}

const all: Pruning = { density: 1 };

function packed(format: Weights['format'], options: object, pruning = all, levels = 0) {
  return (problem: MatmulProblem): Part[] => {
    const shape = shapeOf(problem);
    const make = () => formatOf({ format } as Weights).pack(madeUp(shape, pruning, levels), { ...shape, ...options });
    return [{ problem, make }];
  };
}

/** Weights of the facts that a problem's weights have: what it does now, made up. */
export function asPart(problem: MatmulProblem): Part {
  const { format, nnz, block, entries, centroids, groupSize, symmetric } = problem.weights;
  const { rows, cols } = shapeOf(problem);
  const pruning: Pruning = { density: nnz / (rows * cols), block, pairs: format === 'nm' };
  const options = { block, blockCols: block?.[1], entries, centroids, groupSize, symmetric };
  const known = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return packed(format, known, pruning, entries)(problem)[0];
}

/** Two layers of rank r = a share of the smaller dimension: [N, r] * [r, K] (a truncated singular value decomposition). */
function lowRank(share: number) {
  return (problem: MatmulProblem): Part[] | string => {
    const { M, N, K, groups, input } = problem;
    if (groups > 1) return 'groups are too small to factorise';
    if (input.dtype !== 'float32' || problem.output.dtype !== 'float32') return 'f32 layers only';
    const rank = Math.max(Math.round(share * Math.min(N, K)), 1);
    const make = (shape: Shape) => () => formatOf({ format: 'dense' } as Weights).pack(madeUp(shape, all), shape);
    const facts = (rows: number, cols: number): WeightFacts => ({
      format: 'dense',
      nnz: rows * cols,
      bytes: 4 * rows * cols,
    });
    const { nonlinearity: _, ...rest } = problem;
    const first: MatmulProblem = {
      ...rest,
      N: rank,
      weights: facts(rank, K),
      bias: false,
      clamp: [-Infinity, Infinity],
    };
    const second = linearProblem(facts(N, rank), { rows: N, cols: rank }, M, {});
    return [
      { problem: first, make: make({ rows: rank, cols: K }) },
      { problem: second, make: make({ rows: N, cols: rank }) },
    ];
  };
}

const percent = (density: number): string => `${Math.round(100 * (1 - density))} %`;

const scattered = [0.3, 0.2, 0.1, 0.05].map(
  (density): Compression => ({
    name: `prune ${percent(density)}`,
    parts: packed('csr', {}, { density }),
  }),
);

const inBlocks = [0.2, 0.1].flatMap((density) =>
  (
    [
      [4, 1],
      [1, 4],
    ] as const
  ).map(
    (block): Compression => ({
      name: `prune ${percent(density)} in blocks of ${block.join('x')}`,
      parts: packed('bcsr', { block }, { density, block }),
    }),
  ),
);

/** Everything that `advise` tries. */
export const COMPRESSIONS: readonly Compression[] = [
  ...scattered,
  ...inBlocks,
  { name: 'prune 2:4', parts: packed('nm', {}, { density: 0.5, pairs: true }) },
  { name: 'int8', parts: packed('int8', {}) },
  { name: 'prune 90 % + int8', parts: packed('csrInt8', {}, { density: 0.1 }) },
  { name: 'int4', parts: packed('int4', {}) },
  { name: 'int2', parts: packed('int2', {}) },
  { name: 'codebook of 16', parts: packed('codebook', { entries: 16 }, all, 16) },
  { name: 'codebook of 256', parts: packed('codebook', { entries: 256 }, all, 256) },
  { name: 'ternary', parts: packed('ternary', {}) },
  { name: 'binary weights', parts: packed('binary', {}) },
  { name: 'binary weights and activations', parts: packed('xnor', {}) },
  { name: 'rank 1/4', parts: lowRank(1 / 4) },
  { name: 'rank 1/8', parts: lowRank(1 / 8) },
];
