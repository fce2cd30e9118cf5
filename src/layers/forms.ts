import type { DType } from '../dtype.js';
import { requireChoice } from '../formats/checks.js';
import type { Weights } from '../formats/format.js';
import { type Form, formsOf } from '../formats/forms.js';
import { weightFacts } from './problem.js';

/** `packed`: weights never take more bytes than in the format that they came in. */
export type MemoryMode = 'any' | 'packed';

/**
 * What validated weights may be stored as.
 * @param output of the layer
 */
export function formsFor(
  weights: Weights,
  output: DType,
  memory: MemoryMode = 'any',
  place = 'weights',
): readonly Form[] {
  requireChoice(memory, ['any', 'packed'], `${place}.memory`);
  const facts = weightFacts(weights);
  const forms = formsOf(weights, facts).filter(({ movesSigns }) => output === 'float32' || !movesSigns);
  return memory === 'any' ? forms : forms.filter((form) => form.facts.bytes <= facts.bytes);
}
