// Curves by shape as an SVG that reads on light and dark ground. Runs in the page.

import * as Plot from './plot.js';
import type { Chart } from './types.js';

const COLUMNS = 3;
/** Mid tones that stand out from white and from black, in the order of the series. */
const COLORS = ['#8a8f98', '#d9822b', '#2f81f7', '#2da44e', '#a371f7', '#e5534b', '#1b9aaa'];
const X_TICKS = [0.02, 0.05, 0.1, 0.2, 0.5];
const Y_TICKS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const TEXT = `svg { color: #1f2328; background: none }
@media (prefers-color-scheme: dark) { svg { color: #d1d7e0 } }`;

export async function draw({ x, y, points }: Chart): Promise<string> {
  const shapes = [...new Set(points.map(({ shape }) => shape))];
  const series = [...new Set(points.map((point) => point.series))];
  const cell = (i: number) => ({ fx: i % COLUMNS, fy: Math.floor(i / COLUMNS) });
  const cellOf = ({ shape }: { shape: string }) => cell(shapes.indexOf(shape));
  const title = (text: string, i: number) => Plot.text([text], { ...at(cell(i)), text: [text], dy: -8, ...TOP });
  const rows = Math.ceil((shapes.length + 1) / COLUMNS);
  const legend = series.flatMap((name, i) => [
    Plot.dot([name], { ...at(cell(shapes.length)), ...TOP, dx: 12, dy: 14 + 20 * i, r: 4, fill: COLORS[i] }),
    Plot.text([name], { ...at(cell(shapes.length)), ...TOP, dx: 24, dy: 9 + 20 * i, text: [name], fontSize: 12 }),
  ]);
  const svg = Plot.plot({
    document,
    width: 960,
    height: 300 * rows,
    marginTop: 30,
    style: { fontSize: '11px' },
    x: { type: 'log', label: x, tickFormat: (density: number) => `${Math.round(100 * density)} %`, ticks: X_TICKS },
    y: { type: 'log', label: y, grid: true, ticks: Y_TICKS, tickFormat: '~g' },
    color: { domain: series, range: COLORS },
    fx: { axis: null, domain: Array.from({ length: COLUMNS }, (_, i) => i) },
    fy: { axis: null, domain: Array.from({ length: rows }, (_, i) => i) },
    marks: [
      Plot.line(points, {
        x: 'x',
        y: 'y',
        z: 'series',
        stroke: 'series',
        fx: (point) => cellOf(point).fx,
        fy: (point) => cellOf(point).fy,
        strokeWidth: 1.8,
        marker: 'dot',
      }),
      ...shapes.map(title),
      ...legend,
    ],
  });
  const style = document.createElementNS('http://www.w3.org/2000/svg', 'style');
  style.textContent = TEXT;
  svg.prepend(style);
  return `${new XMLSerializer().serializeToString(svg)}\n`;
}

const TOP = { frameAnchor: 'top-left', textAnchor: 'start', fill: 'currentColor' } as const;
const at = ({ fx, fy }: { fx: number; fy: number }) => ({ fx: [fx], fy: [fy] });
