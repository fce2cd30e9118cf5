// npm run bench: our kernels and three other runtimes in one page of a headless browser. See docs/bench.md.
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, relative } from 'node:path';
import { defineCommand, runMain } from 'citty';
import pc from 'picocolors';
import { wasmVariants } from '../asm/variants.js';
import { findBrowser } from '../scripts/browser.js';
import { root } from '../scripts/paths.js';
import type { Measure } from '../src/bench/drive/shape-pages.js';
import { benchCompression } from './compress/run.js';
import { installPeers } from './install.js';
import { MODELS } from './models/list.js';
import { benchModels } from './models/run.js';
import { OPERATORS } from './operators.js';
import { RECIPES, recipesFor, withoutRecipe } from './recipes.js';
import { fillDocs, slug, writeResults } from './results.js';
import { operatorRows, operatorTable, rowsOf, shapeTable } from './rows.js';
import { bundle, machineOf, PACKAGES, printConditions, runThreads, versionOf } from './session.js';
import { describeShape, expandShapes, QUICK, SHAPES } from './shapes.js';
import { runStudy, STUDIES } from './studies.js';
import { benchTfjs, TARGETS as TFJS_TARGETS, tfjsMarkdown } from './tfjs/run.js';
import type { Mode } from './tfjs/types.js';
import type { OperatorRow, OperatorTimings, PeerName, Row, ShapeTimings, StudyKind } from './types.js';

const folder = join(root, 'bench');
const DENSITIES = [0.3, 0.1, 0.05];
const QUICK_DENSITIES = [0.1];
/** Cold starts of each model. */
const COLD_STARTS = 5;

/** Values of an option that may be given more than once, each a list with commas. */
function listOf(rawArgs: readonly string[], option: string): string[] {
  const values: string[] = [];
  for (const [i, arg] of rawArgs.entries()) {
    if (arg === `--${option}`) values.push(rawArgs[i + 1] ?? '');
    else if (arg.startsWith(`--${option}=`)) values.push(arg.slice(option.length + 3));
  }
  return values.flatMap((value) => value.split(',')).filter(Boolean);
}

function printList(): void {
  console.log(pc.bold('shapes (--shape)'));
  for (const [name, sizes] of Object.entries(SHAPES)) console.log(`  ${name.padEnd(10)} ${sizes.join(', ')}`);
  console.log(pc.bold('weights (--only)'));
  for (const [name, { format, prune, same }] of Object.entries(RECIPES)) {
    const rows = wasmVariants.filter((variant) => variant.format === format).map((variant) => variant.name);
    const beside = same ? `beside ${same} peers` : 'no peer has any';
    console.log(`  ${name.padEnd(12)} ${beside}${prune ? ', pruned' : ''}: ${rows.join(', ')}`);
  }
  for (const format of withoutRecipe(wasmVariants)) {
    console.log(`  ${format.padEnd(12)} has rows but no recipe: add a line to bench/recipes.ts`);
  }
  console.log(pc.bold('peers (--peers)'));
  for (const [name, from] of Object.entries(PACKAGES)) console.log(`  ${name.padEnd(12)} ${from}`);
}

function wrong(option: string, expected: string, got: string): never {
  console.error(pc.red(`bench: --${option}: expected ${expected}, got ${got}`));
  process.exit(1);
}

const main = defineCommand({
  meta: {
    name: 'bench',
    description: 'Time every WASM kernel beside tfjs, onnxruntime-web and LiteRT.js in one page.',
  },
  args: {
    only: { type: 'string', description: 'Weights to run, by name or its beginning: csr,int8,codebook' },
    shape: { type: 'string', description: 'Sizes MxKxN or names, see --list' },
    conv: { type: 'string', description: 'Convolutions HxWxCxNxK, with s<stride> and g<groups> behind' },
    density: { type: 'string', description: `Densities of sparse weights (default ${DENSITIES.join(',')})` },
    threads: { type: 'string', description: 'Numbers of threads (default 1; of models 1,2)' },
    module: { type: 'enum', options: ['A', 'B', 'C'], description: 'Force a WASM module of ours' },
    peers: { type: 'string', default: 'tfjs,ort,litert', description: 'Peers to run beside, or none' },
    operators: { type: 'boolean', default: false, description: 'The operators without weights instead' },
    models: { type: 'boolean', default: false, description: 'Whole models instead' },
    tfjs: { type: 'boolean', default: false, description: 'A model of tfjs beside itself, accelerated, instead' },
    profile: { type: 'boolean', default: false, description: 'With --tfjs: milliseconds of each of its kernels' },
    compress: { type: 'boolean', default: false, description: 'Methods of thinfer/compress instead, in Node' },
    'cost-model': { type: 'boolean', default: false, description: 'How well predicted times choose' },
    guarantee: { type: 'boolean', default: false, description: 'Tuned layers beside our dense ones, at random points' },
    crossover: { type: 'boolean', default: false, description: 'The density from which sparse weights are faster' },
    points: { type: 'string', default: '300', description: 'Random points of --guarantee and --cost-model' },
    seed: { type: 'string', default: '1', description: 'What they are drawn from' },
    resume: { type: 'boolean', default: false, description: 'Go on with the study that was cut short' },
    quick: { type: 'boolean', default: false, description: 'Three shapes, few rounds' },
    rounds: { type: 'string', description: 'Rounds of the race (default 15, quick 7)' },
    json: { type: 'string', description: 'Where the rows go (default, of a full run: bench/results/<cpu>.json)' },
    list: { type: 'boolean', default: false, description: 'Say what there is to run' },
  },
  async run({ args, rawArgs }) {
    if (args.list) return printList();
    const sizes = [...listOf(rawArgs, 'shape'), ...listOf(rawArgs, 'conv')];
    const only = listOf(rawArgs, 'only');
    if (args.compress) return benchCompression({ only, quick: args.quick, json: args.json });
    const densities = listOf(rawArgs, 'density').map(Number);
    const threads = (args.threads ?? (args.models || args.tfjs ? '1,2' : '1')).split(',').map(Number);
    const peers = args.peers === 'none' ? [] : (args.peers.split(',') as PeerName[]);
    const rounds = Number(args.rounds ?? (args.quick ? 7 : 15));
    const operators = Object.keys(OPERATORS).filter(
      (name) => only.length === 0 || only.some((text) => name.startsWith(text)),
    );
    const models = Object.keys(MODELS).filter(
      (name) => only.length === 0 || only.some((text) => name.startsWith(text)),
    );
    for (const name of args.operators || args.models || args.tfjs ? [] : only) {
      if (recipesFor([name]).length === 0) wrong('only', `one of ${Object.keys(RECIPES).join(', ')}`, name);
    }
    if (args.operators && operators.length === 0) {
      wrong('only', `beginnings of ${Object.keys(OPERATORS).join(', ')}`, only.join(','));
    }
    if (args.models && models.length === 0) {
      wrong('only', `beginnings of ${Object.keys(MODELS).join(', ')}`, only.join(','));
    }
    for (const density of densities) if (!(density > 0 && density <= 1)) wrong('density', '0..1', String(density));
    for (const count of threads) {
      if (!Number.isInteger(count) || count < 1) wrong('threads', 'whole numbers from 1', String(args.threads));
    }
    for (const name of peers) if (!(name in PACKAGES)) wrong('peers', `some of ${Object.keys(PACKAGES)} or none`, name);
    if (!Number.isInteger(rounds) || rounds < 1) wrong('rounds', 'a whole number from 1', String(args.rounds));
    let shapes: string[];
    try {
      shapes = expandShapes(sizes.length > 0 ? sizes : args.quick ? QUICK : Object.keys(SHAPES));
    } catch (error) {
      return wrong('shape', 'a size', (error as Error).message);
    }
    const kind = (Object.keys(STUDIES) as StudyKind[]).find((name) => args[STUDIES[name].option]);
    const [points, seed] = [args.points, args.seed].map(Number);
    if (!Number.isInteger(points) || points < 0) wrong('points', 'a whole number', args.points);
    if (!Number.isInteger(seed)) wrong('seed', 'a whole number', args.seed);
    const full =
      sizes.length + only.length + densities.length === 0 &&
      !args.quick &&
      !args.module &&
      !args.rounds &&
      args.peers !== 'none';

    const withPeers = !kind && peers.length > 0 && !args.tfjs;
    if (withPeers || args.models) installPeers();
    const executable = findBrowser();
    if (!executable) throw new Error('no browser: set CHROME_PATH');
    const cpu = cpus()[0]?.model.trim() ?? 'unknown CPU';
    const machineOfNode = { cpu, cores: cpus().length, platform: `${process.platform} ${process.arch}` };
    if (args.tfjs) {
      const modes = (Object.keys(TFJS_TARGETS) as Mode[]).filter((mode) => only.length === 0 || only.includes(mode));
      if (modes.length === 0) wrong('only', `some of ${Object.keys(TFJS_TARGETS)}`, only.join(','));
      const { browser, ...measured } = await benchTfjs(executable, { modes, threads, rounds, profile: args.profile });
      const file = args.json ?? (full && !args.threads ? join(folder, 'results', `${slug(cpu)}-tfjs.json`) : undefined);
      if (!file) return;
      const { version } = JSON.parse(
        readFileSync(join(root, 'node_modules/@tensorflow/tfjs-core/package.json'), 'utf8'),
      );
      writeResults(file, { machine: { ...machineOfNode, browser, tfjs: version, rounds }, ...measured });
      if (!args.json)
        fillDocs('tfjs', 'tfjs', `${cpu}, ${browser}, tfjs ${version}:\n\n${tfjsMarkdown(measured.rows)}`);
      console.log(`results in ${relative(process.cwd(), file)}`);
      return;
    }
    if (args.models) {
      const starts = args.quick ? 1 : COLD_STARTS;
      const { browser, ...measured } = await benchModels(executable, { names: models, threads, rounds, starts });
      const whole = models.length === Object.keys(MODELS).length && full && !args.threads;
      const file = args.json ?? (whole ? join(folder, 'results', `${slug(cpu)}-models.json`) : undefined);
      if (!file) return;
      const versions = { ort: versionOf('ort'), litert: versionOf('litert') };
      writeResults(file, { machine: { ...machineOfNode, browser, peers: versions, rounds, starts }, ...measured });
      console.log(`results in ${relative(process.cwd(), file)}`);
      return;
    }
    const scripts = await bundle(withPeers);

    const options = {
      module: args.module,
      peers,
      only,
      densities: densities.length > 0 ? densities : args.quick ? QUICK_DENSITIES : DENSITIES,
      rounds,
      batchMs: 20,
    };
    if (kind) {
      const chosen = sizes.length > 0 || args.quick ? shapes : undefined;
      await runStudy(kind, {
        executable,
        scripts,
        cpu,
        threads,
        module: args.module,
        only,
        shapes: chosen,
        densities,
        points,
        seed,
        rounds: Number(args.rounds ?? 15),
        resume: args.resume,
        json: args.json,
      });
      return;
    }
    if (args.operators) {
      const measure: Measure<OperatorTimings> = (page, name, without) => page.measureOperator(name, without);
      const outcomes = await runThreads(executable, scripts, threads, options, operators, measure, (name) => name);
      const rows: OperatorRow[] = [];
      for (const outcome of outcomes) {
        printConditions(outcome, cpu);
        const ofPage = operatorRows(outcome.timings, outcome.facts);
        rows.push(...ofPage);
        console.log(operatorTable(ofPage, outcome.timings));
      }
      const whole = operators.length === Object.keys(OPERATORS).length && full;
      const file = args.json ?? (whole ? join(folder, 'results', `${slug(cpu)}-operators.json`) : undefined);
      if (!file) return;
      const notes = outcomes.flatMap(({ notes, timings }) => [...notes, ...timings.flatMap(({ notes }) => notes)]);
      writeResults(file, { machine: machineOf(outcomes, cpu, rounds), rows, notes });
      console.log(`${rows.length} rows in ${relative(process.cwd(), file)}`);
      return;
    }

    const measure: Measure<ShapeTimings> = (page, shape, without) => page.measure(shape, without);
    const outcomes = await runThreads(executable, scripts, threads, options, shapes, measure, describeShape);
    const rows: Row[] = [];
    for (const outcome of outcomes) {
      const { facts, timings } = outcome;
      const best = Math.max(...timings.map(({ ceilingGops }) => ceilingGops));
      printConditions(outcome, cpu, `, f32 ceiling ${best.toFixed(1)} G/s`);
      for (const one of timings) {
        const ofShape = rowsOf(one, facts);
        rows.push(...ofShape);
        console.log(`\n${shapeTable(one, ofShape)}`);
      }
    }
    console.log(pc.dim('\n* the row that predicted time selects. Columns are explained in docs/bench.md.'));

    const file = args.json ?? (full ? join(folder, 'results', `${slug(cpu)}.json`) : undefined);
    if (!file) return;
    const ceilingGops = Math.max(...outcomes.flatMap(({ timings }) => timings.map(({ ceilingGops }) => ceilingGops)));
    const machine = { ...machineOf(outcomes, cpu, rounds), ceilingGops };
    const notes = outcomes.flatMap(({ facts, notes, timings }) => [
      ...facts.notes,
      ...notes,
      ...timings.flatMap(({ shape, notes }) => notes.map((note) => `${shape}: ${note}`)),
    ]);
    const peerRows = outcomes.flatMap(({ facts, timings }) =>
      timings.flatMap(({ shape, peers }) => peers.map((peer) => ({ shape, threads: facts.threads, ...peer }))),
    );
    writeResults(file, { machine, rows, peers: peerRows, notes });
    console.log(`${rows.length} rows in ${relative(process.cwd(), file)}`);
  },
});

await runMain(main);
