// Every row of the WebGPU table on the GPU of this machine, in Node through Dawn, by the GPU's own clock. Run in the
// folder that holds bench/. Beside it, in the same run: tfjs-backend-webgpu on the same Dawn, and what CUDA's libraries
// reach.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { defineCommand, runMain } from 'citty';
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import pc from 'picocolors';
import type { Backend } from '../src/backend.js';
import { median } from '../src/median.js';
import type { MatmulProblem } from '../src/plan/problem.js';
import { select } from '../src/plan/select.js';
import { createWebgpuBackend } from '../src/webgpu/index.js';
import { check, expectedOf } from './check.js';
import { type EncodeRow, measureEncoding } from './encode.js';
import { outputSize, runnable } from './ours.js';
import { problemOf } from './problems.js';
import { densitiesOf, hasRows, packed, pruned, RECIPES, recipesFor, rounded, uniform } from './recipes.js';
import { slug, writeResults } from './results.js';
import { expandShapes, inputSize, parseShape, SHAPES, type Shape, weightShape } from './shapes.js';

/** Sizes that fill a large GPU, and rows of decoding. */
const GPU_SHAPES = ['4096x4096x4096', '1x4096x4096', ...SHAPES.bert, ...SHAPES.conv, ...SHAPES.mobilenet];
const QUICK_SHAPES = ['64x128x64', '1x256x256', '8x8x16x16x3'];
const DENSITIES = [0.1];
/** A timed pass repeats a kernel until it takes about this long, so that the clock's steps do not matter. */
const PASS_MS = 5;
const MOST_REPEATS = 200;
const ENCODE_ROUNDS = 100;
const OPERATIONS_PER_MS = 1e6;

interface GpuRow {
  op: 'linear' | 'conv2d';
  format: string;
  density: number;
  shape: string;
  variant: string;
  /** Selection by predicted time picks this row. */
  chosen: boolean;
  ms: number;
  spread: number;
  /** Whose clock: the GPU's timestamps, or the host's around a pass of many runs. */
  clock: 'gpu' | 'host';
  gops: number;
  effGops: number;
  weightBytes: number;
  /** G bytes of packed weights a second: what bounds a product with few rows. */
  weightGBs: number;
  maxError: number;
}

interface PeerRow {
  peer: string;
  what: string;
  shape: string;
  ms: number;
}

/** Milliseconds of one run in a pass of `repeats`. */
async function passMs(
  backend: Backend,
  run: (pass: ReturnType<Backend['beginPass']>) => void,
  repeats: number,
): Promise<{ ms: number; clock: 'gpu' | 'host' }> {
  const pass = backend.beginPass({ timed: true });
  for (let i = 0; i < repeats; i++) run(pass);
  const start = performance.now();
  await pass.submit();
  const host = (performance.now() - start) / repeats;
  return pass.elapsedMs ? { ms: pass.elapsedMs / repeats, clock: 'gpu' } : { ms: host, clock: 'host' };
}

async function measure(
  backend: Backend,
  shapeText: string,
  recipe: string,
  density: number,
  rounds: number,
  notes: string[],
): Promise<GpuRow[]> {
  const shape: Shape = parseShape(shapeText);
  const size = weightShape(shape);
  const { levels, arithmetic } = RECIPES[recipe];
  const values = pruned(recipe, uniform(size.rows * size.cols, 1), size, density);
  const x = uniform(inputSize(shape), 2);
  const weights = packed(recipe, levels ? rounded(values, levels) : values, size);
  const problem: MatmulProblem = problemOf(shape, weights, { arithmetic });
  const candidates = runnable(backend, problem);
  if (candidates.length === 0) {
    notes.push(`${shapeText} ${recipe}: no row runs it here`);
    return [];
  }
  const chosen = select(problem, [backend]).variant.name;
  const expected = expectedOf(weights, problem, x);
  const denseMacs = problem.M * size.rows * size.cols;
  const macs = problem.M * problem.weights.nnz;
  const input = backend.createBuffer(x.byteLength, 'bench input');
  backend.write(input, x);
  const rows: GpuRow[] = [];
  try {
    for (const variant of candidates) {
      const title = `${shapeText} ${recipe} ${variant.name}`;
      try {
        const operands = backend.pack(variant, problem, weights, undefined);
        const kernel = await backend.prepare(variant, problem, operands);
        const output = backend.createBuffer(outputSize(problem) * 4, 'bench output');
        try {
          const run = (pass: ReturnType<Backend['beginPass']>) => pass.run(kernel, [input], output);
          const first = await passMs(backend, run, 1);
          const maxError = check(await backend.read(output, outputSize(problem)), expected);
          const warm = await passMs(backend, run, 2);
          const repeats = Math.min(Math.max(Math.ceil(PASS_MS / Math.min(first.ms, warm.ms)), 1), MOST_REPEATS);
          const times: number[] = [];
          let clock = warm.clock;
          for (let round = 0; round < rounds; round++) {
            const timed = await passMs(backend, run, repeats);
            times.push(timed.ms);
            clock = timed.clock;
          }
          const ms = median(times);
          rows.push({
            op: shape.op,
            format: recipe,
            density,
            shape: shapeText,
            variant: variant.name,
            chosen: variant.name === chosen,
            ms,
            spread: median(times.map((time) => Math.abs(time - ms))),
            clock,
            gops: (2 * macs) / (ms * OPERATIONS_PER_MS),
            effGops: (2 * denseMacs) / (ms * OPERATIONS_PER_MS),
            weightBytes: operands.bytes,
            weightGBs: operands.bytes / (ms * OPERATIONS_PER_MS),
            maxError,
          });
        } finally {
          kernel.free();
          operands.free();
          backend.freeBuffer(output);
        }
      } catch (error) {
        notes.push(`${title}: ${(error as Error).message.slice(0, 200)}`);
      }
    }
  } finally {
    backend.freeBuffer(input);
  }
  if (!rows.some(({ variant }) => variant === chosen)) notes.push(`${shapeText} ${recipe}: ${chosen} was not timed`);
  return rows;
}

/** tfjs with dense f32 weights on the same Dawn; its answers are checked as ours are. */
async function tfjsRows(shapes: readonly string[], rounds: number, notes: string[]): Promise<PeerRow[]> {
  const rows: PeerRow[] = [];
  try {
    const { tfjsWebgpu } = await import('./peers/tfjs-webgpu.js');
    const tfjs = await tfjsWebgpu();
    for (const text of shapes) {
      const shape = parseShape(text);
      const size = weightShape(shape);
      const values = uniform(size.rows * size.cols, 1);
      const x = uniform(inputSize(shape), 2);
      try {
        const weights = packed('dense', values, size);
        const { what, ms, y } = await tfjs.measure(shape, values, x, rounds);
        check(y, expectedOf(weights, problemOf(shape, weights), x));
        rows.push({ peer: 'tfjs-webgpu', what, shape: text, ms });
      } catch (error) {
        notes.push(`tfjs-webgpu ${text}: ${(error as Error).message.slice(0, 200)}`);
      }
    }
  } catch (error) {
    notes.push(`no tfjs-webgpu: ${(error as Error).message.split('\n')[0].slice(0, 200)}`);
  }
  return rows;
}

/** What CUDA's libraries reach, if python3 has torch with CUDA. */
async function torchRows(shapes: readonly string[], density: number): Promise<{ rows: PeerRow[]; note?: string }> {
  const linear = shapes.filter((shape) => parseShape(shape).op === 'linear');
  try {
    const { stdout } = await promisify(execFile)('python3', ['bench/gpu_torch.py', String(density), ...linear], {
      timeout: 180_000,
    });
    return { rows: JSON.parse(stdout) };
  } catch (error) {
    const reason = String((error as { stderr?: string }).stderr || (error as Error).message).trim();
    return { rows: [], note: `no CUDA peers: ${reason.split('\n').at(-1)}` };
  }
}

function print(shape: string, rows: readonly GpuRow[], peers: readonly PeerRow[]): void {
  const table = new Table({
    head: ['kernel', 'weights', 'us', '+-', 'G/s', 'G/s dense', 'weights GB/s', 'clock', 'error'].map((t) =>
      pc.bold(t),
    ),
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'left', 'right'],
    style: { head: [], border: [], compact: true },
  });
  const best = new Map<string, number>();
  const weightsOf = ({ format, density }: GpuRow) =>
    density < 1 ? `${format} ${(100 * density).toFixed(0)} %` : format;
  for (const row of rows) best.set(weightsOf(row), Math.min(best.get(weightsOf(row)) ?? Infinity, row.ms));
  for (const row of rows) {
    const name = `${row.variant}${row.chosen ? ' *' : ''}`;
    table.push([
      best.get(weightsOf(row)) === row.ms ? pc.bold(name) : name,
      weightsOf(row),
      (1000 * row.ms).toFixed(1),
      `${((100 * row.spread) / row.ms).toFixed(0)} %`,
      row.gops.toFixed(0),
      row.effGops.toFixed(0),
      row.weightGBs.toFixed(1),
      row.clock,
      row.maxError.toExponential(0),
    ]);
  }
  for (const { peer, what, ms } of peers) {
    table.push([pc.cyan(peer), what, (1000 * ms).toFixed(1), '', '', '', '', '', '']);
  }
  console.log(`\n${pc.bold(shape)}\n${table.toString()}`);
}

const main = defineCommand({
  meta: { name: 'bench:gpu', description: 'Time every WebGPU kernel on the GPU of this machine.' },
  args: {
    only: { type: 'string', description: 'Weights to run, by name or its beginning: csr,int8' },
    shape: { type: 'string', description: 'Sizes MxKxN or HxWxCxNxK, separated by commas, or names' },
    density: { type: 'string', default: DENSITIES.join(','), description: 'Densities of sparse weights' },
    rounds: { type: 'string', default: '9', description: 'Timed passes a row' },
    quick: { type: 'boolean', default: false, description: 'Three small shapes, for software adapters' },
    json: { type: 'string', description: 'Where the rows go (default: bench/results/<gpu>.json, not with --quick)' },
  },
  async run({ args }) {
    const list = (text: string | undefined) => (text ? text.split(',') : []);
    const shapes = expandShapes(args.shape ? list(args.shape) : args.quick ? QUICK_SHAPES : GPU_SHAPES);
    const densities = list(args.density).map(Number);
    const backend = await createWebgpuBackend();
    if (typeof backend === 'string') throw new Error(backend);
    const { device, variants } = backend;
    console.log(`${pc.bold(device.label)}; ${[...device.features].join(', ')}`);
    const recipes = recipesFor(list(args.only)).filter(
      (recipe) => hasRows(recipe, variants) && !RECIPES[recipe].traffic,
    );
    const notes: string[] = [];
    const rows: GpuRow[] = [];
    const bar = new SingleBar(
      { format: '{bar} {percentage} % | {eta_formatted} left | {what}', clearOnComplete: true },
      Presets.shades_classic,
    );
    bar.start(shapes.length * recipes.length, 0, { what: '' });
    for (const shape of shapes) {
      for (const recipe of recipes) {
        bar.increment(1, { what: `${shape} ${recipe}` });
        for (const density of densitiesOf(recipe, densities)) {
          rows.push(...(await measure(backend, shape, recipe, density, Number(args.rounds), notes)));
        }
      }
    }
    bar.stop();
    backend.free();
    const encode: EncodeRow[] = [];
    for (const recipe of recipes.filter((name) => ['dense', 'int8', 'csr'].includes(name))) {
      encode.push(await measureEncoding(recipe, ENCODE_ROUNDS));
    }
    const torch = await torchRows(shapes, densities[0]);
    if (torch.note) notes.push(torch.note);
    const peers = [...(await tfjsRows(shapes, Number(args.rounds), notes)), ...torch.rows];
    for (const shape of shapes) {
      print(
        shape,
        rows.filter((row) => row.shape === shape),
        peers.filter((peer) => peer.shape === shape),
      );
    }
    for (const { recipe, layers, encodeMs, submitMs } of encode) {
      const [encoding, submitting] = [encodeMs, submitMs].map((ms) => `${ms.toFixed(3)} ms`);
      console.log(`encode: ${layers} convolutions of ${recipe} in ${encoding}, submit ${submitting}, on the host`);
    }
    for (const { peer, what } of peers.filter(({ shape }) => shape === '')) console.log(`${pc.cyan(peer)} ${what}`);
    for (const note of notes) console.log(pc.yellow(note));
    console.log(pc.dim('* the row that predicted time selects.'));
    const file = args.json ?? (args.quick ? undefined : `bench/results/${slug(device.label)}.json`);
    if (file) {
      const machine = { gpu: device.label, features: [...device.features], limits: device.limits };
      writeResults(file, { machine, rows, encode, peers, notes });
      console.log(`${rows.length} rows in ${file}`);
    }
    // Dawn's threads keep a process alive.
    process.exit(0);
  },
});

await runMain(main);
