// The scheduler: what is timed, what is chosen, what is remembered, and that answers stay.

import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Weights } from '../src/formats/format.js';
import { formsOf } from '../src/formats/forms.js';
import { formatOf } from '../src/formats/index.js';
import {
  bcsr,
  binary,
  codebook,
  createRuntime,
  csr,
  csrCodebook,
  csrInt8,
  dense,
  int2,
  int4,
  int8,
  int8Grouped,
  nm,
  ThinferError,
  ternary,
} from '../src/index.js';
import { linearProblem, weightFacts } from '../src/layers/problem.js';
import { type Choice, Choices, deviceKey, type Effort, problemKey } from '../src/plan/choices.js';
import { type Contender, contest } from '../src/plan/contest.js';
import { select } from '../src/plan/select.js';
import { type ChoiceStorage, platformStorage } from '../src/plan/storage.js';
import { type TuneJob, Tuner } from '../src/plan/tuner.js';
import { createWasmBackend } from '../src/wasm/index.js';
import { requireCapability } from './support/capability.js';
import { createRandom, normals, type Random, sparseMatrix } from './support/random.js';
import { ReferenceBackend, type SimulatedRow } from './support/reference-backend.js';

/** Storage that forgets with the test. */
class MemoryStorage implements ChoiceStorage {
  readonly stored = new Map<string, unknown>();
  async load(name: string) {
    return structuredClone(this.stored.get(name));
  }
  async update(name: string, change: (old: unknown) => unknown) {
    this.stored.set(name, structuredClone(change(this.stored.get(name))));
  }
}

const simulated = (times: readonly (() => number)[]): Contender[] =>
  times.map((ms) => ({
    run: async () => ms(),
  }));

const options = { rounds: 7, turnMs: 1, budgetMs: Number.POSITIVE_INFINITY };

// --- contests ----------------------------------------------------------------------------------------------------

const contests = suite('contests');

contests('the fastest wins, and clear losers leave early', async () => {
  const turns = [0, 0, 0];
  const contenders = [3, 1, 9].map(
    (ms, i): Contender => ({
      run: async () => {
        turns[i]++;
        return ms;
      },
    }),
  );
  const result = await contest(contenders, options);
  assert.is(result?.winner, 1);
  assert.equal(result?.ms, [3, 1, 9]);
  assert.ok(turns[2] < turns[1] + options.rounds, 'no more rounds than the winner');
  assert.ok(turns[2] <= 8 + 3, `the slowest had ${turns[2]} turns`);
});

contests('an incumbent that is as fast as others stays, whatever the noise', async () => {
  const kinds: Record<string, (random: Random) => number> = {
    'a coarse clock': (random) => Math.round(10 * (1 + 0.02 * random.normal())) / 10,
    'turns that something disturbs': (random) => 1 + (random.next() < 0.4 ? 2 * random.next() : 0),
    'a steady 1 %': (random) => 1 + 0.01 * random.normal(),
  };
  for (const [what, noise] of Object.entries(kinds)) {
    let flips = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const random = createRandom(seed);
      const result = await contest(simulated([() => noise(random), () => noise(random)]), options);
      if (result?.winner !== 0) flips++;
    }
    assert.ok(flips <= 10, `${what}: ${flips} of 200 contests`);
  }
});

contests('one that is 10 % faster wins, however often turns are disturbed', async () => {
  let wins = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const random = createRandom(seed);
    const disturbed = (ms: number) => () =>
      ms * (1 + 0.01 * random.normal() + (random.next() < 0.5 ? random.next() : 0));
    const result = await contest(simulated([disturbed(1.1), disturbed(1)]), options);
    if (result?.winner === 1) wins++;
  }
  assert.ok(wins >= 180, `${wins} of 200 contests`);
});

contests('one that an engine has yet to optimise is warmed up first', async () => {
  const start = performance.now();
  const compiled = () => (performance.now() - start > 5 ? 1 : 4);
  const result = await contest(simulated([() => 2, compiled]), { ...options, warmMs: 20 });
  assert.is(result?.winner, 1);
});

contests('a machine that slows down in the middle does not decide', async () => {
  for (let at = 1; at < 60; at++) {
    let turns = 0;
    const throttled = (ms: number) => () => (++turns > at ? 4 * ms : ms);
    const fair = await contest(simulated([throttled(1.2), throttled(1)]), options);
    turns = 0;
    const equal = await contest(simulated([throttled(1), throttled(1)]), options);
    assert.is(fair?.winner, 1, `slow from turn ${at}`);
    assert.is(equal?.winner, 0, `slow from turn ${at}`);
  }
});

contests('the budget ends it with what is known; whoever asked can end it', async () => {
  let spent = 0;
  const contenders = simulated(
    Array.from({ length: 4 }, () => () => {
      spent++;
      return 1;
    }),
  );
  const result = await contest(contenders, { rounds: 1000, turnMs: 1, budgetMs: 40 });
  assert.is(result?.winner, 0);
  assert.ok(spent <= 4 * 8 + 3 * 4 + 40, `${spent} turns`);
  assert.is(await contest(contenders, { ...options, proceed: () => false }), undefined);
});

contests.run();

// --- forms -------------------------------------------------------------------------------------------------------

const forms = suite('forms of weights');

const rows = 24;
const cols = 52;

function everyKind(values: Float32Array): Weights[] {
  const shape = { rows, cols };
  return [
    dense.pack(values, shape),
    csr.pack(values, shape),
    ...(
      [
        [1, 4],
        [2, 1],
        [4, 1],
        [8, 1],
      ] as const
    ).map((block) => bcsr.pack(values, { ...shape, block })),
    nm.pack(values, { ...shape, prune: true }),
    csrCodebook.pack(values, shape),
    codebook.pack(values, shape),
    codebook.pack(values, { ...shape, entries: 256, centroids: 'int8' }),
    int8.pack(values, shape),
    int8.pack(values, { ...shape, perChannel: false, symmetric: false }),
    int4.pack(values, { ...shape, groupSize: cols }),
    int4.pack(values, { ...shape, groupSize: 16 }),
    int2.pack(values, { ...shape, groupSize: cols, symmetric: false }),
    int8Grouped.pack(values, { ...shape, groupSize: cols, symmetric: false }),
    int8Grouped.pack(values, { ...shape, groupSize: 16 }),
    ternary.pack(values, shape),
    binary.pack(values, shape),
    csrInt8.pack(values, shape),
    csrInt8.pack(values, { ...shape, blockCols: 4 }),
  ];
}

forms('every form means the same weights, and its facts are true', () => {
  const density = fc.constantFrom(0, 0.05, 0.3, 0.55, 0.9, 1);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), density, (seed, share) => {
      for (const weights of everyKind(sparseMatrix(createRandom(seed), rows, cols, share))) {
        const facts = weightFacts(weights);
        const [own, ...others] = formsOf(weights, facts);
        assert.is(own.make(), weights);
        for (const form of others) {
          const made = form.make();
          formatOf(made).validate(made);
          assert.equal(weightFacts(made), form.facts, `${weights.format} as ${form.facts.format}`);
          const [a, b] = [weights, made].map((w) =>
            formatOf(w)
              .unpack(w)
              .map((x) => x + 0),
          );
          assert.equal(b, a, `${weights.format} as ${made.format}`);
        }
      }
    }),
    { numRuns: 25 },
  );
});

forms('kernels give the same answer for every form', async () => {
  const backend = await createWasmBackend({ threads: 1 });
  const M = 7;
  const x = normals(createRandom(5), M * cols);
  const bias = normals(createRandom(6), rows);
  const input = backend.createBuffer(x.byteLength, 'x');
  const output = backend.createBuffer(4 * M * rows, 'y');
  backend.write(input, x);
  let compared = 0;
  for (const weights of everyKind(sparseMatrix(createRandom(9), rows, cols, 0.3))) {
    let first: Float32Array | undefined;
    for (const form of formsOf(weights, weightFacts(weights))) {
      const problem = linearProblem(form.facts, weights, M, { bias });
      const { variant } = select(problem, [backend]);
      const operands = backend.pack(variant as never, problem, form.make(), bias);
      const kernel = await backend.prepare(variant as never, problem, operands);
      const pass = backend.beginPass();
      pass.run(kernel, [input], output);
      await pass.submit();
      const y = await backend.read(output, M * rows);
      first ??= y;
      for (let i = 0; i < y.length; i++) {
        const what = `${weights.format} as ${form.facts.format} [${i}]`;
        assert.ok(Math.abs(y[i] - first[i]) < 1e-5 * (1 + Math.abs(y[i])), what);
      }
      compared++;
      kernel.free();
      operands.free();
    }
  }
  assert.ok(compared > 30);
  backend.free();
});

forms.run();

// --- choices -----------------------------------------------------------------------------------------------------

const choices = suite('choices');

const problemOf = (weights: Weights, M = 4) => linearProblem(weightFacts(weights), weights, M, {});
const quick: Choice = { variant: 'a', ms: { a: 1, b: 2 }, effort: 'quick' };

choices('round trip as JSON', () => {
  const one = new Choices('1');
  one.set('gpu', 'p', quick);
  one.setRates('gpu', { macsPerNs: 1, bytesPerNs: 2, dispatchMs: 3, runMs: 4 });
  const other = new Choices('1');
  assert.is(other.merge(JSON.parse(JSON.stringify(one))), 1);
  assert.equal(other.toJSON(), one.toJSON());
  assert.is(new Choices('2').merge(one.toJSON()), 0, 'another version of the package');
});

choices('more effort stays', () => {
  const known = new Choices('1');
  known.set('gpu', 'p', { ...quick, variant: 'b', effort: 'full' });
  const found = new Choices('1');
  found.set('gpu', 'p', quick);
  assert.is(known.merge(found.toJSON()), 0);
  assert.is(found.merge(known.toJSON()), 1);
  assert.is(found.get('gpu', 'p')?.variant, 'b');
});

choices('what is no such file is refused as a whole, wherever it is wrong', () => {
  const good = new Choices('1');
  good.set('gpu', 'p', quick);
  good.setRates('gpu', { macsPerNs: 1, bytesPerNs: 2, dispatchMs: 3, runMs: 4 });
  const text = JSON.stringify(good);
  const wrongs = [
    'null',
    '[]',
    '7',
    text.replace('thinfer choices', 'others'),
    text.replace('"version":1', '"version":2'),
    text.replace('"variant":"a"', '"variant":"c"'),
    text.replace('"variant":"a"', '"variant":5'),
    text.replace('"b":2', '"b":-2'),
    text.replace('"b":2', '"b":null'),
    text.replace('"effort":"quick"', '"effort":"none"'),
    text.replace('"runMs":4', '"runMs":"4"'),
    text.replace('"choices":{', '"choices":[{').replace(/\}\}\}\}$/, '}}]}}}'),
  ];
  for (const wrong of wrongs) {
    const target = new Choices('1');
    let parsed: unknown;
    try {
      parsed = JSON.parse(wrong);
    } catch {
      continue;
    }
    const before = JSON.stringify(target);
    assert.throws(
      () => target.merge(parsed),
      (error: unknown) => error instanceof ThinferError && error.code === 'bad-argument',
      wrong,
    );
    assert.is(JSON.stringify(target), before);
  }
});

choices('__proto__ in a file is a name like others', () => {
  const file = JSON.parse(
    '{"kind":"thinfer choices","version":1,"package":"1","devices":{"__proto__":{"choices":{"__proto__":' +
      '{"variant":"__proto__","effort":"quick","ms":{"__proto__":1}}}}}}',
  );
  const target = new Choices('1');
  assert.is(target.merge(file), 1);
  assert.is(({} as { variant?: unknown }).variant, undefined);
  assert.is(target.get('__proto__', '__proto__')?.variant, '__proto__');
});

choices('problems of other sizes, formats and densities are others; small differences of density are not', () => {
  const at = (density: number, M = 4) =>
    problemKey(problemOf(csr.pack(sparseMatrix(createRandom(1), 64, 64, density), { rows: 64, cols: 64 }), M));
  assert.is.not(at(0.1), at(0.5));
  assert.is.not(at(0.1, 1), at(0.1, 2));
  const values = sparseMatrix(createRandom(3), 64, 64, 0.5);
  const less = values.slice();
  less[less.findIndex((value) => value !== 0)] = 0;
  const [a, b] = [values, less].map((v) => csr.pack(v, { rows: 64, cols: 64 }));
  assert.is.not(a.values.length, b.values.length);
  assert.is(problemKey(problemOf(a)), problemKey(problemOf(b)));
});

choices('storage keeps them, and two writers lose nothing that either was done with', async () => {
  const storage = await platformStorage();
  assert.ok(storage, 'Node and browsers have one');
  const name = `test ${Math.random()}`;
  assert.is(await storage.load(name), undefined);
  await storage.update(name, (old) => ({ count: ((old as { count: number })?.count ?? 0) + 1 }));
  assert.equal(await storage.load(name), { count: 1 });
  // IndexedDB has transactions; of files one update may come too late, but none is torn.
  const updates = Array.from({ length: 20 }, () =>
    storage.update(name, (old) => ({ count: ((old as { count: number })?.count ?? 0) + 1 })),
  );
  await Promise.all(updates);
  const { count } = (await storage.load(name)) as { count: number };
  if (typeof process === 'undefined') assert.is(count, 21);
  else assert.ok(count >= 2);
});

choices.run();

// --- the tuner ---------------------------------------------------------------------------------------------------

const tuning = suite('tuning');

const sparse = csr.pack(sparseMatrix(createRandom(11), 16, 64, 0.4), { rows: 16, cols: 64 });
const simulatedRow = (
  name: string,
  format: 'csr' | 'dense' | 'bcsr',
  predictedMs: number,
  ms: number,
): SimulatedRow => ({
  name,
  format,
  predictedMs,
  takesMs: () => ms,
});

function job(backend: ReferenceBackend, weights: Weights = sparse) {
  const problem = problemOf(weights);
  return { backend, problem, forms: formsOf(weights, problem.weights), alive: () => true };
}

/** What waits for the tuner keeps the process alive. */
async function tuneNow(tuner: Tuner, work: TuneJob, effort: Effort): Promise<boolean> {
  let changed = false;
  await tuner.now(effort, async () => {
    ({ changed } = await tuner.tune(work, effort, 1000));
  });
  return changed;
}

const chosenBy = (tuner: Tuner, { backend, problem, forms }: ReturnType<typeof job>) =>
  select(problem, [backend], { forms, measured: tuner.measured(problem) }).variant.name;

tuning('dense is timed against sparse formats, and wins where it is faster', async () => {
  const backend = new ReferenceBackend({
    rows: [simulatedRow('csr_a', 'csr', 1, 3), simulatedRow('dense_a', 'dense', 3.5, 2)],
  });
  const tuner = new Tuner([backend]);
  const work = job(backend);
  assert.is(chosenBy(tuner, work), 'csr_a');
  assert.ok(await tuneNow(tuner, work, 'quick'));
  assert.is(chosenBy(tuner, work), 'dense_a');
  const { candidates } = select(work.problem, [backend], { forms: work.forms, measured: tuner.measured(work.problem) });
  assert.is(candidates[0].reason, 'fastest of 2 measured');
  assert.match(candidates[1].reason, /^measured 1\.[0-9]+ x the chosen one's time$/);
  const [best, other] = candidates.map(({ measuredMs }) => measuredMs! - backend.device.runMs);
  assert.ok(Math.abs(best - 2) < 1e-9 && Math.abs(other - 3) < 1e-9);
  assert.is(backend.kernels, 0);
  assert.is(backend.memory.bytes, 0, 'nothing of the contest is left');
});

tuning('when packing takes too long, dense is still timed', async () => {
  const backend = new ReferenceBackend({
    rows: [
      simulatedRow('csr_a', 'csr', 1, 3),
      simulatedRow('csr_b', 'csr', 1.1, 1),
      simulatedRow('dense_a', 'dense', 3.5, 2),
    ],
  });
  const tuner = new Tuner([backend]);
  const work = job(backend);
  await tuner.now('quick', async () => void (await tuner.tune(work, 'quick', 0)));
  assert.equal(Object.keys(tuner.measured(work.problem)(backend.device)!.ms), ['csr_a', 'dense_a']);
  assert.is(chosenBy(tuner, work), 'dense_a');
});

tuning('a choice is settled: a device that lies does not flip it back and forth', async () => {
  const random = createRandom(4);
  const lies = (): number => 1 + 4 * random.next();
  const rows: SimulatedRow[] = ['csr_a', 'csr_b', 'csr_c'].map((name) => ({
    name,
    format: 'csr',
    predictedMs: 1,
    takesMs: lies,
  }));
  const backend = new ReferenceBackend({ rows });
  const tuner = new Tuner([backend]);
  const work = job(backend);
  const seen: string[] = [chosenBy(tuner, work)];
  for (let i = 0; i < 30; i++) {
    await tuneNow(tuner, work, i % 3 === 2 ? 'full' : 'quick');
    const now = chosenBy(tuner, work);
    if (now !== seen.at(-1)) seen.push(now);
  }
  assert.ok(seen.length <= 3, `one change a level of effort at most: ${seen.join(', ')}`);
});

tuning('a row that answers differently never wins', async () => {
  const wrong = { ...simulatedRow('csr_b', 'csr', 1.1, 0.1), wrong: true };
  const backend = new ReferenceBackend({ rows: [simulatedRow('csr_a', 'csr', 1, 3), wrong] });
  const tuner = new Tuner([backend]);
  const work = job(backend);
  await tuneNow(tuner, work, 'full');
  assert.is(chosenBy(tuner, work), 'csr_a');
});

tuning('what was measured is known to the next program, and not timed again', async () => {
  const rows = [simulatedRow('csr_a', 'csr', 1, 3), simulatedRow('csr_b', 'csr', 1.5, 2)];
  const storage = new MemoryStorage();
  const backend = new ReferenceBackend({ rows });
  const tuner = new Tuner([backend], { storage });
  await tuneNow(tuner, job(backend), 'quick');
  await tuner.save();
  const next = new ReferenceBackend({ rows });
  const later = new Tuner([next], { storage });
  await later.load();
  assert.is(chosenBy(later, job(next)), 'csr_b');
  assert.is(next.device.macsPerNs, backend.device.macsPerNs, 'rates are kept too');
  await tuneNow(later, job(next), 'quick');
  assert.equal(next.ran, [], 'no kernel ran');
  for (const broken of ['nonsense', 7, null, { kind: 'thinfer choices', version: 1, package: 3, devices: [] }]) {
    for (const key of storage.stored.keys()) storage.stored.set(key, broken);
    const fresh = new Tuner([next], { storage });
    await fresh.load();
    assert.is(chosenBy(fresh, job(next)), 'csr_a');
    await fresh.save();
  }
});

tuning('storage that is slow delays timing, not the first choice', async () => {
  const rows = [simulatedRow('csr_a', 'csr', 1, 3), simulatedRow('csr_b', 'csr', 1.5, 2)];
  const storage = new MemoryStorage();
  const backend = new ReferenceBackend({ rows });
  const tuner = new Tuner([backend], { storage });
  await tuneNow(tuner, job(backend), 'quick');
  await tuner.save();
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const slow: ChoiceStorage = {
    load: (name) => opened.then(() => storage.load(name)),
    update: (name, change) => storage.update(name, change),
  };
  const next = new ReferenceBackend({ rows });
  const later = new Tuner([next], { storage: slow });
  const loading = later.load();
  assert.is(chosenBy(later, job(next)), 'csr_a', 'predicted');
  let worked = '';
  later.later(async () => {
    worked = chosenBy(later, job(next));
  });
  const now = tuneNow(later, job(next), 'quick');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(worked, '');
  assert.equal(next.ran, []);
  open();
  await Promise.all([loading, now, later.idle()]);
  assert.is(worked, 'csr_b', 'known');
  assert.equal(next.ran, [], 'no kernel ran');
});

tuning('storage that fails costs nothing but the memory of it', async () => {
  const fails = async () => {
    throw new Error('no room');
  };
  const backend = new ReferenceBackend({
    rows: [simulatedRow('csr_a', 'csr', 1, 3), simulatedRow('csr_b', 'csr', 1.5, 2)],
  });
  const tuner = new Tuner([backend], { storage: { load: fails, update: fails } });
  await tuner.load();
  await tuneNow(tuner, job(backend), 'quick');
  await tuner.save();
  assert.is(chosenBy(tuner, job(backend)), 'csr_b');
});

tuning('the key of a device names the engine', () => {
  assert.match(deviceKey(new ReferenceBackend()), /^wasm: reference wasm; .*(Node v|Mozilla)/);
});

tuning.run();

// --- layers ------------------------------------------------------------------------------------------------------

const layers = suite('layers that are tuned');

layers('in the background, after the first run; the answer stays and nothing is left behind', async () => {
  const storage = new MemoryStorage();
  const runtime = await createRuntime({ backends: ['wasm'], cache: storage, wasm: { threads: 1 } });
  const [backend] = runtime.backends;
  const before = backend.memory.bytes;
  const values = sparseMatrix(createRandom(21), 96, 128, 0.5);
  const layer = await runtime.linear(csr.pack(values, { rows: 96, cols: 128 }));
  const x = normals(createRandom(22), 32 * 128);
  const first = await layer.run(x);
  const expected = await first.data();
  first.free();
  assert.ok(layer.explain().every(({ measuredMs }) => measuredMs === undefined));
  // Runs go on while rows are timed.
  for (let i = 0; i < 50; i++) {
    const y = await layer.run(x);
    const data = await y.data();
    y.free();
    for (let j = 0; j < data.length; j++) assert.ok(Math.abs(data[j] - expected[j]) < 1e-4);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await runtime.tuned();
  const [chosen, ...others] = layer.explain();
  assert.ok(chosen.measuredMs! > 0);
  assert.ok(chosen.chosen);
  assert.ok(others.some(({ measuredMs }) => measuredMs !== undefined));
  assert.ok(
    others.some(({ format }) => format === 'dense'),
    'dense is a candidate',
  );
  const again = await (await layer.run(x)).data();
  for (let j = 0; j < again.length; j++) assert.ok(Math.abs(again[j] - expected[j]) < 1e-4);
  assert.is(storage.stored.size, 1);

  const other = await createRuntime({ backends: ['wasm'], cache: false, tune: 'off', wasm: { threads: 1 } });
  assert.ok(other.importChoices(JSON.parse(JSON.stringify(runtime.exportChoices()))) > 0);
  const twin = await other.linear(csr.pack(values, { rows: 96, cols: 128 }));
  await twin.run(x);
  assert.is(twin.explain()[0].variant, chosen.variant);
  assert.is(twin.explain()[0].measuredMs, chosen.measuredMs);
  other.free();
  layer.free();
  await runtime.tuned();
  // Two outputs were not freed: 32 x 96 floats.
  assert.is(backend.memory.bytes - before, 4 * 32 * 96);
  runtime.free();
});

layers('freed in the middle of a contest: its memory goes too', async () => {
  const runtime = await createRuntime({ backends: ['wasm'], cache: false, wasm: { threads: 1 } });
  const [backend] = runtime.backends;
  const before = backend.memory.bytes;
  const layer = await runtime.linear(csr.pack(sparseMatrix(createRandom(2), 64, 64, 0.5), { rows: 64, cols: 64 }));
  (await layer.run(new Float32Array(64))).free();
  const tuned = runtime.tuned();
  await new Promise((resolve) => setTimeout(resolve, 5));
  layer.free();
  await tuned;
  assert.is(backend.memory.bytes, before);
  runtime.free();
});

layers("memory: 'packed' keeps dense out", async () => {
  const runtime = await createRuntime({ backends: ['wasm'], cache: false, tune: 'off' });
  const weights = csr.pack(sparseMatrix(createRandom(21), 96, 128, 0.1), { rows: 96, cols: 128 });
  const any = await runtime.linear(weights);
  const packed = await runtime.linear(weights, { memory: 'packed' });
  assert.ok(any.explain().some(({ format }) => format === 'dense'));
  for (const { bytes } of packed.explain()) assert.ok(bytes! <= csr.bytes(weights));
  const error = await runtime.linear(weights, { memory: 'little' as never }).catch((thrown) => thrown);
  assert.instance(error, ThinferError);
  assert.is(error.place, 'linear.memory');
  runtime.free();
});

layers('every layer of every format can be tuned in full', async () => {
  const runtime = await createRuntime({ backends: ['wasm'], cache: false, wasm: { threads: 1 } });
  const values = sparseMatrix(createRandom(31), rows, cols, 0.3);
  for (const weights of everyKind(values)) {
    const layer = await runtime.linear(weights);
    const x = normals(createRandom(32), cols);
    const before = await (await layer.run(x)).data();
    await layer.tune();
    const after = await (await layer.run(x)).data();
    for (let i = 0; i < before.length; i++) assert.ok(Math.abs(after[i] - before[i]) < 1e-4, weights.format);
    assert.ok(layer.explain()[0].measuredMs! > 0, weights.format);
    layer.free();
  }
  runtime.free();
});

const gpu = await createRuntime({ backends: ['webgpu'], cache: false }).catch((error: Error) => error);
const reason = gpu instanceof Error ? gpu.message : '';
if (requireCapability('WebGPU', reason === '', reason) && !(gpu instanceof Error)) {
  layers('on WebGPU, by the clock of the device where it has one', async () => {
    const values = sparseMatrix(createRandom(41), 32, 64, 0.3);
    const layer = await gpu.linear(csr.pack(values, { rows: 32, cols: 64 }));
    const x = normals(createRandom(42), 4 * 64);
    const before = await (await layer.run(x)).data();
    await layer.tune([4, 64], { effort: 'quick' });
    const after = await (await layer.run(x)).data();
    for (let i = 0; i < before.length; i++) assert.ok(Math.abs(after[i] - before[i]) < 1e-4);
    assert.ok(layer.explain([4, 64])[0].measuredMs! > 0);
    layer.free();
    gpu.free();
  });
}

layers.run();
