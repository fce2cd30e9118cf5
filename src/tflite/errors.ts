import { ThinferError } from '../errors.js';

/** Says that a file contradicts itself or the schema. */
export function badModel(place: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-model', place, expected, got, hint });
}

/** Thrown for what TensorFlow Lite allows and thinfer does not run; collected, so that one error names all of a model. */
export class Unsupported extends Error {}
