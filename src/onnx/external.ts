// Data of tensors that lies in files beside the model (ONNX specification, External Data).

import { ThinferError } from '../errors.js';
import { type FileSource, readSource } from '../source.js';
import { type GraphProto, type ModelProto, type TensorProto, TensorProto_DataLocation } from './generated/onnx_pb.js';
import { badModel } from './tensor.js';

/** Files beside the model, by the paths that it names them by: for models that come without a place of their own. */
export type ExternalFiles = Readonly<Record<string, FileSource>>;

/** Files that a model may name: more is an attack. */
const MOST_FILES = 4096;

/**
 * Puts data of other files into the tensors that name them.
 * @param source of the model: names are relative to its folder
 * @returns bytes of the files that were read
 * @throws ThinferError `bad-model` for a name that leads out of the folder and a range that the file doesn't have,
 * `bad-argument` for a file that can't be read
 */
export async function readExternal(model: ModelProto, source: FileSource, given?: ExternalFiles): Promise<number> {
  const files = new Map<string, Promise<Uint8Array>>();
  const named: { tensor: TensorProto; place: string; location: string; fields: Map<string, string> }[] = [];
  for (const tensor of model.graph ? tensorsOf(model.graph) : []) {
    if (tensor.dataLocation !== TensorProto_DataLocation.EXTERNAL) continue;
    const place = `tensor "${tensor.name}": external_data`;
    const fields = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
    const location = requireInside(fields.get('location'), `${place}.location`);
    if (!files.has(location)) files.set(location, open(location, source, given));
    if (files.size > MOST_FILES) badModel(place, `at most ${MOST_FILES} files`, 'more');
    named.push({ tensor, place, location, fields });
  }
  // Settled all, so that no failure is left without somebody to hear of it.
  await Promise.allSettled(files.values());
  let bytes = 0;
  for (const file of files.values()) bytes += (await file).length;
  for (const { tensor, place, location, fields } of named) {
    const file = await files.get(location)!;
    const offset = requireCount(fields.get('offset') ?? '0', `${place}.offset`);
    const length = requireCount(fields.get('length') ?? String(file.length - offset), `${place}.length`);
    if (offset + length > file.length) {
      badModel(`${place} (${location})`, `a range inside ${file.length} bytes`, `${offset} + ${length}`);
    }
    tensor.rawData = file.subarray(offset, offset + length);
    tensor.dataLocation = TensorProto_DataLocation.DEFAULT;
    tensor.externalData = [];
  }
  return bytes;
}

function* tensorsOf({ initializer, sparseInitializer, node }: GraphProto): Iterable<TensorProto> {
  yield* initializer;
  for (const { values, indices } of sparseInitializer) for (const part of [values, indices]) if (part) yield part;
  for (const { attribute } of node) for (const { t } of attribute) if (t) yield t;
}

/** A relative path that stays in the model's folder, whatever the platform. */
function requireInside(location: string | undefined, place: string): string {
  const parts = location?.split('/') ?? [];
  const plain = (part: string) => part !== '' && part !== '.' && part !== '..' && !/[\\:\0]/.test(part);
  if (!location || location.length > 1024 || !parts.every(plain)) {
    badModel(place, "a relative path inside the model's folder, such as weights/layer1.bin", JSON.stringify(location));
  }
  return location;
}

function requireCount(text: string, place: string): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count)) badModel(place, 'a number of bytes', JSON.stringify(text));
  return count;
}

async function open(location: string, source: FileSource, given: ExternalFiles | undefined): Promise<Uint8Array> {
  const place = `loadOnnx: external data ${JSON.stringify(location)}`;
  if (given && Object.hasOwn(given, location)) return readSource(given[location], place);
  const address = typeof source === 'string' || source instanceof URL ? String(source) : undefined;
  if (address === undefined) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: 'the file that holds weights of this model',
      got: 'none',
      hint: `Pass it: loadOnnx(runtime, bytes, { externalData: { ${JSON.stringify(location)}: bytes } }).`,
    });
  }
  const url = globalThis.process?.getBuiltinModule?.('node:url');
  const path = url && address.startsWith('file:') ? url.fileURLToPath(address) : address;
  if (/^(https?|data|blob|file):/.test(path)) return readSource(new URL(encodeURI(location), path), place);
  return readSource(await pathInside(path, location, place), place);
}

/** The file's path in Node; links that lead out of the model's folder are refused, as a name would be. */
async function pathInside(model: string, location: string, place: string): Promise<string> {
  const files = globalThis.process?.getBuiltinModule?.('node:fs/promises');
  const paths = globalThis.process?.getBuiltinModule?.('node:path');
  if (!files || !paths) return new URL(encodeURI(location), new URL(model, globalThis.location?.href)).href;
  const file = paths.join(paths.dirname(model), location);
  const [folder, real] = await Promise.all([files.realpath(paths.dirname(model)), files.realpath(file)]).catch(
    () => [],
  );
  if (folder && real && !real.startsWith(folder + paths.sep)) {
    badModel(place, "a file inside the model's folder", `a link to ${real}`);
  }
  return file;
}
