// npm run bench -- --compress: thinfer/compress on the shipped float model, in Node.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { markdownTable } from 'markdown-table';
import pc from 'picocolors';
import { root } from '../../scripts/paths.js';
import { standalone } from '../../scripts/plugins.js';
import { buildWasm } from '../../scripts/wasm.js';
import { slug, writeResults } from '../results.js';
import type { CompressResults, CompressRow } from './suite.js';

/** Images of the test set: all, or with --quick some. */
const IMAGES = 10_000;
const QUICK_IMAGES = 1000;

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

export async function benchCompression({
  only,
  quick,
  json,
}: {
  only: readonly string[];
  quick: boolean;
  json?: string;
}) {
  await buildWasm();
  const outfile = join(root, 'build/bench-compress.mjs');
  await build({ ...standalone, entryPoints: ['bench/compress/suite.ts'], outfile });
  const { benchCompress, METHODS } = (await import(pathToFileURL(outfile).href)) as typeof import('./suite.js');
  const images = quick ? QUICK_IMAGES : IMAGES;
  const partial: CompressRow[] = [];
  const results = await benchCompress(root, { only, images }, (row) => {
    const { method, accuracy, bytes, ms, floatMs, seconds } = row;
    // What there is when the run is cut short.
    partial.push(row);
    writeResults(join(root, 'build/bench-compress.json'), partial);
    const speedUp = `${(floatMs / ms).toFixed(2)} x`;
    const parts = [percent(accuracy), `${Math.round(bytes / 1000)} kB`, `${ms.toFixed(2)} ms`, pc.bold(speedUp)];
    console.log(`${method.padEnd(34)} ${parts.join('  ')}  ${pc.dim(`in ${seconds.toFixed(0)} s`)}`);
  });
  console.log(`float: ${percent(results.float.accuracy)}, ${Math.round(results.float.bytes / 1000)} kB`);
  const cpu = slug(cpus()[0]?.model.trim() ?? 'unknown');
  const kept = join(root, 'bench/results', `${cpu}-compress.json`);
  const file = json ?? (quick ? undefined : kept);
  if (!file) return;
  if (file === kept) results.rows = withOthers(results, kept, Object.keys(METHODS));
  writeResults(file, results);
  console.log(`results in ${relative(root, file)}`);
  if (file === kept) writeTable(results, relative(root, file));
}

/** The rows with those of methods that were not run this time, as they were measured last, in the order of the methods. */
function withOthers({ rows, device, node }: CompressResults, file: string, methods: readonly string[]): CompressRow[] {
  const last = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as CompressResults) : undefined;
  const others = last?.device === device && last.node === node ? last.rows : [];
  const all = [...rows, ...others.filter(({ method }) => !rows.some((row) => row.method === method))];
  return methods.flatMap((name) => all.find(({ method }) => method === name) ?? []);
}

/** The table in docs/compress.md. */
function writeTable(results: CompressResults, file: string): void {
  const doc = join(root, 'docs/compress.md');
  const [begin, end] = ['<!-- measured: begin -->', '<!-- measured: end -->'];
  const text = readFileSync(doc, 'utf8');
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`no ${begin} and ${end} in ${doc}`);
  const { float, device, node, images, calibration, rows } = results;
  const about = `${device}, Node ${node}, one thread; ${images} test images, ${calibration} training images for calibration
([results](../${file})). The float model: ${percent(float.accuracy)}, ${Math.round(float.bytes / 1000)} kB. Speed-up: over the float model in the same
race, both with tuned kernels, a batch of one.`;
  writeFileSync(doc, `${before}${begin}\n${about}\n\n${tableOf(rows)}\n${end}${after}`);
}

function tableOf(rows: readonly CompressRow[]): string {
  const cells = rows.map(({ method, accuracy, bytes, ms, floatMs, seconds }) => [
    method,
    percent(accuracy),
    `${Math.round(bytes / 1000)} kB`,
    ms.toFixed(2),
    `${(floatMs / ms).toFixed(2)} x`,
    `${seconds.toFixed(0)} s`,
  ]);
  const head = ['method', 'accuracy', 'weights', 'ms', 'speed-up', 'took'];
  return markdownTable([head, ...cells], { align: ['l', 'r', 'r', 'r', 'r', 'r'] });
}
