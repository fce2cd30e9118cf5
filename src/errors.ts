/** What kind of thing went wrong; stable across versions, so that a program can branch on it. */
export type ErrorCode =
  | 'bad-argument'
  | 'bad-weights'
  | 'bad-shape'
  | 'bad-model'
  | 'unsupported'
  | 'no-kernel'
  | 'out-of-memory'
  | 'device-lost'
  | 'worker-failed'
  | 'disposed';

/** The parts of an error message: where, what was expected, what came, and what to do about it. */
export interface ErrorParts {
  code: ErrorCode;
  /** Where: the call, and the field or index inside its argument, e.g. `csr.pack: indices[17]`. */
  place: string;
  expected: string;
  got: string;
  /** What to do next. */
  hint?: string;
  cause?: unknown;
}

/** Every error that thinfer throws on purpose. The message reads `place: expected X, got Y. Hint.` */
export class ThinferError extends Error {
  readonly code: ErrorCode;
  readonly place: string;
  readonly expected: string;
  readonly got: string;
  readonly hint: string | undefined;

  constructor({ code, place, expected, got, hint, cause }: ErrorParts) {
    super(`${place}: expected ${expected}, got ${got}.${hint ? ` ${hint}` : ''}`, { cause });
    this.name = 'ThinferError';
    this.code = code;
    this.place = place;
    this.expected = expected;
    this.got = got;
    this.hint = hint;
  }
}

/** Largest element count we accept anywhere: byte offsets of f32 data must stay inside 32 bits. */
export const MAX_ELEMENTS = 2 ** 30;

/** Throws unless `value` is an integer in [min, max]. */
export function requireInteger(
  value: unknown,
  place: string,
  { min = 0, max = MAX_ELEMENTS, code = 'bad-argument' as ErrorCode, hint = '' } = {},
): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw new ThinferError({
      code,
      place,
      expected: `an integer in ${min}..${max}`,
      got: describe(value),
      hint,
    });
  }
}

/** Throws unless `array` has exactly `length` elements. */
export function requireLength(
  array: ArrayLike<unknown>,
  length: number,
  place: string,
  { code = 'bad-weights' as ErrorCode, hint = '' } = {},
): void {
  if (array.length !== length) {
    throw new ThinferError({
      code,
      place,
      expected: `${length} elements`,
      got: `${array.length}`,
      hint,
    });
  }
}

/** Product of dimensions that were each checked, refused when the product itself is out of range. */
export function elementCount(dims: readonly number[], place: string): number {
  let count = 1;
  for (const [i, dim] of dims.entries()) {
    requireInteger(dim, `${place}[${i}]`, { code: 'bad-shape' });
    count *= dim;
  }
  // Enough huge dimensions and a zero make NaN.
  if (!(count <= MAX_ELEMENTS)) {
    throw new ThinferError({
      code: 'bad-shape',
      place,
      expected: `at most ${MAX_ELEMENTS} elements`,
      got: `[${dims.join(', ')}] = ${count}`,
    });
  }
  return count;
}

/** A short text of any value for an error message. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80));
  if (ArrayBuffer.isView(value)) {
    return `${value.constructor.name} of ${value.byteLength} bytes`;
  }
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return `a ${value.constructor?.name ?? 'object'}`;
  return String(value);
}

/** Whether a device is gone with all that was on it. */
export function isLost(error: unknown): boolean {
  return error instanceof ThinferError && error.code === 'device-lost';
}
