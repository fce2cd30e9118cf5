// Drawings of results, made where the report is written: the page needs no script to show them.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import {
  type BenchRun,
  type Ceiling,
  type CrossoverRow,
  type ModelRow,
  PHASES,
  type RuntimeName,
  type RuntimeRow,
  type ShapeRow,
} from '../../bench/results.js';
import type { Figure } from '../html.js';
import { formatMs } from '../sections.js';
import { configuration, phaseTitle, RUNTIMES, speedUp } from './tables.js';

const WIDTH = 1000;
const ROW = 26;
const color = (i: number): string => `var(--c${i % 7})`;
const COLORS: Readonly<Record<RuntimeName, string>> = {
  thinfer: color(0),
  ort: color(1),
  litert: color(2),
  tfjs: color(3),
};

const { document } = parseHTML('<!doctype html><html></html>');

/** Room for labels of so many characters. */
const marginFor = (labels: readonly string[]): number => 16 + 6.9 * Math.max(...labels.map(({ length }) => length), 0);

/** A name for an axis: long ones keep their ends, which tell them apart. */
const LONGEST = 44;
const short = (name: string): string => (name.length <= LONGEST ? name : `…${name.slice(1 - LONGEST)}`);

function draw(options: Plot.PlotOptions): string {
  const style = { fontSize: '12px', background: 'none', color: 'inherit' };
  const svg = Plot.plot({ document: document as unknown as Document, width: WIDTH, style, ...options });
  svg.setAttribute('role', 'img');
  return svg.outerHTML;
}

/** Legend of the runtimes that are there, in a fixed order. */
const runtimeLegend = (names: Iterable<RuntimeName>): Figure['legend'] => {
  const there = new Set(names);
  const all = Object.keys(RUNTIMES) as RuntimeName[];
  return all.filter((name) => there.has(name)).map((name) => ({ label: RUNTIMES[name], color: COLORS[name] }));
};

const times = (ratio: number): string => `${ratio.toFixed(ratio < 10 ? 2 : 0)} x`;

/** Models, each with the machine where several were measured. */
interface Labelled {
  label: string;
  row: ModelRow;
}

export function labelled(runs: readonly BenchRun[]): Labelled[] {
  const rows = runs.flatMap((run) =>
    run.models.map((row) => ({
      row,
      label: `${short(row.model)}, ${configuration(row)}`,
      where: `${run.client.browser}, ${run.machine.cpu}`,
      when: run.date.slice(0, 16).replace('T', ' '),
    })),
  );
  // As much as tells them apart.
  return rows.map(({ row, label, where, when }) => {
    const alike = rows.filter((other) => other.label === label);
    if (alike.length === 1) return { row, label };
    const here = alike.filter((other) => other.where === where);
    return {
      row,
      label: `${label} (${here.length === alike.length ? when : here.length > 1 ? `${where}, ${when}` : where})`,
    };
  });
}

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
    svg: ratioPlot(ratios, 'times as fast as →'),
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
    svg: ratioPlot(ratios, 'times as fast as →'),
  };
}

interface Point {
  name: string;
  format: string;
  intensity: number;
  gmacs: number;
  ms: number;
}

const ROOF_HEIGHT = 350;

/** Places of labels on a logarithmic axis, from the top: each at least `step` times as low as the one above. */
function apart(points: readonly Point[], step: number): (Point & { at: number })[] {
  let above = Number.POSITIVE_INFINITY;
  return [...points]
    .sort((a, b) => b.gmacs - a.gmacs)
    .map((point) => {
      above = Math.min(point.gmacs, above / step);
      return { ...point, at: above };
    });
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

/** Bars of a number of each runtime, below each other by model. */
function barPlot(bars: { label: string; name: RuntimeName; value: number; text: string }[], axis: string): string {
  const names = bars.map(({ label, name }) => `${label}\u0000${name}`);
  return draw({
    height: 50 + ROW * bars.length,
    marginLeft: marginFor(bars.map(({ label }) => label)),
    marginRight: 70,
    marginBottom: 40,
    x: { label: axis, grid: true, ticks: 6 },
    y: {
      label: null,
      domain: names,
      tickSize: 0,
      tickFormat: (text: string, i: number) =>
        i > 0 && names[i - 1].split('\u0000')[0] === text.split('\u0000')[0] ? '' : text.split('\u0000')[0],
    },
    color: { type: 'identity' },
    marks: [
      Plot.barX(bars, {
        x: 'value',
        y: (_: unknown, i: number) => names[i],
        fill: ({ name }) => COLORS[name as RuntimeName],
        insetTop: 3,
        insetBottom: 3,
      }),
      Plot.text(bars, {
        x: 'value',
        y: (_: unknown, i: number) => names[i],
        text: 'text',
        dx: 6,
        textAnchor: 'start',
        fill: 'currentColor',
      }),
      Plot.ruleX([0], { stroke: 'currentColor' }),
    ],
  });
}

export function memoryFigure(models: readonly Labelled[]): Figure | undefined {
  const bars = models.flatMap(({ label, row }) =>
    row.runtimes.flatMap(({ name, cold }) => {
      const bytes = cold?.residentBytes;
      return bytes ? [{ label, name, value: bytes / 1e6, text: `${(bytes / 1e6).toFixed(0)} MB` }] : [];
    }),
  );
  if (bars.length === 0) return undefined;
  return {
    title: 'Peak memory',
    facts: [
      "The most that the page's process ever had resident, from a cold start to the first answer. An empty page has some 130 MB of it.",
    ],
    legend: runtimeLegend(bars.map(({ name }) => name)),
    svg: barPlot(bars, 'MB →'),
  };
}

/** Unlike those of runtimes but for one. */
const PHASE_COLORS = [5, 6, 4, 3, 0].map(color);

export function coldFigure(models: readonly Labelled[]): Figure | undefined {
  const started = models.flatMap(({ label, row }) =>
    row.runtimes
      .filter((runtime): runtime is RuntimeRow & Required<Pick<RuntimeRow, 'cold'>> => runtime.cold !== undefined)
      .map(({ name, cold }) => ({ label, name, cold, place: `${label}\u0000${name}` })),
  );
  if (started.length === 0) return undefined;
  const parts = started.flatMap(({ place, cold }) => {
    let at = 0;
    return PHASES.map((phase, i) => {
      const from = at;
      at += cold.phases[phase];
      return { place, from, to: at, fill: PHASE_COLORS[i] };
    });
  });
  const ends = started.map(({ place, cold, name }) => ({
    place,
    name,
    ms: cold.ms,
    end: PHASES.reduce((sum, phase) => sum + cold.phases[phase], 0),
  }));
  const axis = (text: string) => {
    const [label, name] = text.split('\u0000');
    return `${label}: ${RUNTIMES[name as RuntimeName]}`;
  };
  return {
    title: 'Cold start',
    facts: [
      'From nothing cached to the first answer, over localhost, each part after the one before: medians. Peers start and load in one part.',
    ],
    legend: PHASES.map((phase, i) => ({ label: phaseTitle(phase), color: PHASE_COLORS[i] })),
    svg: draw({
      height: 50 + ROW * started.length,
      marginLeft: marginFor(started.map(({ place }) => axis(place))),
      marginRight: 70,
      marginBottom: 40,
      x: { label: 'ms →', grid: true, ticks: 6 },
      y: { label: null, domain: started.map(({ place }) => place), tickSize: 0, tickFormat: axis },
      color: { type: 'identity' },
      marks: [
        Plot.barX(parts, { x1: 'from', x2: 'to', y: 'place', fill: 'fill', insetTop: 3, insetBottom: 3 }),
        Plot.text(ends, {
          x: 'end',
          y: 'place',
          text: ({ ms }: { ms: number }) => formatMs(ms),
          dx: 6,
          textAnchor: 'start',
          fill: 'currentColor',
        }),
        Plot.ruleX([0], { stroke: 'currentColor' }),
      ],
    }),
  };
}

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
