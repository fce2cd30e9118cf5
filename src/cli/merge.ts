import { merged, parseResults } from '../bench/file.js';
import { command } from './command.js';
import { readText, save } from './model.js';
import { reported } from './report.js';

export const merge = command({
  meta: {
    name: 'merge',
    description: 'Put the results of several devices into one file; runs that are in several are kept once.',
  },
  examples: ['thinfer merge phone.json laptop.json --out all.json', 'thinfer merge results/*.json > all.json'],
  variadic: true,
  args: {
    results: { type: 'positional', required: true, description: 'Files that thinfer bench wrote, one or more' },
    out: { type: 'string', description: 'Where the file goes. Default: standard output' },
    json: { type: 'boolean', default: false, description: 'As without --out: print the results, merged' },
  },
  run: ({ args }) =>
    reported(async () => {
      const files = await Promise.all(args._.map(async (file) => parseResults(await readText(file), file)));
      const text = JSON.stringify(merged(files), null, 1);
      await save(args.out, text, `${merged(files).runs.length} runs are`);
      if (!args.out || args.json) console.log(text);
    }),
});
