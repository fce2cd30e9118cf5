import type { Advice } from '../advise/index.js';
import type { ModelReport } from '../graph/model.js';
import type { Candidate } from '../plan/variant.js';
import type { Plot } from './plot.js';

export interface Cell {
  text: string;
  /** A share of the largest of its column, drawn as a bar where there is room for it. */
  bar?: number;
}

export interface Column {
  title: string;
  /** Numbers stand to the right. */
  align?: 'right';
}

/** A table with a title. */
export interface Section {
  title: string;
  /** Said under the title. */
  facts?: readonly string[];
  /** On a page, shown when asked for. */
  folded?: boolean;
  /** Drawn on pages only. */
  plot?: Plot;
  columns: readonly Column[];
  rows: readonly { cells: readonly (string | Cell)[]; strong?: boolean; weak?: boolean }[];
}

const right = (title: string): Column => ({ title, align: 'right' });

export function formatMs(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return '-';
  return ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toPrecision(3);
}

export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined) return '-';
  if (bytes < 1e3) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(2)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

export function candidateSection(title: string, candidates: readonly Candidate[]): Section {
  return {
    title,
    columns: [
      { title: 'kernel' },
      { title: 'device' },
      { title: 'weights' },
      right('bytes'),
      right('predicted ms'),
      right('measured ms'),
      { title: 'why' },
    ],
    rows: candidates.map(({ variant, device, format, bytes, predictedMs, measuredMs, chosen, reason }) => ({
      strong: chosen,
      weak: !Number.isFinite(predictedMs),
      cells: [
        variant,
        device,
        format ?? '-',
        formatBytes(bytes),
        formatMs(predictedMs),
        formatMs(measuredMs),
        chosen ? `chosen: ${reason}` : reason,
      ],
    })),
  };
}

export function modelSections({ nodes, transfers, placements, totals }: ModelReport, candidates: boolean): Section[] {
  const msOf = ({ measuredMs, predictedMs }: (typeof nodes)[0]) => measuredMs ?? predictedMs;
  const longest = Math.max(...nodes.map(msOf), Number.MIN_VALUE);
  const measured = `${(100 * totals.measuredShare).toFixed(0)} % of it measured`;
  const sections: Section[] = [
    {
      title: 'Nodes',
      facts: [
        `kernels ${formatMs(totals.kernelMs)} ms (${measured}), transfers ${formatMs(totals.transferMs)} ms`,
        `weights ${formatBytes(totals.weightBytes)} packed, ${formatBytes(totals.denseBytes)} as dense f32; ` +
          `activations ${formatBytes(totals.activationBytes)}`,
      ],
      columns: [
        { title: 'node' },
        { title: 'operator' },
        right('output'),
        { title: 'on' },
        { title: 'kernel' },
        { title: 'weights' },
        right('bytes'),
        right('ms'),
        { title: '' },
      ],
      rows: nodes.map((node) => ({
        weak: node.variant === 'alias',
        cells: [
          node.name,
          node.op,
          node.shape.join(' x '),
          node.backend,
          node.variant,
          node.format ?? '-',
          formatBytes(node.weightBytes),
          { text: node.variant === 'alias' ? '-' : formatMs(msOf(node)), bar: msOf(node) / longest },
          node.measuredMs === undefined ? '' : 'measured',
        ],
      })),
    },
    {
      title: 'Devices',
      columns: [{ title: 'device' }, right('predicted ms'), { title: 'why' }],
      rows: placements.map(({ device, predictedMs, chosen, reason }) => ({
        strong: chosen,
        cells: [device, formatMs(predictedMs), chosen ? `chosen: ${reason}` : reason],
      })),
    },
  ];
  if (transfers.length > 0) {
    sections.push({
      title: 'Transfers',
      columns: [{ title: 'value' }, { title: 'from' }, { title: 'to' }, right('bytes'), right('predicted ms')],
      rows: transfers.map(({ value, from, to, bytes, predictedMs }) => ({
        cells: [value, from, to, formatBytes(bytes), formatMs(predictedMs)],
      })),
    });
  }
  for (const node of nodes) {
    if (candidates && node.problem) sections.push(candidateSection(`Candidates of ${node.name}`, node.candidates));
  }
  return sections;
}

export function adviceSection({ layer, what, now, options }: Advice): Section {
  const best = Math.max(...options.map(({ speedUp = 0 }) => speedUp), 1);
  return {
    title: layer,
    facts: [`${what}; now ${now.variant}, ${formatMs(now.ms)} ms, ${formatBytes(now.bytes)}`],
    columns: [
      { title: 'compression' },
      { title: 'kernel' },
      right('bytes'),
      right('ms'),
      right('speed-up'),
      { title: '' },
    ],
    rows: options.map(({ compression, variant, bytes, ms, speedUp, reason }) => ({
      strong: speedUp !== undefined && speedUp === best,
      weak: speedUp === undefined || speedUp < 1,
      cells: [
        compression,
        variant ?? '-',
        formatBytes(bytes),
        formatMs(ms),
        speedUp === undefined ? '-' : { text: `${speedUp.toFixed(2)} x`, bar: speedUp / best },
        reason ?? '',
      ],
    })),
  };
}
