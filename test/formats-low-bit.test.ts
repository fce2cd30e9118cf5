import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type BinaryWeights,
  binary,
  type CodebookWeights,
  codebook,
  formatOf,
  type Int4Weights,
  int2,
  int4,
  int8,
  int8Grouped,
  type MatrixShape,
  type TernaryWeights,
  ternary,
  validate,
  type Weights,
  xnor,
} from '../src/formats/index.js';
import { exactSums, quantizesActivations, referenceMatmul, tolerance } from '../src/formats/reference.js';
import { conv2dProblem, linearProblem, weightFacts } from '../src/layers/problem.js';
import { clone, matrix, meanSquaredError, PACKERS, RUNS, SHAPES, same, throwsAt } from './support/formats.js';
import { createRandom, denseMatrix, normals, sparseMatrix } from './support/random.js';

const GROUPED = [
  { format: int8Grouped, bits: 8 },
  { format: int4, bits: 4 },
  { format: int2, bits: 2 },
] as const;

const grouped = suite('formats: int8Grouped, int4 and int2');

/** MatMulNBits by its definition, from arrays of codes and zero points without any packing. */
function multiplyNBits(weights: Int4Weights, codes: number[][], zeros: number[][], x: number[]): number[] {
  return codes.map((row, n) =>
    row.reduce((sum, code, k) => {
      const group = Math.floor(k / weights.groupSize);
      return sum + weights.scale[n * zeros[n].length + group] * (code - zeros[n][group]) * x[k];
    }, 0),
  );
}

grouped('the layout of MatMulNBits, by hand', () => {
  // N = 2, K = 19, block_size = 16: two groups a row of 8 bytes each; the second holds 3 codes. zero_points: a byte a
  // row.
  const weights: Int4Weights = {
    format: 'int4',
    rows: 2,
    cols: 19,
    groupSize: 16,
    codes: Uint8Array.of(
      ...[0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe],
      ...[0x21, 0xf3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      ...[0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
      ...[0x88, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ),
    scale: Float32Array.of(0.5, 2, 1, -4),
    zeroPoint: Uint8Array.of(0x38, 0x7f),
  };
  const codes = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1, 2, 3],
    [15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8],
  ];
  const zeros = [
    [8, 3],
    [15, 7],
  ];
  assert.is(validate(weights), weights);
  const unpacked = int4.unpack(weights);
  for (const [n, row] of codes.entries()) {
    for (const [k, code] of row.entries()) {
      const group = k >> 4;
      assert.is(unpacked[n * 19 + k], weights.scale[2 * n + group] * (code - zeros[n][group]), `row ${n}, column ${k}`);
    }
  }
  const x = Array.from({ length: 19 }, (_, k) => (k === 0 ? 255 : (k * 37) % 251));
  const problem = linearProblem(weightFacts(weights), weights, 1, {});
  const { y } = referenceMatmul(weights, problem, Float32Array.from(x));
  assert.equal(Array.from(y), multiplyNBits(weights, codes, zeros, x));

  const { zeroPoint: _, ...symmetric } = weights;
  const eights = zeros.map((row) => row.map(() => 8));
  assert.equal(
    Array.from(referenceMatmul(symmetric, problem, Float32Array.from(x)).y),
    multiplyNBits(weights, codes, eights, x),
    'absent zero points are 8',
  );
});

grouped('two bits: four columns and four zero points a byte', () => {
  const codes = new Uint8Array(5 * 4);
  codes.set([0b11_10_01_00], 0);
  codes.set([0b00_00_00_01], 16);
  const weights = int2.validate({
    format: 'int2',
    rows: 1,
    cols: 65,
    groupSize: 16,
    codes,
    scale: Float32Array.of(1, 1, 1, 1, 10),
    zeroPoint: Uint8Array.of(0b00_00_00_10, 0b11),
  });
  const unpacked = int2.unpack(weights);
  assert.equal(unpacked.subarray(0, 5), Float32Array.of(-2, -1, 0, 1, -2));
  assert.equal(unpacked.subarray(16, 64), new Float32Array(48));
  assert.is(unpacked[64], -20);
  const { zeroPoint: _, ...symmetric } = weights;
  assert.is(int2.unpack(symmetric)[64], -10, 'absent zero points are 2');
});

grouped('what lies past the last column means nothing; pack writes the zero point', () => {
  for (const { format, bits } of GROUPED) {
    const cols = 21;
    const values = denseMatrix(createRandom(30), 3, cols);
    for (const symmetric of [true, false]) {
      const weights = format.pack(values, { rows: 3, cols, groupSize: 16, symmetric } as never);
      const { values: before } = format.decode(weights as never);
      const blob = 2 * bits;
      const perByte = 8 / bits;
      const codeAt = (codes: Uint8Array, i: number) =>
        (codes[Math.floor(i / perByte)] >> (bits * (i % perByte))) & (2 ** bits - 1);
      for (let r = 0; r < 3; r++) {
        const zero = symmetric ? 2 ** (bits - 1) : codeAt(weights.zeroPoint!.subarray(r * Math.ceil(bits / 4)), 1);
        const group = weights.codes.subarray((2 * r + 1) * blob, (2 * r + 2) * blob);
        for (let i = cols - 16; i < 16; i++) assert.is(codeAt(group, i), zero);
        const first = Math.ceil((cols - 16) / perByte);
        group.fill(0xa5, first);
      }
      if (weights.zeroPoint) for (let r = 0; r < 3; r++) weights.zeroPoint[r] |= 0xff << (2 * bits);
      assert.equal(format.decode(validate(weights) as never).values, before);
    }
  }
});

grouped('exact where weights are steps of a power of two that reach an end of the codes', () => {
  for (const { format, bits } of GROUPED) {
    const half = 2 ** (bits - 1);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 2, max: 70 }),
        fc.constantFrom(16, 32, 256, 'cols' as const),
        fc.boolean(),
        fc.infiniteStream(fc.integer({ min: 0, max: 2 ** bits - 1 })),
        (rows, cols, size, symmetric, stream) => {
          const groupSize = size === 'cols' ? cols : size;
          const zero = symmetric ? half : 1;
          const last = 2 ** bits - 1;
          // Code 0 fixes a symmetric scale, codes 0 and `last` an asymmetric one: in a group of one column, its
          // distance from zero.
          const lonely = symmetric ? 0 : last + zero;
          const values = Float32Array.from({ length: rows * cols }, (_, at) => {
            const c = at % cols;
            const i = c % groupSize;
            const ends = c === cols - 1 && i === 0 ? [lonely] : [0, last];
            const code = ends[i] ?? (stream.next().value as number);
            return (code - zero) * 2 ** (Math.floor(at / cols) - 5);
          });
          const weights = format.pack(values, { rows, cols, groupSize, symmetric });
          assert.equal(format.unpack(weights as never), values);
        },
      ),
      RUNS,
    );
  }
});

grouped('zero is exact, and the error is at most that of the scale that clips nothing', () => {
  for (const { format, bits } of GROUPED) {
    fc.assert(
      fc.property(matrix, fc.boolean(), ({ rows, cols, values }, symmetric) => {
        const unpacked = format.unpack(format.pack(values, { rows, cols, groupSize: 16, symmetric }) as never);
        const steps = symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
        for (let r = 0; r < rows; r++) {
          for (let g = 0; g < cols; g += 16) {
            const at = r * cols + g;
            const part = values.subarray(at, at + Math.min(16, cols - g));
            const low = Math.min(0, ...part);
            const high = Math.max(0, ...part);
            const step = Math.max((symmetric ? Math.max(high, -low) : high - low) / steps, 2 ** -126);
            let error = 0;
            for (const [i, w] of part.entries()) {
              if (w === 0) assert.is(unpacked[at + i], 0);
              error += ((unpacked[at + i] - w) / step) ** 2;
            }
            // Half a step for every weight; asymmetric, the zero point rounds as well and moves an end by half a step.
            const half = symmetric ? 0.5 : 1;
            assert.ok(error <= part.length * half ** 2 * 1.0001, `${error} for ${part.length}`);
          }
        }
      }),
      RUNS,
    );
  }
});

grouped('normal weights: error of a good quantiser of 16 and 4 levels', () => {
  // The best uniform quantisers of a normal distribution (Max 1960) reach 0.01154 and 0.1188 of its variance; a scale
  // for every 32 weights does better.
  const values = denseMatrix(createRandom(31), 64, 256);
  for (const [format, bound] of [
    [int4, 0.0085],
    [int2, 0.125],
  ] as const) {
    for (const symmetric of [true, false]) {
      const weights = format.pack(values, { rows: 64, cols: 256, symmetric });
      const error = meanSquaredError(values, format.unpack(weights as never));
      assert.ok(error < bound, `${format.name}, symmetric ${symmetric}: ${error}`);
    }
  }
});

grouped('groups of zeros and of tiny weights', () => {
  for (const { format } of GROUPED) {
    for (const symmetric of [true, false]) {
      const zeros = format.pack(new Float32Array(66), { rows: 2, cols: 33, symmetric });
      assert.ok(validate(zeros) && zeros.scale.every((s) => s === 1));
      assert.equal(format.unpack(zeros as never), new Float32Array(66));
      const tiny = format.pack(new Float32Array(33).fill(2 ** -149), { rows: 1, cols: 33, symmetric });
      assert.ok(tiny.scale.every((s) => Math.abs(s) === 2 ** -126));
    }
  }
});

grouped('validate', () => {
  const good = int4.pack(denseMatrix(createRandom(32), 3, 40), { rows: 3, cols: 40, symmetric: false });
  const bad = (change: Partial<Int4Weights>, message: RegExp) =>
    throwsAt(() => int4.validate({ ...clone(good), ...change }), message);
  for (const groupSize of [0, 1, 8, 24, 41, 512, 2 ** 20, -32, 1.5, Number.NaN, '32', undefined, null]) {
    bad({ groupSize: groupSize as never }, /^int4\.groupSize: expected 16, 32, 64, 128, 256, or 40 \(cols/);
    if (groupSize === undefined) continue;
    const options = { rows: 1, cols: 2, groupSize: groupSize as never };
    if (groupSize !== 1) throwsAt(() => int4.pack(new Float32Array(2), options), /^int4\.pack\.groupSize/);
  }
  bad({ codes: new Uint8Array(95) }, /^int4\.codes: expected 96 elements, got 95/);
  bad({ codes: new Int8Array(96) as never }, /^int4\.codes: expected a Uint8Array/);
  bad({ groupSize: 16 }, /^int4\.codes: expected 72 elements, got 96/);
  bad({ groupSize: 40 }, /^int4\.codes: expected 60 elements, got 96/);
  bad({ scale: new Float32Array(5) }, /^int4\.scale: expected 6 elements, got 5/);
  bad({ scale: Float32Array.of(1, 1, 1, 1, 1, Number.NaN) }, /^int4\.scale\[5\]: expected a finite number/);
  bad({ zeroPoint: new Uint8Array(6) }, /^int4\.zeroPoint: expected 3 elements, got 6/);
  bad({ zeroPoint: new Int8Array(3) as never }, /^int4\.zeroPoint: expected a Uint8Array/);
  bad({ zeroPoint: null as never }, /^int4\.zeroPoint/);
  bad({ rows: 2 ** 30, cols: 1, groupSize: 256 }, /^int4\.codes: expected at most/);
  throwsAt(() => int2.validate(good as never), /^int2\.format: expected 'int2'/);
  int4.validate({ ...good, zeroPoint: undefined });
  int4.validate({ ...good, scale: Float32Array.of(0, -1, -0, 1e38, 1, 1) });
});

grouped('a sum that could leave int32 is refused', () => {
  const cols = 561434; // 15 * 255 * 561434 is just above 2^31 - 1
  const make = (length: number): Int4Weights => ({
    format: 'int4',
    rows: 1,
    cols: length,
    groupSize: length,
    codes: new Uint8Array(Math.ceil(length / 2)).fill(0xff),
    scale: Float32Array.of(1),
    zeroPoint: Uint8Array.of(0),
  });
  int4.validate(make(cols - 1));
  throwsAt(() => int4.validate(make(cols)), /^int4\.codes \(row 0 .*add up to at most 8421504/);
  int4.validate({ ...make(cols), zeroPoint: undefined });
});

grouped('facts', () => {
  const values = denseMatrix(createRandom(33), 3, 70);
  const facts = (options: object) => weightFacts(int4.pack(values, { rows: 3, cols: 70, ...options }));
  assert.is(facts({}).groupSize, 32);
  assert.is(facts({ groupSize: 70 }).groupSize, 70);
  assert.is(facts({}).symmetric, true);
  assert.is(facts({ symmetric: false }).symmetric, false);
  const weights = int4.pack(values, { rows: 3, cols: 70 });
  // Three groups a row: the fourth nibble is not in use.
  assert.is(weightFacts({ ...weights, zeroPoint: new Uint8Array(6).fill(0x88) }).symmetric, true);
  const eights = Uint8Array.of(0x88, 0xf8, 0x88, 0x08, 0x88, 0x88);
  assert.is(weightFacts({ ...weights, zeroPoint: eights }).symmetric, true);
  assert.is(weightFacts({ ...weights, zeroPoint: eights.with(3, 0x09) }).symmetric, false);
});

grouped.run();

const ternarySuite = suite('formats: ternary');

ternarySuite('layout: four columns a byte, the first lowest; unused codes are 1', () => {
  const weights = ternary.pack(Float32Array.of(2, 0, -2, 2, -2, 0, 0, 0, 0, 0), { rows: 2, cols: 5 });
  assert.equal(weights.codes, Uint8Array.of(0b10_00_01_10, 0b01_01_01_00, 0b01_01_01_01, 0b01_01_01_01));
  assert.equal(weights.scale, Float32Array.of(2, 0));
});

ternarySuite('rows that are ternary already are exact, zeros included', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.constantFrom(-1, 0, 1), { minLength: 13, maxLength: 13 }), { minLength: 1, maxLength: 5 }),
      fc.float({ noNaN: true, min: Math.fround(1e-30), max: Math.fround(1e30) }),
      (rows, scale) => {
        const values = Float32Array.from(rows.flat(), (w) => w * scale);
        const weights = ternary.pack(values, { rows: rows.length, cols: 13 });
        assert.equal(ternary.unpack(weights), values);
      },
    ),
    RUNS,
  );
});

ternarySuite('threshold 0.7 mean |w|, scale the mean of what is kept', () => {
  // mean 1, threshold 0.7
  const weights = ternary.pack(Float32Array.of(0.69, -0.71, 2, -0.6), { rows: 1, cols: 4 });
  assert.equal(weights.codes, Uint8Array.of(0b01_10_00_01));
  assert.is(weights.scale[0], Math.fround((Math.fround(0.71) + 2) / 2));
});

ternarySuite('normal weights: near the best of three levels', () => {
  // Of a normal distribution's variance 1 - 2 phi(t)^2 / Q(t) is lost: 0.1919 with t = 0.7 sqrt(2 / pi), and 0.1902
  // with the best t (Max 1960).
  const values = denseMatrix(createRandom(34), 30, 1000);
  const error = meanSquaredError(values, ternary.unpack(ternary.pack(values, { rows: 30, cols: 1000 })));
  assert.ok(error < 0.1919 * 1.03, `${error}`);
});

ternarySuite('validate', () => {
  const good = ternary.pack(denseMatrix(createRandom(35), 3, 5), { rows: 3, cols: 5 });
  const bad = (change: Partial<TernaryWeights>, message: RegExp) =>
    throwsAt(() => ternary.validate({ ...clone(good), ...change }), message);
  for (const shift of [0, 2, 4, 6]) {
    const codes = good.codes.with(2, 0b01_01_01_01 | (3 << shift));
    bad({ codes }, /^ternary\.codes\[2\]: expected four codes of 0, 1 or 2, got 0b[01]{8}, of which one is 3/);
  }
  for (const byte of [0b01_01_00_01, 0b10_01_01_01, 0]) {
    bad({ codes: good.codes.with(3, byte) }, /^ternary\.codes\[3\]: expected 21 in bits 2\.\.7, which hold no code/);
  }
  bad({ codes: new Uint8Array(5).fill(0x55) }, /^ternary\.codes: expected 6 elements, got 5/);
  bad({ codes: new Int8Array(6) as never }, /^ternary\.codes: expected a Uint8Array/);
  for (const s of [-1, Number.NaN, Infinity]) bad({ scale: Float32Array.of(1, s, 1) }, /^ternary\.scale\[1\]/);
  bad({ scale: new Float32Array(1) }, /^ternary\.scale: expected 3 elements, got 1/);
});

ternarySuite.run();

const binarySuite = suite('formats: binary');

binarySuite('bits and scales are those of xnor; activations keep 8 bits', () => {
  const random = createRandom(36);
  for (const shape of SHAPES) {
    const values = denseMatrix(random, shape.rows, shape.cols);
    const weights = binary.pack(values, shape);
    assert.equal({ ...weights, format: 'xnor' }, xnor.pack(values, shape));
    assert.equal(binary.unpack(weights), xnor.unpack(xnor.pack(values, shape)));
  }
  const x = Float32Array.of(3, -255, 0, 17);
  same(binary.decodeActivations(x, 1).values, int8.decodeActivations(x, 1).values);
});

binarySuite('validate', () => {
  const good = binary.pack(denseMatrix(createRandom(37), 2, 33), { rows: 2, cols: 33 });
  const bad = (change: Partial<BinaryWeights>, message: RegExp) =>
    throwsAt(() => binary.validate({ ...clone(good), ...change }), message);
  bad({ bits: Uint32Array.of(1, 1, 1, 2) }, /^binary\.bits\[3\]: expected 0 in bits 1\.\.31/);
  bad({ bits: new Uint32Array(3) }, /^binary\.bits: expected 4 elements, got 3/);
  bad({ bits: new Int32Array(4) as never }, /^binary\.bits: expected a Uint32Array/);
  bad({ scale: Float32Array.of(1, -1) }, /^binary\.scale\[1\]/);
  binary.validate({ ...good, scale: new Float32Array(2) });
});

binarySuite('rows so wide that a sum could leave int32 are refused', () => {
  const cols = 8421505;
  const make = (cols: number): BinaryWeights => {
    return { format: 'binary', rows: 1, cols, bits: new Uint32Array(Math.ceil(cols / 32)), scale: Float32Array.of(1) };
  };
  binary.validate(make(cols - 1));
  throwsAt(() => binary.validate(make(cols)), /^binary\.bits \(row 0 .*at most 8421504, got 8421505/);
});

binarySuite.run();

const codebookSuite = suite('formats: codebook of int8 centroids');

codebookSuite('256 entries are as exact as int8, 16 as k-means allows', () => {
  const random = createRandom(38);
  for (const shape of SHAPES) {
    const values = denseMatrix(random, shape.rows, shape.cols);
    const options = { ...shape, entries: 256, centroids: 'int8' } as const;
    const unpacked = codebook.unpack(codebook.pack(values, options));
    const plain = int8.unpack(int8.pack(values, shape));
    assert.ok(meanSquaredError(values, unpacked) <= meanSquaredError(values, plain) * (1 + 1e-6) + 1e-12);
  }
  const values = denseMatrix(random, 100, 300);
  const weights = codebook.pack(values, { rows: 100, cols: 300, centroids: 'int8' });
  // 0.009497: see the test of f32 centroids.
  assert.ok(meanSquaredError(values, codebook.unpack(weights)) < 0.009497 * 1.1);
});

codebookSuite('rows of few int8 codes are exact, whatever their scale', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: -126, max: 126 }), { minLength: 1, maxLength: 14 }),
      fc.array(fc.integer({ min: -20, max: 20 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 40 }),
      (centroids, exponents, picks) => {
        const row = [127, ...picks.map((pick) => centroids[pick % centroids.length])];
        const values = Float32Array.from(exponents.flatMap((exponent) => row.map((w) => w * 2 ** exponent)));
        const shape = { rows: exponents.length, cols: row.length };
        const weights = codebook.pack(values, { ...shape, centroids: 'int8' });
        assert.instance(weights.codebook, Int8Array);
        assert.equal(
          weights.scale,
          Float32Array.from(exponents, (e) => 2 ** e),
        );
        assert.equal(codebook.unpack(weights), values);
      },
    ),
    RUNS,
  );
});

codebookSuite('pruned weights stay zero, rows of zeros too', () => {
  const values = sparseMatrix(createRandom(39), 40, 50, 0.2);
  for (const entries of [16, 256] as const) {
    const weights = codebook.pack(values, { rows: 40, cols: 50, entries, centroids: 'int8' });
    const unpacked = codebook.unpack(weights);
    for (const [i, w] of values.entries()) if (w === 0) assert.is(unpacked[i], 0);
  }
});

codebookSuite('validate', () => {
  const values = denseMatrix(createRandom(40), 3, 5);
  const good = codebook.pack(values, { rows: 3, cols: 5, centroids: 'int8' });
  const bad = (change: Partial<CodebookWeights>, message: RegExp) =>
    throwsAt(() => codebook.validate({ ...clone(good), ...change }), message);
  bad({ scale: undefined }, /^codebook\.scale: expected a Float32Array of 3 elements/);
  bad({ scale: Float32Array.of(1, 1) }, /^codebook\.scale: expected 3 elements, got 2/);
  for (const s of [0, -1, Number.NaN, Infinity]) bad({ scale: Float32Array.of(s) }, /^codebook\.scale\[0\]/);
  bad({ codebook: new Int8Array(15) }, /^codebook\.codebook: expected 16 elements, got 15/);
  bad({ codebook: new Float32Array(16) }, /^codebook\.scale: expected none beside a codebook of f32/);
  bad({ codebook: new Uint8Array(16) as never }, /^codebook\.codebook: expected a Float32Array/);
  codebook.validate({ ...good, scale: Float32Array.of(0.5) });
  for (const centroids of ['f16', 'INT8', null, 8]) {
    const options = { rows: 3, cols: 5, centroids: centroids as never };
    throwsAt(() => codebook.pack(values, options), /^codebook\.pack\.centroids: expected "f32" or "int8"/);
  }
});

codebookSuite('rows so wide that a sum could leave int32 are refused', () => {
  const cols = 65794; // 128 * 255 * 65794 is just above 2^31 - 1
  const wide = (centroid: number, cols: number): CodebookWeights => ({
    format: 'codebook',
    rows: 1,
    cols,
    entries: 256,
    codebook: new Int8Array(256).fill(centroid),
    scale: Float32Array.of(1),
    codes: new Uint8Array(cols),
  });
  codebook.validate(wide(-128, cols - 1));
  throwsAt(() => codebook.validate(wide(-128, cols)), /^codebook\.codes \(row 0/);
  codebook.validate(wide(127, cols));
});

codebookSuite('facts tell the two kinds of centroids apart', () => {
  const values = denseMatrix(createRandom(41), 3, 5);
  const f32 = weightFacts(codebook.pack(values, { rows: 3, cols: 5 }));
  const int8 = weightFacts(codebook.pack(values, { rows: 3, cols: 5, centroids: 'int8' }));
  assert.equal([f32.centroids, int8.centroids], ['f32', 'int8']);
  assert.equal([exactSums(f32), exactSums(int8)], [false, true]);
  assert.equal([quantizesActivations(f32), quantizesActivations(int8)], [false, true]);
});

codebookSuite.run();

const oracle = suite('reference: every format');

/** y = W * x by loops over what `unpack` returns and the activations the format sees. */
function naive(weights: Weights, { rows, cols }: MatrixShape, x: Float32Array, samples: number): Float64Array {
  const dense = formatOf(weights).unpack(weights);
  const { values, sampleScale } = formatOf(weights).decodeActivations(x, samples, weights);
  const y = new Float64Array(samples * rows);
  for (let m = 0; m < samples; m++) {
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < cols; k++) y[m * rows + r] += dense[r * cols + k] * values[m * cols + k] * sampleScale[m];
    }
  }
  return y;
}

oracle('linear equals a naive product of unpacked weights', () => {
  const random = createRandom(42);
  const samples = 3;
  for (const [name, pack] of Object.entries(PACKERS)) {
    for (const shape of SHAPES) {
      const weights = pack(sparseMatrix(random, shape.rows, shape.cols, 0.6), shape);
      const x = normals(random, samples * shape.cols, 4);
      const facts = weightFacts(weights);
      const problem = linearProblem(facts, shape, samples, {});
      const { y, sums, magnitude } = referenceMatmul(weights, problem, x);
      if (exactSums(facts)) assert.ok(sums.every(Number.isInteger), name);
      for (const [i, value] of naive(weights, shape, x, samples).entries()) {
        // `unpack` rounds to f32.
        assert.ok(Math.abs(y[i] - value) <= 2 ** -23 * magnitude[i], `${name}: ${y[i]} and ${value}`);
      }
    }
  }
});

oracle('conv2d in groups sees the channels of its group, and padding adds nothing', () => {
  const random = createRandom(43);
  const shape = { rows: 6, cols: 9 * 5 };
  const image = [2, 4, 3] as const;
  for (const [name, pack] of Object.entries(PACKERS)) {
    const weights = pack(sparseMatrix(random, shape.rows, shape.cols, 0.7), shape);
    const options = { kernel: 3, padding: [1, 1, 1, 1], groups: 2 } as const;
    const problem = conv2dProblem(weightFacts(weights), shape, image, options);
    const x = normals(random, 2 * 4 * 3 * 10);
    const { y, magnitude } = referenceMatmul(weights, problem, x);
    const dense = formatOf(weights).unpack(weights);
    const { values, sampleScale } = formatOf(weights).decodeActivations(x, 2, weights);
    for (let i = 0; i < y.length; i++) {
      const [o, w, h, b] = [i % 6, Math.floor(i / 6) % 3, Math.floor(i / 18) % 4, Math.floor(i / 72)];
      let sum = 0;
      for (let k = 0; k < 45; k++) {
        const [c, kw, kh] = [k % 5, Math.floor(k / 5) % 3, Math.floor(k / 15)];
        const [ih, iw] = [h + kh - 1, w + kw - 1];
        if (ih < 0 || ih >= 4 || iw < 0 || iw >= 3) continue;
        sum += dense[o * 45 + k] * values[((b * 4 + ih) * 3 + iw) * 10 + (o < 3 ? 0 : 5) + c] * sampleScale[b];
      }
      assert.ok(Math.abs(y[i] - sum) <= 2 ** -23 * magnitude[i], `${name}, output ${i}`);
    }
  }
});

oracle('a NaN poisons its own sample where activations are quantised', () => {
  for (const [name, pack] of Object.entries(PACKERS)) {
    const shape = { rows: 1, cols: 4 };
    const weights = pack(Float32Array.of(0, 1, 0, -1), shape);
    const facts = weightFacts(weights);
    if (!quantizesActivations(facts)) continue;
    const x = Float32Array.of(0, 0, Number.NaN, 0, 0, 255, 0, 0);
    const { y } = referenceMatmul(weights, linearProblem(facts, shape, 2, {}), x);
    assert.ok(Number.isNaN(y[0]) && Number.isFinite(y[1]), name);
  }
});

oracle('tolerances: integer sums do not grow with K, grouped ones with the number of groups', () => {
  const at = (facts: Partial<ReturnType<typeof weightFacts>>) => {
    const weights = { format: 'dense', nnz: 4096, bytes: 0, ...facts } as ReturnType<typeof weightFacts>;
    return Math.round(tolerance(linearProblem(weights, { rows: 1, cols: 4096 }, 1, {})) * 2 ** 23);
  };
  for (const format of ['dense', 'csr', 'bcsr', 'nm', 'csrCodebook', 'codebook'] as const) {
    assert.ok(at({ format }) >= 4100, format);
  }
  for (const format of ['int8', 'ternary', 'binary', 'csrInt8'] as const) assert.is(at({ format }), 7, format);
  assert.is(at({ format: 'codebook', centroids: 'int8' }), 7);
  assert.is(at({ format: 'xnor' }), 4);
  assert.is(at({ format: 'int4', groupSize: 32 }), 128 + 7);
  assert.is(at({ format: 'int2', groupSize: 4096 }), 1 + 7);
});

oracle.run();
