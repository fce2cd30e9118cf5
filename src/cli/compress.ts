import { readFile, writeFile } from 'node:fs/promises';
import { Presets, SingleBar } from 'cli-progress';
import { auto, merge, compress as run, type Step } from '../compress/index.js';
import { describe, ThinferError } from '../errors.js';
import { type Graph, isLayer } from '../graph/ir.js';
import { optimize } from '../graph/passes/index.js';
import { readOnnx } from '../onnx/index.js';
import { writeOnnx } from '../onnx/write/index.js';
import type { BackendName } from '../plan/variant.js';
import { toHtml, toTable } from '../report/index.js';
import { createRuntime } from '../runtime.js';
import { readTflite } from '../tflite/index.js';
import { command } from './command.js';
import { readCalibration } from './compress-data.js';
import { stepsOf } from './compress-steps.js';
import { save } from './model.js';
import { threadsOf } from './options.js';
import { reported } from './report.js';

async function readGraph(file: string): Promise<Graph> {
  const bytes = await readFile(file).catch((cause) => {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'compress',
      expected: 'a model',
      got: describe(file),
      cause,
    });
  });
  return optimize((file.endsWith('.tflite') ? readTflite : readOnnx)(new Uint8Array(bytes)));
}

/** `--shard 1/4`: every fourth layer from the second on. */
function shardOf(text: string, graph: Graph): string[] {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (index === undefined || !(Number(index) < Number(count))) {
    const expected = 'I/N with I from 0 to less than N';
    throw new ThinferError({ code: 'bad-argument', place: '--shard', expected, got: describe(text) });
  }
  const units = [...new Map(graph.nodes.filter(isLayer).map((layer) => [layer.weights, layer.name])).values()];
  return units.filter((_, i) => i % Number(count) === Number(index));
}

/** `1%` or `0.01`. */
function shareOf(text: string, place: string): number {
  const share = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
  if (share >= 0 && share < 1) return share;
  throw new ThinferError({ code: 'bad-argument', place, expected: 'a share, like 1% or 0.01', got: describe(text) });
}

/** `90s`, `10m`, `1h`. */
function secondsOf(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh])$/.exec(text) ?? [];
  if (number !== undefined && Number(number) > 0)
    return Number(number) * { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h'];
  const expected = 'a time, like 90s, 10m or 1h';
  throw new ThinferError({ code: 'bad-argument', place: '--budget', expected, got: describe(text) });
}

export const compress = command({
  meta: { name: 'compress', description: 'Compress a trained model, and write it as ONNX.' },
  variadic: true,
  examples: [
    "thinfer compress in.onnx out.onnx --data calib --steps 'obs:0.8+quantize:int8'",
    'thinfer compress in.onnx out.onnx --data calib --auto --max-drop 1% --target speed --budget 10m --html report.html',
    'thinfer compress in.onnx part0.onnx --data calib --steps gptq:int4 --shard 0/8',
    'thinfer compress merge in.onnx out.onnx part*.onnx',
  ],
  args: {
    in: {
      type: 'positional',
      required: true,
      description: 'An ONNX or TensorFlow Lite file; `merge` to put shards together',
    },
    out: {
      type: 'positional',
      required: true,
      description: 'The ONNX file to write; of `merge`: the original model, then OUT, then the shards',
    },
    data: {
      type: 'string',
      description: 'A folder of .safetensors files, a batch each: a tensor an input, and `labels`',
    },
    steps: {
      type: 'string',
      description: 'Steps joined by +: obs:0.8+quantize:int8, or prune:{"sparsity":0.5,"pattern":"4x1"}',
    },
    auto: { type: 'boolean', default: false, description: 'Measure, and choose a form for each layer' },
    'max-drop': { type: 'string', default: '1%', description: '--auto: how much less accurate the model may get' },
    target: { type: 'enum', options: ['speed', 'size'], default: 'speed', description: '--auto: what is to be little' },
    budget: { type: 'string', description: '--auto: time to measure in, e.g. 90s, 10m or 1h' },
    shard: { type: 'string', description: 'I/N: only every N-th layer from the I-th on, for one of N machines' },
    huffman: { type: 'boolean', default: false, description: 'Store codes Huffman-coded, for thinfer alone' },
    backend: {
      type: 'enum',
      options: ['wasm', 'webgpu'],
      default: 'wasm',
      description: 'Where calibration data runs, and what --auto makes fast',
    },
    threads: { type: 'string', description: 'WASM threads; default: the cores, up to 8' },
    html: { type: 'string', description: 'Write the report to this file, as a page' },
    report: { type: 'string', description: 'Write what was done and measured to this file, as JSON' },
  },
  run: ({ args }) =>
    reported(async () => {
      if (args.in === 'merge') return mergeFiles([args.out, ...args._.slice(2)], args.huffman);
      const { in: input, out, threads } = args;
      const graph = await readGraph(input);
      const only = args.shard === undefined ? undefined : shardOf(args.shard, graph);
      const seconds = args.budget === undefined ? undefined : secondsOf(args.budget);
      const steps = plan(args.steps, args.auto, {
        seconds,
        maxDrop: args['max-drop'],
        target: args.target as 'speed' | 'size',
        only,
      });
      const calibration = args.data === undefined ? undefined : await readCalibration(args.data, graph);
      const backends = [args.backend as BackendName];
      const runtime = await createRuntime({ backends, wasm: { threads: threadsOf(threads) }, tune: 'off' });
      const format = '{bar} {percentage} % | {eta_formatted} left | {what}';
      const bar = new SingleBar({ format, noTTYOutput: false, hideCursor: true }, Presets.shades_classic);
      try {
        bar.start(1, 0, { what: '' });
        const onProgress = (done: number, what: string) => bar.update(done, { what });
        const result = await run(graph, steps, { calibration, runtime, onProgress });
        bar.stop();
        await writeFile(out, writeOnnx(result.graph, { huffman: args.huffman }));
        console.log(toTable(result.report));
        console.log(`The model is in ${out}`);
        await save(args.html, toHtml(result.report, `${input}, compressed`), 'The report is');
        await save(args.report, `${JSON.stringify(result.report, null, 1)}\n`, 'The report is');
      } finally {
        bar.stop();
        runtime.free();
      }
    }),
});

function plan(
  steps: string | undefined,
  automatic: boolean,
  { maxDrop, only, ...rest }: { maxDrop: string; target: 'speed' | 'size'; seconds?: number; only?: readonly string[] },
): Step[] {
  if (automatic === (steps !== undefined) || (automatic && only)) {
    const expected = only ? '--steps with --shard' : 'either --steps or --auto';
    throw new ThinferError({
      code: 'bad-argument',
      place: 'compress',
      expected,
      got: automatic ? '--auto' : 'neither',
    });
  }
  return steps === undefined ? [auto({ ...rest, maxDrop: shareOf(maxDrop, '--max-drop') })] : stepsOf(steps, only);
}

async function mergeFiles([input, out, ...parts]: readonly string[], huffman: boolean): Promise<void> {
  if (!out || parts.length === 0) {
    const expected = 'merge MODEL OUT SHARD...';
    throw new ThinferError({ code: 'bad-argument', place: 'compress', expected, got: `${parts.length} shards` });
  }
  const graphs: Graph[] = [];
  for (const part of parts) graphs.push(await readGraph(part));
  await writeFile(out, writeOnnx(merge(await readGraph(input), graphs), { huffman }));
  console.log(`The model is in ${out}`);
}
