import { merged, parseResults } from '../bench/file.js';
import { benchText } from '../report/bench/tables.js';
import { command } from './command.js';
import { readText, save } from './model.js';
import { reported } from './report.js';

export const report = command({
  meta: {
    name: 'report',
    description: 'Make a page of results of thinfer bench: tables, plots, what was chosen and why.',
  },
  examples: [
    'thinfer report results.json --html report.html',
    'thinfer report phone.json laptop.json --html report.html',
  ],
  variadic: true,
  args: {
    results: { type: 'positional', required: true, description: 'Files that thinfer bench wrote, one or more' },
    html: { type: 'string', description: 'Where the page goes; without it, tables are printed' },
    title: { type: 'string', default: 'thinfer bench', description: 'Of the page' },
    json: { type: 'boolean', default: false, description: 'Print the results, merged, as JSON only' },
  },
  run: ({ args }) =>
    reported(async () => {
      const files = await Promise.all(args._.map(async (file) => parseResults(await readText(file), file)));
      const all = merged(files);
      if (args.html) {
        const { benchPage } = await import('../report/bench/page.js');
        await save(args.html, benchPage(all, args.title), 'The report is');
      }
      if (args.json) console.log(JSON.stringify(all, null, 1));
      else if (!args.html) console.log(benchText(all));
    }),
});
