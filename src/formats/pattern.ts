import { describe, ThinferError } from '../errors.js';
import { requireArray } from './checks.js';

/** Which columns each row stores; in block formats, which columns of blocks each row of blocks stores. */
export interface Pattern {
  /** [rows + 1], ascending from 0 to the number of entries. */
  indptr: Uint32Array;
  /** Strictly ascending inside a row, below cols. Uint16Array when cols <= 65536, else Uint32Array. */
  indices: Uint16Array | Uint32Array;
}

/** The class of `indices`, decided by the number of columns (of blocks) alone. */
export function indexType(cols: number): typeof Uint16Array | typeof Uint32Array {
  return cols <= 65536 ? Uint16Array : Uint32Array;
}

/** Throws unless `threshold` is a finite number from 0. */
export function requireThreshold(threshold: number, place: string): void {
  if (!Number.isFinite(threshold) || threshold < 0) {
    throw new ThinferError({
      code: 'bad-argument',
      place,
      expected: 'a finite number from 0',
      got: describe(threshold),
    });
  }
}

/** The pattern of the cells that `stores` is true of. */
export function packPattern(rows: number, cols: number, stores: (row: number, col: number) => boolean): Pattern {
  const indptr = new Uint32Array(rows + 1);
  let entries = 0;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) if (stores(r, c)) entries++;
    indptr[r + 1] = entries;
  }
  const indices = new (indexType(cols))(entries);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) if (stores(r, c)) indices[i++] = c;
  }
  return { indptr, indices };
}

/**
 * Checks everything a kernel relies on when it follows a pattern of `rows` x `cols` with `entries` entries.
 * @param unit what a cell of the pattern is: `block` adds that word to messages
 */
export function requirePattern(
  { indptr, indices }: Pattern,
  rows: number,
  cols: number,
  entries: number,
  place: string,
  unit: '' | 'block ' = '',
): void {
  requireArray(indptr, Uint32Array, rows + 1, `${place}.indptr`, `There is one more than ${unit}rows.`);
  const Type = indexType(cols);
  const hint = `Indices are ${Type.name} when there are ${cols} ${unit}columns, one a ${unit ? 'block' : 'value'}.`;
  requireArray<Uint16Array | Uint32Array>(indices, Type, entries, `${place}.indices`, hint);
  const indptrError = (at: number, expected: string) =>
    new ThinferError({
      code: 'bad-weights',
      place: `${place}.indptr[${at}]`,
      expected,
      got: String(indptr[at]),
      hint: `indptr[r] counts the ${unit ? 'blocks' : 'entries'} of all ${unit}rows before r.`,
    });
  const total = `the number of ${unit ? 'blocks' : 'values'}`;
  if (indptr[0] !== 0) throw indptrError(0, '0');
  if (indptr[rows] !== entries) throw indptrError(rows, `${entries}, ${total}`);
  for (let r = 0; r < rows; r++) {
    if (indptr[r + 1] < indptr[r] || indptr[r + 1] > entries) {
      throw indptrError(r + 1, `${indptr[r]}..${entries} (ascending to ${total})`);
    }
  }
  for (let r = 0; r < rows; r++) {
    let least = 0;
    for (let i = indptr[r]; i < indptr[r + 1]; i++) {
      const column = indices[i];
      if (column < least || column >= cols) {
        const outside = column >= cols;
        throw new ThinferError({
          code: 'bad-weights',
          place: `${place}.indices[${i}]`,
          expected: outside
            ? `0..${cols - 1} (${unit ? `${cols} block columns` : `cols = ${cols}`})`
            : `a ${unit}column after ${least - 1} (ascending in ${unit}row ${r}, none twice)`,
          got: String(column),
          hint: outside
            ? 'Was the matrix transposed?'
            : `Sort the entries of each ${unit}row by column and add up duplicates.`,
        });
      }
      least = column + 1;
    }
  }
}
