// Memory and cold starts.
import * as Plot from '@observablehq/plot';
import { PHASES, type RuntimeName, type RuntimeRow } from '../../bench/results.js';
import type { Figure } from '../html.js';
import { formatMs } from '../sections.js';
import { COLORS, color, draw, type Labelled, marginFor, ROW, runtimeLegend } from './draw.js';
import { phaseTitle, RUNTIMES } from './tables.js';

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
