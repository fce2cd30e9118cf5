export type Elements = Float32Array | Int8Array | Uint8Array | Int32Array;

export interface Difference {
  /** Of all outputs that are floats: the largest, over the largest number there. */
  relative: number;
  /** Of outputs that are integers: the largest, and how many differ. */
  codes: number;
  wrong: number;
}

export class WrongAnswer extends Error {}

/**
 * How far answers are from those that are right.
 * @param tolerance of floats, over the largest; integers may differ by `codes`
 * @throws WrongAnswer when they differ by more
 */
export function requireAlike(
  got: readonly Elements[],
  wanted: readonly Elements[],
  tolerance: number,
  codes = 0,
): Difference {
  const difference: Difference = { relative: 0, codes: 0, wrong: 0 };
  if (got.length !== wanted.length) throw new WrongAnswer(`${got.length} outputs, not ${wanted.length}`);
  for (const [i, want] of wanted.entries()) {
    const ours = got[i];
    if (ours.length !== want.length) throw new WrongAnswer(`output ${i}: ${ours.length} elements, not ${want.length}`);
    let largest = 0;
    let most = 0;
    for (let j = 0; j < want.length; j++) {
      const error = Math.abs(ours[j] - want[j]);
      // Infinities and NaNs that both have are alike.
      if (Number.isNaN(error) && !Object.is(ours[j], want[j])) {
        throw new WrongAnswer(`output ${i}[${j}] is ${ours[j]}, not ${want[j]}`);
      }
      if (Number.isFinite(want[j])) largest = Math.max(largest, Math.abs(want[j]));
      if (error > most) most = error;
      if (!(want instanceof Float32Array) && error > 0) difference.wrong++;
    }
    if (!(want instanceof Float32Array)) difference.codes = Math.max(difference.codes, most);
    else if (most > 0) difference.relative = Math.max(difference.relative, most / largest);
  }
  if (!(difference.relative <= tolerance)) {
    throw new WrongAnswer(`off by ${difference.relative.toExponential(1)} of the largest, ${tolerance} is allowed`);
  }
  if (difference.codes > codes)
    throw new WrongAnswer(`${difference.wrong} integers differ, by up to ${difference.codes}`);
  return difference;
}
