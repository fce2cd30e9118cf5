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
import { type Measure, type Outcome, runShapes } from '../src/bench/drive/shape-pages.js';
import { localVenue } from './driver.js';
import type { PageOptions, PeerName } from './types.js';

export const PACKAGES: Record<PeerName, string> = {
  tfjs: '@tensorflow/tfjs-backend-wasm',
  ort: 'onnxruntime-web',
  litert: '@litertjs/core',
};
const folder = join(root, 'bench');

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
    external: withPeers ? [] : ['@tensorflow/*', 'onnxruntime-web/*', '@litertjs/*'],
    plugins,
    logLevel: 'error',
  });
  return outdir;
}

export function versionOf(peer: PeerName): string {
  return JSON.parse(readFileSync(join(folder, 'node_modules', PACKAGES[peer], 'package.json'), 'utf8')).version;
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
        await runShapes(
          localVenue(executable, scripts),
          { ...options, threads: count },
          shapes,
          measure,
          (done, what) => {
            bar.update(i * shapes.length + done, { what });
            const shape = shapes[Math.floor(done)];
            if (process.stdout.isTTY || !what || shape === announced || !shape) return;
            announced = shape;
            console.log(`bench: ${describe(shape)}, ${threadText(count)}`);
          },
        ),
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
