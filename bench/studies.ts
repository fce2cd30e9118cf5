// Studies of the scheduler: how well predictions choose, whether tuning keeps its promise, and where sparse beats dense.

import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import pc from 'picocolors';
import { root } from '../scripts/paths.js';
import type { Measure } from '../src/bench/drive/shape-pages.js';
import { crossoverRows } from '../src/bench/file.js';
import { crossoverSvg } from '../src/report/bench/crossover.js';
import { CROSSOVER_DENSITIES, CROSSOVER_SHAPES, floatRecipes, pointText, randomPoints } from './points.js';
import { densitiesOf, recipesFor } from './recipes.js';
import { fillDocs, slug, writeResults } from './results.js';
import { machineOf, printConditions, runThreads, threadText } from './session.js';
import { expandShapes, parseShape, SHAPES, weightShape } from './shapes.js';
import { costReport, crossoverReport, guaranteeReport, type Report } from './study-reports.js';
import type { CostTimings, CrossoverTimings, GuaranteeTimings, PageOptions, StudyKind, StudyTimings } from './types.js';

export interface StudyOptions {
  executable: string;
  scripts: string;
  cpu: string;
  threads: readonly number[];
  module: string | undefined;
  only: readonly string[];
  /** Undefined: the study's own. */
  shapes: readonly string[] | undefined;
  densities: readonly number[];
  points: number;
  seed: number;
  rounds: number;
  resume: boolean;
  json: string | undefined;
}

interface Study {
  /** The option that asks for it. */
  option: 'cost-model' | 'guarantee' | 'crossover';
  points(options: StudyOptions): string[];
  /** Where results go; undefined: nowhere, as only a part was asked for. */
  file(options: StudyOptions): string | undefined;
}

/** Weights that take longer to pack in all their forms than to time. */
const MOST_WEIGHTS = 2 ** 22;
/** Random points beside the bench's shapes, of those that --points names. */
const COST_SHARE = 0.5;
const COST_DENSITIES = [0.5, 0.3, 0.1, 0.05];

const whole = ({ only, shapes, densities, module }: StudyOptions): boolean =>
  only.length + densities.length === 0 && !shapes && !module;
const result = (name: string, options: StudyOptions): string | undefined =>
  whole(options) ? join(root, 'bench/results', `${slug(options.cpu)}-${name}.json`) : undefined;
const orDefault = <T>(list: readonly T[], others: readonly T[]): readonly T[] => (list.length > 0 ? list : others);

export const STUDIES: Record<StudyKind, Study> = {
  cost: {
    option: 'cost-model',
    points({ only, shapes = expandShapes(Object.keys(SHAPES)), densities, points, seed }) {
      const recipes = floatRecipes(recipesFor(only));
      const light = shapes.filter((shape) => {
        const { rows, cols } = weightShape(parseShape(shape));
        return rows * cols <= MOST_WEIGHTS;
      });
      const ofShapes = light.flatMap((shape) =>
        recipes.flatMap((recipe) =>
          densitiesOf(recipe, orDefault(densities, COST_DENSITIES)).map((density) => pointText(shape, density, recipe)),
        ),
      );
      return [...ofShapes, ...randomPoints(Math.round(points * COST_SHARE), seed, recipes)];
    },
    file: (options) => result('cost-model', options),
  },
  guarantee: {
    option: 'guarantee',
    points: ({ only, points, seed }) => randomPoints(points, seed, floatRecipes(recipesFor(only))),
    file: (options) => result('guarantee', options),
  },
  crossover: {
    option: 'crossover',
    points: ({ shapes = CROSSOVER_SHAPES, densities }) =>
      shapes.flatMap((shape) => orDefault(densities, CROSSOVER_DENSITIES).map((density) => pointText(shape, density))),
    file: (options) => (whole(options) ? join(root, 'docs/data', `crossover-${slug(options.cpu)}.json`) : undefined),
  },
};

/** Points that are done, a line each, so that a study that is cut short goes on where it was. */
class Log {
  readonly #file: string;
  readonly done = new Map<string, StudyTimings>();

  constructor(kind: StudyKind, { cpu, module = '', seed, rounds, resume }: StudyOptions) {
    this.#file = join(root, 'build/bench', `${kind}-${slug([cpu, module, seed, rounds].join(' '))}.jsonl`);
    mkdirSync(dirname(this.#file), { recursive: true });
    if (!resume) rmSync(this.#file, { force: true });
    if (!existsSync(this.#file)) return;
    for (const line of readFileSync(this.#file, 'utf8').split('\n')) {
      try {
        const { threads, timings } = JSON.parse(line) as { threads: number; timings: StudyTimings };
        this.done.set(`${threads} ${timings.point}`, timings);
      } catch {
        // The line that was being written.
      }
    }
  }

  add(threads: number, timings: StudyTimings): void {
    this.done.set(`${threads} ${timings.point}`, timings);
    appendFileSync(this.#file, `${JSON.stringify({ threads, timings })}\n`);
  }
}

export async function runStudy(kind: StudyKind, options: StudyOptions): Promise<void> {
  const { executable, scripts, cpu, threads, rounds } = options;
  const points = [...new Set(STUDIES[kind].points(options))];
  if (points.length === 0) throw new Error('nothing to time: --only, --shape and --points leave no point');
  const log = new Log(kind, options);
  const measure: Measure<StudyTimings> = async (page, point) => {
    const count = page.facts.threads;
    const known = log.done.get(`${count} ${point}`);
    if (known) return known;
    const timings = await page.study(kind, point);
    log.add(count, timings);
    return timings;
  };
  const page: Omit<PageOptions, 'threads'> = {
    module: options.module,
    peers: [],
    only: [],
    densities: [],
    rounds,
    batchMs: 0,
  };
  const outcomes = await runThreads(executable, scripts, threads, page, points, measure, (point) => point);
  const studies = outcomes.map((outcome) => {
    const { facts, timings, notes } = outcome;
    printConditions(outcome, cpu);
    const report = reportOf(kind, timings);
    console.log(`\n${pc.bold(`${timings.length} points, ${threadText(facts.threads)}`)}\n${report.text}`);
    return { threads: facts.threads, report, points: timings, notes };
  });
  const file = options.json ?? STUDIES[kind].file(options);
  if (!file) return;
  const results = studies.map(({ report: { summary }, ...rest }) => ({ summary, ...rest }));
  writeResults(file, { machine: machineOf(outcomes, cpu, rounds), seed: options.seed, studies: results });
  console.log(`results in ${relative(process.cwd(), file)}`);
  // Only what a whole study says goes where people read it.
  if (file === STUDIES[kind].file(options)) {
    const [{ facts, browserVersion }] = outcomes;
    const from = `${cpu}, ${browserVersion}, ${facts.device}, ${threadText(facts.threads)}`;
    fillDocs('scheduler', STUDIES[kind].option, `${from}:\n\n${studies[0].report.markdown}`);
  }
  if (kind !== 'crossover') return;
  const plot = file.replace(/(data[/\\])?([^/\\]+)\.json$/, '$2.svg');
  const [{ threads: count, points: curves }] = studies;
  writeFileSync(plot, crossoverSvg(crossoverRows(curves as CrossoverTimings[], count)));
  console.log(`plot in ${relative(process.cwd(), plot)}`);
}

function reportOf(kind: StudyKind, timings: StudyTimings[]): Report {
  switch (kind) {
    case 'cost':
      return costReport(timings as CostTimings[]);
    case 'guarantee':
      return guaranteeReport(timings as GuaranteeTimings[]);
    case 'crossover':
      return crossoverReport(timings as CrossoverTimings[]);
  }
}
