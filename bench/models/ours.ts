import type { Model, ModelOptions, RuntimeLike } from '../../src/graph/model.js';
import { createRuntime } from '../../src/index.js';
import { bytesOf, type Elements, type Open } from './runtime.js';

type Load = (runtime: RuntimeLike, bytes: Uint8Array<ArrayBuffer>, options?: ModelOptions) => Promise<Model>;

/** Our runtime with one of the loaders: a page bundles the one that it uses. */
export const opensWith =
  (load: Load): Open =>
  async ({ url, shape, input, threads, tune }) => {
    const [runtime, bytes] = await Promise.all([
      createRuntime({ backends: ['wasm'], wasm: { threads }, tune }),
      bytesOf(url),
    ]);
    const model = await load(runtime, bytes);
    const [{ name }] = model.inputs;
    const names = model.outputs.map((output) => output.name);
    return {
      tune: async () => {
        await model.run({ [name]: { shape, data: input } });
        await model.tune({ effort: 'quick' });
      },
      async run() {
        const outputs = await model.run({ [name]: { shape, data: input } });
        return names.map((output) => outputs[output].data as Elements);
      },
      free() {
        model.free();
        runtime.free();
      },
    };
  };
