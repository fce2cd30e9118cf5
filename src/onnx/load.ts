import type { Graph } from '../graph/ir.js';
import { type FileSource, readSource } from '../source.js';
import { type ExternalFiles, readExternal } from './external.js';
import { parseModel, readModel } from './import.js';

/** The graph of a model, with the weights that it keeps in files of their own. */
export async function graphOf(source: FileSource, externalData?: ExternalFiles): Promise<Graph> {
  const bytes = await readSource(source, 'loadOnnx: source');
  const parsed = parseModel(bytes);
  const more = await readExternal(parsed, source, externalData);
  return readModel(parsed, bytes.length + more);
}
