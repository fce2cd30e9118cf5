import * as Plot from '@observablehq/plot';
import type { CrossoverRow } from '../../bench/results.js';
import type { Figure } from '../html.js';
import { color, draw } from './draw.js';

const COLUMNS = 3;

/** Time over our own dense f32 by density, a small plot for each shape. */
export function crossoverFigure(rows: readonly CrossoverRow[]): Figure | undefined {
  if (rows.length === 0) return undefined;
  const titles = (row: CrossoverRow) => (row.threads > 1 ? `${row.shape}, ${row.threads} threads` : row.shape);
  const shapes = [...new Set(rows.map(titles))];
  const series = [...new Set(rows.map(({ weights }) => weights))].filter((weights) => weights !== 'dense');
  // Dense does not depend on the density: the fastest of its times is the one least disturbed.
  const dense = new Map<string, number>();
  for (const row of rows) {
    if (row.weights === 'dense')
      dense.set(titles(row), Math.min(dense.get(titles(row)) ?? Number.POSITIVE_INFINITY, row.ms));
  }
  const cell = (title: string) => ({
    fx: shapes.indexOf(title) % COLUMNS,
    fy: Math.floor(shapes.indexOf(title) / COLUMNS),
  });
  const points = rows.flatMap((row) => {
    const base = dense.get(titles(row));
    if (row.weights === 'dense' || base === undefined) return [];
    return [{ ...cell(titles(row)), x: row.density, y: row.ms / base, series: row.weights }];
  });
  const heads = shapes.map((text) => ({ ...cell(text), text }));
  const down = Math.ceil(shapes.length / COLUMNS);
  const [least, most] = [Math.min(...points.map(({ y }) => y)) / 1.2, Math.max(...points.map(({ y }) => y)) * 1.2];
  return {
    title: 'From which density sparse weights are faster',
    facts: [
      'Time over that of our own dense f32, by the share of weights that are not zero. Below the line at 1 the format wins.',
    ],
    legend: series.map((label, i) => ({ label, color: color(i) })),
    svg: draw({
      height: 40 + 260 * down,
      marginTop: 34,
      marginLeft: 50,
      marginBottom: 40,
      x: {
        type: 'log',
        label: 'weights that are not zero →',
        ticks: [0.02, 0.05, 0.1, 0.2, 0.5],
        tickFormat: (x: number) => `${Math.round(100 * x)} %`,
      },
      y: {
        type: 'log',
        domain: [least, most],
        label: '↑ time over dense f32',
        grid: true,
        ticks: [0.01, 0.03, 0.1, 0.3, 1, 3, 10].filter((y) => y > least && y < most),
        tickFormat: '~g',
      },
      fx: { axis: null, domain: [...Array(COLUMNS).keys()], padding: 0.08 },
      fy: { axis: null, domain: [...Array(down).keys()], padding: 0.16 },
      color: { type: 'identity' },
      marks: [
        Plot.ruleY(heads, { fx: 'fx', fy: 'fy', y: () => 1, stroke: 'currentColor' }),
        Plot.line(points, {
          fx: 'fx',
          fy: 'fy',
          x: 'x',
          y: 'y',
          z: 'series',
          stroke: ({ series: name }) => color(series.indexOf(name)),
          strokeWidth: 1.8,
          marker: 'dot',
        }),
        Plot.text(heads, {
          fx: 'fx',
          fy: 'fy',
          text: 'text',
          frameAnchor: 'top-left',
          dy: -14,
          fill: 'currentColor',
          fontWeight: 'bold',
        }),
      ],
    }),
  };
}
