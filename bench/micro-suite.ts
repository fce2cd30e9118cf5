// What happens in one process: packing and unpacking of every format, and every row on one shape, by benchmark.js.

import { cpus } from 'node:os';
import Benchmark from 'benchmark';
import { defineCommand, runMain } from 'citty';
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import pc from 'picocolors';
import { formatOf } from '../src/formats/index.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { check, expectedOf } from './check.js';
import { prepareRow, runnable } from './ours.js';
import { problemOf } from './problems.js';
import { densitiesOf, packed, pruned, RECIPES, recipesFor, uniform } from './recipes.js';
import { inputSize, parseShape, weightShape } from './shapes.js';

const DENSITY = 0.1;

interface Task {
  group: string;
  name: string;
  weights: string;
  run(): unknown;
  /** Operations of one run: weights handled, or 2 a multiply-add of dense weights. */
  operations: number;
}

async function tasksOf(names: readonly string[], text: string): Promise<{ device: string; tasks: Task[] }> {
  const shape = parseShape(text);
  const size = weightShape(shape);
  const values = uniform(size.rows * size.cols, 1);
  const x = uniform(inputSize(shape), 2);
  const backend = await createWasmBackend();
  const input = backend.createBuffer(x.byteLength, 'bench input');
  backend.write(input, x);
  const tasks: Task[] = [];
  const rows: Task[] = [];
  for (const recipe of names) {
    const [density] = densitiesOf(recipe, [DENSITY]);
    const source = pruned(recipe, values, size, density);
    const title = density < 1 ? `${recipe} ${100 * density} %` : recipe;
    const weights = packed(recipe, source, size);
    const format = formatOf(weights);
    const each = { group: 'formats', weights: title, operations: values.length };
    tasks.push(
      { ...each, name: 'pack', run: () => packed(recipe, source, size) },
      { ...each, name: 'validate', run: () => format.validate(weights) },
      { ...each, name: 'unpack', run: () => format.unpack(weights) },
    );
    const problem = problemOf(shape, weights);
    const expected = expectedOf(weights, problem, x);
    for (const variant of runnable(backend, problem)) {
      const row = await prepareRow(backend, variant, problem, weights, input);
      await row.run();
      check(await row.read(), expected);
      const operations = 2 * problem.M * values.length;
      rows.push({ group: `rows, ${text}`, name: row.name, weights: title, operations, run: row.run });
    }
  }
  return { device: backend.device.label, tasks: [...tasks, ...rows] };
}

function time({ run, name }: Task, maxTime: number): Promise<Benchmark> {
  return new Promise((resolve, reject) => {
    const isAsync = run() instanceof Promise;
    const bench = new Benchmark(name, {
      maxTime,
      defer: isAsync,
      fn: isAsync
        ? (deferred: { resolve(): void }) => {
            (run() as Promise<void>).then(() => deferred.resolve());
          }
        : run,
      onComplete: () => resolve(bench),
      onError: () => reject(bench.error),
    });
    bench.run({ async: true });
  });
}

const main = defineCommand({
  meta: { name: 'bench:micro', description: 'Formats and rows in one Node process, by benchmark.js.' },
  args: {
    only: { type: 'string', default: '', description: 'Weights, by name or its beginning: csr,int8,codebook' },
    shape: { type: 'string', default: '196x256x256', description: 'Size of the rows: MxKxN or HxWxCxNxK' },
    time: { type: 'string', default: '0.3', description: 'Seconds for each' },
  },
  async run({ args }) {
    const names = recipesFor(args.only.split(',').filter(Boolean)).filter((name) => !RECIPES[name].traffic);
    const { device, tasks } = await tasksOf(names, args.shape);
    const bar = new SingleBar({ format: '{bar} {value}/{total} | {what}', hideCursor: true }, Presets.shades_classic);
    bar.start(tasks.length, 0, { what: '' });
    const lines: { task: Task; bench: Benchmark }[] = [];
    try {
      for (const task of tasks) {
        bar.update(lines.length, { what: `${task.weights} ${task.name}` });
        lines.push({ task, bench: await time(task, Number(args.time)) });
      }
    } finally {
      bar.stop();
    }
    console.log(`${pc.bold(cpus()[0]?.model ?? '')}, Node ${process.versions.node}, ${device}`);
    for (const group of new Set(tasks.map((task) => task.group))) {
      const unit = group === 'formats' ? 'M weights/s' : 'G/s dense';
      const table = new Table({
        head: ['weights', 'what', 'ms', '+-', unit].map((title) => pc.bold(title)),
        colAligns: ['left', 'left', 'right', 'right', 'right'],
        style: { head: [], border: [], compact: true },
      });
      for (const { task, bench } of lines) {
        if (task.group !== group) continue;
        const seconds = bench.stats.mean;
        const rate = task.operations / seconds / (group === 'formats' ? 1e6 : 1e9);
        const ms = (1000 * seconds).toFixed(seconds < 1e-3 ? 4 : 2);
        table.push([task.weights, task.name, ms, `${bench.stats.rme.toFixed(1)} %`, rate.toFixed(1)]);
      }
      console.log(`\n${pc.bold(group)}\n${table}`);
    }
  },
});

await runMain(main);
