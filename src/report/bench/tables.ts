// Results of thinfer bench as tables, for a terminal and for the page.
import {
  type BenchRun,
  type CrossoverRow,
  type LayerRow,
  type ModelRow,
  PHASES,
  type ResultsFile,
  type RuntimeName,
  type RuntimeRow,
  type ShapeRow,
} from '../../bench/results.js';
import type { Timing } from '../../bench/statistics.js';
import { type Column, formatBytes, formatMs, type Section } from '../sections.js';
import { toText } from '../text.js';

const right = (title: string): Column => ({ title, align: 'right' });

export const RUNTIMES: Readonly<Record<RuntimeName, string>> = {
  thinfer: 'thinfer',
  ort: 'onnxruntime-web',
  litert: 'LiteRT.js',
  tfjs: 'TensorFlow.js',
};

export const runtimeTitle = ({ name, version }: Pick<RuntimeRow, 'name' | 'version'>): string =>
  `${RUNTIMES[name]} ${version}`.trim();

export const configuration = ({ backend, threads }: Pick<ModelRow, 'backend' | 'threads'>): string =>
  backend === 'wasm' ? `WASM, ${threads} thread${threads > 1 ? 's' : ''}` : 'WebGPU';

export const interval = ({ low, high }: Pick<Timing, 'low' | 'high'>): string =>
  `${formatMs(low)} to ${formatMs(high)}`;

/** How many times as fast ours is, with what the intervals of both allow at worst and best. */
export function speedUp(ours: Timing, theirs: Timing): { ratio: number; low: number; high: number } {
  return { ratio: theirs.ms / ours.ms, low: theirs.low / ours.high, high: theirs.high / ours.low };
}

export const describeRun = ({ machine, client, date, thinfer }: BenchRun): string[] => [
  ...(date ? [`thinfer ${thinfer}, ${date.slice(0, 16).replace('T', ' ')} UTC`] : []),
  client.remote
    ? `in ${client.browser}, ${client.cores} cores, ${client.name ?? client.userAgent}`
    : `in ${client.browser} on ${client.name ? `${client.name}, ` : ''}${machine.cpu}, ${machine.cores} cores, ${machine.memoryBytes ? `${formatBytes(machine.memoryBytes)}, ` : ''}${machine.platform}`,
  ...(client.userAgent
    ? [`WebGPU: ${client.adapter ?? 'none'}; ${client.isolated ? 'cross-origin isolated' : 'not isolated: no threads'}`]
    : []),
];

/** Every runtime with a model on one backend. */
export function modelSection(row: ModelRow): Section {
  const { model, device, bytes, runtimes, reference } = row;
  const ours = runtimes[0].warm;
  const slowest = Math.max(...runtimes.map(({ warm }) => warm?.ms ?? 0));
  const hasFailed = runtimes.some(({ failed }) => failed);
  const isCold = runtimes.some(({ cold }) => cold);
  const isMeasured = (of: (cold: NonNullable<RuntimeRow['cold']>) => number | undefined) =>
    runtimes.some(({ cold }) => cold && of(cold) !== undefined);
  const hasPeak = isMeasured(({ residentBytes }) => residentBytes);
  const hasTransfer = isMeasured(({ transferBytes }) => transferBytes);
  return {
    title: `${model}, ${configuration(row)}`,
    facts: [`${device}; file ${formatBytes(bytes)}; answers compared with: ${reference}`],
    columns: [
      { title: 'runtime' },
      right('ms'),
      right('95 %'),
      right('vs thinfer'),
      right('difference'),
      ...(isCold ? [right('cold ms')] : []),
      ...(hasTransfer ? [right('transfer')] : []),
      ...(hasPeak ? [right('peak memory')] : []),
      ...(hasFailed ? [{ title: 'problem' }] : []),
    ],
    rows: runtimes.map((runtime, i) => {
      const { warm, cold, difference, failed } = runtime;
      const ratio = i > 0 && warm && ours ? `${(warm.ms / ours.ms).toFixed(2)} x the time` : '';
      const codes = difference?.codes ? `${difference.codes} in ${difference.wrong} codes` : 'none';
      return {
        strong: i === 0,
        weak: failed !== undefined,
        cells: [
          runtimeTitle(runtime),
          warm ? { text: formatMs(warm.ms), bar: warm.ms / slowest } : '-',
          warm ? interval(warm) : '-',
          ratio,
          difference ? (difference.relative > 0 ? difference.relative.toExponential(1) : codes) : '-',
          ...(isCold ? [cold ? formatMs(cold.ms) : '-'] : []),
          ...(hasTransfer ? [formatBytes(cold?.transferBytes)] : []),
          ...(hasPeak ? [formatBytes(cold?.residentBytes)] : []),
          ...(hasFailed ? [failed ?? ''] : []),
        ],
      };
    }),
  };
}

const rate = (amount: number | undefined, ms: number): string =>
  amount === undefined || ms <= 0 ? '-' : (amount / ms / 1e6).toFixed(1);

export function layerSection(row: ModelRow): Section {
  const { model, layers, weightBytes, denseBytes, activationBytes } = row;
  const sum = layers.reduce((total, { ms }) => total + ms, 0);
  const longest = Math.max(...layers.map(({ ms }) => ms), Number.MIN_VALUE);
  return {
    title: `Layers of ${model}, ${configuration(row)}`,
    facts: [
      `nodes one by one ${formatMs(sum)} ms; weights ${formatBytes(weightBytes)} packed, ${formatBytes(denseBytes)} as dense f32; ` +
        `activations ${formatBytes(activationBytes)}`,
    ],
    columns: [
      { title: 'node' },
      { title: 'operator' },
      right('output'),
      { title: 'kernel' },
      { title: 'weights' },
      right('ms'),
      right('GMAC/s'),
      right('GB/s'),
    ],
    rows: layers.map(({ name, op, shape, variant, format, ms, macs, bytes }: LayerRow) => ({
      weak: variant === 'alias',
      cells: [
        name,
        op,
        shape.join(' x '),
        variant,
        format ?? '-',
        variant === 'alias' ? '-' : { text: formatMs(ms), bar: ms / longest },
        rate(macs, ms),
        rate(bytes, ms),
      ],
    })),
  };
}

const PHASE_TITLES = { script: 'script', model: 'model file', start: 'start', load: 'load', first: 'first run' };
export const phaseTitle = (phase: keyof typeof PHASE_TITLES): string => PHASE_TITLES[phase];

export function coldSection(row: ModelRow): Section | undefined {
  const started = row.runtimes.filter(({ cold }) => cold);
  if (started.length === 0) return undefined;
  return {
    title: `Cold start of ${row.model}, ${configuration(row)}`,
    facts: [`medians of ${started[0].cold!.starts} starts in fresh pages, one part after the other, milliseconds`],
    columns: [
      { title: 'runtime' },
      ...PHASES.map((phase) => right(phaseTitle(phase))),
      right('in all'),
      right('95 %'),
      right('WASM memory'),
    ],
    rows: started.map((runtime) => {
      const { cold } = runtime as Required<RuntimeRow>;
      return {
        strong: runtime.name === 'thinfer',
        cells: [
          runtimeTitle(runtime),
          ...PHASES.map((phase) => formatMs(cold.phases[phase])),
          formatMs(cold.ms),
          interval(cold),
          formatBytes(cold.wasmBytes),
        ],
      };
    }),
  };
}

export function ceilingSection({ ceilings }: BenchRun): Section | undefined {
  if (ceilings.length === 0) return undefined;
  return {
    title: 'Ceilings',
    columns: [{ title: 'on' }, right('GMAC/s'), right('GB/s'), { title: 'how' }],
    rows: ceilings.map((ceiling) => ({
      cells: [configuration(ceiling), ceiling.gmacs.toFixed(1), ceiling.gbytes.toFixed(1), ceiling.how],
    })),
  };
}

/** Kernels of ours beside operators of peers, a table for each shape. */
export function shapeSections({ shapes = [] }: BenchRun): Section[] {
  const groups = new Map<string, ShapeRow[]>();
  for (const row of shapes) {
    const title = `${row.shape}, ${configuration({ backend: 'wasm', threads: row.threads })}`;
    groups.set(title, [...(groups.get(title) ?? []), row]);
  }
  return [...groups].map(([title, rows]) => {
    const slowest = Math.max(...rows.map(({ timing }) => timing.ms));
    return {
      title,
      columns: [
        { title: 'runtime' },
        { title: 'kernel' },
        { title: 'weights' },
        right('not zero'),
        right('ms'),
        right('95 %'),
        right('GMAC/s'),
        right('as dense'),
        right('error'),
      ],
      rows: rows.map(({ runtime, kernel, weights, density, timing, gmacs, denseGmacs, error, chosen }) => ({
        strong: chosen,
        cells: [
          RUNTIMES[runtime],
          kernel,
          weights,
          `${Math.round(100 * density)} %`,
          { text: formatMs(timing.ms), bar: timing.ms / slowest },
          interval(timing),
          gmacs.toFixed(1),
          denseGmacs.toFixed(1),
          error.toExponential(0),
        ],
      })),
    };
  });
}

/** Milliseconds by density and format, a table for each shape. */
export function crossoverSections({ crossover = [] }: BenchRun): Section[] {
  const title = ({ shape, threads }: CrossoverRow) => `${shape}, ${configuration({ backend: 'wasm', threads })}`;
  return [...new Set(crossover.map(title))].map((name) => {
    const rows = crossover.filter((row) => title(row) === name);
    const formats = [...new Set(rows.map(({ weights }) => weights))];
    const densities = [...new Set(rows.map(({ density }) => density))].sort((a, b) => a - b);
    return {
      title: `By density: ${name}`,
      facts: ['milliseconds of the fastest kernel of each format'],
      columns: [right('not zero'), ...formats.map(right)],
      rows: densities.map((density) => ({
        cells: [
          `${Math.round(100 * density)} %`,
          ...formats.map((weights) =>
            formatMs(rows.find((row) => row.density === density && row.weights === weights)?.ms),
          ),
        ],
      })),
    };
  });
}

export const runSections = (run: BenchRun): Section[] =>
  [
    ...run.models.flatMap((row) => [modelSection(row), coldSection(row), layerSection(row)]),
    ...shapeSections(run),
    ...crossoverSections(run),
    ceilingSection(run),
  ].filter((section) => section !== undefined);

/** For a terminal. */
export const benchText = ({ runs }: ResultsFile): string =>
  runs.map((run) => [describeRun(run).join('\n'), ...runSections(run).map(toText)].join('\n\n')).join('\n\n');
