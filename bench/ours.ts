// Our rows as contestants: every row of the table that supports a problem.

import type { Backend, DeviceBuffer } from '../src/backend.js';
import type { Weights } from '../src/formats/format.js';
import { conv2dProblem, linearProblem, weightFacts } from '../src/layers/problem.js';
import type { MatmulProblem } from '../src/plan/problem.js';
import { rowsFor, select } from '../src/plan/select.js';
import type { VariantBase } from '../src/plan/variant.js';
import { check, expectedOf } from './check.js';
import { type Contestant, type RaceOptions, warmUp } from './race.js';
import { packed, RECIPES, rounded } from './recipes.js';
import { type Shape, weightShape } from './shapes.js';
import type { OurTiming, Timing } from './types.js';

/** Rows this many times slower than the fastest for the same weights are not timed further. */
const HOPELESS = 5;

/** The problem of a shape with given weights: no bias, no activation. */
export function problemOf(shape: Shape, weights: Weights): MatmulProblem {
  if (shape.op === 'linear') return linearProblem(weightFacts(weights), weights, shape.M, {});
  const { height, width, kernel, stride, groups } = shape;
  const options = { kernel, stride, groups, padding: 'same' } as const;
  return conv2dProblem(weightFacts(weights), weights, [1, height, width], options);
}

export const outputSize = (problem: MatmulProblem): number => problem.M * problem.N * problem.groups;

interface Prepared extends Contestant {
  weightBytes: number;
  read(): Promise<Float32Array>;
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
  const output = backend.createBuffer(outputSize(problem) * 4, 'bench output');
  return {
    name: variant.name,
    weightBytes: operands.bytes,
    run() {
      const pass = backend.beginPass();
      pass.run(kernel, [input], output);
      return pass.submit();
    },
    read: () => backend.read(output, outputSize(problem)),
    free() {
      kernel.free();
      operands.free();
      backend.freeBuffer(output);
    },
  };
}

/** The rows that run a problem on a device. */
export function runnable(backend: Backend, problem: MatmulProblem): VariantBase[] {
  const { device, variants } = backend;
  return rowsFor(variants, problem).filter(
    (variant) =>
      (variant.requires ?? []).every((feature) => device.features.has(feature)) &&
      (variant.supports?.(problem as never, device) ?? true) === true,
  );
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
  const { format, same, levels } = RECIPES[recipe];
  const title = density < 1 ? `${recipe}, density ${density}` : recipe;
  const size = weightShape(shape);
  const weights = packed(recipe, levels ? rounded(values, levels) : values, size);
  const problem = problemOf(shape, weights);
  const rows = runnable(backend, problem);
  if (rows.length === 0) {
    notes.push(`${title}: no row runs it here`);
    return [];
  }
  const chosen = select(problem, [backend]).variant.name;
  const expected = expectedOf(weights, problem, x);
  const ready: OurContestant[] = [];
  for (const variant of rows) {
    let row: Prepared | undefined;
    try {
      row = await prepareRow(backend, variant, problem, weights, input);
      await row.run();
      const maxError = check(await row.read(), expected, false);
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
