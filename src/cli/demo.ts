import { defineCommand } from 'citty';
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import pc from 'picocolors';
import type { Model } from '../graph/model.js';
import type { WeightsSpec } from '../graph/pack.js';
import { median } from '../median.js';
import { loadOnnx } from '../onnx/index.js';
import type { BackendName } from '../plan/variant.js';
import { createRuntime } from '../runtime.js';
import { countCorrect, type Images, loadTestImages, readShipped } from './fashion.js';
import { integer, threadsOf } from './options.js';
import { reported } from './report.js';

/** What the demo compares. The first is the yardstick: our own best dense f32. */
const CONTESTANTS: readonly { model: string; format: string; file: string; weights: WeightsSpec }[] = [
  { model: 'float', format: 'dense f32', file: 'fashion_float', weights: { '*': { format: 'dense' } } },
  { model: 'pruned 90 %', format: 'csr (auto)', file: 'fashion_pruned90', weights: 'auto' },
  { model: 'float', format: 'int8', file: 'fashion_float', weights: { '*': { format: 'int8' } } },
  {
    model: 'float',
    format: 'codebook-16',
    file: 'fashion_float',
    weights: { '*': { format: 'codebook', entries: 16 } },
  },
  { model: 'student', format: 'dense f32', file: 'fashion_student', weights: { '*': { format: 'dense' } } },
];

const BATCH = 100;
/** Batches that are run but not timed, while the engine still compiles. */
const WARM_UP = 2;

interface Row {
  model: string;
  format: string;
  accuracy: number;
  msPer100: number;
  speedUp: number;
  weightBytes: number;
}

/** Runs every model on each batch in turn, so that a change of the machine's speed meets all of them alike. */
async function race(
  models: readonly Model[],
  images: Images,
  /** Time kernels first: not on software adapters, where that takes longer than it brings. */
  tune: boolean,
  onBatch: () => void,
): Promise<{ ms: number[]; correct: number }[]> {
  const results = models.map(() => ({ ms: [] as number[], correct: 0 }));
  const batchAt = (first: number) => images.pixels.subarray(first * 784, Math.min(first + BATCH, images.count) * 784);
  for (let i = 0; i < WARM_UP; i++) for (const model of models) await model.run({ image: batchAt(0) });
  if (tune) for (const model of models) await model.tune({ effort: 'quick' });
  for (let first = 0; first < images.count; first += BATCH) {
    const image = batchAt(first);
    const count = image.length / 784;
    for (const [i, model] of models.entries()) {
      const start = performance.now();
      const { logits } = await model.run({ image });
      const elapsed = performance.now() - start;
      // A short last batch counts for accuracy only.
      if (count === BATCH || images.count < BATCH) results[i].ms.push((elapsed * 100) / count);
      results[i].correct += countCorrect(logits.data as Float32Array, images.labels.subarray(first, first + count));
    }
    onBatch();
  }
  return results;
}

async function runDemo({
  backend,
  threads,
  limit,
  json,
}: {
  backend: BackendName;
  threads: number | undefined;
  limit: number;
  json: boolean;
}): Promise<void> {
  const runtime = await createRuntime({ backends: [backend], wasm: { threads }, tune: 'off' });
  try {
    const [{ device }] = runtime.backends;
    const images = await loadTestImages(limit);
    const say = (text: string) => {
      if (!json) console.log(text);
    };
    say(`${pc.bold('thinfer demo')}: ${images.count} Fashion-MNIST test images, batches of ${BATCH}`);
    say(`on ${device.label}, Node ${process.versions.node}\n`);
    if (device.macsPerNs < 1) {
      say(pc.yellow('This adapter is software: right, and slow. Ten images take a minute (--images 10).\n'));
    }
    const models: Model[] = [];
    for (const { file, weights } of CONTESTANTS) {
      // Each in its own format: what is compared is formats.
      const model = await loadOnnx(runtime, await readShipped(`models/${file}.onnx`), { weights, memory: 'packed' });
      models.push(model);
    }
    const bar = new SingleBar(
      {
        format: '{bar} {percentage} % | {value}/{total} batches | {eta_formatted} left',
        noTTYOutput: false,
        hideCursor: true,
      },
      Presets.shades_classic,
    );
    if (!json) bar.start(Math.ceil(images.count / BATCH), 0);
    let results: Awaited<ReturnType<typeof race>>;
    try {
      results = await race(models, images, device.macsPerNs >= 1, () => bar.increment());
    } finally {
      bar.stop();
    }
    const dense = median(results[0].ms);
    const rows: Row[] = results.map(({ ms, correct }, i) => ({
      model: CONTESTANTS[i].model,
      format: CONTESTANTS[i].format,
      accuracy: correct / images.count,
      msPer100: median(ms),
      speedUp: dense / median(ms),
      weightBytes: models[i].weightBytes,
    }));
    if (json) {
      console.log(
        JSON.stringify({ device: device.label, node: process.versions.node, images: images.count, rows }, null, 2),
      );
      return;
    }
    console.log(`\n${table(rows)}`);
    console.log(
      pc.dim('Medians over the batches, models taking turns on each. Speed-up: over our own best dense f32.'),
    );
    console.log(pc.dim('Weights: bytes in memory, packed as the kernels read them.'));
    console.log(`\nTo see it in a browser: ${pc.bold('node dist/cli.js serve')}, then open http://localhost:8080`);
  } finally {
    runtime.free();
  }
}

function table(rows: readonly Row[]): string {
  const out = new Table({
    head: ['model', 'format', 'accuracy', 'ms / 100 images', 'speed-up', 'weights'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right'],
    style: { head: ['bold'] },
  });
  for (const { model, format, accuracy, msPer100, speedUp, weightBytes } of rows) {
    out.push([
      model,
      format,
      `${(accuracy * 100).toFixed(2)} %`,
      msPer100.toFixed(1),
      pc.bold(`${speedUp.toFixed(2)} x`),
      `${(weightBytes / 1000).toFixed(0)} kB`,
    ]);
  }
  return out.toString();
}

export const demo = defineCommand({
  meta: {
    name: 'demo',
    description: 'Race the shipped Fashion-MNIST networks: dense, pruned, int8, codebook and the small student.',
  },
  args: {
    backend: { type: 'enum', options: ['wasm', 'webgpu'], default: 'wasm', description: 'Where to run' },
    threads: { type: 'string', description: 'WASM threads; default: the cores, up to 8' },
    images: { type: 'string', default: '10000', description: 'How many of the 10,000 test images' },
    json: { type: 'boolean', default: false, description: 'Print the result as JSON only' },
  },
  run: ({ args }) =>
    reported(async () => {
      const threads = threadsOf(args.threads);
      const limit = integer(args.images, '--images', 10000);
      await runDemo({ backend: args.backend as BackendName, threads, limit, json: args.json });
    }),
});
