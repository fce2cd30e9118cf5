// What the doors that read files put graphs together with.

import type { BinaryOperator, UnaryFunction } from '../plan/problem.js';
import { type Clamp, NO_CLAMP, type Node, type ReshapeDim, type ValueId } from './ir.js';

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
/** A node of a graph without what its builder fills in. */
export type NewNode = DistributiveOmit<Node, 'name' | 'output' | 'inputs'> & { inputs: readonly ValueId[] };

/** A graph that is being built. */
export interface Emitter {
  /** Adds a node, or its result where that is known now. */
  emit(node: NewNode): ValueId;
  /** A constant of one number, of the type of `like`. */
  addScalar(value: number, like?: ValueId): ValueId;
}

export function unary(c: Emitter, nonlinearity: UnaryFunction, input: ValueId): ValueId {
  return c.emit({ op: 'activation', nonlinearity, inputs: [input], clamp: NO_CLAMP });
}

/** a op b; numbers become constants. */
export function binary(
  c: Emitter,
  op: BinaryOperator,
  a: ValueId | { number: number },
  b: ValueId | { number: number },
  clamp: Clamp = NO_CLAMP,
): ValueId {
  const other = typeof a === 'number' ? a : typeof b === 'number' ? b : undefined;
  const [left, right] = [a, b].map((x) => (typeof x === 'number' ? x : c.addScalar(x.number, other)));
  return c.emit({ op, inputs: [left, right], clamp });
}

export function reshape(c: Emitter, input: ValueId, target: readonly ReshapeDim[]): ValueId {
  return c.emit({ op: 'reshape', inputs: [input], target });
}
