import { defineCommand } from 'citty';
import { Presets, SingleBar } from 'cli-progress';
import { advise as measure } from '../advise/index.js';
import type { BackendName } from '../plan/variant.js';
import { toHtml, toTable } from '../report/index.js';
import { openModel, save } from './model.js';
import { modelArgs, threadsOf } from './options.js';
import { reported } from './report.js';

export const advise = defineCommand({
  meta: {
    name: 'advise',
    description: 'Measure what pruning, quantising or factorising each layer of a model would bring on this machine.',
  },
  args: {
    ...modelArgs,
    only: { type: 'string', description: 'Compressions to try, by name, e.g. "int8,prune 90 %"' },
  },
  run: ({ args }) =>
    reported(async () => {
      const { model: file, backend, threads, shape, html, json, only } = args;
      const [runtime, model] = await openModel(file, {
        backend: backend as BackendName | undefined,
        threads: threadsOf(threads),
        shapes: shape ? [shape] : [],
      });
      const format = '{bar} {percentage} % | {eta_formatted} left | {what}';
      const bar = new SingleBar({ format, noTTYOutput: false, hideCursor: true }, Presets.shades_classic);
      try {
        await model.tune({ effort: 'quick' });
        if (!json) bar.start(1, 0, { what: '' });
        const onProgress = (done: number, what: string) => bar.update(done, { what });
        const advice = await measure(runtime, model, { only: only?.split(','), onProgress });
        bar.stop();
        console.log(json ? JSON.stringify(advice, null, 2) : toTable(advice));
        await save(html, toHtml(advice, `${file}: what compression would bring`), 'The advice is');
      } finally {
        bar.stop();
        model.free();
        runtime.free();
      }
    }),
});
