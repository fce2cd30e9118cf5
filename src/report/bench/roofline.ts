import * as Plot from '@observablehq/plot';
import type { Ceiling } from '../../bench/results.js';
import type { Figure } from '../html.js';
import { color, draw, type Labelled, short } from './draw.js';

interface Point {
  name: string;
  format: string;
  intensity: number;
  gmacs: number;
  ms: number;
}

const ROOF_HEIGHT = 350;

/** Labels of points with so many times the intensity of another's may stand beside it. */
const BESIDE = 2.5;

/** Places of labels on a logarithmic axis, from the top: each at least `step` times as low as one above that it would touch. */
function apart(points: readonly Point[], step: number): (Point & { at: number })[] {
  const placed: (Point & { at: number })[] = [];
  for (const point of [...points].sort((a, b) => b.gmacs - a.gmacs)) {
    let at = point.gmacs;
    for (const other of placed) {
      const near = Math.abs(Math.log(point.intensity / other.intensity)) < Math.log(BESIDE);
      if (near && at > other.at / step) at = other.at / step;
    }
    placed.push({ ...point, at });
  }
  return placed;
}

/** Achieved rates under the roof of what the machine can do (Williams, Waterman, Patterson 2009). */
export function rooflineFigure({ label, row }: Labelled, ceiling: Ceiling | undefined): Figure | undefined {
  const points = row.layers.flatMap(({ name, format = '', ms, macs, bytes }): Point[] =>
    macs && bytes && ms > 0 ? [{ name, format, intensity: macs / bytes, gmacs: macs / ms / 1e6, ms }] : [],
  );
  if (points.length === 0 || !ceiling) return undefined;
  const formats = [...new Set(points.map(({ format }) => format))];
  const { gmacs, gbytes } = ceiling;
  const ridge = gmacs / gbytes;
  const xs = [...points.map(({ intensity }) => intensity), ridge];
  const [left, rightmost] = [Math.min(...xs) / 2, Math.max(...xs) * 2];
  const roof = [
    { x: left, y: left * gbytes },
    { x: ridge, y: gmacs },
    { x: rightmost, y: gmacs },
  ];
  const ys = [...points.map((point) => point.gmacs), gmacs, left * gbytes];
  const longest = Math.max(...points.map(({ ms }) => ms));
  const domain = [Math.min(...ys) / 2, Math.max(...ys) * 2] as const;
  // Only where there is most to win; labels that would touch move apart.
  const named = apart(
    [...points].sort((a, b) => b.ms - a.ms).slice(0, 5),
    (domain[1] / domain[0]) ** (16 / ROOF_HEIGHT),
  );
  return {
    title: `Roofline: ${label}`,
    facts: [
      `Layers with weights under what ${ceiling.threads > 1 ? `${ceiling.threads} threads` : 'this machine'} can do: ` +
        `${gmacs.toFixed(1)} GMAC/s (f32, in registers) and ${gbytes.toFixed(1)} GB/s (copy of memory; caches are faster).`,
      'Larger dots take longer; the five longest are named. Multiply-adds with weights that are stored; 8-bit kernels may exceed the f32 roof.',
    ],
    legend: formats.map((format, i) => ({ label: format, color: color(i) })),
    svg: draw({
      height: ROOF_HEIGHT + 70,
      marginLeft: 60,
      marginRight: 30,
      marginBottom: 40,
      x: {
        type: 'log',
        label: 'multiply-adds a byte of input, weights and output →',
        domain: [left, rightmost],
        ticks: 6,
        tickFormat: '~g',
      },
      y: {
        type: 'log',
        label: '↑ GMAC/s',
        domain,
        grid: true,
        ticks: 6,
        tickFormat: '~g',
      },
      r: { domain: [0, longest], range: [3, 12] },
      marks: [
        Plot.line(roof, { x: 'x', y: 'y', stroke: 'currentColor', strokeWidth: 1.5 }),
        Plot.dot(points, {
          x: 'intensity',
          y: 'gmacs',
          r: 'ms',
          fill: ({ format }: Point) => color(formats.indexOf(format)),
          fillOpacity: 0.75,
          stroke: 'var(--ground)',
        }),
        Plot.text(named, {
          x: 'intensity',
          y: 'at',
          text: ({ name }: Point) => short(name),
          dx: 16,
          textAnchor: 'start',
          fill: 'currentColor',
          fontSize: 11,
          stroke: 'var(--ground)',
          strokeWidth: 3,
        }),
      ],
      color: { type: 'identity' },
    }),
  };
}
