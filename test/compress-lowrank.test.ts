// Low rank: known answers, and that factorised models run and say the same.

import { Matrix } from 'ml-matrix';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cp, svd, tucker2 } from '../src/compress/index.js';
import { relativeError, valuesOf } from '../src/compress/layers.js';
import { canonical, decompose, type Kernel, squares, tucker } from '../src/compress/lowrank/factors.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { writeOnnx } from '../src/onnx/write/index.js';
import { answers, convolutions, layer, layersOf, linears, run, runsAs, throwsWith } from './support/compress-nets.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { createRandom, normals } from './support/random.js';

const test = suite('compression: low rank');

const images = { dims: [2, 2, 8, 8], data: normals(createRandom(5), 256) };

/** A matrix of the product of random ones. */
function ofRank(rows: number, rank: number, cols: number, seed = 1): Float32Array {
  const random = createRandom(seed);
  const [a, b] = [normals(random, rows * rank), normals(random, rank * cols)];
  return Float32Array.from({ length: rows * cols }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += a[Math.floor(at / cols) * rank + k] * b[k * cols + (at % cols)];
    return sum;
  });
}

test('SVD: singular values of a matrix that shows them, and the nearest matrix of a rank', () => {
  for (const [rows, cols] of [
    [4, 6],
    [6, 4],
  ]) {
    const matrix = Matrix.zeros(rows, cols);
    [4, -3, 2, 1].forEach((x, i) => {
      matrix.set(i, (i + 1) % 4, x);
    });
    const { energies, at } = decompose(matrix);
    for (const [i, want] of [16, 9, 4, 1].entries()) assert.ok(Math.abs(energies[i] - want) < 1e-9, `${energies}`);
    const { left, right } = at(2);
    const rest = Matrix.sub(matrix, left.mmul(right));
    // What is left are the two smallest.
    assert.ok(Math.abs(rest.norm('frobenius') ** 2 - 5) < 1e-9);
    // Neither factor has numbers of another size than the other.
    assert.ok(Math.abs(left.norm('frobenius') - right.norm('frobenius')) < 1e-9);
  }
});

test('SVD: the rank of a matrix is found, and the two layers give what the one gave', async () => {
  const source = linears({ rows: 24, weights: ofRank(24, 5, 40), bias: normals(createRandom(2), 24) });
  const { graph, report } = await run(source, [svd({ rank: { energy: 0.999999 } })]);
  assert.equal(
    layersOf(graph).map(({ name, weights }) => [name, weights.rows, weights.cols]),
    [
      ['a.1', 5, 40],
      ['a.2', 24, 5],
    ],
  );
  assert.equal(report.layers[0].into, ['a.1', 'a.2']);
  const x = { dims: [3, 40], data: normals(createRandom(3), 120) };
  assert.ok(relativeError(answers(graph, x), answers(source, x)) < 1e-5);
  await runsAs(graph, x);
});

test('SVD: energy is that of the squares of singular values; a layer that would grow stays', async () => {
  const weights = new Float32Array(64 * 64);
  for (let i = 0; i < 64; i++) weights[i * 64 + i] = i < 4 ? 10 : 1;
  // 400 of 460: four of rank 1 each hold 0.87 of all squares.
  const { graph } = await run(linears({ rows: 64, weights }), [svd({ rank: { energy: 0.869 } })]);
  assert.is(layer(graph, 'a.1').weights.rows, 4);
  const all = await run(linears({ rows: 64, weights }), [svd({ rank: { energy: 0.999 } })]);
  assert.equal(
    layersOf(all.graph).map(({ name }) => name),
    ['a'],
  );
  assert.match(all.report.layers[0].did[0], /nothing to gain/);
});

test('size: at most so many weights, and the most rank of those', async () => {
  const { graph } = await run(linears({ rows: 64, weights: normals(createRandom(1), 64 * 64) }), [
    svd({ rank: { size: 0.5 } }),
  ]);
  assert.is(layer(graph, 'a.1').weights.rows, 16);
});

/** A kernel of the ranks that Tucker-2 finds. */
function tuckerKernel(outputs: number, taps: number, inputs: number, outputRank: number, inputRank: number): Kernel {
  const random = createRandom(7);
  const core = normals(random, outputRank * taps * inputRank);
  const [u, v] = [normals(random, outputs * outputRank), normals(random, inputs * inputRank)];
  const values = Float64Array.from({ length: outputs * taps * inputs }, (_, at) => {
    const [i, t, o] = [at % inputs, Math.floor(at / inputs) % taps, Math.floor(at / inputs / taps)];
    let sum = 0;
    for (let p = 0; p < outputRank; p++) {
      for (let q = 0; q < inputRank; q++) {
        sum += u[o * outputRank + p] * core[(p * taps + t) * inputRank + q] * v[i * inputRank + q];
      }
    }
    return sum;
  });
  return { outputs, taps, inputs, values };
}

test('Tucker-2: a kernel of small ranks is found again; with fewer the core is what is nearest', () => {
  const kernel = tuckerKernel(12, 9, 10, 3, 2);
  const total = squares(kernel.values);
  const bases = tucker(kernel);
  const exact = bases.at(3, 2);
  assert.ok(Math.abs(squares(exact.core.values) / total - 1) < 1e-9);
  const rounds = bases.at(2, 2);
  const kept = squares(rounds.core.values) / total;
  assert.ok(Math.abs(bases.energy(3, 2) - 1) < 1e-9 && bases.energy(2, 2) <= kept + 1e-9, 'rounds lose nothing');
  // Never more than what the better of the two unfoldings allows.
  const bound = decompose(Matrix.from1DArray(12, 90, kernel.values as unknown as number[])).energies;
  assert.ok(kept < 1 && kept <= (bound[0] + bound[1]) / total + 1e-9 && kept > 0.5);
  for (const basis of [rounds.out, rounds.in]) {
    const gram = basis.transpose().mmul(basis);
    assert.ok(Matrix.sub(gram, Matrix.eye(2, 2)).norm('frobenius') < 1e-9, 'orthonormal');
  }
});

test('CP: a sum of three products is found again', () => {
  const random = createRandom(11);
  const [outputs, taps, inputs] = [10, 9, 8];
  const [a, b, c] = [outputs, taps, inputs].map((size) => normals(random, size * 3));
  const values = Float64Array.from({ length: outputs * taps * inputs }, (_, at) => {
    const [i, t, o] = [at % inputs, Math.floor(at / inputs) % taps, Math.floor(at / inputs / taps)];
    return [0, 1, 2].reduce((sum, k) => sum + a[o * 3 + k] * b[t * 3 + k] * c[i * 3 + k], 0);
  });
  const found = canonical({ outputs, taps, inputs, values }).at(3);
  assert.ok(found.energy > 0.9999, `${found.energy}`);
  for (let at = 0; at < values.length; at += 7) {
    const [i, t, o] = [at % inputs, Math.floor(at / inputs) % taps, Math.floor(at / inputs / taps)];
    const made = [0, 1, 2].reduce((sum, k) => sum + found.out.get(o, k) * found.taps.get(t, k) * found.in.get(i, k), 0);
    assert.ok(Math.abs(made - values[at]) < 0.05 * (1 + Math.abs(values[at])), `${at}: ${made}, not ${values[at]}`);
  }
});

/** Convolutions of strides, dilations and borders, whose kernels have few terms. */
function strided() {
  const writer = new OnnxWriter().input('x', ['N', 12, 11, 9]);
  const kernel = (name: string, rows: number, cols: number, taps: number) => {
    const { values } = tuckerKernel(rows, taps, cols, 2, 2);
    writer.floats(name, [rows, cols, 3, taps / 3], transposed(values, rows, taps, cols));
    writer.floats(`${name}.b`, [rows], normals(createRandom(rows), rows));
    return [name, `${name}.b`];
  };
  writer.node('Conv', ['x', ...kernel('w', 16, 12, 9)], ['a'], { strides: [2, 1], pads: [1, 0, 0, 1] }, 'first');
  writer.node('Relu', ['a'], ['b']);
  writer.node('Conv', ['b', ...kernel('v', 20, 16, 6)], ['c'], { dilations: [1, 2], auto_pad: 'SAME_UPPER' }, 'second');
  writer.node('Sigmoid', ['c'], ['y']).output('y');
  return optimize(readOnnx(writer.bytes()));
}

/** [rows, taps, cols] as [rows, cols, taps]. */
function transposed(values: ArrayLike<number>, rows: number, taps: number, cols: number): Float32Array {
  return Float32Array.from({ length: rows * taps * cols }, (_, at) => {
    const [t, c, r] = [at % taps, Math.floor(at / taps) % cols, Math.floor(at / taps / cols)];
    return values[(r * taps + t) * cols + c];
  });
}

for (const [name, step, count] of [
  ['SVD', svd({ rank: { energy: 0.99999 } }), 4],
  ['Tucker-2', tucker2({ rank: [2, 2] }), 6],
  ['CP', cp({ rank: 24 }), 6],
] as const) {
  test(`${name}: convolutions of strides, dilations and borders give the same, in parts, from a file too`, async () => {
    const source = strided();
    const x = { dims: [2, 12, 11, 9], data: normals(createRandom(3), 2376) };
    const { graph, report } = await run(source, [step]);
    assert.is(layersOf(graph).length, count);
    assert.ok(report.bytes.after < report.bytes.before);
    const error = relativeError(answers(graph, x), answers(source, x));
    assert.ok(error < (name === 'CP' ? 0.05 : 1e-4), `${error}`);
    await runsAs(graph, x);
    await runsAs(readOnnx(writeOnnx(graph)), x);
  });
}

test('a network of convolutions: what can be factorised is, depthwise kernels stay', async () => {
  const { graph, report } = await run(convolutions({ channels: 32 }), [tucker2({ rank: { energy: 0.5 } })]);
  const did = new Map(report.layers.map(({ layer, did: [text] }) => [layer, text]));
  assert.match(did.get('branch1')!, /Tucker-2 of ranks \d+ and \d+, keeps/);
  assert.match(did.get('depth')!, /stays: a convolution in groups/);
  assert.match(did.get('side')!, /stays: a kernel of one pixel/);
  assert.match(did.get('head')!, /stays: no convolution/);
  await runsAs(graph, images);
});

test('time: the rank is the most whose layers take at most a share of the time, as measured', async () => {
  const source = linears({ rows: 256, weights: normals(createRandom(1), 256 * 256) });
  const { graph, report } = await run(source, [svd({ rank: { time: 0.75 } })]);
  const times = report.layers[0].evidence?.times as { candidate: string; ms: number; of: number }[] | undefined;
  if (!times) return assert.match(report.layers[0].did[0], /stays/);
  assert.ok(times.length > 0 && times.every(({ ms, of }) => ms > 0 && of > 0));
  const { rows } = layer(graph, 'a.1').weights;
  const chosen = times.filter(({ candidate }) => candidate === `rank ${rows}`);
  assert.ok(chosen.every(({ ms, of }) => ms <= 0.75 * of));
  assert.ok(chosen.length > 0 && rows < 256);
});

test('bad options, and layers that can not be factorised, are refused', async () => {
  await throwsWith('bad-argument', /svd\.rank/, () => [svd({ rank: 0 })]);
  await throwsWith('bad-argument', /svd\.rank.*share/, () => [svd({ rank: { energy: 1.5 } })]);
  await throwsWith('bad-argument', /cp\.rank/, () => [cp({ rank: [2, 2] as never })]);
  await throwsWith('bad-argument', /tucker2\.rank/, () => [tucker2({ rank: [2, 0] })]);
  await throwsWith('bad-argument', /layer "depth".*groups/, () => [tucker2({ only: ['depth'] })]);
  assert.ok(valuesOf(layer(convolutions(), 'depth').weights).length > 0);
});

test.run();
