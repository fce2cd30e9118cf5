// Accuracy, bytes and milliseconds before and after every method, on the shipped float model. Run by run.ts.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { timeModels } from '../../src/compress/auto/timing.js';
import { accuracyOf, answersOf } from '../../src/compress/compare.js';
import { graphBytes } from '../../src/compress/compress.js';
import { type Calibration, compress } from '../../src/compress/index.js';
import type { Graph } from '../../src/graph/ir.js';
import { optimize } from '../../src/graph/passes/index.js';
import { readOnnx } from '../../src/onnx/index.js';
import { createRuntime } from '../../src/runtime.js';
import { METHODS } from './methods.js';

export { METHODS };

/** Where Debian's package dataset-fashion-mnist puts the training images. */
const TRAINING = '/usr/share/datasets/fashion-mnist';
const CALIBRATION_IMAGES = 512;
const PIXELS = 784;

export interface CompressRow {
  method: string;
  accuracy: number;
  bytes: number;
  /** Of a batch of one: the model's, and that of the float model in the same race. */
  ms: number;
  floatMs: number;
  /** What the method took. */
  seconds: number;
  /** auto: what was evaluated, and the candidates of each layer. */
  evidence?: unknown;
}

export interface CompressResults {
  device: string;
  node: string;
  images: number;
  calibration: number;
  float: { accuracy: number; bytes: number };
  rows: CompressRow[];
}

function batchesOf(folder: string, part: string, count: number, size: number): Required<Calibration> {
  const read = (file: string, header: number) => gunzipSync(readFileSync(join(folder, file))).subarray(header);
  const pixels = read(`${part}-images-idx3-ubyte.gz`, 16);
  const all = read(`${part}-labels-idx1-ubyte.gz`, 8);
  const starts = Array.from({ length: Math.ceil(count / size) }, (_, i) => i * size);
  const end = (start: number) => Math.min(start + size, count);
  return {
    batches: starts.map((start) => ({
      image: Float32Array.from(pixels.subarray(start * PIXELS, end(start) * PIXELS), (x) => x / 255),
    })),
    labels: starts.map((start) => all.slice(start, end(start))),
  };
}

export async function benchCompress(
  root: string,
  { only, images }: { only: readonly string[]; images: number },
  onRow: (row: CompressRow) => void,
): Promise<CompressResults> {
  if (!existsSync(TRAINING)) throw new Error(`no ${TRAINING}: apt-get install dataset-fashion-mnist`);
  const test = batchesOf(join(root, 'data'), 't10k', images, 100);
  const calibration = batchesOf(TRAINING, 'train', CALIBRATION_IMAGES, 64);
  const runtime = await createRuntime({ backends: ['wasm'], wasm: { threads: 1 }, cache: false, tune: 'off' });
  const where = { calibration: test, runtime: async () => runtime };
  const accuracy = async (graph: Graph) => accuracyOf(await answersOf(graph, where), test.labels);
  const source = optimize(readOnnx(readFileSync(join(root, 'models/fashion_float.onnx'))));
  const rows: CompressRow[] = [];
  try {
    const float = { accuracy: await accuracy(source), bytes: graphBytes(source) };
    for (const [method, steps] of Object.entries(METHODS)) {
      if (only.length > 0 && !only.some((name) => (name in METHODS ? name === method : method.startsWith(name))))
        continue;
      const start = performance.now();
      const { graph, report } = await compress(source, steps(), { calibration, runtime });
      const seconds = (performance.now() - start) / 1000;
      const [floatMs, ms] = await timeModels(runtime, [source, graph]);
      const row: CompressRow = {
        method,
        accuracy: await accuracy(graph),
        bytes: graphBytes(graph),
        ms,
        floatMs,
        seconds,
      };
      if (report.evidence) {
        row.evidence = {
          ...report.evidence,
          layers: report.layers.map(({ layer, did, evidence }) => ({ layer, did, evidence })),
        };
      }
      rows.push(row);
      onRow(row);
    }
    const { device } = runtime.backends[0];
    return { device: device.label, node: process.versions.node, images, calibration: CALIBRATION_IMAGES, float, rows };
  } finally {
    runtime.free();
  }
}
