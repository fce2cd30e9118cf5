import type { Operator } from './context.js';
import { elementwise } from './elementwise.js';
import { gathers } from './gather.js';
import { layers } from './layers.js';
import { movement } from './movement.js';
import { quantizers } from './quantize.js';
import { quantizedLayers } from './quantized.js';
import { recurrentLayers } from './recurrent.js';
import { reductions } from './reductions.js';
import { own } from './thinfer.js';

/**
 * Every operator that can be imported, those of other domains than the default one with it before their name.
 * docs/graph.md has the list with its limits.
 */
export const OPERATORS: Readonly<Record<string, Operator>> = {
  ...layers,
  ...quantizers,
  ...quantizedLayers,
  ...recurrentLayers,
  ...elementwise,
  ...gathers,
  ...movement,
  ...reductions,
  ...own,
};
