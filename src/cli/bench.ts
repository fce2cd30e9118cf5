import { pathToFileURL } from 'node:url';
import pc from 'picocolors';
import { version } from '../../package.json';
import { findPeers } from '../bench/drive/peers.js';
import { type BenchOptions, runBench, type Subject } from '../bench/drive/run.js';
import type { BenchRun } from '../bench/results.js';
import { openClient, scripts, whereOf } from './bench-place.js';
import { publishRun } from './bench-results.js';
import { benchShapesCommand } from './bench-shapes.js';
import { command, wrongUsage } from './command.js';
import { EXIT } from './exit.js';
import { readInputs } from './input-files.js';
import { inputsOf, isTflite, readGraph } from './model.js';
import { choicesOf, integer, integersOf, listOf, numberOf, PEERS } from './options.js';
import { progress } from './progress.js';
import { reported } from './report.js';
import type { Route } from './server.js';

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
    name: { type: 'string', description: 'What to call the device that measures, in results of several' },
    port: { type: 'string', default: '0', description: 'TCP port of the page; 0: any' },
    flags: { type: 'string', description: 'More switches for the browser or Node, with spaces between' },
    threads: { type: 'string', default: '1', description: 'Numbers of WASM threads, e.g. 1,2' },
    backends: { type: 'string', default: 'wasm', description: 'wasm, webgpu or both' },
    peers: { type: 'string', description: 'Out of ort, litert, tfjs; or none. Default: those that can' },
    input: { type: 'string', default: 'random', description: 'random, or a .json, .safetensors or .bin file' },
    shape: { type: 'string', description: 'Sizes of inputs with open dimensions; of shapes, what to time' },
    runs: { type: 'string', description: 'Turns of each runtime at most. Default: 60, of shapes 15' },
    budget: { type: 'string', default: '10', description: 'Seconds of turns at most' },
    precision: { type: 'string', default: '2', description: 'Per cent: intervals of ± so much are narrow enough' },
    cold: { type: 'string', default: '3', description: 'Cold starts of each runtime' },
    tolerance: { type: 'string', default: '1e-4', description: 'Of the largest output: what answers may differ by' },
    only: { type: 'string', description: 'Of shapes: formats, by name or its beginning, e.g. csr,int8' },
    density: { type: 'string', default: '0.1', description: 'Of shapes: shares of weights that are not zero' },
    crossover: { type: 'boolean', default: false, description: 'Of shapes: from which density sparse weights win' },
    out: { type: 'string', description: 'Write the results to this file, as JSON' },
    html: { type: 'string', description: 'Write the report to this file, as a page' },
    json: { type: 'boolean', default: false, description: 'Print the results as JSON only' },
  },
  run: ({ args }) =>
    reported(async () => {
      if (args.model === 'shapes') return benchShapesCommand(args);
      const notes: string[] = [];
      const inNode = args.browser === 'node';
      const names = choicesOf(args.peers ?? 'ort,litert', '--peers', PEERS);
      const backends = choicesOf(args.backends, '--backends', ['wasm', 'webgpu'] as const);
      if (backends.length === 0) throw wrongUsage('--backends', 'wasm, webgpu or both', args.backends);
      const threads = integersOf(args.threads, '--threads', 64);
      if (args['browser-url'] && !args.host) {
        notes.push('Without --host the browser is asked for a page on its own 127.0.0.1.');
      }
      const limits = {
        backends,
        threads,
        rounds: integer(args.runs ?? '60', '--runs', 1e4),
        budgetMs: 1000 * numberOf(args.budget, '--budget', 0.01, 3600),
        precision: numberOf(args.precision, '--precision', 0.01, 100) / 100,
        tolerance: numberOf(args.tolerance, '--tolerance', 0, 1),
        // Peers round weights and activations of 8 bits each in their own way.
        peerTolerance: Math.max(0.02, Number(args.tolerance)),
        coldStarts: args.cold === '0' ? 0 : integer(args.cold, '--cold', 1000),
      };
      const routes: Record<string, Route> = {};
      const { folders } = findPeers(names, '', inNode ? undefined : '/', []);
      const { client: opened, server, url } = await openClient(whereOf(args), folders, routes);
      const bar = progress(args.json);
      try {
        const base = inNode ? pathToFileURL(scripts()).href : `${url}/thinfer/bench/`;
        const { peers } = findPeers(names, base, inNode ? undefined : url, notes);
        const subject = await subjectOf(args.model, args.input, listOf(args.shape), base);
        const options: BenchOptions = {
          ...limits,
          peers: Object.fromEntries(peers.map((peer) => [peer.name, peer.version])),
          ceilingScript: `${base}ceiling-worker.js`,
        };
        const publish = (path: string, bytes: Uint8Array) => {
          routes[path] = bytes;
          return url + path.split('/').map(encodeURIComponent).join('/');
        };
        const found = await runBench(opened, [subject], peers, version, options, publish, bar.update);
        bar.stop();
        const client = { ...found.client, name: args.name };
        const run = { ...found, client, notes: [...notes, ...found.notes] };
        await publishRun(run, args.model, args);
        process.exitCode = verdictOf(run);
        if (process.exitCode === EXIT.verdict) console.error(pc.red('thinfer: a wrong answer, see above'));
      } finally {
        bar.stop();
        await opened.close();
        await server.close();
      }
    }),
});
