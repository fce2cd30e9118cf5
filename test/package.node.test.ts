// What npm would publish, used as somebody would use it: packed, installed into an empty folder, imported by Node, by
// a stock bundler, and by the type checker.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build, transform } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launch } from '../scripts/launch.js';
import { page, serve } from '../scripts/serve.js';
import { requireCapability } from './support/capability.js';

/** Bytes over the wire, gzip, of the runtime's JavaScript and the one WASM module that it needs. */
const FIRST_LOAD_LIMIT = 150_000;
const PACKED_LIMIT = 6_000_000;
/** Bytes as they are installed, without the page: its models are most of the package. */
const LIBRARY_LIMIT = 4_500_000;

const root = process.cwd();
const folder = mkdtempSync(join(tmpdir(), 'thinfer-package-'));
const execute = promisify(execFile);
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** The TypeScript examples of the README. The first is what a newcomer copies, so it is run. */
function readmeExamples(): string[] {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code);
  assert.ok(examples.length > 0, 'README.md has a ```ts example');
  return examples;
}

interface Packed {
  filename: string;
  size: number;
  unpackedSize: number;
  files: { path: string; size: number }[];
}

async function pack(): Promise<Packed> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  // Newer npm answers with an object by package name, older with a list.
  const answer = JSON.parse((await execute('npm', args, { cwd: root })).stdout);
  return (Array.isArray(answer) ? answer : Object.values(answer))[0];
}

async function install(tarball: string): Promise<string> {
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const args = ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', join(folder, tarball)];
  try {
    await execute('npm', args, { cwd: folder, timeout: 180_000 });
    return '';
  } catch (error) {
    return (error as { stderr?: string }).stderr || String(error);
  }
}

const packed = await pack();
const failure = await install(packed.filename);
const inNode = suite('package');

inNode('holds what a user needs and nothing else', () => {
  const paths = packed.files.map(({ path }) => path);
  const page = /^dist\/web\/[\w/.-]+\.(html|js|css|svg|bin|txt|onnx|tflite)$/;
  const allowed = /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/[\w/.-]+\.(js|wasm|d\.ts))$/;
  assert.equal(
    paths.filter((path) => !allowed.test(path) && !page.test(path)),
    [],
    'files that do not belong',
  );
  const named = JSON.stringify([manifest.bin, manifest.exports, manifest.types]).match(/dist\/[\w/.-]+\.\w+/g) ?? [];
  for (const path of [...named, 'dist/wasm/a.wasm', 'dist/wasm/b.wasm', 'dist/wasm/c.wasm', 'README.md', 'LICENSE']) {
    assert.ok(paths.includes(path), `${path} is in the package`);
  }
  console.log(`package: ${packed.files.length} files, ${kB(packed.size)} packed, ${kB(packed.unpackedSize)} unpacked`);
  assert.ok(packed.size < PACKED_LIMIT, `${packed.size} bytes packed`);
  const library = packed.files.filter(({ path }) => !page.test(path)).reduce((sum, { size }) => sum + size, 0);
  assert.ok(library < LIBRARY_LIMIT, `${library} bytes without the page`);
});

inNode('makes no code from strings', () => {
  for (const { path } of packed.files) {
    if (!path.endsWith('.js')) continue;
    const code = readFileSync(join(root, path), 'utf8');
    assert.not.match(code, /\beval\s*\(|\bnew Function\b|\bFunction\s*\(\s*["'`]/, path);
  }
});

inNode('names no machine', () => {
  for (const { path } of packed.files) {
    if (path.endsWith('.wasm')) continue;
    assert.not.ok(readFileSync(join(root, path), 'utf8').includes(root), `${path} has the path of the checkout`);
  }
});

if (requireCapability('the npm registry', failure === '', failure.split('\n')[0])) {
  inNode('type-checks in a project of its own', async () => {
    const files = readmeExamples().map((code, i) => {
      // An example without imports is a script otherwise, where await is not allowed.
      writeFileSync(join(folder, `example-${i}.ts`), `${code}\nexport {};\n`);
      return `example-${i}.ts`;
    });
    writeFileSync(
      join(folder, 'doors.ts'),
      `import * as runtime from 'thinfer';\nimport * as onnx from 'thinfer/onnx';\nexport { onnx, runtime };\n`,
    );
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'ES2022',
      lib: ['ES2022', 'DOM', 'DOM.Iterable'],
      types: [],
      // Our declarations are checked too, against what the user has.
      skipLibCheck: false,
    };
    for (const [module, moduleResolution] of [
      ['NodeNext', 'NodeNext'],
      ['ESNext', 'Bundler'],
    ]) {
      const config = join(folder, `tsconfig.${moduleResolution}.json`);
      writeFileSync(
        config,
        JSON.stringify({
          compilerOptions: { ...compilerOptions, module, moduleResolution },
          files: [...files, 'doors.ts'],
        }),
      );
      await execute(process.execPath, [
        join(root, 'node_modules/typescript/bin/tsc'),
        '--pretty',
        'false',
        '-p',
        config,
      ]).catch((error) => {
        throw new Error(`${moduleResolution}: ${error.stdout}`);
      });
    }
  });

  inNode('runs in Node', async () => {
    const { code } = await transform(readmeExamples()[0], { loader: 'ts', format: 'esm', target: 'es2022' });
    writeFileSync(join(folder, 'example.js'), code);
    await execute(process.execPath, ['example.js'], { cwd: folder, env: plainEnvironment(), timeout: 60_000 });
  });

  inNode('opens every door in Node', async () => {
    const code = `
      const doors = await Promise.all(['thinfer', 'thinfer/onnx'].map((door) => import(door)));
      for (const name of ['a', 'b', 'c']) import.meta.resolve('thinfer/wasm/' + name + '.wasm');
      console.log(doors.every((door) => Object.keys(door).length > 0));`;
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', code], { cwd: folder });
    assert.is(stdout.trim(), 'true');
  });

  inNode('has a command', async () => {
    const command = join(folder, 'node_modules/.bin/thinfer');
    const { stdout } = await execute(process.platform === 'win32' ? `${command}.cmd` : command, ['--help'], {
      env: plainEnvironment(),
    });
    assert.match(stdout, /thinfer/);
  });

  inNode('benches a model in Node, and says what to install for a browser', async () => {
    const student = join(root, 'models/fashion_student.onnx');
    const command = join(folder, 'node_modules/thinfer/dist/cli.js');
    const bench = (...args: string[]) =>
      execute(process.execPath, [command, 'bench', student, '--runs', '6', '--budget', '0.1', '--json', ...args], {
        cwd: folder,
        env: plainEnvironment(),
        timeout: 120_000,
      });
    const { stdout } = await bench('--browser', 'node', '--cold', '1');
    const [{ models }] = JSON.parse(stdout).runs;
    assert.ok(models[0].runtimes[0].warm.ms > 0 && models[0].runtimes[0].cold.ms > 0);
    await bench().then(
      () => assert.unreachable('there is no puppeteer here'),
      ({ stderr }) => assert.match(stderr, /npm install puppeteer/),
    );
    if (!process.env.CHROME_PATH) return;
    symlinkSync(join(root, 'node_modules/puppeteer'), join(folder, 'node_modules/puppeteer'), 'junction');
    const html = join(folder, 'report.html');
    await bench('--executable', process.env.CHROME_PATH, '--cold', '0', '--html', html);
    assert.match(readFileSync(html, 'utf8'), /<svg /);
  });
}
inNode.run();

const chrome = process.env.CHROME_PATH;
const inBrowser = suite('package in the browser');
if (
  failure === '' &&
  requireCapability('a browser', chrome !== undefined && existsSync(chrome), 'CHROME_PATH names none')
) {
  for (const splitting of [true, false]) {
    inBrowser(`the example runs as esbuild bundles it${splitting ? ', split' : ''}`, async () => {
      writeFileSync(join(folder, 'example.ts'), readmeExamples()[0]);
      await inPage('example', `import './example.js';`, { splitting });
    });
  }
  inBrowser('the first load is small', async () => {
    const served = await inPage('first-load', `import { createRuntime } from 'thinfer';\nawait createRuntime();`, {
      splitting: true,
    });
    let total = 0;
    for (const [path, bytes] of served) {
      if (!/\.(js|wasm)$/.test(path)) continue;
      const size = gzipSync(bytes, { level: 9 }).length;
      total += size;
      console.log(`first load: ${kB(size)} gzip of ${kB(bytes.length)} ${path.replace(/-[A-Z0-9]{8}/, '')}`);
    }
    console.log(`first load: ${kB(total)} gzip in all`);
    assert.ok(total > 0 && total < FIRST_LOAD_LIMIT, `${total} bytes, the limit is ${FIRST_LOAD_LIMIT}`);
  });
}
inBrowser.after(() => rmSync(folder, { recursive: true, force: true }));
inBrowser.run();

/** Bundles code with stock esbuild, runs it on a page under the strict policy, and returns what the page loaded. */
async function inPage(name: string, code: string, { splitting }: { splitting: boolean }) {
  const source = join(folder, `${name}-page.js`);
  writeFileSync(source, `${code}\nawait fetch('/done', { method: 'POST' });\n`);
  const outdir = join(folder, 'page', `${name}-${splitting}`);
  const { warnings } = await build({
    absWorkingDir: folder,
    entryPoints: { page: source },
    outdir,
    bundle: true,
    splitting,
    minify: true,
    format: 'esm',
    logLevel: 'silent',
  });
  assert.equal(
    warnings.map(({ text }) => text),
    [],
    'warnings of the bundler',
  );
  let finish: (error: string) => void = () => {};
  const done = new Promise<string>((resolve) => {
    finish = resolve;
  });
  const routes = {
    '/': page('/page.js'),
    '/favicon.ico': '',
    '/done': () => {
      finish('');
      return '';
    },
  };
  const server = await serve({ '/': outdir }, routes);
  const browser = await launch(chrome!);
  const timer = setTimeout(() => finish('no end after 60 s'), 60_000);
  try {
    const tab = await browser.newPage();
    tab.on('pageerror', (error) => finish(String((error as Error)?.stack ?? error)));
    tab.on('console', (message) => {
      if (message.type() === 'error') finish(`the console said: ${message.text()}`);
    });
    await tab.goto(server.url);
    assert.is(await done, '');
    return server.served;
  } finally {
    clearTimeout(timer);
    await browser.close();
    await server.close();
  }
}

/** The environment without what the test run added for itself. */
function plainEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...environment } = process.env;
  return environment;
}

function kB(bytes: number): string {
  return `${(bytes / 1000).toFixed(1)} kB`;
}
