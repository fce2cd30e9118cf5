import { describe, elementCount, requireInteger, requireLength, ThinferError } from '../errors.js';
import type { FormatName, MatrixShape } from './format.js';

/** A typed array class, e.g. `Float32Array`. */
interface ArrayType<T> {
  new (length: number): T;
  readonly name: string;
}

/** Throws unless `value` is an object (of any kind but null) whose fields can be read. */
export function requireObject(value: unknown, place: string, expected: string): void {
  if (typeof value !== 'object' || value === null) {
    throw new ThinferError({ code: 'bad-argument', place, expected, got: describe(value) });
  }
}

/** Checks `rows` and `cols`: integers from 1, their product in range. Returns the product. */
export function requireShape(shape: MatrixShape, place: string): number {
  requireObject(shape, place, 'an object with rows and cols');
  const { rows, cols } = shape;
  requireInteger(rows, `${place}.rows`, { min: 1, code: 'bad-shape' });
  requireInteger(cols, `${place}.cols`, { min: 1, code: 'bad-shape' });
  return elementCount([rows, cols], `${place}.rows * cols`);
}

/** Checks what all formats have in common: an object of the named format with a sound shape. Returns rows * cols. */
export function requireWeights(weights: MatrixShape & { format: string }, format: FormatName, place: string): number {
  requireObject(weights, place, `weights in format '${format}'`);
  if (weights.format !== format) {
    throw new ThinferError({
      code: 'bad-weights',
      place: `${place}.format`,
      expected: `'${format}'`,
      got: describe(weights.format),
      hint: 'Weights come from the pack function of their format.',
    });
  }
  return requireShape(weights, place);
}

/** Throws unless `array` is a `Type`, of any length. */
export function requireType<T extends ArrayLike<number>>(
  array: unknown,
  Type: ArrayType<T>,
  place: string,
): asserts array is T {
  if (!(array instanceof Type)) {
    throw new ThinferError({ code: 'bad-weights', place, expected: `a ${Type.name}`, got: describe(array) });
  }
}

/** Throws unless `value` is one of `choices`. */
export function requireChoice(value: unknown, choices: readonly (string | number)[], place: string): void {
  if (!choices.includes(value as string)) {
    const texts = choices.map((choice) => (typeof choice === 'string' ? describe(choice) : String(choice)));
    const expected = [texts.slice(0, -1).join(', '), texts[texts.length - 1]].join(' or ');
    throw new ThinferError({ code: 'bad-argument', place, expected, got: describe(value) });
  }
}

/** Throws unless `array` is a `Type` of exactly `length` elements. */
export function requireArray<T extends ArrayLike<number>>(
  array: unknown,
  Type: ArrayType<T>,
  length: number,
  place: string,
  hint = '',
): asserts array is T {
  if (!(array instanceof Type)) {
    throw new ThinferError({
      code: 'bad-weights',
      place,
      expected: `a ${Type.name} of ${length} elements`,
      got: describe(array),
      hint,
    });
  }
  requireLength(array, length, place, { hint });
}

/** Throws at the first NaN or infinity, naming its index. */
export function requireFinite(values: Float32Array, place: string): void {
  for (let i = 0; i < values.length; i++) {
    // Not a number for infinities and NaN. No call: loading a model runs this before the engine has optimised it.
    if (values[i] - values[i] !== 0) {
      throw new ThinferError({
        code: 'bad-weights',
        place: `${place}[${i}]`,
        expected: 'a finite number',
        got: String(values[i]),
      });
    }
  }
}

/** Checks the arguments of a `pack`: finite f32 values, exactly rows * cols of them. Returns rows * cols. */
export function requireDense(dense: Float32Array, shape: MatrixShape, place: string): number {
  const count = requireShape(shape, place);
  requireArray(
    dense,
    Float32Array,
    count,
    `${place}.dense`,
    `The matrix is row-major [rows, cols] = [${shape.rows}, ${shape.cols}].`,
  );
  requireFinite(dense, `${place}.dense`);
  return count;
}

/** A new typed array; ThinferError `out-of-memory` where the machine has no room for it. */
export function allocate<T>(Type: ArrayType<T>, length: number, place: string): T {
  try {
    return new Type(length);
  } catch (cause) {
    throw new ThinferError({
      code: 'out-of-memory',
      place,
      expected: `room for a ${Type.name} of ${length} elements`,
      got: 'none',
      cause,
    });
  }
}
