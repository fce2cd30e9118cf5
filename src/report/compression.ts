import type { FrontPoint, Measured } from '../compress/auto/auto.js';
import type { CompressionReport, LayerReport } from '../compress/compress.js';
import { formatBytes, formatMs, type Section } from './sections.js';

const percent = (share: number | undefined): string => (share === undefined ? '-' : `${(100 * share).toFixed(2)} %`);
const right = (title: string) => ({ title, align: 'right' }) as const;

/** What a compression did, layer by layer; of `auto` what was measured, and the whole models that it chose among. */
export function compressionSections(report: CompressionReport, candidates: boolean): Section[] {
  const { steps, layers, bytes, outputs, evidence } = report;
  const facts = [`steps: ${steps.join('; ')}`, `weights ${formatBytes(bytes.before)}, now ${formatBytes(bytes.after)}`];
  if (outputs) {
    const { error, agreement, accuracy } = outputs;
    facts.push(`outputs on calibration data: relative error ${error.toPrecision(2)}, same class ${percent(agreement)}`);
    if (accuracy) facts.push(`accuracy ${percent(accuracy.before)}, now ${percent(accuracy.after)}`);
  }
  const sections: Section[] = [
    {
      title: 'Layers',
      facts,
      columns: [
        { title: 'layer' },
        { title: 'weights' },
        right('bytes'),
        right('not 0'),
        right('error'),
        { title: 'what was done' },
      ],
      rows: layers.map(({ layer, format, bytes: own, density, weightError, did }) => ({
        weak: own.before === own.after,
        cells: [
          layer,
          format.before === format.after ? format.before : `${format.before}, now ${format.after ?? 'others'}`,
          `${formatBytes(own.before)}, now ${formatBytes(own.after)}`,
          percent(density),
          weightError?.toPrecision(2) ?? '-',
          did.join('; '),
        ],
      })),
    },
  ];
  const auto = evidence?.auto as { device: string; target: 'speed' | 'size'; front: readonly FrontPoint[] } | undefined;
  if (auto) sections.push(frontSection(auto.front, auto.target, auto.device));
  return candidates ? [...sections, ...layers.flatMap(candidateSections)] : sections;
}

function frontSection(front: readonly FrontPoint[], target: 'speed' | 'size', device: string): Section {
  const cost = ({ ms, bytes }: FrontPoint) => (target === 'speed' ? (ms ?? Number.NaN) : bytes / 1000);
  return {
    title: 'Whole models',
    facts: [`on ${device}; bold: what was chosen; pale: another is better in both`],
    plot: {
      x: target === 'speed' ? 'ms' : 'kB',
      y: 'drop, %',
      points: front.map((point) => ({
        x: cost(point),
        y: 100 * point.drop,
        label: describePoint(point),
        strong: point.chosen,
        weak: !point.best,
      })),
    },
    columns: [right('drop'), right('error'), right('bytes'), right('ms'), { title: 'model' }],
    rows: [...front]
      .sort((a, b) => cost(a) - cost(b))
      .map((point) => ({
        strong: point.chosen,
        weak: !point.best && !point.chosen,
        cells: [
          percent(point.drop),
          point.error.toPrecision(2),
          formatBytes(point.bytes),
          formatMs(point.ms),
          describePoint(point),
        ],
      })),
  };
}

function describePoint({ filters, choice, static: isStatic }: FrontPoint): string {
  const parts = [
    filters > 0 && `${100 * filters} % of filters gone`,
    [...new Set(choice)].join(', '),
    isStatic && 'static',
  ];
  return parts.filter(Boolean).join('; ');
}

function candidateSections({ layer, did, evidence }: LayerReport): Section[] {
  const measured = evidence?.candidates as readonly Measured[] | undefined;
  if (!measured) return [];
  const title = `Candidates of ${layer}`;
  const columns = [{ title: 'form' }, right('squared error of outputs'), right('bytes'), right('ms'), { title: '' }];
  const signed = (value: number | undefined, text: (size: number) => string) =>
    value === undefined || Number.isNaN(value) ? '-' : `${value < 0 ? '-' : '+'}${text(Math.abs(value))}`;
  const rows = measured.map(({ candidate, loss, bytes, ms, reason }) => ({
    strong: did.some((text) => text.startsWith(candidate)),
    weak: reason !== undefined,
    cells: [
      candidate,
      reason === undefined ? loss.toPrecision(2) : '-',
      signed(bytes, formatBytes),
      signed(ms, formatMs),
      reason ?? '',
    ],
  }));
  return [{ title, columns, rows }];
}
