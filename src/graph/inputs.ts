import { type DType, dtypeOf, type ElementType } from '../dtype.js';
import { describe, ThinferError } from '../errors.js';
import { product } from '../plan/strides.js';
import { Tensor } from '../tensor.js';
import type { Graph, ValueId } from './ir.js';
import { formatShape, type Shape } from './shapes.js';
import { elementType } from './types.js';

/**
 * Integers (indices, masks) are computed with as f32, which has those up to 2^24 exactly. Inputs of the model that are
 * codes, or int32, take arrays of what they are only.
 */
export type InputArray = Float32Array | Int32Array | BigInt64Array | Uint8Array | Int8Array;
/** What a run reads. */
export type InputElements = Float32Array | Int32Array | Uint8Array | Int8Array;

/** Data with its shape, row-major. */
export interface TensorLike {
  readonly shape: readonly number[];
  readonly data: InputArray;
}

/**
 * A plain array for an input whose shape has at most one open dimension: the batch follows from its length. A Tensor
 * on the device that the model runs on is read where it lies.
 */
export type ModelInput = InputArray | TensorLike | Tensor<DType>;
export type ModelInputs = Readonly<Record<string, ModelInput>>;
export type InputData = ReadonlyMap<ValueId, InputElements | Tensor<DType>>;

/** Checks all inputs of a run: names, shapes, lengths. */
export function readInputs(
  graph: Graph,
  inputs: ModelInputs,
): { shapes: Map<ValueId, readonly number[]>; data: InputData } {
  const expected = graph.inputs.map(({ name }) => name);
  const given = typeof inputs === 'object' && inputs !== null ? Object.keys(inputs) : [];
  if (given.length !== expected.length || !expected.every((name) => given.includes(name))) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'model.run: inputs',
      expected: `an object with ${expected.map((name) => JSON.stringify(name)).join(', ') || 'no inputs'}`,
      got: given.map((name) => JSON.stringify(name)).join(', ') || describe(inputs),
    });
  }
  const shapes = new Map<ValueId, readonly number[]>();
  const data = new Map<ValueId, InputElements | Tensor<DType>>();
  const sizes = new Map<string, number>();
  // Shapes that are given settle open dimensions for the arrays that come without.
  const withShape = (name: string) => !isArray(inputs[name]);
  const ordered = [...graph.inputs].sort((a, b) => Number(withShape(b.name)) - Number(withShape(a.name)));
  for (const { name, value } of ordered) {
    const declared = graph.values.get(value)!;
    const input = readInput(name, inputs[name], declared.shape, elementType(declared), sizes);
    shapes.set(value, input.shape);
    data.set(value, input.data);
  }
  return { shapes, data };
}

function badInput(name: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-shape', place: `model.run: input "${name}"`, expected, got, hint });
}

const ARRAYS = [Float32Array, Int32Array, BigInt64Array, Uint8Array, Int8Array];

function isArray(input: unknown): input is InputArray {
  return ARRAYS.some((kind) => input instanceof kind);
}

/** Integers up to this are exact in f32. */
const LARGEST_EXACT = 2 ** 24;

function toFloats(name: string, data: InputArray): Float32Array {
  if (data instanceof Float32Array) return data;
  const floats = Float32Array.from(data as ArrayLike<number | bigint>, Number);
  const large = floats.find((x) => Math.abs(x) > LARGEST_EXACT);
  if (large !== undefined) {
    throw new ThinferError({
      code: 'bad-argument',
      place: `model.run: input "${name}"`,
      expected: `integers of at most 2^24`,
      got: String(large),
    });
  }
  return floats;
}

/** The elements as the model has them. */
function toElements(name: string, data: InputArray, dtype: ElementType): InputElements {
  return dtype === 'float32' ? toFloats(name, data) : (requireType(name, data, dtypeOf(data), dtype) as InputElements);
}

function requireType<T>(name: string, data: T, given: DType | undefined, dtype: ElementType): T {
  if (given === dtype) return data;
  throw new ThinferError({
    code: 'bad-argument',
    place: `model.run: input "${name}"`,
    expected: `elements of ${dtype}`,
    got: given ?? describe(data),
  });
}

/** Checks one input against its declared shape; open dimensions are settled in `sizes`. */
function readInput(
  name: string,
  input: ModelInput,
  declared: Shape,
  dtype: ElementType,
  sizes: Map<string, number>,
): { shape: readonly number[]; data: InputElements | Tensor<DType> } {
  const given = isArray(input) ? undefined : input?.shape;
  const held = isArray(input) || input instanceof Tensor ? input : input?.data;
  if (!(isArray(held) || held instanceof Tensor) || !(isArray(input) || Array.isArray(given))) {
    throw new ThinferError({
      code: 'bad-argument',
      place: `model.run: input "${name}"`,
      expected: 'a Float32Array (or Int32Array, BigInt64Array, Uint8Array, Int8Array), { shape, data } or a Tensor',
      got: describe(input),
    });
  }
  const data = held instanceof Tensor ? requireType(name, held, held.dtype, dtype) : toElements(name, held, dtype);
  const length = data instanceof Tensor ? data.size : data.length;
  if (given) matchShape(name, given, declared, sizes);
  else settle(name, declared, length, sizes);
  const shape = declared.map((dim) => (typeof dim === 'string' ? sizes.get(dim)! : dim));
  if (product(shape) !== length) {
    badInput(name, `${product(shape)} elements for the shape ${formatShape(shape)}`, String(length));
  }
  return { shape, data };
}

/** Checks a shape that came with the data. */
function matchShape(name: string, given: readonly number[], declared: Shape, sizes: Map<string, number>): void {
  const fits = given.every((size, axis) => {
    const dim = declared[axis];
    const wanted = typeof dim === 'string' ? (sizes.get(dim) ?? size) : dim;
    if (typeof dim === 'string') sizes.set(dim, wanted);
    return Number.isSafeInteger(size) && size >= 0 && wanted === size;
  });
  if (!fits || given.length !== declared.length)
    badInput(name, `the shape ${formatShape(declared)}`, formatShape(given));
}

/** Finds the one open dimension of an array that comes without a shape. */
function settle(name: string, declared: Shape, length: number, sizes: Map<string, number>): void {
  const open = declared.filter((dim) => typeof dim === 'string' && !sizes.has(dim)) as string[];
  if (open.length === 0) return;
  const known = product(declared.map((dim) => (typeof dim === 'number' ? dim : (sizes.get(dim) ?? 1))));
  if (open.length > 1) {
    badInput(
      name,
      'a tensor',
      'an array',
      `Its shape ${formatShape(declared)} has open dimensions: pass { shape, data }.`,
    );
  }
  const size = length / known;
  if (!Number.isSafeInteger(size)) {
    badInput(name, `a multiple of ${known} elements for the shape ${formatShape(declared)}`, String(length));
  }
  sizes.set(open[0], size);
}
