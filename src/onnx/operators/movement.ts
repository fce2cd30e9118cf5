import type { IntegerConstant } from '../../graph/integers.js';
import type { Cut, Dim, PadNode, ResampleNode, ReshapeDim, ValueId } from '../../graph/ir.js';
import { formatShape, multiplyDims } from '../../graph/shapes.js';
import { type OnnxTensor, Unsupported } from '../tensor.js';
import {
  axesOf,
  axisOf,
  type NodeContext,
  normalizeAxes,
  type Operator,
  range,
  rearrange,
  reshape,
  reshapeTo,
  sizeOf,
  squeeze,
  unsqueeze,
} from './context.js';
import { binary } from './elementwise.js';

const MAX_SIZE = 2 ** 30;
const MAX_RESIZED = 1 << 16;
/** Numbers of a range at most. */
const MOST_STEPS = 1 << 20;
const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER } = Number;

function readFlatten(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const axis = axisOf(c, 1, rank, rank);
  const axes = Array.from({ length: rank }, (_, i) => i);
  const part = (of: number[]): ReshapeDim => (of.length > 0 ? { axes: of } : 1);
  return reshape(c, input, [part(axes.slice(0, axis)), part(axes.slice(axis))]);
}

function readReshape(c: NodeContext): ValueId {
  const input = c.value(0);
  const zeroIsZero = c.attributes.int('allowzero', 0, 0, 1) === 1;
  const shape = c.shape(input);
  const sizes = c.dims(1, 'shape');
  if (sizes.length > 8) c.bad('shape', 'at most 8 dimensions', String(sizes.length));
  const known = reshapeTo(sizes, shape);
  const target = sizes.map((size, axis): ReshapeDim => {
    if (typeof size === 'string') return known[axis];
    if (size === -1 && sizes.indexOf(-1) === axis) return 'infer';
    if (size < 0 || size > 2 ** 30) c.bad(`shape[${axis}]`, 'a size, 0 or one -1', String(size));
    if (size !== 0 || zeroIsZero) return size;
    if (axis >= shape.length) c.bad(`shape[${axis}]`, `a 0 only for the ${shape.length} dimensions of the input`, '0');
    return { axes: [axis] };
  });
  // The one that is no dimension of the input is what is left.
  const named = target.filter((dim) => typeof dim === 'object' && 'name' in dim);
  const settles = named.length === 1 && !target.includes('infer') && !target.includes(0);
  return reshape(c, input, settles ? target.map((dim) => (dim === named[0] ? 'infer' : dim)) : target);
}

function readTranspose(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const perm = c.attributes.ints('perm', rank, 0, rank - 1) ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (new Set(perm).size !== rank) c.bad('perm', `a permutation of ${rank} axes`, `[${perm.join(', ')}]`);
  return c.emit({ op: 'transpose', inputs: [input], perm });
}

function readConstant(c: NodeContext): ValueId | OnnxTensor {
  const { attributes } = c;
  if (attributes.names.length !== 1) c.bad('attributes', 'one value', attributes.names.join(', ') || 'none');
  const tensor = attributes.raw('value', 'TENSOR')?.t;
  if (tensor) return c.readTensor(tensor);
  const sparse = attributes.raw('sparse_value', 'SPARSE_TENSOR')?.sparseTensor;
  if (sparse) return c.readSparse(sparse);
  const float = attributes.raw('value_float', 'FLOAT');
  if (float) return { kind: 'floats', dims: [], data: new Float32Array([float.f]) };
  const floats = attributes.raw('value_floats', 'FLOATS')?.floats;
  if (floats) return { kind: 'floats', dims: [floats.length], data: Float32Array.from(floats) };
  if (attributes.has('value_int')) return { kind: 'integers', dims: [], data: [attributes.int('value_int', 0)] };
  const ints = attributes.ints('value_ints', undefined, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (ints) return { kind: 'integers', dims: [ints.length], data: ints };
  return c.bad('attributes', 'a value', attributes.names.join(', '));
}

function readDropout(c: NodeContext): ValueId[] {
  if (c.has(2) && c.integers(2, 'training_mode').some((flag) => flag !== 0))
    throw new Unsupported('training_mode true');
  const input = c.value(0);
  if (c.outputCount === 1) return [input];
  // Nothing is dropped: the mask is true.
  return [input, c.emit({ op: 'expand', inputs: [c.addScalar(1)], target: c.shape(input) })];
}

function readShape(c: NodeContext): IntegerConstant {
  const shape = c.shape(c.value(0));
  const rank = shape.length;
  const end = c.attributes.int('end', rank);
  const data = shape.slice(c.attributes.int('start', 0), end);
  return { kind: 'integers', dims: [data.length], data };
}

function readSize(c: NodeContext): IntegerConstant {
  return { kind: 'integers', dims: [], data: [multiplyDims(c.shape(c.value(0)))] };
}

function readConstantOfShape(c: NodeContext): ValueId | IntegerConstant {
  const target = c.dims(0, 'shape');
  for (const dim of target) if (Number(dim) < 0) c.bad('shape', 'sizes', formatShape(target));
  const given = c.attributes.raw('value', 'TENSOR')?.t;
  const value: OnnxTensor = given ? c.readTensor(given) : { kind: 'floats', dims: [1], data: new Float32Array(1) };
  if (value.data.length !== 1) c.bad('value', 'one element', String(value.data.length));
  const count = multiplyDims(target);
  if (value.kind === 'integers' && typeof count === 'number' && count <= 1 << 16) {
    return { kind: 'integers', dims: target as number[], data: new Array<number>(count).fill(value.data[0]) };
  }
  const constant = c.addConstant({ dims: [], data: Float32Array.of(value.data[0]) });
  const filled = c.emit({ op: 'expand', inputs: [constant], target });
  return value.kind === 'floats' ? filled : c.markIntegers(filled);
}

/** Numbers of which a range to an open dimension is cut. */
const LONGEST_OPEN = 1 << 15;

function readRange(c: NodeContext): OnnxTensor | ValueId {
  const floats = ![0, 1, 2].every((input) => c.isInteger(input));
  if (!floats) {
    const [[start], [limit], [delta]] = [0, 1, 2].map((input) => c.dims(input, 'range'));
    if (start === 0 && delta === 1 && typeof limit === 'string') {
      c.claim(LONGEST_OPEN);
      const all = c.addConstant({
        dims: [LONGEST_OPEN],
        data: Float32Array.from({ length: LONGEST_OPEN }, (_, i) => i),
      });
      const cuts = [{ axis: 0, start: 0, end: limit, step: 1 }];
      return c.markIntegers(c.emit({ op: 'slice', inputs: [all], cuts }));
    }
  }
  const [start, limit, delta] = ['start', 'limit', 'delta'].map((name, input) => {
    const values = floats ? c.constant(input, name).data : c.integers(input, name);
    if (values.length !== 1 || !Number.isFinite(values[0])) c.bad(name, 'one number', `${values.length} elements`);
    return values[0];
  });
  if (delta === 0) c.bad('delta', 'a number other than 0', '0');
  const count = Math.max(Math.ceil((limit - start) / delta), 0);
  if (count > MOST_STEPS) throw new Unsupported(`a range of ${count} numbers (only ${MOST_STEPS})`);
  c.claim(count);
  const data = Array.from({ length: count }, (_, i) => start + i * delta);
  return floats
    ? { kind: 'floats', dims: [count], data: Float32Array.from(data) }
    : { kind: 'integers', dims: [count], data };
}

/** 1 where the index is, else 0, along a new axis; or two other values. */
function readOneHot(c: NodeContext): ValueId {
  const indices = c.value(0);
  const rank = c.shape(indices).length;
  const [depth] = c.isInteger(1) ? c.integers(1, 'depth') : c.constant(1, 'depth').data;
  if (!(depth >= 1 && depth <= MOST_STEPS)) c.bad('depth', `a size in 1..${MOST_STEPS}`, String(depth));
  const values = c.constant(2, 'values').data;
  if (values.length !== 2) c.bad('values', 'two numbers', String(values.length));
  const axis = axisOf(c, -1, rank + 1);
  c.claim(depth);
  const dims = [depth, ...new Array<number>(rank - axis).fill(1)];
  const places = c.addConstant({ dims, data: Float32Array.from({ length: depth }, (_, i) => i) });
  const wide = unsqueeze(c, indices, [axis]);
  // Negative indices count from the end.
  const below = binary(c, 'less', wide, { number: 0 });
  const from = binary(c, 'add', wide, binary(c, 'mul', below, { number: depth }));
  const hot = binary(c, 'equal', from, places);
  return binary(c, 'add', binary(c, 'mul', hot, { number: values[1] - values[0] }), { number: values[0] });
}

function readConcat(c: NodeContext): ValueId {
  const inputs = range(c.inputCount).map((input) => c.value(input));
  const rank = c.shape(inputs[0]).length;
  if (rank === 0) c.bad('inputs', 'at least one dimension', 'none');
  return c.emit({ op: 'concat', inputs, axis: axisOf(c, 1, rank) });
}

function readSplit(c: NodeContext): ValueId[] {
  const input = c.value(0);
  const axis = axisOf(c, 0, c.shape(input).length);
  const size = sizeOf(c, input, axis);
  const given =
    c.opset < 13 ? c.attributes.ints('split', undefined, 0, size) : c.has(1) ? c.integers(1, 'split') : undefined;
  const parts = given?.length ?? c.attributes.int('num_outputs', c.outputCount, 1, c.outputCount);
  const each = Math.ceil(size / parts);
  const sizes = given ?? range(parts).map((i) => Math.max(Math.min(each, size - i * each), 0));
  if (sizes.some((part) => part < 0) || sizes.reduce((a, b) => a + b, 0) !== size) {
    c.bad('split', `sizes whose sum is ${size}`, formatShape(sizes));
  }
  let start = 0;
  return sizes.map((part) => {
    const cuts: Cut[] = [{ axis, start, end: start + part, step: 1 }];
    start += part;
    return c.emit({ op: 'slice', inputs: [input], cuts });
  });
}

function readSlice(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const attribute = (name: string) => c.attributes.ints(name, undefined, MIN_SAFE_INTEGER, MAX_SAFE_INTEGER);
  const early = c.opset < 10;
  const starts = early ? (attribute('starts') ?? []) : c.dims(1, 'starts');
  const ends = early ? (attribute('ends') ?? []) : c.dims(2, 'ends');
  const axes = (early ? attribute('axes') : c.has(3) ? c.integers(3, 'axes') : undefined) ?? range(starts.length);
  const steps = !early && c.has(4) ? c.integers(4, 'steps') : starts.map(() => 1);
  if (ends.length !== starts.length || axes.length !== starts.length || steps.length !== starts.length) {
    c.bad(
      'starts',
      'as many starts, ends, axes and steps',
      `${starts.length}, ${ends.length}, ${axes.length}, ${steps.length}`,
    );
  }
  if (steps.includes(0)) c.bad('steps', 'integers other than 0', '0');
  const cuts = normalizeAxes(c, axes, rank).map(
    (axis, i): Cut => ({ axis, start: starts[i], end: ends[i], step: steps[i] }),
  );
  return c.emit({ op: 'slice', inputs: [input], cuts });
}

function readSqueeze(c: NodeContext): ValueId {
  const input = c.value(0);
  const shape = c.shape(input);
  const axes = axesOf(c, shape.length, 13) ?? range(shape.length).filter((axis) => shape[axis] === 1);
  return squeeze(c, input, axes);
}

function readUnsqueeze(c: NodeContext): ValueId {
  const input = c.value(0);
  const given = c.opset < 13 ? c.attributes.ints('axes', undefined, -16, 16) : c.integers(1, 'axes');
  if (!given) return c.bad('axes', 'integers', 'none');
  const rank = c.shape(input).length + given.length;
  if (rank > 8) c.bad('axes', 'at most 8 dimensions', String(rank));
  return unsqueeze(c, input, normalizeAxes(c, given, rank));
}

function readExpand(c: NodeContext): ValueId {
  const target = c.dims(1, 'shape');
  if (target.length > 8) c.bad('shape', 'at most 8 dimensions', String(target.length));
  for (const dim of target) if (Number(dim) < 0) c.bad('shape', 'sizes', formatShape(target));
  return c.emit({ op: 'expand', inputs: [c.value(0)], target });
}

function readTile(c: NodeContext): ValueId {
  const input = c.value(0);
  const repeats = c.integers(1, 'repeats');
  const rank = c.shape(input).length;
  if (repeats.length !== rank || repeats.some((times) => times < 0 || times > MAX_SIZE)) {
    c.bad('repeats', `${rank} sizes`, formatShape(repeats));
  }
  return c.emit({ op: 'tile', inputs: [input], repeats });
}

const PAD_MODES: readonly string[] = ['constant', 'edge', 'reflect'];

function readPad(c: NodeContext): ValueId {
  const input = c.value(0);
  const rank = c.shape(input).length;
  const mode = c.attributes.string('mode', 'constant');
  if (!PAD_MODES.includes(mode)) throw new Unsupported(`mode ${mode.slice(0, 40)}`);
  const limit = 1 << 16;
  const pads = c.opset < 11 ? c.attributes.ints('pads', undefined, -limit, limit) : c.integers(1, 'pads');
  const axes = c.has(3) ? normalizeAxes(c, c.integers(3, 'axes'), rank) : range(rank);
  if (pads?.length !== 2 * axes.length || pads.some((size) => Math.abs(size) > limit)) {
    return c.bad('pads', `${2 * axes.length} integers in ${-limit}..${limit}`, formatShape(pads ?? []));
  }
  const [before, after] = [0, axes.length].map((first) =>
    range(rank).map((axis) => (axes.includes(axis) ? pads[first + axes.indexOf(axis)] : 0)),
  );
  const node = { op: 'pad', mode: mode as PadNode['mode'], before, after } as const;
  if (mode !== 'constant') return c.emit({ ...node, inputs: [input] });
  const value =
    c.opset < 11 ? c.addScalar(c.attributes.float('value', 0)) : c.has(2) ? c.value(2) : c.addScalar(0, input);
  if (c.shape(value).some((dim) => dim !== 1)) c.bad('constant_value', 'one number', formatShape(c.shape(value)));
  return c.emit({ ...node, inputs: [input, value] });
}

function readDepthToSpace(c: NodeContext): ValueId {
  const input = c.value(0);
  if (c.shape(input).length !== 4) c.bad('input', '4 dimensions', String(c.shape(input).length));
  const channels = sizeOf(c, input, 1);
  const block = c.attributes.int('blocksize', 1, 1, MAX_RESIZED);
  const mode = c.attributes.string('mode', 'DCR');
  if (mode !== 'DCR' && mode !== 'CRD') c.bad('mode', 'DCR or CRD', JSON.stringify(mode));
  const depth = channels / block ** 2;
  if (!Number.isInteger(depth)) c.bad('blocksize', `a block whose size divides ${channels}`, String(block));
  const pixel = [0, 1, 2].map((axis): ReshapeDim => ({ axes: [axis] }));
  const split = [...pixel, ...(mode === 'DCR' ? [block, block, depth] : [depth, block, block])];
  const perm = mode === 'DCR' ? [0, 1, 3, 2, 4, 5] : [0, 1, 4, 2, 5, 3];
  return rearrange(c, input, split, perm, [pixel[0], { axes: [1, 2] }, { axes: [3, 4] }, depth]);
}

function readSpaceToDepth(c: NodeContext): ValueId {
  const input = c.value(0);
  if (c.shape(input).length !== 4) c.bad('input', '4 dimensions', String(c.shape(input).length));
  const [channels, height, width] = [1, 2, 3].map((axis) => sizeOf(c, input, axis));
  const block = c.attributes.int('blocksize', 1, 1, MAX_RESIZED);
  if (height % block !== 0 || width % block !== 0)
    c.bad('blocksize', `a divisor of ${height} and ${width}`, String(block));
  const batch: ReshapeDim = { axes: [0] };
  const split = [batch, height / block, block, width / block, block, channels];
  const joined = [batch, height / block, width / block, channels * block ** 2];
  return rearrange(c, input, split, [0, 1, 3, 2, 4, 5], joined);
}

const COORDINATES: readonly string[] = [
  'half_pixel',
  'pytorch_half_pixel',
  'align_corners',
  'asymmetric',
  'tf_half_pixel_for_nn',
];
const ROUNDINGS: readonly string[] = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'];

function readResize(c: NodeContext): ValueId {
  const { attributes } = c;
  const early = c.opset < 11;
  const upsample = c.opset < 9;
  const choose = <T extends string>(name: string, fallback: string, allowed: readonly string[]): T => {
    const value = attributes.string(name, fallback);
    if (!allowed.includes(value)) throw new Unsupported(`${name} ${value.slice(0, 40)}`);
    return value as T;
  };
  const mode = choose<ResampleNode['mode']>('mode', 'nearest', ['nearest', 'linear', 'cubic', 'bilinear']);
  const input = c.value(0);
  const shape = c.shape(input);
  const axes = normalizeAxes(c, attributes.ints('axes', undefined, -8, 7) ?? range(shape.length), shape.length);
  if (attributes.int('exclude_outside', 0) !== 0) throw new Unsupported('exclude_outside 1');
  if (attributes.int('antialias', 0) !== 0) throw new Unsupported('antialias 1');
  if (attributes.string('keep_aspect_ratio_policy', 'stretch') !== 'stretch')
    throw new Unsupported('keep_aspect_ratio_policy');
  const at = early ? 1 : 2;
  const sizes = c.has(3) ? c.dims(3, 'sizes') : undefined;
  const given = upsample && attributes.has('scales') ? attributes.floats('scales') : undefined;
  const scales = sizes ? undefined : (given ?? Array.from(c.constant(at, 'scales').data));
  const wanted = sizes ?? scales ?? [];
  if (wanted.length !== axes.length) c.bad('scales', `${axes.length} of them`, String(wanted.length));
  for (const x of wanted)
    if (!(typeof x === 'string' || (x > 0 && x <= MAX_RESIZED))) c.bad('scales', 'sizes over 0', String(x));
  const node = {
    op: 'resample',
    mode: (mode as string) === 'bilinear' ? 'linear' : mode,
    coordinates: choose<ResampleNode['coordinates']>(
      'coordinate_transformation_mode',
      early ? 'asymmetric' : 'half_pixel',
      COORDINATES,
    ),
    rounding: choose<ResampleNode['rounding']>('nearest_mode', early ? 'floor' : 'round_prefer_floor', ROUNDINGS),
    cubic: attributes.float('cubic_coeff_a', -0.75),
  } as const;
  let value = input;
  for (const [i, axis] of axes.entries()) {
    const size: Dim | { scale: number } = scales ? { scale: scales[i] } : sizes![i];
    const same = typeof size === 'object' ? size.scale === 1 : size === shape[axis];
    if (!same) value = c.emit({ ...node, inputs: [value], axis, size });
  }
  return value;
}

const RESIZE = [
  'antialias',
  'axes',
  'coordinate_transformation_mode',
  'cubic_coeff_a',
  'exclude_outside',
  'extrapolation_value',
  'keep_aspect_ratio_policy',
  'mode',
  'nearest_mode',
];

/** Operators that move elements, and those that make sizes and constants. */
export const movement: Readonly<Record<string, Operator>> = {
  Concat: { attributes: ['axis'], inputs: [1, 1 << 16], read: readConcat },
  Constant: {
    attributes: ['sparse_value', 'value', 'value_float', 'value_floats', 'value_int', 'value_ints'],
    inputs: [0, 0],
    read: readConstant,
  },
  ConstantOfShape: { attributes: ['value'], inputs: [1, 1], read: readConstantOfShape },
  DepthToSpace: { attributes: ['blocksize', 'mode'], inputs: [1, 1], read: readDepthToSpace },
  Dropout: { attributes: ['ratio', 'seed'], inputs: [1, 3], read: readDropout },
  Expand: { attributes: [], inputs: [2, 2], read: readExpand },
  Flatten: { attributes: ['axis'], inputs: [1, 1], read: readFlatten },
  Identity: { attributes: [], inputs: [1, 1], read: (c) => c.value(0) },
  OneHot: { attributes: ['axis'], inputs: [3, 3], read: readOneHot },
  Pad: { attributes: ['mode', 'pads', 'value'], inputs: [1, 4], read: readPad },
  Range: { attributes: [], inputs: [3, 3], read: readRange },
  Reshape: { attributes: ['allowzero'], inputs: [2, 2], read: readReshape },
  Resize: { attributes: RESIZE, inputs: [1, 4], read: readResize },
  Shape: { attributes: ['start', 'end'], inputs: [1, 1], read: readShape },
  Size: { attributes: [], inputs: [1, 1], read: readSize },
  Slice: { attributes: ['axes', 'ends', 'starts'], inputs: [1, 5], read: readSlice },
  SpaceToDepth: { attributes: ['blocksize'], inputs: [1, 1], read: readSpaceToDepth },
  Split: { attributes: ['axis', 'num_outputs', 'split'], inputs: [1, 2], read: readSplit },
  Squeeze: { attributes: ['axes'], inputs: [1, 2], read: readSqueeze },
  Tile: { attributes: [], inputs: [2, 2], read: readTile },
  Transpose: { attributes: ['perm'], inputs: [1, 1], read: readTranspose },
  Unsqueeze: { attributes: ['axes'], inputs: [1, 2], read: readUnsqueeze },
  Upsample: { attributes: ['mode', 'scales'], inputs: [1, 2], read: readResize },
};
