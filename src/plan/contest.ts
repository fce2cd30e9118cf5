/** Something that is timed against others that do the same work. */
export interface Contender {
  /** Does the work `times` times. @returns milliseconds of one */
  run(times: number): Promise<number>;
}

export interface ContestOptions {
  /** Rounds of turns; as many again where they leave it open whether the incumbent is beaten. */
  rounds: number;
  /** A turn does the work as often as takes about this long. */
  turnMs: number;
  /** Milliseconds of work after which the contest ends with what is known. */
  budgetMs: number;
  /** The warm-up goes on for at least this long: engines compile what is hot anew, on a thread of their own. Default 0. */
  warmMs?: number;
  /** Asked before each turn; false ends the contest without a result. */
  proceed?: () => boolean | Promise<boolean>;
}

export interface ContestResult {
  /** Its place in the list. */
  winner: number;
  /** Milliseconds of one piece of work: the median of the turns; undefined for one that had no turn in a full round. */
  ms: (number | undefined)[];
  /** Milliseconds spent. */
  spentMs: number;
}

/** The incumbent stays unless another is this much faster. */
export const MARGIN = 0.03;
/** ... in this share of the rounds, or in its fastest turn. */
const AGREEING = 0.75;
/** One that takes this much longer than the leader in every round is out. */
const CLEARLY_SLOWER = 1.2;
/** Rounds before anybody is out, and the milliseconds beyond the budget that may be spent on them. */
const FEWEST_ROUNDS = 3;
const OVERDRAFT_MS = 300;
/** A contender is warm when a turn is no faster than this share of the turn before, or after so many turns. */
const SETTLED = 0.9;
const MOST_WARM_TURNS = 8;
const FEWEST_WARM_TURNS = 3;

/** The middle of the values; of an even number, the lower of the two in the middle. */
export function lowerMedian(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1];
}

/**
 * The fastest of several contenders. They take turns, in rounds, so that a change of the machine's speed meets all of them
 * in the same round; rounds are compared pair by pair, and clear losers leave early. Where nothing is certain, the
 * incumbent, contender 0, wins: noise doesn't change a choice.
 * @returns undefined when the contest was ended from outside, or when the budget did not last for a round
 */
export async function contest(
  contenders: readonly Contender[],
  { rounds, turnMs, budgetMs, warmMs = 0, proceed = () => true }: ContestOptions,
): Promise<ContestResult | undefined> {
  let spentMs = 0;
  const times = contenders.map(() => 1);
  const turn = async (i: number): Promise<number> => {
    const ms = await contenders[i].run(times[i]);
    spentMs += ms * times[i];
    return ms;
  };
  const before = contenders.map(() => Number.POSITIVE_INFINITY);
  let cold = [...contenders.keys()];
  const start = performance.now();
  for (let turns = 1; cold.length > 0; turns++) {
    const settled = new Set<number>();
    for (const i of cold) {
      if (!(await proceed())) return undefined;
      const ms = await turn(i);
      times[i] = Math.max(Math.ceil(turnMs / Math.max(ms, turnMs / 1000)), 1);
      if (turns >= FEWEST_WARM_TURNS && ms > SETTLED * before[i]) settled.add(i);
      before[i] = ms;
    }
    if (spentMs > budgetMs) break;
    if (performance.now() - start < warmMs) continue;
    cold = turns < MOST_WARM_TURNS ? cold.filter((i) => !settled.has(i)) : [];
  }
  const samples: number[][] = contenders.map(() => []);
  let living = [...contenders.keys()];
  for (let round = 0; round < 2 * rounds && living.length > 1; round++) {
    if (round >= FEWEST_ROUNDS && spentMs > budgetMs) break;
    if (spentMs > budgetMs + OVERDRAFT_MS) break;
    if (round >= rounds && !samples.some((turns) => isOpen(turns, samples[0]))) break;
    // Every other round backwards: nobody always follows the same one.
    for (const i of round % 2 ? [...living].reverse() : living) {
      if (!(await proceed())) return undefined;
      samples[i].push(await turn(i));
    }
    if (round + 1 < FEWEST_ROUNDS) continue;
    const leader = living.reduce((a, b) => (lowerMedian(samples[b]) < lowerMedian(samples[a]) ? b : a));
    living = living.filter((i) => samples[i].some((ms, turn) => ms <= CLEARLY_SLOWER * samples[leader][turn]));
  }
  if (living.length === 1 && samples[living[0]].length === 0) samples[living[0]].push(await turn(living[0]));
  const ms = samples.map((turns) => (turns.length > 0 ? lowerMedian(turns) : undefined));
  let winner = 0;
  for (const [i, turns] of samples.entries()) {
    if (i === 0 || !isFaster(turns, samples[0])) continue;
    if (winner === 0 || ms[i]! < ms[winner]!) winner = i;
  }
  return ms[0] === undefined ? undefined : { winner, ms, spentMs };
}

/** How much faster `a` was in the rounds that both had. */
function compare(a: readonly number[], b: readonly number[]) {
  const rounds = Math.min(a.length, b.length);
  const ratios = Array.from({ length: rounds }, (_, round) => b[round] / a[round]);
  return {
    /** In the median of the pairs, and in most of them. */
    usually: rounds > 0 && lowerMedian(ratios) > 1 + MARGIN,
    mostly: ratios.filter((ratio) => ratio > 1 + MARGIN).length >= AGREEING * rounds,
    /** In the fastest turn: what disturbs a turn makes it longer. */
    atBest: rounds > 0 && Math.min(...b.slice(0, rounds)) / Math.min(...a.slice(0, rounds)) > 1 + MARGIN,
  };
}

/**
 * True when `a` was surely faster than `b`: in the median of the pairs, and either in most of them, however the machine's
 * speed changed meanwhile, or in the fastest turn.
 */
function isFaster(a: readonly number[], b: readonly number[]): boolean {
  const { usually, mostly, atBest } = compare(a, b);
  return usually && (mostly || atBest);
}

/** True when some signs say that `a` was faster, and others don't. */
function isOpen(a: readonly number[], b: readonly number[]): boolean {
  const { usually, atBest } = compare(a, b);
  return (usually || atBest) && !isFaster(a, b);
}
