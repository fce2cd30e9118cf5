import { modelOfFile } from '../graph/load.js';
import type { Model, ModelOptions, RuntimeLike } from '../graph/model.js';
import { type FileSource, readSource } from '../source.js';
import { readTflite } from './import.js';

export type { FileSource } from '../source.js';
export { readTflite } from './import.js';

/**
 * Loads a TensorFlow Lite model: reads and checks it, optimises the graph, packs the weights and puts them on a device.
 * Inputs and outputs have the names of their tensors.
 * @param source the file's bytes (may be reused when the promise has resolved), a Blob, a URL, or in Node a path
 * @throws ThinferError `bad-argument` for a file that can't be read, `bad-model` for one that is corrupt or contradicts
 * itself, `unsupported` naming everything in it that thinfer does not run, and what `Model.create` throws
 */
export async function loadTflite(runtime: RuntimeLike, source: FileSource, options: ModelOptions = {}): Promise<Model> {
  const graph = readTflite(await readSource(source, 'loadTflite: source'));
  return modelOfFile(runtime, graph, options);
}
