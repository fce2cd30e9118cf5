import { modelOfFile } from '../graph/load.js';
import type { Model, ModelOptions, RuntimeLike } from '../graph/model.js';
import type { FileSource } from '../source.js';
import type { ExternalFiles } from './external.js';
import { graphOf } from './load.js';

export type { FileSource } from '../source.js';
export type { ExternalFiles } from './external.js';
export { readOnnx } from './import.js';

export interface OnnxOptions extends ModelOptions {
  /**
   * Files that hold weights of the model, by the paths that it names them by. Default: beside the model, where that came
   * from a path or URL.
   */
  externalData?: ExternalFiles;
}

/**
 * Loads an ONNX model: reads and checks it, optimises the graph, packs the weights and puts them on a device.
 * @param source the file's bytes (may be reused when the promise has resolved), a Blob, a URL, or in Node a path
 * @throws ThinferError `bad-argument` for a file that can't be read, `bad-model` for one that is corrupt or contradicts
 * itself, `unsupported` naming everything in it that thinfer does not run, and what `Model.create` throws
 */
export async function loadOnnx(runtime: RuntimeLike, source: FileSource, options: OnnxOptions = {}): Promise<Model> {
  const { externalData, ...rest } = options;
  return modelOfFile(runtime, await graphOf(source, externalData), rest);
}
