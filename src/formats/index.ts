import { describe, ThinferError } from '../errors.js';
import { requireObject } from './checks.js';
import { codebook } from './codebook.js';
import { csr } from './csr.js';
import { dense } from './dense.js';
import type { Format, FormatName, Weights } from './format.js';
import { int8 } from './int8.js';
import { xnor } from './xnor.js';

export type { CodebookOptions, CodebookWeights } from './codebook.js';
export type { CsrOptions, CsrWeights } from './csr.js';
export type { DenseWeights } from './dense.js';
export type { DecodedActivations, DecodedWeights, Format, FormatName, MatrixShape, Weights } from './format.js';
export type { Int8Options, Int8Weights } from './int8.js';
export type { XnorWeights } from './xnor.js';
export { codebook, csr, dense, int8, xnor };

/** Every format, by name. A new one is a file, a member of `Weights`, and a line here. */
export const formats = { dense, csr, int8, codebook, xnor } satisfies { [name in FormatName]: { name: name } };

/**
 * The format of weights that came from anywhere.
 * @throws ThinferError `bad-argument` for what is not an object, `bad-weights` for a format that is not known
 */
export function formatOf(weights: Weights, place = 'weights'): Format {
  requireObject(weights, place, 'packed weights');
  if (typeof weights.format !== 'string' || !Object.hasOwn(formats, weights.format)) {
    throw new ThinferError({
      code: 'bad-weights',
      place: `${place}.format`,
      expected: `one of ${Object.keys(formats).join(', ')}`,
      got: describe(weights.format),
      hint: 'Pack dense weights first, e.g. csr.pack(values, { rows, cols }).',
    });
  }
  return formats[weights.format] as Format;
}

/**
 * Checks weights that came from anywhere: every length, index, code and scale that a kernel relies on. Returns its
 * argument. Nothing is allocated.
 * @throws ThinferError that names the place below `place`, what was expected and what came
 */
export function validate(weights: Weights, place = 'weights'): Weights {
  return formatOf(weights, place).validate(weights, place);
}
