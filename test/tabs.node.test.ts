// Two tabs of one browser that time kernels at the same time, and one that comes after them.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launch } from '../scripts/launch.js';
import { page, serve } from '../scripts/serve.js';
import { requireCapability } from './support/capability.js';

const test = suite('tabs');
const chrome = process.env.CHROME_PATH;

/** Runs in a tab: times the kernels of a few layers, the first at 16 rows more than the argument, and tells the choices. */
const TAB = `
import { createRuntime, dense } from '/dist/index.js';
window.choices = async (first, count) => {
  const rt = await createRuntime({ backends: ['wasm'], wasm: { threads: 1 }, tuneMs: 2000 });
  for (let i = 0; i < count; i++) {
    const rows = 16 * (first + i);
    const layer = await rt.linear(dense.pack(new Float32Array(rows * 32).fill(0.5), { rows, cols: 32 }));
    (await layer.run(new Float32Array(32))).free();
    await layer.tune([1, 32], { effort: 'quick' });
    layer.free();
  }
  await rt.tuned();
  const choices = rt.exportChoices();
  rt.free();
  return Object.values(choices.devices).flatMap((device) => Object.keys(device.choices ?? {}));
};`;

if (requireCapability('a browser', chrome !== undefined && existsSync(chrome), 'CHROME_PATH names none')) {
  test('two at once lose nothing of each other, and a third knows all', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'thinfer-tabs-'));
    writeFileSync(join(folder, 'tab.js'), TAB);
    const routes = { '/': page('/page/tab.js'), '/favicon.ico': '' };
    const server = await serve({ '/page/': folder, '/dist/': 'dist' }, routes);
    const browser = await launch(chrome!);
    try {
      const open = async () => {
        const tab = await browser.newPage();
        await tab.goto(server.url);
        await tab.waitForFunction('window.choices !== undefined');
        return tab;
      };
      const tabs = [await open(), await open()];
      const found = await Promise.all(tabs.map((tab, i) => tab.evaluate(`choices(${1 + 10 * i}, 6)`)));
      const [one, other] = found as string[][];
      assert.ok(one.length >= 6 && other.length >= 6);
      const third = (await (await open()).evaluate('choices(1, 1)')) as string[];
      const missing = [...one, ...other].filter((key) => !third.includes(key));
      assert.equal(missing, []);
    } finally {
      await browser.close();
      await server.close();
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
