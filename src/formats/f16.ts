import { describe, ThinferError } from '../errors.js';
import { F16_INFINITY, fromF16, toF16 } from '../half.js';
import { allocate, requireArray, requireDense, requireShape, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format, MatrixShape } from './format.js';

/** Weights of 16 bits, row-major [rows, cols], as their bits. Size: 2 * rows * cols bytes. */
export interface F16Weights {
  format: 'f16';
  rows: number;
  cols: number;
  /** IEEE 754 binary16; all finite. */
  halves: Uint16Array;
}

/** `pack` takes the bits of halves as well. */
export interface F16Format extends Format<F16Weights> {
  pack(dense: Float32Array | Uint16Array, options: MatrixShape): F16Weights;
}

/**
 * Half-precision weights, f32 arithmetic: what the halves stand for is multiplied, and nothing else is rounded, unless a
 * layer allows `arithmetic: 'f16'`.
 */
export const f16: F16Format = {
  name: 'f16',

  /** Rounds f32 to the nearest half, of two to the even one; bits of halves are copied as they are. */
  pack(dense, options) {
    if (dense instanceof Uint16Array) {
      requireArray(dense, Uint16Array, requireShape(options, 'f16.pack'), 'f16.pack.dense');
      const { rows, cols } = options;
      return f16.validate({ format: 'f16', rows, cols, halves: dense.slice() }, 'f16.pack');
    }
    const count = requireDense(dense, options, 'f16.pack');
    const { rows, cols } = options;
    const halves = allocate(Uint16Array, count, 'f16.pack');
    for (let i = 0; i < count; i++) {
      halves[i] = toF16(dense[i]);
      if ((halves[i] & F16_INFINITY) !== F16_INFINITY) continue;
      throw new ThinferError({
        code: 'bad-weights',
        place: `f16.pack.dense[${i}]`,
        expected: 'a number that 16 bits hold: below 65520',
        got: describe(dense[i]),
        hint: 'Pack as dense.',
      });
    }
    return { format: 'f16', rows, cols, halves };
  },

  unpack(weights) {
    return Float32Array.from(f16.validate(weights, 'f16.unpack').halves, fromF16);
  },

  validate(weights, place = 'f16') {
    const count = requireWeights(weights, 'f16', place);
    const { halves } = weights;
    requireArray(halves, Uint16Array, count, `${place}.halves`);
    const wrong = halves.findIndex((bits) => (bits & F16_INFINITY) === F16_INFINITY);
    if (wrong >= 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.halves[${wrong}]`,
        expected: 'the bits of a finite number',
        got: `0x${halves[wrong].toString(16)} (${fromF16(halves[wrong])})`,
      });
    }
    return weights;
  },

  bytes({ halves }) {
    return halves.byteLength;
  },

  decode(weights) {
    const { rows, cols, halves } = f16.validate(weights, 'f16.decode');
    const values = allocate(Float64Array, rows * cols, 'f16.decode');
    for (let i = 0; i < halves.length; i++) values[i] = fromF16(halves[i]);
    return { values, rowScale: new Float64Array(rows).fill(1) };
  },

  decodeActivations: plainActivations,
};
