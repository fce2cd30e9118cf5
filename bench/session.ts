// A browser page per number of threads, and what is measured in it, item by item, with a bar on screen.
import { readFileSync, rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Presets, SingleBar } from 'cli-progress';
import { build } from 'esbuild';
import pc from 'picocolors';
import { root } from '../scripts/paths.js';
import { plugins } from '../scripts/plugins.js';
import { buildWasm } from '../scripts/wasm.js';
import { type OpenPage, openPage, PageDied } from './driver.js';
import type { PageFacts, PageOptions, PeerName } from './types.js';

export const PACKAGES: Record<PeerName, string> = {
  tfjs: '@tensorflow/tfjs-backend-wasm',
  ort: 'onnxruntime-web',
  litert: '@litertjs/core',
};
const folder = join(root, 'bench');
/** A shape whose page ended is tried again without the operator that ended it, this often. */
const ATTEMPTS = 5;

export const threadText = (count: number): string => `${count} thread${count > 1 ? 's' : ''}`;

/** Bundles the page. Peers are chunks of their own, loaded when asked for. */
export async function bundle(withPeers: boolean): Promise<string> {
  await buildWasm();
  const outdir = join(root, 'build/bench/page');
  rmSync(outdir, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: ['bench/page.ts'],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: withPeers ? [] : ['@tensorflow/*', 'onnxruntime-web/*', '@litertjs/*', '@observablehq/plot'],
    plugins,
    logLevel: 'error',
  });
  return outdir;
}

export function versionOf(peer: PeerName): string {
  return JSON.parse(readFileSync(join(folder, 'node_modules', PACKAGES[peer], 'package.json'), 'utf8')).version;
}

export interface Outcome<T> {
  facts: PageFacts;
  browserVersion: string;
  timings: T[];
  notes: string[];
}

/** What is timed of one shape, or operator, in an open page. */
export type Measure<T> = (page: OpenPage, shape: string, without: readonly string[]) => Promise<T>;

/** All shapes at one number of threads. A page that dies is opened again without what killed it. */
async function runShapes<T>(
  executable: string,
  scripts: string,
  options: PageOptions,
  shapes: readonly string[],
  measure: Measure<T>,
  onProgress: (shapes: number, what: string) => void,
): Promise<Outcome<T>> {
  let current: OpenPage | undefined;
  let done = 0;
  const notes: string[] = [];
  const peers = new Set(options.peers);

  const open = async (): Promise<OpenPage> => {
    for (;;) {
      try {
        return await openPage(executable, scripts, { ...options, peers: [...peers] }, (step) =>
          onProgress(done + step.done, `${shapes[done] ?? ''} ${step.who} ${step.what}`),
        );
      } catch (error) {
        const { who } = error as PageDied;
        if (!(error instanceof PageDied) || !peers.delete(who as PeerName)) throw error;
        notes.push(`${who} is left out: ${error.message}`);
      }
    }
  };

  const outcome = { timings: [] as T[], notes };
  let facts: PageFacts | undefined;
  let browserVersion = '';
  try {
    for (const shape of shapes) {
      const without: string[] = [];
      for (let attempt = 1; ; attempt++) {
        try {
          current ??= await open();
          facts ??= current.facts;
          browserVersion = current.browserVersion;
          outcome.timings.push(await measure(current, shape, without));
          break;
        } catch (error) {
          if (!(error instanceof PageDied)) {
            if (!current) throw error;
            notes.push(`${shape}: ${(error as Error).message}`);
            break;
          }
          notes.push(`${shape}: ${error.message}`);
          await current?.close();
          current = undefined;
          if (error.who in PACKAGES) without.push(`${error.who} ${error.what}`);
          else if (error.who === 'race') without.push(...peers);
          if (attempt === ATTEMPTS || error.who === 'thinfer') {
            notes.push(`${shape}: given up`);
            break;
          }
        }
      }
      onProgress(++done, '');
    }
  } finally {
    await current?.close();
  }
  if (!facts) throw new Error(`the page never started: ${notes.join('; ')}`);
  return { ...outcome, facts, browserVersion };
}

/** All shapes at each number of threads, with a bar on screen. */
export async function runThreads<T>(
  executable: string,
  scripts: string,
  threads: readonly number[],
  options: Omit<PageOptions, 'threads'>,
  shapes: readonly string[],
  measure: Measure<T>,
  describe: (shape: string) => string,
): Promise<Outcome<T>[]> {
  const bar = new SingleBar(
    { format: '{bar} {percentage} % | {eta_formatted} left | {what}', hideCursor: true, clearOnComplete: true },
    Presets.shades_classic,
  );
  bar.start(threads.length * shapes.length, 0, { what: '' });
  const outcomes: Outcome<T>[] = [];
  try {
    for (const [i, count] of threads.entries()) {
      let announced = '';
      outcomes.push(
        await runShapes(executable, scripts, { ...options, threads: count }, shapes, measure, (done, what) => {
          bar.update(i * shapes.length + done, { what });
          const shape = shapes[Math.floor(done)];
          if (process.stdout.isTTY || !what || shape === announced || !shape) return;
          announced = shape;
          console.log(`bench: ${describe(shape)}, ${threadText(count)}`);
        }),
      );
    }
  } finally {
    bar.stop();
  }
  return outcomes;
}

/** Where one page's numbers come from. */
export function printConditions({ facts, browserVersion, notes }: Outcome<unknown>, cpu: string, ceiling = ''): void {
  const beside = facts.peers.map((peer) => `${peer} ${versionOf(peer)}`).join(', ') || 'no peers';
  console.log(`\n${pc.bold(cpu)}, ${browserVersion}, ${facts.device}, ${threadText(facts.threads)}${ceiling}`);
  console.log(`module ${facts.module}; engine: ${facts.features.join(', ')}; beside ${beside}`);
  for (const note of [...facts.notes, ...notes]) console.log(pc.yellow(note));
}

/** What a results file says of the machine. */
export const machineOf = ([{ facts, browserVersion }]: readonly Outcome<unknown>[], cpu: string, rounds: number) => ({
  cpu,
  cores: cpus().length,
  platform: `${process.platform} ${process.arch}`,
  browser: browserVersion,
  engine: facts.features,
  peers: Object.fromEntries(facts.peers.map((peer) => [peer, versionOf(peer)])),
  rounds,
});
