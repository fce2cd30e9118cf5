// The page that times: ours and the peers in one process, taking turns. Driven by run.ts.

import type { Backend } from '../src/backend.js';
import { type Contestant, type RaceOptions, race, warmUp, withTimeout } from '../src/bench/race.js';
import type { Timing } from '../src/bench/statistics.js';
import { dense, int8 } from '../src/formats/index.js';
import { createWasmBackend, type WasmOptions } from '../src/wasm/index.js';
import { check, type Expected, expectedOf, type Slack } from './check.js';
import { measureOperator } from './operator-page.js';
import { type OurContestant, ourContestants, prepareRow, runnable } from './ours.js';
import { quantizeInt4 } from './peers/int4.js';
import type { Peer, PeerContestant, PeerInputs } from './peers/peer.js';
import { problemOf, productOf } from './problems.js';
import { densitiesOf, hasRows, pruned, RECIPES, recipesFor, uniform, withoutRecipe } from './recipes.js';
import { inputSize, parseShape, type Shape, weightShape } from './shapes.js';
import type {
  BenchPage,
  Message,
  OperatorTimings,
  OurTiming,
  PageFacts,
  PageOptions,
  PeerKind,
  PeerTiming,
  ShapeTimings,
} from './types.js';

declare global {
  /** Installed by run.ts. */
  function report(message: Message): Promise<void>;
  var bench: BenchPage;
}

/** URL under which the peers' packages are served. */
const PEERS_FOLDER = new URL('/peers/', location.href).href;
/** For loading a peer, and for one awaited run. */
const TIMEOUT_MS = 60_000;
/** Products whose panels of A and B fit an L1 cache together, yet large enough that calling costs nothing: M, K, N. */
const CEILING_SHAPES: readonly [number, number, number][] = [
  [192, 128, 64],
  [192, 256, 128],
];

let options: PageOptions;
let loaded: Peer[] = [];
const openBackend = (): Promise<Backend> => {
  const { module, threads } = options;
  return createWasmBackend({ module, threads } as WasmOptions);
};
/** Threads that a backend of ours runs on; absent in the device of one that has no choice. */
const threadsOf = (backend: Backend): number => (backend.device as { threads?: number }).threads ?? 1;

const raceOptions = (): RaceOptions => ({
  rounds: options.rounds,
  batchMs: options.batchMs,
  timeoutMs: TIMEOUT_MS,
});

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 300);

const step = (who: string, what: string, done: number) => report({ type: 'step', who, what, done });

interface Ceiling extends Contestant {
  operations: number;
  estimate: number;
  free(): void;
}

/** Our fastest dense row where neither memory nor the call costs anything. */
async function fastestSmall(backend: Backend): Promise<Ceiling> {
  const ready: Ceiling[] = [];
  for (const [M, K, N] of CEILING_SHAPES) {
    const weights = dense.pack(uniform(N * K, 1), { rows: N, cols: K });
    const problem = problemOf({ op: 'linear', M, K, N }, weights);
    const input = backend.createBuffer(M * K * 4, 'ceiling');
    backend.write(input, uniform(M * K, 2));
    for (const variant of runnable(backend, problem)) {
      const row = await prepareRow(backend, variant, problem, weights, input);
      ready.push({ ...row, operations: 2 * M * K * N, estimate: await warmUp(row, raceOptions()) });
    }
  }
  const rate = ({ operations, estimate }: Ceiling) => operations / estimate;
  return ready.reduce((best, row) => (rate(row) > rate(best) ? row : best));
}

async function start(): Promise<PageFacts> {
  const notes: string[] = [];
  const backend = await openBackend();
  const { module } = backend as Backend & { module: string };
  const { device, variants } = backend;
  if (threadsOf(backend) !== options.threads) {
    notes.push(`thinfer runs on ${threadsOf(backend)} thread: its rows are skipped at ${options.threads} threads`);
  }
  const rowless = recipesFor(options.only).filter((recipe) => !hasRows(recipe, variants));
  if (rowless.length > 0) notes.push(`no row is for ${rowless.join(', ')}`);
  for (const format of withoutRecipe(variants)) {
    notes.push(`format ${format} has rows but no recipe: add a line to bench/recipes.ts`);
  }
  backend.free();
  for (const name of options.peers) {
    await step(name, 'load', 0);
    try {
      const { peers } = await import('./peers/index.js');
      loaded.push(await withTimeout(peers[name](PEERS_FOLDER, options.threads), TIMEOUT_MS, `loading ${name}`));
    } catch (error) {
      notes.push(`${name} did not load: ${messageOf(error)}`);
    }
  }
  return {
    module,
    device: device.label,
    features: [...device.features],
    threads: options.threads,
    peers: loaded.map(({ name }) => name),
    notes,
  };
}

/** What peers are given, and the answer that each kind of weights should give. */
interface Inputs extends PeerInputs {
  expected(kind: PeerKind): Expected;
}

function peerInputs(shape: Shape, values: Float32Array, x: Float32Array): Inputs {
  const size = weightShape(shape);
  const problem = problemOf(shape, dense.pack(values, size));
  const roundedInt8 = once(() => int8.pack(values, size));
  const roundedInt4 = once(() => quantizeInt4(values));
  const codes = once(() => productOf('codes', shape, roundedInt8(), x));
  const sums = once(() => productOf('sums', shape, roundedInt8(), x));
  const real = (weights: Float32Array) => expectedOf(dense.pack(weights, size), problem, x);
  const answer: Record<PeerKind, () => Expected> = {
    f32: () => real(values),
    int8: () => real(int8.unpack(roundedInt8())),
    int4: () => real(roundedInt4().values),
    codes: () => expectedOf(roundedInt8(), codes().problem, codes().x),
    sums: () => expectedOf(roundedInt8(), sums().problem, sums().x),
  };
  const answers = new Map<PeerKind, Expected>();
  const expected = (kind: PeerKind): Expected => {
    const found = answers.get(kind) ?? answer[kind]();
    answers.set(kind, found);
    return found;
  };
  return {
    shape,
    problem,
    x,
    f32: () => values,
    int8: roundedInt8,
    int4: roundedInt4,
    codes,
    sums,
    expected,
  };
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** What peers may differ by: they round the multipliers of codes in other ways. */
const SLACK: Record<PeerKind, Slack> = { f32: 0, int8: 'quantized', int4: 'quantized', codes: 1, sums: 0 };

interface PeerEntry {
  contestant: PeerContestant;
  facts: Omit<PeerTiming, keyof Timing>;
  estimate: number;
}

async function peerContestants(
  inputs: Inputs,
  kinds: ReadonlySet<PeerKind>,
  without: readonly string[],
  onStep: (who: string, what: string) => Promise<void>,
  notes: string[],
): Promise<PeerEntry[]> {
  const entries: PeerEntry[] = [];
  for (const kind of kinds) {
    for (const { name, operators } of loaded) {
      for (const operator of operators) {
        const { what } = operator;
        if (operator.kind !== kind || !operator.supports(inputs.shape)) continue;
        if (without.some((left) => left === `${name} ${what}` || left === name)) continue;
        await onStep(name, what);
        let contestant: PeerContestant | undefined;
        try {
          contestant = await withTimeout(operator.make(inputs), TIMEOUT_MS, `loading ${name} ${what}`);
          const y = await withTimeout(contestant.read(), TIMEOUT_MS, `${name} ${what}`);
          const maxError = check(y, inputs.expected(kind), SLACK[kind]);
          const estimate = await warmUp(contestant, raceOptions());
          entries.push({ contestant, estimate, facts: { peer: name, kind, what, maxError } });
        } catch (error) {
          contestant?.free();
          notes.push(`${name} ${what}: ${messageOf(error)}`);
        }
      }
    }
  }
  return entries;
}

/** What to time for one shape: our weights, and the kinds of peers' weights that they compare with. */
function plan({ variants }: Backend): { ours: { recipe: string; density: number }[]; kinds: Set<PeerKind> } {
  // Dense always runs: it is what the others are measured against.
  const recipes = [...new Set(['dense', ...recipesFor(options.only)])].filter((recipe) => hasRows(recipe, variants));
  const ours = recipes.flatMap((recipe) =>
    densitiesOf(recipe, options.densities).map((density) => ({ recipe, density })),
  );
  const kinds = new Set<PeerKind>(['f32']);
  for (const recipe of recipes) {
    const { same } = RECIPES[recipe];
    if (same) kinds.add(same);
  }
  return { ours, kinds };
}

async function measure(text: string, without: readonly string[]): Promise<ShapeTimings> {
  const shape = parseShape(text);
  const size = weightShape(shape);
  const values = uniform(size.rows * size.cols, 1);
  const x = uniform(inputSize(shape), 2);
  const notes: string[] = without.map((left) => `${left}: left out, it ended the page`);
  const backend = await openBackend();
  const { ours: wanted, kinds } = plan(backend);
  const steps = wanted.length + kinds.size * loaded.length;
  let made = 0;
  const input = backend.createBuffer(x.byteLength, 'bench input');
  backend.write(input, x);
  await step('thinfer', 'ceiling', 0);
  const ceiling = await fastestSmall(backend);
  const ours: OurContestant[] = [];
  if (threadsOf(backend) === options.threads) {
    for (const { recipe, density } of wanted) {
      await step('thinfer', recipe, (0.5 * made++) / steps);
      try {
        const one = { recipe, density, values: pruned(recipe, values, size, density), x };
        ours.push(...(await ourContestants(backend, shape, one, input, raceOptions(), notes)));
      } catch (error) {
        notes.push(`${recipe}: ${messageOf(error)}`);
      }
    }
  }
  const inputs = peerInputs(shape, values, x);
  const onStep = (who: string, what: string) => step(who, what, (0.5 * made++) / steps);
  const peers = await peerContestants(inputs, kinds, without, onStep, notes);

  const contestants = [...ours, ...peers.map(({ contestant }) => contestant), ceiling];
  const estimates = [...ours, ...peers, ceiling].map(({ estimate }) => estimate);
  const results = await race(contestants, estimates, raceOptions(), (round) =>
    step('race', `round ${round + 1} of ${options.rounds}`, 0.5 + (0.5 * round) / options.rounds),
  );
  const top = results.pop()!;
  if (top instanceof Error) throw top;
  const ceilingGops = ceiling.operations / (top.best * 1e6);
  const timings: ShapeTimings = { shape: text, ceilingGops, ours: [], peers: [], notes };
  for (const [i, result] of results.entries()) {
    if (result instanceof Error) notes.push(`${contestants[i].name}: ${messageOf(result)}`);
    else if (i < ours.length) timings.ours.push({ ...ours[i].facts, ...result } satisfies OurTiming);
    else timings.peers.push({ ...peers[i - ours.length].facts, ...result });
  }
  for (const { contestant } of peers) contestant.free();
  // With the backend goes all of its memory.
  backend.free();
  return timings;
}

async function operatorTimings(name: string, without: readonly string[]): Promise<OperatorTimings> {
  const backend = await openBackend();
  const enough = threadsOf(backend) === options.threads;
  const timings = await measureOperator(name, enough ? backend : undefined, loaded, without, raceOptions(), step);
  backend.free();
  return timings;
}

const answer = (work: Promise<Message>): void => {
  work.catch((error): Message => ({ type: 'failed', error: messageOf(error) })).then(report);
};

globalThis.bench = {
  start(wanted) {
    options = wanted;
    loaded = [];
    answer(start().then((facts) => ({ type: 'facts', facts })));
  },
  measure(shape, without) {
    answer(measure(shape, without).then((timings) => ({ type: 'timings', timings })));
  },
  measureOperator(name, without) {
    answer(operatorTimings(name, without).then((timings) => ({ type: 'operator', timings })));
  },
  study(kind, point) {
    const work = import('./studies-page.js').then(({ study }) => study(kind, point, options));
    answer(work.then((timings) => ({ type: 'study', timings })));
  },
};
