import { writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { madeUp } from '../bench/inputs.js';
import type { ElementType } from '../dtype.js';
import { describe, elementCount, ThinferError } from '../errors.js';
import type { InputArray } from '../graph/inputs.js';
import type { Graph } from '../graph/ir.js';
import type { Model, ModelOptions, ValueReport } from '../graph/model.js';
import { elementType } from '../graph/types.js';
import { loadOnnx } from '../onnx/index.js';
import { graphOf } from '../onnx/load.js';
import type { BackendName } from '../plan/variant.js';
import { createRuntime, type Runtime } from '../runtime.js';
import { readSource } from '../source.js';
import { loadTflite, readTflite } from '../tflite/index.js';
import { wrongUsage } from './command.js';

export interface OpenOptions {
  backend?: BackendName;
  threads?: number;
  /** Sizes of inputs with open dimensions, as `name=1x3x224x224`; the name may be left out where there is one input. */
  shapes: readonly string[];
}

export type Input = { shape: number[]; data: InputArray };
export type Inputs = Record<string, Input>;

export const isTflite = (file: string): boolean => extname(file).toLowerCase() === '.tflite';

/** The graph of a file, before any passes. */
export const readGraph = async (file: string): Promise<Graph> =>
  isTflite(file) ? readTflite(await readSource(file, 'loadTflite: source')) : graphOf(file);

export const loadFile = (runtime: Runtime, file: string, options?: ModelOptions): Promise<Model> =>
  (isTflite(file) ? loadTflite : loadOnnx)(runtime, file, options);

export const inputsOf = (graph: Graph): ValueReport[] =>
  graph.inputs.map(({ name, value }) => {
    const known = graph.values.get(value)!;
    return { name, shape: known.shape, dtype: elementType(known) };
  });

/** A model of a file that has run once, on numbers of no meaning. */
export async function openModel(file: string, { backend, threads, shapes }: OpenOptions): Promise<[Runtime, Model]> {
  const runtime = await createRuntime({ backends: backend && [backend], wasm: { threads }, tune: 'off' });
  try {
    const model = await loadFile(runtime, file);
    await model.run(madeUpInputs(model.inputs, shapes));
    return [runtime, model];
  } catch (error) {
    runtime.free();
    throw error;
  }
}

/** The sizes of inputs: as declared, 1 for an open batch, and what `--shape` says. */
export function sizesOf(inputs: readonly ValueReport[], shapes: readonly string[]): Map<string, number[]> {
  const given = new Map(
    shapes.map((text) => {
      const [, name = inputs[0]?.name, sizes] = /^(?:(.*)=)?(\d+(?:x\d+)*)$/.exec(text) ?? [];
      if (!sizes || !inputs.some((input) => input.name === name)) {
        const names = inputs.map((input) => input.name).join(', ');
        throw wrongUsage('--shape', `NAME=1x3x224x224 with NAME one of ${names}`, describe(text));
      }
      return [name, sizes.split('x').map(Number)] as const;
    }),
  );
  return new Map(
    inputs.map(({ name, shape }) => {
      const open = (dim: number | string, i: number) => (typeof dim === 'number' ? dim : i === 0 ? 1 : Number.NaN);
      const sizes = given.get(name) ?? shape.map(open);
      if (sizes.some(Number.isNaN)) {
        const expected = 'sizes that are known';
        const hint = `Give them: --shape ${name}=${shape.map((dim) => (typeof dim === 'number' ? dim : 32)).join('x')}`;
        const got = `[${shape.join(', ')}]`;
        throw new ThinferError({ code: 'bad-argument', place: `input ${name}`, expected, got, hint });
      }
      return [name, sizes] as const;
    }),
  );
}

/** Random numbers for every input. */
export function madeUpInputs(inputs: readonly ValueReport[], shapes: readonly string[], seed = 1): Inputs {
  const sizes = sizesOf(inputs, shapes);
  return Object.fromEntries(
    inputs.map(({ name, dtype }, i) => {
      const shape = sizes.get(name)!;
      const length = elementCount(shape, `input ${name}`);
      return [name, { shape, data: madeUp(dtype as ElementType, length, seed + i) as InputArray }];
    }),
  );
}

/** Writes a file that was asked for, and says so. */
export async function save(file: string | undefined, contents: string | Uint8Array, what: string): Promise<void> {
  if (!file) return;
  await writeFile(file, contents);
  console.error(`${what} in ${file}`);
}
