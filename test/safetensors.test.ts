import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, ThinferError } from '../src/errors.js';
import { formats } from '../src/formats/index.js';
import {
  type ElementType,
  loadSafetensors,
  readSafetensors,
  type ToWeightsOptions,
  toWeights,
} from '../src/safetensors/index.js';
import { safetensorsFile, type TensorToWrite, writeSafetensors } from './support/safetensors-writer.js';

const RUNS = { seed: 20260, numRuns: 200 };

function throwsWith(code: ErrorCode, pattern: RegExp, call: () => unknown): void {
  try {
    call();
  } catch (error) {
    assert.instance(error, ThinferError, String(error));
    assert.is((error as ThinferError).code, code, String(error));
    assert.match((error as ThinferError).message, pattern);
    return;
  }
  assert.unreachable(`expected ThinferError ${code} ${pattern}`);
}

const f32 = (shape: number[], data: Iterable<number>): TensorToWrite => ({
  type: 'F32',
  shape,
  data: Float32Array.from(data),
});

const file = suite('safetensors files');

const CONTENTS: Record<ElementType, (seed: number[]) => TensorToWrite['data']> = {
  BOOL: (x) => Uint8Array.from(x, (v) => v & 1),
  U8: (x) => Uint8Array.from(x),
  I8: (x) => Int8Array.from(x),
  F8_E5M2: (x) => Uint8Array.from(x),
  F8_E4M3: (x) => Uint8Array.from(x),
  F8_E8M0: (x) => Uint8Array.from(x),
  I16: (x) => Int16Array.from(x, (v) => v * -77),
  U16: (x) => Uint16Array.from(x, (v) => v * 251),
  F16: (x) => Uint16Array.from(x, (v) => v * 113),
  BF16: (x) => Uint16Array.from(x, (v) => v * 113),
  I32: (x) => Int32Array.from(x, (v) => v * -1234567),
  U32: (x) => Uint32Array.from(x, (v) => v * 7654321),
  F32: (x) => Float32Array.from(x, (v) => v / 3),
  F64: (x) => Float64Array.from(x, (v) => v / 7),
  I64: (x) => BigInt64Array.from(x, (v) => BigInt(v) * -123456789012n),
  U64: (x) => BigUint64Array.from(x, (v) => BigInt(v) * 123456789012n),
};

const arbitraryTensor = fc
  .record({
    type: fc.constantFrom(...(Object.keys(CONTENTS) as ElementType[])),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
  })
  .chain(({ type, shape }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return fc
      .array(fc.nat(255), { minLength: count, maxLength: count })
      .map((seed): TensorToWrite => ({ type, shape, data: CONTENTS[type](seed) }));
  });
const arbitraryBag = fc.dictionary(
  fc.string({ maxLength: 12 }).filter((name) => name !== '__metadata__' && !/^\d+$/.test(name)),
  arbitraryTensor,
  { maxKeys: 6 },
);
const arbitraryMetadata = fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 });

file('what was written is read, aligned or not', () => {
  fc.assert(
    fc.property(arbitraryBag, arbitraryMetadata, fc.constantFrom(1, 8), fc.nat(7), (bag, metadata, padding, offset) => {
      const bytes = writeSafetensors(bag, metadata, padding);
      const moved = new Uint8Array(bytes.length + offset);
      moved.set(bytes, offset);
      const read = readSafetensors(moved.subarray(offset));
      assert.equal([...read.tensors.keys()].sort(), Object.keys(bag).sort());
      assert.equal([...read.metadata], Object.entries(metadata));
      for (const [name, { type, shape, data }] of Object.entries(bag)) {
        const tensor = read.tensors.get(name)!;
        assert.is(tensor.type, type);
        assert.equal(tensor.shape, shape);
        assert.equal(tensor.data, data);
      }
    }),
    RUNS,
  );
});

file('aligned data is a view of the file', () => {
  const bytes = writeSafetensors({ a: f32([2], [1, 2]), b: { type: 'I8', shape: [1], data: Int8Array.of(5) } });
  const { tensors } = readSafetensors(bytes);
  assert.is(tensors.get('a')!.data.buffer, bytes.buffer);
  assert.is(tensors.get('b')!.data.buffer, bytes.buffer);
  (tensors.get('a')!.data as Float32Array)[1] = 7;
  assert.equal(readSafetensors(bytes).tensors.get('a')!.data, Float32Array.of(1, 7));
});

file('floats of 16 bits as f32', () => {
  // Of IEEE 754 and of the upper half of an f32: 1, -2, the least subnormal, infinity.
  const { tensors } = readSafetensors(
    writeSafetensors({
      half: { type: 'F16', shape: [4], data: Uint16Array.of(0x3c00, 0xc000, 1, 0x7c00) },
      brain: { type: 'BF16', shape: [4], data: Uint16Array.of(0x3f80, 0xc000, 1, 0x7f80) },
      double: { type: 'F64', shape: [1], data: Float64Array.of(0.1) },
    }),
  );
  assert.equal(tensors.get('half')!.floats(), Float32Array.of(1, -2, 2 ** -24, Number.POSITIVE_INFINITY));
  assert.equal(tensors.get('brain')!.floats(), Float32Array.of(1, -2, 2 ** -133, Number.POSITIVE_INFINITY));
  assert.equal(tensors.get('double')!.floats(), Float32Array.of(0.1));
});

file('names that JavaScript objects have are names like any other', () => {
  const header =
    '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}';
  const { tensors } = readSafetensors(safetensorsFile(header, Uint8Array.of(3, 4)));
  assert.equal([...tensors.keys()], ['__proto__', 'constructor']);
  assert.is(tensors.get('__proto__')!.data[0], 3);
  assert.is(({} as { dtype?: unknown }).dtype, undefined);
});

file('files that contradict themselves are refused with the place', () => {
  const one =
    (info: string, data = new Uint8Array(8)) =>
    () =>
      readSafetensors(safetensorsFile(`{"a":${info}}`, data));
  const of =
    (text: string, data = new Uint8Array(0)) =>
    () =>
      readSafetensors(safetensorsFile(text, data));
  const cases: [RegExp, () => unknown][] = [
    [/8 bytes of its length, got 3 bytes/, () => readSafetensors(new Uint8Array(3))],
    [/header: expected at most 0 bytes, got 6/, () => readSafetensors(Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0))],
    [/header: expected at most 1 bytes, got 18446744073709551615/, () => readSafetensors(new Uint8Array(9).fill(255))],
    [/JSON in UTF-8/, of('{')],
    [/JSON in UTF-8/, of('['.repeat(100000))],
    [/JSON object/, of('[]')],
    [/JSON object/, of('null')],
    [/"a": expected an object/, one('3')],
    [/"a".dtype: expected a text/, one('{"shape":[8],"data_offsets":[0,8]}')],
    [/"a".shape: expected an array/, one('{"dtype":"U8","data_offsets":[0,8]}')],
    [/"a".shape: expected an array/, one(`{"dtype":"U8","shape":[${'1,'.repeat(40)}1],"data_offsets":[0,8]}`)],
    [/"a".shape\[0\]: expected an integer/, one('{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}')],
    [/"a".shape\[0\]: expected an integer/, one('{"dtype":"U8","shape":[1.5],"data_offsets":[0,8]}')],
    [/"a".shape\[0\]: expected an integer/, one('{"dtype":"U8","shape":["8"],"data_offsets":[0,8]}')],
    [
      /"a".shape: expected at most/,
      one('{"dtype":"U8","shape":[9007199254740991,9007199254740991],"data_offsets":[0,8]}'),
    ],
    [/two offsets/, one('{"dtype":"U8","shape":[8],"data_offsets":[0]}')],
    [/expected 32 bytes for F32/, one('{"dtype":"F32","shape":[8],"data_offsets":[0,8]}')],
    [/expected 8 bytes for U8/, one('{"dtype":"U8","shape":[8],"data_offsets":[8,0]}')],
    [/data from 0 on, got 4/, one('{"dtype":"U8","shape":[4],"data_offsets":[4,8]}')],
    [/an end up to 8/, one('{"dtype":"U8","shape":[9],"data_offsets":[0,9]}')],
    [/data: expected 4 bytes/, one('{"dtype":"U8","shape":[4],"data_offsets":[0,4]}')],
    [
      /"b".data_offsets: expected data from 4 on, got 2/,
      of(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
        new Uint8Array(6),
      ),
    ],
    [/__metadata__ "a": expected a text/, of('{"__metadata__":{"a":1}}')],
    [/__metadata__: expected an object/, of('{"__metadata__":[]}')],
  ];
  for (const [pattern, call] of cases) throwsWith('bad-model', pattern, call);
  throwsWith('unsupported', /"a".dtype: expected one of/, one('{"dtype":"Q3","shape":[8],"data_offsets":[0,8]}'));
  throwsWith('unsupported', /"a".dtype/, one('{"dtype":"toString","shape":[8],"data_offsets":[0,8]}'));
  throwsWith('bad-argument', /Uint8Array or ArrayBuffer/, () => readSafetensors('text' as unknown as Uint8Array));
});

file('mutated files are read or refused, never anything else', () => {
  const whole = writeSafetensors({
    a: f32([2, 3], [1, 2, 3, 4, 5, 6]),
    b: { type: 'I8', shape: [4], data: Int8Array.of(1, 2, 3, 4) },
  });
  const edit = fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.nat(whole.length), (edits, cut) => {
      const bytes = whole.slice(0, whole.length - (cut % 17 === 0 ? cut : 0));
      for (const { at, to } of edits) if (at < bytes.length) bytes[at] = to;
      try {
        for (const tensor of readSafetensors(bytes).tensors.values()) {
          assert.ok(tensor.bytes.length <= bytes.length);
          assert.is(tensor.data.byteLength, tensor.bytes.length);
        }
      } catch (error) {
        assert.instance(error, ThinferError, String(error));
      }
    }),
    { ...RUNS, numRuns: 2000 },
  );
});

file('bytes, blobs and URLs', async () => {
  const bytes = writeSafetensors({ a: f32([1], [4]) });
  const url = `data:application/octet-stream;base64,${btoa(String.fromCharCode(...bytes))}`;
  // The page of the tests may fetch nothing but its own files.
  const urls = typeof document === 'undefined' ? [url, new URL(url)] : [];
  for (const source of [bytes, bytes.buffer, new Blob([bytes]), ...urls]) {
    assert.equal((await loadSafetensors(source)).tensors.get('a')!.data, Float32Array.of(4));
  }
  for (const source of [3, 'no-such-file.safetensors']) {
    const error = await loadSafetensors(source as string).catch((reason) => reason);
    assert.instance(error, ThinferError);
    assert.is(error.code, 'bad-argument');
  }
});

file.run();

const layers = suite('compressed-tensors layouts');

function convert(tensors: Record<string, TensorToWrite>, options?: ToWeightsOptions) {
  return toWeights(readSafetensors(writeSafetensors(tensors)), 'm.q_proj', options);
}

/** Codes of some bits, each row's in words of 32 bits, the first in the lowest. */
function packWords(rows: number, cols: number, bits: number, codeOf: (r: number, c: number) => number): Int32Array {
  const words = Math.ceil((cols * bits) / 32);
  const out = new Int32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    let row = 0n;
    for (let c = 0; c < cols; c++) row |= BigInt(codeOf(r, c)) << BigInt(c * bits);
    for (let w = 0; w < words; w++) out[r * words + w] = Number((row >> BigInt(32 * w)) & 0xffffffffn);
  }
  return out;
}

const i64 = (...values: number[]): TensorToWrite => ({
  type: 'I64',
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

layers('packed codes of 2, 4 and 8 bits mean scale (q - zero point)', () => {
  const arbitrary = fc
    .record({
      bits: fc.constantFrom(2 as const, 4 as const, 8 as const),
      rows: fc.integer({ min: 1, max: 20 }),
      group: fc.constantFrom(0, 1, 16, 32),
      parts: fc.integer({ min: 1, max: 3 }),
      odd: fc.integer({ min: 1, max: 37 }),
      zeros: fc.constantFrom('none', 'packed', 'plain'),
    })
    .chain((layout) => {
      const { bits, rows, group, parts, odd } = layout;
      const cols = group > 1 ? group * parts : odd;
      const groups = group === 0 ? 0 : Math.max(group > 1 ? parts : 1, 1);
      const code = fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });
      const list = <T>(of: fc.Arbitrary<T>, length: number) => fc.array(of, { minLength: length, maxLength: length });
      // One scale for all has one zero point a row when they are packed: all alike.
      const scales = groups === 0 ? 1 : rows * groups;
      return fc.record({
        layout: fc.constant({ ...layout, cols, groups }),
        codes: list(code, rows * cols),
        scale: list(fc.integer({ min: 1, max: 999 }), scales),
        zero: list(code, scales),
      });
    });
  fc.assert(
    fc.property(arbitrary, ({ layout: { bits, rows, cols, groups, zeros }, codes, scale, zero }) => {
      const half = 2 ** (bits - 1);
      const perRow = Math.max(groups, 1);
      const at = (r: number, c: number) => (groups === 0 ? 0 : r * groups + Math.floor((c * groups) / cols));
      const zeroOf = (r: number, g: number) => zero[groups === 0 ? 0 : r * groups + g];
      const tensors: Record<string, TensorToWrite> = {
        'm.q_proj.weight_packed': {
          type: 'I32',
          shape: [rows, Math.ceil((cols * bits) / 32)],
          data: packWords(rows, cols, bits, (r, c) => codes[r * cols + c] + half),
        },
        'm.q_proj.weight_scale': f32(groups === 0 ? [1] : [rows, groups], scale),
        'm.q_proj.weight_shape': i64(rows, cols),
      };
      if (zeros === 'plain') {
        const data = Int8Array.from({ length: rows * perRow }, (_, i) => zeroOf(Math.floor(i / perRow), i % perRow));
        tensors['m.q_proj.weight_zero_point'] = { type: 'I8', shape: [rows, perRow], data };
      } else if (zeros === 'packed') {
        // Packed along the rows: columns of words.
        const byColumn = packWords(perRow, rows, bits, (g, r) => zeroOf(r, g) + half);
        const words = Math.ceil((rows * bits) / 32);
        const data = Int32Array.from(byColumn, (_, i) => byColumn[(i % perRow) * words + Math.floor(i / perRow)]);
        tensors['m.q_proj.weight_zero_point'] = { type: 'I32', shape: [words, perRow], data };
      }
      const weights = convert(tensors, { bits });
      assert.is(weights.format, { 2: 'int2', 4: 'int4', 8: groups > 1 ? 'int8Grouped' : 'int8' }[bits]);
      const real = (formats[weights.format] as typeof formats.int8).unpack(weights as never);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) {
          const difference = codes[r * cols + c] - (zeros === 'none' ? 0 : zero[at(r, c)]);
          assert.is(real[r * cols + c], Math.fround(scale[at(r, c)] * difference) + 0, `row ${r}, column ${c}`);
        }
      }
    }),
    RUNS,
  );
});

layers('whole groups of packed codes stay where they are', () => {
  const bytes = writeSafetensors({
    'm.q_proj.weight_packed': { type: 'I32', shape: [2, 8], data: new Int32Array(16).fill(0x12345678) },
    'm.q_proj.weight_scale': { type: 'BF16', shape: [2, 2], data: Uint16Array.of(0x3f80, 0x4000, 0x3f80, 0x4000) },
    'm.q_proj.weight_shape': i64(2, 64),
  });
  const weights = toWeights(readSafetensors(bytes), 'm.q_proj');
  assert.is(weights.format, 'int4');
  if (weights.format !== 'int4') return;
  assert.is(weights.codes.buffer, bytes.buffer);
  assert.is(weights.groupSize, 32);
  assert.equal(formats.int4.unpack(weights).subarray(30, 34), Float32Array.of(2 - 8, 1 - 8, 2 * (8 - 8), 2 * (7 - 8)));
});

layers('8-bit codes with a scale a row or one', () => {
  for (const [shape, scale] of [
    [
      [2, 1],
      [0.5, 2],
    ],
    [[2], [0.5, 2]],
    [[1], [0.5]],
    [[], [0.5]],
  ] as const) {
    const weights = convert({
      'm.q_proj.weight': { type: 'I8', shape: [2, 3], data: Int8Array.of(-128, 0, 127, 1, 2, 3) },
      'm.q_proj.weight_scale': f32([...shape], scale),
    });
    assert.is(weights.format, 'int8');
    const last = scale.at(-1)!;
    assert.equal(formats.int8.unpack(weights as never), Float32Array.of(-64, 0, 63.5, last, 2 * last, 3 * last));
  }
});

/** The bits of a bitmask, the first column in the lowest. */
function bitmask(rows: number, cols: number, stores: (r: number, c: number) => boolean): TensorToWrite {
  const stride = Math.ceil(cols / 8);
  const data = new Uint8Array(rows * stride);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) if (stores(r, c)) data[r * stride + Math.floor(c / 8)] += 2 ** (c % 8);
  }
  return { type: 'U8', shape: [rows, stride], data };
}

layers('bitmasks become csr, csrInt8 or 2:4', () => {
  const arbitrary = fc.record({
    rows: fc.integer({ min: 1, max: 6 }),
    cols: fc.integer({ min: 1, max: 37 }),
    kind: fc.constantFrom('csr', 'csrInt8', 'nm'),
    weightInName: fc.boolean(),
    seed: fc.infiniteStream(fc.integer({ min: -127, max: 127 })),
  });
  fc.assert(
    fc.property(arbitrary, ({ rows, cols: least, kind, weightInName, seed }) => {
      const cols = kind === 'nm' ? 4 * Math.ceil(least / 4) : least;
      const next = () => seed.next().value as number;
      const dense = Array.from({ length: rows * cols }, () => (next() > 40 ? next() || 1 : 0));
      const kept = dense.map((w) => w !== 0);
      if (kind === 'nm') {
        for (let g = 0; g < dense.length; g += 4) {
          const first = Math.abs(next()) % 4;
          const second = (first + 1 + (Math.abs(next()) % 3)) % 4;
          for (let i = 0; i < 4; i++) {
            kept[g + i] = i === first || i === second;
            dense[g + i] = kept[g + i] ? next() : 0;
          }
        }
      }
      const values = dense.filter((_, i) => kept[i]);
      const name = weightInName ? 'm.q_proj.weight' : 'm.q_proj';
      const offsets = Array.from({ length: rows }, (_, r) => kept.slice(0, r * cols).filter(Boolean).length);
      const tensors: Record<string, TensorToWrite> = {
        [`${name}.bitmask`]: bitmask(rows, cols, (r, c) => kept[r * cols + c]),
        [`${name}.shape`]: i64(rows, cols),
      };
      if (kind !== 'nm') tensors[`${name}.row_offsets`] = i64(...offsets);
      if (kind === 'csrInt8') {
        tensors[`${name}.compressed`] = { type: 'I8', shape: [values.length], data: Int8Array.from(values) };
        tensors['m.q_proj.weight_scale'] = f32([rows, 1], new Float32Array(rows).fill(0.5));
      } else {
        tensors[`${name}.compressed`] = f32([values.length], values);
      }
      const weights = convert(tensors);
      // What is stored as csr may happen to have two of every four.
      assert.ok(weights.format === kind || (kind === 'csr' && weights.format === 'nm'), weights.format);
      const scale = kind === 'csrInt8' ? 0.5 : 1;
      assert.equal(
        formats[weights.format].unpack(weights as never),
        Float32Array.from(dense, (w) => w * scale + 0),
      );
    }),
    RUNS,
  );
});

layers('plain floats are dense', () => {
  const weights = convert({ 'm.q_proj.weight': { type: 'BF16', shape: [1, 2], data: Uint16Array.of(0x3f80, 0xc000) } });
  assert.equal(weights, { format: 'dense', rows: 1, cols: 2, values: Float32Array.of(1, -2) });
});

layers('layers that do not fit together are refused', () => {
  const packed: TensorToWrite = { type: 'I32', shape: [2, 4], data: new Int32Array(8) };
  const shape = i64(2, 32);
  const scale = f32([2, 1], [1, 1]);
  const q = (parts: Record<string, TensorToWrite>, options?: ToWeightsOptions) => () =>
    convert(Object.fromEntries(Object.entries(parts).map(([part, tensor]) => [`m.q_proj.${part}`, tensor])), options);
  const mask = bitmask(2, 32, () => true);
  const all = f32([64], new Float32Array(64).fill(1));
  const cases: [ErrorCode, RegExp, () => unknown][] = [
    ['bad-model', /"m.q_proj": expected a tensor weight/, q({ bias: scale })],
    ['bad-model', /weight_shape: expected a tensor, got none/, q({ weight_packed: packed, weight_scale: scale })],
    ['bad-model', /weight_scale: expected a tensor, got none/, q({ weight_packed: packed, weight_shape: shape })],
    ['bad-model', /weight_packed: expected a matrix of 3 rows/, q({ weight_packed: packed, weight_shape: i64(3, 32) })],
    ['bad-model', /words of 32 bits/, q({ weight_packed: packed, weight_shape: i64(2, 99), weight_scale: scale })],
    ['bad-model', /of 8 bits/, q({ weight_packed: packed, weight_shape: shape, weight_scale: scale }, { bits: 8 })],
    ['bad-model', /sizes from 1/, q({ weight_packed: packed, weight_shape: i64(2, 0), weight_scale: scale })],
    [
      'bad-model',
      /weight_scale: expected \[1\], \[2\]/,
      q({ weight_packed: packed, weight_shape: shape, weight_scale: f32([3], [1, 1, 1]) }),
    ],
    [
      'bad-model',
      /weight_zero_point/,
      q({ weight_packed: packed, weight_shape: shape, weight_scale: scale, weight_zero_point: packed }),
    ],
    [
      'unsupported',
      /weight_g_idx/,
      q({
        weight_packed: packed,
        weight_shape: shape,
        weight_scale: scale,
        weight_g_idx: { type: 'I32', shape: [32], data: new Int32Array(32).map((_, i) => 31 - i) },
      }),
    ],
    [
      'bad-weights',
      /scale\[0\]/,
      q({ weight: { type: 'I8', shape: [1, 1], data: Int8Array.of(1) }, weight_scale: f32([1], [0]) }),
    ],
    ['unsupported', /weight: expected F32/, q({ weight: { type: 'F8_E4M3', shape: [1, 1], data: Uint8Array.of(1) } })],
    ['unsupported', /a matrix, got \[2\]/, q({ weight: f32([2], [1, 2]) })],
    ['bad-model', /bitmask: expected \[2, 5\]/, q({ bitmask: mask, shape: i64(2, 33), compressed: all })],
    ['bad-model', /compressed: expected 64 values/, q({ bitmask: mask, shape, compressed: f32([1], [1]) })],
    [
      'bad-model',
      /row_offsets\[1\]: expected 32/,
      q({ bitmask: mask, shape, compressed: all, row_offsets: i64(0, 31) }),
    ],
    ['bad-model', /row_offsets\[0\]/, q({ bitmask: mask, shape, compressed: all, row_offsets: i64(0) })],
  ];
  for (const [code, pattern, call] of cases) throwsWith(code, pattern, call);
});

layers.run();
