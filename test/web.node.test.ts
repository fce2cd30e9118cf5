// The page, in a real browser: every control, and what happens when something is missing or breaks.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Browser, ElementHandle, Page } from 'puppeteer';
import sirv from 'sirv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launch } from '../scripts/launch.js';
import { requireCapability } from './support/capability.js';
import { OnnxWriter } from './support/onnx-writer.js';

const root = process.cwd();
const chrome = process.env.CHROME_PATH;
const folder = mkdtempSync(join(tmpdir(), 'thinfer-web-'));
const test = suite('page');

/** A step that takes longer has failed. */
const PATIENCE_MS = 20_000;

let browser: Browser;
let command: ChildProcess;
/** Of `thinfer serve`. */
let served: string;
const servers: Server[] = [];

test.before(async () => {
  browser = await launch(chrome!, { args: ['--use-fake-device-for-media-stream'] });
  command = spawn(process.execPath, [join(root, 'dist/cli.js'), 'serve', '--port', '0'], {
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(command.stdout!, 'data');
  served = /http:\/\/\S+/.exec(String(line))![0];
});

test.after(async () => {
  await browser.close();
  command.kill();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

/** A folder of the host, so that nothing of the page counts on being at its root. */
const FOLDER = '/some/where';

/**
 * Any static host: no special headers.
 * @param prelude code that the page's worker begins with
 * @param answer may answer a path itself
 */
async function host(prelude: string, answer = (_path: string, _response: ServerResponse): boolean => false) {
  const page = join(root, 'dist/web');
  const files = sirv(page, { dev: true });
  const server = createServer((request, response) => {
    request.url = request.url!.replace(FOLDER, '');
    const path = request.url;
    if (answer(path, response)) return;
    if (path !== '/worker.js') return files(request, response);
    response.setHeader('Content-Type', 'text/javascript');
    response.end(prelude + readFileSync(join(page, 'worker.js')));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return `http://localhost:${(server.address() as AddressInfo).port}${FOLDER}/`;
}

/** A visit to the page; what it throws or complains of fails the test. */
class Visit {
  readonly complaints: string[] = [];

  private constructor(readonly tab: Page) {
    tab.on('pageerror', (error) => this.complaints.push(String((error as Error)?.stack ?? error)));
    tab.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
  }

  static async to(url: string): Promise<Visit> {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(PATIENCE_MS);
    const visit = new Visit(tab);
    await tab.goto(url);
    return visit;
  }

  async end(expected: RegExp[] = []): Promise<void> {
    const open = this.complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
    await this.tab.close();
    assert.equal(open, []);
  }

  text(id: string): Promise<string> {
    return this.tab.$eval(`#${id}`, (element) => element.textContent!.trim());
  }

  isShown(id: string): Promise<boolean> {
    return this.tab.$eval(`#${id}`, (element) => element.checkVisibility());
  }

  async handle(selector: string): Promise<ElementHandle<HTMLInputElement>> {
    return (await this.tab.$(selector)) as ElementHandle<HTMLInputElement>;
  }

  /** Waits until a text is there that says so. */
  async until(id: string, pattern: RegExp): Promise<void> {
    try {
      await this.tab.waitForFunction(
        (where, source) => new RegExp(source).test(document.getElementById(where)!.textContent!),
        {},
        id,
        pattern.source,
      );
    } catch {
      assert.unreachable(`#${id} says ${JSON.stringify(await this.text(id))}, not ${pattern}; ${this.complaints}`);
    }
  }

  /** Waits until the engine has nothing left to do. */
  async settled(): Promise<void> {
    await this.until('doing', /^$/);
  }

  /** Chooses a form of the weights, a backend, ... by the radio button's value. */
  async choose(value: string): Promise<void> {
    await this.tab.$eval(`input[value=${value}]`, (radio) => (radio as HTMLInputElement).click());
    await this.settled();
  }

  async slide(percent: number): Promise<void> {
    await this.tab.$eval(
      '#sparsity',
      (slider, value) => {
        (slider as HTMLInputElement).value = value;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
      },
      String(percent),
    );
    // The page waits for the slider to rest.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await this.settled();
  }

  async openModel(path: string): Promise<void> {
    await (await this.handle('#model-file')).uploadFile(path);
  }

  /** A white picture. */
  async white(): Promise<string> {
    const path = join(folder, 'white.png') as `${string}.png`;
    const blank = await browser.newPage();
    await blank.screenshot({ path });
    await blank.close();
    await this.tab.bringToFront();
    return path;
  }

  /** Puts a picture that is white in its corner on the stage, which is black there until then. */
  async choosePicture(path: string): Promise<void> {
    await (await this.handle('#image-file')).uploadFile(path);
    await this.tab.waitForFunction(() => {
      const stage = document.getElementById('stage') as HTMLCanvasElement;
      return stage.getContext('2d')!.getImageData(0, 0, 1, 1).data[0] === 255;
    });
    await this.settled();
  }

  best(): Promise<string> {
    return this.tab.$eval('#answers li span', (element) => element.textContent!);
  }

  /** Bytes of the weights as the figure says them. */
  async bytes(): Promise<number> {
    const [, number, unit] = /([\d.]+) (kB|MB)/.exec(await this.text('bytes'))!;
    return Number(number) * (unit === 'MB' ? 1000 : 1);
  }

  async overflow(): Promise<number> {
    return this.tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  async violations(): Promise<string[]> {
    await this.tab.evaluate(axe.source);
    const { violations } = (await this.tab.evaluate('axe.run()')) as axe.AxeResults;
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' ')}`);
  }
}

test('answers at once, on every width, light and dark, with nothing that axe-core minds', async () => {
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.until('status', /^Ankle boot, .* Dense f32: [\d.]+ ms, 2\.34 MB\.$/);
  assert.is(await visit.best(), 'Ankle boot');
  assert.match(await visit.text('same-note'), /^test images, 9\d right/);
  assert.is(await visit.text('same'), '100 of 100');
  assert.match(await visit.text('ms'), /^[\d.]+ ms$/);
  assert.ok((await tab.$$('#nodes tr')).length > 10);
  assert.match(await visit.text('nodes'), /dense_g/);
  assert.ok(await tab.evaluate(() => crossOriginIsolated));
  assert.is(await visit.isShown('progress'), false);
  for (const [width, value] of [
    [1280, 'light'],
    [360, 'dark'],
  ] as const) {
    await tab.setViewport({ width, height: 800 });
    await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
    assert.is(await visit.overflow(), 0, `nothing to scroll sideways at ${width}`);
    assert.equal(await visit.violations(), [], `${width}, ${value}`);
  }
  await visit.end();
});

test('works by keyboard', async () => {
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.settled();
  const focused = () =>
    tab.evaluate(() => document.activeElement?.id || (document.activeElement as HTMLInputElement).value);
  const order: string[] = [];
  for (let i = 0; i < 40 && !order.includes('live'); i++) {
    await tab.keyboard.press('Tab');
    order.push(await focused());
  }
  const wanted = ['model', 'model-file', 'stage', 'clear', 'image-file', 'camera', 'noise', 'invert', 'compare'];
  assert.equal(
    order.filter((id) => wanted.includes(id)),
    wanted,
  );
  assert.equal(order.slice(-6), ['dense', 'sparsity', 'scope', 'wasm', 'threads', 'live']);
  await (await visit.handle('input[value=dense]')).focus();
  await tab.keyboard.press('ArrowRight');
  await visit.until('plot', /^/);
  await visit.until('form-hint', /^Only weights that are not zero/);
  // Draws a line: pen down, three steps, pen up.
  await (await visit.handle('#clear')).press('Enter');
  await (await visit.handle('#stage')).focus();
  await tab.keyboard.press('Space');
  for (let i = 0; i < 3; i++) await tab.keyboard.press('ArrowRight');
  await tab.keyboard.press('Space');
  await tab.keyboard.press('ArrowDown');
  await visit.settled();
  const lit = await tab.$eval('#preview', (canvas) => {
    const { data } = (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, 28, 28);
    return data.filter((value, i) => i % 4 === 0 && value > 128).length;
  });
  assert.ok(lit > 4 && lit < 60, `${lit} pixels are lit`);
  await visit.end();
});

test('measures every form, prunes, and changes threads', async () => {
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.settled();
  await tab.select('#model', 'student');
  await visit.settled();
  await tab.click('#compare');
  const figures = () => tab.$$eval('.figures', (boxes) => boxes.map((box) => box.textContent!));
  await tab.waitForFunction(() => [...document.querySelectorAll('.figures')].every((box) => box.textContent !== ''));
  await tab.waitForFunction(() => document.getElementById('compare')!.getAttribute('aria-pressed') === 'false');
  for (const text of await figures()) assert.match(text, /^[\d.]+ ms · [\d.]+ [kM]B$/);
  assert.is(await visit.text('same'), '100 of 100', 'back at the dense form');
  // Stopped by a second click.
  await tab.click('#compare');
  await visit.until('form-hint', /^Nothing is changed/);
  await tab.click('#compare');
  await tab.waitForFunction(() => document.getElementById('compare')!.getAttribute('aria-pressed') === 'false');
  await visit.choose('dense');
  const dense = await visit.bytes();
  await visit.choose('int8');
  assert.ok((await visit.bytes()) < dense / 3);
  assert.match(await visit.text('nodes'), /int8_/);
  assert.match(await visit.text('ms-note'), /× the speed of dense$/);

  await visit.slide(60);
  assert.match(await visit.text('sparsity-text'), /^60 % zeros, 61 k of 153 k left$/);
  const pruned = await visit.bytes();
  assert.ok(pruned < dense);
  await visit.slide(97);
  assert.ok((await visit.bytes()) < pruned / 3);
  assert.not.match(await visit.text('same'), /^100 /);
  await tab.select('#scope', '/c/c.1/Gemm');
  await visit.settled();
  assert.match(await visit.text('sparsity-text'), /^0 % zeros, 111 k of 111 k left$/);
  await visit.slide(90);
  assert.match(await visit.text('sparsity-text'), /^90 % zeros, 11 k of 111 k left$/);
  assert.match(await visit.text('nodes'), /csr/);

  const cores = await tab.evaluate(() => navigator.hardwareConcurrency);
  await tab.select('#threads', '1');
  await visit.settled();
  assert.not.match(await visit.text('device'), /threads/);
  if (cores > 1) {
    await tab.select('#threads', '2');
    await visit.settled();
    assert.match(await visit.text('device'), /2 threads/);
  }
  await tab.click('#live');
  await visit.until('plot', /^/);
  await tab.waitForFunction(() => /measured|median/.test(document.getElementById('plot')!.getAttribute('aria-label')!));
  await tab.click('#live');
  await visit.settled();
  await visit.end();
});

test('takes pictures: test images, drawings, files, noise', async () => {
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.settled();
  await tab.click('#strip button:nth-child(3)');
  await visit.until('status', /Trouser/);
  const box = (await (await visit.handle('#stage')).boundingBox())!;
  await tab.click('#clear');
  await tab.mouse.move(box.x + 60, box.y + 200);
  await tab.mouse.down();
  await tab.mouse.move(box.x + 200, box.y + 200, { steps: 5 });
  await tab.mouse.up();
  await visit.until('status', /Sandal|Sneaker|boot|Bag/);
  assert.is(await tab.$('#strip button[aria-pressed=true]'), null);
  // What is dark on white is turned round, unless that is not wanted.
  const corner = () =>
    tab.$eval('#preview', (canvas) => (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, 1, 1).data[0]);
  await visit.choosePicture(await visit.white());
  assert.is(await corner(), 0);
  await tab.click('#invert');
  await visit.settled();
  assert.is(await corner(), 255);
  await tab.click('#noise');
  await visit.settled();
  const noPicture = join(folder, 'no-picture.png');
  writeFileSync(noPicture, 'text');
  await (await visit.handle('#image-file')).uploadFile(noPicture);
  await visit.until('input-error', /no-picture\.png is no picture/);
  await visit.end();
});

test('runs on the camera, and says so when it may not', async () => {
  const context = browser.defaultBrowserContext();
  await context.setPermission(served, { permission: { name: 'camera' }, state: 'denied' });
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.settled();
  await tab.click('#camera');
  await visit.until('input-error', /^No camera: .*Allow it/);
  await context.setPermission(served, { permission: { name: 'camera' }, state: 'granted' });
  await tab.select('#model', 'vww');
  await visit.until('answers', /person/);
  await tab.click('#camera');
  await visit.until('fps-note', /^camera: \d+ frames a second/);
  await visit.until('status', /camera is on/);
  assert.is(await visit.text('input-error'), '');
  await tab.click('#camera');
  await visit.settled();
  assert.is(await tab.$eval('#camera', (button) => button.getAttribute('aria-pressed')), 'false');
  await visit.end();
});

test('opens files of one’s own, and says what is wrong with bad ones', async () => {
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.settled();
  const data = join(root, 'test/data/tflite');
  await visit.openModel(join(data, 'resnet8_cifar10_int8.tflite'));
  await visit.until('form-hint', /10 layers that the file has packed \(int8\) run as they are/);
  await visit.settled();
  assert.equal(await tab.$$eval('input[name=form]:not(:disabled)', (radios) => radios.length), 1);
  assert.match(await visit.text('answer-note'), /10 numbers, \[1, 10\]/);
  assert.match(await visit.text('preview-text'), /32 × 32/);
  await visit.openModel(join(data, 'ad_autoencoder_f32.tflite'));
  await visit.until('preview-text', /random numbers/);
  await visit.settled();
  assert.match(await visit.text('answer-note'), /640 numbers/);

  // Dropped on the page.
  await tab.evaluate(async () => {
    const bytes = await (await fetch('models/resnet8_cifar10_f32.tflite')).blob();
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], 'dropped.tflite'));
    for (const type of ['dragover', 'drop'])
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true }));
  });
  await visit.until('about', /^318 kB, 10 layers/);
  await visit.until('answer-note', /10 numbers/);
  assert.is(await visit.isShown('drop'), false);

  const student = readFileSync(join(root, 'models/fashion_student.onnx'));
  const [broken, text] = ['broken.onnx', 'notes.tflite'].map((name) => join(folder, name));
  writeFileSync(broken, student.subarray(0, student.length / 2));
  writeFileSync(text, 'no model at all');
  for (const [path, said] of [
    [broken, /^broken\.onnx: \S.+expected/],
    [text, /^notes\.tflite: \S.+expected/],
  ] as const) {
    await visit.openModel(path);
    await visit.until('file-error', said);
    await visit.settled();
    assert.is(await tab.$eval('#model', (select) => (select as HTMLSelectElement).value), 'dropped.tflite');
    assert.match(await visit.text('answer-note'), /10 numbers/);
  }
  await tab.select('#model', 'student');
  await visit.until('answers', /Ankle boot/);
  assert.is(await visit.isShown('file-error'), false);
  await visit.end();
});

test('asks for sizes that a model leaves open, and for what pixels become', async () => {
  // The mean of each channel.
  const model = new OnnxWriter()
    .input('picture', ['N', 3, 'H', 'W'])
    .floats('weights', [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1])
    .node('GlobalAveragePool', ['picture'], ['means'])
    .node('Flatten', ['means'], ['flat'])
    .node('MatMul', ['flat', 'weights'], ['channels'])
    .output('channels');
  const path = join(folder, 'means.onnx');
  writeFileSync(path, model.bytes());
  const visit = await Visit.to(served);
  const { tab } = visit;
  await visit.openModel(path);
  await visit.until('preview-text', /224 × 224$/);
  const fields = await tab.$$('#sizes input');
  assert.is(fields.length, 2);
  for (const [i, size] of ['40', '32'].entries()) {
    await fields[i].evaluate((field, value) => {
      (field as HTMLInputElement).value = value;
      field.dispatchEvent(new Event('change'));
    }, size);
  }
  await visit.until('preview-text', /32 × 40$/);
  await visit.choosePicture(await visit.white());
  for (const [scaling, channels] of [
    ['bytes', /255\.0.*255\.0.*255\.0/],
    ['imagenet', /2\.640.*2\.429.*2\.249/],
    ['unit', /1\.000.*1\.000.*1\.000/],
  ] as const) {
    await tab.select('#scaling', scaling);
    await visit.until('answers', channels);
  }
  await visit.settled();
  assert.match(await visit.text('sparsity-text'), /^67 % zeros, 3 of 9 left/);
  const refused = await tab.$$eval('input[name=form]:disabled', (all) =>
    all.map((radio) => radio.getAttribute('value')),
  );
  assert.equal(refused, ['ternary', 'binary', 'xnor']);
  await visit.end();
});

test('goes on where a host sends no headers and the browser has no WebGPU', async () => {
  const url = await host("Object.defineProperty(WorkerNavigator.prototype, 'gpu', { value: undefined });");
  const visit = await Visit.to(url);
  const { tab } = visit;
  await visit.until('gpu-text', /^No WebGPU: this browser has none/);
  await visit.settled();
  assert.is(await tab.evaluate(() => crossOriginIsolated), false);
  assert.ok(await tab.$eval('#threads', (select) => (select as HTMLSelectElement).disabled));
  assert.match(await visit.text('threads-text'), /not cross-origin isolated/);
  assert.ok(await tab.$eval('input[value=webgpu]', (radio) => (radio as HTMLInputElement).disabled));
  assert.is(await visit.best(), 'Ankle boot');
  await visit.end();
});

test('shows how far a download is, gives it up for another, and names what is missing', async () => {
  let givenUp = false;
  const url = await host('', (path, response) => {
    if (path.endsWith('pruned90.onnx')) response.writeHead(404).end();
    else if (path.endsWith('float.onnx')) {
      const bytes = readFileSync(join(root, 'models/fashion_float.onnx'));
      response.writeHead(200, { 'Content-Length': bytes.length });
      response.write(bytes.subarray(0, bytes.length / 2));
      response.on('close', () => {
        givenUp = true;
      });
    } else return false;
    return true;
  });
  const visit = await Visit.to(url);
  const { tab } = visit;
  await visit.until('progress-text', /^1\.17 MB of 2\.34 MB/);
  assert.ok(await visit.isShown('progress'));
  await tab.select('#model', 'student');
  await visit.until('answers', /Ankle boot/);
  assert.ok(givenUp, 'the download ends');
  assert.is(await visit.isShown('progress'), false);
  await tab.select('#model', 'pruned90');
  await visit.until('file-error', /pruned90\.onnx can't be fetched: 404/);
  await visit.settled();
  assert.is(await tab.$eval('#model', (select) => (select as HTMLSelectElement).value), 'student');
  await visit.end([/404/]);
});

test('computes on WebGPU, and goes on when the device is lost', async () => {
  const url = await host(`
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return (self.lastDevice = await requestDevice.apply(this, args));
    };
    const { requestAdapter } = GPU.prototype;
    GPU.prototype.requestAdapter = async function (...args) {
      return self.isGone ? null : requestAdapter.apply(this, args);
    };`);
  const visit = await Visit.to(url);
  const { tab } = visit;
  await visit.until('gpu-text', /^WebGPU: /);
  await tab.select('#model', 'student');
  await visit.settled();
  await visit.choose('webgpu');
  await visit.until('nodes', /wgsl|dot4|sg/);
  assert.is(await visit.best(), 'Ankle boot');
  assert.match(await visit.text('same-note'), /this picture: same/);
  const [worker] = tab.workers();
  await worker.evaluate('lastDevice.destroy()');
  await visit.until('gpu-notice', /opened again/);
  await visit.settled();
  assert.is(await visit.best(), 'Ankle boot');
  await worker.evaluate('isGone = true; lastDevice.destroy()');
  await visit.until('gpu-notice', /WASM goes on/);
  await visit.settled();
  assert.is(await visit.best(), 'Ankle boot');
  assert.ok(await tab.$eval('input[value=wasm]', (radio) => (radio as HTMLInputElement).checked));
  assert.ok(await tab.$eval('input[value=webgpu]', (radio) => (radio as HTMLInputElement).disabled));
  await visit.end();
});

test('thinfer serve names a port that is taken', () => {
  const { port } = new URL(served);
  const args = [join(root, 'dist/cli.js'), 'serve', '--port', port];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 10_000 });
  assert.is(status, 1);
  assert.match(stderr, /a port that are free, got 127\.0\.0\.1:\d+ \(listen EADDRINUSE/);
});

if (requireCapability('a browser', chrome !== undefined && existsSync(chrome), 'CHROME_PATH names none')) test.run();
