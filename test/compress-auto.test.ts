// The automatic choice of a form for each layer.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { frontOf, type Option } from '../src/compress/auto/choose.js';
import { auto, CANDIDATES, type FrontPoint, type Measured, mixed } from '../src/compress/index.js';
import { ThinferError } from '../src/errors.js';
import { Model } from '../src/graph/model.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { toHtml, toTable } from '../src/report/index.js';
import { convolutions, imageBatches, layer, layersOf, linears, run, runsAs, runtime } from './support/compress-nets.js';
import { readFashion, readFixture } from './support/fixtures.js';
import { createRandom, normals } from './support/random.js';

const test = suite('compression: auto');

const total = (layers: readonly (readonly Option[])[], choice: readonly number[], what: keyof Option) =>
  layers.reduce((sum, options, i) => sum + options[choice[i]][what], 0);

test('the front: no choice at all beats one of its ends, none of its points another', () =>
  fc.assert(
    fc.property(
      fc.array(
        fc.array(fc.record({ cost: fc.integer({ min: -9, max: 0 }), loss: fc.integer({ min: 1, max: 99 }) }), {
          minLength: 1,
          maxLength: 3,
        }),
        { minLength: 1, maxLength: 4 },
      ),
      (options) => {
        const layers = options.map((some) => [{ cost: 0, loss: 0 }, ...some]);
        const front = frontOf(layers);
        const costs = front.map((choice) => total(layers, choice, 'cost'));
        const losses = front.map((choice) => total(layers, choice, 'loss'));
        for (let i = 1; i < front.length; i++) {
          assert.ok(costs[i] < costs[i - 1]);
          assert.ok(losses[i] > losses[i - 1]);
        }
        // Every choice there is: as cheap ones lose as much, on the hull.
        const all = layers.reduce<number[][]>(
          (found, each) => found.flatMap((c) => each.map((_, k) => [...c, k])),
          [[]],
        );
        assert.is(costs.at(-1), Math.min(...all.map((choice) => total(layers, choice, 'cost'))));
        for (const choice of all) {
          const [cost, loss] = [total(layers, choice, 'cost'), total(layers, choice, 'loss')];
          // Strictly below the line between two neighbours there is none.
          for (let i = 1; i < front.length; i++) {
            if (cost > costs[i - 1] || cost < costs[i]) continue;
            const line = losses[i] + ((losses[i - 1] - losses[i]) * (cost - costs[i])) / (costs[i - 1] - costs[i]);
            assert.ok(loss >= line - 1e-9, `${cost}, ${loss}: below ${line}`);
          }
        }
      },
    ),
    { numRuns: 50 },
  ));

interface Evidence {
  auto: { device: string; target: string; front: FrontPoint[] };
}

test('speed: candidates are measured, the chosen model is on the front and within the drop', async () => {
  const candidates = CANDIDATES.filter(({ name }) => ['int8', '70 % pruned', 'ternary'].includes(name));
  const source = convolutions({ channels: 16 });
  const calibration = imageBatches(4, 8);
  const step = auto({ maxDrop: 0.2, candidates, evaluations: 4 });
  const { graph, report } = await run(source, [step], { calibration });
  const { front, target } = (report.evidence as unknown as Evidence).auto;
  assert.is(target, 'speed');
  const [chosen, ...others] = front.filter((point) => point.chosen);
  assert.is(others.length, 0);
  assert.ok(chosen.drop <= 0.2);
  for (const point of front) {
    assert.ok(point.ms! > 0 && point.bytes > 0);
    assert.ok(point.ms! >= chosen.ms! || point.drop > 0.2);
    const beaten = front.some((other) => other.ms! < point.ms! && other.drop <= point.drop);
    assert.is(point.best, !beaten);
    if (!point.refined) continue;
    const rough = front.find(
      (other) => !other.refined && other.static === point.static && `${other.choice}` === `${point.choice}`,
    );
    assert.ok(point.chosen && point.error < rough!.error && point.filters === rough!.filters);
  }
  for (const { layer: name, evidence } of report.layers) {
    const measured = evidence!.candidates as Measured[];
    assert.equal(
      measured.map(({ candidate }) => candidate),
      candidates.map(({ name: each }) => each),
    );
    for (const { loss, bytes, ms, reason } of measured) {
      assert.ok(reason !== undefined || (loss >= 0 && Number.isFinite(bytes) && Number.isFinite(ms)), name);
    }
  }
  // The report of it: every whole model is a point, and bold what was chosen.
  const page = toHtml(report, 'auto');
  assert.is(page.match(/<circle/g)!.length, front.length);
  assert.is(page.match(/r="7"/g)!.length, 1);
  assert.match(page, 'Candidates of stem');
  assert.match(toTable(report), 'Whole models');
  await runsAs(graph, { dims: [1, 2, 8, 8], data: normals(createRandom(3), 128) });
});

test('size: a layer that does not matter gets the fewest bits, one that matters stays', async () => {
  // What a's last row makes is multiplied by next to nothing... and b is all there is to see.
  const random = createRandom(5);
  const first = normals(random, 32 * 32);
  const second = normals(random, 32 * 32).map((w) => 1e-5 * w);
  const skip = normals(random, 32 * 32);
  const source = linears(
    { rows: 32, weights: first, bias: normals(random, 32) },
    { rows: 32, weights: second, bias: skip.subarray(0, 32) },
  );
  const calibration = { batches: [0, 1].map(() => ({ x: normals(random, 32 * 40) })) };
  const { graph, report } = await run(source, [auto({ target: 'size', maxDrop: 0.01 })], { calibration });
  assert.is(report.outputs!.agreement, 1);
  assert.ok(report.bytes.after < 0.15 * report.bytes.before, JSON.stringify(report.bytes));
  assert.not.equal(
    layersOf(graph).map(({ weights }) => weights.format),
    ['dense', 'dense'],
  );
});

test('mixed widths: within the bytes asked for, fewer bits where they hurt least', async () => {
  const source = convolutions({ channels: 16 });
  const calibration = imageBatches(2, 6);
  const errors: number[] = [];
  for (const budget of [0.3, 0.2, 0.14]) {
    const { graph, report } = await run(source, [mixed(budget)], { calibration });
    assert.ok(report.bytes.after <= budget * report.bytes.before, `${report.bytes.after}`);
    errors.push(report.outputs!.error);
    const formats = layersOf(graph).map(({ weights }) => weights.format);
    if (budget === 0.2) assert.ok(new Set(formats).size > 1, formats.join());
  }
  assert.ok(errors[0] <= errors[2], errors.join());
  const error = await run(source, [mixed(0.01)], { calibration }).catch((reason) => reason);
  assert.instance(error, ThinferError);
  assert.match(error.message, /auto\.budget: expected at least 0\.\d+, the least/);
});

test('a shipped model: with labels, what is chosen is right nearly as often, in a fraction of the bytes', async () => {
  const source = optimize(readOnnx(await readFixture('models/fashion_student.onnx')));
  const { images, labels } = await readFashion(96);
  const batches = [0, 1, 2, 3].map((i) => ({ image: images.slice(784 * 24 * i, 784 * 24 * (i + 1)) }));
  const calibration = { batches, labels: [0, 1, 2, 3].map((i) => labels.slice(24 * i, 24 * (i + 1))) };
  const candidates = CANDIDATES.filter(({ name }) => ['int8', 'int4'].includes(name));
  const { graph, report } = await run(source, [auto({ target: 'size', candidates, maxDrop: 0.05, evaluations: 3 })], {
    calibration,
  });
  const { accuracy } = report.outputs!;
  assert.ok(accuracy!.before - accuracy!.after <= 0.05);
  assert.ok(report.bytes.after < 0.3 * report.bytes.before);
  assert.is(layer(graph, '/c/c.1/Gemm').weights.format, 'int4');
  const model = await Model.create(runtime, graph);
  const { logits } = await model.run({ image: images.subarray(0, 784) });
  assert.is(logits.data.length, 10);
  model.free();
});

test('bad options', () => {
  assert.throws(() => auto({ maxDrop: 1 }), /auto\.maxDrop: expected a share/);
  assert.throws(() => auto({ target: 'beauty' as never }), /auto\.target/);
  assert.throws(() => auto({ evaluations: 0 }), /auto\.evaluations/);
});

test.run();
