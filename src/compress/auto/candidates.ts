import { ternarize } from '../binary.js';
import { obs } from '../pruning/second-order.js';
import { gptq } from '../quantisation/gptq.js';
import { quantize } from '../quantisation/quantize.js';
import type { Step } from '../step.js';

/** A form that a layer may take. */
export interface Candidate {
  name: string;
  /** What gives it to some layers, by name: one step after the other. */
  steps(only: readonly string[]): readonly Step[];
}

const pruned = (sparsity: number, pattern: 'weights' | '4x1' = 'weights'): Candidate => ({
  name: `${Math.round(100 * sparsity)} % pruned${pattern === 'weights' ? '' : ` in ${pattern}`}`,
  steps: (only) => [obs({ sparsity, pattern, scope: 'layer', only })],
});

const prunedBytes = (sparsity: number): Candidate => ({
  name: `${Math.round(100 * sparsity)} % pruned, int8`,
  steps: (only) => [obs({ sparsity, scope: 'layer', only }), quantize({ format: 'int8', only })],
});

/** What `auto` tries. */
export const CANDIDATES: readonly Candidate[] = [
  { name: 'int8', steps: (only) => [quantize({ format: 'int8', only })] },
  { name: 'int4', steps: (only) => [gptq({ format: 'int4', only })] },
  { name: 'int2', steps: (only) => [gptq({ format: 'int2', only })] },
  { name: 'ternary', steps: (only) => [ternarize({ only })] },
  pruned(0.5),
  pruned(0.7),
  pruned(0.85),
  pruned(0.5, '4x1'),
  pruned(0.7, '4x1'),
  prunedBytes(0.7),
  prunedBytes(0.85),
];

/** What `mixed` tries: integers of 8, 4 and 2 bits. */
export const WIDTHS: readonly Candidate[] = CANDIDATES.filter(({ name }) => ['int8', 'int4', 'int2'].includes(name));
