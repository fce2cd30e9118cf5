// Opens pages for whole models: one for each race, and a new browser context for each cold start.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Browser, Page } from 'puppeteer';
import { root } from '../../scripts/paths.js';
import { plugins } from '../../scripts/plugins.js';
import { type Server, serve } from '../../scripts/serve.js';
import { buildWasm } from '../../scripts/wasm.js';
import { renderers } from '../../src/bench/drive/memory.js';
import { Wrapped } from '../wrapped.js';
import { isOnnx, MODELS, WRITTEN } from './list.js';
import type { ColdRun, ModelPage, Steady, Task } from './types.js';

declare const models: ModelPage;

const PAGES = join(root, 'build/bench/models');
const ENTRIES = ['page', 'thinfer-onnx', 'thinfer-tflite', 'ort', 'litert'] as const;
const TIMEOUT_MS = 120_000;

/** Each runtime is a bundle of its own, as a user's page that needs nothing else would have it. */
export async function bundlePages(): Promise<void> {
  await buildWasm();
  rmSync(PAGES, { recursive: true, force: true });
  await Promise.all(
    ENTRIES.map((entry) =>
      build({
        absWorkingDir: root,
        entryPoints: [`bench/models/${entry}.ts`],
        outdir: join(PAGES, entry),
        bundle: true,
        splitting: true,
        minify: true,
        format: 'esm',
        platform: 'browser',
        target: 'es2022',
        plugins,
        logLevel: 'error',
      }),
    ),
  );
}

/** Writes the quantised fashion models, and integer models as LiteRT.js takes them. */
export function writeModels(names: readonly string[]): void {
  const folder = join(root, WRITTEN);
  mkdirSync(folder, { recursive: true });
  if (names.some((name) => MODELS[name].file.startsWith(WRITTEN))) {
    const script = join(root, 'scripts/quantize-fashion.ts');
    const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', script, folder], { cwd: root });
    if (status !== 0) throw new Error(`scripts/quantize-fashion.ts: ${stderr}`);
  }
}

/** What a page is told of a model; its file for the peer is written when that needs another. */
function taskOf(model: string, threads: number): Task {
  const { file, input } = MODELS[model];
  const task = { model, url: `/files/${file}`, peerUrl: `/files/${file}`, peers: '/peers/', threads };
  if (isOnnx(MODELS[model]) || input() instanceof Float32Array) return task;
  const wrapped = new Wrapped(readFileSync(join(root, file)));
  const written = `${WRITTEN}/${model}.tflite`;
  writeFileSync(join(root, written), wrapped.bytes());
  const codes = { input: wrapped.inputs[0], outputs: wrapped.outputs };
  return { ...task, peerUrl: `/files/${written}`, codes };
}

const absolute = (task: Task, { url }: Server): Task => ({
  ...task,
  url: url + task.url,
  peerUrl: url + task.peerUrl,
  peers: url + task.peers,
});

export const peerOf = (model: string): 'ort' | 'litert' => (isOnnx(MODELS[model]) ? 'ort' : 'litert');
const entryOf = (model: string) => (isOnnx(MODELS[model]) ? 'thinfer-onnx' : 'thinfer-tflite');
const script = (entry: string, { url }: Server) => `${url}/${entry}/${entry}.js`;
export const modelBytes = (model: string): number => statSync(join(root, MODELS[model].file)).size;

const PAGE =
  '<!doctype html><meta charset="utf-8"><title>models</title><script type="module" src="/page/page.js"></script>';

export const serveModels = (): Promise<Server> =>
  serve(
    { '/peers/': join(root, 'bench/node_modules'), '/files/': root, '/': PAGES },
    { '/': PAGE, '/favicon.ico': '' },
  );

async function withPage<T>(browser: Browser, server: Server, work: (page: Page) => Promise<T>): Promise<T> {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    await page.setBypassCSP(true);
    const failed = new Promise<never>((_, reject) => {
      page.on('error', (error) => reject(new Error(`the page crashed (${error.message})`)));
      setTimeout(() => reject(new Error(`no answer for ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS).unref();
    });
    await page.goto(server.url);
    await page.waitForFunction(() => 'models' in globalThis);
    return await Promise.race([work(page), failed]);
  } finally {
    await context.close();
  }
}

/** A race of ours and the peer in a page of its own. */
export function runSteady(
  browser: Browser,
  server: Server,
  model: string,
  threads: number,
  rounds: number,
): Promise<Steady> {
  const task = {
    ...absolute(taskOf(model, threads), server),
    rounds,
    ours: script(entryOf(model), server),
    peer: script(peerOf(model), server),
  };
  return withPage(browser, server, (page) => page.evaluate((wanted) => models.steady(wanted), task));
}

/** One cold start: a new context and process, nothing cached. */
export async function runCold(browser: Browser, server: Server, model: string, isPeer: boolean): Promise<ColdRun> {
  const before = await renderers(browser);
  return withPage(browser, server, async (page) => {
    const network = await page.createCDPSession();
    let transferBytes = 0;
    network.on('Network.loadingFinished', ({ encodedDataLength }) => {
      transferBytes += encodedDataLength;
    });
    await network.send('Network.enable');
    const entry = script(isPeer ? peerOf(model) : entryOf(model), server);
    const task = absolute(taskOf(model, 1), server);
    const cold = await page.evaluate((from, wanted, peer) => models.cold(from, wanted, peer), entry, task, isPeer);
    const own = [...(await renderers(browser))].filter(([id]) => !before.has(id));
    const residentBytes = own.length === 0 ? undefined : Math.max(...own.map(([, peak]) => peak));
    return { ...cold, transferBytes, residentBytes };
  });
}
