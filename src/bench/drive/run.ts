// A bench of whole models: what is measured where, in which order, and what becomes of it.
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { basename } from 'node:path';
import type { ElementType } from '../../dtype.js';
import type { Graph } from '../../graph/ir.js';
import { elementType } from '../../graph/types.js';
import { median } from '../../median.js';
import type { BackendName } from '../../plan/variant.js';
import type { Elements } from '../answers.js';
import type { ColdResult, Contender, Data, WarmTask } from '../page/types.js';
import {
  type BenchRun,
  type Ceiling,
  type ClientFacts,
  type Cold,
  type Machine,
  type ModelRow,
  PHASES,
  type Phases,
  type RunOptions,
  type RuntimeRow,
} from '../results.js';
import { medianInterval } from '../statistics.js';
import type { Client, Place } from './client.js';
import type { PeerFiles } from './peers.js';
import { referenceOf } from './reference.js';

/** A model's file, read. */
export interface Subject {
  file: string;
  graph: Graph;
  inputs: Record<string, { shape: number[]; data: Elements }>;
  /** Of our module that opens it. */
  script: string;
}

/** Makes bytes reachable for pages; gives their URL. */
export type Publish = (path: string, bytes: Uint8Array) => string;

export interface BenchOptions extends RunOptions {
  backends: readonly BackendName[];
  threads: readonly number[];
  /** What a peer's answer may differ by. */
  peerTolerance: number;
  /** Of the worker that measures ceilings. */
  ceilingScript: string;
}

export type Say = (done: number, what: string) => void;

export const machineOf = (): Machine => ({
  cpu: cpus()[0]?.model.trim() || 'unknown',
  cores: cpus().length,
  memoryBytes: totalmem(),
  platform: `${process.platform} ${process.arch}`,
  node: process.versions.node,
});

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n')[0];

async function within<T>(client: Client, work: (place: Place) => Promise<T>, say?: Say): Promise<T> {
  const place = await client.open(say);
  try {
    return await work(place);
  } finally {
    await place.close();
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Elements) => new Uint8Array(buffer, byteOffset, byteLength);

/** What is the same for every configuration of a model. */
interface Prepared {
  subject: Subject;
  model: string;
  url: string;
  bytes: Uint8Array;
  inputs: Data[];
  expected?: Data[];
  outputs: string[];
  peers: (Pick<Contender, 'model' | 'codes'> & { peer: PeerFiles })[];
}

function prepare(subject: Subject, peers: readonly PeerFiles[], publish: Publish, notes: string[]): Prepared {
  const { file, graph, inputs: given } = subject;
  const model = basename(file);
  const bytes = readFileSync(file);
  const inputs = graph.inputs.map(({ name, value }, i): Data => {
    const { shape, data } = given[name];
    const dtype: ElementType = elementType(graph.values.get(value)!);
    return { name, shape, dtype, url: publish(`/inputs/${model}/${i}`, bytesOf(data)) };
  });
  const right = referenceOf(graph, given);
  if (!right) notes.push(`${model}: too large for the float64 reference; answers are compared with each other`);
  const expected = right?.map(({ name, shape, data }, i): Data => {
    const dtype = elementType(graph.values.get(graph.outputs[i].value)!);
    return { name, shape, dtype, url: publish(`/expected/${model}/${i}`, bytesOf(data)) };
  });
  const url = publish(`/models/${model}`, bytes);
  const able: Prepared['peers'] = [];
  for (const peer of peers) {
    const why = peer.refuses(subject);
    if (why) notes.push(`${model}: ${peer.name} is left out: ${why}`);
    else {
      const other = peer.rewrite?.(bytes);
      const file = other ? publish(`/models/${peer.name}/${model}`, other.bytes) : url;
      able.push({ peer, model: file, codes: other?.codes });
    }
  }
  const outputs = graph.outputs.map(({ name }) => name);
  return { subject, model, url, bytes, inputs, expected, outputs, peers: able };
}

function contendersOf({ subject, url, peers }: Prepared, backend: BackendName): Contender[] {
  const ours: Contender = { name: 'thinfer', script: subject.script, model: url };
  return [
    ours,
    ...peers.map(({ peer: { name, script, entry }, model, codes }) => ({
      name,
      script,
      entry: entry(backend),
      model,
      codes,
    })),
  ];
}

interface ColdRun extends ColdResult {
  residentBytes?: number;
}

function coldOf(runs: readonly ColdRun[]): Cold {
  const sums = runs.map(({ phases }) => PHASES.reduce((sum, phase) => sum + phases[phase], 0));
  const [low, high] = medianInterval(sums);
  const phases = Object.fromEntries(PHASES.map((phase) => [phase, median(runs.map((run) => run.phases[phase]))]));
  const known = (values: readonly (number | undefined)[]) => {
    const there = values.filter((value) => value !== undefined);
    return there.length > 0 ? median(there) : undefined;
  };
  return {
    phases: phases as unknown as Phases,
    ms: median(sums),
    low,
    high,
    starts: runs.length,
    transferBytes: known(runs.map(({ transferBytes }) => transferBytes)),
    wasmBytes: median(runs.map(({ wasmBytes }) => wasmBytes)),
    residentBytes: known(runs.map(({ residentBytes }) => residentBytes)),
  };
}

/** One model on one backend with one number of threads. */
async function measure(
  client: Client,
  prepared: Prepared,
  backend: BackendName,
  threads: number,
  options: BenchOptions,
  say: Say,
): Promise<ModelRow & { rates?: { macsPerNs: number; bytesPerNs: number } }> {
  const { model, bytes, inputs, outputs, expected } = prepared;
  const contenders = contendersOf(prepared, backend);
  const { tolerance, peerTolerance, rounds, budgetMs, precision, coldStarts } = options;
  const limits = { tolerance, peerTolerance, rounds, budgetMs, precision };
  const task: WarmTask = { backend, threads, inputs, outputs, expected, contenders, ...limits };
  const warmShare = coldStarts > 0 ? 0.6 : 1;
  const warm = await within(
    client,
    (place) => place.call('warm', task),
    (done, what) => say(warmShare * done, what),
  );
  const runtimes = contenders.map(
    ({ name }, i): RuntimeRow => ({
      name,
      version: name === 'thinfer' ? '' : (options.peers[name] ?? ''),
      ...warm.contenders[i],
    }),
  );
  const starts = contenders.map((): ColdRun[] => []);
  for (let start = 0; start < coldStarts; start++) {
    // In turns, so that a change of the machine's speed meets all alike.
    for (const [i, contender] of contenders.entries()) {
      if (runtimes[i].failed) continue;
      const share = (start * contenders.length + i) / (coldStarts * contenders.length);
      say(warmShare + (1 - warmShare) * share, `${contender.name}: cold start ${start + 1}`);
      try {
        const { contenders: _, ...alone } = task;
        starts[i].push(
          await within(client, async (place) => {
            const cold = await place.call('cold', alone, contender);
            return { ...cold, residentBytes: await place.peakBytes() };
          }),
        );
      } catch (error) {
        runtimes[i].failed = `cold start: ${messageOf(error)}`;
      }
    }
  }
  for (const [i, runs] of starts.entries()) if (runs.length > 0) runtimes[i].cold = coldOf(runs);
  const { layers, plan, device, rates } = warm;
  const hash = createHash('sha256').update(bytes).digest('hex');
  const reference = expected ? 'float64, node by node' : 'our own answer';
  return { model, bytes: bytes.length, hash, backend, threads, device, reference, runtimes, layers, ...plan, rates };
}

/** Configurations: WebGPU has no threads of its own. */
const configurations = ({ backends, threads }: BenchOptions) =>
  backends.flatMap((backend) =>
    (backend === 'wasm' ? threads : threads.slice(0, 1)).map((count) => ({ backend, threads: count })),
  );

export async function runBench(
  client: Client,
  subjects: readonly Subject[],
  peers: readonly PeerFiles[],
  version: string,
  options: BenchOptions,
  publish: Publish,
  say: Say,
): Promise<BenchRun> {
  const notes: string[] = [];
  const facts = await within(client, (place) => place.call('facts'));
  const { browser, remote, flags } = client;
  const about: ClientFacts = { browser, remote, flags, ...facts };
  const ceilings: Ceiling[] = [];
  const models: ModelRow[] = [];
  const all = configurations(options);
  const steps = subjects.length * all.length;
  let step = 0;
  if (!facts.isolated && options.threads.some((count) => count > 1)) {
    notes.push('The page is not cross-origin isolated: threads need https or localhost.');
  }
  for (const count of options.backends.includes('wasm') ? options.threads : []) {
    if (count > 1 && !facts.isolated) continue;
    say(0, `ceilings of ${count} threads`);
    try {
      const found = await within(client, (place) => place.call('ceilings', options.ceilingScript, count));
      ceilings.push({ backend: 'wasm', threads: count, ...found, how: 'multiply-adds in registers; copy of 64 MiB' });
    } catch (error) {
      notes.push(`ceilings: ${messageOf(error)}`);
    }
  }
  for (const subject of subjects) {
    say(step / steps, `${basename(subject.file)}: reference`);
    const prepared = prepare(subject, peers, publish, notes);
    for (const { backend, threads } of all) {
      const at = `${prepared.model} on ${backend}, ${threads} thread${threads > 1 ? 's' : ''}`;
      const saying: Say = (done, what) => say((step + done) / steps, `${at}: ${what}`);
      try {
        if (backend === 'webgpu' && !facts.adapter) throw new Error('there is no WebGPU adapter');
        if (threads > 1 && !facts.isolated) throw new Error('there is no shared memory');
        const { rates, ...row } = await measure(client, prepared, backend, threads, options, saying);
        models.push(row);
        for (const { name, failed } of row.runtimes) if (failed) notes.push(`${at}: ${name}: ${failed}`);
        if (rates && !ceilings.some((ceiling) => ceiling.backend === backend)) {
          const { macsPerNs: gmacs, bytesPerNs: gbytes } = rates;
          ceilings.push({ backend, threads, gmacs, gbytes, how: 'dense products, as the scheduler calibrates' });
        }
      } catch (error) {
        notes.push(`${at}: ${messageOf(error)}`);
      }
      step++;
    }
  }
  const { rounds, budgetMs, precision, tolerance, coldStarts, peers: versions } = options;
  return {
    id: randomUUID(),
    date: new Date().toISOString(),
    thinfer: version,
    machine: machineOf(),
    client: about,
    options: { rounds, budgetMs, precision, tolerance, coldStarts, peers: versions },
    ceilings,
    models,
    notes,
  };
}
