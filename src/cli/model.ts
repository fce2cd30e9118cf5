import { writeFile } from 'node:fs/promises';
import { describe, elementCount, ThinferError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { asElements } from '../graph/types.js';
import { loadOnnx } from '../onnx/index.js';
import type { BackendName } from '../plan/variant.js';
import { createRuntime, type Runtime } from '../runtime.js';
import { loadTflite } from '../tflite/index.js';

export interface OpenOptions {
  backend?: BackendName;
  threads?: number;
  /** Sizes of inputs with open dimensions, as `name=1x3x224x224`; the name may be left out where there is one input. */
  shapes: readonly string[];
}

/** A model of a file that has run once, on numbers of no meaning. */
export async function openModel(file: string, { backend, threads, shapes }: OpenOptions): Promise<[Runtime, Model]> {
  const runtime = await createRuntime({ backends: backend && [backend], wasm: { threads }, tune: 'off' });
  try {
    const model = await (file.endsWith('.tflite') ? loadTflite : loadOnnx)(runtime, file);
    await model.run(inputsFor(model, shapes));
    return [runtime, model];
  } catch (error) {
    runtime.free();
    throw error;
  }
}

function inputsFor(model: Model, shapes: readonly string[]) {
  const given = new Map(
    shapes.map((text) => {
      const [, name = model.inputs[0]?.name, sizes] = /^(?:(.*)=)?(\d+(?:x\d+)*)$/.exec(text) ?? [];
      if (!sizes || !model.inputs.some((input) => input.name === name)) {
        const expected = `NAME=1x3x224x224 with NAME one of ${model.inputs.map((input) => input.name).join(', ')}`;
        throw new ThinferError({ code: 'bad-argument', place: '--shape', expected, got: describe(text) });
      }
      return [name, sizes.split('x').map(Number)] as const;
    }),
  );
  return Object.fromEntries(
    model.inputs.map(({ name, shape, dtype }) => {
      const open = (dim: number | string, i: number) => (typeof dim === 'number' ? dim : i === 0 ? 1 : Number.NaN);
      const sizes = given.get(name) ?? shape.map(open);
      if (sizes.some(Number.isNaN)) {
        const got = `[${shape.join(', ')}]`;
        const expected = 'sizes that are known';
        const hint = `Give them: --shape ${name}=${shape.map((dim) => (typeof dim === 'number' ? dim : 32)).join('x')}`;
        throw new ThinferError({ code: 'bad-argument', place: `input ${name}`, expected, got, hint });
      }
      const length = elementCount(sizes, `input ${name}`);
      const values = Float32Array.from({ length }, (_, i) => ((i * 31) % 17) / 17);
      return [
        name,
        {
          shape: sizes,
          data:
            dtype === 'float32'
              ? values
              : asElements(
                  dtype,
                  values.map((x) => 100 * x),
                ),
        },
      ];
    }),
  );
}

/** Writes a file that was asked for, and says so. */
export async function save(file: string | undefined, contents: string, what: string): Promise<void> {
  if (!file) return;
  await writeFile(file, contents);
  console.log(`${what} in ${file}`);
}
