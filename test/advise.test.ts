// Reports and advice: what they say, and that they leave nothing behind.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { advise, COMPRESSIONS } from '../src/advise/index.js';
import { createRuntime, csr, ThinferError } from '../src/index.js';
import { loadOnnx } from '../src/onnx/index.js';
import { toHtml, toTable } from '../src/report/index.js';
import { readFashion, readFixture } from './support/fixtures.js';
import { createRandom, sparseMatrix } from './support/random.js';

const test = suite('reports and advice');

const runtime = await createRuntime({ backends: ['wasm'], cache: false, tune: 'off', wasm: { threads: 1 } });
const [backend] = runtime.backends;
const { images } = await readFashion(1);

async function student() {
  const model = await loadOnnx(runtime, await readFixture('models/fashion_student.onnx'));
  await model.run({ image: images });
  return model;
}

test('advice: every compression of every layer is timed, or says why not; only patterns matter', async () => {
  const model = await student();
  const seen: number[] = [];
  const only = ['prune 90 %', 'prune 2:4', 'int8', 'codebook of 16', 'binary weights and activations', 'rank 1/4'];
  const advice = await advise(runtime, model, { only, onProgress: (done) => seen.push(done) });
  // Scratch that kernels share stays as large as the largest needed it, while the model has kernels.
  const { bytes } = backend.memory;
  await advise(runtime, model, { only });
  assert.is(backend.memory.bytes, bytes);
  const layers = model.explain().filter(({ problem }) => problem);
  assert.equal(advice.flatMap(({ layer }) => layer.split(', ')).sort(), layers.map(({ name }) => name).sort());
  for (const { options, now, layer } of advice) {
    assert.ok(now.ms > 0, layer);
    assert.equal(options.map(({ compression }) => compression).sort(), [...only].sort());
    for (const { ms, speedUp, bytes, variant, compression, reason } of options) {
      assert.ok(reason !== undefined || (ms! > 0 && speedUp! > 0 && bytes! > 0 && variant), `${layer}: ${compression}`);
    }
    const speedUps = options.map(({ speedUp = 0 }) => speedUp);
    assert.equal(
      speedUps,
      [...speedUps].sort((a, b) => b - a),
    );
  }
  assert.equal(
    seen,
    [...seen].sort((a, b) => a - b),
  );
  assert.is(seen.at(-1), 1);
  model.free();
});

test('advice: wrong names, a model without a plan, and a signal', async () => {
  const model = await student();
  const wrong = await advise(runtime, model, { only: ['magic'] }).catch((error) => error);
  assert.instance(wrong, ThinferError);
  assert.match(wrong.message, new RegExp(`one of|names out of ${COMPRESSIONS[0].name}`));
  const before = backend.memory.bytes;
  const controller = new AbortController();
  const aborted = await advise(runtime, model, {
    signal: controller.signal,
    onProgress: (done) => done > 0 && controller.abort(new Error('enough')),
  }).catch((error) => error);
  assert.is(aborted.message, 'enough');
  assert.is(backend.memory.bytes, before);
  model.free();
});

test('a report adds up, before and after tuning', async () => {
  const model = await student();
  for (const share of [0, 1]) {
    const { nodes, totals, placements, transfers } = model.report()!;
    const sum = nodes.reduce((ms, node) => ms + (node.measuredMs ?? node.predictedMs), 0);
    assert.ok(Math.abs(totals.kernelMs - sum) < 1e-9);
    assert.is(totals.weightBytes, model.memory.weightBytes);
    assert.is(placements.filter(({ chosen }) => chosen).length, 1);
    assert.equal(transfers, [], 'WASM works in the memory of the host');
    if (share === 0) assert.is(totals.measuredShare, 0);
    else assert.ok(totals.measuredShare > 0.5 && totals.measuredShare <= 1);
    await model.tune({ effort: 'full' });
  }
  model.free();
});

test('tables and pages show every row; names from files are text, not markup', async () => {
  const model = await student();
  const report = model.report()!;
  report.nodes[0].name = '<img src=x onerror=alert(1)>';
  const html = toHtml(report, '<b>title</b>');
  assert.not.match(html, '<img');
  assert.not.match(html, '<b>');
  assert.match(html, '&lt;img src=x');
  assert.match(html, '<title>&lt;b&gt;title&lt;/b&gt;</title>');
  const table = toTable(report);
  for (const { variant } of report.nodes) assert.ok(table.includes(variant) && html.includes(variant), variant);
  assert.ok(toTable(report, { candidates: true }).length > table.length);
  report.nodes[0].name = `${'a;'.repeat(200)}end`;
  assert.match(toTable(report), /a;a;…[a;]+end/);
  const layer = await runtime.linear(csr.pack(sparseMatrix(createRandom(1), 8, 64, 0.3), { rows: 8, cols: 64 }));
  assert.match(toTable(layer.explain()), 'chosen: lowest predicted time');
  layer.free();
  model.free();
});

test.after(() => runtime.free());
test.run();
