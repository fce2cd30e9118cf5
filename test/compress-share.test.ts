// Shared weights: known answers, that models run in that form, and that files have it.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cluster, deepCompression, hash, prune, stagesOf } from '../src/compress/index.js';
import { relativeError, valuesOf } from '../src/compress/layers.js';
import { hashCodes } from '../src/formats/hashed.js';
import { type CodebookWeights, codebook } from '../src/formats/index.js';
import { parseModel } from '../src/onnx/import.js';
import { readOnnx } from '../src/onnx/index.js';
import { huffmanBytes } from '../src/onnx/write/huffman.js';
import { writeOnnx } from '../src/onnx/write/index.js';
import { convolutions, layer, layersOf, linears, run, runsAs, throwsWith } from './support/compress-nets.js';
import { createRandom, normals } from './support/random.js';

const test = suite('compression: sharing');

const valuesIn = (...args: Parameters<typeof layer>) => valuesOf(layer(...args).weights);
const images = { dims: [2, 2, 8, 8], data: normals(createRandom(5), 256) };

test('k-means: sixteen clusters are found from every start, and each weight has the mean of its own', async () => {
  const random = createRandom(2);
  const centres = Array.from({ length: 16 }, (_, i) => (i < 8 ? i - 9 : i - 6));
  const weights = Float32Array.from({ length: 640 }, (_, i) => centres[i % 16] + 0.1 * (random.next() - 0.5));
  const means = centres.map((_, k) => weights.filter((_, i) => i % 16 === k).reduce((a, b) => a + b, 0) / 40);
  for (const init of ['best', 'density', 'linear'] as const) {
    const { graph } = await run(linears({ rows: 20, weights }), [cluster({ init })]);
    for (const [i, w] of valuesIn(graph, 'a').entries()) assert.ok(Math.abs(w - means[i % 16]) < 1e-5, `${init} ${i}`);
  }
});

test('k-means: what it ends with does not move, whatever it begins with', async () => {
  const weights = normals(createRandom(8), 4096);
  const errors: Record<string, number> = {};
  for (const init of ['best', 'kmeans++', 'density', 'linear'] as const) {
    const { graph } = await run(linears({ rows: 64, weights }), [cluster({ init, entries: 256 })]);
    const own = layer(graph, 'a').weights as CodebookWeights;
    errors[init] = relativeError(codebook.unpack(own), weights);
    const sums = new Float64Array(256);
    const counts = new Float64Array(256);
    for (const [i, code] of own.codes.entries()) {
      sums[code] += weights[i];
      counts[code]++;
      const nearest = Math.min(...Array.from(own.codebook, (x) => Math.abs(x - weights[i])));
      assert.ok(Math.abs(own.codebook[code] - weights[i]) <= nearest + 1e-6, init);
    }
    for (const [k, x] of own.codebook.entries()) assert.ok(counts[k] === 0 || Math.abs(x - sums[k] / counts[k]) < 1e-6);
  }
  for (const [init, error] of Object.entries(errors)) assert.ok(errors.best <= error * 1.02, `${init} ${error}`);
});

test('k-means: the seed decides what k-means++ begins with', async () => {
  const graph = linears({ rows: 64, weights: normals(createRandom(9), 4096) });
  const of = async (seed: number) => valuesIn((await run(graph, [cluster({ init: 'kmeans++', seed })])).graph, 'a');
  assert.equal(await of(3), await of(3));
  assert.not.equal(await of(3), await of(4));
});

test('a codebook a tensor, a channel and a group: more of them are nearer, and each runs in its form', async () => {
  // Rows of very different size, which one codebook does badly.
  const weights = normals(createRandom(4), 32 * 64).map((x, i) => x * 4 ** ((i >> 6) % 5));
  const rowError = (values: Float32Array) =>
    Math.max(
      ...Array.from({ length: 32 }, (_, r) =>
        relativeError(values.subarray(64 * r, 64 * r + 64), weights.subarray(64 * r, 64 * r + 64)),
      ),
    );
  const worst: Record<string, number> = {};
  for (const per of ['tensor', 'channel', 'group'] as const) {
    const { graph } = await run(linears({ rows: 32, weights }), [cluster({ per })]);
    worst[per] = rowError(valuesIn(graph, 'a'));
    assert.equal(await runsAs(graph, { dims: [3, 64], data: normals(createRandom(1), 192) }), ['codebook']);
  }
  assert.ok(worst.channel < worst.tensor / 4 && worst.group < worst.tensor / 4, JSON.stringify(worst));
});

test('groups are stored as codes of 4 bits', async () => {
  const { graph } = await run(linears({ rows: 64, weights: normals(createRandom(4), 8192) }), [
    cluster({ per: 'group' }),
  ]);
  const bytes = writeOnnx(graph);
  assert.ok(bytes.length < 4096 + 2000, `${bytes.length}`);
  assert.ok(parseModel(bytes).graph!.node.some(({ opType }) => opType === 'Pages'));
  assert.equal(layer(readOnnx(bytes), 'a').weights, layer(graph, 'a').weights);
});

for (const [name, steps, formats] of [
  ['codebooks', [cluster({ entries: 16 })], 'codebook codebook codebook codebook codebook codebook'],
  ['codebooks of 256', [cluster(256)], 'codebook codebook codebook codebook codebook codebook'],
  [
    'pruned and clustered',
    [prune({ sparsity: 0.8, scope: 'layer' }), cluster(16)],
    'csrCodebook csrCodebook csrCodebook csrCodebook csrCodebook csrCodebook',
  ],
  ['hashed', [hash(256)], 'codebook codebook codebook codebook codebook codebook'],
] as const) {
  test(`${name}: a network of convolutions runs in that form, and does so from its file`, async () => {
    // Wide enough for a codebook to take fewer bytes than the weights of every layer.
    const { graph, report } = await run(convolutions({ channels: 64 }), [...steps]);
    assert.ok(report.bytes.after < report.bytes.before);
    const ran = await runsAs(graph, images);
    assert.is(ran.join(' '), formats);
    for (const huffman of [false, true]) {
      const again = readOnnx(writeOnnx(graph, { huffman }));
      assert.equal(await runsAs(again, images), ran);
      for (const { name: own, weights } of layersOf(graph)) {
        if (own !== 'head') assert.equal(layer(again, own).weights, weights, own);
      }
    }
  });
}

test('clustering keeps zeros that a step before has made', async () => {
  const { graph } = await run(convolutions(), [prune(0.6), cluster(16)]);
  const pruned = (await run(convolutions(), [prune(0.6)])).graph;
  for (const { name } of layersOf(graph)) {
    const before = valuesIn(pruned, name);
    assert.ok(
      valuesIn(graph, name).every((x, i) => (x === 0) === (before[i] === 0)),
      name,
    );
  }
});

test('hashed weights: a network that is made of a hash is found again, to the last bit', async () => {
  const codes = hashCodes(24, 32, 256, 5);
  const numbers = normals(createRandom(6), 128);
  const weights = Float32Array.from(codes, (code) => (code < 128 ? numbers[code] : -numbers[code - 128]));
  const { graph } = await run(linears({ rows: 24, weights }), [hash({ seed: 5 })]);
  const got = valuesIn(graph, 'a');
  for (const [i, w] of weights.entries()) assert.ok(Math.abs(got[i] - w) <= 1e-6 * Math.abs(w), `${i}`);
  // Four bytes a number and a seed are all that a file has of the weights.
  assert.ok(writeOnnx(graph).length < 256 * 4 + 700);
  assert.equal(valuesIn(readOnnx(writeOnnx(graph)), 'a'), got);
});

test('hashes are spread evenly', () => {
  for (const entries of [16, 256] as const) {
    const codes = hashCodes(64, 1024, entries, 3);
    const counts = new Float64Array(entries);
    const all = entries === 256 ? [...codes] : [...codes].flatMap((byte) => [byte & 15, byte >> 4]);
    for (const code of all) counts[code]++;
    const mean = all.length / entries;
    // A chi-squared of as many degrees of freedom as entries, within six deviations.
    const chi = counts.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0);
    assert.ok(Math.abs(chi - entries) < 6 * Math.sqrt(2 * entries), `${entries}: ${chi}`);
  }
});

test('Deep Compression: each stage takes fewer bytes, and the file has what the last one says', async () => {
  const graph = linears(
    { rows: 128, weights: normals(createRandom(1), 128 * 96) },
    { rows: 64, weights: normals(createRandom(2), 64 * 128) },
  );
  const { graph: small, report } = await run(graph, [deepCompression({ sparsity: 0.9 })]);
  const stages = stagesOf(report.layers);
  assert.is(stages.dense, 4 * (128 * 96 + 64 * 128));
  assert.ok(stages.pruned < 0.2 * stages.dense, JSON.stringify(stages));
  assert.ok(stages.shared < 0.5 * stages.pruned, JSON.stringify(stages));
  assert.ok(stages.coded < 0.8 * stages.shared, JSON.stringify(stages));
  const bytes = writeOnnx(small, { huffman: true });
  const rest = bytes.length - stages.coded;
  assert.ok(rest > 0 && rest < 2500, `${rest} bytes of names and shapes`);
  assert.equal(await runsAs(readOnnx(bytes), { dims: [2, 96], data: normals(createRandom(3), 192) }), [
    'csrCodebook',
    'csrCodebook',
  ]);
  for (const { weights } of layersOf(small)) assert.ok(huffmanBytes(weights) > 0);
});

test('bad options and layers that can not take a form are refused', async () => {
  await throwsWith('bad-argument', /cluster\.entries.*32/, () => [cluster({ entries: 32 as 16 })]);
  await throwsWith('bad-argument', /cluster\.init/, () => [cluster({ init: 'forgy' as 'best' })]);
  await throwsWith('bad-argument', /cluster\.groups/, () => [cluster({ per: 'group', groups: 17 })]);
  await throwsWith('bad-argument', /hash\.seed/, () => [hash({ seed: -1 })]);
  await throwsWith('bad-argument', /layer "branch1".*not pruned/, () => [prune(0.8), hash({ only: ['branch1'] })]);
  await throwsWith('bad-argument', /"nobody"/, () => [cluster({ only: ['nobody'] })]);
});

test.run();
