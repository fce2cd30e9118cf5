import type { Operator } from './context.js';
import { elementwise } from './elementwise.js';
import { gathers } from './gather.js';
import { layers } from './layers.js';
import { movement } from './movement.js';
import { reductions } from './reductions.js';

/** Every operator that is read, by its name in the schema. */
export const OPERATORS: Readonly<Record<string, Operator>> = {
  ...elementwise,
  ...gathers,
  ...layers,
  ...movement,
  ...reductions,
};
