import type { Timing } from '../bench/statistics.js';
import { timingOf } from '../bench/statistics.js';
import type { ModelOutputs } from '../graph/model.js';
import type { BackendName } from '../plan/variant.js';
import { formatMs, type Section } from '../report/sections.js';
import { toText } from '../report/text.js';
import { createRuntime } from '../runtime.js';
import { command } from './command.js';
import { readInputs } from './input-files.js';
import { loadFile, save } from './model.js';
import { integer, listOf, modelArgs, threadsOf } from './options.js';
import { progress } from './progress.js';
import { reported } from './report.js';

const { html: _, ...args } = modelArgs;

interface OutputFacts {
  name: string;
  shape: number[];
  dtype: string;
  min: number;
  max: number;
  mean: number;
  /** The largest elements, with their places. */
  top: { index: number; value: number }[];
}

const DTYPES = new Map<unknown, string>([
  [Float32Array, 'float32'],
  [Int32Array, 'int32'],
  [Uint8Array, 'uint8'],
  [Int8Array, 'int8'],
]);

function factsOf(outputs: ModelOutputs, top: number): OutputFacts[] {
  return Object.entries(outputs).map(([name, { shape, data }]) => {
    let [min, max, sum] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
    for (const value of data) {
      min = Math.min(min, value);
      max = Math.max(max, value);
      sum += value;
    }
    const largest = Array.from(data, (value, index) => ({ index, value })).sort((a, b) => b.value - a.value);
    const dtype = DTYPES.get(data.constructor) ?? '?';
    return { name, shape, dtype, min, max, mean: sum / data.length, top: largest.slice(0, top) };
  });
}

const short = (value: number): string => (Number.isInteger(value) ? String(value) : value.toPrecision(5));

function outputSections(outputs: readonly OutputFacts[], firstMs: number, timing: Timing | undefined): Section[] {
  const steady = timing
    ? `, then ${formatMs(timing.ms)} ms (95 %: ${formatMs(timing.low)} to ${formatMs(timing.high)})`
    : '';
  const right = (title: string) => ({ title, align: 'right' as const });
  const all: Section = {
    title: 'Outputs',
    facts: [`first run ${formatMs(firstMs)} ms${steady}`],
    columns: [{ title: 'output' }, right('shape'), right('min'), right('mean'), right('max')],
    rows: outputs.map(({ name, shape, min, mean, max }) => ({
      cells: [name, shape.join(' x '), short(min), short(mean), short(max)],
    })),
  };
  const largest = outputs.map(
    ({ name, top }): Section => ({
      title: `Largest of ${name}`,
      columns: [right('index'), right('value')],
      rows: top.map(({ index, value }) => ({ cells: [String(index), short(value)] })),
    }),
  );
  return [all, ...largest];
}

export const run = command({
  meta: { name: 'run', description: 'Run a model once or more on a file or made-up numbers, and show what comes out.' },
  examples: [
    'thinfer run model.onnx',
    'thinfer run model.onnx --input image.bin --shape image=1x3x224x224 --top 3',
    'thinfer run model.tflite --input inputs.safetensors --output outputs.json --runs 100',
  ],
  args: {
    ...args,
    input: { type: 'string', default: 'random', description: 'random, or a .json, .safetensors or .bin (raw) file' },
    seed: { type: 'string', default: '1', description: 'What random numbers start from' },
    runs: { type: 'string', default: '1', description: 'How often; from 2 on, times are medians after tuning' },
    top: { type: 'string', default: '5', description: 'How many of the largest elements to show' },
    output: { type: 'string', description: 'Write all outputs to this file, as JSON' },
  },
  run: ({ args }) =>
    reported(async () => {
      const { model: file, backend, threads, shape, json, input, output } = args;
      const runs = integer(args.runs, '--runs', 1e6);
      const [seed, top] = [integer(args.seed, '--seed', 2 ** 31), integer(args.top, '--top', 1000)];
      const runtime = await createRuntime({
        backends: backend ? [backend as BackendName] : undefined,
        wasm: { threads: threadsOf(threads) },
        tune: 'off',
      });
      const bar = progress(json);
      try {
        const model = await loadFile(runtime, file);
        const inputs = await readInputs(input, model.inputs, listOf(shape), seed);
        const start = performance.now();
        const outputs = await model.run(inputs);
        const firstMs = performance.now() - start;
        const samples: number[] = [];
        if (runs > 1) await model.tune({ effort: 'quick' });
        for (let i = 1; i < runs; i++) {
          bar.update(i / runs, `run ${i}`);
          const from = performance.now();
          await model.run(inputs);
          samples.push(performance.now() - from);
        }
        bar.stop();
        const timing = samples.length > 0 ? timingOf(samples) : undefined;
        const facts = factsOf(outputs, top);
        const device = runtime.backends.map(({ device }) => device.label).join(', ');
        if (json) console.log(JSON.stringify({ model: file, device, firstMs, timing, outputs: facts }, null, 2));
        else console.log(outputSections(facts, firstMs, timing).map(toText).join('\n\n'));
        const arrays = Object.entries(outputs).map(([name, { shape, data }]) => [name, { shape, data: [...data] }]);
        await save(output, JSON.stringify(Object.fromEntries(arrays)), 'The outputs are');
      } finally {
        bar.stop();
        runtime.free();
      }
    }),
});
