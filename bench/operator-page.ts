// One operator without weights, ours and the peers' in turns.

import type { Backend } from '../src/backend.js';
import { type Contestant, type RaceOptions, race, warmUp, withTimeout } from '../src/bench/race.js';
import { computeWeightless } from '../src/graph/reference.js';
import { outputSize } from '../src/plan/problem.js';
import { check, type Expected } from './check.js';
import { OPERATORS, operatorInputs } from './operators.js';
import { runnable } from './ours.js';
import type { Peer, PeerContestant } from './peers/peer.js';
import type { OperatorTimings, PeerName } from './types.js';

/** An answer may be off by this much of the larger of 1 and itself: inputs are of order 1, sums have few terms. */
const ERROR = 2e-5;

interface Entry {
  contestant: Contestant & Pick<PeerContestant, 'read' | 'free'>;
  who: PeerName | 'thinfer';
  maxError: number;
  estimate: number;
}

/** Our row, which there is one of for each operator. */
async function ourOperator(
  backend: Backend,
  name: string,
  inputs: readonly Float32Array[],
): Promise<Entry['contestant']> {
  const { problem } = OPERATORS[name];
  const [variant] = runnable(backend, problem);
  const kernel = await backend.prepare(variant, problem);
  const size = outputSize(problem);
  const buffers = inputs.map((values) => {
    const buffer = backend.createBuffer(values.byteLength, 'bench input');
    backend.write(buffer, values);
    return buffer;
  });
  const output = backend.createBuffer(size * 4, 'bench output');
  const run = () => {
    const pass = backend.beginPass();
    pass.run(kernel, buffers, output);
    return pass.submit();
  };
  return {
    name: variant.name,
    run,
    async read() {
      await run();
      return backend.read(output, size);
    },
    free: () => kernel.free(),
  };
}

function expectedOf(name: string, inputs: readonly Float32Array[]): Expected {
  const { problem } = OPERATORS[name];
  const y = new Float64Array(outputSize(problem));
  computeWeightless(problem, inputs, y);
  const largest = y.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return { y, count: 1, step: 1, width: y.length, bound: (i) => ERROR * Math.max(1, Math.abs(y[i])), largest };
}

/**
 * @param backend ours; absent where it has too few threads
 * @param without operators of peers to leave out, as `peer operator`
 */
export async function measureOperator(
  name: string,
  backend: Backend | undefined,
  peers: readonly Peer[],
  without: readonly string[],
  options: RaceOptions,
  step: (who: string, what: string, done: number) => Promise<void>,
): Promise<OperatorTimings> {
  const inputs = operatorInputs(OPERATORS[name]);
  const expected = expectedOf(name, inputs);
  const notes = without.map((left) => `${left}: left out, it ended the page`);
  const entries: Entry[] = [];
  const enter = async (who: Entry['who'], make: () => Promise<Entry['contestant']> | undefined) => {
    if (without.some((left) => left === `${who} ${name}` || left === who)) return;
    await step(who, name, 0);
    try {
      const making = make();
      if (!making) return;
      const contestant = await withTimeout(making, options.timeoutMs, `loading ${who} ${name}`);
      const maxError = check(await withTimeout(contestant.read(), options.timeoutMs, `${who} ${name}`), expected);
      entries.push({ contestant, who, maxError, estimate: await warmUp(contestant, options) });
    } catch (error) {
      notes.push(`${who} ${name}: ${(error as Error).message.slice(0, 200)}`);
    }
  };
  if (backend) await enter('thinfer', () => ourOperator(backend, name, inputs));
  for (const peer of peers) await enter(peer.name, () => peer.weightless?.(name, OPERATORS[name], inputs));

  const results = await race(
    entries.map(({ contestant }) => contestant),
    entries.map(({ estimate }) => estimate),
    options,
    (round) => step('race', `round ${round + 1} of ${options.rounds}`, round / options.rounds),
  );
  // A gather reads as much of the table as it writes.
  const read = OPERATORS[name].indicesBelow ? expected.y.length : inputs.reduce((sum, { length }) => sum + length, 0);
  const bytes = 4 * (read + expected.y.length);
  const timings: OperatorTimings = { operator: name, bytes, ours: undefined, peers: [], notes };
  for (const [i, timing] of results.entries()) {
    const { who, maxError, contestant } = entries[i];
    if (timing instanceof Error) notes.push(`${who} ${name}: ${timing.message.slice(0, 200)}`);
    else if (who === 'thinfer') timings.ours = { ...timing, variant: contestant.name, maxError };
    else timings.peers.push({ ...timing, peer: who, maxError });
    contestant.free();
  }
  return timings;
}
