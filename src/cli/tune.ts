import type { BackendName } from '../plan/variant.js';
import { toHtml, toTable } from '../report/index.js';
import { command } from './command.js';
import { openModel, save } from './model.js';
import { listOf, modelArgs, threadsOf } from './options.js';
import { reported } from './report.js';

export const tune = command({
  meta: {
    name: 'tune',
    description: 'Time the kernels of a model on this machine, keep the fastest, and show what they take.',
  },
  examples: ['thinfer tune model.onnx', 'thinfer tune model.onnx --candidates --export choices.json'],
  args: {
    ...modelArgs,
    effort: { type: 'enum', options: ['quick', 'full'], default: 'full', description: 'How thoroughly' },
    candidates: { type: 'boolean', default: false, description: 'Show every kernel considered for each layer' },
    export: { type: 'string', description: 'Write the choices to this file, for Runtime.importChoices' },
  },
  run: ({ args }) =>
    reported(async () => {
      const { model: file, backend, threads, shape, effort, html, json } = args;
      const [runtime, model] = await openModel(file, {
        backend: backend as BackendName | undefined,
        threads: threadsOf(threads),
        shapes: listOf(shape),
      });
      try {
        await model.tune({ effort: effort as 'quick' | 'full' });
        const report = model.report()!;
        console.log(json ? JSON.stringify(report, null, 2) : toTable(report, { candidates: args.candidates }));
        await save(html, toHtml(report, file), 'The report is');
        await save(args.export, JSON.stringify(runtime.exportChoices()), 'The choices are');
      } finally {
        model.free();
        runtime.free();
      }
    }),
});
