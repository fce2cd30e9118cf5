import { type FileSource, readSource } from '../source.js';
import { readSafetensors, type SafeTensors } from './read.js';

export type { FileSource } from '../source.js';
export { type ToWeightsOptions, toWeights } from './compressed.js';
export { type ArrayByType, type ElementType, readSafetensors, SafeTensor, type SafeTensors } from './read.js';

/**
 * Reads a safetensors file as a bag of tensors. Bytes that are given are not copied: tensors are views of them.
 * @throws ThinferError `bad-argument` for a file that can't be read, and what `readSafetensors` throws
 */
export async function loadSafetensors(source: FileSource): Promise<SafeTensors> {
  return readSafetensors(await readSource(source, 'loadSafetensors: source'));
}
