import pc from 'picocolors';
import { type BenchRun, RESULTS_VERSION, type ResultsFile } from '../bench/results.js';
import { benchText } from '../report/bench/tables.js';
import { save } from './model.js';

/** Prints a run, and writes the files that were asked for. */
export async function publishRun(
  run: BenchRun,
  what: string,
  { json, out, html }: { json: boolean; out?: string; html?: string },
): Promise<void> {
  const file: ResultsFile = { kind: 'thinfer-bench', version: RESULTS_VERSION, runs: [run] };
  const text = JSON.stringify(file, null, 1);
  console.log(json ? text : benchText(file));
  if (!json) for (const note of run.notes) console.error(pc.yellow(note));
  await save(out, text, 'The results are');
  if (!html) return;
  const { benchPage } = await import('../report/bench/page.js');
  await save(html, benchPage(file, `thinfer bench: ${what}`), 'The report is');
}
