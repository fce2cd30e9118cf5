// Structured pruning: filters with all that depends on them, and whole layers.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { obs, pruneFilters, quantize, removeLayers } from '../src/compress/index.js';
import { channelClasses } from '../src/compress/pruning/channels.js';
import { ThinferError } from '../src/errors.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import {
  answers,
  convolutions,
  type Dead,
  imageBatches,
  layer,
  linears,
  run,
  runsAs,
} from './support/compress-nets.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';

const test = suite('compression: filters and layers');

const images = { dims: [2, 2, 8, 8], data: normals(createRandom(9), 256) };

function near(actual: Float32Array, expected: Float32Array, tolerance = 1e-4): void {
  assert.is(actual.length, expected.length);
  const size = Math.max(...expected.map(Math.abs));
  for (const [i, y] of expected.entries())
    assert.ok(Math.abs(actual[i] - y) <= tolerance * size, `${i}: ${actual[i]}, not ${y}`);
}

test('channels that are added go together, depthwise ones with what they read, concatenated ones do not', () => {
  const graph = convolutions();
  const classes = channelClasses(graph);
  const of = (name: string) => classes.of(layer(graph, name).output)!;
  assert.equal(of('stem'), of('branch2'));
  assert.equal(of('stem'), of('depth'));
  assert.not.equal(of('stem')[0], of('branch1')[0]);
  assert.not.equal(of('stem')[0], of('side')[0]);
  assert.is(new Set(of('stem')).size, 8);
  const head = classes.of(layer(graph, 'head').inputs[0])!;
  assert.is(head.length, 64);
  // Pixels of [2, 2, both]: the channels of the depthwise convolution, then those of `side`.
  assert.equal(head.slice(16, 24), of('stem'));
  assert.equal(head.slice(24, 32), of('side'));
  assert.ok(of('head').every((channel) => classes.fixed(channel)));
  assert.ok(classes.of(graph.inputs[0].value)!.every((channel) => classes.fixed(channel)));
});

test('filters that are 0 go, and nothing changes but shapes', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(7), { maxLength: 4 }),
      fc.array(fc.nat(7), { maxLength: 4 }),
      async (sums, inner) => {
        // The stem's channels are the branch's and the depthwise convolution's.
        const dead: Dead = { stem: sums, branch2: sums, depth: sums, branch1: inner, side: inner };
        const source = convolutions({ dead });
        const before = answers(source, images);
        const [lost, lostInside] = [new Set(sums).size, new Set(inner).size];
        for (const [only, share, expected] of [
          [['stem', 'branch2', 'depth'], lost / 8, { stem: [8 - lost, 18], branch1: [8, 9 * (8 - lost)] }],
          [['branch1', 'side'], lostInside / 8, { branch1: [8 - lostInside, 72], branch2: [8, 9 * (8 - lostInside)] }],
        ] as const) {
          const { graph } = await run(source, [pruneFilters({ share, only })]);
          for (const [name, [rows, cols]] of Object.entries(expected)) {
            const { weights } = layer(graph, name);
            assert.equal([weights.rows, weights.cols], [rows, cols], name);
          }
          near(answers(graph, images), before);
        }
      },
    ),
    { numRuns: 15 },
  ));

test('a network without half of its filters runs, and reads and writes what it did', async () => {
  const source = convolutions({ channels: 16 });
  for (const [scope, importance] of [
    ['layer', 'l1'],
    ['layer', 'l2'],
    ['global', 'l1'],
    ['global', 'flops'],
  ] as const) {
    const { graph, report } = await run(source, [pruneFilters({ share: 0.5, scope, importance })]);
    assert.ok(report.bytes.after < 0.75 * report.bytes.before, `${scope} ${importance}`);
    assert.ok((await runsAs(graph, images)).every((format) => format === 'dense'));
    assert.is(layer(graph, 'head').weights.rows, 5);
  }
  const { graph } = await run(source, [pruneFilters(0.5)]);
  assert.equal([layer(graph, 'depth').weights.rows, layer(graph, 'stem').weights.rows], [8, 8]);
  const node = layer(graph, 'depth');
  assert.is(node.op === 'conv2d' && node.groups, 8);
});

test('FLOPs: of two layers with equal filters, those of the larger image go', async () => {
  const random = createRandom(1);
  const writer = new OnnxWriter().input('x', ['N', 1, 16, 16]);
  for (const [name, cols] of [
    ['early', 1],
    ['late', 8],
    ['end', 8],
  ] as const) {
    writer.floats(name, [8, cols, 3, 3], normals(random, 72 * cols));
  }
  writer
    .node('Conv', ['x', 'early'], ['a'], { pads: [1, 1, 1, 1] }, 'early')
    .node('MaxPool', ['a'], ['b'], { kernel_shape: [8, 8], strides: [8, 8] })
    .node('Conv', ['b', 'late'], ['c'], { pads: [1, 1, 1, 1] }, 'late')
    .node('Conv', ['c', 'end'], ['y'], { pads: [1, 1, 1, 1] }, 'end')
    .output('y');
  const source = optimize(readOnnx(writer.bytes()));
  const { graph } = await run(source, [pruneFilters({ share: 0.25, scope: 'global', importance: 'flops' })]);
  assert.is(layer(graph, 'early').weights.rows, 4);
  assert.is(layer(graph, 'late').weights.rows, 8);
});

test('reconstruction: what is left makes up for channels that others tell', async () => {
  // Row 3 of a is the sum of rows 0 and 1, all positive on positive inputs: b can do without it.
  const random = createRandom(6);
  const a = normals(random, 32).map(Math.abs);
  for (let c = 0; c < 8; c++) a[24 + c] = (a[c] + a[8 + c]) / 8;
  const source = linears(
    { rows: 4, weights: a, bias: [0.5, 0, 0, 0] },
    { rows: 3, weights: normals(random, 12), bias: [1, 2, 3] },
  );
  const calibration = { batches: [{ x: normals(random, 320).map(Math.abs) }] };
  const step = (reconstruct: boolean) => pruneFilters({ share: 0.25, reconstruct });
  const better = await run(source, [step(true)], { calibration });
  const plain = await run(source, [step(false)], { calibration });
  assert.is(layer(better.graph, 'a').weights.rows, 3);
  assert.ok(better.report.outputs!.error < 0.01, String(better.report.outputs!.error));
  assert.ok(better.report.outputs!.error < plain.report.outputs!.error / 5);
});

test('loss: of channels that say the same one goes, not both; what nothing reads goes first', async () => {
  // Rows 0 and 1 of a are the same; b hardly reads row 2.
  const random = createRandom(16);
  const a = normals(random, 48).map(Math.abs);
  a.copyWithin(8, 0, 8);
  const b = normals(random, 18);
  for (let r = 0; r < 3; r++) b[6 * r + 2] *= 1e-6;
  const source = linears({ rows: 6, weights: a }, { rows: 3, weights: b });
  const calibration = { batches: [{ x: normals(random, 800).map(Math.abs) }] };
  const { graph, report } = await run(source, [pruneFilters({ share: 0.34 })], { calibration });
  assert.is(layer(graph, 'a').weights.rows, 4);
  assert.ok(report.outputs!.error < 1e-2, String(report.outputs!.error));
  const worse = await run(source, [pruneFilters({ share: 0.34, importance: 'l1' })], { calibration });
  assert.ok(report.outputs!.error < worse.report.outputs!.error);
});

test('filters, then OBS, then codes: the chain runs', async () => {
  const steps = [pruneFilters(0.25), obs(0.8), quantize({ format: 'int8', activations: 'static' })];
  const { graph, report } = await run(convolutions({ channels: 16 }), steps, { calibration: imageBatches(2, 4) });
  assert.ok((await runsAs(graph, images)).includes('csrInt8'));
  assert.is(report.layers.find(({ layer: name }) => name === 'branch1')!.did.length, 4);
});

test('layers: one that does nothing goes first, a branch goes as a whole', async () => {
  const identity = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const random = createRandom(2);
  const three = { rows: 3, weights: normals(random, 9) };
  const source = linears(three, { rows: 3, weights: identity }, three, { rows: 2, weights: normals(random, 6) });
  const calibration = { batches: [{ x: normals(random, 60) }] };
  const { graph, report } = await run(source, [removeLayers({ count: 1 })], { calibration });
  assert.equal(
    graph.nodes.map(({ name }) => name),
    ['a', 'c', 'd'],
  );
  assert.ok(report.outputs!.error < 1e-6);
  assert.equal(report.layers[1].into, []);
  assert.is(report.layers[1].bytes.after, 0);
  const none = await run(source, [removeLayers({ count: 2, maxLoss: 1e-5 })], { calibration });
  assert.is(none.graph.nodes.length, 3);

  const dead: Dead = { branch2: [0, 1, 2, 3, 4, 5, 6, 7] };
  const residual = convolutions({ dead });
  const options = { count: 1, only: ['branch2', 'side'] };
  const without = await run(residual, [removeLayers(options)], { calibration: imageBatches() });
  assert.not.ok(without.graph.nodes.some(({ name }) => name.startsWith('branch') || name === 'sum'));
  near(answers(without.graph, images), answers(residual, images));
  assert.equal(await runsAs(without.graph, images), ['dense', 'dense', 'dense', 'dense']);
});

test("what can't be done is said", async () => {
  const calibration = imageBatches();
  for (const [steps, message] of [
    [[pruneFilters({ share: 0.5, only: ['head'] })], /layer "head": expected a layer whose channels may go/],
    [[removeLayers({ count: 1, only: ['stem'] })], /removeLayers: expected layers whose output has the shape/],
  ] as const) {
    const error = await run(convolutions(), [...steps], { calibration }).catch((reason) => reason);
    assert.instance(error, ThinferError);
    assert.match(error.message, message);
  }
  assert.throws(() => pruneFilters(1), /pruneFilters\.share/);
  assert.throws(() => removeLayers({ count: 0 }), /removeLayers\.count/);
});

test.run();
