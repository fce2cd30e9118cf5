import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type BcsrWeights,
  type BlockShape,
  bcsr,
  type CsrCodebookWeights,
  type CsrInt8Weights,
  csr,
  csrCodebook,
  csrInt8,
  type NmWeights,
  nm,
  validate,
  type Weights,
} from '../src/formats/index.js';
import { referenceMatmul } from '../src/formats/reference.js';
import { linearProblem, weightFacts } from '../src/layers/problem.js';
import { clone, finiteF32, matrix, meanSquaredError, RUNS, same, throwsAt } from './support/formats.js';
import { createRandom, denseMatrix, sparseMatrix } from './support/random.js';

const BLOCKS: BlockShape[] = [
  [1, 4],
  [2, 1],
  [4, 1],
  [8, 1],
];

const bcsrSuite = suite('formats: bcsr');

bcsrSuite('round trip is exact, and only blocks of zeros are left out', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      for (const block of BLOCKS) {
        const weights = bcsr.pack(values, { rows, cols, block });
        assert.equal(bcsr.unpack(weights), values);
        const blocks = new Set<string>();
        for (const [i, w] of values.entries()) {
          if (w !== 0) blocks.add(`${Math.floor(i / cols / block[0])} ${Math.floor((i % cols) / block[1])}`);
        }
        assert.is(weights.indices.length, blocks.size, `${block}`);
      }
    }),
    RUNS,
  );
});

bcsrSuite('layout: blocks in rows of blocks, rows of a block together, padded with zeros', () => {
  //  1 .   . . . 9
  //  2 .   . . 7 .
  //  3 .   . . . .
  //  4 .   . . . .
  //  . 5   . . . .
  const values = new Float32Array(30);
  for (const [row, col, w] of [
    [0, 0, 1],
    [1, 0, 2],
    [2, 0, 3],
    [3, 0, 4],
    [4, 1, 5],
    [0, 5, 9],
    [1, 4, 7],
  ]) {
    values[row * 6 + col] = w;
  }
  const tall = bcsr.pack(values, { rows: 5, cols: 6 });
  assert.equal([tall.blockRows, tall.blockCols], [4, 1]);
  assert.equal(tall.indptr, Uint32Array.of(0, 3, 4));
  assert.equal(tall.indices, Uint16Array.of(0, 4, 5, 1));
  assert.equal(tall.values, Float32Array.of(1, 2, 3, 4, 0, 7, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0));
  const wide = bcsr.pack(values, { rows: 5, cols: 6, block: [1, 4] });
  assert.equal(wide.indptr, Uint32Array.of(0, 2, 4, 5, 6, 7));
  assert.equal(wide.indices, Uint16Array.of(0, 1, 0, 1, 0, 0, 0));
  assert.equal(wide.values.subarray(0, 8), Float32Array.of(1, 0, 0, 0, 0, 9, 0, 0));
  assert.equal(wide.values.subarray(12, 16), Float32Array.of(7, 0, 0, 0));
});

bcsrSuite('threshold drops blocks of small weights and keeps the others whole', () => {
  const values = Float32Array.of(0.5, 0.1, 0.2, 3, 0.5, -0.5, 0, 0);
  const weights = bcsr.pack(values, { rows: 2, cols: 4, block: [1, 4], threshold: 0.5 });
  assert.equal(bcsr.unpack(weights), Float32Array.of(0.5, 0.1, 0.2, 3, 0, 0, 0, 0));
  for (const threshold of [-1, Number.NaN, '0' as never]) {
    throwsAt(() => bcsr.pack(values, { rows: 2, cols: 4, threshold }), /^bcsr\.pack\.threshold/);
  }
});

bcsrSuite('indices count columns of blocks', () => {
  const wide = bcsr.pack(new Float32Array(262144).fill(1, 262143), { rows: 1, cols: 262144, block: [1, 4] });
  assert.equal(wide.indices, Uint16Array.of(65535));
  const wider = bcsr.pack(new Float32Array(262145).fill(1, 262144), { rows: 1, cols: 262145, block: [1, 4] });
  assert.equal(wider.indices, Uint32Array.of(65536));
  assert.is(bcsr.bytes(wider), 8 + 4 + 16);
});

bcsrSuite('validate', () => {
  const values = denseMatrix(createRandom(50), 6, 7);
  const good = bcsr.pack(values, { rows: 6, cols: 7 });
  const bad = (change: Partial<BcsrWeights>, message: RegExp) =>
    throwsAt(() => bcsr.validate({ ...clone(good), ...change }), message);
  const shapes = [
    [3, 1],
    [1, 1],
    [4, 4],
    [1, 2],
    [0, 0],
    [-4, 1],
    ['4', 1],
    [1e9, 1],
    [Number.NaN, 1],
    [undefined, 1],
  ];
  for (const [blockRows, blockCols] of shapes as [never, never][]) {
    const message = /^bcsr\.blockRows x blockCols: expected a block of 1x4, 2x1, 4x1 or 8x1, got/;
    bad({ blockRows, blockCols }, message);
    const options = { rows: 6, cols: 7, block: [blockRows, blockCols] as never };
    throwsAt(() => bcsr.pack(values, options), /^bcsr\.pack\.block: expected a block/);
  }
  throwsAt(() => bcsr.pack(values, { rows: 6, cols: 7, block: null as never }), /^bcsr\.pack\.block/);
  bad({ blockRows: 8 }, /^bcsr\.indptr: expected 2 elements, got 3\. There is one more than block rows/);
  bad({ values: new Float32Array(54) }, /^bcsr\.values: expected whole blocks of 4 elements, got 54 elements/);
  bad({ values: new Float32Array(52) }, /^bcsr\.indices: expected 13 elements, got 14/);
  bad({ values: new Float64Array(56) as never }, /^bcsr\.values: expected a Float32Array/);
  bad({ values: good.values.with(5, Number.NaN) }, /^bcsr\.values\[5\]: expected a finite number/);
  bad({ values: good.values.with(55, 1) }, /^bcsr\.values\[55\]: expected 0 past the last row, 5/);
  bad({ values: good.values.with(30, 1) }, /^bcsr\.values\[30\]/);
  bad(
    { indices: good.indices.with(13, 7) as never },
    /^bcsr\.indices\[13\]: expected 0\.\.6 \(7 block columns\), got 7/,
  );
  bad(
    { indices: good.indices.with(3, 1) as never },
    /^bcsr\.indices\[3\]: expected a block column after 2 .*block row 0/,
  );
  bad({ indptr: Uint32Array.of(0, 8, 13) }, /^bcsr\.indptr\[2\]: expected 14, the number of blocks/);
  const wide = bcsr.pack(values, { rows: 6, cols: 7, block: [1, 4] });
  throwsAt(() => bcsr.validate({ ...wide, values: wide.values.with(7, 1) }), /^bcsr\.values\[7\]: .*column, 6/);
  bcsr.validate({ ...wide, values: wide.values.with(6, 0) });
});

bcsrSuite.run();

const nmSuite = suite('formats: nm');

/** A matrix with at most two non-zeros in every four columns of a row. */
const pruned = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 23 })).chain(([rows, cols]) =>
  fc
    .array(fc.tuple(fc.nat(3), fc.nat(3), finiteF32, finiteF32), { minLength: rows * 6, maxLength: rows * 6 })
    .map((picks) => {
      const values = new Float32Array(rows * cols);
      for (let r = 0; r < rows; r++) {
        for (let g = 0; 4 * g < cols; g++) {
          const [first, second, a, b] = picks[r * 6 + g];
          if (4 * g + first < cols) values[r * cols + 4 * g + first] = a;
          if (4 * g + second < cols) values[r * cols + 4 * g + second] = b;
        }
      }
      return { rows, cols, values };
    }),
);

nmSuite('round trip of 2:4 matrices is exact', () => {
  fc.assert(
    fc.property(pruned, ({ rows, cols, values }) => {
      for (const prune of [false, true]) assert.equal(nm.unpack(nm.pack(values, { rows, cols, prune })), values);
    }),
    RUNS,
  );
});

nmSuite('layout: two values and a nibble a group, the even group in the low nibble', () => {
  const values = Float32Array.of(0, 5, 0, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8);
  const weights = nm.pack(values, { rows: 1, cols: 16 });
  assert.equal(weights.values, Float32Array.of(5, 6, 7, 0, 0, 0, 0, 8));
  // (1, 3), (0, 1), (0, 1), (0, 3)
  assert.equal(weights.positions, Uint8Array.of(0x4d, 0xc4));
  const odd = nm.pack(Float32Array.of(1, 2, 3), { rows: 3, cols: 1 });
  assert.equal(odd.values, Float32Array.of(1, 0, 2, 0, 3, 0));
  assert.equal(odd.positions, Uint8Array.of(4, 4, 4));
});

nmSuite('a third non-zero is named, or pruned when asked', () => {
  throwsAt(
    () => nm.pack(Float32Array.of(0, 1, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 3), { rows: 2, cols: 8 }),
    /^nm\.pack\.dense \(row 1, column 7\): expected at most two non-zeros in columns 4\.\.7, got a third, 3\. Pass/,
  );
  const kept = nm.unpack(nm.pack(Float32Array.of(1, -3, 2, -2), { rows: 1, cols: 4, prune: true }));
  assert.equal(kept, Float32Array.of(0, -3, 2, 0), 'the first of equals');
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      const unpacked = nm.unpack(nm.pack(values, { rows, cols, prune: true }));
      for (let r = 0; r < rows; r++) {
        for (let g = 0; g < cols; g += 4) {
          const group = (of: Float32Array) => Array.from(of.subarray(r * cols + g, r * cols + Math.min(g + 4, cols)));
          const magnitudes = (of: number[]) => of.map(Math.abs).sort((a, b) => b - a);
          const [before, after] = [group(values), group(unpacked)];
          same(magnitudes(after).slice(0, 2), magnitudes(before).slice(0, 2));
          for (const [i, w] of after.entries()) assert.ok(w === 0 || w === before[i]);
          assert.ok(after.filter((w) => w !== 0).length <= 2);
        }
      }
    }),
    RUNS,
  );
});

nmSuite('validate', () => {
  const good = nm.pack(denseMatrix(createRandom(51), 2, 9), { rows: 2, cols: 9, prune: true });
  const bad = (change: Partial<NmWeights>, message: RegExp) =>
    throwsAt(() => nm.validate({ ...clone(good), ...change }), message);
  for (const pair of [0, 1, 2, 3, 5, 6, 7, 10, 11, 15]) {
    const positions = good.positions.with(2, 0x40 | pair);
    bad(
      { positions },
      /^nm\.positions\[2\] \(row 1, group 0\): expected two ascending positions in 0\.\.3, got \d and \d/,
    );
    bad({ positions: good.positions.with(0, 4 | (pair << 4)) }, /^nm\.positions\[0\] \(row 0, group 1\)/);
  }
  bad({ positions: good.positions.with(3, 0x14) }, /^nm\.positions\[3\]: expected 0 in bits 4\.\.7/);
  bad({ positions: new Uint8Array(3) }, /^nm\.positions: expected 4 elements, got 3/);
  bad({ positions: new Int8Array(4) as never }, /^nm\.positions: expected a Uint8Array/);
  bad({ values: new Float32Array(11) }, /^nm\.values: expected 12 elements, got 11/);
  bad({ values: good.values.with(3, Infinity) }, /^nm\.values\[3\]/);
  bad({ values: good.values.with(5, 1) }, /^nm\.values\[5\]: expected 0 for column 9 of row 0 \(cols = 9\), got 1/);
  bad({ rows: 2 ** 30, cols: 1 }, /^nm\.values: expected at most/);
});

nmSuite.run();

const csrInt8Suite = suite('formats: csrInt8');

csrInt8Suite('within half a step of every weight; what rounds to zero is not stored', () => {
  fc.assert(
    fc.property(matrix, ({ rows, cols, values }) => {
      for (const blockCols of [1, 4] as const) {
        const weights = csrInt8.pack(values, { rows, cols, blockCols });
        const unpacked = csrInt8.unpack(weights);
        for (const [i, w] of values.entries()) {
          const scale = weights.scale[Math.floor(i / cols)];
          assert.ok(Math.abs(unpacked[i] - w) <= scale * 0.5001, `${w} became ${unpacked[i]}, scale ${scale}`);
        }
        for (let entry = 0; entry < weights.indices.length; entry++) {
          assert.ok(weights.codes.subarray(entry * blockCols, (entry + 1) * blockCols).some((code) => code !== 0));
        }
      }
    }),
    RUNS,
  );
});

csrInt8Suite('layout, by hand', () => {
  const values = Float32Array.of(0, 127, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0.2, 0, 0, 0, 0, -63.5);
  const single = csrInt8.pack(values, { rows: 3, cols: 6 });
  assert.equal(single.indptr, Uint32Array.of(0, 2, 2, 3));
  assert.equal(single.indices, Uint16Array.of(1, 4, 5), '0.2 is less than half a step');
  assert.equal(single.codes, Int8Array.of(127, -1, -127));
  assert.equal(single.scale, Float32Array.of(1, 1, 0.5));
  const blocks = csrInt8.pack(values, { rows: 3, cols: 6, blockCols: 4 });
  assert.equal(blocks.indptr, Uint32Array.of(0, 2, 2, 3));
  assert.equal(blocks.indices, Uint16Array.of(0, 1, 1));
  assert.equal(blocks.codes, Int8Array.of(0, 127, 0, 0, -1, 0, 0, 0, 0, -127, 0, 0));
});

csrInt8Suite('threshold decides before the scale', () => {
  const weights = csrInt8.pack(Float32Array.of(3, 1, 1, 0.5), { rows: 2, cols: 2, threshold: 1 });
  assert.equal(csrInt8.unpack(weights), Float32Array.of(3, 0, 0, 0));
  assert.is(weights.scale[1], 1, 'a row without entries');
  throwsAt(() => csrInt8.pack(new Float32Array(1), { rows: 1, cols: 1, threshold: -1 }), /^csrInt8\.pack\.threshold/);
  for (const blockCols of [0, 2, 3, 8, '4', null]) {
    const options = { rows: 1, cols: 1, blockCols: blockCols as never };
    throwsAt(() => csrInt8.pack(new Float32Array(1), options), /^csrInt8\.pack\.blockCols: expected 1 or 4/);
  }
});

csrInt8Suite('validate', () => {
  const values = denseMatrix(createRandom(52), 3, 6).map((w) => w + Math.sign(w));
  const good = csrInt8.pack(values, { rows: 3, cols: 6, blockCols: 4 });
  const bad = (change: Partial<CsrInt8Weights>, message: RegExp) =>
    throwsAt(() => csrInt8.validate({ ...clone(good), ...change }), message);
  bad({ blockCols: 2 as never }, /^csrInt8\.blockCols: expected 1 or 4, got 2/);
  bad({ blockCols: 1 }, /^csrInt8\.indices: expected 24 elements, got 6/);
  bad({ codes: new Int8Array(23) }, /^csrInt8\.codes: expected whole blocks of 4 codes/);
  bad({ codes: new Int8Array(20) }, /^csrInt8\.indices: expected 5 elements, got 6/);
  bad({ codes: new Uint8Array(24) as never }, /^csrInt8\.codes: expected a Int8Array/);
  bad({ codes: good.codes.with(1, -128) }, /^csrInt8\.codes\[1\]: expected -127\.\.127, got -128/);
  bad({ codes: good.codes.with(7, 3) }, /^csrInt8\.codes\[7\]: expected 0 for column 7 of row 0 \(cols = 6\), got 3/);
  bad({ indices: good.indices.with(1, 2) as never }, /^csrInt8\.indices\[1\]: expected 0\.\.1 \(2 block columns\)/);
  bad({ indices: good.indices.with(1, 0) as never }, /^csrInt8\.indices\[1\]: expected a block column after 0/);
  bad({ indptr: Uint32Array.of(0, 7, 4, 6) }, /^csrInt8\.indptr\[1\]/);
  for (const s of [0, -1, Number.NaN, Infinity]) bad({ scale: Float32Array.of(1, s, 1) }, /^csrInt8\.scale\[1\]/);
  bad({ scale: Float32Array.of(1) }, /^csrInt8\.scale: expected 3 elements, got 1/);
});

csrInt8Suite('a row whose sums could leave int32 is refused, one with few entries is not', () => {
  const cols = 66312;
  throwsAt(() => csrInt8.pack(new Float32Array(cols).fill(3), { rows: 1, cols }), /^csrInt8\.pack\.codes \(row 0/);
  csrInt8.pack(new Float32Array(cols).fill(3, 1), { rows: 1, cols });
  csrInt8.pack(new Float32Array(4 * cols).fill(3, 4 * cols - 100), { rows: 1, cols: 4 * cols, blockCols: 4 });
});

csrInt8Suite.run();

const csrCodebookSuite = suite('formats: csrCodebook');

csrCodebookSuite('the pattern of csr, exact when the distinct non-zeros fit', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(finiteF32, { minLength: 1, maxLength: 16 }),
      fc.array(fc.option(fc.nat(), { nil: undefined }), { minLength: 1, maxLength: 60 }),
      (distinct, picks) => {
        const values = Float32Array.from(picks, (pick) => (pick === undefined ? 0 : distinct[pick % distinct.length]));
        for (const entries of [16, 256] as const) {
          const shape = { rows: 1, cols: values.length };
          const weights = csrCodebook.pack(values, { ...shape, entries });
          const plain = csr.pack(values, shape);
          assert.equal([weights.indptr, weights.indices], [plain.indptr, plain.indices]);
          assert.equal(csrCodebook.unpack(weights), values);
        }
      },
    ),
    RUNS,
  );
});

csrCodebookSuite('layout: codes in the order of entries, across rows', () => {
  const values = Float32Array.of(3, 0, 1, 0, 0, 2, 2, 0, 1);
  const weights = csrCodebook.pack(values, { rows: 3, cols: 3 });
  assert.equal(weights.codebook.subarray(0, 4), Float32Array.of(1, 2, 3, 0));
  assert.equal(weights.indptr, Uint32Array.of(0, 2, 3, 5));
  assert.equal(weights.indices, Uint16Array.of(0, 2, 2, 0, 2));
  assert.equal(weights.codes, Uint8Array.of(0x02, 0x11, 0x00));
  const bytes = csrCodebook.pack(values, { rows: 3, cols: 3, entries: 256 });
  assert.equal(bytes.codes, Uint8Array.of(2, 0, 1, 1, 0));
});

csrCodebookSuite('all centroids serve the non-zeros', () => {
  const values = sparseMatrix(createRandom(53), 100, 120, 0.1);
  const nonZeros = values.filter((w) => w !== 0);
  for (const entries of [16, 256] as const) {
    const weights = csrCodebook.pack(values, { rows: 100, cols: 120, entries });
    const unpacked = csrCodebook.unpack(weights);
    assert.is(new Set(unpacked.filter((_, i) => values[i] !== 0)).size, entries);
    for (const [i, w] of values.entries()) {
      const error = Math.abs(unpacked[i] - w);
      if (w === 0) assert.is(unpacked[i], 0);
      else for (const centroid of weights.codebook) assert.ok(error <= Math.abs(centroid - w));
    }
    const error = (meanSquaredError(values, unpacked) * values.length) / nonZeros.length;
    // As for `codebook` of normal values.
    assert.ok(error < (entries === 16 ? 0.009497 : 0.0000415) * 1.05, `${entries}: ${error}`);
  }
  assert.is(csrCodebook.pack(new Float32Array(6), { rows: 2, cols: 3 }).codes.length, 0);
});

csrCodebookSuite('validate', () => {
  const values = Float32Array.of(1, 0, 2, 0, 0, 0, 3, 0, 4, 5, 0, 0);
  const good = csrCodebook.pack(values, { rows: 3, cols: 4 });
  const bad = (change: Partial<CsrCodebookWeights>, message: RegExp) =>
    throwsAt(() => csrCodebook.validate({ ...clone(good), ...change }), message);
  bad({ entries: 32 as never }, /^csrCodebook\.entries: expected 16 or 256/);
  bad({ entries: 256 }, /^csrCodebook\.codebook: expected 256 elements, got 16/);
  bad({ codebook: new Int8Array(16) as never }, /^csrCodebook\.codebook: expected a Float32Array/);
  bad({ codebook: good.codebook.with(9, Number.NaN) }, /^csrCodebook\.codebook\[9\]/);
  bad({ codes: new Uint8Array(2) }, /^csrCodebook\.codes: expected 3 elements, got 2\. 5 codes take 3 bytes/);
  bad({ codes: good.codes.with(2, 0x14) }, /^csrCodebook\.codes\[2\]: expected 0 in bits 4\.\.7/);
  bad({ indptr: Uint32Array.of(0, 2, 2) }, /^csrCodebook\.indptr: expected 4 elements/);
  bad({ indptr: Uint32Array.of(0, 2, 2, 6) }, /^csrCodebook\.indices: expected 6 elements, got 5/);
  bad({ indptr: new Uint32Array(0) }, /^csrCodebook\.indptr: expected 4 elements, got 0/);
  bad({ indptr: [0, 2, 3, 5] as never }, /^csrCodebook\.indptr: expected a Uint32Array/);
  bad({ indptr: Uint32Array.of(0, 4, 3, 5) }, /^csrCodebook\.indptr\[2\]: expected 4\.\.5/);
  bad({ indices: good.indices.with(1, 4) as never }, /^csrCodebook\.indices\[1\]: expected 0\.\.3/);
  for (const entries of [0, '16', null]) {
    const options = { rows: 3, cols: 4, entries: entries as never };
    throwsAt(() => csrCodebook.pack(values, options), /^csrCodebook\.pack\.entries: expected 16 or 256/);
  }
  throwsAt(() => csrCodebook.pack(values, { rows: 3, cols: 4, threshold: -1 }), /^csrCodebook\.pack\.threshold/);
});

csrCodebookSuite.run();

const common = suite('formats: sparse ones');

common('damaged indices and row pointers are always found', () => {
  const shape = { rows: 9, cols: 20 };
  const values = sparseMatrix(createRandom(54), 9, 20, 0.5);
  const packed = [
    ...BLOCKS.map((block) => bcsr.pack(values, { ...shape, block })),
    csrInt8.pack(values, shape),
    csrInt8.pack(values, { ...shape, blockCols: 4 }),
    csrCodebook.pack(values, shape),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...packed),
      fc.nat(),
      fc.integer({ min: 20, max: 65535 }),
      fc.integer({ min: 200, max: 2 ** 32 - 1 }),
      (good, at, column, entry) => {
        const indices = clone(good);
        indices.indices[at % indices.indices.length] = column;
        throwsAt(() => validate(indices), /indices\[\d+\]/);
        const indptr = clone(good);
        indptr.indptr[at % indptr.indptr.length] = entry;
        throwsAt(() => validate(indptr), /(indptr\[\d+\]|indices): /);
      },
    ),
    RUNS,
  );
});

common('what is not stored ignores infinity, a stored zero does not', () => {
  // Columns 0 and 5 are stored. In blocks, so are their neighbours; 2:4 stores two of every four.
  const values = Float32Array.of(2, 0, 0, 0, 0, 3, 0, 0);
  const at = (weights: Weights, column: number) => {
    const x = new Float32Array(8).fill(1);
    x[column] = Infinity;
    return referenceMatmul(weights, linearProblem(weightFacts(weights), weights, 1, {}), x).y[0];
  };
  const shape = { rows: 1, cols: 8 };
  for (const weights of [csr.pack(values, shape), csrCodebook.pack(values, shape), bcsr.pack(values, shape)]) {
    same([at(weights, 0), at(weights, 1), at(weights, 7)], [Infinity, 5, 5], weights.format);
  }
  const blocks = bcsr.pack(Float32Array.of(2, 0, 0, 0, 0, 0, 0, 0), { ...shape, block: [1, 4] });
  same([at(blocks, 0), at(blocks, 1), at(blocks, 4)], [Infinity, Number.NaN, 2]);
  const pairs = nm.pack(values, shape);
  same([at(pairs, 1), at(pairs, 2), at(pairs, 4), at(pairs, 7)], [Number.NaN, 5, Number.NaN, 5]);
  const explicit = csr.pack(values, shape);
  explicit.values[0] = 0;
  same([at(explicit, 0)], [Number.NaN]);
});

common('facts count what is stored', () => {
  const values = new Float32Array(5 * 6).fill(1, 0, 1);
  const shape = { rows: 5, cols: 6 };
  const facts = BLOCKS.map((block) => weightFacts(bcsr.pack(values, { ...shape, block })));
  assert.equal(
    facts.map(({ nnz, block }) => [nnz, ...block!]),
    [
      [4, 1, 4],
      [2, 2, 1],
      [4, 4, 1],
      [8, 8, 1],
    ],
  );
  assert.is(weightFacts(nm.pack(values, shape)).nnz, 5 * 2 * 2);
  const int8 = weightFacts(csrInt8.pack(values, { ...shape, blockCols: 4 }));
  assert.equal([int8.nnz, int8.block], [4, [1, 4]]);
  const clustered = weightFacts(csrCodebook.pack(values, { ...shape, entries: 256 }));
  assert.equal([clustered.nnz, clustered.entries, clustered.centroids], [1, 256, undefined]);
});

common.run();
