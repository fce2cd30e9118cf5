import { describe, ThinferError } from '../errors.js';
import { bcsr } from './bcsr.js';
import { binary } from './binary.js';
import { requireObject } from './checks.js';
import { codebook } from './codebook.js';
import { csr } from './csr.js';
import { csrCodebook } from './csr-codebook.js';
import { csrInt8 } from './csr-int8.js';
import { dense } from './dense.js';
import { f16 } from './f16.js';
import type { Format, FormatName, Weights } from './format.js';
import { int2, int4, int8Grouped } from './grouped.js';
import { int8 } from './int8.js';
import { nm } from './nm.js';
import { ternary } from './ternary.js';
import { xnor } from './xnor.js';

export type { BcsrOptions, BcsrWeights, BlockShape } from './bcsr.js';
export type { BinaryWeights } from './binary.js';
export type { CodebookOptions, CodebookWeights } from './codebook.js';
export type { CsrOptions, CsrWeights } from './csr.js';
export type { CsrCodebookOptions, CsrCodebookWeights } from './csr-codebook.js';
export type { CsrInt8Options, CsrInt8Weights } from './csr-int8.js';
export type { DenseWeights } from './dense.js';
export type { F16Format, F16Weights } from './f16.js';
export type { DecodedActivations, DecodedWeights, Format, FormatName, MatrixShape, Weights } from './format.js';
export type { AnyGrouped, GroupedOptions, Int2Weights, Int4Weights, Int8GroupedWeights } from './grouped.js';
export type { Int8Options, Int8Weights } from './int8.js';
export type { NmOptions, NmWeights } from './nm.js';
export type { TernaryWeights } from './ternary.js';
export type { XnorWeights } from './xnor.js';
export {
  bcsr,
  binary,
  codebook,
  csr,
  csrCodebook,
  csrInt8,
  dense,
  f16,
  int2,
  int4,
  int8,
  int8Grouped,
  nm,
  ternary,
  xnor,
};

/** Every format, by name. A new one is a file, a member of `Weights`, and a line here. */
export const formats = {
  dense,
  csr,
  bcsr,
  nm,
  int8,
  int8Grouped,
  int4,
  int2,
  codebook,
  ternary,
  binary,
  xnor,
  csrInt8,
  csrCodebook,
  f16,
} satisfies { [name in FormatName]: { name: name } };

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
      got: describe((weights as { format: unknown }).format),
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
