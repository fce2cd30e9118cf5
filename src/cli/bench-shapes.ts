import { randomUUID } from 'node:crypto';
import { CROSSOVER_DENSITIES, CROSSOVER_SHAPES } from '../../bench/points.js';
import { RECIPES, recipesFor } from '../../bench/recipes.js';
import { expandShapes, QUICK, SHAPES } from '../../bench/shapes.js';
import { version } from '../../package.json';
import { findPeers } from '../bench/drive/peers.js';
import { machineOf } from '../bench/drive/run.js';
import { benchCrossover, benchShapes, type ShapesOptions } from '../bench/drive/shapes.js';
import type { BenchRun } from '../bench/results.js';
import { shapesVenue, whereOf } from './bench-place.js';
import { publishRun } from './bench-results.js';
import { wrongUsage } from './command.js';
import { EXIT } from './exit.js';
import { choicesOf, integer, integersOf, listOf, numberOf, PEERS } from './options.js';
import { progress } from './progress.js';

interface Args {
  browser: string;
  name?: string;
  threads: string;
  backends: string;
  peers?: string;
  shape?: string;
  only?: string;
  density: string;
  crossover: boolean;
  runs?: string;
  json: boolean;
  out?: string;
  html?: string;
}

/** What bench/check.ts says of answers. */
const WRONG = /wrong answer/;

function shapesOf({ shape, crossover }: Args): string[] {
  try {
    return expandShapes(shape ? listOf(shape) : crossover ? CROSSOVER_SHAPES : QUICK);
  } catch (error) {
    throw wrongUsage('--shape', `sizes, or names out of ${Object.keys(SHAPES).join(', ')}`, (error as Error).message);
  }
}

function optionsOf(args: Args, peers: ShapesOptions['peers']): ShapesOptions {
  const only = listOf(args.only);
  const odd = only.find((name) => recipesFor([name]).length === 0);
  if (odd) throw wrongUsage('--only', `beginnings of ${Object.keys(RECIPES).join(', ')}`, odd);
  const densities = listOf(args.density).map((text) => numberOf(text, '--density', 0.001, 1));
  return {
    shapes: shapesOf(args),
    only,
    densities: args.crossover && args.density === '0.1' ? CROSSOVER_DENSITIES : densities,
    threads: integersOf(args.threads, '--threads', 64),
    peers,
    rounds: integer(args.runs ?? '15', '--runs', 1e4),
    batchMs: 20,
  };
}

/** thinfer bench shapes */
export async function benchShapesCommand(args: Args): Promise<void> {
  if (args.browser === 'node') throw wrongUsage('--browser', 'chrome or firefox for shapes', 'node');
  if (args.backends !== 'wasm') throw wrongUsage('--backends', 'wasm for shapes', args.backends);
  const notes: string[] = [];
  const where = whereOf(args as unknown as Record<string, unknown>);
  const names = choicesOf(args.peers ?? PEERS.join(','), '--peers', PEERS);
  const { peers, folders } = findPeers(names, '', '/', notes);
  const options = optionsOf(
    args,
    peers.map(({ name }) => name),
  );
  const bar = progress(args.json);
  try {
    const work = args.crossover ? benchCrossover : benchShapes;
    const found = await work(shapesVenue(where, folders), options, bar.update);
    bar.stop();
    const machine = machineOf();
    const run: BenchRun = {
      id: randomUUID(),
      date: new Date().toISOString(),
      thinfer: version,
      machine,
      client: {
        browser: found.browser,
        name: args.name,
        userAgent: '',
        cores: machine.cores,
        isolated: true,
        remote: where.browserUrl !== undefined,
        flags: [...where.flags],
      },
      options: {
        rounds: options.rounds,
        budgetMs: 0,
        precision: 0,
        tolerance: 0,
        coldStarts: 0,
        peers: Object.fromEntries(peers.map(({ name, version: of }) => [name, of])),
      },
      ceilings: [],
      models: [],
      shapes: 'shapes' in found ? found.shapes : undefined,
      crossover: 'crossover' in found ? found.crossover : undefined,
      notes: [...notes, ...found.notes],
    };
    await publishRun(run, 'shapes', args);
    if (found.notes.some((note) => WRONG.test(note))) process.exitCode = EXIT.verdict;
    else if ((run.shapes ?? run.crossover ?? []).length === 0) process.exitCode = EXIT.failed;
  } finally {
    bar.stop();
  }
}
