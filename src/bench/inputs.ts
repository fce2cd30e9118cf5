import type { ElementType } from '../dtype.js';
import { asElements } from '../graph/types.js';
import { createRandom } from '../random.js';

/** What made-up elements lie between: pictures in [0, 1), codes of every value, small indices. */
const RANGES: Readonly<Record<ElementType, readonly [low: number, high: number]>> = {
  float32: [0, 1],
  uint8: [0, 256],
  int8: [-128, 128],
  int32: [0, 100],
};

/** Random elements of an input, the same for the same seed. */
export function madeUp(dtype: ElementType, length: number, seed = 1) {
  const random = createRandom(seed);
  const [low, high] = RANGES[dtype];
  const values = Float32Array.from({ length }, () => low + (high - low) * random.next());
  return dtype === 'float32' ? values : asElements(dtype, values.map(Math.floor));
}
