import { quantizeLinear } from '../formats/activations.js';
import type { Quantization } from '../plan/problem.js';

/** The table of a LookupNode: codes of f(x) by codes of x. f gets and gives f32. */
export function tableOf(input: Quantization, output: Quantization, f: (x: number) => number = (x) => x): number[] {
  const { dtype, scale, zeroPoint } = input;
  return Array.from({ length: 256 }, (_, byte) => {
    const code = dtype === 'int8' && byte > 127 ? byte - 256 : byte;
    return quantizeLinear(Math.fround(f(Math.fround((code - zeroPoint) * Math.fround(scale)))), output);
  });
}

export function sameCodes(a: Quantization, b: Quantization): boolean {
  return a.dtype === b.dtype && a.scale === b.scale && a.zeroPoint === b.zeroPoint;
}
