// How the doors that read files refuse them.

import { ThinferError } from '../errors.js';

/** Says that a file contradicts itself or its format. */
export function badModel(place: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-model', place, expected, got, hint });
}

/** Thrown for what a format allows and thinfer does not run; collected, so that one error names all of a model. */
export class Unsupported extends Error {}
