// How weights of each format are made for a benchmark. A new format is one line here.

import { type FormatName, formatOf, type MatrixShape, type Weights } from '../src/formats/index.js';
import type { VariantBase } from '../src/plan/variant.js';
import { createRandom } from '../test/support/random.js';
import type { Traffic } from './problems.js';
import type { PeerKind } from './types.js';

/** Zeroes weights [rows, cols] down to a density. */
export type Prune = (values: Float32Array, shape: MatrixShape, density: number) => Float32Array;

const seedOf = (density: number): number => Math.round(density * 1e6);

/** Each block of weights is kept with probability `density`. */
const blocks =
  (blockRows: number, blockCols: number): Prune =>
  (values, { rows, cols }, density) => {
    const random = createRandom(seedOf(density));
    const kept = values.slice();
    for (let top = 0; top < rows; top += blockRows) {
      for (let left = 0; left < cols; left += blockCols) {
        if (random.next() < density) continue;
        for (let r = top; r < Math.min(top + blockRows, rows); r++) {
          kept.fill(0, r * cols + left, r * cols + Math.min(left + blockCols, cols));
        }
      }
    }
    return kept;
  };

const scattered = blocks(1, 1);

/** Of every four weights of a row two are kept. */
const twoOfFour: Prune = (values, { cols }) => {
  const random = createRandom(24);
  const kept = values.slice();
  for (let row = 0; row < values.length; row += cols) {
    for (let c = 0; c < cols; c += 4) {
      const first = random.integer(0, 3);
      const second = (first + random.integer(1, 3)) % 4;
      for (const zeroed of [first, second]) if (c + zeroed < cols) kept[row + c + zeroed] = 0;
    }
  }
  return kept;
};

export interface Recipe {
  format: FormatName;
  /** Options of the format's `pack`. */
  options?: object;
  /** The kind of a peer's weights that these compare with; absent: no peer has any. */
  same?: PeerKind;
  /** What it takes and gives; absent: f32. */
  traffic?: Traffic;
  /** As the layer option. */
  arithmetic?: 'f16';
  /** How weights are pruned, at each density; absent: they are not. */
  prune?: Prune;
  /** In place of the densities that are asked for, where the format has its own. */
  densities?: readonly number[];
  /**
   * Distinct values that weights are rounded to before they are packed, so that a codebook is exact and found at once:
   * k-means over millions of weights would take longer than the benchmark.
   */
  levels?: number;
}

export const RECIPES: Record<string, Recipe> = {
  dense: { format: 'dense', same: 'f32' },
  f16: { format: 'f16' },
  f16Halves: { format: 'f16', arithmetic: 'f16' },
  csr: { format: 'csr', same: 'f32', prune: scattered },
  bcsr2x1: { format: 'bcsr', options: { block: [2, 1] }, same: 'f32', prune: blocks(2, 1) },
  bcsr4x1: { format: 'bcsr', options: { block: [4, 1] }, same: 'f32', prune: blocks(4, 1) },
  bcsr8x1: { format: 'bcsr', options: { block: [8, 1] }, same: 'f32', prune: blocks(8, 1) },
  bcsr1x4: { format: 'bcsr', options: { block: [1, 4] }, same: 'f32', prune: blocks(1, 4) },
  nm: { format: 'nm', same: 'f32', prune: twoOfFour, densities: [0.5] },
  int8: { format: 'int8', same: 'int8' },
  int8Codes: { format: 'int8', same: 'codes', traffic: 'codes' },
  int8Sums: { format: 'int8', same: 'sums', traffic: 'sums' },
  int8Grouped: { format: 'int8Grouped' },
  int4: { format: 'int4', same: 'int4' },
  int2: { format: 'int2' },
  ternary: { format: 'ternary' },
  ternaryCodes: { format: 'ternary', traffic: 'codes' },
  binary: { format: 'binary' },
  xnor: { format: 'xnor' },
  xnorBits: { format: 'xnor', traffic: 'bits' },
  codebook16: { format: 'codebook', options: { entries: 16 }, same: 'int4', levels: 16 },
  codebook256: { format: 'codebook', options: { entries: 256 }, same: 'int8', levels: 256 },
  codebook16i8: { format: 'codebook', options: { entries: 16, centroids: 'int8' }, same: 'int4', levels: 16 },
  codebook256i8: { format: 'codebook', options: { entries: 256, centroids: 'int8' }, same: 'int8', levels: 256 },
  csrInt8: { format: 'csrInt8', same: 'int8', prune: scattered },
  csrInt8x4: { format: 'csrInt8', options: { blockCols: 4 }, same: 'int8', prune: blocks(1, 4) },
  csrCodebook16: { format: 'csrCodebook', options: { entries: 16 }, same: 'int4', prune: scattered, levels: 16 },
  csrCodebook256: { format: 'csrCodebook', options: { entries: 256 }, same: 'int8', prune: scattered, levels: 256 },
};

/** Uniform values in [-1, 1), [length]. */
export function uniform(length: number, seed: number): Float32Array {
  const random = createRandom(seed);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = 2 * random.next() - 1;
  return values;
}

/** A matrix as a recipe prunes it. */
export function pruned(recipe: string, values: Float32Array, shape: MatrixShape, density: number): Float32Array {
  return RECIPES[recipe].prune?.(values, shape, density) ?? values;
}

/** The densities at which a recipe is timed. */
export function densitiesOf(recipe: string, asked: readonly number[]): readonly number[] {
  const { prune, densities } = RECIPES[recipe];
  return prune ? (densities ?? asked) : [1];
}

/** Weights of a recipe by the format's `pack`, from dense [rows, cols]. */
export function packed(recipe: string, values: Float32Array, shape: MatrixShape): Weights {
  const { format, options } = RECIPES[recipe];
  return formatOf({ format } as Weights).pack(values, { ...shape, ...options });
}

/** Rounds values in [-1, 1) to `levels` steps, none of which is 0; zeros stay. */
export function rounded(values: Float32Array, levels: number): Float32Array {
  return values.map((value) => {
    if (value === 0) return 0;
    const step = Math.min(Math.floor(((value + 1) / 2) * levels), levels - 1);
    return (2 * step + 1) / levels - 1;
  });
}

/** Recipes named so, or all whose name begins so; of an empty list, all. */
export function recipesFor(only: readonly string[]): string[] {
  const all = Object.keys(RECIPES);
  if (only.length === 0) return all;
  return all.filter((name) => only.some((text) => name === text || (!(text in RECIPES) && name.startsWith(text))));
}

/** Formats that some row of a table is for, and no recipe makes. */
export function withoutRecipe(variants: readonly { format?: FormatName }[]): string[] {
  const made = new Set(Object.values(RECIPES).map(({ format }) => format));
  const missing = variants.map(({ format }) => format).filter((format) => format && !made.has(format));
  return [...new Set(missing as string[])];
}

/** True when some row of a table is for the weights of a recipe, and where it allows f16, some for that. */
export function hasRows(recipe: string, variants: readonly Pick<VariantBase, 'format' | 'requires'>[]): boolean {
  const { format: wanted, arithmetic } = RECIPES[recipe];
  const rows = variants.filter(({ format }) => format === wanted);
  return rows.some(({ requires }) => !arithmetic || requires?.includes('shader-f16'));
}
