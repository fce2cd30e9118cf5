// How many times as fast ours is.
import * as Plot from '@observablehq/plot';
import type { RuntimeName, ShapeRow } from '../../bench/results.js';
import type { Figure } from '../html.js';
import { COLORS, draw, type Labelled, marginFor, ROW, runtimeLegend } from './draw.js';
import { speedUp } from './tables.js';

const times = (ratio: number): string => `${ratio.toFixed(ratio < 10 ? 2 : 0)} x`;

interface Ratio {
  label: string;
  peer: RuntimeName;
  ratio: number;
  low: number;
  high: number;
}

const TICKS = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000];

/** Dots with intervals over a line where both are equal. */
function ratioPlot(ratios: readonly Ratio[], axis: string): string {
  const labels = [...new Set(ratios.map(({ label }) => label))];
  const peers = [...new Set(ratios.map(({ peer }) => peer))];
  const most = Math.max(...ratios.map(({ high }) => high), 1.2);
  const least = Math.min(...ratios.map(({ low }) => low), 0.8);
  // Peers of one model stand below each other.
  const place = ({ label, peer }: Ratio) => `${label}\u0000${peer}`;
  const places = labels.flatMap((label) =>
    peers
      .filter((peer) => ratios.some((one) => one.label === label && one.peer === peer))
      .map((peer) => `${label}\u0000${peer}`),
  );
  const first = (text: string) => places.findIndex((one) => one.split('\u0000')[0] === text.split('\u0000')[0]);
  return draw({
    height: 50 + ROW * places.length,
    marginLeft: marginFor(labels),
    marginRight: 60,
    marginBottom: 40,
    x: {
      type: 'log',
      label: axis,
      domain: [least / 1.1, most * 1.1],
      grid: true,
      ticks: TICKS.filter((x) => x >= least / 1.1 && x <= most * 1.1),
      tickFormat: (x: number) => `${x} x`,
    },
    y: {
      label: null,
      domain: places,
      tickSize: 0,
      tickFormat: (text: string) => (places[first(text)] === text ? text.split('\u0000')[0] : ''),
    },
    marks: [
      Plot.ruleX([1], { stroke: 'currentColor', strokeWidth: 1.5 }),
      Plot.ruleY(ratios, {
        y: place,
        x1: 'low',
        x2: 'high',
        stroke: ({ peer }: Ratio) => COLORS[peer],
        strokeWidth: 3,
        strokeOpacity: 0.45,
      }),
      Plot.dot(ratios, { y: place, x: 'ratio', r: 5, fill: ({ peer }: Ratio) => COLORS[peer] }),
      Plot.text(ratios, {
        y: place,
        x: 'high',
        text: ({ ratio }: Ratio) => times(ratio),
        dx: 8,
        textAnchor: 'start',
        fill: 'currentColor',
      }),
    ],
    color: { type: 'identity' },
  });
}

const INTERVALS = 'Bars: what the 95 % intervals of both medians allow. Left of 1 the other runtime is faster.';

export function speedUpFigure(models: readonly Labelled[]): Figure | undefined {
  const ratios = models.flatMap(({ label, row }): Ratio[] => {
    const [ours, ...peers] = row.runtimes;
    if (!ours.warm) return [];
    return peers.flatMap(({ name, warm }) => (warm ? [{ label, peer: name, ...speedUp(ours.warm!, warm) }] : []));
  });
  if (ratios.length === 0) return undefined;
  return {
    title: 'Speed-up of models',
    facts: ["Another runtime's time over ours, warm, taking turns in one page.", INTERVALS],
    legend: runtimeLegend(ratios.map(({ peer }) => peer)),
    svg: ratioPlot(ratios, 'thinfer is so many times as fast →'),
  };
}

export function shapeFigure(shapes: readonly ShapeRow[]): Figure | undefined {
  const title = (row: ShapeRow) =>
    `${row.shape}, ${row.weights}${row.density < 1 ? ` ${Math.round(100 * row.density)} %` : ''}${row.threads > 1 ? `, ${row.threads} threads` : ''}`;
  const dense = shapes.filter(({ runtime, weights }) => runtime !== 'thinfer' && weights === 'f32');
  const ratios = shapes.flatMap((row): Ratio[] => {
    if (row.runtime !== 'thinfer' || !row.chosen) return [];
    const rivals = dense.filter(({ shape, threads }) => shape === row.shape && threads === row.threads);
    return rivals.map(({ runtime, timing }) => ({ label: title(row), peer: runtime, ...speedUp(row.timing, timing) }));
  });
  if (ratios.length === 0) return undefined;
  return {
    title: 'Speed-up of layers',
    facts: [
      "A peer's time with dense f32 weights over that of the kernel of ours that is chosen; per cent: weights that are not zero.",
      INTERVALS,
    ],
    legend: runtimeLegend(ratios.map(({ peer }) => peer)),
    svg: ratioPlot(ratios, 'thinfer is so many times as fast →'),
  };
}
