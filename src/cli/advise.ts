import { advise as measure } from '../advise/index.js';
import type { BackendName } from '../plan/variant.js';
import { toHtml, toTable } from '../report/index.js';
import { command } from './command.js';
import { openModel, save } from './model.js';
import { listOf, modelArgs, threadsOf } from './options.js';
import { progress } from './progress.js';
import { reported } from './report.js';

export const advise = command({
  meta: {
    name: 'advise',
    description: 'Measure what pruning, quantising or factorising each layer of a model would bring on this machine.',
  },
  examples: ['thinfer advise model.onnx', 'thinfer advise model.onnx --only "int8,prune 90 %" --html advice.html'],
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
        shapes: listOf(shape),
      });
      const bar = progress(json);
      try {
        await model.tune({ effort: 'quick' });
        const advice = await measure(runtime, model, { only: only?.split(','), onProgress: bar.update });
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
