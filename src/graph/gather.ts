import { product } from '../plan/strides.js';
import { binary, type Emitter, reshape } from './emit.js';
import type { Constant, ReshapeDim, ValueId } from './ir.js';
import { keepDims, range } from './reshape.js';
import type { Shape } from './shapes.js';

/*
 * Gathers by more than one index, as rows of one axis by an index that is computed: it is f32, exact up to 2^24. Sizes
 * that offsets follow from have to be known: `undefined` says that they are not, or too large.
 */

export interface GatherEmitter extends Emitter {
  shape(value: ValueId): Shape;
  addConstant(constant: Constant): ValueId;
  /** Counts elements that are about to be allocated. */
  claim(count: number): void;
}

const LARGEST_EXACT = 2 ** 24;

const sizesOf = (shape: Shape): number[] | undefined =>
  shape.every((dim) => typeof dim === 'number') ? (shape as number[]) : undefined;

/** Indices that count from the end where they are negative. */
export function fromFront(c: Emitter, indices: ValueId, size: number): ValueId {
  const below = binary(c, 'less', indices, { number: 0 });
  return binary(c, 'add', indices, binary(c, 'mul', below, { number: size }));
}

/** The number of each batch, times `step`, with `rank` dimensions behind those of the batch. */
function batchOffsets(c: GatherEmitter, batch: readonly number[], step: number, rank: number): ValueId {
  c.claim(product(batch));
  const data = Float32Array.from({ length: product(batch) }, (_, i) => i * step);
  return c.addConstant({ dims: [...batch, ...new Array<number>(rank).fill(1)], data });
}

/**
 * out[b.., outer.., i.., inner..] = in[b.., outer.., indices[b.., i..], inner..] with `batchDims` dimensions b, `axis` being
 * the one behind outer.
 */
export function gatherBatches(
  c: GatherEmitter,
  input: ValueId,
  indices: ValueId,
  axis: number,
  batchDims: number,
): ValueId | undefined {
  const rank = c.shape(input).length;
  // The axis comes right behind the batch, and what is gathered back behind the outer dimensions.
  const outer = range(axis - batchDims).map((i) => batchDims + i);
  const rest = range(rank - axis - 1).map((i) => axis + 1 + i);
  const front = [...range(batchDims), axis, ...outer, ...rest];
  const moved = outer.length > 0 ? c.emit({ op: 'transpose', inputs: [input], perm: front }) : input;
  const shape = c.shape(moved);
  const sizes = sizesOf(shape.slice(0, batchDims + 1));
  const found = c.shape(indices).length;
  if (!sizes || product(sizes) > LARGEST_EXACT) return undefined;
  const flat = reshape(c, moved, [product(sizes), ...keepDims(shape).slice(batchDims + 1)]);
  const offsets = batchOffsets(c, sizes.slice(0, -1), sizes[batchDims], found - batchDims);
  const gathered = c.emit({ op: 'gather', inputs: [flat, binary(c, 'add', indices, offsets)], axis: 0 });
  if (outer.length === 0) return gathered;
  const at = (first: number, count: number) => range(count).map((i) => first + i);
  const perm = [
    ...range(batchDims),
    ...at(found, outer.length),
    ...at(batchDims, found - batchDims),
    ...at(found + outer.length, rest.length),
  ];
  return c.emit({ op: 'transpose', inputs: [gathered], perm });
}

/** out[b.., i.., inner..] = in[b.., indices[b.., i.., 0], indices[b.., i.., 1], .., inner..] */
export function gatherNd(c: GatherEmitter, input: ValueId, indices: ValueId, batchDims: number): ValueId | undefined {
  const shape = c.shape(input);
  const found = c.shape(indices);
  const count = found.at(-1);
  if (typeof count !== 'number' || count < 1 || batchDims + count > shape.length) return undefined;
  const sizes = sizesOf(shape.slice(0, batchDims + count));
  if (!sizes || product(sizes) > LARGEST_EXACT) return undefined;
  const picked = sizes.slice(batchDims);
  const strides = picked.map((_, i) => product(picked.slice(i + 1)));
  const constant = (values: number[]) => c.addConstant({ dims: [values.length], data: Float32Array.from(values) });
  const below = binary(c, 'less', indices, { number: 0 });
  const front = binary(c, 'add', indices, binary(c, 'mul', below, constant(picked)));
  const scaled = binary(c, 'mul', front, constant(strides));
  const axes = [found.length - 1];
  const summed = c.emit({ op: 'reduce', reduction: 'sum', inputs: [scaled], axes });
  const rows = reshape(c, summed, keepDims(found).slice(0, -1));
  const offsets = batchOffsets(c, sizes.slice(0, batchDims), product(picked), found.length - 1 - batchDims);
  const flat = reshape(c, input, [product(sizes), ...keepDims(shape).slice(batchDims + count)]);
  return c.emit({ op: 'gather', inputs: [flat, binary(c, 'add', rows, offsets)], axis: 0 });
}

/** out[i, j, ..] = in[indices[i, j, ..], j, ..], the index being that of `axis`. */
export function gatherElements(c: GatherEmitter, input: ValueId, indices: ValueId, axis: number): ValueId | undefined {
  const sizes = sizesOf(c.shape(input));
  const wanted = sizesOf(c.shape(indices));
  if (!sizes || wanted?.length !== sizes.length || product(sizes) > LARGEST_EXACT) return undefined;
  const strides = sizes.map((_, i) => product(sizes.slice(i + 1)));
  let at = binary(c, 'mul', fromFront(c, indices, sizes[axis]), { number: strides[axis] });
  for (const [i, size] of wanted.entries()) {
    if (i === axis || size === 1) continue;
    c.claim(size);
    const dims = wanted.map((_, other) => (other === i ? size : 1));
    at = binary(
      c,
      'add',
      at,
      c.addConstant({ dims, data: Float32Array.from({ length: size }, (_, k) => k * strides[i]) }),
    );
  }
  const flat = reshape(c, input, [product(sizes)]);
  return c.emit({ op: 'gather', inputs: [flat, at], axis: 0 });
}

/** Sums of an axis up to each index: a product with a triangle of ones. */
export function cumulate(
  c: GatherEmitter,
  input: ValueId,
  axis: number,
  { exclusive, reverse }: { exclusive: boolean; reverse: boolean },
): ValueId | undefined {
  const shape = c.shape(input);
  const size = shape[axis];
  if (typeof size !== 'number' || size < 1 || size > 1 << 11) return undefined;
  const rank = shape.length;
  const isIn = (from: number, to: number) => {
    const before = reverse ? from - to : to - from;
    return exclusive ? before > 0 : before >= 0;
  };
  c.claim(size * size);
  const data = Float32Array.from({ length: size * size }, (_, i) => Number(isIn(Math.floor(i / size), i % size)));
  const triangle = c.addConstant({ dims: [size, size], data });
  const perm = range(rank);
  [perm[axis], perm[rank - 1]] = [rank - 1, axis];
  const isLast = axis === rank - 1;
  const last = isLast ? input : c.emit({ op: 'transpose', inputs: [input], perm });
  const matrix = rank === 1 ? reshape(c, last, [1, size]) : last;
  const sums = c.emit({ op: 'batchMatmul', inputs: [matrix, triangle], perms: [undefined, undefined] });
  if (rank === 1) return reshape(c, sums, [size]);
  return isLast ? sums : c.emit({ op: 'transpose', inputs: [sums], perm });
}

/** Rounds of `topK` at most: one after the other. */
export const MOST_TOP = 1 << 6;

/** The `count` largest (smallest) of the last axis, in their order, and where they are; of equals the first. */
export function topK(
  c: GatherEmitter,
  input: ValueId,
  count: number,
  largest: boolean,
): [ValueId, ValueId] | undefined {
  const shape = c.shape(input);
  const size = shape.at(-1);
  if (typeof size !== 'number' || count < 1 || count > Math.min(size, MOST_TOP)) return undefined;
  const axes = [shape.length - 1];
  c.claim(size);
  const places = c.addConstant({ dims: [size], data: Float32Array.from({ length: size }, (_, i) => i) });
  const gone = { number: largest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY };
  const values: ValueId[] = [];
  const indices: ValueId[] = [];
  let left = input;
  for (let i = 0; i < count; i++) {
    values.push(c.emit({ op: 'reduce', reduction: largest ? 'max' : 'min', inputs: [left], axes }));
    indices.push(c.emit({ op: 'reduce', reduction: largest ? 'argMax' : 'argMin', inputs: [left], axes }));
    if (i + 1 === count) break;
    const taken = binary(c, 'equal', indices[i], places);
    left = binary(c, 'add', binary(c, 'drop', left, taken), binary(c, 'keep', gone, taken));
  }
  const join = (inputs: ValueId[]) => (count === 1 ? inputs[0] : c.emit({ op: 'concat', inputs, axis: axes[0] }));
  return [join(values), join(indices)];
}

/** Dimensions of images in blocks, brought behind each other: [b0, b1, .., N, H / b0, W / b1, .., rest]. */
export function spaceToBatch(c: GatherEmitter, input: ValueId, blocks: readonly number[]): ValueId | undefined {
  const shape = c.shape(input);
  const sizes = sizesOf(shape.slice(1, blocks.length + 1));
  if (!sizes || sizes.some((size, i) => size % blocks[i] !== 0)) return undefined;
  const rest = keepDims(shape).slice(blocks.length + 1);
  const split: ReshapeDim[] = [{ axes: [0] }, ...sizes.flatMap((size, i) => [size / blocks[i], blocks[i]]), ...rest];
  const inner = blocks.map((_, i) => 2 + 2 * i);
  const outer = blocks.map((_, i) => 1 + 2 * i);
  const last = rest.map((_, i) => 1 + 2 * blocks.length + i);
  const moved = c.emit({
    op: 'transpose',
    inputs: [reshape(c, input, split)],
    perm: [...inner, 0, ...outer, ...last],
  });
  const batch: ReshapeDim = { axes: range(blocks.length + 1) };
  return reshape(c, moved, [batch, ...sizes.map((size, i) => size / blocks[i]), ...rest]);
}

/** The other way round. */
export function batchToSpace(c: GatherEmitter, input: ValueId, blocks: readonly number[]): ValueId | undefined {
  const shape = c.shape(input);
  const [batch] = shape;
  const sizes = sizesOf(shape.slice(1, blocks.length + 1));
  if (!sizes || (typeof batch === 'number' && batch % product(blocks) !== 0)) return undefined;
  const rest = keepDims(shape).slice(blocks.length + 1);
  const images: ReshapeDim = typeof batch === 'number' ? batch / product(blocks) : 'infer';
  const count = blocks.length;
  const perm = [count, ...blocks.flatMap((_, i) => [count + 1 + i, i]), ...rest.map((_, i) => 2 * count + 1 + i)];
  const moved = c.emit({ op: 'transpose', inputs: [reshape(c, input, [...blocks, images, ...sizes, ...rest])], perm });
  return reshape(c, moved, [{ axes: [0] }, ...sizes.map((size, i) => size * blocks[i]), ...rest]);
}
