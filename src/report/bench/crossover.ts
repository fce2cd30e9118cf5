import * as Plot from '@observablehq/plot';
import type { CrossoverRow } from '../../bench/results.js';
import { type Figure, PALETTE } from '../html.js';
import { color, draw } from './draw.js';

const COLUMNS = 3;

/** As a file of its own, that reads on light and dark ground. */
export function crossoverSvg(rows: readonly CrossoverRow[]): string {
  const { svg } = crossoverFigure(rows, true)!;
  const variables = (i: 0 | 1) => PALETTE.map((pair, c) => `--c${c}: ${pair[i]};`).join(' ');
  const style =
    `svg { color: #1f2328; ${variables(0)} }\n` +
    `@media (prefers-color-scheme: dark) { svg { color: #d1d7e0; ${variables(1)} } }`;
  return `${svg.replace(/^<svg([^>]*)>/, `<svg xmlns="http://www.w3.org/2000/svg"$1><style>${style}</style>`)}\n`;
}

/**
 * Time over our own dense f32 by density, a small plot for each shape.
 * @param inside the legend is part of the drawing
 */
export function crossoverFigure(rows: readonly CrossoverRow[], inside = false): Figure | undefined {
  if (rows.length === 0) return undefined;
  const titles = (row: CrossoverRow) => (row.threads > 1 ? `${row.shape}, ${row.threads} threads` : row.shape);
  const shapes = [...new Set(rows.map(titles))];
  const series = [...new Set(rows.map(({ weights }) => weights))].filter((weights) => weights !== 'dense');
  // Raced together, and so met by the same disturbances.
  const denseOf = (row: CrossoverRow) =>
    rows.find((one) => one.weights === 'dense' && one.density === row.density && titles(one) === titles(row))?.ms;
  const cell = (title: string) => ({
    fx: shapes.indexOf(title) % COLUMNS,
    fy: Math.floor(shapes.indexOf(title) / COLUMNS),
  });
  const points = rows.flatMap((row) => {
    const base = denseOf(row);
    if (row.weights === 'dense' || base === undefined) return [];
    return [{ ...cell(titles(row)), x: row.density, y: row.ms / base, series: row.weights }];
  });
  const heads = shapes.map((text) => ({ ...cell(text), text }));
  const cells = shapes.length + Number(inside);
  const down = Math.ceil(cells / COLUMNS);
  const last = { fx: (cells - 1) % COLUMNS, fy: down - 1 };
  const legend = inside
    ? series.flatMap((name, i) => {
        const at = { fx: () => last.fx, fy: () => last.fy, frameAnchor: 'top-left', dy: 14 + 20 * i } as const;
        return [
          Plot.dot([name], { ...at, dx: 8, r: 4, fill: color(i) }),
          Plot.text([name], { ...at, dx: 18, dy: at.dy - 5, text: [name], textAnchor: 'start', fill: 'currentColor' }),
        ];
      })
    : [];
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
        ...legend,
      ],
    }),
  };
}
