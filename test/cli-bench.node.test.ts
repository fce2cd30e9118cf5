// thinfer bench and what reads its results: in Chromium, in Node, in Firefox where there is one.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launch } from '../scripts/launch.js';
import { compareResults, doubtsOf } from '../src/bench/compare.js';
import { parseResults } from '../src/bench/file.js';
import type { BenchRun, ResultsFile } from '../src/bench/results.js';
import { medianInterval, middleMean } from '../src/bench/statistics.js';
import { requireCapability } from './support/capability.js';
import { createRandom } from './support/random.js';

const root = process.cwd();
const folder = mkdtempSync(join(tmpdir(), 'thinfer-bench-'));
const student = join(root, 'models/fashion_student.onnx');
const chrome = process.env.CHROME_PATH;
const LIMIT_MS = 120_000;

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** In the repository, so that its onnxruntime-web is found, as a user's would be. */
function thinfer(...args: string[]): Promise<Ran> {
  const env = { ...process.env, XDG_CACHE_HOME: folder, NO_COLOR: '1' };
  const child = spawn(process.execPath, [join(root, 'dist/cli.js'), ...args], { env, cwd: root, timeout: LIMIT_MS });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (part) => {
    stdout += part;
  });
  child.stderr.on('data', (part) => {
    stderr += part;
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })));
}

const write = (name: string, contents: unknown): string => {
  const file = join(folder, name);
  writeFileSync(file, typeof contents === 'string' ? contents : JSON.stringify(contents));
  return file;
};

const SHORT = ['--runs', '6', '--budget', '0.2', '--cold', '1'];

/** What must be so of any run of the student, whatever the times are. */
function requireSound({ models, ceilings, machine, client }: BenchRun, runtimes: string[]): void {
  assert.is(models.length, 1);
  const [{ layers, reference, weightBytes, ...row }] = models;
  assert.equal(
    row.runtimes.map(({ name }) => name),
    runtimes,
  );
  assert.match(reference, /float64/);
  for (const { warm, cold, difference, failed } of row.runtimes) {
    assert.is(failed, undefined);
    assert.ok(warm!.low <= warm!.ms && warm!.ms <= warm!.high && warm!.low > 0);
    assert.ok(difference!.relative > 0 && difference!.relative < 1e-5, `off by ${difference!.relative}`);
    const { phases, ms, wasmBytes } = cold!;
    assert.ok(Math.abs(Object.values(phases).reduce((a, b) => a + b, 0) - ms) < 1e-6);
    assert.ok(wasmBytes > 2 ** 16);
  }
  const convolutions = layers.filter(({ op }) => op === 'conv2d');
  assert.is(convolutions.length, 6);
  for (const { ms, macs, bytes, candidates } of convolutions) {
    assert.ok(ms > 0 && macs! > 0 && bytes! > 0);
    assert.is(candidates.filter(({ chosen }) => chosen).length, 1);
  }
  assert.ok(weightBytes > 500_000);
  // Slower than any SIMD, or faster than any core: then they measure something else.
  for (const { gmacs, gbytes } of ceilings) assert.ok(gmacs > 0.1 && gmacs < 500 && gbytes > 0.1 && gbytes < 2000);
  assert.ok(ceilings.length > 0 && machine.cores > 0 && client.browser !== '');
}

const data = suite('results');

data('the interval of a median holds it as often as it says', () => {
  assert.equal(medianInterval([1, 2, 3]), [1, 3]);
  // Conover's table: of 15 values, the 4th and the 12th.
  assert.equal(medianInterval([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), [4, 12]);
  const random = createRandom(7);
  let held = 0;
  for (let i = 0; i < 2000; i++) {
    const [low, high] = medianInterval(Array.from({ length: 20 }, () => Math.exp(2 * random.normal())));
    if (low <= 1 && 1 <= high) held++;
  }
  assert.ok(held > 0.94 * 2000 && held < 0.98 * 2000, `${held} of 2000`);
  assert.is(middleMean([100, 1, 2, 3, -50, 4, 0, 3]), 2.25);
});

const timing = (ms: number, by = 0.05) => ({ ms, low: ms * (1 - by), high: ms * (1 + by), spread: ms * by, best: ms });

function resultsOf(id: string, ms: number, change: (run: BenchRun) => void = () => {}): ResultsFile {
  const run: BenchRun = {
    id,
    date: `2026-01-0${id.length}T00:00:00.000Z`,
    thinfer: '0.0.0',
    machine: { cpu: 'some CPU', cores: 2, memoryBytes: 8e9, platform: 'linux x64', node: '20.0.0' },
    client: { browser: 'Chrome/1.0', userAgent: 'one', cores: 2, isolated: true, remote: false, flags: ['--<b>'] },
    options: { rounds: 60, budgetMs: 1e4, precision: 0.02, tolerance: 1e-4, coldStarts: 0, peers: { ort: '1.0.0' } },
    ceilings: [{ backend: 'wasm', threads: 1, gmacs: 20, gbytes: 10, how: 'told' }],
    models: [
      {
        model: 'a.onnx',
        bytes: 10,
        hash: '',
        backend: 'wasm',
        threads: 1,
        device: 'wasm C',
        reference: 'float64',
        runtimes: [
          { name: 'thinfer', version: '', warm: timing(ms) },
          { name: 'ort', version: '1.0.0', warm: timing(2 * ms) },
        ],
        layers: [],
        placements: [],
        transfers: [],
        weightBytes: 1000,
        denseBytes: 4000,
        activationBytes: 10,
      },
    ],
    notes: ['a note with <script>alert(1)</script>'],
  };
  change(run);
  return { kind: 'thinfer-bench', version: 1, runs: [run] };
}

data('comparing tells slower from noise', () => {
  const before = resultsOf('a', 10);
  const verdict = (after: ResultsFile, threshold = 0.05, relative?: 'ort') =>
    compareResults(before, after, { threshold, relative }).find(({ metric }) => metric === 'warm')!.verdict;
  assert.is(verdict(resultsOf('b', 10.8)), 'same');
  assert.is(verdict(resultsOf('b', 12)), 'slower');
  assert.is(verdict(resultsOf('b', 12), 0.3), 'same');
  assert.is(verdict(resultsOf('b', 5)), 'faster');
  // Twice as slow as before, and so is the peer: the machine was.
  assert.is(verdict(resultsOf('b', 20), 0.05, 'ort'), 'same');
  const broken = resultsOf('b', 10, ({ models }) => {
    models[0].runtimes[0] = { name: 'thinfer', version: '', failed: 'off by 1', wrong: true };
  });
  assert.is(verdict(broken), 'broken');
  const throttled = resultsOf('b', 10, ({ ceilings }) => {
    ceilings[0].gmacs = 10;
  });
  assert.match(doubtsOf(before, throttled)[0], /50 % of its speed/);
});

data('compare fails for a regression, and when there is nothing to compare', async () => {
  const before = write('before.json', resultsOf('a', 10));
  const slow = await thinfer('compare', before, write('slow.json', resultsOf('b', 12)));
  assert.is(slow.status, 3);
  assert.match(slow.stdout, /1\.20 x \| slower/);
  const other = resultsOf('b', 10, ({ models }) => {
    models[0].model = 'b.onnx';
  });
  const nothing = await thinfer('compare', before, write('other.json', other));
  assert.is(nothing.status, 1);
  assert.match(nothing.stderr, /expected something that both measured/);
});

data('files that are no results are refused', () => {
  for (const [contents, said] of [
    ['{', /as JSON/],
    ['[]', /an array/],
    ['{ "kind": "thinfer-bench", "version": 99, "runs": [] }', /version 1 or older, got 99/],
    ['{ "kind": "thinfer-bench", "version": 1, "runs": [{ "id": "x" }] }', /runs\[0\]\.date: expected string/],
  ] as const) {
    assert.throws(() => parseResults(contents, 'wrong.json'), said);
  }
});

data('merge keeps each run once, and the report shows all, escaped and by itself', async () => {
  const [a, b] = [write('a.json', resultsOf('a', 1)), write('b.json', resultsOf('bb', 2))];
  const all = join(folder, 'all.json');
  assert.is((await thinfer('merge', b, a, b, '--out', all)).status, 0);
  const { runs } = JSON.parse(readFileSync(all, 'utf8')) as ResultsFile;
  assert.equal(
    runs.map(({ id }) => id),
    ['a', 'bb'],
  );
  const html = join(folder, 'all.html');
  const crossover = join(root, 'docs/data/crossover-amd-epyc.json');
  const { status, stderr } = await thinfer('report', all, crossover, '--html', html, '--title', 'A & B');
  assert.is(status, 0, stderr);
  const page = readFileSync(html, 'utf8');
  assert.match(page, '<title>A &amp; B</title>');
  assert.not.match(page, '<script>alert');
  assert.not.match(page, /(src|href)="http/);
  // A plot of speed-ups and one of densities, drawn.
  assert.is(page.match(/<svg /g)!.length, 2);
  assert.not.match(page, /NaN|undefined/);
  assert.match(page, /784x256x256/);
});

data.run();

const bench = suite('bench');

bench('runs in Node beside onnxruntime-web, and finds what is wrong', async () => {
  const { status, stdout, stderr } = await thinfer('bench', student, '--browser', 'node', ...SHORT, '--json');
  assert.is(status, 0, stderr);
  requireSound(JSON.parse(stdout).runs[0], ['thinfer', 'ort']);
  const strict = ['--tolerance', '1e-12', '--peers', 'none', '--cold', '0', '--budget', '0.1'];
  const wrong = await thinfer('bench', student, '--browser', 'node', ...strict);
  assert.is(wrong.status, 3, wrong.stderr);
  assert.match(wrong.stderr, /off by .* of the largest, 1e-12 is allowed/);
});

bench('says what is missing', async () => {
  for (const [args, wanted, said] of [
    [['nowhere.onnx', '--browser', 'node'], 1, /nowhere\.onnx/],
    [[student, '--backends', 'cuda'], 2, /--backends: expected some of wasm, webgpu/],
    [[student, '--budget', 'long'], 2, /--budget: expected a number/],
    [[student, '--browser-url', 'ws://127.0.0.1:9/', '--host', '127.0.0.1'], 1, /a browser that answers/],
    [[student, '--executable', join(folder, 'none')], 1, /--browser: expected a chrome that starts/],
    [['shapes', '--shape', '12'], 2, /--shape: expected sizes/],
    [['shapes', '--only', 'magic'], 2, /--only: expected beginnings of dense/],
  ] as [string[], number, RegExp][]) {
    const { status, stderr } = await thinfer('bench', ...args);
    assert.is(status, wanted, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, said);
  }
});

const hasChrome = chrome !== undefined && existsSync(chrome);
if (requireCapability('a browser', hasChrome, 'CHROME_PATH names none')) {
  bench('runs in Chrome, with a report', async () => {
    const [out, html] = [join(folder, 'out.json'), join(folder, 'out.html')];
    const files = ['--out', out, '--html', html];
    const { status, stdout, stderr } = await thinfer('bench', student, '--executable', chrome!, ...SHORT, ...files);
    assert.is(status, 0, stderr);
    assert.match(stdout, /onnxruntime-web \d/);
    const { runs } = JSON.parse(readFileSync(out, 'utf8')) as ResultsFile;
    requireSound(runs[0], ['thinfer', 'ort']);
    const [{ runtimes }] = runs[0].models;
    assert.ok(runs[0].client.isolated);
    for (const { cold } of runtimes) {
      assert.ok(cold!.transferBytes! > 600_000);
      if (process.platform === 'linux') assert.ok(cold!.residentBytes! > 50e6);
    }
    await requireReadable(html);
  });

  bench('joins a browser that runs already, and leaves it running', async () => {
    const browser = await launch(chrome!);
    try {
      // Switches are for browsers that are started; here they are only written down.
      const where = [
        '--flags',
        '--no-such-switch --another',
        '--browser-url',
        browser.wsEndpoint(),
        '--host',
        '127.0.0.1',
        '--name',
        'a phone',
      ];
      const few = ['--peers', 'none', '--runs', '6', '--budget', '0.1', '--cold', '0', '--json'];
      const { status, stdout, stderr } = await thinfer('bench', student, ...where, ...few);
      assert.is(status, 0, stderr);
      const [{ client, models }] = (JSON.parse(stdout) as ResultsFile).runs;
      assert.ok(client.remote && client.name === 'a phone');
      assert.equal(client.flags, ['--no-such-switch', '--another']);
      assert.ok(models[0].runtimes[0].warm!.ms > 0);
      assert.match(await browser.version(), /Chrome/);
    } finally {
      await browser.close();
    }
  });

  bench('times shapes', async () => {
    const args = ['--shape', '8x32x16', '--only', 'csr', '--runs', '2', '--peers', 'ort', '--json'];
    const { status, stdout, stderr } = await thinfer('bench', 'shapes', '--executable', chrome!, ...args);
    assert.is(status, 0, stderr);
    const { shapes = [] } = (JSON.parse(stdout) as ResultsFile).runs[0];
    const found = new Set(shapes.map(({ runtime, weights }) => `${runtime} ${weights}`));
    for (const wanted of ['thinfer dense', 'thinfer csr', 'ort f32']) assert.ok(found.has(wanted), wanted);
    for (const { gmacs, denseGmacs, density, timing } of shapes) {
      assert.ok(timing.ms > 0);
      assert.ok(Math.abs(denseGmacs - (8 * 32 * 16) / timing.ms / 1e6) < 1e-9);
      assert.ok(density === 1 || gmacs < 0.5 * denseGmacs);
    }
  });
}

const firefox = ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find(
  (path) => existsSync(path) && spawnSync(path, ['--version'], { timeout: 30_000 }).status === 0,
);
if (firefox) {
  bench('runs in Firefox', async () => {
    const few = ['--peers', 'none', '--runs', '6', '--budget', '0.1', '--cold', '1', '--json'];
    const { status, stdout, stderr } = await thinfer(
      'bench',
      student,
      '--browser',
      'firefox',
      '--executable',
      firefox,
      ...few,
    );
    assert.is(status, 0, stderr);
    const [run] = (JSON.parse(stdout) as ResultsFile).runs;
    assert.match(run.client.browser, /firefox/i);
    requireSound(run, ['thinfer']);
  });
} else console.log('skipped thinfer bench in Firefox: neither firefox-esr nor firefox is installed');

bench.after(() => rmSync(folder, { recursive: true, force: true }));
bench.run();

/** The page in a browser: nothing wider than a screen, the button changes the theme, and nothing is asked of a network. */
async function requireReadable(file: string): Promise<void> {
  const browser = await puppeteer.launch({
    executablePath: chrome,
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  try {
    const tab = await browser.newPage();
    const asked: string[] = [];
    tab.on('request', (request) => asked.push(request.url()));
    await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    for (const width of [360, 1200]) {
      await tab.setViewport({ width, height: 800 });
      await tab.goto(`file://${file}`);
      assert.ok(await tab.evaluate((most) => document.documentElement.scrollWidth <= most, width), `${width} px`);
    }
    assert.equal([...new Set(asked)], [`file://${file}`]);
    const ground = () => tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await tab.click('#theme');
    assert.not.equal(await ground(), dark);
    const drawn = await tab.evaluate(() =>
      [...document.querySelectorAll('figure svg')].map((svg) => svg.querySelectorAll('path, circle, rect').length),
    );
    // Speed-up, cold start, memory where it is known, roofline.
    assert.ok(drawn.length >= 3 && drawn.every((marks) => marks > 0), drawn.join(', '));
  } finally {
    await browser.close();
  }
}
