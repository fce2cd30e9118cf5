// npm test: builds, then runs test/*.test.ts in Node and in headless Chrome. Flags: --node, --browser (only
// there), --only NAME (files whose name contains it), --kernel NAME (in kernels.test.ts, kernels whose
// `backend: name` contains it), --all (every case on WebGPU, however slow). *.node.test.ts run in Node only.
import { fork } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { type BuildOptions, build } from 'esbuild';
import { findBrowser, vulkanEnvironment } from './browser.js';
import { buildAll } from './build.js';
import type { Totals } from './harness.js';
import { launch } from './launch.js';
import { root } from './paths.js';
import { plugins } from './plugins.js';
import { page, serve } from './serve.js';

/** Minutes after which a run that still says nothing of its end has failed. */
const LIMIT_MINUTES = 12;

const { values: flags } = parseArgs({
  options: {
    node: { type: 'boolean' },
    browser: { type: 'boolean' },
    only: { type: 'string', default: '' },
    kernel: { type: 'string', default: '' },
    all: { type: 'boolean' },
  },
});
const everywhere = !flags.node && !flags.browser;

const files = readdirSync(join(root, 'test'))
  .filter((file) => file.endsWith('.test.ts') && file.includes(flags.only))
  .map((file) => file.slice(0, -'.ts'.length))
  .sort();
const browserFiles = files.filter((file) => !file.endsWith('.node.test'));

/** Bundles the harness and the test files, with the sources they share in common chunks. */
async function bundle(names: readonly string[], target: 'node' | 'browser'): Promise<string> {
  const outdir = join(root, 'build/test', target);
  rmSync(outdir, { recursive: true, force: true });
  const options: BuildOptions = {
    absWorkingDir: root,
    entryPoints: [
      { in: 'scripts/harness.ts', out: 'harness' },
      ...names.map((name) => ({ in: `test/${name}.ts`, out: name })),
    ],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: target,
    target: 'es2022',
    packages: target === 'node' ? 'external' : 'bundle',
    external: target === 'browser' ? ['node:*', 'webgpu'] : [],
    define: {
      'process.env.CI': JSON.stringify(process.env.CI ?? ''),
      'process.env.TEST_KERNEL': JSON.stringify(flags.kernel),
      'process.env.TEST_ALL': JSON.stringify(flags.all ? 'true' : ''),
    },
    sourcemap: 'linked',
    plugins,
    logLevel: 'warning',
  };
  await build(options);
  return outdir;
}

const broken = (why: string): Totals => {
  console.error(why);
  return { passed: 0, failed: 1, skipped: 0 };
};

/** Flags without which this Node knows no relaxed SIMD. */
function nodeFlags(): string[] {
  // () -> v128: i32x4.relaxed_trunc_f32x4_s(v128.const 0), drop
  const relaxed = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 26, 1, 24, 0, 253, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 253, 129, 2, 26, 11,
  ]);
  return ['--enable-source-maps', ...(WebAssembly.validate(relaxed) ? [] : ['--experimental-wasm-relaxed-simd'])];
}

async function runInNode(browser: string | undefined): Promise<Totals> {
  const outdir = await bundle(files, 'node');
  console.log(`\nNode ${process.version}`);
  return new Promise((resolve) => {
    const child = fork(join(outdir, 'harness.js'), files, {
      cwd: root,
      execArgv: nodeFlags(),
      env: {
        // Choices that other runs stored must not decide what is tested.
        XDG_CACHE_HOME: join(root, 'build/test/cache'),
        FORCE_COLOR: process.stdout.isTTY ? '1' : '0',
        ...process.env,
        ...vulkanEnvironment(browser),
        ...(browser && { CHROME_PATH: browser }),
      },
    });
    let totals: Totals | undefined;
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MINUTES * 60_000);
    child.on('message', (message: Totals) => {
      totals = message;
      // Dawn's threads keep a process alive.
      child.kill();
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      resolve(totals ?? broken(`Node ended before its tests did: ${signal ?? `exit code ${code}`}`));
    });
  });
}

async function runInBrowser(executable: string): Promise<Totals> {
  const outdir = await bundle(browserFiles, 'browser');
  let finish: (totals: Totals) => void = () => {};
  const done = new Promise<Totals>((resolve) => {
    finish = resolve;
  });
  const server = await serve(
    {
      '/node_modules/': join(root, 'node_modules'),
      '/models/': join(root, 'models'),
      '/data/': join(root, 'data'),
      '/test/': join(root, 'test'),
      '/wasm/': join(root, 'dist/wasm'),
      '/': outdir,
    },
    {
      '/': page('/harness.js'),
      '/favicon.ico': '',
      '/totals': (body) => {
        finish(JSON.parse(body));
        return '';
      },
    },
  );
  const browser = await launch(executable);
  const timer = setTimeout(() => finish(broken(`no end after ${LIMIT_MINUTES} minutes`)), LIMIT_MINUTES * 60_000);
  try {
    console.log(`\n${await browser.version()}`);
    const tab = await browser.newPage();
    tab.on('console', (message) => {
      const text = message.text();
      const line = text.startsWith('\u0001') ? text.slice(1) : `${text}\n`;
      process.stdout.write(process.stdout.isTTY ? line : stripVTControlCharacters(line));
    });
    tab.on('pageerror', (error) => finish(broken(`the page threw: ${(error as Error)?.stack ?? error}`)));
    tab.on('error', (error) => finish(broken(`the page crashed: ${error.message}`)));
    browser.on('disconnected', () => finish(broken('the browser ended')));
    await tab.goto(`${server.url}/?files=${browserFiles.join(',')}`);
    return await done;
  } finally {
    browser.removeAllListeners('disconnected');
    clearTimeout(timer);
    await browser.close();
    await server.close();
  }
}

if (files.length === 0) {
  console.error(`no test file has ${JSON.stringify(flags.only)} in its name`);
  process.exit(1);
}
// Only the test of the package looks at the declarations.
await buildAll({ types: files.includes('package.node.test') }).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
const browser = findBrowser();
const runs: Totals[] = [];
// One after the other: at once they would fight for the cores that the software GPU compiles on.
if (flags.node || everywhere) runs.push(await runInNode(browser));
if ((flags.browser || everywhere) && browserFiles.length > 0) {
  if (browser) runs.push(await runInBrowser(browser));
  else if (process.env.CI) runs.push(broken('no browser: the tests in the browser did not run'));
  else {
    console.log('skipped the tests in the browser: none found; set CHROME_PATH');
    runs.push({ passed: 0, failed: 0, skipped: browserFiles.length });
  }
}
const sum = (key: keyof Totals) => runs.reduce((total, run) => total + run[key], 0);
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exit(sum('failed') > 0 || sum('passed') === 0 ? 1 : 0);
