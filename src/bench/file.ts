// Reading of results files, and what can be done with several.
import { describe, ThinferError } from '../errors.js';
import { type BenchRun, type CrossoverRow, type Machine, RESULTS_VERSION, type ResultsFile } from './results.js';

function bad(file: string, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-argument', place: file, expected, got, hint });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What a run must have to be read at all. */
const FIELDS = { id: 'string', date: 'string', thinfer: 'string', machine: 'object', client: 'object' } as const;

/** @throws ThinferError `bad-argument` for text that is no results file, or of a later version */
export function parseResults(text: string, file: string): ResultsFile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    bad(file, 'results of thinfer bench, as JSON', (error as Error).message);
  }
  if (!isObject(parsed)) bad(file, 'results of thinfer bench', describe(parsed));
  if (Array.isArray(parsed.studies)) return fromStudy(parsed, file);
  if (parsed.kind !== 'thinfer-bench' || !Array.isArray(parsed.runs)) {
    bad(file, 'results of thinfer bench', 'other JSON', 'thinfer bench model.onnx --out results.json writes them.');
  }
  if (!(typeof parsed.version === 'number' && parsed.version <= RESULTS_VERSION)) {
    bad(file, `version ${RESULTS_VERSION} or older`, describe(parsed.version), 'Update thinfer.');
  }
  for (const [i, run] of parsed.runs.entries()) {
    const wrong = Object.entries(FIELDS).find(([field, type]) => !isObject(run) || typeof run[field] !== type);
    if (wrong) bad(`${file}: runs[${i}].${wrong[0]}`, wrong[1], describe(isObject(run) ? run[wrong[0]] : run));
    for (const list of ['ceilings', 'models', 'notes']) {
      if (!Array.isArray(run[list])) bad(`${file}: runs[${i}].${list}`, 'a list', describe(run[list]));
    }
  }
  return parsed as unknown as ResultsFile;
}

interface Study {
  threads: number;
  points: { kind: string; point: string; best: Record<string, { ms: number }> }[];
}

/** The curves that `npm run bench -- --crossover` keeps in docs/data. */
function fromStudy(parsed: Record<string, unknown>, file: string): ResultsFile {
  const about = parsed.machine as Record<string, string>;
  const rows = (parsed.studies as Study[]).flatMap(({ threads, points }) => crossoverRows(points, threads));
  if (!isObject(about) || rows.length === 0) bad(file, 'a study of densities', 'another');
  const machine: Machine = {
    cpu: about.cpu,
    cores: Number(about.cores),
    memoryBytes: 0,
    platform: about.platform,
    node: '',
  };
  const run: BenchRun = {
    id: `${file} crossover`,
    date: '',
    thinfer: '',
    machine,
    client: { browser: about.browser, userAgent: '', cores: machine.cores, isolated: true, remote: false, flags: [] },
    options: { rounds: 0, budgetMs: 0, precision: 0, tolerance: 0, coldStarts: 0, peers: {} },
    ceilings: [],
    models: [],
    crossover: rows,
    notes: [],
  };
  return { kind: 'thinfer-bench', version: RESULTS_VERSION, runs: [run] };
}

/** Points are a shape and a density, with the fastest row of each format. */
export const crossoverRows = (points: Study['points'], threads: number): CrossoverRow[] =>
  points.flatMap(({ kind, point, best }) => {
    if (kind !== 'crossover') return [];
    const [shape, density] = point.split(' ');
    return Object.entries(best).map(([weights, { ms }]) => ({ shape, threads, weights, density: Number(density), ms }));
  });

/** All runs of several files, each once, oldest first. */
export function merged(files: readonly ResultsFile[]): ResultsFile {
  const runs = new Map<string, BenchRun>();
  for (const file of files) for (const run of file.runs) if (!runs.has(run.id)) runs.set(run.id, run);
  const sorted = [...runs.values()].sort((a, b) => a.date.localeCompare(b.date));
  return { kind: 'thinfer-bench', version: RESULTS_VERSION, runs: sorted };
}
