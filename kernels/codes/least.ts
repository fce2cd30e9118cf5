import { codeRange, quantizeLinear } from '../../src/formats/activations.js';
import type { Quantization } from '../../src/plan/problem.js';
import type { Consts } from '../../src/webgpu/variant.js';

/** The zero point, counted from the least code. */
export const zeroCode = ({ dtype, zeroPoint }: Quantization): number => zeroPoint - codeRange(dtype)[0];

/** Constants of code_of.wgsl. */
export const codeConsts = (quantization: Quantization): Consts => ({
  INVERSE: { f32: Math.min(Math.max(1 / quantization.scale, 2 ** -126), 2 ** 127) },
  ZERO_CODE: zeroCode(quantization),
});

/** The float of an integer that is ordered as floats are: see int8/range.wgsl. */
function fromOrdered(order: number): number {
  return new Float32Array(Int32Array.of(order < 0 ? order ^ 0x7fffffff : order).buffer)[0];
}

/** Where each of the 256 codes begins: the least f32 that becomes it or one above, as an ordered integer. */
export function leastValues(quantization: Quantization): Int32Array {
  const infinity = 0x7f800000;
  const [first] = codeRange(quantization.dtype);
  const least = new Int32Array(256).fill(-infinity - 1);
  for (let code = 1; code < 256; code++) {
    let low = least[code - 1];
    let high = infinity;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (quantizeLinear(fromOrdered(middle), quantization) - first >= code) high = middle;
      else low = middle + 1;
    }
    least[code] = low;
  }
  return least;
}
