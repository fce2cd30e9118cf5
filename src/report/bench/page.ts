import type { BenchRun, ModelRow, ResultsFile } from '../../bench/results.js';
import { type Block, toPage } from '../html.js';
import { candidateSection, formatMs, type Section } from '../sections.js';
import { coldFigure, memoryFigure } from './bars.js';
import { crossoverFigure } from './crossover.js';
import { labelled } from './draw.js';
import { shapeFigure, speedUpFigure } from './ratios.js';
import { rooflineFigure } from './roofline.js';
import {
  ceilingSection,
  coldSection,
  crossoverSections,
  describeRun,
  layerSection,
  modelSection,
  shapeSections,
} from './tables.js';

/** Which kernels were considered for each layer with weights, and why the chosen one was. */
const explainSections = ({ layers }: ModelRow): Section[] =>
  layers
    .filter(({ denseMacs }) => denseMacs !== undefined)
    .map(({ name, ms, candidates }) => ({
      ...candidateSection(`Kernels considered for ${name}`, candidates),
      facts: [`takes ${formatMs(ms)} ms in the model`],
      folded: true,
    }));

function runBlocks(run: BenchRun, several: boolean): Block[] {
  const about = describeRun(run);
  const notes = run.notes.map((note) => ({ cells: [note] }));
  const { rounds, budgetMs, precision, coldStarts } = run.options;
  const turns =
    `at most ${rounds} in ${budgetMs / 1000} s, until intervals are within ${(100 * precision).toFixed(1)} %; ` +
    `${coldStarts} cold starts`;
  const facts: Section = {
    title: several ? `Run in ${run.client.browser}` : 'Conditions',
    facts: several ? about : [],
    columns: [{ title: 'condition' }, { title: '' }],
    rows: [
      { cells: ['browser', run.client.userAgent || run.client.browser] },
      { cells: ['switches', run.client.flags.join(' ') || 'none'] },
      ...(run.models.length > 0 ? [{ cells: ['turns', turns] }] : []),
    ],
  };
  const blocks: (Block | undefined)[] = [
    facts,
    ceilingSection(run),
    notes.length > 0 ? { title: 'Notes', columns: [{ title: 'note' }], rows: notes } : undefined,
    ...labelled([run]).flatMap(({ label, row }) => {
      const ceiling = run.ceilings.find(
        ({ backend, threads }) => backend === row.backend && (backend === 'webgpu' || threads === row.threads),
      );
      return [
        modelSection(row),
        coldSection(row),
        rooflineFigure({ label, row }, ceiling),
        layerSection(row),
        ...explainSections(row),
      ];
    }),
    ...shapeSections(run),
    ...crossoverSections(run),
  ];
  return blocks.filter((block) => block !== undefined);
}

/** One self-contained page of all runs. */
export function benchPage({ runs }: ResultsFile, title = 'thinfer bench'): string {
  const models = labelled(runs);
  const several = runs.length > 1;
  const blocks = [
    speedUpFigure(models),
    shapeFigure(runs.flatMap(({ shapes = [] }) => shapes)),
    coldFigure(models),
    memoryFigure(models),
    crossoverFigure(runs.flatMap(({ crossover = [] }) => crossover)),
    ...runs.flatMap((run) => runBlocks(run, several)),
  ].filter((block) => block !== undefined);
  const about = several ? [`${runs.length} runs`] : describeRun(runs[0]);
  return toPage(title, blocks, about);
}
