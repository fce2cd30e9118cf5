// Placement of graphs on two devices, against every placement there is.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type PlacementProblem, placementMs, placeNodes, type Side } from '../src/graph/placement.js';

const test = suite('placement');

/** A random graph: node i reads values of nodes before it, or of the caller; some values are read by the caller. */
const graphs = fc
  .integer({ min: 1, max: 9 })
  .chain((count) => {
    const ms = fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 40 }) },
      fc.constant(Number.POSITIVE_INFINITY),
    );
    const value = (producer: number | undefined) =>
      fc.record({
        producer: fc.constant(producer),
        home: fc.constantFrom<Side>(0, 0, 1),
        consumers: fc.subarray(
          Array.from({ length: count - (producer ?? -1) - 1 }, (_, i) => (producer ?? -1) + 1 + i),
        ),
        output: fc.constantFrom<Side | undefined>(undefined, 0, 1),
        movesMs: fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 30 })),
      });
    return fc.record({
      nodes: fc.array(fc.tuple(ms, ms), { minLength: count, maxLength: count }),
      values: fc.tuple(value(undefined), value(undefined), ...Array.from({ length: count }, (_, i) => value(i))),
    });
  })
  .map((problem): PlacementProblem => problem);

test('takes no longer than any other placement', () => {
  fc.assert(
    fc.property(graphs, (problem) => {
      const count = problem.nodes.length;
      let least = Number.POSITIVE_INFINITY;
      for (let bits = 0; bits < 2 ** count; bits++) {
        const sides = Array.from({ length: count }, (_, i): Side => ((bits >> i) & 1 ? 1 : 0));
        least = Math.min(least, placementMs(problem, sides));
      }
      const found = placeNodes(problem);
      if (found === undefined) assert.is(least, Number.POSITIVE_INFINITY);
      else assert.is(placementMs(problem, found), least);
    }),
    { numRuns: 1000 },
  );
});

test('a long chain is placed at once', () => {
  const count = 3000;
  const nodes = Array.from({ length: count }, (_, i) => (i % 1000 < 500 ? ([1, 2] as const) : ([2, 1] as const)));
  const values = Array.from({ length: count + 1 }, (_, i) => ({
    producer: i === 0 ? undefined : i - 1,
    consumers: i < count ? [i] : [],
    output: i === count ? (0 as const) : undefined,
    movesMs: [10, 10] as const,
  }));
  const sides = placeNodes({ nodes, values })!;
  assert.is(placementMs({ nodes, values }, sides), 3000 + 6 * 10);
  assert.is(sides[0], 0);
  assert.is(sides[750], 1);
});

test('a node that neither side runs has no place', () => {
  const nodes = [[Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]] as const;
  assert.is(placeNodes({ nodes, values: [] }), undefined);
});

test.run();
