// tfjs-core's own tests of its operators, on our kernels: every second operand is taken for weights.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type BackendName, useBackend } from './support/tfjs.js';
import type { OpsResult } from './support/tfjs-ops.js';

const test = suite("tfjs-core's own tests");

/** WebGPU on SwiftShader compiles for minutes: with --all only. */
const backends: BackendName[] = process.env.TEST_ALL ? ['cpu', 'wasm', 'webgpu'] : ['cpu', 'wasm'];

/** Lines of a summary, the most frequent first. */
function counted(reasons: Iterable<string>): string[] {
  const counts = new Map<string, number>();
  for (const why of reasons) counts.set(why, (counts.get(why) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([why, count]) => `${count} x ${why}`);
}

function summary(backend: string, { plain, ours, reached, products, left }: OpsResult): string {
  const failing = [...plain.values()].flatMap((why) => (why === undefined ? [] : [why.split('\n')[0]]));
  const calls = [...left].flatMap(([why, count]) => Array.from({ length: count }, () => why));
  return [
    `  ${backend}: ${ours.size} specs, ${reached.size} of them with ${products} products on our kernels`,
    ...(failing.length > 0 ? [`    specs that tfjs's ${backend} fails by itself:`] : []),
    ...counted(failing).map((line) => `      ${line}`),
    '    calls left to tfjs:',
    ...counted(calls).map((line) => `      ${line}`),
  ].join('\n');
}

// The compiled tests are modules that Node does not take for ones.
if (typeof document === 'object') {
  let results: Map<BackendName, OpsResult>;
  test.before(async () => {
    for (const backend of backends) assert.is(await useBackend(backend), undefined);
    // jasmine, which takes itself to be in Node when it is bundled, looks for timers there.
    Object.assign(globalThis, { global: globalThis });
    const { runOperatorTests } = await import('./support/tfjs-ops.js');
    results = await runOperatorTests(backends);
  });
  test.after(() => {
    delete (globalThis as { global?: unknown }).global;
  });
  for (const backend of backends) {
    test(backend, () => {
      const result = results.get(backend)!;
      console.log(`\n${summary(backend, result)}`);
      assert.ok(result.ours.size > 200, `${result.ours.size} specs`);
      assert.is(result.plain.size, result.ours.size);
      assert.ok(result.reached.size > 100, `${result.reached.size} specs reached our kernels`);
      const broken = [...result.ours].filter(
        ([name, why]) => why !== undefined && result.plain.get(name) === undefined,
      );
      assert.equal(broken, []);
    });
  }
}

test.run();
