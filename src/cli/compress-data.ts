import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Calibration } from '../compress/index.js';
import { describe, ThinferError } from '../errors.js';
import type { InputArray } from '../graph/inputs.js';
import type { Graph } from '../graph/ir.js';
import { readSafetensors } from '../safetensors/index.js';

/** The tensor of a file that has the classes of its samples. */
const LABELS = 'labels';

/**
 * Calibration data of a folder: every safetensors file is a batch, with a tensor for each input of the model, by its name, and
 * where classes are known a tensor `labels`.
 */
export async function readCalibration(folder: string, graph: Graph): Promise<Calibration> {
  const files = await readdir(folder).catch(() => [] as string[]);
  const names = files.filter((file) => file.endsWith('.safetensors')).sort();
  const inputs = graph.inputs.map(({ name }) => name);
  if (names.length === 0) {
    const expected = `a folder of .safetensors files with tensors ${inputs.map((name) => JSON.stringify(name)).join(', ')}`;
    throw new ThinferError({ code: 'bad-argument', place: '--data', expected, got: describe(folder) });
  }
  const batches: Calibration['batches'][number][] = [];
  const labels: ArrayLike<number>[] = [];
  for (const name of names) {
    const { tensors } = readSafetensors(new Uint8Array(await readFile(join(folder, name))));
    const batch = inputs.map((input) => {
      const tensor = tensors.get(input);
      if (tensor) return [input, { shape: [...tensor.shape], data: tensor.data as InputArray }] as const;
      const got = [...tensors.keys()].map((key) => JSON.stringify(key)).join(', ') || 'none';
      throw new ThinferError({ code: 'bad-argument', place: `--data: ${name}`, expected: `a tensor "${input}"`, got });
    });
    batches.push(Object.fromEntries(batch));
    const classes = tensors.get(LABELS);
    if (classes) labels.push(Array.from(classes.data as ArrayLike<number | bigint>, Number));
  }
  if (labels.length > 0 && labels.length < names.length) {
    const got = `${labels.length} of ${names.length}`;
    throw new ThinferError({ code: 'bad-argument', place: '--data', expected: '"labels" in every file or none', got });
  }
  return labels.length > 0 ? { batches, labels } : { batches };
}
