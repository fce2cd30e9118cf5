import { elementCount, ThinferError } from '../errors.js';
import { codeBytes, readCode, requireUnusedCodes, writeCode } from './bits.js';
import { allocate, requireArray, requireDense, requireFinite, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';

/**
 * 2:4 sparsity, f32 values: of every 4 consecutive columns of a row two are stored, the others are zero (Mishra et
 * al. 2021, Accelerating sparse deep neural networks). With groups = ceil(cols / 4), group g of a row holds columns 4
 * * g up to 4 * g + 3; the columns past `cols` that the last group names have the value 0.
 * Size: 8 * rows * groups + rows * ceil(groups / 2) bytes.
 */
export interface NmWeights {
  format: 'nm';
  rows: number;
  cols: number;
  /** [rows, groups, 2] */
  values: Float32Array;
  /**
   * [rows, ceil(groups / 2)]: first | second << 2, the columns of a group's two values inside the group, first <
   * second. Two groups share a byte, the even one in the low nibble; the unused high nibble of an odd row is 0.
   */
  positions: Uint8Array;
}

export interface NmOptions {
  /** Keep the two largest of more than two non-zeros in a group (the first of equals); false: throw. Default false. */
  prune?: boolean;
}

/** Half of the weights, evenly spread: no pointers, and every row takes the same time. */
export const nm: Format<NmWeights, NmOptions> = {
  name: 'nm',

  /**
   * The non-zero weights of `dense` ([rows, cols], f32, finite), exactly. -0 becomes 0.
   * @throws ThinferError `bad-shape`, or `bad-weights`: also, unless `prune`, when a group has more than two non-zeros
   */
  pack(dense, options) {
    requireDense(dense, options, 'nm.pack');
    const { rows, cols, prune = false } = options;
    const { groups, stride, length } = layoutOf({ rows, cols }, 'nm.pack');
    const values = allocate(Float32Array, length, 'nm.pack');
    const positions = new Uint8Array(rows * stride);
    for (let r = 0; r < rows; r++) {
      for (let g = 0; g < groups; g++) {
        const start = r * cols + 4 * g;
        const width = Math.min(4, cols - 4 * g);
        // A group with fewer non-zeros names its first columns as well; with one column only, column 1 past the last.
        let [best, next] = [0, 1];
        let nonZeros = 0;
        for (let k = 0; k < width; k++) {
          const size = Math.abs(dense[start + k]);
          if (size === 0) continue;
          if (++nonZeros > 2 && !prune) throw thirdError(dense, r, 4 * g, start, k);
          if (size > Math.abs(dense[start + best])) [best, next] = [k, best];
          else if (k !== best && size > Math.abs(dense[start + next])) next = k;
        }
        const first = Math.min(best, next);
        const second = Math.max(best, next);
        const at = 2 * (r * groups + g);
        values[at] = dense[start + first] + 0;
        if (second < width) values[at + 1] = dense[start + second] + 0;
        writeCode(positions, r * stride, g, 4, first | (second << 2));
      }
    }
    return { format: 'nm', rows, cols, values, positions };
  },

  unpack(weights) {
    const { rows, cols, values } = nm.validate(weights, 'nm.unpack');
    const dense = allocate(Float32Array, rows * cols, 'nm.unpack');
    forEachWeight(weights, (i, row, col) => {
      if (col < cols) dense[row * cols + col] = values[i];
    });
    return dense;
  },

  validate(weights, place = 'nm') {
    requireWeights(weights, 'nm', place);
    const { rows, cols, values, positions } = weights;
    const { groups, stride, length } = layoutOf(weights, place);
    requireArray(values, Float32Array, length, `${place}.values`, `A row of ${cols} columns has ${2 * groups}.`);
    const hint = `A row of ${cols} columns takes ${stride} bytes.`;
    requireArray(positions, Uint8Array, rows * stride, `${place}.positions`, hint);
    requireUnusedCodes(positions, rows, groups, 4, 0, `${place}.positions`);
    for (let r = 0; r < rows; r++) {
      for (let g = 0; g < groups; g++) {
        const pair = readCode(positions, r * stride, g, 4);
        if ((pair & 3) >= pair >> 2) {
          throw new ThinferError({
            code: 'bad-weights',
            place: `${place}.positions[${r * stride + (g >> 1)}] (row ${r}, group ${g})`,
            expected: 'two ascending positions in 0..3',
            got: `${pair & 3} and ${pair >> 2}`,
            hint: 'A nibble is first | second << 2, the even group in the low nibble.',
          });
        }
      }
    }
    requireFinite(values, `${place}.values`);
    forEachWeight(weights, (i, row, col) => {
      if (col >= cols && values[i] !== 0) {
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.values[${i}]`,
          expected: `0 for column ${col} of row ${row} (cols = ${cols})`,
          got: String(values[i]),
        });
      }
    });
    return weights;
  },

  bytes({ values, positions }) {
    return values.byteLength + positions.byteLength;
  },

  decode(weights) {
    const { rows, cols, values } = nm.validate(weights, 'nm.decode');
    const decoded = allocate(Float64Array, rows * cols, 'nm.decode');
    const stored = allocate(Uint8Array, rows * cols, 'nm.decode');
    forEachWeight(weights, (i, row, col) => {
      if (col >= cols) return;
      decoded[row * cols + col] = values[i];
      stored[row * cols + col] = 1;
    });
    return { values: decoded, rowScale: new Float64Array(rows).fill(1), stored };
  },

  decodeActivations: plainActivations,
};

function thirdError(dense: Float32Array, row: number, group: number, start: number, k: number): ThinferError {
  return new ThinferError({
    code: 'bad-weights',
    place: `nm.pack.dense (row ${row}, column ${group + k})`,
    expected: `at most two non-zeros in columns ${group}..${group + 3}`,
    got: `a third, ${dense[start + k]}`,
    hint: 'Pass prune: true to keep the two largest of every four.',
  });
}

/** Lengths that follow from the shape: groups and bytes of positions in a row, and values of the matrix. */
function layoutOf({ rows, cols }: { rows: number; cols: number }, place: string) {
  const groups = Math.ceil(cols / 4);
  return { groups, stride: codeBytes(groups, 4), length: elementCount([rows, groups, 2], `${place}.values`) };
}

/** Calls back for every stored value: its index, row and column, which may lie past the last one. */
function forEachWeight(
  { rows, cols, positions }: NmWeights,
  visit: (i: number, row: number, col: number) => void,
): void {
  const groups = Math.ceil(cols / 4);
  const stride = codeBytes(groups, 4);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const pair = readCode(positions, r * stride, g, 4);
      const at = 2 * (r * groups + g);
      visit(at, r, 4 * g + (pair & 3));
      visit(at + 1, r, 4 * g + (pair >> 2));
    }
  }
}
