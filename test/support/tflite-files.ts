import { createRandom, uniforms } from './random.js';
import type { TfliteCase } from './tflite-cases.js';

/** MLPerf Tiny's reference networks: the shape of their input, and the range of its numbers. */
const FILES: Readonly<Record<string, { shape: readonly number[]; range: readonly [number, number] }>> = {
  ad_autoencoder: { shape: [1, 640], range: [-10, 10] },
  kws_dscnn: { shape: [1, 49, 10, 1], range: [-60, 60] },
  resnet8_cifar10: { shape: [1, 32, 32, 3], range: [0, 255] },
  vww_mobilenet025: { shape: [1, 96, 96, 3], range: [0, 1] },
};

/** Runs with inputs of different seeds for each file. */
const SEEDS = [1, 2, 3];

/** Blocks of a picture are alike: numbers that change slowly along it, with noise. */
export function picture(seed: number, shape: readonly number[], [low, high]: readonly [number, number]): Float32Array {
  const random = createRandom(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  const noise = uniforms(random, size, 0, 0.3);
  const [across, phase] = [0.02 + 0.1 * random.next(), 6 * random.next()];
  return noise.map((x, i) => low + (high - low) * (x + 0.35 + 0.35 * Math.sin(across * i + phase)));
}

/**
 * The models of test/data/tflite with inputs, always the same; the integer ones get the codes of theirs over the whole range.
 * @param read gives the bytes of a file of the repository
 */
export async function tfliteFiles(read: (path: string) => Promise<Uint8Array>): Promise<TfliteCase[]> {
  const cases: TfliteCase[] = [];
  for (const [model, { shape, range }] of Object.entries(FILES)) {
    for (const kind of ['f32', 'int8']) {
      const bytes = Uint8Array.from(await read(`test/data/tflite/${model}_${kind}.tflite`));
      // Its convolutions have 8-bit weights, and activations that each runtime quantises in its own way.
      const tolerance = `${model}_${kind}` === 'kws_dscnn_f32' ? 0.02 : undefined;
      for (const seed of SEEDS) {
        const data = kind === 'f32' ? picture(seed, shape, range) : Int8Array.from(picture(seed, shape, [-128, 127]));
        cases.push({ name: `${model}_${kind} ${seed}`, bytes, tolerance, inputs: [{ name: '', shape, data }] });
      }
    }
  }
  return cases;
}
