// npm run bench -- --tfjs: a MobileNetV1 of tfjs beside itself, accelerated. See docs/tfjs.md.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { markdownTable } from 'markdown-table';
import pc from 'picocolors';
import { launch } from '../../scripts/launch.js';
import { root } from '../../scripts/paths.js';
import { plugins } from '../../scripts/plugins.js';
import { page, serve } from '../../scripts/serve.js';
import { buildWasm } from '../../scripts/wasm.js';
import { digits, percent, tableOf } from '../rows.js';
import type { KernelTime, Mode, ModelKind, ModeTiming, Task, TfjsPage } from './types.js';

declare const tfjsPage: TfjsPage;

const PAGES = join(root, 'build/bench/tfjs');
const TIMEOUT_MS = 600_000;
const KINDS: readonly ModelKind[] = ['layers', 'graph'];

/** How many times as fast as tfjs a model should be. */
export const TARGETS: Readonly<Record<Mode, number>> = { dense: 1, int8: 2, pruned90: 3 };

export interface TfjsRow extends ModeTiming {
  backend: string;
  threads: number;
  model: string;
  /** tfjs's time over ours, of the fastest turns: what disturbs a turn makes it longer. */
  ratio: number;
}

export interface TfjsResult {
  browser: string;
  rows: TfjsRow[];
  notes: string[];
}

async function bundlePage(): Promise<void> {
  await buildWasm();
  rmSync(PAGES, { recursive: true, force: true });
  // One copy of tfjs, not that of the peers beside ours.
  const packages = ['core', 'layers', 'converter', 'backend-wasm', 'backend-webgpu', 'backend-cpu'];
  await build({
    absWorkingDir: root,
    entryPoints: ['bench/tfjs/page.ts'],
    outdir: PAGES,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    external: ['node:*'],
    target: 'es2022',
    alias: Object.fromEntries(
      packages.map((name) => [`@tensorflow/tfjs-${name}`, `./node_modules/@tensorflow/tfjs-${name}`]),
    ),
    plugins,
    logLevel: 'error',
  });
}

/** Times the models and prints their table. WebGPU takes part where there is an adapter that is no software. */
export async function benchTfjs(
  executable: string,
  {
    modes,
    threads,
    rounds,
    profile,
  }: Pick<Task, 'rounds' | 'profile'> & { modes: readonly Mode[]; threads: readonly number[] },
): Promise<TfjsResult> {
  await bundlePage();
  const server = await serve(
    { '/tfjs-wasm/': join(root, 'node_modules/@tensorflow/tfjs-backend-wasm/dist'), '/': PAGES },
    { '/': page('/page.js'), '/favicon.ico': '' },
  );
  const browser = await launch(executable, { adapter: '' });
  const result: TfjsResult = { browser: await browser.version(), rows: [], notes: [] };
  const open = async () => {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(TIMEOUT_MS);
    // tfjs starts its threads from a blob that imports another.
    await tab.setBypassCSP(true);
    await tab.goto(server.url);
    await tab.waitForFunction(() => 'tfjsPage' in globalThis);
    return tab;
  };
  const size = 224;
  const alpha = 1;
  const run = async (task: Task) => {
    if (!process.stdout.isTTY) console.log(`bench: ${task.backend}, ${task.threads} threads`);
    const tab = await open();
    try {
      const model = `MobileNetV1 ${alpha} ${size}x${size}`;
      for (const kind of KINDS) {
        for (const mode of modes) {
          const race = (wanted: Task, ...which: [ModelKind, Mode]) => tfjsPage.race(wanted, ...which);
          const { notes, timing } = await tab.evaluate(race, task, kind, mode);
          const ratio = timing.tfjs.best / timing.ours.best;
          result.rows.push({ backend: task.backend, threads: task.threads, model, ...timing, ratio });
          result.notes.push(...notes.filter((note) => !result.notes.includes(note)));
        }
      }
    } catch (error) {
      result.notes.push(`${task.backend}, ${task.threads} threads: ${(error as Error).message.split('\n')[0]}`);
    } finally {
      await tab.close();
    }
  };
  try {
    const shared = { rounds, size, alpha, profile };
    for (const count of threads) await run({ ...shared, backend: 'wasm', threads: count });
    const tab = await open();
    const hasGpu = await tab.evaluate(async () => {
      const adapter = await navigator.gpu?.requestAdapter();
      return Boolean(
        adapter &&
          !/swiftshader|llvmpipe|software/i.test(
            JSON.stringify([adapter.info?.architecture, adapter.info?.description]),
          ),
      );
    });
    await tab.close();
    if (hasGpu) await run({ ...shared, backend: 'webgpu', threads: 1 });
    else result.notes.push('No GPU here: nothing was timed on webgpu.');
  } finally {
    await browser.close();
    await server.close();
  }
  console.log(tfjsTable(result.rows));
  for (const { kind, mode, threads: count, profile: kernels } of result.rows) {
    if (!kernels) continue;
    const sum = (times: readonly KernelTime[]) => times.reduce((total, { ms }) => total + ms, 0);
    const [theirs, ours] = [sum(kernels.tfjs), sum(kernels.ours)];
    const text = `${digits(theirs)} ms of tfjs, ${digits(ours)} ms of thinfer, ${(theirs / ours).toFixed(2)} x`;
    console.log(pc.bold(`\n${kind}, ${mode}, ${count} threads: kernels alone ${text}`));
    for (const { name, ms } of kernels.ours) console.log(`  ${digits(ms).padStart(8)} ms  ${name}`);
  }
  for (const note of result.notes) console.log(pc.yellow(note));
  return result;
}

/** The same for docs/tfjs.md. */
export function tfjsMarkdown(rows: readonly TfjsRow[]): string {
  const head = ['backend', 'threads', 'model', 'weights', 'tfjs ms', 'thinfer ms', 'tfjs / thinfer'];
  const cells = rows.map(({ backend, threads, kind, mode, tfjs, ours, ratio }) => [
    backend,
    String(threads),
    kind,
    mode,
    digits(tfjs.best),
    digits(ours.best),
    `${ratio.toFixed(2)} x`,
  ]);
  return markdownTable([head, ...cells]);
}

function tfjsTable(rows: readonly TfjsRow[]): string {
  const head = [
    'backend',
    'threads',
    'model',
    'weights',
    'tfjs ms',
    '+-',
    'best',
    'thinfer ms',
    '+-',
    'best',
    'ratio',
    'difference',
  ];
  const table = tableOf(head, 4);
  for (const { backend, threads, kind, mode, tfjs, ours, ratio, difference } of rows) {
    const color = ratio >= TARGETS[mode] ? pc.green : pc.red;
    table.push([
      backend,
      String(threads),
      kind,
      mode,
      ...[tfjs, ours].flatMap(({ ms, spread, best }) => [digits(ms), percent(spread / ms), digits(best)]),
      color(`${ratio.toFixed(2)} x`),
      difference.toExponential(1),
    ]);
  }
  return table.toString();
}
