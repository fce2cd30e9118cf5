import type { Backend } from '../backend.js';
import { dense } from '../formats/dense.js';
import { linearProblem, weightFacts } from '../layers/problem.js';
import type { Rates } from './choices.js';
import { lowerMedian } from './contest.js';
import { select } from './select.js';
import { openBench, openTrial } from './trial.js';
import type { Device } from './variant.js';

/** Times a kernel is run, warm; each time as often as takes about as long as a turn. */
const TURNS = 5;
const WARM_TURNS = 4;
const TURN_MS = 0.5;
/** Products grow until one takes this long: then what a dispatch costs matters little. */
const LONG_MS = 0.3;
/** Clocks with coarse steps may see nothing of a turn. */
const SHORTEST_MS = 1e-5;
const SQUARES = [64, 128, 256, 512, 1024];
const ROWS = [512, 1024, 2048, 4096];

/** Long enough that its rate shows. */
const MOVED_BYTES = 2 ** 22;

type Proceed = () => boolean | Promise<boolean>;

/** Milliseconds of a kernel and of a run that holds only it, and what a device with given rates is predicted to take. */
interface Sample {
  ms: number;
  runMs: number;
  costMs(device: Device): number;
}

/**
 * The rates of a device that its cost models start from, so that they predict what the dense kernels took: a product that
 * computes, one row that reads weights, and one that does next to nothing.
 * @returns undefined when `proceed` ended it
 */
export async function calibrate(backend: Backend, proceed: Proceed): Promise<Rates | undefined> {
  const { device } = backend;
  const square = await longest(backend, SQUARES, (size) => size, proceed);
  const row = await longest(backend, ROWS, () => 1, proceed);
  // Last: what submits has been compiled by now.
  const tiny = await sample(backend, 1, 16, proceed);
  if (!tiny || !square || !row) return undefined;
  const known = { ...device, dispatchMs: tiny.ms };
  known.macsPerNs = fit(device.macsPerNs, square.ms, (macsPerNs) => square.costMs({ ...known, macsPerNs }));
  known.bytesPerNs = fit(device.bytesPerNs, row.ms, (bytesPerNs) => row.costMs({ ...known, bytesPerNs }));
  return {
    macsPerNs: known.macsPerNs,
    bytesPerNs: known.bytesPerNs,
    dispatchMs: tiny.ms,
    runMs: Math.max(tiny.runMs - tiny.ms, tiny.ms / 100),
    ...(device.transfer && { transfer: await transferRates(backend, device.transfer) }),
  };
}

/** The rate, at most so many times the old one or that part of it, with which a time is predicted that was measured. */
const FURTHEST = 32;

function fit(old: number, ms: number, predict: (rate: number) => number): number {
  let [low, high] = [old / FURTHEST, old * FURTHEST];
  // Predictions fall with the rate, and may stay where another rate matters more: then the lowest that will do.
  while (high / low > 1.001) {
    const middle = Math.sqrt(low * high);
    if (predict(middle) > ms) low = middle;
    else high = middle;
  }
  return high;
}

/** Reading back waits for what was written before: both ways are timed together. */
async function transferRates(
  backend: Backend,
  { writeMs }: NonNullable<Rates['transfer']>,
): Promise<NonNullable<Rates['transfer']>> {
  const [small, large] = [new Float32Array(4), new Float32Array(MOVED_BYTES / 4)];
  const buffer = backend.createBuffer(large.byteLength, 'calibration');
  try {
    const msOf = async (data: Float32Array) => {
      const times: number[] = [];
      for (let turn = 0; turn < TURNS; turn++) {
        const start = performance.now();
        backend.write(buffer, data);
        await backend.read(buffer, data.length);
        times.push(performance.now() - start);
      }
      return lowerMedian(times);
    };
    const readMs = Math.max(await msOf(small), writeMs / 10);
    const bothMs = Math.max((await msOf(large)) - readMs, readMs / 10);
    return { writeMs, readMs, bytesPerNs: (2 * large.byteLength) / bothMs / 1e6 };
  } finally {
    backend.freeBuffer(buffer);
  }
}

async function longest(
  backend: Backend,
  sizes: readonly number[],
  rows: (size: number) => number,
  proceed: Proceed,
): Promise<Sample | undefined> {
  let last: Sample | undefined;
  for (const size of sizes) {
    last = await sample(backend, rows(size), size, proceed);
    if (!last || last.ms >= LONG_MS) break;
  }
  return last;
}

/** A dense product of `M` rows with weights [size, size]. */
async function sample(backend: Backend, M: number, size: number, proceed: Proceed): Promise<Sample | undefined> {
  const weights = dense.pack(new Float32Array(size * size).fill(1 / size), { rows: size, cols: size });
  const problem = linearProblem(weightFacts(weights), weights, M, {});
  const { variant } = select(problem, [backend]);
  const bench = openBench(backend, problem);
  const operands = backend.pack(variant, problem, weights, undefined);
  const trial = await openTrial(bench, variant, problem, operands);
  try {
    let times = 1;
    const turns: number[] = [];
    const runs: number[] = [];
    for (let turn = -WARM_TURNS; turn < TURNS; turn++) {
      if (!(await proceed())) return undefined;
      const ms = await trial.run(times);
      if (turn >= 0) turns.push(ms);
      else times = Math.max(Math.ceil(TURN_MS / Math.max(ms, TURN_MS / 1000)), 1);
      const start = performance.now();
      await trial.run(1);
      if (turn >= 0) runs.push(performance.now() - start);
    }
    // What disturbs a turn makes it longer.
    const ms = Math.max(Math.min(...turns), SHORTEST_MS);
    return { ms, runMs: lowerMedian(runs), costMs: (device) => variant.cost(problem as never, device) };
  } finally {
    trial.free();
    operands.free();
    bench.free();
  }
}
