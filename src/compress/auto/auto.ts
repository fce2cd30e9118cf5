import { describe, requireInteger, ThinferError } from '../../errors.js';
import { requireChoice } from '../../formats/checks.js';
import type { Weights } from '../../formats/format.js';
import { type Graph, isLayer } from '../../graph/ir.js';
import { type Answers, answersOf, type Comparison, compareAnswers } from '../compare.js';
import { graphBytes } from '../compress.js';
import { type Unit, unitsOf, withWeights } from '../layers.js';
import { requireCalibration } from '../observe.js';
import { MomentsCache } from '../products.js';
import { pruneFilters } from '../pruning/filters.js';
import { quantizeActivations } from '../quantisation/static.js';
import type { Calibration, Job, LayerChoice, Note, Step } from '../step.js';
import { CANDIDATES, type Candidate, WIDTHS } from './candidates.js';
import { frontOf, type Option } from './choose.js';
import { timeChange, timeModels } from './timing.js';

export interface AutoOptions extends LayerChoice {
  /** What is to be little: milliseconds of a run with a batch of one, or bytes. Default `speed`. */
  target?: 'speed' | 'size';
  /**
   * How much worse the model may get on calibration data that is held out: with labels, the share of samples that are right
   * no more; without, of samples whose class changes. Default 0.01.
   */
  maxDrop?: number;
  /** Size: the model need not be smaller than this share of what it was; the choice is the one that loses least. */
  budget?: number;
  /** What is tried for each layer. Default: CANDIDATES. */
  candidates?: readonly Candidate[];
  /**
   * Shares of filters that may go from all layers first (see `pruneFilters`): the largest that keeps within
   * `maxDrop`. Default 0.375, 0.25, 0.125; none with a budget.
   */
  filters?: readonly number[];
  /** Whether layers of 8-bit arithmetic may get static codes in the end (see `quantize`). Default true. */
  staticActivations?: boolean;
  /** The share of batches that methods do not see, and by which models are judged. Default 0.5; with one batch, that one. */
  heldOut?: number;
  /** Whole models that are evaluated at most. Default 8. */
  evaluations?: number;
  /** Seconds after which nothing more is tried: the choice is among what was measured by then. Default: no limit. */
  seconds?: number;
}

/** A candidate for a layer as it was measured. */
export interface Measured {
  candidate: string;
  /** Squared relative error of the model's outputs with this layer alone changed. */
  loss: number;
  bytes: number;
  /** Milliseconds more than the layer takes as it is; below 0: less. */
  ms?: number;
  /** Why it can't be. */
  reason?: string;
}

/** A whole model that was evaluated. */
export interface FrontPoint {
  /** The share of filters that went first. */
  filters: number;
  /** Layer by layer; `as it is` for those that are not changed. */
  choice: string[];
  static: boolean;
  /** Layers were made one after the other, each with what the layers before had become. */
  refined: boolean;
  drop: number;
  error: number;
  accuracy?: Comparison['accuracy'];
  bytes: number;
  ms?: number;
  /** No other point is better in drop and target. */
  best: boolean;
  chosen: boolean;
}

const AS_IT_IS = 'as it is';

/** How one layer may be, with its weights where that is all that changes. */
interface Form extends Option {
  candidate?: Candidate;
  weights?: Weights;
}

/**
 * Chooses a form for each layer: measures what each candidate does to the model's outputs and to the time of the layer on
 * this device (the layers timed beside each other as the scheduler does), finds the choices that no other choice beats, and
 * goes down that front as far as the model bears it on samples that no method saw. What was measured is in the report.
 */
export function auto(options: AutoOptions = {}): Step {
  const { target = 'speed', maxDrop = 0.01, heldOut = 0.5, evaluations = 8, budget } = options;
  requireChoice(target, ['speed', 'size'], 'auto.target');
  requireInteger(evaluations, 'auto.evaluations', { min: 1, max: 1000 });
  for (const [name, share] of Object.entries({ maxDrop, heldOut, budget: budget ?? 0 })) {
    if (typeof share === 'number' && share >= 0 && share < 1) continue;
    const expected = 'a share, 0 to less than 1';
    throw new ThinferError({ code: 'bad-argument', place: `auto.${name}`, expected, got: describe(share) });
  }
  if (options.seconds !== undefined && !(options.seconds > 0)) {
    const got = describe(options.seconds);
    throw new ThinferError({ code: 'bad-argument', place: 'auto.seconds', expected: 'a number above 0', got });
  }
  return {
    name: `auto for ${target}, drop at most ${maxDrop}`,
    needs: 'calibration',
    apply: (job) => new Search(job, { ...options, target, maxDrop, heldOut, evaluations }).run(),
  };
}

/**
 * Widths of 8, 4 and 2 bits (of GPTQ), layer by layer, so that the model takes a share of its bytes at most and loses least
 * (sensitivity as in Dong et al. 2019, HAWQ, but measured by outputs).
 * @param budget the share of the bytes
 */
export function mixed(budget: number, options: Omit<AutoOptions, 'budget' | 'target' | 'maxDrop'> = {}): Step {
  const step = auto({ candidates: WIDTHS, staticActivations: false, ...options, target: 'size', budget });
  return { ...step, name: `mixed widths in ${Math.round(100 * budget)} % of the bytes` };
}

/** Shares of filters that are tried. */
const SHARES = [0.375, 0.25, 0.125];
/** Batches by which forms of layers are compared. */
const WITNESSES = 4;

interface Evaluated {
  point: FrontPoint;
  graph: Graph;
  /** What became of layers that lost filters. */
  notes: readonly Note[];
}

type Settings = AutoOptions & Required<Pick<AutoOptions, 'target' | 'maxDrop' | 'heldOut' | 'evaluations'>>;

class Search {
  readonly #job: Job;
  readonly #options: Settings;
  /** What forms are found for: without the filters that went. */
  #graph: Graph;
  #units: Unit[];
  #filters = 0;
  readonly #start = performance.now();
  /** What methods see, and what models are judged by. */
  readonly #seen: Calibration;
  readonly #judges: Calibration;
  /** What became of layers that lost filters. */
  #filterNotes: Note[] = [];
  readonly #measured = new Map<string, Measured[]>();

  constructor(job: Job, options: Settings) {
    const { batches, labels } = requireCalibration(job, 'auto');
    this.#job = job;
    this.#options = options;
    this.#graph = job.graph;
    this.#units = unitsOf(job.graph, options, 'auto');
    const cut = Math.min(Math.max(Math.round((1 - options.heldOut) * batches.length), 1), batches.length);
    this.#seen = { batches: batches.slice(0, cut), labels: labels?.slice(0, cut) };
    const rest = cut === batches.length ? 0 : cut;
    this.#judges = { batches: batches.slice(rest), labels: labels?.slice(rest) };
  }

  async run(): Promise<Graph> {
    const { budget } = this.#options;
    const float = await this.#judged(this.#job.graph);
    const points: Evaluated[] = [];
    await this.#dropFilters(float, points);
    const then = await answersOf(this.#graph, { ...this.#job, calibration: this.#witnesses() });
    const forms: Form[][] = [];
    for (const [i, unit] of this.#units.entries()) {
      this.#job.progress(0.1 + (0.7 * i) / this.#units.length, unit.name);
      forms.push(await this.#formsOf(unit, then));
    }
    const front = frontOf(forms);
    const choices =
      budget === undefined ? await this.#descend(front, forms, float, points) : this.#within(front, forms, budget);
    if (budget !== undefined) await this.#evaluate(choices, forms, float, points);
    return this.#conclude(points, forms, float);
  }

  /** Whether a share of the time is over. */
  #late(share = 1): boolean {
    return performance.now() - this.#start > share * 1000 * (this.#options.seconds ?? Number.POSITIVE_INFINITY);
  }

  #judged(graph: Graph): Promise<Answers> {
    return answersOf(graph, { ...this.#job, calibration: this.#judges });
  }

  /** What tells how much a layer matters: a few batches, as there are many layers and candidates. */
  #witnesses(): Calibration {
    return { batches: this.#seen.batches.slice(0, WITNESSES) };
  }

  async #pointOf(graph: Graph, choice: string[], isStatic: boolean, float: Answers): Promise<Evaluated> {
    const { error, agreement, accuracy } = compareAnswers(float, await this.#judged(graph), this.#judges.labels);
    const drop = accuracy ? accuracy.before - accuracy.after : 1 - agreement;
    const bytes = graphBytes(graph);
    const point = {
      filters: this.#filters,
      choice,
      static: isStatic,
      refined: false,
      drop,
      error,
      accuracy,
      bytes,
      best: false,
      chosen: false,
    };
    return { point, graph, notes: this.#filterNotes };
  }

  /** Takes filters out of all layers first, as many as the model bears. */
  async #dropFilters(float: Answers, points: Evaluated[]): Promise<void> {
    const { budget, filters = budget === undefined ? SHARES : [], only, except, maxDrop } = this.#options;
    const moments = new MomentsCache(this.#graph);
    for (const share of [...filters].sort((a, b) => b - a)) {
      if (this.#late()) break;
      this.#job.progress(0.05, `${Math.round(100 * share)} % of filters`);
      const notes: Note[] = [];
      const note = (one: Note) => notes.push(one);
      const quiet: Job = { ...this.#job, calibration: this.#seen, moments, note, progress: () => {} };
      this.#filters = share;
      const smaller = await pruneFilters({ share, only, except }).apply(quiet);
      const units = unitsOf(smaller, { only, except }, 'auto');
      const evaluated = await this.#pointOf(
        smaller,
        units.map(() => AS_IT_IS),
        false,
        float,
      );
      points.push(evaluated);
      if (!(evaluated.point.drop <= maxDrop) || notes.length === 0) continue;
      this.#graph = smaller;
      this.#units = units;
      return;
    }
    this.#filters = 0;
    this.#filterNotes = [];
  }

  /** Every form of one unit, as it is first. */
  async #formsOf(unit: Unit, then: Answers): Promise<Form[]> {
    const graph = this.#graph;
    const { candidates = CANDIDATES, target } = this.#options;
    const only = unit.layers.map(({ name }) => name);
    // All candidates of a layer look at the same inputs.
    const moments = new MomentsCache(graph);
    const forms: Form[] = [{ cost: 0, loss: 0 }];
    const measured: Measured[] = [];
    const before = graphBytes(graph);
    /** The layer as it is, at its fastest: candidates were timed beside it, each by its share of that turn's time. */
    let was = Number.POSITIVE_INFINITY;
    const shares = new Map<Measured, number>();
    for (const candidate of candidates) {
      this.#job.signal?.throwIfAborted();
      // A fifth of the time is for whole models.
      if (this.#late(0.8)) {
        measured.push({ candidate: candidate.name, loss: Number.NaN, bytes: Number.NaN, reason: 'no time left' });
        continue;
      }
      try {
        const changed = await this.#applied(graph, candidate, only, moments);
        const answers = await answersOf(changed, { ...this.#job, calibration: this.#witnesses() });
        const loss = compareAnswers(then, answers).error ** 2;
        const bytes = graphBytes(changed) - before;
        const entry: Measured = { candidate: candidate.name, loss, bytes };
        if (target === 'speed') {
          const times = await timeChange(await this.#job.runtime(), graph, changed, this.#job.signal);
          was = Math.min(was, times.before);
          shares.set(entry, times.after / times.before);
        }
        measured.push(entry);
        // NaN: outputs that are not finite.
        if (loss >= 0) forms.push({ cost: bytes, loss, candidate, weights: onlyWeights(graph, changed, unit) });
      } catch (error) {
        if (!(error instanceof ThinferError)) throw error;
        measured.push({ candidate: candidate.name, loss: Number.NaN, bytes: Number.NaN, reason: error.message });
      }
    }
    for (const [entry, share] of shares) {
      entry.ms = was * (share - 1);
      const form = forms.find(({ candidate }) => candidate?.name === entry.candidate);
      if (form) form.cost = entry.ms;
    }
    this.#measured.set(unit.name, measured);
    return forms;
  }

  /** A graph with some layers in a candidate's form. */
  async #applied(graph: Graph, candidate: Candidate, only: readonly string[], moments?: MomentsCache): Promise<Graph> {
    const quiet = { ...this.#job, note: () => {}, progress: () => {}, moments, calibration: this.#seen };
    let changed = graph;
    for (const step of candidate.steps(only)) changed = await step.apply({ ...quiet, graph: changed });
    return changed;
  }

  /** The graph of a choice: weights that were found already, steps where a form is more than weights. */
  async #assembled(choice: readonly number[], forms: readonly Form[][]): Promise<Graph> {
    const replaced = new Map<Weights, Weights>();
    for (const [i, unit] of this.#units.entries()) {
      const { weights } = forms[i][choice[i]];
      if (weights) replaced.set(unit.weights, weights);
    }
    let graph = withWeights(this.#graph, replaced);
    for (const [i, { layers }] of this.#units.entries()) {
      const { candidate, weights } = forms[i][choice[i]];
      if (!candidate || weights) continue;
      graph = await this.#applied(
        graph,
        candidate,
        layers.map(({ name }) => name),
      );
    }
    return graph;
  }

  /** Evaluates choices from the cheaper half on, halving what is left, until the cheapest that the model bears is known. */
  async #descend(
    front: readonly number[][],
    forms: readonly Form[][],
    float: Answers,
    points: Evaluated[],
  ): Promise<number[]> {
    let [good, bad] = [-1, front.length];
    for (let left = this.#options.evaluations; left > 0 && bad - good > 1 && !this.#late(); left--) {
      const at = Math.floor((good + bad) / 2);
      this.#job.progress(
        0.8 + 0.2 * (1 - left / this.#options.evaluations),
        `whole models: ${at + 1} of ${front.length}`,
      );
      const drops = await this.#evaluate(front[at], forms, float, points);
      if (drops.some((drop) => drop <= this.#options.maxDrop)) good = at;
      else bad = at;
    }
    return front[Math.max(good, 0)];
  }

  /** The choice of least loss within a share of the bytes. */
  #within(front: readonly number[][], forms: readonly Form[][], budget: number): number[] {
    const all = graphBytes(this.#graph);
    const bytesOf = (choice: readonly number[]) => choice.reduce((sum, k, i) => sum + forms[i][k].cost, all);
    const fitting = front.find((choice) => bytesOf(choice) <= budget * all);
    if (fitting) return fitting;
    throw new ThinferError({
      code: 'bad-argument',
      place: 'auto.budget',
      expected: `at least ${(bytesOf(front.at(-1)!) / all).toFixed(3)}, the least that the candidates come to`,
      got: describe(budget),
    });
  }

  async #evaluate(
    choice: readonly number[],
    forms: readonly Form[][],
    float: Answers,
    points: Evaluated[],
  ): Promise<number[]> {
    const { staticActivations = true } = this.#options;
    const names = choice.map((k, i) => forms[i][k].candidate?.name ?? AS_IT_IS);
    const plain = await this.#assembled(choice, forms);
    const variants = [plain];
    const coded = staticActivations ? await this.#coded(plain) : undefined;
    if (coded) variants.push(coded);
    const drops: number[] = [];
    for (const [i, graph] of variants.entries()) {
      const evaluated = await this.#pointOf(graph, names, i > 0, float);
      points.push(evaluated);
      drops.push(evaluated.point.drop);
    }
    return drops;
  }

  /**
   * The model of a choice with its layers made one after the other, so that each makes up for what the layers before lost:
   * forms and time are the same. Undefined where that is no better.
   */
  async #refined({ point }: Evaluated, forms: readonly Form[][], float: Answers): Promise<Evaluated | undefined> {
    if (point.filters !== this.#filters || point.choice.every((name) => name === AS_IT_IS) || this.#late())
      return undefined;
    let graph = this.#graph;
    for (const [i, { layers }] of this.#units.entries()) {
      const candidate = forms[i].find((form) => form.candidate?.name === point.choice[i])?.candidate;
      this.#job.progress(0.95, `again: ${layers[0].name}`);
      if (!candidate) continue;
      const only = layers.map(({ name }) => name);
      graph = await this.#applied(graph, candidate, only);
    }
    if (point.static) graph = (await this.#coded(graph)) ?? graph;
    const again = await this.#pointOf(graph, point.choice, point.static, float);
    if (!(again.point.error < point.error && again.point.drop <= Math.max(point.drop, this.#options.maxDrop)))
      return undefined;
    Object.assign(again.point, { refined: true, ms: point.ms });
    return again;
  }

  /** The graph with static activations, where there are layers that take codes. */
  async #coded(graph: Graph): Promise<Graph | undefined> {
    const all = new Set(this.#units.flatMap(({ layers }) => layers.map(({ name }) => name)));
    const quiet: Job = { ...this.#job, graph, calibration: this.#seen, note: () => {}, progress: () => {} };
    const coded = await quantizeActivations(quiet, all, { range: 'mse' });
    return coded.nodes.some((node) => isLayer(node) && node.inputCodes) ? coded : undefined;
  }

  /** Times what was evaluated, chooses, and writes the report. */
  async #conclude(points: Evaluated[], forms: readonly Form[][], float: Answers): Promise<Graph> {
    const { target, maxDrop, budget } = this.#options;
    const origin: FrontPoint = {
      filters: 0,
      choice: forms.map(() => AS_IT_IS),
      static: false,
      refined: false,
      drop: 0,
      error: 0,
      bytes: graphBytes(this.#job.graph),
      best: false,
      chosen: false,
    };
    const all: Evaluated[] = [{ point: origin, graph: this.#job.graph, notes: [] }, ...points];
    if (target === 'speed') {
      const times = await timeModels(
        await this.#job.runtime(),
        all.map(({ graph }) => graph),
      );
      for (const [i, { point }] of all.entries()) point.ms = times[i];
    }
    const cost = ({ ms, bytes }: FrontPoint) => (target === 'speed' ? ms! : bytes);
    const allowed = all.filter(({ point }) => (budget === undefined ? point.drop <= maxDrop : point !== origin));
    const found = allowed.reduce((best, one) => (cost(one.point) < cost(best.point) ? one : best));
    const chosen = (await this.#refined(found, forms, float)) ?? found;
    if (chosen !== found) all.push(chosen);
    for (const { point } of all) {
      point.best = !all.some(({ point: other }) => cost(other) < cost(point) && other.drop <= point.drop);
    }
    chosen.point.chosen = true;
    for (const note of chosen.notes) this.#job.note(note);
    for (const [i, { layers, name }] of this.#units.entries()) {
      const candidates = this.#measured.get(name);
      const did = chosen.point.choice[i] + (chosen.point.static ? ', static activations where codes are read' : '');
      for (const layer of layers) this.#job.note({ layer: layer.name, did, evidence: { candidates } });
    }
    const runtime = await this.#job.runtime();
    const device = runtime.backends[0].device.label;
    const front = all.map(({ point }) => point);
    this.#job.note({ did: 'auto', evidence: { auto: { device, target, maxDrop, budget, front } } });
    return chosen.graph;
  }
}

/** The new weights of a unit where nothing else is new in a graph. */
function onlyWeights(before: Graph, after: Graph, { layers }: Unit): Weights | undefined {
  const now = after.nodes.find((node) => node.name === layers[0].name);
  if (!now || !isLayer(now) || before.nodes.length !== after.nodes.length) return undefined;
  const same = before.nodes.every((node, i) => {
    const other = after.nodes[i];
    if (node === other) return true;
    if (!isLayer(node) || !isLayer(other) || !layers.includes(node)) return false;
    return JSON.stringify({ ...node, weights: 0 }) === JSON.stringify({ ...other, weights: 0 });
  });
  return same ? now.weights : undefined;
}
