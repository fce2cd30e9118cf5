import { describe, ThinferError } from '../errors.js';
import { allocate, requireDense, requireFinite, requireType, requireWeights } from './checks.js';
import { plainActivations } from './dense.js';
import type { Format } from './format.js';
import { packPattern, requirePattern, requireThreshold } from './pattern.js';

/** [rows, columns] of a block: the shapes that there are kernels for. */
export type BlockShape = readonly [1, 4] | readonly [2, 1] | readonly [4, 1] | readonly [8, 1];

/**
 * Block compressed sparse rows, f32 values: `csr` whose entries are dense blocks of blockRows x blockCols weights, so
 * that one index serves several of them and the multiplication is by whole vectors (Gray et al. 2017, GPU kernels for
 * block-sparse weights). With blockRowCount = ceil(rows / blockRows) and nnzb stored blocks, block row b holds the
 * blocks indptr[b] .. indptr[b + 1] - 1, block columns ascending. What a block holds past `rows` or `cols` is 0.
 * Size: 4 * (blockRowCount + 1) + nnzb * (indexBytes + 4 * blockRows * blockCols) bytes, indexBytes = 2 when
 * ceil(cols / blockCols) <= 65536, else 4.
 */
export interface BcsrWeights {
  format: 'bcsr';
  rows: number;
  cols: number;
  /** blockRows x blockCols is 1 x 4, 2 x 1, 4 x 1 or 8 x 1. */
  blockRows: 1 | 2 | 4 | 8;
  blockCols: 1 | 4;
  /** [blockRowCount + 1], ascending from 0 to nnzb. */
  indptr: Uint32Array;
  /** [nnzb], columns of blocks. Uint16Array when ceil(cols / blockCols) <= 65536, else Uint32Array. */
  indices: Uint16Array | Uint32Array;
  /** [nnzb, blockRows, blockCols] */
  values: Float32Array;
}

export interface BcsrOptions {
  /** [rows, columns] of a block. Default [4, 1]. */
  block?: BlockShape;
  /** A block is dropped when all of its weights have |w| <= threshold. Default 0: blocks of zeros (and -0) only. */
  threshold?: number;
}

const SHAPES = ['1x4', '2x1', '4x1', '8x1'];

function requireBlock(blockRows: unknown, blockCols: unknown, place: string, code: 'bad-argument' | 'bad-weights') {
  const numbers = typeof blockRows === 'number' && typeof blockCols === 'number';
  if (!numbers || !SHAPES.includes(`${blockRows}x${blockCols}`)) {
    throw new ThinferError({
      code,
      place,
      expected: `a block of ${SHAPES.slice(0, -1).join(', ')} or ${SHAPES[SHAPES.length - 1]}`,
      got: `${describe(blockRows)} x ${describe(blockCols)}`,
    });
  }
}

/** Block sparsity: only blocks that hold a weight are stored and multiplied. */
export const bcsr: Format<BcsrWeights, BcsrOptions> = {
  name: 'bcsr',

  /**
   * The blocks of `dense` ([rows, cols], f32, finite) with a weight that is not zero, exactly.
   * @throws ThinferError `bad-shape`, `bad-weights`, or `bad-argument` for `block` or `threshold`
   */
  pack(dense, options) {
    requireDense(dense, options, 'bcsr.pack');
    const { rows, cols, block = [4, 1], threshold = 0 } = options;
    requireThreshold(threshold, 'bcsr.pack.threshold');
    requireBlock(block?.[0], block?.[1], 'bcsr.pack.block', 'bad-argument');
    const [blockRows, blockCols] = block;
    const blockRowCount = Math.ceil(rows / blockRows);
    const { indptr, indices } = packPattern(blockRowCount, Math.ceil(cols / blockCols), (br, bc) => {
      for (let r = br * blockRows; r < Math.min((br + 1) * blockRows, rows); r++) {
        for (let c = bc * blockCols; c < Math.min((bc + 1) * blockCols, cols); c++) {
          if (Math.abs(dense[r * cols + c]) > threshold) return true;
        }
      }
      return false;
    });
    const values = allocate(Float32Array, indices.length * blockRows * blockCols, 'bcsr.pack');
    const weights: BcsrWeights = { format: 'bcsr', rows, cols, blockRows, blockCols, indptr, indices, values };
    forEachWeight(weights, (i, at) => {
      values[i] = dense[at];
    });
    return weights;
  },

  unpack(weights) {
    const { rows, cols, values } = bcsr.validate(weights, 'bcsr.unpack');
    const dense = allocate(Float32Array, rows * cols, 'bcsr.unpack');
    forEachWeight(weights, (i, at) => {
      dense[at] = values[i];
    });
    return dense;
  },

  validate(weights, place = 'bcsr') {
    requireWeights(weights, 'bcsr', place);
    const { rows, cols, blockRows, blockCols, indptr, indices, values } = weights;
    requireBlock(blockRows, blockCols, `${place}.blockRows x blockCols`, 'bad-weights');
    requireType(values, Float32Array, `${place}.values`);
    const size = blockRows * blockCols;
    if (values.length % size !== 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.values`,
        expected: `whole blocks of ${size} elements`,
        got: `${values.length} elements`,
      });
    }
    const blockRowCount = Math.ceil(rows / blockRows);
    const blockColCount = Math.ceil(cols / blockCols);
    requirePattern({ indptr, indices }, blockRowCount, blockColCount, values.length / size, place, 'block ');
    requireFinite(values, `${place}.values`);
    requirePadding(weights, place);
    return weights;
  },

  bytes({ indptr, indices, values }) {
    return indptr.byteLength + indices.byteLength + values.byteLength;
  },

  decode(weights) {
    const { rows, cols, values } = bcsr.validate(weights, 'bcsr.decode');
    const decoded = allocate(Float64Array, rows * cols, 'bcsr.decode');
    const stored = allocate(Uint8Array, rows * cols, 'bcsr.decode');
    forEachWeight(weights, (i, at) => {
      decoded[at] = values[i];
      stored[at] = 1;
    });
    return { values: decoded, rowScale: new Float64Array(rows).fill(1), stored };
  },

  decodeActivations: plainActivations,
};

/** Calls back for every weight of a stored block: its index in `values` and in [rows, cols]. Padding is left out. */
function forEachWeight(
  { rows, cols, blockRows, blockCols, indptr, indices }: BcsrWeights,
  visit: (i: number, at: number) => void,
): void {
  for (let r = 0; r < rows; r++) {
    const blockRow = Math.floor(r / blockRows);
    for (let block = indptr[blockRow]; block < indptr[blockRow + 1]; block++) {
      const first = (block * blockRows + (r % blockRows)) * blockCols;
      const col = indices[block] * blockCols;
      for (let c = 0; c < Math.min(blockCols, cols - col); c++) visit(first + c, r * cols + col + c);
    }
  }
}

/** Throws unless blocks hold 0 past the last row and column. */
function requirePadding({ rows, cols, blockRows, blockCols, indptr, indices, values }: BcsrWeights, place: string) {
  const require = (i: number, what: string) => {
    if (values[i] !== 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}.values[${i}]`,
        expected: `0 past the last ${what}`,
        got: String(values[i]),
        hint: 'Blocks over the edge of the matrix are padded with zeros.',
      });
    }
  };
  const lastRow = Math.floor(rows / blockRows);
  if (rows % blockRows > 0) {
    for (let block = indptr[lastRow]; block < indptr[lastRow + 1]; block++) {
      for (let r = rows % blockRows; r < blockRows; r++) {
        for (let c = 0; c < blockCols; c++) require((block * blockRows + r) * blockCols + c, `row, ${rows - 1}`);
      }
    }
  }
  if (cols % blockCols > 0) {
    for (let block = 0; block < indices.length; block++) {
      if (indices[block] !== Math.floor(cols / blockCols)) continue;
      for (let i = 0; i < blockRows * blockCols; i++) {
        if (i % blockCols >= cols % blockCols) require(block * blockRows * blockCols + i, `column, ${cols - 1}`);
      }
    }
  }
}
