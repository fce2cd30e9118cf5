import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MAX_ELEMENTS } from '../src/errors.js';
import { quantizeSample, quantizeValue, roundHalfEven } from '../src/formats/activations.js';
import { formsOf } from '../src/formats/forms.js';
import {
  bcsr,
  type CodebookWeights,
  type CsrWeights,
  codebook,
  csr,
  csrCodebook,
  dense,
  type F16Weights,
  f16,
  formatOf,
  formats,
  type Int8Weights,
  int8,
  type MatrixShape,
  nm,
  validate,
  type Weights,
  type XnorWeights,
  xnor,
} from '../src/formats/index.js';
import { errorBound, referenceMatmul, tolerance } from '../src/formats/reference.js';
import {
  referenceActivation,
  referenceBinary,
  referencePool,
  referenceSoftmax,
  referenceTranspose,
} from '../src/graph/reference.js';
import { fromF16, isF16, toF16 } from '../src/half.js';
import { windowGeometry } from '../src/layers/geometry.js';
import { conv2dProblem, linearProblem, weightFacts } from '../src/layers/problem.js';
import type { PoolProblem } from '../src/plan/problem.js';
import { attempt, clone, finiteF32, matrix, PACKERS, RUNS, SHAPES, same, throwsAt } from './support/formats.js';
import { createRandom, denseMatrix, normals, type Random, sparseMatrix, uniforms } from './support/random.js';

const common = suite('formats: every format');

common('packed weights pass their own validation, and unpack to finite values', () => {
  const random = createRandom(1);
  for (const [name, pack] of Object.entries(PACKERS)) {
    for (const shape of SHAPES) {
      const weights = pack(sparseMatrix(random, shape.rows, shape.cols, 0.3), shape);
      const where = `${name} ${shape.rows}x${shape.cols}`;
      assert.is(validate(weights), weights, where);
      assert.is(formatOf(weights).validate(weights), weights, where);
      const values = formatOf(weights).unpack(weights);
      assert.is(values.length, shape.rows * shape.cols, where);
      assert.ok(values.every(Number.isFinite), where);
    }
  }
});

common('any finite matrix packs, validates and unpacks', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      for (const pack of Object.values(PACKERS)) {
        const weights = validate(pack(values, { rows, cols }));
        const unpacked = formatOf(weights).unpack(weights);
        assert.is(unpacked.length, rows * cols);
        assert.ok(unpacked.every(Number.isFinite), weights.format);
      }
    }),
    RUNS,
  );
});

common('decode means what unpack returns', () => {
  const random = createRandom(2);
  for (const [name, pack] of Object.entries(PACKERS)) {
    for (const shape of SHAPES) {
      const weights = pack(sparseMatrix(random, shape.rows, shape.cols, 0.6), shape);
      const { values, rowScale } = formatOf(weights).decode(weights);
      assert.is(rowScale.length, shape.rows);
      const product = Float32Array.from(values, (value, i) => value * rowScale[Math.floor(i / shape.cols)]);
      assert.equal(product, formatOf(weights).unpack(weights), name);
    }
  }
});

common('bytes count every array', () => {
  for (const { rows, cols } of SHAPES) {
    const values = sparseMatrix(createRandom(3), rows, cols, 0.4).map((w) => w + 2 * Math.sign(w));
    const nnz = values.filter((w) => w !== 0).length;
    const blocks = (height: number, width: number) => {
      const keys = Array.from(values, (w, i) => [w, Math.floor(i / cols / height), Math.floor((i % cols) / width)]);
      return new Set(keys.filter(([w]) => w !== 0).map(([, r, c]) => `${r} ${c}`)).size;
    };
    const blocked = (height: number, width: number) =>
      4 * (Math.ceil(rows / height) + 1) + blocks(height, width) * (2 + 4 * height * width);
    const grouped = (bits: number, groupSize: number) =>
      rows * Math.ceil(cols / groupSize) * (Math.ceil((groupSize * bits) / 8) + 4);
    const codes = (entries: number) => (entries === 16 ? rows * Math.ceil(cols / 2) : rows * cols);
    const sizes: Record<string, number> = {
      dense: 4 * rows * cols,
      f16: 2 * rows * cols,
      csr: 4 * (rows + 1) + nnz * (2 + 4),
      bcsr: blocked(4, 1),
      'bcsr 1x4': blocked(1, 4),
      'bcsr 2x1': blocked(2, 1),
      'bcsr 8x1': blocked(8, 1),
      nm: 8 * rows * Math.ceil(cols / 4) + rows * Math.ceil(Math.ceil(cols / 4) / 2),
      int8: rows * cols + 4 * rows,
      'int8 asymmetric': rows * cols + 4 * rows + rows,
      'int8 per tensor': rows * cols + 4 + 1,
      int8Grouped: grouped(8, 32),
      'int8Grouped asymmetric': grouped(8, 16) + rows * Math.ceil(cols / 16),
      'int8Grouped whole rows': grouped(8, cols) + rows,
      int4: grouped(4, 32),
      'int4 asymmetric': grouped(4, 16) + rows * Math.ceil(Math.ceil(cols / 16) / 2),
      'int4 whole rows': grouped(4, cols) + rows,
      int2: grouped(2, 32),
      'int2 asymmetric': grouped(2, 16) + rows * Math.ceil(Math.ceil(cols / 16) / 4),
      'int2 whole rows': grouped(2, cols),
      'codebook 16': 4 * 16 + codes(16),
      'codebook 256': 4 * 256 + codes(256),
      'codebook 16 int8': 16 + 4 * rows + codes(16),
      'codebook 256 int8': 256 + 4 * rows + codes(256),
      ternary: rows * Math.ceil(cols / 4) + 4 * rows,
      binary: 4 * rows * Math.ceil(cols / 32) + 4 * rows,
      xnor: 4 * rows * Math.ceil(cols / 32) + 4 * rows,
      // No weight is so small beside the largest of its row that it rounds to zero.
      csrInt8: 4 * (rows + 1) + nnz * (2 + 1) + 4 * rows,
      'csrInt8 1x4': 4 * (rows + 1) + blocks(1, 4) * (2 + 4) + 4 * rows,
      'csrCodebook 16': 4 * (rows + 1) + nnz * 2 + Math.ceil(nnz / 2) + 4 * 16,
      'csrCodebook 256': 4 * (rows + 1) + nnz * (2 + 1) + 4 * 256,
    };
    for (const [name, pack] of Object.entries(PACKERS)) {
      const weights = pack(values, { rows, cols });
      assert.is(formatOf(weights).bytes(weights), sizes[name], `${name} ${rows}x${cols}`);
    }
  }
  const wide = csr.pack(new Float32Array(65537).fill(1, 65530), { rows: 1, cols: 65537 });
  assert.instance(wide.indices, Uint32Array);
  assert.is(csr.bytes(wide), 8 + 7 * (4 + 4));
  const narrow = csr.pack(new Float32Array(65536).fill(1, 65530), { rows: 1, cols: 65536 });
  assert.instance(narrow.indices, Uint16Array);
  assert.is(csr.bytes(narrow), 8 + 6 * (2 + 4));
});

common('pack does not write to its input, and does not keep it', () => {
  const values = denseMatrix(createRandom(4), 5, 7);
  const before = values.slice();
  for (const [name, pack] of Object.entries(PACKERS)) {
    const weights = pack(values, { rows: 5, cols: 7 });
    assert.equal(values, before, name);
    for (const array of Object.values(weights)) {
      if (ArrayBuffer.isView(array)) assert.is.not(array.buffer, values.buffer, name);
    }
  }
});

common('pack refuses wrong shapes, lengths, types and values', () => {
  const values = new Float32Array(6);
  for (const [name, pack] of Object.entries(PACKERS)) {
    const format = name.split(' ')[0];
    const at = (rest: string) => new RegExp(`^${format}\\.pack\\.${rest}`);
    throwsAt(() => pack(values, { rows: 2, cols: 4 }), at('dense: expected 8 elements, got 6'));
    throwsAt(() => pack(values, { rows: 0, cols: 4 }), at('rows: expected an integer in 1\\.\\.'));
    throwsAt(() => pack(values, { rows: 2.5, cols: 4 }), at('rows: .* got 2\\.5'));
    throwsAt(() => pack(values, { rows: 2, cols: -3 }), at('cols: .* got -3'));
    throwsAt(() => pack(values, { rows: 2 } as MatrixShape), at('cols: .* got undefined'));
    throwsAt(() => pack(values, { rows: MAX_ELEMENTS, cols: MAX_ELEMENTS }), at('rows \\* cols: expected at most'));
    throwsAt(() => pack([1, 2] as never, { rows: 1, cols: 2 }), at('dense: expected a Float32Array'));
    throwsAt(() => pack(null as never, { rows: 1, cols: 2 }), at('dense: .* got null'));
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      const poisoned = values.slice();
      poisoned[4] = bad;
      throwsAt(() => pack(poisoned, { rows: 2, cols: 3 }), at(`dense\\[4\\]: expected a finite number, got ${bad}`));
    }
  }
  for (const format of Object.values(formats)) {
    throwsAt(() => format.pack(values, undefined as never), /\.pack: expected an object with rows and cols/);
  }
});

common('validate names what is not weights at all', () => {
  for (const garbage of [null, undefined, 3, 'csr', Symbol('csr'), 5n, () => 0]) {
    throwsAt(() => validate(garbage as never, 'layer.weights'), /^layer\.weights: expected packed weights/);
    for (const { name, validate } of Object.values(formats)) {
      throwsAt(() => validate(garbage as never), new RegExp(`^${name}: expected weights in format`));
    }
  }
  for (const format of ['coo', 'toString', '__proto__', 'constructor', '', undefined, 7, null, {}]) {
    throwsAt(() => validate({ format } as never), /^weights\.format: expected one of dense, csr, bcsr, nm, int8, /);
  }
  throwsAt(() => validate([] as never), /^weights\.format/);
  throwsAt(() => csr.validate(dense.pack(new Float32Array(1), { rows: 1, cols: 1 }) as never), /^csr\.format: .*'csr'/);
});

common('any mutation of valid weights passes or gives a ThinferError; what passes unpacks', () => {
  const element = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, 255, 65535, -1, Number.NaN, 2 ** 32 - 1));
  const replacement = fc.oneof(
    fc.anything({ withTypedArray: true, withBigInt: true, withNullPrototype: true, withSparseArray: true }),
    fc.integer(),
    fc.constantFrom(MAX_ELEMENTS, MAX_ELEMENTS - 1, 2 ** 31, 2 ** 53, 1e300, 1.5, -0, 65536, 65537),
    fc
      .array(fc.integer({ min: 0, max: 40 }), { maxLength: 20 })
      .chain((values) =>
        fc.constantFrom<ArrayLike<number>>(
          Float32Array.from(values),
          Float64Array.from(values),
          Uint32Array.from(values),
          Uint16Array.from(values),
          Uint8Array.from(values),
          Int8Array.from(values),
          Int32Array.from(values),
          values,
        ),
      ),
  );
  const mutation = fc.oneof(
    fc.record({ kind: fc.constant('replace' as const), field: fc.nat(), value: replacement }),
    fc.record({ kind: fc.constant('element' as const), field: fc.nat(), index: fc.nat(), value: element }),
    fc.record({ kind: fc.constant('resize' as const), field: fc.nat(), by: fc.integer({ min: -3, max: 3 }) }),
    fc.record({ kind: fc.constant('delete' as const), field: fc.nat() }),
  );
  const name = fc.constantFrom(...Object.keys(PACKERS));
  fc.assert(
    fc.property(
      name,
      matrix,
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      (name, { values, ...shape }, list) => {
        const mutant = clone(PACKERS[name](values, shape)) as unknown as Record<string, unknown>;
        for (const change of list) {
          const fields = Object.keys(mutant);
          const field = fields[change.field % fields.length];
          const old = mutant[field];
          if (change.kind === 'replace') mutant[field] = change.value;
          else if (change.kind === 'delete') delete mutant[field];
          else if (ArrayBuffer.isView(old) && 'length' in old) {
            const array = old as Float32Array;
            if (change.kind === 'element') array[change.index % Math.max(array.length, 1)] = change.value;
            else {
              const Type = array.constructor as typeof Float32Array;
              const resized = new Type(Math.max(array.length + change.by, 0));
              resized.set(array.subarray(0, resized.length));
              mutant[field] = resized;
            }
          }
        }
        const weights = attempt(() => validate(mutant as unknown as Weights));
        if (!weights) return;
        const unpacked = formatOf(weights).unpack(weights);
        assert.is(unpacked.length, weights.rows * weights.cols);
        assert.ok(unpacked.every(Number.isFinite));
      },
    ),
    { ...RUNS, numRuns: 4000 },
  );
});

common('declared sizes are never believed', () => {
  const huge = [
    { rows: MAX_ELEMENTS, cols: 2 },
    { rows: 2 ** 16, cols: 2 ** 16 },
    { rows: 2 ** 53, cols: 1 },
    { rows: 1, cols: Infinity },
    { rows: Number.NaN, cols: 1 },
    { rows: '3', cols: 1 },
    { rows: 1, cols: MAX_ELEMENTS },
    { rows: MAX_ELEMENTS, cols: 1 },
  ];
  for (const [name, pack] of Object.entries(PACKERS)) {
    const weights = pack(new Float32Array(6).fill(1), { rows: 2, cols: 3 });
    for (const shape of huge) {
      const forged = { ...weights, ...shape } as Weights;
      throwsAt(() => validate(forged), /./);
      throwsAt(() => formatOf(forged).unpack(forged), new RegExp(`^${name.split(' ')[0]}\\.unpack`));
      throwsAt(() => formatOf(forged).decode(forged), new RegExp(`^${name.split(' ')[0]}\\.decode`));
    }
  }
});

common('plain activations are what they were', () => {
  const x = Float32Array.of(1.5, -0, Number.NaN, Infinity);
  for (const format of [dense, csr, bcsr, nm, codebook, csrCodebook]) {
    const { values, sampleScale } = format.decodeActivations(x, 2);
    same(values, [1.5, -0, Number.NaN, Infinity]);
    same(sampleScale, [1, 1]);
  }
});

common.run();

const denseSuite = suite('formats: dense');

denseSuite('round trip is exact', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      assert.equal(dense.unpack(dense.pack(values, { rows, cols })), values);
    }),
    RUNS,
  );
});

denseSuite('validate', () => {
  const good = dense.pack(new Float32Array(6), { rows: 2, cols: 3 });
  throwsAt(
    () => dense.validate({ ...good, values: new Float32Array(5) }),
    /^dense\.values: expected 6 elements, got 5/,
  );
  throwsAt(() => dense.validate({ ...good, values: new Float64Array(6) as never }), /^dense\.values: .*Float32Array/);
  throwsAt(
    () => dense.validate({ ...good, values: Float32Array.of(0, 0, 0, 0, 0, Number.NaN) }, 'a'),
    /^a\.values\[5\]/,
  );
});

denseSuite.run();

const f16Suite = suite('formats: f16');

f16Suite('every half comes back, and is what its bits say', () => {
  const halves = Uint16Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => (bits & 0x7c00) !== 0x7c00);
  const shape = { rows: 1, cols: halves.length };
  const values = f16.unpack(f16.pack(halves, shape));
  assert.equal(f16.pack(values, shape).halves, halves);
  for (const [bits, value] of [
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x83ff, -1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3c00, 1],
    [0xc248, -3.140625],
    [0x7bff, 65504],
  ]) {
    assert.ok(Object.is(values[halves.indexOf(bits)], value), `0x${bits.toString(16)}`);
    assert.ok(isF16(value));
  }
  // Larger bits are larger numbers.
  for (let bits = 1; bits < 0x7c00; bits++) assert.ok(values[bits] > values[bits - 1]);
});

f16Suite('pack rounds to the nearest half, of two to the even one', () => {
  const positive = f16.unpack(
    f16.pack(
      Uint16Array.from({ length: 0x7c00 }, (_, i) => i),
      { rows: 1, cols: 0x7c00 },
    ),
  );
  const anyValue = fc.oneof(
    fc.float({ min: -65504, max: 65504, noNaN: true }),
    fc.float({ min: Math.fround(-1e-4), max: Math.fround(1e-4), noNaN: true }),
    // Halfway between two, and a little beside.
    fc.tuple(fc.integer({ min: 0, max: 0x7bfe }), fc.constantFrom(0, 1, -1)).map(([bits, beside]) => {
      const middle = (positive[bits] + positive[bits + 1]) / 2;
      return Math.fround(middle * (1 + beside * 2 ** -23));
    }),
  );
  fc.assert(
    fc.property(anyValue, (x) => {
      const { halves } = f16.pack(Float32Array.of(x), { rows: 1, cols: 1 });
      const [y] = f16.unpack({ format: 'f16', rows: 1, cols: 1, halves });
      const error = Math.abs(y - x);
      for (const bits of [halves[0] - 1, halves[0] + 1]) {
        const other = positive[bits & 0x7fff];
        if (other === undefined || (halves[0] & 0x7fff) === 0) continue;
        const theirs = Math.abs(other - Math.abs(x));
        assert.ok(error < theirs || (error === theirs && (halves[0] & 1) === 0), `${x} is ${y}`);
      }
      assert.is(isF16(x), error === 0);
    }),
    { ...RUNS, numRuns: 3000 },
  );
});

f16Suite('what 16 bits do not hold is refused', () => {
  const shape = { rows: 1, cols: 2 };
  assert.equal(f16.pack(Float32Array.of(65519, -65519), shape).halves, Uint16Array.of(0x7bff, 0xfbff));
  for (const bad of [65520, -65520, 1e30]) {
    throwsAt(() => f16.pack(Float32Array.of(1, bad), shape), /^f16\.pack\.dense\[1\]: .*below 65520/);
  }
  throwsAt(() => f16.pack(Uint16Array.of(1), shape), /^f16\.pack\.dense: expected 2 elements, got 1/);
  throwsAt(() => f16.pack(Uint16Array.of(0, 0x7c00), shape), /^f16\.pack\.halves\[1\]: .*Infinity/);
  throwsAt(() => f16.pack(Uint16Array.of(0xfe00, 0), shape), /^f16\.pack\.halves\[0\]: .*NaN/);
  const good = f16.pack(Uint16Array.of(1, 2), shape);
  throwsAt(() => f16.validate({ ...good, halves: Float32Array.of(1, 2) as never }), /^f16\.halves: .*Uint16Array/);
});

f16Suite('dense weights that are halves may become f16', () => {
  const halves = dense.pack(Float32Array.of(0.5, -3, 2 ** -24, 1 / 1024), { rows: 2, cols: 2 });
  const floats = dense.pack(Float32Array.of(0.5, -3, 2 ** -25, 1), { rows: 2, cols: 2 });
  const formats = (weights: Weights) => formsOf(weights, weightFacts(weights)).map(({ facts }) => facts.format);
  assert.equal(formats(halves), ['dense', 'f16']);
  assert.equal(formats(floats), ['dense']);
  const form = formsOf(halves, weightFacts(halves))[1];
  const weights = form.make() as F16Weights;
  assert.equal(f16.unpack(weights), halves.values);
  assert.is(form.facts.bytes, f16.bytes(weights));
});

f16Suite.run();

const csrSuite = suite('formats: csr');

csrSuite('round trip is exact, -0 becomes 0', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      const weights = csr.pack(values, { rows, cols });
      assert.equal(csr.unpack(weights), values);
      assert.is(weights.values.length, values.filter((w) => w !== 0).length);
    }),
    RUNS,
  );
});

csrSuite('threshold drops small weights and keeps the others as they are', () => {
  const values = Float32Array.of(0.5, -0.5, 0.75, -2, 0, 0.25);
  const weights = csr.pack(values, { rows: 2, cols: 3, threshold: 0.5 });
  assert.equal(weights.indptr, Uint32Array.of(0, 1, 2));
  assert.equal(weights.indices, Uint16Array.of(2, 0));
  assert.equal(weights.values, Float32Array.of(0.75, -2));
  for (const threshold of [-1, Number.NaN, Infinity, '0' as never, null as never]) {
    throwsAt(() => csr.pack(values, { rows: 2, cols: 3, threshold }), /^csr\.pack\.threshold/);
  }
});

csrSuite('an all-zero matrix has no entries', () => {
  const weights = csr.validate(csr.pack(new Float32Array(12), { rows: 3, cols: 4 }));
  assert.is(weights.values.length, 0);
  assert.equal(csr.unpack(weights), new Float32Array(12));
});

csrSuite('validate', () => {
  //  1 . 2 .
  //  . . . .
  //  . 3 . 4
  const good = csr.pack(Float32Array.of(1, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 4), { rows: 3, cols: 4 });
  const bad = (change: Partial<CsrWeights>, message: RegExp) =>
    throwsAt(() => csr.validate({ ...clone(good), ...change }), message);
  bad(
    { indices: Uint16Array.of(0, 4, 1, 3) },
    /^csr\.indices\[1\]: expected 0\.\.3 .* got 4\. Was the matrix transposed/,
  );
  bad({ indices: Uint16Array.of(2, 0, 1, 3) }, /^csr\.indices\[1\]: expected a column after 2 .*row 0/);
  bad({ indices: Uint16Array.of(0, 2, 3, 3) }, /^csr\.indices\[3\]: expected a column after 3 .*row 2/);
  bad({ indices: Uint16Array.of(0, 2, 1) }, /^csr\.indices: expected 4 elements, got 3/);
  bad({ indices: Uint32Array.of(0, 2, 1, 3) }, /^csr\.indices: expected a Uint16Array/);
  bad({ indices: [0, 2, 1, 3] as never }, /^csr\.indices: expected a Uint16Array of 4 elements, got an array of 4/);
  bad({ indptr: Uint32Array.of(0, 2, 4) }, /^csr\.indptr: expected 4 elements, got 3/);
  bad({ indptr: Uint32Array.of(1, 2, 2, 4) }, /^csr\.indptr\[0\]: expected 0, got 1/);
  bad({ indptr: Uint32Array.of(0, 2, 2, 5) }, /^csr\.indptr\[3\]: expected 4, the number of values, got 5/);
  bad({ indptr: Uint32Array.of(0, 3, 2, 4) }, /^csr\.indptr\[2\]: expected 3\.\.4 .*got 2/);
  bad({ indptr: Uint32Array.of(0, 2 ** 32 - 1, 2, 4) }, /^csr\.indptr\[1\]: expected 0\.\.4 .*got 4294967295/);
  bad({ indptr: Int32Array.of(0, 2, 2, 4) as never }, /^csr\.indptr: expected a Uint32Array/);
  bad({ values: Float32Array.of(1, 2, Number.NaN, 4) }, /^csr\.values\[2\]/);
  bad({ values: Float64Array.of(1, 2, 3, 4) as never }, /^csr\.values: expected a Float32Array/);
  bad({ values: undefined }, /^csr\.values/);
  bad({ rows: 2 }, /^csr\.indptr/);
  bad({ cols: 3 }, /^csr\.indices\[3\]/);
  bad({ cols: 65537 }, /^csr\.indices: expected a Uint32Array/);
});

csrSuite('damaged indices and row pointers are always found', () => {
  const values = sparseMatrix(createRandom(5), 9, 20, 0.5);
  const good = csr.pack(values, { rows: 9, cols: 20 });
  fc.assert(
    fc.property(fc.nat(good.indices.length - 1), fc.integer({ min: 20, max: 65535 }), (at, column) => {
      const mutant = clone(good);
      mutant.indices[at] = column;
      throwsAt(() => validate(mutant), /indices\[\d+\]/);
    }),
    RUNS,
  );
  fc.assert(
    fc.property(fc.nat(9), fc.integer({ min: good.values.length + 1, max: 2 ** 32 - 1 }), (at, entry) => {
      const mutant = clone(good);
      mutant.indptr[at] = entry;
      throwsAt(() => validate(mutant), /indptr\[\d+\]/);
    }),
    RUNS,
  );
});

csrSuite.run();

const int8Suite = suite('formats: int8');

const INT8_OPTIONS = [true, false].flatMap((perChannel) =>
  [true, false].map((symmetric) => ({ perChannel, symmetric })),
);

int8Suite('within half a step of every weight, zero exact, codes in range', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      for (const options of INT8_OPTIONS) {
        const weights = int8.pack(values, { rows, cols, ...options });
        assert.is(weights.scale.length, options.perChannel ? rows : 1);
        assert.is(weights.zeroPoint === undefined, options.symmetric);
        if (options.symmetric) assert.ok(weights.codes.every((code) => code >= -127));
        const unpacked = int8.unpack(weights);
        for (const [i, w] of values.entries()) {
          const scale = weights.scale[options.perChannel ? Math.floor(i / cols) : 0];
          assert.ok(Math.abs(unpacked[i] - w) <= scale * 0.5001, `${w} became ${unpacked[i]}, scale ${scale}`);
          if (w === 0) assert.is(unpacked[i], 0);
        }
      }
    }),
    RUNS,
  );
});

int8Suite('known codes', () => {
  const values = Float32Array.of(-127, 0.5, 1.5, 2.5, 0, 10, 5, 255);
  const symmetric = int8.pack(values, { rows: 2, cols: 4 });
  assert.equal(symmetric.scale, Float32Array.of(1, Math.fround(255 / 127)));
  assert.equal(symmetric.codes.subarray(0, 4), Int8Array.of(-127, 0, 2, 2), 'half to even');
  const asymmetric = int8.pack(values.subarray(4).slice(), { rows: 1, cols: 4, symmetric: false });
  assert.equal(asymmetric.scale, Float32Array.of(1));
  assert.equal(asymmetric.zeroPoint, Int8Array.of(-128));
  assert.equal(asymmetric.codes, Int8Array.of(-128, -118, -123, 127));
  const negative = int8.pack(Float32Array.of(-255, -1), { rows: 1, cols: 2, symmetric: false });
  assert.equal(negative.zeroPoint, Int8Array.of(127));
  assert.equal(negative.codes, Int8Array.of(-128, 126));
});

int8Suite('rows of zeros and tiny rows have a positive scale', () => {
  for (const options of INT8_OPTIONS) {
    const zeros = int8.validate(int8.pack(new Float32Array(6), { rows: 2, cols: 3, ...options }));
    assert.ok(zeros.scale.every((s) => s === 1));
    assert.equal(int8.unpack(zeros), new Float32Array(6));
    const tiny = new Float32Array(6).fill(2 ** -149);
    assert.ok(int8.pack(tiny, { rows: 2, cols: 3, ...options }).scale.every((s) => s === 2 ** -126));
  }
});

int8Suite('validate', () => {
  const good = int8.pack(denseMatrix(createRandom(6), 3, 4), { rows: 3, cols: 4, symmetric: false });
  const bad = (change: Partial<Int8Weights>, message: RegExp) =>
    throwsAt(() => int8.validate({ ...clone(good), ...change }), message);
  for (const s of [0, -1, Number.NaN, Infinity, -0]) {
    bad({ scale: Float32Array.of(1, s, 1) }, /^int8\.scale\[1\]: expected a finite number above 0/);
    bad({ scale: Float32Array.of(s) }, /^int8\.scale\[0\]/);
  }
  bad({ scale: Float32Array.of(1, 1) }, /^int8\.scale: expected 3 elements, got 2/);
  bad({ scale: new Float32Array(0) }, /^int8\.scale/);
  bad({ scale: [1] as never }, /^int8\.scale: expected a Float32Array of 1/);
  bad({ scale: undefined }, /^int8\.scale/);
  bad({ zeroPoint: Int8Array.of(1, 2) }, /^int8\.zeroPoint: expected 3 elements, got 2/);
  bad({ zeroPoint: null as never }, /^int8\.zeroPoint/);
  bad({ zeroPoint: Uint8Array.of(1) as never }, /^int8\.zeroPoint: expected a Int8Array/);
  bad({ codes: new Uint8Array(12) as never }, /^int8\.codes: expected a Int8Array/);
  bad({ codes: new Int8Array(11) }, /^int8\.codes: expected 12 elements, got 11/);
  int8.validate({ ...good, zeroPoint: undefined });
  int8.validate({ ...good, zeroPoint: Int8Array.of(-128) });
  int8.validate({ ...good, scale: Float32Array.of(0.1) });
});

int8Suite('a row whose sums could leave int32 is refused, one that could not is not', () => {
  const cols = 66312; // 127 * 255 * 66312 is just above 2^31 - 1
  const row = { format: 'int8' as const, rows: 1, scale: Float32Array.of(1) };
  int8.validate({ ...row, cols: cols - 1, codes: new Int8Array(cols - 1).fill(-127) });
  throwsAt(
    () => int8.validate({ ...row, cols, codes: new Int8Array(cols).fill(-127) }),
    /^int8\.codes .*add up to at most/,
  );
  throwsAt(() => int8.pack(new Float32Array(cols).fill(3), { rows: 1, cols }), /^int8\.pack\.codes/);
  const zeroPoint = Int8Array.of(127);
  int8.validate({ ...row, cols: 33025, codes: new Int8Array(33025).fill(-128), zeroPoint });
  throwsAt(
    () => int8.validate({ ...row, cols: 33026, codes: new Int8Array(33026).fill(-128), zeroPoint }),
    /^int8\.codes/,
  );
});

int8Suite('activations are quantised by sample', () => {
  const x = Float32Array.of(0, 255, 3, 0, 0, 0, -1, 1, Number.NaN, -10, 0, 5);
  const { values, sampleScale } = int8.decodeActivations(x, 4);
  assert.equal(values.subarray(0, 6), Float64Array.of(0, 255, 3, 0, 0, 0));
  same(sampleScale.subarray(0, 3), [1, 0, Number.NaN]);
  assert.equal(values.subarray(6, 9), new Float64Array(3), 'a sample with NaN decodes to zeros');
  for (let i = 9; i < 12; i++) assert.ok(Math.abs(values[i] * sampleScale[3] - x[i]) <= sampleScale[3] * 0.51);
});

int8Suite.run();

const codebookSuite = suite('formats: codebook');

function squaredError(values: Float32Array, nearest: (w: number, i: number) => number): number {
  return values.reduce((sum, w, i) => sum + (w - nearest(w, i)) ** 2, 0);
}

codebookSuite('exact when the distinct values fit', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(finiteF32, { minLength: 1, maxLength: 16 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 60 }),
      (distinct, picks) => {
        const values = Float32Array.from(picks, (pick) => distinct[pick % distinct.length]);
        for (const entries of [16, 256] as const) {
          const weights = codebook.pack(values, { rows: 1, cols: values.length, entries });
          assert.equal(codebook.unpack(weights), values);
        }
      },
    ),
    RUNS,
  );
  const all = Float32Array.from({ length: 512 }, (_, i) => (i % 256) - 100);
  assert.equal(codebook.unpack(codebook.pack(all, { rows: 2, cols: 256, entries: 256 })), all);
  assert.equal(codebook.unpack(codebook.pack(Float32Array.of(-0), { rows: 1, cols: 1 })), Float32Array.of(0));
});

codebookSuite('codes of 16 entries: even column in the low nibble, rows on a byte', () => {
  const weights = codebook.pack(Float32Array.of(3, 1, 2, 2, 3, 1), { rows: 2, cols: 3 });
  assert.equal(weights.codebook.subarray(0, 4), Float32Array.of(1, 2, 3, 0));
  assert.equal(weights.codes, Uint8Array.of(0x02, 0x01, 0x21, 0x00));
});

codebookSuite('each weight has the nearest centroid, and zero stays zero', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      const weights = codebook.pack(values, { rows, cols });
      const unpacked = codebook.unpack(weights);
      for (const [i, w] of values.entries()) {
        const error = Math.abs(unpacked[i] - w);
        for (const centroid of weights.codebook) assert.ok(error <= Math.abs(centroid - w));
        if (w === 0) assert.is(unpacked[i], 0);
      }
    }),
    RUNS,
  );
});

codebookSuite('no worse than evenly spread centroids', () => {
  for (const entries of [16, 256] as const) {
    for (const shape of [
      { rows: 64, cols: 64 },
      { rows: 1, cols: 1009 },
    ]) {
      const values = denseMatrix(createRandom(7), shape.rows, shape.cols);
      const low = Math.min(...values);
      const step = (Math.max(...values) - low) / (entries - 1);
      const linear = squaredError(values, (w) => low + step * Math.round((w - low) / step));
      const unpacked = codebook.unpack(codebook.pack(values, { ...shape, entries }));
      assert.ok(squaredError(values, (_, i) => unpacked[i]) < linear);
    }
  }
});

codebookSuite('close to the best quantiser of normal values', () => {
  // Max 1960, Quantizing for minimum distortion: 16 levels reach 0.009497 of the variance; 256 levels, by the
  // asymptotic formula sqrt(3) pi / 2 / n^2, reach 0.0000415. These few samples are fitted a little better than that.
  const shape = { rows: 200, cols: 250 };
  const values = denseMatrix(createRandom(8), shape.rows, shape.cols);
  for (const [entries, bound] of [
    [16, 0.009497 * 1.03],
    [256, 0.0000415],
  ] as const) {
    const unpacked = codebook.unpack(codebook.pack(values, { ...shape, entries }));
    const distortion = squaredError(values, (_, i) => unpacked[i]) / values.length;
    assert.ok(distortion < bound, `${entries}: ${distortion}`);
  }
});

codebookSuite('pruned matrices keep their zeros and most centroids', () => {
  const shape = { rows: 50, cols: 60 };
  const values = sparseMatrix(createRandom(9), shape.rows, shape.cols, 0.1);
  const weights = codebook.pack(values, shape);
  const unpacked = codebook.unpack(weights);
  for (const [i, w] of values.entries()) if (w === 0) assert.is(unpacked[i], 0);
  assert.is(new Set(unpacked).size, 16);
});

codebookSuite('outliers cost a few centroids, not all', () => {
  const values = denseMatrix(createRandom(10), 40, 40);
  values[7] = 1e30;
  values[8] = -1e30;
  const unpacked = codebook.unpack(codebook.pack(values, { rows: 40, cols: 40 }));
  const error = squaredError(values, (w, i) => (Math.abs(w) > 1e20 ? w : unpacked[i])) / 1600;
  assert.ok(error < 0.02, `${error}`);
  assert.ok(Math.abs(unpacked[7] / 1e30 - 1) < 1e-6);
});

codebookSuite('deterministic', () => {
  const values = denseMatrix(createRandom(11), 30, 30);
  assert.equal(codebook.pack(values, { rows: 30, cols: 30 }), codebook.pack(values, { rows: 30, cols: 30 }));
});

codebookSuite('validate', () => {
  const good = codebook.pack(denseMatrix(createRandom(12), 3, 5), { rows: 3, cols: 5 });
  const bad = (change: Partial<CodebookWeights>, message: RegExp) =>
    throwsAt(() => codebook.validate({ ...clone(good), ...change }), message);
  for (const entries of [0, 15, 17, 255, 2 ** 30, Number.NaN, '16', undefined]) {
    bad({ entries: entries as never }, /^codebook\.entries: expected 16 or 256/);
    if (entries !== undefined) {
      const options = { rows: 1, cols: 1, entries: entries as never };
      throwsAt(() => codebook.pack(new Float32Array(1), options), /^codebook\.pack\.entries/);
    }
  }
  bad({ entries: 256 }, /^codebook\.codebook: expected 256 elements, got 16/);
  bad({ codebook: new Float32Array(15) }, /^codebook\.codebook: expected 16 elements, got 15/);
  bad({ codebook: new Float32Array(16).fill(Infinity, 9) }, /^codebook\.codebook\[9\]/);
  bad({ codebook: new Float64Array(16) as never }, /^codebook\.codebook: expected a Float32Array/);
  bad({ codes: new Uint8Array(8) }, /^codebook\.codes: expected 9 elements, got 8/);
  bad({ codes: new Int8Array(9) as never }, /^codebook\.codes: expected a Uint8Array/);
  bad(
    { codes: Uint8Array.of(0, 0, 0, 0, 0, 16, 0, 0, 0) },
    /^codebook\.codes\[5\]: expected 0 in bits 4\.\.7, which hold no code, got 1/,
  );
  bad({ codes: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 255) }, /^codebook\.codes\[8\]/);
  bad({ cols: 6, codes: new Uint8Array(8) }, /^codebook\.codes/);
});

codebookSuite.run();

const xnorSuite = suite('formats: xnor');

xnorSuite('closed form: sign times the mean magnitude of the row', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      const weights = xnor.pack(values, { rows, cols });
      const unpacked = xnor.unpack(weights);
      for (let r = 0; r < rows; r++) {
        const row = values.subarray(r * cols, (r + 1) * cols);
        const mean = Math.fround(row.reduce((sum, w) => sum + Math.abs(w), 0) / cols);
        assert.is(weights.scale[r], mean);
        for (const [c, w] of row.entries()) assert.is(unpacked[r * cols + c], w >= 0 ? mean : -mean);
      }
    }),
    RUNS,
  );
});

xnorSuite('bits: column c is bit c mod 32, unused bits are 0', () => {
  const values = new Float32Array(2 * 33).fill(-1);
  for (const c of [0, 31, 32, 33 + 1]) values[c] = 1;
  values[33 + 2] = 0;
  values[33 + 3] = -0;
  assert.equal(xnor.pack(values, { rows: 2, cols: 33 }).bits, Uint32Array.of(0x80000001, 1, 0b1110, 0));
});

xnorSuite('activations are signs; zero counts as +1, NaN as -1', () => {
  const { values, sampleScale } = xnor.decodeActivations(Float32Array.of(2, -2, 0, -0, Number.NaN, -Infinity), 3);
  same(values, [1, -1, 1, 1, -1, -1]);
  same(sampleScale, [1, 1, 1]);
});

xnorSuite('validate', () => {
  const good = xnor.pack(denseMatrix(createRandom(13), 3, 33), { rows: 3, cols: 33 });
  const bad = (change: Partial<XnorWeights>, message: RegExp) =>
    throwsAt(() => xnor.validate({ ...clone(good), ...change }), message);
  bad({ bits: Uint32Array.of(1, 1, 1, 2, 1, 1) }, /^xnor\.bits\[3\]: expected 0 in bits 1\.\.31 .*got 0x00000002/);
  bad({ bits: Uint32Array.of(1, 1, 1, 1, 1, 0x80000000) }, /^xnor\.bits\[5\]: .*got 0x80000000/);
  bad({ bits: new Uint32Array(5) }, /^xnor\.bits: expected 6 elements, got 5/);
  bad({ bits: new Int32Array(6) as never }, /^xnor\.bits: expected a Uint32Array/);
  bad({ scale: new Float32Array(2) }, /^xnor\.scale: expected 3 elements, got 2/);
  for (const s of [-1, Number.NaN, Infinity]) bad({ scale: Float32Array.of(1, 1, s) }, /^xnor\.scale\[2\]/);
  xnor.validate({ ...good, scale: new Float32Array(3) });
  const full = xnor.pack(denseMatrix(createRandom(13), 3, 32), { rows: 3, cols: 32 });
  xnor.validate({ ...full, bits: new Uint32Array(3).fill(0xffffffff) });
});

xnorSuite.run();

const quantization = suite('formats: activations');

quantization('half to even', () => {
  const halves = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, 2.5001, -3, 7];
  assert.equal(halves.map(roundHalfEven), [-2, -2, 0, 0, 2, 2, 2, 3, -3, 7]);
  assert.ok(Number.isNaN(roundHalfEven(Number.NaN)));
});

quantization('a sample is within half a step, zero is exact', () => {
  const reasonable = fc.float({ noNaN: true, min: Math.fround(-1e30), max: Math.fround(1e30) });
  fc.assert(
    fc.property(fc.array(reasonable, { minLength: 1, maxLength: 30 }), (list) => {
      const values = list.map(Math.fround);
      const low = Math.min(...values);
      const high = Math.max(...values);
      const q = quantizeSample(low, high);
      assert.ok(Number.isInteger(q.zeroPoint) && q.zeroPoint >= 0 && q.zeroPoint <= 255);
      assert.is(quantizeValue(0, q), q.zeroPoint);
      assert.is(q.scale, Math.fround(q.scale));
      assert.is(q.inverse, Math.fround(q.inverse), 'the inverse is an f32');
      for (const x of values) {
        const code = quantizeValue(x, q);
        assert.ok(Number.isInteger(code) && code >= 0 && code <= 255);
        // A range that counts as zero has scale 0: then the value itself is the error.
        const allowed = q.scale === 0 ? 2 ** -100 : q.scale * 0.501;
        assert.ok(Math.abs(q.scale * (code - q.zeroPoint) - x) <= allowed, `${x} in ${low}..${high}`);
      }
    }),
    { ...RUNS, numRuns: 3000 },
  );
});

quantization('the inverse has 17 bits and never overshoots the range', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: Math.fround(1e-29), max: Math.fround(1e34) }), (high) => {
      const { inverse } = quantizeSample(0, high);
      assert.ok(inverse * high <= 255 && inverse * high > 254.98, `${inverse * high}`);
      const exponent = Math.floor(Math.log2(inverse));
      assert.ok(Number.isInteger(inverse * 2 ** (16 - exponent)));
    }),
    { ...RUNS, numRuns: 3000 },
  );
});

quantization('extremes', () => {
  assert.equal(quantizeSample(0, 255), { inverse: 1, scale: 1, zeroPoint: 0 });
  assert.equal(quantizeSample(-255, 0), { inverse: 1, scale: 1, zeroPoint: 255 });
  assert.equal(quantizeSample(3, 255), quantizeSample(0, 255), 'zero is always inside');
  assert.equal(quantizeSample(-255, -3), quantizeSample(-255, 0));
  for (const [min, max] of [
    [0, 0],
    [-0, 0],
    [0, 2 ** -149],
    [-(2 ** -101), 0],
  ]) {
    const q = quantizeSample(min, max);
    assert.is(q.scale, 0);
    assert.is(quantizeValue(max, q) - q.zeroPoint, 0);
  }
  for (const [min, max] of [
    [0, Infinity],
    [-Infinity, 0],
    [-Infinity, Infinity],
    [Number.NaN, 1],
    [0, Number.NaN],
    [-(2 ** 127), 2 ** 127],
    [0, 2 ** 117],
  ]) {
    assert.ok(Number.isNaN(quantizeSample(min, max).scale), `${min}..${max}`);
  }
  assert.ok(quantizeSample(0, 2 ** 116).scale > 0);
  assert.ok(quantizeSample(0, 2 ** -100).scale > 0);
});

quantization.run();

const oracle = suite('reference: matmul');

/** Another way to convolve, to hold the oracle against: each input pixel is scattered to the outputs that see it. */
function scatterConv(
  weights: Float32Array,
  problem: ReturnType<typeof conv2dProblem>,
  x: ArrayLike<number>,
): Float64Array {
  const { N, groups, channels, window: win } = problem;
  const outputs = N * groups;
  const inGroup = channels / groups;
  const y = new Float64Array(problem.M * outputs);
  for (let b = 0; b < win.batch; b++) {
    for (let ih = 0; ih < win.inHeight; ih++) {
      for (let iw = 0; iw < win.inWidth; iw++) {
        for (let oh = 0; oh < win.outHeight; oh++) {
          for (let ow = 0; ow < win.outWidth; ow++) {
            const kh = (ih + win.padTop - oh * win.strideHeight) / win.dilationHeight;
            const kw = (iw + win.padLeft - ow * win.strideWidth) / win.dilationWidth;
            if (!Number.isInteger(kh) || kh < 0 || kh >= win.kernelHeight) continue;
            if (!Number.isInteger(kw) || kw < 0 || kw >= win.kernelWidth) continue;
            for (let c = 0; c < channels; c++) {
              const g = Math.floor(c / inGroup);
              const a = x[((b * win.inHeight + ih) * win.inWidth + iw) * channels + c];
              for (let o = g * N; o < (g + 1) * N; o++) {
                const w = weights[((o * win.kernelHeight + kh) * win.kernelWidth + kw) * inGroup + (c % inGroup)];
                y[((b * win.outHeight + oh) * win.outWidth + ow) * outputs + o] += a * w;
              }
            }
          }
        }
      }
    }
  }
  return y;
}

oracle('linear by hand', () => {
  const weights = dense.pack(Float32Array.of(1, 2, 3, -1, 0, 1), { rows: 2, cols: 3 });
  const options = { bias: Float32Array.of(10, -10), activation: { min: -100, max: 25 } };
  const problem = linearProblem(weightFacts(weights), weights, 2, options);
  const result = referenceMatmul(weights, problem, Float32Array.of(1, 1, 1, 2, -1, 10), options.bias);
  assert.equal(result.sums, Float64Array.of(6, 0, 30, 8));
  assert.equal(result.y, Float64Array.of(16, -10, 25, -2));
  assert.equal(result.magnitude, Float64Array.of(16, 12, 44, 22));
});

oracle('conv2d equals a scattered convolution for windows of all kinds', () => {
  const side = fc.integer({ min: 1, max: 6 });
  const small = fc.integer({ min: 1, max: 3 });
  const pad = fc.integer({ min: 0, max: 2 });
  const geometry = fc.record({
    image: fc.tuple(fc.integer({ min: 1, max: 2 }), side, side),
    kernel: fc.tuple(small, small),
    stride: fc.tuple(small, small),
    dilation: fc.tuple(small, small),
    padding: fc.oneof(fc.tuple(pad, pad, pad, pad), fc.constantFrom('same' as const, 'sameLower' as const)),
    groups: small,
    inGroup: small,
    outGroup: small,
  });
  let compared = 0;
  fc.assert(
    fc.property(geometry, ({ image, groups, inGroup, outGroup, ...window }) => {
      const random = createRandom(14);
      const shape = { rows: groups * outGroup, cols: window.kernel[0] * window.kernel[1] * inGroup };
      const values = sparseMatrix(random, shape.rows, shape.cols, 0.7);
      const weights = csr.pack(values, shape);
      const problem = attempt(() => conv2dProblem(weightFacts(weights), shape, image, { ...window, groups }));
      if (!problem) return; // the window is larger than the image
      compared++;
      const x = normals(random, image[0] * image[1] * image[2] * problem.channels);
      const expected = scatterConv(values, problem, x);
      for (const packed of [weights, dense.pack(values, shape)]) {
        const { y, sums, magnitude } = referenceMatmul(packed, problem, x);
        for (const [i, value] of expected.entries()) {
          assert.ok(Math.abs(y[i] - value) <= 1e-12 * (1 + magnitude[i]));
          assert.is(sums[i], y[i]);
        }
      }
    }),
    RUNS,
  );
  assert.ok(compared > 100, `${compared}`);
});

oracle('int8: exact integer sums, zero padding, one scale an image', () => {
  const random = createRandom(15);
  const shape = { rows: 4, cols: 18 };
  const weights = int8.pack(denseMatrix(random, 4, 18), { ...shape, symmetric: false });
  const image = [2, 5, 4] as const;
  const problem = conv2dProblem(weightFacts(weights), shape, image, { kernel: 3, padding: 'same' });
  const x = uniforms(random, 2 * 5 * 4 * 2, -1, 3);
  x.subarray(40).forEach((value, i, part) => {
    part[i] = value * 100;
  });
  const bias = normals(random, 4);
  const { y, sums, magnitude } = referenceMatmul(weights, problem, x, bias);
  assert.ok(sums.every(Number.isInteger));
  const plain = scatterConv(int8.unpack(weights), problem, x);
  for (const [i, value] of plain.entries()) {
    const image = Math.floor(i / (5 * 4 * 4));
    const step = int8.decodeActivations(x, 2).sampleScale[image];
    const rowSum = 18 * Math.max(...int8.unpack(weights).map(Math.abs));
    assert.ok(Math.abs(y[i] - bias[i % 4] - value) <= 0.51 * step * rowSum);
    assert.ok(magnitude[i] >= Math.abs(y[i]) - 1e-9);
  }
});

oracle('int8: a NaN poisons its own sample only', () => {
  const weights = int8.pack(Float32Array.of(1, 2), { rows: 1, cols: 2 });
  const problem = linearProblem(weightFacts(weights), weights, 2, {});
  const { y, sums } = referenceMatmul(weights, problem, Float32Array.of(1, Number.NaN, 0, 255));
  assert.ok(Number.isNaN(y[0]));
  assert.equal(sums, Float64Array.of(0, 255 * 127));
  assert.ok(Math.abs(y[1] - 510) < 1e-4);
});

oracle('xnor: padding adds nothing, or counts as +1', () => {
  const weights = xnor.pack(new Float32Array(9).fill(0.5), { rows: 1, cols: 9 });
  const x = new Float32Array(4).fill(-3);
  const at = (binaryPadding: 'zero' | 'one') => {
    const problem = conv2dProblem(weightFacts(weights), weights, [1, 2, 2], {
      kernel: 3,
      padding: 'same',
      binaryPadding,
    });
    return referenceMatmul(weights, problem, x);
  };
  assert.equal(at('zero').sums, Float64Array.of(-4, -4, -4, -4));
  assert.equal(at('zero').y, Float64Array.of(-2, -2, -2, -2));
  assert.equal(at('one').sums, Float64Array.of(1, 1, 1, 1));
  assert.equal(at('one').magnitude, Float64Array.of(4.5, 4.5, 4.5, 4.5));
});

oracle('csr: a weight that is not stored ignores infinity, a dense zero does not', () => {
  const values = Float32Array.of(0, 2);
  const x = Float32Array.of(Infinity, 1);
  for (const [weights, expected] of [
    [csr.pack(values, { rows: 1, cols: 2 }), 2],
    [dense.pack(values, { rows: 1, cols: 2 }), Number.NaN],
  ] as const) {
    const problem = linearProblem(weightFacts(weights), weights, 1, {});
    same(referenceMatmul(weights, problem, x).y, [expected]);
  }
});

/** A half as a device may round to it: up or down, and flushed to zero below 2^-14. */
function anyHalf(random: Random, value: number): number {
  const nearest = toF16(value);
  const half = fromF16(
    random.next() < 0.5 ? nearest : nearest + Math.sign(Math.abs(value) - Math.abs(fromF16(nearest))),
  );
  return Math.abs(value) < 2 ** -14 && random.next() < 0.5 ? 0 : half;
}

oracle('the tolerance of arithmetic f16 covers halves, however they are rounded, and nothing coarser', () => {
  const random = createRandom(77);
  const [rows, cols] = [9, 130];
  let beyond = 0;
  for (const scale of [1, 2 ** -12, 1000]) {
    const packed = f16.pack(denseMatrix(random, rows, cols), { rows, cols });
    const w = f16.unpack(packed);
    const x = normals(random, cols, scale);
    const problem = linearProblem(weightFacts(packed), packed, 1, { arithmetic: 'f16' });
    const { y, magnitude, vanishing } = referenceMatmul(packed, problem, x);
    for (let r = 0; r < rows; r++) {
      const row = w.subarray(r * cols, (r + 1) * cols);
      const sumOf = (round: (value: number) => number) =>
        row.reduce((sum, weight, k) => Math.fround(sum + weight * round(x[k])), 0);
      const bound = errorBound(problem, magnitude[r], vanishing![r]);
      assert.ok(Math.abs(sumOf((value) => anyHalf(random, value)) - y[r]) <= bound, `scale ${scale}, row ${r}`);
      // 8 bits, cut off, every product off the same way.
      const coarse = row.reduce((sum, weight, k) => sum + Math.abs(weight * x[k]) * 2 ** -7, 0);
      if (coarse > bound) beyond++;
    }
  }
  assert.is(beyond, 2 * rows, 'rows where a coarser format would be found out: all but those of small activations');
});

oracle('f32 sums in two orders stay within the tolerance', () => {
  const random = createRandom(16);
  for (const K of [1, 2, 31, 257, 4096]) {
    const values = denseMatrix(random, 1, K);
    const x = normals(random, K);
    const bias = normals(random, 1);
    const weights = dense.pack(values, { rows: 1, cols: K });
    const problem = linearProblem(weightFacts(weights), weights, 1, { bias });
    const { y, magnitude } = referenceMatmul(weights, problem, x, bias);
    let forward = 0;
    let backward = 0;
    for (let k = 0; k < K; k++) {
      forward = Math.fround(forward + Math.fround(values[k] * x[k]));
      backward = Math.fround(backward + Math.fround(values[K - 1 - k] * x[K - 1 - k]));
    }
    for (const sum of [forward, backward]) {
      assert.ok(Math.abs(Math.fround(sum + bias[0]) - y[0]) <= errorBound(problem, magnitude[0]), `K = ${K}`);
    }
    assert.ok(tolerance(problem) < (K + 5) * 2 ** -22);
  }
  const packed = xnor.pack(new Float32Array(5000), { rows: 1, cols: 5000 });
  assert.ok(tolerance(linearProblem(weightFacts(packed), packed, 1, {})) < 2 ** -20, 'integer sums do not grow with K');
});

oracle('wrong sizes are named', () => {
  const weights = dense.pack(new Float32Array(6), { rows: 2, cols: 3 });
  const problem = linearProblem(weightFacts(weights), weights, 2, {});
  throwsAt(() => referenceMatmul(weights, problem, new Float32Array(5)), /^reference\.x/);
  throwsAt(() => referenceMatmul(weights, problem, new Float32Array(6), new Float32Array(3)), /^reference\.bias/);
  throwsAt(() => referenceMatmul(weights, { ...problem, N: 3 }, new Float32Array(6)), /^reference\.weights\.rows/);
});

oracle.run();

const weightless = suite('reference: operators without weights');

function pool(
  op: PoolProblem['op'],
  options: Parameters<typeof windowGeometry>[0] & { countIncludePad?: boolean },
  image: readonly [number, number, number],
  x: number[],
): number[] {
  const window = windowGeometry(options, image, 'pool');
  const channels = x.length / (image[0] * image[1] * image[2]);
  const problem: PoolProblem = { op, channels, window, countIncludePad: options.countIncludePad ?? false };
  return Array.from(referencePool(problem, Float32Array.from(x)));
}

weightless('max pooling: padding never wins', () => {
  assert.equal(pool('maxPool2d', { kernel: 2, stride: 2 }, [1, 2, 4], [1, 2, 5, 6, 3, 4, 7, 8]), [4, 8]);
  assert.equal(pool('maxPool2d', { kernel: 3, padding: [1, 1, 1, 1] }, [1, 1, 2], [-5, -6]), [-5, -5]);
  assert.equal(pool('maxPool2d', { kernel: 1, padding: [1, 0, 0, 0] }, [1, 1, 1], [-5]), [-Infinity, -5]);
  assert.equal(pool('maxPool2d', { kernel: [1, 2] }, [1, 1, 2], [1, Number.NaN]), [Number.NaN]);
  assert.equal(pool('maxPool2d', { kernel: [1, 2], dilation: [1, 2] }, [1, 1, 3], [1, 9, 2]), [2]);
  assert.equal(pool('maxPool2d', { kernel: [1, 2] }, [2, 1, 2], [1, 20, 3, 4, 5, 6, 7, 2]), [3, 20, 7, 6]);
});

weightless('average pooling: what is divided by', () => {
  const x = [1, 2, 3, 4, 5];
  const padded = { kernel: [1, 3], stride: [1, 2], padding: [0, 1, 0, 1] } as const;
  assert.equal(pool('averagePool2d', padded, [1, 1, 5], x), [1.5, 3, 4.5]);
  assert.equal(pool('averagePool2d', { ...padded, countIncludePad: true }, [1, 1, 5], x), [1, 3, 3]);
  // ceilMode: the last window starts at 4 and would end at 7; the padded image ends at 6, the image at 5.
  const over = { kernel: [1, 3], stride: [1, 2], padding: [0, 0, 0, 1], ceilMode: true } as const;
  assert.equal(pool('averagePool2d', over, [1, 1, 5], x), [2, 4, 5]);
  assert.equal(pool('averagePool2d', { ...over, countIncludePad: true }, [1, 1, 5], x), [2, 4, 2.5]);
  assert.equal(pool('averagePool2d', { kernel: 1, padding: [1, 0, 0, 0] }, [1, 1, 1], [7]), [0, 7]);
});

weightless('binary operators broadcast by strides, then clamp', () => {
  const a = Float32Array.of(1, 2, 3, 4, 5, 6);
  const row = Float32Array.of(10, 20, 30);
  const clamp: [number, number] = [-Infinity, Infinity];
  const problem = { dims: [2, 3], aStrides: [3, 1], bStrides: [0, 1], clamp };
  assert.equal(referenceBinary({ op: 'add', ...problem }, a, row), Float64Array.of(11, 22, 33, 14, 25, 36));
  assert.equal(referenceBinary({ op: 'sub', ...problem }, a, row), Float64Array.of(-9, -18, -27, -6, -15, -24));
  const column = { ...problem, bStrides: [1, 0], clamp: [0, 50] as [number, number] };
  assert.equal(referenceBinary({ op: 'mul', ...column }, a, row), Float64Array.of(10, 20, 30, 50, 50, 50));
  same(referenceBinary({ op: 'div', ...column }, Float32Array.of(0, 1, -1, 0, 0, 0), new Float32Array(2)), [
    Number.NaN,
    50,
    0,
    Number.NaN,
    Number.NaN,
    Number.NaN,
  ]);
  const scalar = { op: 'add' as const, dims: [], aStrides: [], bStrides: [], clamp };
  assert.equal(referenceBinary(scalar, a, row), Float64Array.of(11));
});

weightless('clamp keeps NaN', () => {
  const x = Float32Array.of(-1, 0.5, 7, Number.NaN, Infinity);
  const problem = { op: 'activation' as const, size: 5, clamp: [0, 6] as [number, number] };
  same(referenceActivation(problem, x), [0, 0.5, 6, Number.NaN, 6]);
});

weightless('softmax of large values does not overflow, rows add up to 1', () => {
  const problem = { op: 'softmax' as const, rows: 2, cols: 3 };
  const y = referenceSoftmax(problem, Float32Array.of(1000, 1000, -1000, 0, Math.fround(Math.log(2)), -Infinity));
  for (const [i, expected] of [0.5, 0.5, 0, 1 / 3, 2 / 3, 0].entries()) assert.ok(Math.abs(y[i] - expected) < 1e-7);
  assert.ok(
    referenceSoftmax(problem, Float32Array.of(1, Number.NaN, 2, 0, 0, 0))
      .subarray(0, 3)
      .every(Number.isNaN),
  );
});

weightless('transpose, and back by the inverse permutation', () => {
  const a = Float32Array.from({ length: 6 }, (_, i) => i);
  const flat = referenceTranspose({ op: 'transpose', dims: [2, 3], perm: [1, 0] }, a);
  assert.equal(flat, Float64Array.of(0, 3, 1, 4, 2, 5));
  const x = normals(createRandom(17), 2 * 3 * 4 * 5);
  const perm = [0, 3, 1, 2]; // NHWC to NCHW
  const nchw = referenceTranspose({ op: 'transpose', dims: [2, 3, 4, 5], perm }, x);
  assert.is(nchw[((1 * 5 + 2) * 3 + 1) * 4 + 3], x[((1 * 3 + 1) * 4 + 3) * 5 + 2]);
  const back = referenceTranspose({ op: 'transpose', dims: [2, 5, 3, 4], perm: [0, 2, 3, 1] }, Float32Array.from(nchw));
  assert.equal(Float32Array.from(back), x);
});

weightless.run();
