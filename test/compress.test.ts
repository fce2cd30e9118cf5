// The frame of compression and pruning: known answers, and that pruned models run in the form they have.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Calibration,
  obd,
  obs,
  type PruneOptions,
  prune,
  pruneByLayer,
  quantize,
  type Step,
} from '../src/compress/index.js';
import { valuesOf } from '../src/compress/layers.js';
import { inverseFactor } from '../src/compress/products.js';
import { importanceOf } from '../src/compress/pruning/importance.js';
import { ThinferError } from '../src/errors.js';
import { convolutions, imageBatches, layer, layersOf, linears, run, runsAs } from './support/compress-nets.js';
import { createRandom, normals } from './support/random.js';

const test = suite('compression: frame and pruning');

const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, eps = 1e-5) => {
  assert.is(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Math.abs(actual[i] - expected[i]) <= eps, `${i}: ${actual[i]}, not ${expected[i]}`);
  }
};

const weightsOf = (...args: Parameters<typeof layer>) => Array.from(valuesOf(layer(...args).weights));

/** Inputs of a layer of `cols` columns. */
const rows = (cols: number, count: number, seed = 3): Calibration => ({
  batches: [{ x: normals(createRandom(seed), cols * count) }],
});

const two = () => linears({ rows: 2, weights: [1, -5, 2, 8] }, { rows: 2, weights: [0.5, -6, 3, 0.25] });

test('magnitude: one threshold for all layers, or one a layer', async () => {
  const all = (await run(two(), [prune(0.5)])).graph;
  assert.equal([...weightsOf(all, 'a'), ...weightsOf(all, 'b')], [0, -5, 0, 8, 0, -6, 3, 0]);
  const each = (await run(two(), [prune({ sparsity: 0.25, scope: 'layer' })])).graph;
  assert.equal([...weightsOf(each, 'a'), ...weightsOf(each, 'b')], [0, -5, 2, 8, 0.5, -6, 3, 0]);
  const one = (await run(two(), [prune({ sparsity: 0.75, only: ['b'] })])).graph;
  assert.equal([...weightsOf(one, 'a'), ...weightsOf(one, 'b')], [1, -5, 2, 8, 0, -6, 0, 0]);
});

test('magnitude: exactly the share asked for, also where many weights are equal', () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 1, max: 3 }), async (count, values) => {
      const weights = Array.from({ length: 16 }, (_, i) => 1 + (i % values));
      const { graph } = await run(linears({ rows: 4, weights }), [prune(count / 16)]);
      assert.is(weightsOf(graph, 'a').filter((x) => x === 0).length, count);
    }),
    { numRuns: 20 },
  ));

test('importance of blocks: l0 counts large weights, l1 adds sizes, l2 squares', () => {
  // Three blocks of 1 x 4: many middling weights, one huge one, all small.
  const values = [2, 2, 2, 2, 7, 0, 0, 0, 1, 1, 1, 1];
  const order = (importance: 'l0' | 'l1' | 'l2') => {
    const scores = importanceOf(values, { rows: 1, cols: 12 }, [1, 4], importance);
    return [...scores.keys()].sort((a, b) => scores[a] - scores[b]);
  };
  assert.equal(order('l0'), [2, 1, 0]);
  assert.equal(order('l1'), [2, 1, 0]);
  assert.equal(order('l2'), [2, 0, 1]);
});

test('blocks and 2:4: patterns hold, and the formats are those of the patterns', async () => {
  const cases: [PruneOptions, string, (w: number[], cols: number) => boolean][] = [
    [
      { pattern: '2:4' },
      'nm',
      (w) => w.every((_, i) => i % 4 !== 0 || w.slice(i, i + 4).filter((x) => x !== 0).length === 2),
    ],
    [{ pattern: '1x4', sparsity: 0.75 }, 'bcsr', (w) => w.every((x, i) => (x === 0) === (w[i - (i % 4)] === 0))],
    [
      { pattern: '4x1', sparsity: 0.75 },
      'bcsr',
      (w, cols) => w.every((x, i) => (x === 0) === (w[Math.floor(i / cols / 4) * 4 * cols + (i % cols)] === 0)),
    ],
    [
      { pattern: '2x1', sparsity: 0.75 },
      'bcsr',
      (w, cols) => w.every((x, i) => (x === 0) === (w[Math.floor(i / cols / 2) * 2 * cols + (i % cols)] === 0)),
    ],
  ];
  const weights = normals(createRandom(5), 16 * 64);
  for (const [options, format, holds] of cases) {
    const { graph } = await run(linears({ rows: 16, weights }), [prune(options)]);
    const w = weightsOf(graph, 'a');
    assert.is(layer(graph, 'a').weights.format, format);
    assert.ok(holds(w, 64), options.pattern);
    const zeros = w.filter((x) => x === 0).length / w.length;
    assert.is(zeros, options.sparsity ?? 0.5, options.pattern);
    assert.equal(await runsAs(graph, { dims: [3, 64], data: normals(createRandom(1), 192) }), [format]);
  }
});

test('a pruned convolutional network runs sparse, and a quantised one on top keeps its zeros', async () => {
  const source = convolutions({ channels: 16 });
  const x = { dims: [2, 2, 8, 8], data: imageBatches(1, 2).batches[0].x as Float32Array };
  const only = layersOf(source)
    .filter(({ weights }) => weights.cols >= 16 && weights.rows >= 8)
    .map(({ name }) => name);
  const pruned = prune({ sparsity: 0.9, scope: 'layer', only });
  const { graph, report } = await run(source, [pruned]);
  for (const name of only) assert.is(layer(graph, name).weights.format, 'csr', name);
  assert.ok((await runsAs(graph, x)).includes('csr'));
  assert.ok(report.bytes.after < report.bytes.before / 2);
  const both = await run(source, [pruned, quantize('int8')]);
  for (const name of only) {
    assert.is(layer(both.graph, name).weights.format, 'csrInt8', name);
    const [before, rounded] = [graph, both.graph].map((each) => weightsOf(each, name));
    assert.ok(before.every((value, i) => value !== 0 || rounded[i] === 0));
  }
  assert.ok((await runsAs(both.graph, x)).includes('csrInt8'));
  assert.equal(both.report.layers.find(({ layer: name }) => name === only[0])!.did.length, 2);
});

test('OBD: saliency is the weight squared times the mean square of what it is multiplied by', async () => {
  // Column 1 is ten times as large: its small weight matters more than the large one of column 0.
  const calibration: Calibration = { batches: [{ x: Float32Array.of(1, 10, -1, 10) }] };
  const { graph } = await run(linears({ rows: 1, weights: [3, 1] }), [obd(0.5)], { calibration });
  assert.equal(weightsOf(graph, 'a'), [0, 1]);
  assert.equal(weightsOf((await run(linears({ rows: 1, weights: [3, 1] }), [prune(0.5)])).graph, 'a'), [3, 0]);
});

test('inverseFactor: U is upper triangular, and U^T U inverts the damped matrix', () =>
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.integer(), (n, seed) => {
      const x = normals(createRandom(seed), 2 * n * n);
      const gram = new Float64Array(n * n);
      for (let r = 0; r < 2 * n; r++) {
        for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) gram[i * n + j] += x[r * n + i] * x[r * n + j];
      }
      const damping = 0.01;
      const U = inverseFactor(gram, n, damping, 'test');
      let trace = 0;
      for (let i = 0; i < n; i++) trace += gram[i * n + i];
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          if (j < i) assert.is(U[i * n + j], 0);
          let product = 0;
          for (let k = 0; k < n; k++) {
            let inverse = 0;
            for (let m = 0; m < n; m++) inverse += U[m * n + i] * U[m * n + k];
            product += inverse * (gram[k * n + j] + (k === j ? (damping * trace) / n : 0));
          }
          assert.ok(Math.abs(product - Number(i === j)) < 1e-6, `${i}, ${j}: ${product}`);
        }
      }
    }),
    { numRuns: 30 },
  ));

test('OBS: the weight that stays is the least squares answer', async () => {
  // Inputs x1 = x0 / 2 + noise: H = [[1, 1/2], [1/2, 1/2]] over four samples.
  const calibration: Calibration = { batches: [{ x: Float32Array.of(1, 1, 1, 0, -1, -1, -1, 0) }] };
  const steps = [obs({ sparsity: 0.5, damping: 1e-9, scope: 'layer' })];
  const { graph } = await run(linears({ rows: 1, weights: [1, 4] }), steps, { calibration });
  // w1 + w0 H01 / H11 = 4 + 1.
  close(weightsOf(graph, 'a'), [0, 5]);
});

test('OBS: outputs lose less than by magnitude, in every pattern', async () => {
  const random = createRandom(11);
  const [cols, outputs, samples] = [32, 16, 200];
  // Inputs that depend on each other.
  const mix = normals(random, cols * cols);
  const x = new Float32Array(samples * cols);
  for (let s = 0; s < samples; s++) {
    const z = normals(random, 6);
    for (let c = 0; c < cols; c++)
      x[s * cols + c] = z.reduce((sum, v, k) => sum + v * mix[k * cols + c], 0.1 * random.normal());
  }
  const calibration = { batches: [{ x }] };
  const source = linears({ rows: outputs, weights: normals(random, outputs * cols) });
  const errorOf = async (step: Step) => (await run(source, [step], { calibration })).report.outputs!.error;
  for (const pattern of ['weights', '2:4', '1x4', '4x1'] as const) {
    const sparsity = 0.5;
    const [surgeon, magnitude] = [
      await errorOf(obs({ pattern, sparsity })),
      await errorOf(prune({ pattern, sparsity })),
    ];
    assert.ok(surgeon < 0.9 * magnitude, `${pattern}: ${surgeon}, ${magnitude}`);
  }
});

test('OBS in convolutions, depthwise ones too: the network runs sparse', async () => {
  const calibration = imageBatches(2, 4);
  const { graph, report } = await run(convolutions({ channels: 16 }), [obs(0.7)], { calibration });
  const zeros = layersOf(graph)
    .flatMap(({ weights }) => [...valuesOf(weights)])
    .map((w) => Number(w === 0));
  assert.ok(Math.abs(zeros.reduce((a, b) => a + b, 0) / zeros.length - 0.7) < 0.02);
  const magnitude = await run(convolutions({ channels: 16 }), [prune(0.7)], { calibration });
  assert.ok(report.outputs!.error < magnitude.report.outputs!.error);
  assert.ok((await runsAs(graph, { dims: [1, 2, 8, 8], data: normals(createRandom(2), 128) })).includes('csr'));
});

test('layer by layer: a layer that hardly matters is pruned, one that matters is not', async () => {
  // b reads 100 times less from its first half, so a's rows there can go; nothing of b's other half can.
  const weights = normals(createRandom(4), 64).map((w) => w + Math.sign(w));
  const source = linears({ rows: 8, weights }, { rows: 8, weights: weights.map((w, i) => (i % 8 < 4 ? w / 1e6 : w)) });
  const steps = [pruneByLayer({ maxLoss: 1e-4, sparsities: [0.5, 0.9] })];
  const { graph, report } = await run(source, steps, { calibration: rows(8, 40) });
  assert.ok(report.outputs!.error <= 1e-4);
  const zeros = (name: string) => weightsOf(graph, name).filter((w) => w === 0).length;
  assert.is(zeros('b'), 32);
  assert.is(zeros('a'), 0);
});

/** The error that a promise is refused with. */
async function refusal(promise: Promise<unknown>): Promise<ThinferError> {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, ThinferError);
  return error as ThinferError;
}

test('bad calibration: none where it is needed, wrong shapes and names, labels, numbers that are not finite', async () => {
  const source = two();
  const calls: [Step, Calibration | undefined, RegExp][] = [
    [obs(0.5), undefined, /prune 50 % by OBS: expected calibration data, got none/],
    [prune(0.5), { batches: [] }, /calibration\.batches: expected an array of inputs/],
    [
      prune(0.5),
      { batches: [{ x: new Float32Array(2) }, { x: new Float32Array(3) }] },
      /calibration\.batches\[1\]: input "x"/,
    ],
    [
      prune(0.5),
      { batches: [{ image: new Float32Array(2) }] },
      /calibration\.batches\[0\]: inputs: expected an object with "x"/,
    ],
    [
      prune(0.5),
      { batches: [{ x: new Float32Array(2) }], labels: [] },
      /calibration\.labels: expected labels for each of 1/,
    ],
    [
      prune(0.5),
      { batches: [{ x: new Float32Array(4) }], labels: [[1]] },
      /calibration\.labels\[0\]: expected 2 labels/,
    ],
    [
      obs(0.5),
      { batches: [{ x: Float32Array.of(1, Number.NaN) }] },
      /calibration\.batches\[0\]: value "x"\[1\]: expected finite numbers/,
    ],
    [
      obs(0.5),
      { batches: [{ x: Float32Array.of(3e38, 3e38) }] },
      /calibration\.batches\[0\]: value .*: expected finite numbers/,
    ],
  ];
  for (const [step, calibration, message] of calls) {
    assert.match((await refusal(run(source, [step], { calibration }))).message, message);
  }
});

test('bad options and layers', async () => {
  const source = two();
  assert.throws(() => prune(1), /prune\.sparsity: expected a share, 0 to less than 1, got 1/);
  assert.throws(() => prune({ sparsity: 0.5, pattern: '3x3' as never }), /prune\.pattern: expected 2:4, weights/);
  assert.throws(() => prune({ sparsity: 0.7, pattern: '2:4' }), /0\.5, which 2:4 is/);
  assert.match(
    (await refusal(run(source, [prune({ sparsity: 0.5, only: ['c'] })]))).message,
    /layers out of "a", "b", got "c"/,
  );
  assert.match((await refusal(run(source, [{} as Step]))).message, /compress: steps: expected an array of steps/);
  const { graph } = await run(source, [quantize({ format: 'int8', activations: 'static' })], {
    calibration: rows(2, 20),
  });
  const again = await refusal(run(graph, [prune({ sparsity: 0.5, only: ['a'] })]));
  assert.match(again.message, /layer "a": expected a layer of f32, got one of codes/);
});

test('progress rises to 1, and an aborted run ends with its reason', async () => {
  const seen: number[] = [];
  const calibration = rows(2, 10);
  await run(two(), [prune(0.5), obs(0.5)], { calibration, onProgress: (done) => seen.push(done) });
  assert.equal(
    seen,
    [...seen].sort((a, b) => a - b),
  );
  assert.is(seen.at(-1), 1);
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error('enough'));
  const error = await run(two(), [obs(0.5)], { calibration, onProgress, signal: controller.signal }).catch((e) => e);
  assert.is(error.message, 'enough');
});

test.run();
