import { ThinferError } from '../errors.js';
import { Model, type ModelOptions, type RuntimeLike } from '../graph/model.js';
import { readOnnx } from './import.js';

export { readOnnx } from './import.js';

/**
 * Loads an ONNX model: reads and checks it, optimises the graph, packs the weights and puts them on a device.
 * @param bytes the contents of the file; may be reused when the promise has resolved
 * @throws ThinferError `bad-model` for a file that is corrupt or contradicts itself, `unsupported` naming everything
 * in it that thinfer does not run, and what `Model.create` throws
 */
export async function loadOnnx(
  runtime: RuntimeLike,
  bytes: Uint8Array | ArrayBuffer,
  options: ModelOptions = {},
): Promise<Model> {
  const graph = readOnnx(bytes);
  try {
    return await Model.create(runtime, graph, options);
  } catch (error) {
    if (!(error instanceof ThinferError) || error.code !== 'bad-shape') throw error;
    const { place, expected, got, hint } = error;
    throw new ThinferError({ code: 'bad-model', place, expected, got, hint, cause: error });
  }
}
