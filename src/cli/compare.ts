import pc from 'picocolors';
import { type Comparison, compareResults, doubtsOf, isRegression, type Quantity } from '../bench/compare.js';
import { parseResults } from '../bench/file.js';
import type { PeerName } from '../bench/results.js';
import { ThinferError } from '../errors.js';
import { formatBytes, formatMs, type Section } from '../report/sections.js';
import { toText } from '../report/text.js';
import { command } from './command.js';
import { EXIT } from './exit.js';
import { readText } from './model.js';
import { numberOf } from './options.js';
import { reported } from './report.js';

const METRICS = { warm: 'warm', cold: 'cold start', layer: 'layer', weights: 'weights' } as const;

function cellOf(quantity: Quantity | undefined, { metric }: Comparison, relative: boolean): string {
  if (!quantity) return '-';
  const { value, low, high } = quantity;
  if (metric === 'weights') return formatBytes(value);
  return `${formatMs(value)}${relative ? ' x' : ' ms'} (${formatMs(low)} to ${formatMs(high)})`;
}

function section(comparisons: readonly Comparison[], relative: string | undefined): Section {
  const right = (title: string) => ({ title, align: 'right' as const });
  return {
    title: 'Before and after',
    facts: [relative ? `times over those of ${relative} in the same race` : 'medians, with intervals of 95 %'],
    columns: [
      { title: 'what' },
      { title: 'metric' },
      right('before'),
      right('after'),
      right('ratio'),
      { title: 'verdict' },
    ],
    rows: comparisons.map((comparison) => ({
      strong: isRegression(comparison),
      weak: comparison.verdict === 'same',
      cells: [
        comparison.what,
        METRICS[comparison.metric],
        cellOf(comparison.before, comparison, relative !== undefined),
        cellOf(comparison.after, comparison, relative !== undefined),
        comparison.ratio ? `${comparison.ratio.toFixed(2)} x` : '-',
        comparison.verdict,
      ],
    })),
  };
}

export const compare = command({
  meta: {
    name: 'compare',
    description:
      'Compare two files of results: exit status 3 when something became slower by more than noise, or broke.',
  },
  examples: [
    'thinfer compare before.json after.json',
    'thinfer compare main.json branch.json --threshold 10',
    'thinfer compare main.json branch.json --relative ort   # on machines of different speed, as of hosted CI',
  ],
  args: {
    before: { type: 'positional', required: true, description: 'Results of thinfer bench' },
    after: { type: 'positional', required: true, description: 'Later ones' },
    threshold: { type: 'string', default: '5', description: 'Per cent: changes below are nothing, however sure' },
    relative: { type: 'enum', options: ['ort', 'litert'], description: "Compare times over this peer's" },
    json: { type: 'boolean', default: false, description: 'Print the comparison as JSON only' },
  },
  run: ({ args }) =>
    reported(async () => {
      const threshold = numberOf(args.threshold, '--threshold', 0, 1000) / 100;
      const relative = args.relative as PeerName | undefined;
      const [before, after] = await Promise.all(
        [args.before, args.after].map(async (file) => parseResults(await readText(file), file)),
      );
      const comparisons = compareResults(before, after, { threshold, relative });
      const doubts = relative ? [] : doubtsOf(before, after);
      if (comparisons.every(({ verdict }) => verdict.startsWith('only'))) {
        throw new ThinferError({
          code: 'bad-argument',
          place: `${args.before} and ${args.after}`,
          expected: 'something that both measured',
          got: comparisons.map(({ what, verdict }) => `${what} (${verdict})`).join('; ') || 'nothing',
        });
      }
      const regressions = comparisons.filter(isRegression);
      if (args.json) console.log(JSON.stringify({ comparisons, doubts, regressions: regressions.length }, null, 2));
      else console.log(toText(section(comparisons, relative)));
      if (!args.json) for (const doubt of doubts) console.error(pc.yellow(doubt));
      if (regressions.length === 0) return;
      console.error(pc.red(`thinfer: ${regressions.length} of ${comparisons.length} became worse`));
      process.exitCode = EXIT.verdict;
    }),
});
