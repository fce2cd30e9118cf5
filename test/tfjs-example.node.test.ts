// examples/tfjs, bundled as a user would and run in a page.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launch } from '../scripts/launch.js';
import { serve } from '../scripts/serve.js';
import { requireCapability } from './support/capability.js';

const root = process.cwd();
const chrome = process.env.CHROME_PATH;
const test = suite('examples/tfjs');

if (requireCapability('a browser', chrome !== undefined && existsSync(chrome), 'CHROME_PATH names none')) {
  test('runs in a page', async () => {
    const outdir = join(root, 'build/test/example');
    await build({
      absWorkingDir: root,
      entryPoints: ['examples/tfjs/main.js'],
      outdir,
      bundle: true,
      splitting: true,
      format: 'esm',
      alias: { 'thinfer/tfjs': './dist/tfjs.js' },
      logLevel: 'silent',
    });
    const folders = {
      '/tfjs-wasm/': join(root, 'node_modules/@tensorflow/tfjs-backend-wasm/dist'),
      '/model/': join(root, 'node_modules/@upscalerjs/default-model/models'),
      '/': outdir,
    };
    const server = await serve(folders, {
      '/index.html': readFileSync(join(root, 'examples/tfjs/index.html'), 'utf8'),
    });
    const browser = await launch(chrome!);
    try {
      const tab = await browser.newPage();
      const errors: string[] = [];
      tab.on('pageerror', (error) => errors.push(String((error as Error)?.stack ?? error)));
      // tfjs starts its threads from a blob that imports another.
      await tab.setBypassCSP(true);
      await tab.goto(`${server.url}/index.html`);
      await tab
        .waitForFunction(() => document.getElementById('said')?.textContent?.includes('done'), { timeout: 60_000 })
        .catch((error) => errors.push(String(error)));
      assert.equal(errors, []);
      const said = await tab.$eval('#said', ({ textContent }) => textContent ?? '');
      assert.match(said, /tfjs: [\d.]+ ms\nthinfer: [\d.]+ ms\n/);
      assert.match(said, /^SR: dense$/m);
      assert.not.match(said, /left to tfjs/);
    } finally {
      await browser.close();
      await server.close();
    }
  });
}

test.run();
