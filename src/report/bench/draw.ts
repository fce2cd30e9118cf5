// What drawings have in common. They are made where the report is written: the page needs no script to show them.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { type BenchRun, deviceOf, type ModelRow, type RuntimeName } from '../../bench/results.js';
import type { Figure } from '../html.js';
import { configuration, RUNTIMES } from './tables.js';

export const WIDTH = 1000;
export const ROW = 26;
export const color = (i: number): string => `var(--c${i % 7})`;
export const COLORS: Readonly<Record<RuntimeName, string>> = {
  thinfer: color(0),
  ort: color(1),
  litert: color(2),
  tfjs: color(3),
};

export const { document } = parseHTML('<!doctype html><html></html>');

/** Room for labels of so many characters. */
export const marginFor = (labels: readonly string[]): number =>
  16 + 6.9 * Math.max(...labels.map(({ length }) => length), 0);

/** A name for an axis: long ones keep their ends, which tell them apart. */
export const LONGEST = 44;
export const short = (name: string): string => (name.length <= LONGEST ? name : `…${name.slice(1 - LONGEST)}`);

export function draw(options: Plot.PlotOptions): string {
  const style = { fontSize: '12px', background: 'none' };
  const svg = Plot.plot({ document: document as unknown as Document, width: WIDTH, style, ...options });
  svg.setAttribute('role', 'img');
  return svg.outerHTML;
}

/** Legend of the runtimes that are there, in a fixed order. */
export const runtimeLegend = (names: Iterable<RuntimeName>): Figure['legend'] => {
  const there = new Set(names);
  const all = Object.keys(RUNTIMES) as RuntimeName[];
  return all.filter((name) => there.has(name)).map((name) => ({ label: RUNTIMES[name], color: COLORS[name] }));
};

/** Models, each with the machine where several were measured. */
export interface Labelled {
  label: string;
  row: ModelRow;
}

export function labelled(runs: readonly BenchRun[]): Labelled[] {
  const rows = runs.flatMap((run) =>
    run.models.map((row) => ({
      row,
      label: `${short(row.model)}, ${configuration(row)}`,
      where: `${run.client.browser}, ${deviceOf(run)}`,
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
