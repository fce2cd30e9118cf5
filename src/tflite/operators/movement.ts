import { batchToSpace, spaceToBatch } from '../../graph/gather.js';
import type { IntegerConstant } from '../../graph/integers.js';
import type { Cut, Dim, ResampleNode, ReshapeDim, ValueId } from '../../graph/ir.js';
import { Unsupported } from '../../graph/refuse.js';
import { range, reshapeTo } from '../../graph/reshape.js';
import { formatShape } from '../../graph/shapes.js';
import {
  BuiltinOptions,
  ConcatenationOptions,
  DepthToSpaceOptions,
  MirrorPadMode,
  MirrorPadOptions,
  OneHotOptions,
  PackOptions,
  ReshapeOptions,
  ResizeBilinearOptions,
  ResizeNearestNeighborOptions,
  SpaceToDepthOptions,
  SqueezeOptions,
  StridedSliceOptions,
  UnpackOptions,
} from '../generated/tflite_generated.js';
import {
  activate,
  axisOf,
  binary,
  type Made,
  numberOf,
  type Operator,
  type OperatorContext,
  requireRank,
  reshape,
  sizeOf,
  squeeze,
  unsqueeze,
} from './context.js';

const MAX_SIZE = 2 ** 30;
const LARGEST_BORDER = 1 << 16;
const MAX_RESIZED = 1 << 16;
const MOST_STEPS = 1 << 20;
const MAX_DIMENSIONS = 8;
const TO_THE_END = Number.MAX_SAFE_INTEGER;

function readReshape(c: OperatorContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  const options = c.options(BuiltinOptions.ReshapeOptions, new ReshapeOptions());
  const given = options ? range(options.newShapeLength()).map((i) => options.newShape(i)!) : undefined;
  const sizes = c.has(1) ? c.dims(1, 'shape') : (given ?? c.bad('shape', 'an input or option', 'none'));
  if (sizes.length > MAX_DIMENSIONS) c.bad('shape', `at most ${MAX_DIMENSIONS} dimensions`, String(sizes.length));
  const known = reshapeTo(sizes, shape);
  const target = sizes.map((size, axis): ReshapeDim => {
    if (typeof size === 'string') return known[axis];
    if (size === -1 && sizes.indexOf(-1) === axis) return 'infer';
    if (size < 0 || size > MAX_SIZE) c.bad(`shape[${axis}]`, 'a size or one -1', String(size));
    return size;
  });
  return reshape(c, input, target);
}

function readTranspose(c: OperatorContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const perm = c.integers(1, 'permutation').map((axis) => axisOf(c, axis, rank));
  if (perm.length !== rank || new Set(perm).size !== rank) {
    c.bad('permutation', `one of ${rank} axes`, formatShape(perm));
  }
  return c.emit({ op: 'transpose', inputs: [input], perm });
}

function readConcatenation(c: OperatorContext): ValueId {
  const options = c.options(BuiltinOptions.ConcatenationOptions, new ConcatenationOptions());
  const inputs = range(c.inputCount).map((input) => c.value(input));
  const axis = axisOf(c, options?.axis() ?? 0, c.shape(inputs[0]).length);
  return activate(c, c.emit({ op: 'concat', inputs, axis }), options?.fusedActivationFunction());
}

/** One number, to fill with: 0, or the code of 0. */
function zero(c: OperatorContext): ValueId {
  const codes = c.valueIsCodes(0) ? c.codesOf(c.tensor(0)) : undefined;
  return codes ? c.addCode(codes.zeroPoint, codes.dtype) : c.addScalar(0, c.value(0));
}

function borders(c: OperatorContext, rank: number): [before: number[], after: number[]] {
  const sizes = c.integers(1, 'paddings');
  if (sizes.length !== 2 * rank || sizes.some((size) => size < 0 || size > LARGEST_BORDER)) {
    c.bad('paddings', `${2 * rank} sizes up to ${LARGEST_BORDER}`, formatShape(sizes));
  }
  return [range(rank).map((axis) => sizes[2 * axis]), range(rank).map((axis) => sizes[2 * axis + 1])];
}

function readPad(c: OperatorContext): ValueId {
  const input = c.value(0);
  const [before, after] = borders(c, c.shape(input).length);
  const value = c.has(2) ? c.value(2) : zero(c);
  if (c.shape(value).some((dim) => dim !== 1)) c.bad('constant', 'one number', formatShape(c.shape(value)));
  return c.emit({ op: 'pad', mode: 'constant', before, after, inputs: [input, value] });
}

function readMirrorPad(c: OperatorContext): ValueId {
  const input = c.value(0);
  const [before, after] = borders(c, c.shape(input).length);
  const mode = c.options(BuiltinOptions.MirrorPadOptions, new MirrorPadOptions())?.mode() ?? MirrorPadMode.REFLECT;
  const name = mode === MirrorPadMode.SYMMETRIC ? 'symmetric' : 'reflect';
  return c.emit({ op: 'pad', mode: name, before, after, inputs: [input] });
}

/** A specification of one axis, as StridedSlice has it. */
interface Spec {
  begin: Dim;
  end: Dim;
  step: number;
  kind: 'cut' | 'one' | 'new';
}

/** What is cut, and the dimensions that are taken away or put in. */
function readStridedSlice(c: OperatorContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const options = c.options(BuiltinOptions.StridedSliceOptions, new StridedSliceOptions());
  const begins = c.dims(1, 'begin');
  const ends = c.dims(2, 'end');
  const steps = c.integers(3, 'strides');
  if (ends.length !== begins.length || steps.length !== begins.length || begins.length > 2 * MAX_DIMENSIONS) {
    c.bad('begin', 'as many begins, ends and strides', `${begins.length}, ${ends.length}, ${steps.length}`);
  }
  if (steps.includes(0)) c.bad('strides', 'integers other than 0', '0');
  if (options?.offset()) throw new Unsupported('ends that count from the begins');
  const bit = (mask: number | undefined, i: number) => (((mask ?? 0) >> i) & 1) === 1;
  const specs: Spec[] = [];
  for (const [i, step] of steps.entries()) {
    if (bit(options?.ellipsisMask(), i)) {
      const others = range(steps.length).filter((at) => at !== i && !bit(options?.newAxisMask(), at)).length;
      for (let left = rank - others; left > 0; left--) specs.push({ begin: 0, end: TO_THE_END, step: 1, kind: 'cut' });
      continue;
    }
    const isNew = bit(options?.newAxisMask(), i);
    const isOne = !isNew && bit(options?.shrinkAxisMask(), i);
    const first = step > 0 ? 0 : TO_THE_END;
    const past = step > 0 ? TO_THE_END : -TO_THE_END;
    const begin = bit(options?.beginMask(), i) && !isOne ? first : begins[i];
    const next = typeof begin === 'number' && begin !== -1 ? begin + 1 : TO_THE_END;
    if (isOne && typeof begin !== 'number') throw new Unsupported('one index that is not known');
    const end = isOne ? next : bit(options?.endMask(), i) ? past : ends[i];
    specs.push({ begin, end, step: isOne ? 1 : step, kind: isNew ? 'new' : isOne ? 'one' : 'cut' });
  }
  return applySpecs(c, input, specs, rank);
}

function applySpecs(c: OperatorContext, input: ValueId, specs: readonly Spec[], rank: number): ValueId {
  const cuts: Cut[] = [];
  const dropped: number[] = [];
  const added: number[] = [];
  let axis = 0;
  let kept = 0;
  for (const { begin, end, step, kind } of specs) {
    if (kind === 'new') {
      added.push(kept++);
      continue;
    }
    if (axis >= rank) c.bad('begin', `at most ${rank} axes`, String(axis + 1));
    const whole = begin === 0 && end === TO_THE_END && step === 1;
    if (!whole) cuts.push({ axis, start: begin, end, step });
    if (kind === 'one') dropped.push(axis);
    else kept++;
    axis++;
  }
  if (rank - dropped.length + added.length > MAX_DIMENSIONS)
    c.bad('begin', `at most ${MAX_DIMENSIONS} dimensions`, 'more');
  let value = cuts.length > 0 ? c.emit({ op: 'slice', inputs: [input], cuts }) : input;
  for (const axis of dropped)
    if (c.shape(value)[axis] !== 1) c.bad('begin', 'an index inside the axis', formatShape(c.shape(value)));
  if (dropped.length > 0) value = squeeze(c, value, dropped);
  return added.length > 0 ? unsqueeze(c, value, added) : value;
}

function readSlice(c: OperatorContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const begins = c.integers(1, 'begin');
  const sizes = c.integers(2, 'size');
  if (begins.length !== rank || sizes.length !== rank) c.bad('begin', `${rank} begins and sizes`, formatShape(begins));
  const cuts = begins.map((start, axis): Cut => {
    const size = sizes[axis];
    const whole = c.shape(input)[axis];
    if (start < 0 || size < -1 || (typeof whole === 'number' && start + Math.max(size, 0) > whole)) {
      c.bad(`axis ${axis}`, `a part of ${whole}`, `${size} from ${start}`);
    }
    return { axis, start, end: size === -1 ? TO_THE_END : start + size, step: 1 };
  });
  return c.emit({ op: 'slice', inputs: [input], cuts });
}

function readSqueeze(c: OperatorContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  const options = c.options(BuiltinOptions.SqueezeOptions, new SqueezeOptions());
  const given = range(options?.squeezeDimsLength() ?? 0).map((i) => axisOf(c, options!.squeezeDims(i)!, shape.length));
  const axes = given.length > 0 ? given : range(shape.length).filter((axis) => shape[axis] === 1);
  return squeeze(c, input, axes);
}

function readExpandDims(c: OperatorContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length + 1;
  if (rank > MAX_DIMENSIONS) c.bad('input', `under ${MAX_DIMENSIONS} dimensions`, String(rank - 1));
  return unsqueeze(c, input, [axisOf(c, numberOf(c, 1, 'axis'), rank)]);
}

/** The parts of an axis, one behind the other. */
function parts(c: OperatorContext, input: ValueId, axis: number, sizes: readonly number[]): ValueId[] {
  let start = 0;
  return sizes.map((size) => {
    const cuts: Cut[] = [{ axis, start, end: start + size, step: 1 }];
    start += size;
    return c.emit({ op: 'slice', inputs: [input], cuts });
  });
}

function readSplit(c: OperatorContext): ValueId[] {
  const input = c.value(1);
  const axis = axisOf(c, numberOf(c, 0, 'axis'), c.shape(input).length);
  const size = sizeOf(c, input, axis) / c.outputCount;
  if (!Number.isInteger(size)) c.bad('outputs', `a divisor of ${sizeOf(c, input, axis)}`, String(c.outputCount));
  return parts(c, input, axis, new Array<number>(c.outputCount).fill(size));
}

function readSplitV(c: OperatorContext): ValueId[] {
  const input = c.value(0);
  const axis = axisOf(c, numberOf(c, 2, 'axis'), c.shape(input).length);
  const size = sizeOf(c, input, axis);
  const given = c.integers(1, 'sizes');
  const known = given.reduce((sum, part) => sum + Math.max(part, 0), 0);
  const sizes = given.map((part, i) => (part === -1 && given.indexOf(-1) === i ? size - known : part));
  if (sizes.some((part) => part < 0) || sizes.reduce((a, b) => a + b, 0) !== size || sizes.length !== c.outputCount) {
    c.bad('sizes', `${c.outputCount} whose sum is ${size}`, formatShape(given));
  }
  return parts(c, input, axis, sizes);
}

function readPack(c: OperatorContext): ValueId {
  const options = c.options(BuiltinOptions.PackOptions, new PackOptions());
  const rank = c.shape(c.value(0)).length + 1;
  if (rank > MAX_DIMENSIONS) c.bad('input', `under ${MAX_DIMENSIONS} dimensions`, String(rank - 1));
  const axis = axisOf(c, options?.axis() ?? 0, rank);
  const inputs = range(c.inputCount).map((input) => unsqueeze(c, c.value(input), [axis]));
  return c.emit({ op: 'concat', inputs, axis });
}

function readUnpack(c: OperatorContext): ValueId[] {
  const options = c.options(BuiltinOptions.UnpackOptions, new UnpackOptions());
  const input = c.value(0);
  const axis = axisOf(c, options?.axis() ?? 0, c.shape(input).length);
  const size = sizeOf(c, input, axis);
  if (size !== c.outputCount) c.bad('outputs', String(size), String(c.outputCount));
  return parts(c, input, axis, new Array<number>(size).fill(1)).map((part) => squeeze(c, part, [axis]));
}

function readTile(c: OperatorContext): ValueId {
  const input = c.value(0);
  const repeats = c.integers(1, 'multiples');
  const rank = c.shape(input).length;
  if (repeats.length !== rank || repeats.some((times) => times < 0 || times > MAX_SIZE)) {
    c.bad('multiples', `${rank} sizes`, formatShape(repeats));
  }
  return c.emit({ op: 'tile', inputs: [input], repeats });
}

function sizesOf(c: OperatorContext, input: number): readonly Dim[] {
  const target = c.dims(input, 'shape');
  if (target.length > MAX_DIMENSIONS) c.bad('shape', `at most ${MAX_DIMENSIONS} dimensions`, String(target.length));
  for (const dim of target) if (Number(dim) < 0 || Number(dim) > MAX_SIZE) c.bad('shape', 'sizes', formatShape(target));
  return target;
}

function readBroadcastTo(c: OperatorContext): ValueId {
  return c.emit({ op: 'expand', inputs: [c.value(0)], target: sizesOf(c, 1) });
}

function readFill(c: OperatorContext): ValueId {
  const filled = c.emit({ op: 'expand', inputs: [c.value(1)], target: sizesOf(c, 0) });
  return c.holdsIntegers(c.value(1)) ? c.markIntegers(filled) : filled;
}

function readZerosLike(c: OperatorContext): ValueId {
  const input = c.value(0);
  const filled = c.emit({ op: 'expand', inputs: [c.addScalar(0, input)], target: c.shape(input) });
  return c.holdsIntegers(input) ? c.markIntegers(filled) : filled;
}

function readShape(c: OperatorContext): IntegerConstant {
  const shape = c.shape(c.value(0));
  return { kind: 'integers', dims: [shape.length], data: shape };
}

const readRank = (c: OperatorContext): IntegerConstant => ({
  kind: 'integers',
  dims: [],
  data: [c.shape(c.value(0)).length],
});

function readRange(c: OperatorContext): Made {
  const [start, limit, delta] = [0, 1, 2].map((input) => {
    const values = c.isInteger(input) ? c.integers(input, 'range') : c.constant(input, 'range').data;
    if (values.length !== 1 || !Number.isFinite(values[0])) c.bad('range', 'one number', `${values.length} elements`);
    return values[0];
  });
  if (delta === 0) c.bad('delta', 'a number other than 0', '0');
  const count = Math.max(Math.ceil((limit - start) / delta), 0);
  if (count > MOST_STEPS) throw new Unsupported(`a range of ${count} numbers (only ${MOST_STEPS})`);
  c.claim(count);
  const data = Array.from({ length: count }, (_, i) => start + i * delta);
  if (c.isInteger(0)) return { kind: 'integers', dims: [count], data };
  return c.addConstant({ dims: [count], data: Float32Array.from(data) });
}

/** The second value where the index is, else the third, along a new axis. */
function readOneHot(c: OperatorContext): ValueId {
  const indices = c.value(0);
  const rank = c.shape(indices).length;
  const depth = numberOf(c, 1, 'depth');
  if (!(depth >= 1 && depth <= MOST_STEPS)) c.bad('depth', `a size in 1..${MOST_STEPS}`, String(depth));
  if (rank >= MAX_DIMENSIONS) c.bad('indices', `under ${MAX_DIMENSIONS} dimensions`, String(rank));
  const axis = axisOf(c, c.options(BuiltinOptions.OneHotOptions, new OneHotOptions())?.axis() ?? -1, rank + 1);
  c.claim(depth);
  const dims = [depth, ...new Array<number>(rank - axis).fill(1)];
  const places = c.addConstant({ dims, data: Float32Array.from({ length: depth }, (_, i) => i) });
  const hot = binary(c, 'equal', unsqueeze(c, indices, [axis]), places);
  const [on, off] = [c.value(2), c.value(3)];
  return binary(c, 'add', binary(c, 'keep', on, hot), binary(c, 'drop', off, hot));
}

type Resizing = Pick<ResampleNode, 'mode' | 'coordinates' | 'rounding'>;

function resize(c: OperatorContext, how: Resizing): ValueId {
  const input = c.value(0);
  requireRank(c, input, 4);
  const sizes = c.dims(1, 'size');
  if (sizes.length !== 2 || sizes.some((size) => Number(size) < 1 || Number(size) > MAX_RESIZED)) {
    c.bad('size', `two sizes in 1..${MAX_RESIZED}`, formatShape(sizes));
  }
  let value = input;
  for (const [i, size] of sizes.entries()) {
    if (c.shape(value)[i + 1] === size) continue;
    value = c.emit({ op: 'resample', inputs: [value], axis: i + 1, size, cubic: 0, ...how });
  }
  return value;
}

const RESIZE_BILINEAR: Operator = {
  inputs: [2, 2],
  read(c) {
    const options = c.options(BuiltinOptions.ResizeBilinearOptions, new ResizeBilinearOptions());
    const coordinates = options?.alignCorners()
      ? 'align_corners'
      : options?.halfPixelCenters()
        ? 'half_pixel'
        : 'asymmetric';
    return resize(c, { mode: 'linear', coordinates, rounding: 'floor' });
  },
};

const RESIZE_NEAREST_NEIGHBOR: Operator = {
  inputs: [2, 2],
  moves: true,
  read(c) {
    const options = c.options(BuiltinOptions.ResizeNearestNeighborOptions, new ResizeNearestNeighborOptions());
    const aligned = options?.alignCorners() ?? false;
    if (aligned && options?.halfPixelCenters()) throw new Unsupported('align_corners with half_pixel_centers');
    const coordinates = aligned ? 'align_corners' : options?.halfPixelCenters() ? 'tf_half_pixel_for_nn' : 'asymmetric';
    return resize(c, { mode: 'nearest', coordinates, rounding: aligned ? 'round_prefer_ceil' : 'floor' });
  },
};

/** An image whose dimensions are split, permuted and joined. */
function rearrange(c: OperatorContext, split: ReshapeDim[], perm: readonly number[], joined: ReshapeDim[]): ValueId {
  const moved = c.emit({ op: 'transpose', inputs: [reshape(c, c.value(0), split)], perm });
  return reshape(c, moved, joined);
}

function blockOf(c: OperatorContext, block: number | undefined): number {
  requireRank(c, c.value(0), 4);
  if (block === undefined || block < 1 || block > MAX_RESIZED) c.bad('block_size', 'a size', String(block));
  return block as number;
}

function readDepthToSpace(c: OperatorContext): ValueId {
  const block = blockOf(c, c.options(BuiltinOptions.DepthToSpaceOptions, new DepthToSpaceOptions())?.blockSize());
  const depth = sizeOf(c, c.value(0), 3) / block ** 2;
  if (!Number.isInteger(depth)) c.bad('block_size', 'a block whose size divides the channels', String(block));
  const axis = (i: number): ReshapeDim => ({ axes: [i] });
  const joined: ReshapeDim[] = [axis(0), { axes: [1, 2] }, { axes: [3, 4] }, depth];
  return rearrange(c, [axis(0), axis(1), axis(2), block, block, depth], [0, 1, 3, 2, 4, 5], joined);
}

function readSpaceToDepth(c: OperatorContext): ValueId {
  const block = blockOf(c, c.options(BuiltinOptions.SpaceToDepthOptions, new SpaceToDepthOptions())?.blockSize());
  const input = c.value(0);
  const [height, width] = [sizeOf(c, input, 1) / block, sizeOf(c, input, 2) / block];
  if (!Number.isInteger(height) || !Number.isInteger(width))
    c.bad('block_size', 'a divisor of the image', String(block));
  const depth = sizeOf(c, input, 3);
  const split: ReshapeDim[] = [{ axes: [0] }, height, block, width, block, depth];
  return rearrange(c, split, [0, 1, 3, 2, 4, 5], [{ axes: [0] }, height, width, depth * block ** 2]);
}

function readReverse(c: OperatorContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const axes = [...new Set(c.integers(1, 'axes').map((axis) => axisOf(c, axis, rank)))];
  const cuts = axes.map((axis): Cut => {
    const size = sizeOf(c, input, axis);
    return { axis, start: size - 1, end: -size - 1, step: -1 };
  });
  return cuts.length > 0 ? c.emit({ op: 'slice', inputs: [input], cuts }) : input;
}

/** Blocks of the dimensions behind the batch, and two sizes for each: [block, before, after]. */
function blocksOf(c: OperatorContext): [blocks: number[], before: number[], after: number[]] {
  const blocks = c.integers(1, 'block_shape');
  const sizes = c.integers(2, 'paddings');
  const rank = c.shape(c.value(0)).length;
  if (blocks.length < 1 || blocks.length >= rank || blocks.some((size) => size < 1 || size > MAX_RESIZED)) {
    c.bad('block_shape', `1 to ${rank - 1} sizes`, formatShape(blocks));
  }
  if (rank + 2 * blocks.length > MAX_DIMENSIONS + 2 || rank + blocks.length > MAX_DIMENSIONS) {
    throw new Unsupported(`blocks of ${blocks.length} of ${rank} dimensions`);
  }
  if (sizes.length !== 2 * blocks.length || sizes.some((size) => size < 0 || size > LARGEST_BORDER)) {
    c.bad('paddings', `${2 * blocks.length} sizes up to ${LARGEST_BORDER}`, formatShape(sizes));
  }
  const pick = (side: number) => [0, ...blocks.map((_, i) => sizes[2 * i + side])];
  const fill = (list: number[]) => [...list, ...new Array<number>(rank - list.length).fill(0)];
  return [blocks, fill(pick(0)), fill(pick(1))];
}

function readSpaceToBatch(c: OperatorContext): ValueId {
  const [blocks, before, after] = blocksOf(c);
  const input = c.value(0);
  const isPadded = [...before, ...after].some((size) => size > 0);
  const padded = isPadded ? c.emit({ op: 'pad', mode: 'constant', before, after, inputs: [input, zero(c)] }) : input;
  const made = spaceToBatch(c, padded, blocks);
  if (made === undefined) throw new Unsupported('dimensions that are open or no multiples of their blocks');
  return made;
}

function readBatchToSpace(c: OperatorContext): ValueId {
  const [blocks, before, after] = blocksOf(c);
  const joined = batchToSpace(c, c.value(0), blocks);
  if (joined === undefined)
    throw new Unsupported('dimensions that are open, or a batch that is no multiple of the blocks');
  const shape = c.shape(joined);
  const cuts = range(shape.length).flatMap((axis): Cut[] => {
    if (before[axis] + after[axis] === 0) return [];
    const size = Number(shape[axis]);
    if (before[axis] + after[axis] > size) c.bad('crops', `at most ${size}`, `${before[axis]} and ${after[axis]}`);
    return [{ axis, start: before[axis], end: size - after[axis], step: 1 }];
  });
  return cuts.length > 0 ? c.emit({ op: 'slice', inputs: [joined], cuts }) : joined;
}

const moves = (inputs: Operator['inputs'], read: Operator['read']): Operator => ({ inputs, read, moves: true });

export const movement: Readonly<Record<string, Operator>> = {
  BATCH_TO_SPACE_ND: moves([3, 3], readBatchToSpace),
  BROADCAST_TO: moves([2, 2], readBroadcastTo),
  CONCATENATION: moves([1, 1 << 16], readConcatenation),
  DEPTH_TO_SPACE: moves([1, 1], readDepthToSpace),
  EXPAND_DIMS: moves([2, 2], readExpandDims),
  FILL: { inputs: [2, 2], read: readFill },
  MIRROR_PAD: moves([2, 2], readMirrorPad),
  ONE_HOT: { inputs: [4, 4], read: readOneHot },
  PACK: moves([1, 1 << 16], readPack),
  PAD: moves([2, 2], readPad),
  PADV2: moves([3, 3], readPad),
  RANGE: { inputs: [3, 3], read: readRange },
  RANK: { inputs: [1, 1], read: readRank },
  RESHAPE: moves([1, 2], readReshape),
  RESIZE_BILINEAR,
  RESIZE_NEAREST_NEIGHBOR,
  REVERSE_V2: moves([2, 2], readReverse),
  SHAPE: { inputs: [1, 1], read: readShape },
  SLICE: moves([3, 3], readSlice),
  SPACE_TO_BATCH_ND: moves([3, 3], readSpaceToBatch),
  SPACE_TO_DEPTH: moves([1, 1], readSpaceToDepth),
  SPLIT: moves([2, 2], readSplit),
  SPLIT_V: moves([3, 3], readSplitV),
  SQUEEZE: moves([1, 1], readSqueeze),
  STRIDED_SLICE: moves([4, 4], readStridedSlice),
  TILE: moves([2, 2], readTile),
  TRANSPOSE: moves([2, 2], readTranspose),
  UNPACK: moves([1, 1], readUnpack),
  ZEROS_LIKE: { inputs: [1, 1], read: readZerosLike },
};
