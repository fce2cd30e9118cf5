import pc from 'picocolors';
import { ThinferError } from '../errors.js';
import type { BackendName } from '../plan/variant.js';
import { toPage } from '../report/html.js';
import { toText } from '../report/text.js';
import { createRuntime } from '../runtime.js';
import { command } from './command.js';
import { EXIT } from './exit.js';
import { inspectGraph, inspectionSections } from './inspection.js';
import { readGraph, save } from './model.js';
import { listOf, modelArgs, threadsOf } from './options.js';
import { reported } from './report.js';

/** What a model has that is not run, one item a line. */
function sayUnsupported(model: string, { got, hint }: ThinferError, json: boolean): void {
  const problems = got.split('; ');
  if (json) console.log(JSON.stringify({ model, unsupported: problems }, null, 2));
  else {
    console.log(`${pc.bold(model)} would not run: it has`);
    for (const problem of problems) console.log(`  ${problem}`);
    console.log(hint);
  }
  process.exitCode = EXIT.failed;
}

export const inspect = command({
  meta: {
    name: 'inspect',
    description:
      'Show the layers of a model: shapes, formats, zeros, bytes, work, and the kernel each backend would run.',
  },
  examples: [
    'thinfer inspect model.onnx',
    'thinfer inspect detector.onnx --shape image=1x3x320x320',
    'thinfer inspect model.tflite --json | jq ".nodes[].weights"',
  ],
  args: modelArgs,
  run: ({ args }) =>
    reported(async () => {
      const { model, backend, threads, shape, html, json } = args;
      const runtime = await createRuntime({
        backends: backend ? [backend as BackendName] : undefined,
        wasm: { threads: threadsOf(threads) },
        tune: 'off',
      });
      try {
        const inspection = await inspectGraph(runtime, model, await readGraph(model), listOf(shape));
        const sections = inspectionSections(inspection);
        console.log(json ? JSON.stringify(inspection, null, 2) : sections.map(toText).join('\n\n'));
        await save(html, toPage(model, sections), 'The report is');
        if (inspection.nodes.length === 0) process.exitCode = EXIT.failed;
      } catch (error) {
        if (!(error instanceof ThinferError) || error.code !== 'unsupported' || error.place !== 'model') throw error;
        sayUnsupported(model, error, json);
      } finally {
        runtime.free();
      }
    }),
});
