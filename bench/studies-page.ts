// The page's side of the studies of the scheduler: `npm run bench -- --cost-model`, `--guarantee`, `--crossover`.

import type { Backend } from '../src/backend.js';
import type { Weights } from '../src/formats/format.js';
import { dense, formatOf, int8 } from '../src/formats/index.js';
import { calibrate } from '../src/plan/calibrate.js';
import { createRuntime, type Runtime } from '../src/runtime.js';
import type { WasmOptions } from '../src/wasm/index.js';
import { runnable } from './ours.js';
import { parsePoint } from './points.js';
import { problemOf } from './problems.js';
import { packed, pruned, RECIPES, rounded, uniform } from './recipes.js';
import { type Field, formOf, least, openField, predictedMs, type Rival, rivalsOf } from './rivals.js';
import { inputSize, type Shape, weightShape } from './shapes.js';
import type {
  Arithmetic,
  CostTimings,
  CrossoverTimings,
  GuaranteeTimings,
  PageOptions,
  RivalTime,
  StudyKind,
  StudyTimings,
} from './types.js';

const TIMEOUT_MS = 60_000;
/** Turns are short and many: the fastest counts, as what disturbs a turn makes it longer. */
const BATCH_MS = 1.5;
/** What is this much slower is raced again before it counts. */
const SUSPICIOUS = 1.05;
/** The tuned layer's answers may differ from those before by so much of the largest. */
const TOLERANCE = 1e-3;

/** One runtime serves all points of a page, as it would all layers of a program. */
let runtime: Promise<Runtime> | undefined;
let calibrated: Promise<void> | undefined;

function open({ module, threads }: PageOptions): Promise<Runtime> {
  runtime ??= createRuntime({
    backends: ['wasm'],
    tune: 'off',
    cache: false,
    wasm: { module, threads } as WasmOptions,
  });
  return runtime;
}

const raceOptions = ({ rounds }: PageOptions) => ({ rounds, batchMs: BATCH_MS, timeoutMs: TIMEOUT_MS });

/** Weights of a recipe at a density, and what they were packed from. */
function weightsOf(recipe: string, shape: Shape, density: number): Weights {
  const size = weightShape(shape);
  const { levels } = RECIPES[recipe];
  const values = pruned(recipe, uniform(size.rows * size.cols, 1), size, density);
  return packed(recipe, levels ? rounded(values, levels) : values, size);
}

const shapeOf = ({ rows, cols }: Weights) => ({ rows, cols });
const asDense = (weights: Weights): Weights => dense.pack(formatOf(weights).unpack(weights), shapeOf(weights));
const asInt8 = (weights: Weights): Weights => int8.pack(formatOf(weights).unpack(weights), shapeOf(weights));

/** Rows for weights as they are. */
function rowsFor(backend: Backend, shape: Shape, weights: Weights, group: string): Rival[] {
  const form = formOf(weights);
  const problem = problemOf(shape, weights);
  return runnable(backend, problem).map((variant) => ({ variant, problem, form, groups: [group] }));
}

async function costOf(text: string, options: PageOptions): Promise<CostTimings> {
  const { shape, recipe, density } = parsePoint(text);
  const [backend] = (await open(options)).backends;
  calibrated ??= calibrate(backend, () => true).then((rates) => void Object.assign(backend.device, rates));
  await calibrated;
  const weights = weightsOf(recipe, shape, density);
  const rivals = rivalsOf(backend, shape, weights, (_, i) => (i === 0 ? ['own', 'all'] : ['all']));
  const own = rivals.filter(({ groups }) => groups.includes('own'));
  for (const list of [own, rivals]) least(list, (rival) => predictedMs(backend, rival)).keep = true;
  const notes: string[] = [];
  const field = await openField(backend, rivals, raceOptions(options), notes);
  try {
    const times = await field.race(options.rounds);
    const { macsPerNs, bytesPerNs, dispatchMs } = backend.device;
    return {
      kind: 'cost',
      point: text,
      own: own.length,
      rows: times,
      rates: { macsPerNs, bytesPerNs, dispatchMs },
      notes,
    };
  } finally {
    field.free();
  }
}

/** Which of our dense rows multiply the same numbers. */
function arithmeticOf(weights: Weights, forms: readonly Rival[]): Arithmetic {
  if (weights.format === 'xnor') return 'bits';
  return forms.some(({ form }) => form.facts.format === 'dense') ? 'f32' : 'int8';
}

async function layerOf(runtime: Runtime, shape: Shape, weights: Weights) {
  if (shape.op === 'linear') return { layer: await runtime.linear(weights), input: [shape.M, shape.K] };
  const { height, width, channels, kernel, stride, groups } = shape;
  const layer = await runtime.conv2d(weights, { kernel, stride, groups, padding: 'same' });
  return { layer, input: [1, height, width, channels] };
}

async function guaranteeOf(text: string, options: PageOptions): Promise<GuaranteeTimings> {
  const { shape, recipe, density } = parsePoint(text);
  const runtime = await open(options);
  const [backend] = runtime.backends;
  const weights = weightsOf(recipe, shape, density);
  const { layer, input } = await layerOf(runtime, shape, weights);
  const x = uniform(inputSize(shape), 2);
  const answer = async () => {
    const y = await layer.run(x, input);
    const data = await y.data();
    y.free();
    return data;
  };
  const before = await answer();
  const start = performance.now();
  await layer.tune(input, { effort: 'quick' });
  const tuneMs = performance.now() - start;
  requireSame(await answer(), before);
  const [chosen, ...others] = layer.explain(input);
  const timed = [chosen, ...others].flatMap(({ variant, measuredMs }) => (measuredMs ? [[variant, measuredMs]] : []));
  layer.free();

  const rivals = rivalsOf(backend, shape, weights, ({ facts }) => ['all', facts.format]);
  const arithmetic = arithmeticOf(weights, rivals);
  if (arithmetic !== 'f32') rivals.push(...rowsFor(backend, shape, asDense(weights), 'dense'));
  if (arithmetic === 'bits') rivals.push(...rowsFor(backend, shape, asInt8(weights), 'int8'));
  if (arithmetic === 'int8' && !rivals.some(({ form }) => form.facts.format === 'int8')) {
    rivals.push(...rowsFor(backend, shape, asInt8(weights), 'int8'));
  }
  for (const rival of rivals) {
    if (!['dense', 'int8'].includes(rival.form.facts.format)) rival.groups = ['all'];
  }
  const tuned = rivals.findIndex(
    ({ variant, form: { facts } }) => variant.name === chosen.variant && facts.bytes === chosen.bytes,
  );
  rivals[tuned].keep = true;
  const notes: string[] = [];
  const field = await openField(backend, rivals, raceOptions(options), notes);
  try {
    return await judge(field, rivals, tuned, options.rounds, {
      kind: 'guarantee',
      point: text,
      arithmetic,
      tuneMs,
      timed: Object.fromEntries(timed),
      notes,
    });
  } finally {
    field.free();
  }
}

function requireSame(y: Float32Array, before: Float32Array): void {
  const largest = before.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [i, value] of before.entries()) {
    // Not >, so that NaN is a mistake.
    if (!(Math.abs(y[i] - value) <= TOLERANCE * largest)) {
      throw new Error(`the tuned layer answers ${y[i]} at ${i}, ${value} before`);
    }
  }
}

type Facts = Pick<GuaranteeTimings, 'kind' | 'point' | 'arithmetic' | 'tuneMs' | 'timed' | 'notes'>;

/** Races, and races what is suspicious a second time, longer: the second counts. */
async function judge(
  field: Field,
  rivals: readonly Rival[],
  tuned: number,
  rounds: number,
  facts: Facts,
): Promise<GuaranteeTimings> {
  const verdict = (rows: RivalTime[], races: number): GuaranteeTimings => {
    const { ms } = rows[tuned];
    const ofFormat = (format: string) => {
      const list = rows.filter((row) => row.format === format);
      return list.length > 0 ? least(list, (row) => row.ms) : undefined;
    };
    // Dense f32 that was added for comparison answers in other arithmetic.
    const same = rows.filter((_, i) => rivals[i].groups.includes('all'));
    const oracle = least(same, (row) => row.ms);
    const [ownDense, ownInt8] = [ofFormat('dense'), ofFormat('int8')];
    return {
      ...facts,
      races,
      tuned: rows[tuned],
      oracle,
      overOracle: ms / oracle.ms,
      overDense: ownDense ? ms / ownDense.ms : null,
      overInt8: ownInt8 ? ms / ownInt8.ms : null,
      dense: ownDense ?? null,
      rows: rows.filter((row) => row.raced),
    };
  };
  const first = verdict(await field.race(rounds), 1);
  const limit = facts.arithmetic === 'f32' ? first.overDense! : Math.min(first.overDense!, first.overInt8!);
  if (first.overOracle <= SUSPICIOUS && limit <= SUSPICIOUS) return first;
  return verdict(await field.race(3 * rounds), 2);
}

/** Sparse weights beside dense ones. */
const CROSSING = ['csr', 'bcsr4x1', 'bcsr1x4', 'csrInt8', 'csrInt8x4'];

async function crossoverOf(text: string, options: PageOptions): Promise<CrossoverTimings> {
  const { shape, density } = parsePoint(text);
  const [backend] = (await open(options)).backends;
  const size = weightShape(shape);
  const values = uniform(size.rows * size.cols, 1);
  const rivals = [
    ...rowsFor(backend, shape, dense.pack(values, size), 'dense'),
    ...rowsFor(backend, shape, int8.pack(values, size), 'int8'),
    ...CROSSING.flatMap((recipe) => rowsFor(backend, shape, weightsOf(recipe, shape, density), recipe)),
  ];
  const notes: string[] = [];
  const field = await openField(backend, rivals, raceOptions(options), notes);
  try {
    const times = await field.race(options.rounds);
    const of = (group: string) =>
      least(
        times.filter((_, i) => rivals[i].groups[0] === group),
        ({ ms }) => ms,
      );
    const best = Object.fromEntries(['dense', 'int8', ...CROSSING].map((group) => [group, of(group)]));
    return { kind: 'crossover', point: text, best, notes };
  } finally {
    field.free();
  }
}

/** One point of a study. */
export function study(kind: StudyKind, point: string, options: PageOptions): Promise<StudyTimings> {
  return { cost: costOf, guarantee: guaranteeOf, crossover: crossoverOf }[kind](point, options);
}
