import { describe, elementCount, ThinferError } from '../errors.js';
import { quantizedActivations, roundHalfEven } from './activations.js';
import { type CodeBits, codeBytes, readCode, writeCode } from './bits.js';
import { allocate, requireArray, requireDense, requireFinite, requireWeights } from './checks.js';
import type { Format } from './format.js';
import { requireInt32Sums, SMALLEST_SCALE, saturate } from './scales.js';

/**
 * 8-bit, 4-bit or 2-bit affine weights with one scale (and zero point) a group of consecutive columns:
 * real = scale * (code - zeroPoint). The layout is that of ONNX's com.microsoft MatMulNBits (B, scales, zero_points),
 * so that such a model is read as it is. With groups = ceil(cols / groupSize):
 *
 * Column k of a row is code k mod groupSize of group floor(k / groupSize). Codes and zero points share bytes, the
 * first in the lowest bits; each group's codes and each row's zero points start on a byte. Codes past `cols` in the
 * last group and unused bits may be anything: nothing depends on them.
 *
 * Size: rows * groups * (ceil(groupSize * bits / 8) + 4) bytes, + rows * ceil(groups * bits / 8) with zero points.
 *
 * Arithmetic: activations are quantised at run time to unsigned 8 bits as for `int8`; products are summed over a
 * group in int32 without loss, then scaled and added over the groups in f32.
 */
interface GroupedWeights {
  rows: number;
  cols: number;
  /** A power of two in 16..256, or cols. */
  groupSize: number;
  /** [rows, groups, ceil(groupSize * bits / 8)] */
  codes: Uint8Array;
  /** [rows, groups]; finite. Zero and negative ones come from other tools. */
  scale: Float32Array;
  /** [rows, ceil(groups * bits / 8)]; absent: 2^(bits - 1), the middle of the codes. */
  zeroPoint?: Uint8Array;
}

/** Codes 0..15, zero point 8 where absent; see GroupedWeights. */
export interface Int4Weights extends GroupedWeights {
  format: 'int4';
}

/** Codes 0..3, zero point 2 where absent; see GroupedWeights. */
export interface Int2Weights extends GroupedWeights {
  format: 'int2';
}

/** Codes 0..255, zero point 128 where absent; see GroupedWeights. */
export interface Int8GroupedWeights extends GroupedWeights {
  format: 'int8Grouped';
}

/** Weights of any of the three. */
export type AnyGrouped = Int8GroupedWeights | Int4Weights | Int2Weights;

export interface GroupedOptions {
  /** A power of two in 16..256, or `cols` for one group a row. Default 32. */
  groupSize?: number;
  /** No zero points; false: one a group. Default true. */
  symmetric?: boolean;
}

const BITS = { int8Grouped: 8, int4: 4, int2: 2 } as const;

/** Scales that `pack` tries for each group, from the one that clips nothing to smaller ones. */
const TRIES = 11;

function requireGroupSize(groupSize: unknown, cols: number, place: string, code: 'bad-argument' | 'bad-weights'): void {
  if (groupSize === cols) return;
  if (groupSize !== 16 && groupSize !== 32 && groupSize !== 64 && groupSize !== 128 && groupSize !== 256) {
    throw new ThinferError({
      code,
      place,
      expected: `16, 32, 64, 128, 256, or ${cols} (cols: one group a row)`,
      got: describe(groupSize),
    });
  }
}

/** Lengths that follow from the shape. */
function layoutOf({ cols, groupSize }: { cols: number; groupSize: number }, bits: CodeBits) {
  const groups = Math.ceil(cols / groupSize);
  return { groups, groupBytes: codeBytes(groupSize, bits), zeroBytes: codeBytes(groups, bits) };
}

function grouped<W extends AnyGrouped>(name: W['format']): Format<W, GroupedOptions> {
  const bits = BITS[name];
  const levels = 2 ** bits;

  const format: Format<W, GroupedOptions> = {
    name,

    pack(dense, options) {
      requireDense(dense, options, `${name}.pack`);
      const { rows, cols, groupSize = 32, symmetric = true } = options;
      requireGroupSize(groupSize, cols, `${name}.pack.groupSize`, 'bad-argument');
      const { groups, groupBytes, zeroBytes } = layoutOf({ cols, groupSize }, bits);
      const codes = allocate(
        Uint8Array,
        elementCount([rows, groups, groupBytes], `${name}.pack.codes`),
        `${name}.pack`,
      );
      const scale = new Float32Array(rows * groups);
      const zeroPoint = new Uint8Array(rows * zeroBytes);
      for (let r = 0; r < rows; r++) {
        for (let g = 0; g < groups; g++) {
          const part = dense.subarray(r * cols + g * groupSize, r * cols + Math.min((g + 1) * groupSize, cols));
          const { step, zero } = fitGroup(part, levels, symmetric);
          const at = r * groups + g;
          scale[at] = step;
          writeCode(zeroPoint, r * zeroBytes, g, bits, zero);
          for (let i = 0; i < groupBytes * (8 / bits); i++) {
            const code = i < part.length ? codeOf(part[i], step, zero, levels) : zero;
            writeCode(codes, at * groupBytes, i, bits, code);
          }
        }
      }
      const weights = { format: name, rows, cols, groupSize, codes, scale } as W;
      if (!symmetric) weights.zeroPoint = zeroPoint;
      requireSums(weights, `${name}.pack`);
      return weights;
    },

    /** Values beyond the largest f32 saturate, so the result is finite. */
    unpack(weights) {
      const { rows, cols } = format.validate(weights, `${name}.unpack`);
      const dense = allocate(Float32Array, rows * cols, `${name}.unpack`);
      forEachWeight(weights, (at, difference, scale) => {
        dense[at] = saturate(scale * difference);
      });
      return dense;
    },

    validate(weights, place = name) {
      requireWeights(weights, name, place);
      const { rows, cols, groupSize, codes, scale, zeroPoint } = weights;
      requireGroupSize(groupSize, cols, `${place}.groupSize`, 'bad-weights');
      const { groups, groupBytes, zeroBytes } = layoutOf(weights, bits);
      const length = elementCount([rows, groups, groupBytes], `${place}.codes`);
      const hint = `A row of ${cols} columns has ${groups} groups of ${groupBytes} bytes.`;
      requireArray(codes, Uint8Array, length, `${place}.codes`, hint);
      requireArray(scale, Float32Array, rows * groups, `${place}.scale`, 'There is one a group.');
      requireFinite(scale, `${place}.scale`);
      if (zeroPoint !== undefined) {
        const hint = `The zero points of a row's ${groups} groups take ${zeroBytes} bytes.`;
        requireArray(zeroPoint, Uint8Array, rows * zeroBytes, `${place}.zeroPoint`, hint);
      }
      requireSums(weights, place);
      return weights;
    },

    bytes({ codes, scale, zeroPoint }) {
      return codes.byteLength + scale.byteLength + (zeroPoint?.byteLength ?? 0);
    },

    /** scale * (code - zero point): the scales differ inside a row, so none is kept apart. */
    decode(weights) {
      const { rows, cols } = format.validate(weights, `${name}.decode`);
      const values = allocate(Float64Array, rows * cols, `${name}.decode`);
      forEachWeight(weights, (at, difference, scale) => {
        values[at] = scale * difference;
      });
      return { values, rowScale: new Float64Array(rows).fill(1) };
    },

    decodeActivations: quantizedActivations,
  };
  return format;
}

/**
 * Four bits a weight, a scale for every few: the usual format of compressed language models.
 *
 * `pack` tries 11 scales a group (symmetric: of either sign, as -8 has no opposite) and keeps the one of least squared
 * error; the first of them clips nothing, the others clip the largest weights for finer steps. Zero is always exact. A
 * group of zeros has scale 1. Rounds half to even. Codes past `cols` are the zero point.
 */
export const int4: Format<Int4Weights, GroupedOptions> = grouped<Int4Weights>('int4');

/** Two bits a weight; packed like `int4`. */
export const int2: Format<Int2Weights, GroupedOptions> = grouped<Int2Weights>('int2');

/** Eight bits with a scale for every few columns; packed like `int4`. One scale a row is `int8`, which is faster. */
export const int8Grouped: Format<Int8GroupedWeights, GroupedOptions> = grouped<Int8GroupedWeights>('int8Grouped');

/** True when every zero point is the default, so that a kernel need not read them. Weights must be validated. */
export function hasDefaultZeroPoints({ format, rows, cols, groupSize, zeroPoint }: AnyGrouped): boolean {
  if (!zeroPoint) return true;
  const bits = BITS[format];
  const { groups, zeroBytes } = layoutOf({ cols, groupSize }, bits);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) if (readCode(zeroPoint, r * zeroBytes, g, bits) !== 2 ** (bits - 1)) return false;
  }
  return true;
}

function codeOf(w: number, step: number, zero: number, levels: number): number {
  return Math.min(Math.max(roundHalfEven(w / step) + zero, 0), levels - 1);
}

/** The scale and zero point of least squared error among those that are tried. */
function fitGroup(part: Float32Array, levels: number, symmetric: boolean): { step: number; zero: number } {
  let low = 0;
  let high = 0;
  for (const w of part) {
    low = Math.min(low, w);
    high = Math.max(high, w);
  }
  const range = symmetric ? Math.max(high, -low) : high - low;
  const span = symmetric ? levels / 2 : levels;
  if (range === 0) return { step: 1, zero: symmetric ? levels / 2 : 0 };
  const zero = symmetric ? levels / 2 : roundHalfEven((-low / range) * (levels - 1));
  let best = { step: 1, zero };
  let least = Infinity;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const size = Math.max(Math.fround(range / (span - 1 + (attempt * Math.min(span, 16)) / 16)), SMALLEST_SCALE);
    for (const step of symmetric ? [size, -size] : [size]) {
      let error = 0;
      for (let i = 0; i < part.length && error < least; i++) {
        error += (step * (codeOf(part[i], step, zero, levels) - zero) - part[i]) ** 2;
      }
      if (error < least) {
        least = error;
        best = { step, zero };
      }
    }
  }
  return best;
}

/** Calls back for every weight: its index in [rows, cols], code - zero point, and the scale of its group. */
function forEachWeight(weights: AnyGrouped, visit: (at: number, difference: number, scale: number) => void): void {
  const { rows, cols, groupSize, codes, scale, zeroPoint } = weights;
  const bits = BITS[weights.format];
  const { groups, groupBytes, zeroBytes } = layoutOf(weights, bits);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const group = r * groups + g;
      const zero = zeroPoint ? readCode(zeroPoint, r * zeroBytes, g, bits) : 2 ** (bits - 1);
      for (let i = 0; i < Math.min(groupSize, cols - g * groupSize); i++) {
        const code = readCode(codes, group * groupBytes, i, bits);
        visit(r * cols + g * groupSize + i, code - zero, scale[group]);
      }
    }
  }
}

/** Only one group a row can be so long that its sum leaves int32: more than 561433 columns of 4 bits. */
function requireSums(weights: AnyGrouped, place: string): void {
  const { rows, cols, groupSize, codes } = weights;
  const largest = 2 ** BITS[weights.format] - 1;
  let sums: Float64Array | undefined;
  const sumOf = (row: number) => {
    if (!sums) {
      const all = new Float64Array(rows);
      forEachWeight(weights, (at, difference) => {
        all[Math.floor(at / cols)] += Math.abs(difference);
      });
      sums = all;
    }
    return sums[row];
  };
  requireInt32Sums(rows, groupSize, largest, sumOf, codes, `${place}.codes`, '|code - zeroPoint|');
}
