import type { MatmulProblem } from '../../src/plan/problem.js';
import type { Device, SubgroupMatrix } from '../../src/plan/variant.js';
import { MATRICES } from '../../src/webgpu/matrices.js';
import gemmMatrix from './gemm_matrix.wgsl';
import { type Arithmetic, type MatmulVariant, matmulRow, type Walk } from './matmul.js';

/** What is multiplied, what the sums are, and how many columns an Element has. */
export interface MatrixKind {
  component: 'f16' | 'i8';
  result: 'f32' | 'i32';
  columns: 1 | 4;
}

/** Rows and columns of C that a workgroup computes, and its threads. */
export interface MatrixTile {
  side: number;
  threads: number;
}

const LARGE: MatrixTile = { side: 128, threads: 256 };
const SMALL: MatrixTile = { side: 64, threads: 128 };
export const MATRIX_TILES: readonly MatrixTile[] = [LARGE, SMALL];
/** For formats that multiply as one that has them all. */
export const SHARED_TILES: readonly MatrixTile[] = [SMALL];

/** Bytes of a row that are staged at once, and those between rows. */
const ROW_BYTES = 64;
const GAP_BYTES = 16;
/** Of fewer output channels a matrix is mostly empty. */
const LEAST_OUTPUTS = 16;
/** Workgroup memory for what weights need besides: a codebook's table. */
const WEIGHTS_BYTES = 1024;

const elementBytes = ({ columns }: MatrixKind): number => (columns === 4 ? 4 : 2);

/** Subgroups of so many threads along M and N of a tile. */
function subgroupsOf({ threads }: MatrixTile, subgroup: number): [M: number, N: number] {
  const count = Math.max(threads / subgroup, 1);
  const alongN = 2 ** Math.ceil(Math.log2(count) / 2);
  return [count / alongN, alongN];
}

/** The matrices of a device that do most at once, of those that divide what a subgroup computes of a tile. */
function matrixOn({ matrices }: Device, kind: MatrixKind, tile: MatrixTile): SubgroupMatrix | undefined {
  if (!matrices) return undefined;
  const depth = (ROW_BYTES / elementBytes(kind)) * kind.columns;
  const block = subgroupsOf(tile, matrices.threads).map((count) => tile.side / count);
  const size = ({ M, N, K }: SubgroupMatrix) => M * N * K;
  return matrices.configs
    .filter(({ component, result }) => component === kind.component && result === kind.result)
    .filter(({ M, N, K }) => block[0] % M === 0 && block[1] % N === 0 && N % 4 === 0 && depth % K === 0)
    .sort((a, b) => size(b) - size(a))[0];
}

function walkOf(kind: MatrixKind, tile: MatrixTile, matrix: SubgroupMatrix, subgroup: number): Walk {
  const { side, threads } = tile;
  const [alongM, alongN] = subgroupsOf(tile, subgroup);
  const tilesN = (p: MatmulProblem) => Math.ceil(p.N / side);
  const workgroups = (p: MatmulProblem) => Math.ceil(p.M / side) * tilesN(p) * p.groups;
  return {
    name: `gemm_${side}x${side}`,
    source: gemmMatrix,
    enables: ['subgroups', MATRICES.replaceAll('-', '_')],
    requires: [MATRICES, 'subgroups', 'subgroup_id'],
    threads,
    consts: (p) => ({
      MATRIX_M: matrix.M,
      MATRIX_N: matrix.N,
      MATRIX_K: matrix.K,
      COLUMNS: kind.columns,
      PER_M: side / alongM / matrix.M,
      PER_N: side / alongN / matrix.N,
      SIDE_M: alongM,
      SIDE_N: alongN,
      TILE_K: ROW_BYTES / elementBytes(kind),
      GAP: GAP_BYTES / elementBytes(kind),
      TILES_N: tilesN(p),
    }),
    workgroups,
    macs: (p) => workgroups(p) * side * side * p.K,
    passes: () => 1,
    efficiency: 0.5,
  };
}

/** Why a device can't run a tile, if it can't. */
function obstacle(device: Device, kind: MatrixKind, tile: MatrixTile): string | undefined {
  const matrix = matrixOn(device, kind, tile);
  if (!matrix) return `its subgroups multiply no matrices of ${kind.component} to ${kind.result} that divide the tile`;
  const [alongM, alongN] = subgroupsOf(tile, device.matrices!.threads);
  const bytes = 2 * tile.side * (ROW_BYTES + GAP_BYTES) + alongM * alongN * matrix.M * matrix.N * 4 + WEIGHTS_BYTES;
  const { maxComputeWorkgroupStorageSize: storage = 16384, maxComputeInvocationsPerWorkgroup: most = 256 } =
    device.limits ?? {};
  if (bytes > storage) return `takes ${bytes} bytes of workgroup memory, the device has ${storage}`;
  if (tile.threads > most) return `takes ${tile.threads} threads, the device has ${most}`;
  return undefined;
}

/**
 * The rows of an arithmetic whose products are those of subgroup matrices: its snippets define what gemm_matrix.wgsl asks
 * for. Not for columns that have scales by group.
 */
export function matrixRows(
  arithmetic: Omit<Arithmetic, 'isa'>,
  kind: MatrixKind,
  tiles: readonly MatrixTile[],
): MatmulVariant[] {
  const named: Arithmetic = { ...arithmetic, isa: 'matrix' };
  return tiles.map((tile) => {
    const row = matmulRow(named, walkOf(kind, tile, { ...kind, M: 8, N: 8, K: 8 }, 32));
    const rowOn = (device: Device) =>
      matmulRow(named, walkOf(kind, tile, matrixOn(device, kind, tile)!, device.matrices!.threads));
    return {
      ...row,
      obstacle: (device) => obstacle(device, kind, tile),
      supports(p, device) {
        if (arithmetic.span?.(p)) return 'for rows with one scale';
        if (p.N < LEAST_OUTPUTS) return `for at least ${LEAST_OUTPUTS} output channels of a group`;
        return row.supports!(p, device);
      },
      stages: (p, device, weights) => rowOn(device).stages(p, device, weights),
      cost: (p, device) => rowOn(device).cost(p, device),
    };
  });
}
