// What the page computes itself: pixels, answers, and which weights a slider drops.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dense } from '../src/formats/index.js';
import { denseValues, type Graph, type LayerNode, NO_CLAMP } from '../src/graph/ir.js';
import { areShares, argmax, largest, probabilities } from '../web/answers.js';
import { factsOf, obstacle, specOf, Thresholds, withoutZeros } from '../web/forms.js';
import { hasLightBorder, type ImageInput, imageInput, invert, toTensor } from '../web/image.js';

const test = suite('parts of the page');

test('knows which inputs a picture fits', () => {
  const grey = { height: 28, width: 30, channels: 1, planar: true, dtype: 'float32' };
  assert.equal(imageInput([1, 1, 28, 30], 'float32'), grey);
  assert.equal(imageInput([1, 28, 30, 3], 'uint8'), { ...grey, channels: 3, planar: false, dtype: 'uint8' });
  for (const shape of [
    [1, 640],
    [2, 3, 8, 8],
    [1, 5, 8, 8],
    [1, 1, 1, 64],
    [1, 3, 8, 4096],
  ]) {
    assert.is(imageInput(shape, 'float32'), undefined, String(shape));
  }
  assert.is(imageInput([1, 3, 8, 8], 'int32'), undefined);
});

test('puts channels where the network has them', () => {
  const picture = fc.record({
    height: fc.integer({ min: 2, max: 5 }),
    width: fc.integer({ min: 2, max: 5 }),
    seed: fc.integer({ min: 0, max: 255 }),
  });
  fc.assert(
    fc.property(picture, ({ height, width, seed }) => {
      const rgba = Uint8ClampedArray.from({ length: 4 * height * width }, (_, i) => (seed + i * 37) % 256);
      const input: ImageInput = { height, width, channels: 3, planar: true, dtype: 'float32' };
      const planes = toTensor(rgba, input, 'bytes');
      const pixels = toTensor(rgba, { ...input, planar: false }, 'bytes');
      const codes = toTensor(rgba, { ...input, planar: false, dtype: 'int8' }, 'unit');
      for (let i = 0; i < height * width; i++) {
        for (let c = 0; c < 3; c++) {
          assert.is(planes[c * height * width + i], rgba[4 * i + c]);
          assert.is(pixels[3 * i + c], rgba[4 * i + c]);
          assert.is(codes[3 * i + c], rgba[4 * i + c] - 128);
        }
      }
    }),
  );
});

test('scales pixels as it is told', () => {
  const input: ImageInput = { height: 1, width: 2, channels: 1, planar: true, dtype: 'float32' };
  const rgba = [0, 0, 0, 255, 255, 255, 255, 255];
  for (const [scaling, black, white] of [
    ['unit', 0, 1],
    ['signed', -1, 1],
    ['bytes', 0, 255],
    ['imagenet', -0.485 / 0.229, 0.515 / 0.229],
  ] as const) {
    const [first, second] = toTensor(rgba, input, scaling);
    assert.ok(Math.abs(first - black) < 1e-5 && Math.abs(second - white) < 1e-4, scaling);
  }
});

test('tells a light border from a light middle', () => {
  const picture = (border: number, middle: number) =>
    Uint8ClampedArray.from({ length: 4 * 25 }, (_, i) => {
      const [x, y] = [Math.floor(i / 4) % 5, Math.floor(i / 20)];
      return i % 4 === 3 ? 255 : x % 4 === 0 || y % 4 === 0 ? border : middle;
    });
  assert.is(hasLightBorder(picture(200, 0), 5, 5), true);
  const dark = picture(20, 255);
  assert.is(hasLightBorder(dark, 5, 5), false);
  invert(dark);
  assert.equal(dark, picture(235, 0));
});

test('finds the largest numbers as sorting does', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -9, max: 9 }), { maxLength: 30 }),
      fc.integer({ min: 1, max: 6 }),
      (x, n) => {
        const sorted = x.map((_, i) => i).sort((a, b) => x[b] - x[a]);
        assert.equal(largest(x, n), sorted.slice(0, n));
      },
    ),
  );
  assert.equal(argmax({ shape: [2, 3], data: [1, 5, 2, 9, 0, 9] }), [1, 0]);
});

test('says what numbers stand for', () => {
  assert.equal(probabilities(Int8Array.of(-128, 127), 'int8', false), [0, 255 / 256]);
  const [a, b] = probabilities([1000, 1000 + Math.log(3)], 'float32', true);
  assert.ok(Math.abs(a - 0.25) < 1e-9 && Math.abs(b - 0.75) < 1e-9);
  assert.is(areShares([0.25, 0.75]), true);
  for (const numbers of [[1], [-0.5, 1.5], [0.5, 0.6], [Number.NaN, 1]]) assert.is(areShares(numbers), false);
});

/** Linear layers one after the other. */
function graphOf(...layers: { rows: number; cols: number; values: number[] }[]): Graph {
  const nodes = layers.map(({ rows, cols, values }, i): LayerNode => {
    const weights = dense.pack(Float32Array.from(values), { rows, cols });
    return { op: 'linear', name: `layer ${i}`, inputs: [i], output: i + 1, weights, clamp: NO_CLAMP };
  });
  return { inputs: [], outputs: [], values: new Map(), constants: new Map(), nodes };
}

test('drops the share of the smallest weights that is asked for', () => {
  const values = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 4, maxLength: 40 });
  fc.assert(
    fc.property(values, values, fc.integer({ min: 0, max: 99 }), (a, b, percent) => {
      const graph = graphOf({ rows: 1, cols: a.length, values: a }, { rows: 1, cols: b.length, values: b });
      const layers = graph.nodes as LayerNode[];
      const thresholds = new Thresholds();
      for (const [layer, chosen] of [
        [undefined, [...a, ...b]],
        ['layer 1', b],
      ] as const) {
        const threshold = thresholds.of(layers, { share: percent / 100, layer });
        const wanted = Math.min(Math.round((percent / 100) * chosen.length), chosen.length - 1);
        const dropped = chosen.filter((w) => Math.abs(w) <= threshold).length;
        const below = chosen.filter((w) => Math.abs(w) < threshold).length;
        // More go where several are as small as the last one.
        assert.ok(below <= wanted && (dropped >= wanted || threshold === 0), `${below} <= ${wanted} <= ${dropped}`);
      }
    }),
  );
});

test('keeps the first and last layer of low-bit networks dense, and says where that leaves none', () => {
  const layer = { rows: 1, cols: 64, values: new Array(64).fill(0).map((_, i) => i - 32) };
  const graph = graphOf(layer, layer, layer);
  const pruning = { share: 0 };
  assert.equal(specOf(graph, 'xnor', pruning, new Thresholds()), {
    'layer 0': { format: 'dense' },
    'layer 2': { format: 'dense' },
    '*': { format: 'xnor' },
  });
  assert.is(specOf(graph, 'file', pruning, new Thresholds()), 'auto');
  assert.is(obstacle('xnor', factsOf(graph)), undefined);
  assert.match(obstacle('binary', factsOf(graphOf(layer, layer)))!, /no layer between/);
  assert.match(obstacle('int8', [])!, /packed/);
});

test('a yardstick has no zeros, and the same sums', () => {
  const graph = graphOf({ rows: 1, cols: 4, values: [0, 1, 0, -2] });
  assert.is(factsOf(graph)[0].nonZeros, 2);
  const [layer] = withoutZeros(graph).nodes as LayerNode[];
  const values = denseValues(layer);
  assert.is(values.includes(0), false);
  assert.is(Math.fround(values[0] * 1e6 + values[1]), 1);
});

test.run();
