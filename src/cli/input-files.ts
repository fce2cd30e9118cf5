// Inputs of a model from files.
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import type { ElementType } from '../dtype.js';
import { describe, elementCount, ThinferError } from '../errors.js';
import type { InputArray } from '../graph/inputs.js';
import type { ValueReport } from '../graph/model.js';
import { loadSafetensors } from '../safetensors/index.js';
import { wrongUsage } from './command.js';
import { type Input, type Inputs, madeUpInputs, sizesOf } from './model.js';

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array, int8: Int8Array };

const FORMATS = 'a .json, .safetensors or .bin file';

function badFile(file: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-argument', place: file, expected, got, hint });
}

/** Elements of an input, in the shape that is given or else the one that the command line or the model says. */
function shaped(file: string, { name, dtype }: ValueReport, values: ArrayLike<number>, shape: number[]): Input {
  const length = elementCount(shape, `input ${name}`);
  if (values.length !== length) {
    badFile(file, `${length} elements for ${name} [${shape.join(', ')}]`, String(values.length), 'See --shape.');
  }
  return { shape, data: ARRAYS[dtype as ElementType].from(values) };
}

type Nested = number | readonly Nested[];

const isNested = (value: unknown): value is Nested =>
  typeof value === 'number' || (Array.isArray(value) && value.every(isNested));

/** `{ "image": [[…]] }` by name, or an array alone for the only input. */
function fromJson(file: string, text: string, inputs: readonly ValueReport[], sizes: Map<string, number[]>): Inputs {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    badFile(file, 'JSON', (error as Error).message);
  }
  const byName = Array.isArray(parsed) && inputs.length === 1 ? { [inputs[0].name]: parsed } : parsed;
  const tensorOf = (input: ValueReport): Input => {
    const value = (byName as Record<string, unknown> | null)?.[input.name];
    if (!isNested(value)) badFile(file, `numbers, nested or flat, under "${input.name}"`, describe(value));
    const flat = [value].flat(Number.POSITIVE_INFINITY as 1) as unknown as number[];
    return shaped(file, input, flat, sizes.get(input.name)!);
  };
  return Object.fromEntries(inputs.map((input) => [input.name, tensorOf(input)]));
}

/** Tensors by the names of the inputs. */
async function fromSafetensors(file: string, inputs: readonly ValueReport[]): Promise<Inputs> {
  const { tensors } = await loadSafetensors(file);
  return Object.fromEntries(
    inputs.map((input) => {
      const tensor = tensors.get(input.name);
      if (!tensor) badFile(file, `a tensor "${input.name}"`, [...tensors.keys()].join(', ') || 'none');
      const integer = /^[IU]|^BOOL$/.test(tensor.type);
      const values = integer ? Array.from(tensor.data as ArrayLike<number | bigint>, Number) : tensor.floats();
      return [input.name, shaped(file, input, values, [...tensor.shape])];
    }),
  );
}

/** The elements of the only input as the model has them, little-endian and nothing else. */
function fromBytes(
  file: string,
  bytes: Uint8Array,
  inputs: readonly ValueReport[],
  sizes: Map<string, number[]>,
): Inputs {
  if (inputs.length !== 1) badFile(file, 'a model with one input', `${inputs.length}`, 'Use .safetensors or .json.');
  const [input] = inputs;
  const Elements = ARRAYS[input.dtype as ElementType];
  if (bytes.length % Elements.BYTES_PER_ELEMENT)
    badFile(file, `whole elements of ${input.dtype}`, `${bytes.length} bytes`);
  const values = new Elements(bytes.slice().buffer) as InputArray as ArrayLike<number> & InputArray;
  return { [input.name]: shaped(file, input, values, sizes.get(input.name)!) };
}

/**
 * @param from a file, or `random`
 * @throws ThinferError for a file that can't be read or holds something else
 */
export async function readInputs(
  from: string,
  inputs: readonly ValueReport[],
  shapes: readonly string[],
  seed: number,
): Promise<Inputs> {
  if (from === 'random') return madeUpInputs(inputs, shapes, seed);
  const type = extname(from).toLowerCase();
  if (!['.json', '.safetensors', '.bin'].includes(type)) throw wrongUsage('--input', `random, ${FORMATS}`, from);
  const read = async () => {
    try {
      return await readFile(from);
    } catch (error) {
      return badFile(from, 'a file that can be read', (error as Error).message);
    }
  };
  if (type === '.safetensors') return fromSafetensors(from, inputs);
  const bytes = await read();
  const sizes = sizesOf(inputs, shapes);
  return type === '.json' ? fromJson(from, bytes.toString(), inputs, sizes) : fromBytes(from, bytes, inputs, sizes);
}
