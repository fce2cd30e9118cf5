import { badModel, Unsupported } from '../graph/refuse.js';
import { product } from '../plan/strides.js';
import type { SparseLevel, Sparsity } from './file.js';

/*
 * Sparse tensors of TensorFlow Lite (schema.fbs, SparsityParameters): the dimensions, and behind them those inside blocks, are
 * walked in the order `traversal`; level i has all indices of dimension traversal[i], or for each path to it those
 * that its segment lists. Dimension rank + j is the inside of blocks along dimension blockMap[j].
 */

/** Sizes of the levels' dimensions: those of the tensor in blocks, then those of the blocks. */
function sizesOf({ traversal, blockMap, levels }: Sparsity, shape: readonly number[], place: string): number[] {
  const rank = shape.length;
  const count = rank + blockMap.length;
  const isPermutation = [...traversal].sort((a, b) => a - b).every((axis, i) => axis === i);
  if (traversal.length !== count || !isPermutation || levels.length !== count) {
    badModel(`${place}.sparsity`, `${count} levels in some order`, `[${traversal.slice(0, 16).join(', ')}]`);
  }
  if (new Set(blockMap).size !== blockMap.length || blockMap.some((axis) => axis < 0 || axis >= rank)) {
    badModel(`${place}.block_map`, `dimensions of the ${rank}`, `[${blockMap.slice(0, 16).join(', ')}]`);
  }
  const sizes = [...shape];
  for (const [j, axis] of blockMap.entries()) {
    const level = levels[traversal.indexOf(rank + j)];
    if (level.format !== 'dense') throw new Unsupported(`${place} with blocks of sparse insides`);
    const size = level.size;
    if (!(size >= 1) || sizes[axis] % size !== 0) {
      badModel(`${place}.block_map`, `a block that divides ${sizes[axis]}`, String(size));
    }
    sizes[axis] /= size;
    sizes.push(size);
  }
  return sizes;
}

/** Checks a level; returns how many paths it has for `paths` paths to it. */
function countLevel(level: SparseLevel, size: number, paths: number, place: string): number {
  if (level.format === 'dense') {
    if (level.size !== size) badModel(place, `a size of ${size}`, String(level.size));
    return paths * size;
  }
  const { segments, indices } = level;
  if (segments.length !== paths + 1 || segments[0] !== 0 || segments.at(-1) !== indices.length) {
    badModel(`${place}.segments`, `${paths + 1}, from 0 to ${indices.length}`, `${segments.length} segments`);
  }
  for (let i = 0; i < paths; i++) {
    if (segments[i + 1] < segments[i])
      badModel(`${place}.segments[${i + 1}]`, `at least ${segments[i]}`, String(segments[i + 1]));
    for (let at = segments[i]; at < segments[i + 1]; at++) {
      const least = at > segments[i] ? indices[at - 1] + 1 : 0;
      if (indices[at] < least || indices[at] >= size) {
        badModel(`${place}.indices[${at}]`, `${least}..${size - 1}`, String(indices[at]));
      }
    }
  }
  return indices.length;
}

/**
 * How many elements are stored.
 * @throws ThinferError `bad-model` where levels do not fit the shape or each other
 */
export function storedCount(sparsity: Sparsity, shape: readonly number[], place: string): number {
  const sizes = sizesOf(sparsity, shape, place);
  let paths = 1;
  for (const [i, level] of sparsity.levels.entries()) {
    paths = countLevel(level, sizes[sparsity.traversal[i]], paths, `${place}.dim_metadata[${i}]`);
  }
  if (paths > product(shape)) badModel(place, `at most ${product(shape)} stored elements`, String(paths));
  return paths;
}

/** Where each stored element lies in the tensor, row-major; of a sparsity that `storedCount` has checked. */
export function placesOf(sparsity: Sparsity, shape: readonly number[], place: string): Uint32Array {
  const { traversal, blockMap, levels } = sparsity;
  const sizes = sizesOf(sparsity, shape, place);
  const rank = shape.length;
  const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
  // An index of a dimension in blocks moves by a block.
  const steps = sizes.map((_, dimension) => {
    if (dimension >= rank) return strides[blockMap[dimension - rank]];
    const block = blockMap.indexOf(dimension);
    return strides[dimension] * (block < 0 ? 1 : sizes[rank + block]);
  });
  let starts: Uint32Array = Uint32Array.of(0);
  for (const [i, level] of levels.entries()) {
    const step = steps[traversal[i]];
    const from = starts;
    if (level.format === 'dense') {
      const { size } = level;
      starts = Uint32Array.from(
        { length: from.length * size },
        (_, at) => from[Math.floor(at / size)] + (at % size) * step,
      );
      continue;
    }
    const { segments, indices } = level;
    starts = new Uint32Array(indices.length);
    for (let path = 0; path < from.length; path++) {
      for (let at = segments[path]; at < segments[path + 1]; at++) starts[at] = from[path] + indices[at] * step;
    }
  }
  return starts;
}
