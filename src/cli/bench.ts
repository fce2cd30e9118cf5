import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pc from 'picocolors';
import { version } from '../../package.json';
import { type BrowserName, browserClient } from '../bench/drive/browser.js';
import type { Client } from '../bench/drive/client.js';
import { nodeClient } from '../bench/drive/node.js';
import { findPeers, IMPORT_MAP } from '../bench/drive/peers.js';
import { type BenchOptions, runBench, type Subject } from '../bench/drive/run.js';
import { type BenchRun, type PeerName, RESULTS_VERSION, type ResultsFile } from '../bench/results.js';
import type { BackendName } from '../plan/variant.js';
import { benchText } from '../report/bench/tables.js';
import { command, wrongUsage } from './command.js';
import { EXIT } from './exit.js';
import { packageRoot } from './fashion.js';
import { readInputs } from './input-files.js';
import { inputsOf, isTflite, readGraph, save } from './model.js';
import { choicesOf, integer, integersOf, listOf, numberOf } from './options.js';
import { progress } from './progress.js';
import { reported } from './report.js';
import { type Route, type Server, startServer } from './server.js';

const PEERS = ['ort', 'litert', 'tfjs'] as const;

/** What pages and processes load: made by npm run build. */
const scripts = (): string => join(packageRoot(), 'dist/bench/');

const page = (): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>thinfer bench</title>
<script type="importmap">${JSON.stringify(IMPORT_MAP)}</script>
<script type="module" src="/thinfer/bench/browser.js"></script>`;

interface Where {
  browser: string;
  browserUrl?: string;
  executable?: string;
  flags: readonly string[];
  /** As the browser reaches this machine. */
  host?: string;
  port: number;
}

/** A server for the page and its files, and what opens pages on it. */
async function openClient(
  where: Where,
  folders: Record<string, string>,
  routes: Record<string, Route>,
): Promise<{ client: Client; server: Server; url: string }> {
  const { browser, browserUrl, executable, flags, host, port } = where;
  const server = await startServer({
    folders: { ...folders, '/thinfer/': join(packageRoot(), 'dist') },
    routes,
    // Only as open as it has to be.
    host: host ? '0.0.0.0' : '127.0.0.1',
    port,
  });
  const url = !host ? server.url : /^https?:/.test(host) ? host.replace(/\/$/, '') : `http://${host}:${server.port}`;
  try {
    const client =
      browser === 'node'
        ? nodeClient(join(scripts(), 'node.js'), [...flags])
        : await browserClient({ name: browser as BrowserName, url, browserUrl, executable, flags });
    return { client, server, url };
  } catch (error) {
    await server.close();
    throw error;
  }
}

async function subjectOf(file: string, input: string, shapes: readonly string[], base: string): Promise<Subject> {
  const graph = await readGraph(file);
  const inputs = (await readInputs(input, inputsOf(graph), shapes, 1)) as Subject['inputs'];
  return { file, graph, inputs, script: `${base}thinfer-${isTflite(file) ? 'tflite' : 'onnx'}.js` };
}

const verdictOf = ({ models }: BenchRun) => {
  const rows = models.flatMap(({ runtimes }) => runtimes);
  if (rows.some(({ wrong }) => wrong)) return EXIT.verdict;
  const ours = models.filter(({ runtimes }) => runtimes[0].warm);
  return ours.length === 0 || ours.length < models.length ? EXIT.failed : EXIT.fine;
};

export const bench = command({
  meta: {
    name: 'bench',
    description: 'Time a model in a real browser, beside other runtimes that are installed: cold, warm, by layer.',
  },
  examples: [
    'thinfer bench model.onnx',
    'thinfer bench model.onnx --threads 1,2 --peers ort --out results.json --html report.html',
    'thinfer bench model.tflite --browser firefox --executable /usr/bin/firefox-esr',
    'thinfer bench model.onnx --browser-url ws://grid:9222 --host 10.0.0.5 --port 8090',
    'thinfer bench shapes --shape 784x256x256,14x14x256x256x3 --only csr,int8',
  ],
  args: {
    model: { type: 'positional', required: true, description: 'An ONNX or TensorFlow Lite file, or the word shapes' },
    browser: { type: 'enum', options: ['chrome', 'firefox', 'node'], default: 'chrome', description: 'What to run in' },
    executable: {
      type: 'string',
      description: "The browser's program. Default: puppeteer's own, or an installed Chrome",
    },
    'browser-url': { type: 'string', description: 'A browser that runs already: ws://… or http://…:9222' },
    host: { type: 'string', description: 'Address or URL by which that browser reaches this machine' },
    port: { type: 'string', default: '0', description: 'TCP port of the page; 0: any' },
    flags: { type: 'string', description: 'More switches for the browser or Node, with spaces between' },
    threads: { type: 'string', default: '1', description: 'Numbers of WASM threads, e.g. 1,2' },
    backends: { type: 'string', default: 'wasm', description: 'wasm, webgpu or both' },
    peers: { type: 'string', default: 'ort,litert', description: 'Out of ort, litert, tfjs; or none' },
    input: { type: 'string', default: 'random', description: 'random, or a .json, .safetensors or .bin file' },
    shape: { type: 'string', description: 'Sizes of inputs with open dimensions; of shapes, what to time' },
    runs: { type: 'string', default: '60', description: 'Turns of each runtime at most' },
    budget: { type: 'string', default: '10', description: 'Seconds of turns at most' },
    precision: { type: 'string', default: '2', description: 'Per cent: intervals of ± so much are narrow enough' },
    cold: { type: 'string', default: '3', description: 'Cold starts of each runtime' },
    tolerance: { type: 'string', default: '1e-4', description: 'Of the largest output: what answers may differ by' },
    out: { type: 'string', description: 'Write the results to this file, as JSON' },
    html: { type: 'string', description: 'Write the report to this file, as a page' },
    json: { type: 'boolean', default: false, description: 'Print the results as JSON only' },
  },
  run: ({ args }) =>
    reported(async () => {
      const notes: string[] = [];
      const inNode = args.browser === 'node';
      const names = choicesOf(args.peers, '--peers', PEERS) as PeerName[];
      const backends = choicesOf(args.backends, '--backends', ['wasm', 'webgpu']) as BackendName[];
      if (backends.length === 0) throw wrongUsage('--backends', 'wasm, webgpu or both', args.backends);
      const threads = integersOf(args.threads, '--threads', 64);
      if (args['browser-url'] && !args.host) {
        notes.push('Without --host the browser is asked for a page on its own 127.0.0.1.');
      }
      const routes: Record<string, Route> = { '/': page(), '/favicon.ico': '' };
      const probe = findPeers(names, '', inNode ? undefined : '/', []);
      const { client, server, url } = await openClient(
        {
          browser: args.browser,
          browserUrl: args['browser-url'],
          executable: args.executable,
          flags: (args.flags ?? '').split(' ').filter(Boolean),
          host: args.host,
          port: args.port === '0' ? 0 : integer(args.port, '--port', 65535),
        },
        probe.folders,
        routes,
      );
      const bar = progress(args.json);
      try {
        const base = inNode ? pathToFileURL(scripts()).href : `${url}/thinfer/bench/`;
        const { peers } = findPeers(names, base, inNode ? undefined : url, notes);
        const subject = await subjectOf(args.model, args.input, listOf(args.shape), base);
        const options: BenchOptions = {
          backends,
          threads,
          rounds: integer(args.runs, '--runs', 1e4),
          budgetMs: 1000 * numberOf(args.budget, '--budget', 0.01, 3600),
          precision: numberOf(args.precision, '--precision', 0.01, 100) / 100,
          tolerance: numberOf(args.tolerance, '--tolerance', 0, 1),
          // Peers round weights and activations of 8 bits each in their own way.
          peerTolerance: Math.max(0.02, Number(args.tolerance)),
          coldStarts: args.cold === '0' ? 0 : integer(args.cold, '--cold', 1000),
          peers: Object.fromEntries(peers.map((peer) => [peer.name, peer.version])),
          ceilingScript: `${base}ceiling-worker.js`,
        };
        const publish = (path: string, bytes: Uint8Array) => {
          routes[path] = bytes;
          return url + path.split('/').map(encodeURIComponent).join('/');
        };
        const found = await runBench(client, [subject], peers, version, options, publish, bar.update);
        bar.stop();
        const run = { ...found, notes: [...notes, ...found.notes] };
        const file: ResultsFile = { kind: 'thinfer-bench', version: RESULTS_VERSION, runs: [run] };
        console.log(args.json ? JSON.stringify(file, null, 1) : benchText(file));
        if (!args.json) for (const note of run.notes) console.error(pc.yellow(note));
        await save(args.out, JSON.stringify(file, null, 1), 'The results are');
        process.exitCode = verdictOf(run);
        if (process.exitCode === EXIT.verdict) console.error(pc.red('thinfer: a wrong answer, see above'));
      } finally {
        bar.stop();
        await client.close();
        await server.close();
      }
    }),
});
