// Quantisation: known answers, and that models run in the form they have.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  adaround,
  biasCorrected,
  binarize,
  type Calibration,
  equalize,
  gptq,
  prune,
  type QuantizeOptions,
  quantize,
  type Step,
  ternarize,
  xnorize,
} from '../src/compress/index.js';
import { valuesOf } from '../src/compress/layers.js';
import { toGrid } from '../src/compress/quantisation/floats.js';
import { Histogram } from '../src/compress/quantisation/histogram.js';
import { quantizationOf, rangeOf, rangeOfValues } from '../src/compress/quantisation/ranges.js';
import { ThinferError } from '../src/errors.js';
import { int4, int8 } from '../src/formats/index.js';
import { fromF16, toF16 } from '../src/half.js';
import { answers, convolutions, imageBatches, layer, layersOf, linears, run, runsAs } from './support/compress-nets.js';
import { createRandom, normals, uniforms } from './support/random.js';

const test = suite('compression: quantisation');

const images = { dims: [2, 2, 8, 8], data: normals(createRandom(9), 256) };
const eight = { levels: 255, symmetric: true };

test('a histogram holds the same numbers however they come', () =>
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { minLength: 1 }),
      fc.integer({ min: 1, max: 9 }),
      (all, n) => {
        const histogram = new Histogram();
        for (let i = 0; i < all.length; i += n) histogram.add(all.slice(i, i + n));
        assert.is(histogram.min, Math.min(...all));
        assert.is(histogram.max, Math.max(...all));
        assert.is(histogram.total, all.length);
        assert.is(
          histogram.counts.reduce((a, b) => a + b, 0),
          all.length,
        );
        // No number moved further than to the other end of its cell, nor to the other side of 0.
        const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / all.length;
        const binned = Array.from(histogram.counts, (count, cell) => (count ? count * histogram.middle(cell) : 0));
        assert.ok(Math.abs(mean(binned) - mean(all)) <= histogram.width);
      },
    ),
  ));

test('ranges: all numbers, all but the outermost, least squared error, least divergence', () => {
  const many = uniforms(createRandom(1), 20000, -1, 1);
  const outlier = Float32Array.of(...many.subarray(0, 9999), 20);
  assert.equal(rangeOfValues([-1, 3], {}, eight), [-3, 3]);
  assert.equal(rangeOfValues([1, 3], {}, { levels: 256, symmetric: false }), [0, 3]);
  assert.equal(rangeOfValues([], {}, eight), [0, 0]);
  for (const range of ['percentile', 'entropy'] as const) {
    const [low, high] = rangeOfValues(outlier, { range, outside: 0.001 }, eight);
    assert.ok(high < 18 && high >= 0.95 && low === -high, `${range}: ${low}, ${high}`);
  }
  // 4 bits of numbers that are spread evenly and one far out: clipping it is worth it; of numbers without, nothing is clipped.
  const four = { levels: 15, symmetric: true };
  assert.ok(rangeOfValues(outlier, { range: 'mse' }, four)[1] < 3);
  assert.ok(rangeOfValues(many, { range: 'mse' }, four)[1] > 0.9);
  const histogram = new Histogram();
  histogram.add(Float32Array.from({ length: 1000 }, (_, i) => i));
  const [, high] = rangeOf(histogram, { range: 'percentile', outside: 0.1 }, { levels: 256, symmetric: false });
  assert.ok(Math.abs(high - 900) < 2, String(high));
});

test('codes of a range: 0 is exact, the ends are the ends', () => {
  assert.equal(quantizationOf([0, 25.5]), { dtype: 'uint8', scale: Math.fround(0.1), zeroPoint: 0 });
  assert.equal(quantizationOf([-1, 254], 'int8'), { dtype: 'int8', scale: 1, zeroPoint: -127 });
  assert.is(quantizationOf([-2, 0]).zeroPoint, 255);
});

test('grids: f16 as hardware has it, bf16, small floats, fixed point', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: -65504, max: 65504 }), (x) => {
      assert.is(toGrid(x, 'f16') + 0, fromF16(toF16(x)) + 0);
    }),
  );
  assert.is(toGrid(1 + 2 ** -8, 'bf16'), 1);
  assert.is(toGrid(1 + 3 * 2 ** -8, 'bf16'), 1 + 2 ** -6);
  assert.is(toGrid(1e30, { exponent: 4, mantissa: 3 }), 480);
  assert.is(toGrid(-0.3, { exponent: 4, mantissa: 3 }), -0.3125);
  assert.is(toGrid(2 ** -9, { exponent: 4, mantissa: 3 }), 2 ** -9);
  assert.is(toGrid(2 ** -11, { exponent: 4, mantissa: 3 }), 0);
  assert.is(toGrid(0.3, { bits: 8, fraction: 4 }), 0.3125);
  assert.is(toGrid(100, { bits: 8, fraction: 4 }), 127 / 16);
  assert.is(toGrid(-100, { bits: 8, fraction: 4 }), -8);
});

test('every form of weights runs as what it is', async () => {
  const calibration = imageBatches();
  const cases: [Step, string][] = [
    [quantize('int8'), 'int8'],
    [quantize({ format: 'int8', perChannel: false, symmetric: false, range: 'mse' }), 'int8'],
    [quantize({ format: 'int4', range: 'percentile' }), 'int4'],
    [quantize({ format: 'int2', groupSize: 16, symmetric: false }), 'int2'],
    [quantize('f16'), 'f16'],
    [quantize({ format: { exponent: 4, mantissa: 3 } }), 'codebook'],
    [quantize({ format: { bits: 4, fraction: 3 } }), 'codebook'],
    [gptq('int4'), 'int4'],
    [gptq({ format: 'int8', symmetric: false }), 'int8'],
    [gptq({ format: 'int2', groupSize: 'row', symmetric: false }), 'int2'],
    [adaround({ format: 'int4', iterations: 20 }), 'int4'],
    [binarize(), 'binary'],
    [ternarize(), 'ternary'],
    [biasCorrected(ternarize()), 'ternary'],
    [xnorize({ only: ['branch2'] }), 'xnor'],
  ];
  for (const [step, format] of cases) {
    const { graph } = await run(convolutions({ channels: 16 }), [step], { calibration });
    assert.ok((await runsAs(graph, images)).includes(format), step.name);
    assert.is(layer(graph, 'branch2').weights.format, format, step.name);
  }
});

test('static: codes go from layer to layer, sums and tables between them; the answers are near', async () => {
  const source = convolutions({ channels: 16 });
  const calibration = imageBatches(4, 4);
  for (const activations of ['static', { range: 'mse' }, { dtype: 'int8', range: 'percentile' }] as const) {
    const { graph, report } = await run(source, [quantize({ format: 'int8', activations })], { calibration });
    for (const { name, inputCodes, result } of layersOf(graph)) {
      assert.ok(inputCodes, name);
      assert.is(result === undefined, name === 'head', name);
    }
    const ops = graph.nodes.map(({ op }) => op);
    assert.ok(ops.includes('qAdd') && !ops.includes('add'), ops.join());
    assert.is(ops.filter((op) => op === 'quantize').length, 1, ops.join());
    assert.not.ok(ops.includes('dequantize'), ops.join());
    assert.ok(report.outputs!.error < 0.06, String(report.outputs!.error));
    await runsAs(graph, images);
  }
  const four = { format: 'int4', activations: 'static' } as const;
  const { graph } = await run(source, [quantize(four)], { calibration });
  assert.is(layer(graph, 'branch1').result?.dtype, 'uint8');
  const pruned = await run(source, [prune(0.95), quantize({ format: 'int8', activations: 'static' })], { calibration });
  assert.is(layer(pruned.graph, 'branch1').weights.format, 'csrInt8');
  assert.ok(layer(pruned.graph, 'branch1').inputCodes);
  await runsAs(pruned.graph, images);
});

test('bias correction: the means of outputs are those of before', async () => {
  const random = createRandom(2);
  const source = linears({ rows: 4, weights: normals(random, 64), bias: normals(random, 4) });
  const calibration: Calibration = { batches: [{ x: uniforms(random, 16 * 50, 0, 1) }] };
  const x = { dims: [50, 16], data: calibration.batches[0].x as Float32Array };
  const means = (y: Float32Array) =>
    [0, 1, 2, 3].map((c) => y.reduce((sum, v, i) => sum + (i % 4 === c ? v / 50 : 0), 0));
  // Weights alone: pruning has no codes of activations between.
  const before = means(answers(source, x));
  const plain = means(answers((await run(source, [prune(0.5)])).graph, x));
  const corrected = means(answers((await run(source, [biasCorrected(prune(0.5))], { calibration })).graph, x));
  assert.ok(before.some((mean, c) => Math.abs(plain[c] - mean) > 0.05));
  for (const [c, mean] of before.entries())
    assert.ok(Math.abs(corrected[c] - mean) < 1e-5, `${corrected[c]}, not ${mean}`);
});

test('equalisation: the same answers from channels of equal ranges', async () => {
  const random = createRandom(8);
  const scaled = (weights: Float32Array, of: (i: number) => number) => weights.map((w, i) => w * of(i));
  const source = linears(
    { rows: 6, weights: scaled(normals(random, 60), (i) => 10 ** (Math.floor(i / 10) - 3)), bias: normals(random, 6) },
    { rows: 4, weights: normals(random, 24) },
  );
  const { graph } = await run(source, [equalize()]);
  const x = { dims: [5, 10], data: normals(random, 50) };
  const [then, now] = [answers(source, x), answers(graph, x)];
  for (const [i, y] of then.entries()) assert.ok(Math.abs(now[i] - y) < 1e-4 * Math.max(...then.map(Math.abs)));
  const [a, b] = ['a', 'b'].map((name) => valuesOf(layer(graph, name).weights));
  for (let c = 0; c < 6; c++) {
    const r1 = Math.max(...a.subarray(10 * c, 10 * c + 10).map(Math.abs));
    const r2 = Math.max(...[0, 1, 2, 3].map((r) => Math.abs(b[r * 6 + c])));
    assert.ok(Math.abs(r1 / r2 - 1) < 1e-4, `${c}: ${r1}, ${r2}`);
  }
  const errorOf = async (steps: Step[]) => {
    const calibration: Calibration = { batches: [{ x: x.data }] };
    return (await run(source, steps, { calibration })).report.outputs!.error;
  };
  const eightBits = quantize({ format: 'int8', perChannel: false });
  assert.ok((await errorOf([equalize(), eightBits])) < (await errorOf([eightBits])));
  const conv = convolutions();
  const equal = (await run(conv, [equalize()])).graph;
  const [y, z] = [answers(conv, images), answers(equal, images)];
  for (const [i, value] of y.entries()) assert.ok(Math.abs(z[i] - value) < 1e-4 * Math.max(...y.map(Math.abs)));
  assert.is.not(valuesOf(layer(equal, 'branch1').weights)[0], valuesOf(layer(conv, 'branch1').weights)[0]);
});

test('GPTQ: of inputs that have nothing to do with each other, rounding to nearest', async () => {
  const weights = normals(createRandom(3), 8 * 32);
  const x = new Float32Array(32 * 32);
  for (let i = 0; i < 32; i++) x[33 * i] = 1;
  const calibration: Calibration = { batches: [{ x }] };
  const source = linears({ rows: 8, weights });
  const four = layer(
    (await run(source, [gptq({ format: 'int4', groupSize: 16 })], { calibration })).graph,
    'a',
  ).weights;
  assert.equal(four, int4.pack(weights, { rows: 8, cols: 32, groupSize: 16 }));
  const bytes = layer((await run(source, [gptq('int8')], { calibration })).graph, 'a').weights;
  assert.equal(bytes, int8.pack(weights, { rows: 8, cols: 32 }));
});

/** Inputs that depend on each other, and a layer that reads them. */
function correlated(rows: number, cols: number, samples: number) {
  const random = createRandom(12);
  const mix = normals(random, cols * cols);
  const x = new Float32Array(samples * cols);
  for (let s = 0; s < samples; s++) {
    const z = normals(random, 5);
    for (let c = 0; c < cols; c++)
      x[s * cols + c] = z.reduce((sum, v, k) => sum + v * mix[k * cols + c], 0.1 * random.normal());
  }
  return {
    source: linears({ rows, weights: normals(random, rows * cols) }),
    calibration: { batches: [{ x }] } as Calibration,
  };
}

/** ||X (W' - W)||^2, which both methods lower. */
function outputError(weights: ArrayLike<number>, then: ArrayLike<number>, x: Float32Array, cols: number): number {
  let error = 0;
  for (let r = 0; r < weights.length / cols; r++) {
    for (let s = 0; s < x.length / cols; s++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += (weights[r * cols + c] - then[r * cols + c]) * x[s * cols + c];
      error += sum * sum;
    }
  }
  return error;
}

test('GPTQ and AdaRound: outputs lose less than by rounding to nearest; AdaRound rounds up or down only', async () => {
  const { source, calibration } = correlated(8, 32, 120);
  const then = valuesOf(layer(source, 'a').weights);
  const x = calibration.batches[0].x as Float32Array;
  for (const format of ['int4', 'int2'] as const) {
    const errorOf = async (step: Step) => {
      const { graph } = await run(source, [step], { calibration });
      return outputError(valuesOf(layer(graph, 'a').weights), then, x, 32);
    };
    const nearest = await errorOf(quantize({ format, groupSize: 'row' }));
    assert.ok((await errorOf(gptq({ format, groupSize: 'row' }))) < 0.5 * nearest, format);
    assert.ok((await errorOf(adaround({ format, iterations: 80 }))) < 0.7 * nearest, format);
  }
  const { graph, report } = await run(source, [adaround({ format: 'int4', iterations: 50 })], { calibration });
  const { weights } = layer(graph, 'a');
  const scale = (weights as { scale: Float32Array }).scale;
  const values = valuesOf(weights);
  const [low, high] = [-8, 7];
  for (const [i, w] of then.entries()) {
    const step = scale[Math.floor(i / 32)];
    const exact = Math.min(Math.max(w / step, low), high);
    assert.ok(Math.abs(values[i] / step - exact) < 1 + 1e-4, `${i}`);
  }
  const { squaredOutputError } = report.layers[0].evidence as {
    squaredOutputError: { nearest: number; adaround: number };
  };
  assert.ok(squaredOutputError.adaround <= squaredOutputError.nearest);
});

test('AdaRound finds the best of all roundings of a small layer, or comes near it', async () => {
  const { source, calibration } = correlated(1, 6, 60);
  const then = valuesOf(layer(source, 'a').weights);
  const x = calibration.batches[0].x as Float32Array;
  const { graph } = await run(source, [adaround({ format: 'int4', iterations: 200 })], { calibration });
  const { scale } = layer(graph, 'a').weights as { scale: Float32Array };
  const limited = (step: number) => Math.min(Math.max(step, -8), 7) * scale[0];
  const errors = Array.from({ length: 64 }, (_, choice) => {
    const tried = then.map((w, c) => limited(Math.floor(w / scale[0]) + ((choice >> c) & 1)));
    return outputError(tried, then, x, 6);
  }).sort((a, b) => a - b);
  const found = outputError(valuesOf(layer(graph, 'a').weights), then, x, 6);
  assert.ok(found <= errors[6] * 1.001, `${found}; the best are ${errors.slice(0, 8).join(', ')}`);
});

test('binary and ternary weights: the closed forms', async () => {
  const source = linears({ rows: 2, weights: [1, -3, 0.5, 0.5, 10, -0.1, 0.1, -10] });
  const values = async (step: Step) => Array.from(valuesOf(layer((await run(source, [step])).graph, 'a').weights));
  const mean = Math.fround(20.2 / 4);
  assert.equal(await values(binarize()), [1.25, -1.25, 1.25, 1.25, mean, -mean, mean, -mean]);
  assert.equal(await values(ternarize()), [2, -2, 0, 0, 10, 0, 0, -10]);
});

test("bad options: what can't be done is said, and nothing changes", async () => {
  assert.throws(() => quantize({ format: 'int3' as never }), /quantize\.format/);
  assert.throws(() => quantize({ format: 'f16', activations: 'static' }), /floats multiply f32 activations/);
  assert.throws(() => quantize({ format: 'int8', range: 'best' as never }), /minmax, percentile, entropy or mse/);
  assert.throws(() => quantize({ format: { exponent: 1, mantissa: 3 } }), /quantize\.format\.exponent/);
  const wrong: QuantizeOptions = { format: 'int4', groupSize: 7 };
  const refused = await run(convolutions(), [quantize(wrong)]).catch((error) => error);
  assert.instance(refused, ThinferError);
  assert.match(refused.message, /layer "stem": int4\.pack\.groupSize: expected 16, 32/);
  const large = linears({ rows: 1, weights: [1e6, 1] });
  const overflow = await run(large, [quantize('int8'), xnorize({ only: ['b'] })]).catch((error) => error);
  assert.match(overflow.message, /layers out of "a", got "b"/);
  const none = await run(convolutions(), [gptq('int4')]).catch((error) => error);
  assert.match(none.message, /GPTQ int4: expected calibration data, got none/);
});

test.run();
