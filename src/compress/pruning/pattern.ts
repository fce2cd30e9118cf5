import { describe, ThinferError } from '../../errors.js';
import { type BlockShape, bcsr, dense, nm, type Weights } from '../../formats/index.js';
import { bytesOf, packSparse } from '../layers.js';

/** Which weights go together: each alone, blocks of rows x columns, or two of every four columns. */
export type PrunePattern = 'weights' | '2:4' | '1x4' | '4x1' | '2x1' | '8x1';

const BLOCKS: Readonly<Record<Exclude<PrunePattern, '2:4'>, readonly [rows: number, cols: number]>> = {
  weights: [1, 1],
  '1x4': [1, 4],
  '4x1': [4, 1],
  '2x1': [2, 1],
  '8x1': [8, 1],
};

/** Rows and columns of what is pruned together. */
export const blockOf = (pattern: Exclude<PrunePattern, '2:4'>): readonly [number, number] => BLOCKS[pattern];

export function requirePattern(pattern: PrunePattern, place: string): void {
  if (pattern === '2:4' || Object.hasOwn(BLOCKS, pattern)) return;
  const expected = `2:4, ${Object.keys(BLOCKS).join(', ')}`;
  throw new ThinferError({ code: 'bad-argument', place: `${place}.pattern`, expected, got: describe(pattern) });
}

/** @throws ThinferError `bad-argument` unless it is a share below 1 */
export function requireShare(share: unknown, place: string): asserts share is number {
  if (typeof share === 'number' && share >= 0 && share < 1) return;
  throw new ThinferError({ code: 'bad-argument', place, expected: 'a share, 0 to less than 1', got: describe(share) });
}

/** Pruned weights in the format of their pattern, where that takes fewer bytes than dense ones. */
export function packPattern(
  values: Float32Array,
  shape: { rows: number; cols: number },
  pattern: PrunePattern,
): Weights {
  const { rows, cols } = shape;
  if (pattern === 'weights') return packSparse(values, shape);
  const sparse =
    pattern === '2:4'
      ? nm.pack(values, { rows, cols })
      : bcsr.pack(values, { rows, cols, block: BLOCKS[pattern] as BlockShape });
  return bytesOf(sparse) < 4 * values.length ? sparse : dense.pack(values, { rows, cols });
}
