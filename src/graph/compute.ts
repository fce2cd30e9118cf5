import type { TensorData } from '../dtype.js';
import type { Bias, Weights } from '../formats/format.js';
import { referenceMatmul } from '../formats/reference.js';
import { inputSize, isMatmul, outputSize, type Problem } from '../plan/problem.js';
import { computeWeightless } from './reference.js';

/** The part of a buffer, which may be larger, that an operand takes. */
function part<T extends TensorData>(values: T, length: number): T {
  if (values.length < length) throw new Error(`a buffer of ${values.length} elements for an operand of ${length}`);
  return values.subarray(0, length) as T;
}

/** Elements of A that a problem reads, where that is not up to strides. */
function sizeOfA(p: Problem): number | undefined {
  switch (p.op) {
    case 'maxPool2d':
    case 'averagePool2d':
      return inputSize(p);
    case 'softmax':
    case 'normalize':
    case 'activation':
    case 'transpose':
    case 'quantize':
    case 'dequantize':
    case 'lookup':
      return outputSize(p);
    case 'gather':
    case 'reduce':
      return p.outer * p.size * p.inner;
    case 'resample':
      return p.outer * p.inSize * p.inner;
    default:
      return undefined;
  }
}

/** Computes into C what a kernel for `problem` does, by the oracles. Operands may be longer than the problem needs. */
export function compute(
  problem: Problem,
  [a, b]: readonly TensorData[],
  c: TensorData,
  operands?: { weights: Weights; bias?: Bias },
): void {
  if (isMatmul(problem)) {
    c.set(referenceMatmul(operands!.weights, problem, part(a, inputSize(problem)), operands?.bias).y);
  } else {
    computeWeightless(problem, [part(a, sizeOfA(problem) ?? a.length), b], c);
  }
}
