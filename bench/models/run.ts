// npm run bench -- --models: whole models, ours beside onnxruntime-web (ONNX) and LiteRT.js (TFLite). See docs/bench.md.
import pc from 'picocolors';
import type { Browser } from 'puppeteer';
import { launch } from '../../scripts/launch.js';
import type { Server } from '../../scripts/serve.js';
import { MEASURING_FLAGS } from '../../src/bench/drive/flags.js';
import { bundlePages, peerOf, runCold, runSteady, serveModels, writeModels } from './drive.js';
import { MODELS } from './list.js';
import { type ColdRow, coldRow, coldTable, type SteadyRow, steadyRow, steadyTable } from './rows.js';
import type { ColdRun } from './types.js';

/** Elements after a cold start may differ by this much more than the model's tolerance: kernels differ from tuned ones. */
const SLACK = 10;
/** Samples that are all below this are near zero: of an image with nothing at the places that were sampled. */
const LEAST = 1e-3;

export interface ModelsOptions {
  names: readonly string[];
  threads: readonly number[];
  rounds: number;
  /** Cold starts of each runtime; 0: none. */
  starts: number;
}

export interface ModelsResult {
  browser: string;
  steady: SteadyRow[];
  cold: ColdRow[];
  notes: string[];
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n')[0];

function requireSame(model: string, [ours]: readonly ColdRun[], [theirs]: readonly ColdRun[]): void {
  const tolerance = SLACK * (MODELS[model].tolerance ?? 1e-5);
  for (const [i, want] of theirs.samples.entries()) {
    const largest = Math.max(...want.map(Math.abs), LEAST);
    const wrong = want.findIndex((x, j) => !(Math.abs(x - ours.samples[i][j]) <= tolerance * largest));
    if (wrong >= 0) throw new Error(`cold answer ${ours.samples[i][wrong]}, the peer's ${want[wrong]}`);
  }
}

async function coldOf(browser: Browser, server: Server, model: string, starts: number): Promise<ColdRow> {
  const runs: [ours: ColdRun[], peer: ColdRun[]] = [[], []];
  for (let i = 0; i < starts; i++) {
    for (const isPeer of [false, true]) runs[Number(isPeer)].push(await runCold(browser, server, model, isPeer));
  }
  requireSame(model, ...runs);
  return coldRow(model, peerOf(model), ...runs);
}

/** Times the models and prints their tables. */
export async function benchModels(
  executable: string,
  { names, threads, rounds, starts }: ModelsOptions,
): Promise<ModelsResult> {
  await bundlePages();
  writeModels(names);
  const server = await serveModels();
  const browser = await launch(executable, {
    adapter: '',
    args: MEASURING_FLAGS,
  });
  const result: ModelsResult = { browser: await browser.version(), steady: [], cold: [], notes: [] };
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    if (!process.stdout.isTTY) console.log(`bench: ${what}`);
    try {
      await work();
    } catch (error) {
      result.notes.push(`${what}: ${messageOf(error)}`);
    }
  };
  try {
    for (const count of threads) {
      const rows: SteadyRow[] = [];
      for (const name of names) {
        await attempt(`${name}, ${count} thread${count > 1 ? 's' : ''}`, async () => {
          rows.push(steadyRow(name, count, peerOf(name), await runSteady(browser, server, name, count, rounds)));
        });
      }
      console.log(`\n${pc.bold(`${count} thread${count > 1 ? 's' : ''}`)}\n${steadyTable(rows)}`);
      result.steady.push(...rows);
    }
    if (starts > 0) {
      for (const name of names) {
        await attempt(`${name}, cold`, async () => {
          result.cold.push(await coldOf(browser, server, name, starts));
        });
      }
      console.log(`\n${pc.bold('cold, 1 thread')}\n${coldTable(result.cold)}`);
    }
  } finally {
    await browser.close();
    await server.close();
  }
  for (const note of result.notes) console.log(pc.yellow(note));
  return result;
}
