// Our rows as contestants: every row of the table that supports a problem.

import type { Backend, DeviceBuffer } from '../src/backend.js';
import { type Contestant, type RaceOptions, warmUp } from '../src/bench/race.js';
import type { Timing } from '../src/bench/statistics.js';
import { byteLength, storedLength } from '../src/dtype.js';
import { unpackSigns } from '../src/formats/bits.js';
import type { Weights } from '../src/formats/format.js';
import type { MatmulProblem, Problem } from '../src/plan/problem.js';
import { refusal, rowsFor, select } from '../src/plan/select.js';
import type { VariantBase } from '../src/plan/variant.js';
import { check, expectedOf } from './check.js';
import { productOf } from './problems.js';
import { packed, RECIPES, rounded } from './recipes.js';
import { type Shape, weightShape } from './shapes.js';
import type { OurTiming } from './types.js';

/** Rows this many times slower than the fastest for the same weights are not timed further. */
const HOPELESS = 5;

export const outputSize = (problem: MatmulProblem): number => problem.M * problem.N * problem.groups;

interface Prepared extends Contestant {
  weightBytes: number;
  /** Bits as 0 and 1. */
  read(): Promise<ArrayLike<number>>;
  free(): void;
}

/** A row made ready. Its input is shared, its output its own. */
export async function prepareRow(
  backend: Backend,
  variant: VariantBase,
  problem: MatmulProblem,
  weights: Weights,
  input: DeviceBuffer,
): Promise<Prepared> {
  const operands = backend.pack(variant, problem, weights, undefined);
  const kernel = await backend.prepare(variant, problem, operands);
  const { M, N, groups } = problem;
  const { dtype } = problem.output;
  const length = storedLength(dtype, [M, N * groups]);
  const output = backend.createBuffer(byteLength(dtype, length), 'bench output');
  return {
    name: variant.name,
    weightBytes: operands.bytes,
    run() {
      const pass = backend.beginPass();
      pass.run(kernel, [input], output);
      return pass.submit();
    },
    async read() {
      const y = await backend.read(output, length, dtype);
      if (!(y instanceof Uint32Array)) return y;
      const signs = new Float32Array(M * N * groups);
      unpackSigns(y, M, N * groups, new Float32Array(M).fill(1), signs);
      return signs.map((sign) => (sign > 0 ? 1 : 0));
    },
    free() {
      kernel.free();
      operands.free();
      backend.freeBuffer(output);
    },
  };
}

/** The rows that run a problem on a device. */
export function runnable(backend: Backend, problem: Problem): VariantBase[] {
  const { device, variants } = backend;
  return rowsFor(variants, problem).filter((variant) => refusal(variant, problem, device) === undefined);
}

/** A checked and warm row. */
export interface OurContestant extends Contestant {
  facts: Omit<OurTiming, keyof Timing>;
  /** Milliseconds of a run in the warm-up. */
  estimate: number;
  free(): void;
}

/**
 * Every row that can run the weights of a recipe, but for those far behind the fastest.
 * @param input x on the device
 * @param notes told of rows that fail, answer wrong or are left out
 */
export async function ourContestants(
  backend: Backend,
  shape: Shape,
  { recipe, density, values, x }: { recipe: string; density: number; values: Float32Array; x: Float32Array },
  input: DeviceBuffer,
  options: RaceOptions,
  notes: string[],
): Promise<OurContestant[]> {
  const { format, same, levels, traffic, arithmetic } = RECIPES[recipe];
  const title = density < 1 ? `${recipe}, density ${density}` : recipe;
  const size = weightShape(shape);
  const weights = packed(recipe, levels ? rounded(values, levels) : values, size);
  const { problem, x: given } = productOf(traffic, shape, weights, x, arithmetic);
  const rows = runnable(backend, problem);
  if (rows.length === 0) {
    notes.push(`${title}: no row runs it here`);
    return [];
  }
  const chosen = select(problem, [backend]).variant.name;
  const expected = expectedOf(weights, problem, given);
  const from = traffic ? backend.createBuffer(given.byteLength, 'bench input') : input;
  if (traffic) backend.write(from, given);
  const ready: OurContestant[] = [];
  for (const variant of rows) {
    let row: Prepared | undefined;
    try {
      row = await prepareRow(backend, variant, problem, weights, from);
      await row.run();
      const maxError = check(await row.read(), expected);
      const facts: OurContestant['facts'] = {
        recipe,
        format,
        density,
        variant: variant.name,
        same,
        macs: problem.M * problem.weights.nnz,
        denseMacs: problem.M * size.rows * size.cols,
        bytes: row.weightBytes,
        maxError,
        chosen: variant.name === chosen,
      };
      ready.push({ ...row, facts, estimate: await warmUp(row, options) });
    } catch (error) {
      row?.free();
      notes.push(`${variant.name} (${title}): ${(error as Error).message}`);
    }
  }
  const fastest = Math.min(...ready.map(({ estimate }) => estimate));
  return ready.filter((contestant) => {
    const times = contestant.estimate / fastest;
    if (times <= HOPELESS) return true;
    notes.push(`${contestant.name} (${title}): ${times.toFixed(0)} x slower than the fastest row, not timed further`);
    contestant.free();
    return false;
  });
}
