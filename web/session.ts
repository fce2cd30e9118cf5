// Keeps the engine doing what the page wants: one thing at a time, the newest wish first, measurements when there is none.
import { proxy, type Remote } from 'comlink';
import type { ModelInputs } from '../src/graph/model.js';
import type { Agreement, Answer, Config, Engine, Gpu, Loaded, Report } from './engine.js';

/** A model to load. */
export interface ModelFile {
  name: string;
  /** Its bytes, or where to fetch it. */
  source: ArrayBuffer | string;
}

export interface Machine {
  label: string;
  threads: number;
  notes: readonly string[];
}

/** Where something went wrong, so that it is said there. */
export type Place = 'file' | 'form' | 'input' | 'threads';

/** What is shown. */
export interface View {
  opened(machine: Machine): void;
  foundGpu(gpu: Gpu): void;
  lostGpu(why: string): void;
  loading(file: ModelFile, bytes: number, total: number | undefined): void;
  /** @returns how it is to run at first */
  loaded(file: ModelFile, facts: Loaded): Config;
  /** What the engine is about to do; undefined: nothing. */
  doing(what: string | undefined): void;
  /** The tensors of the picture at hand. */
  inputs(): ModelInputs;
  /** @param isFirst in this form, or on this backend */
  answered(answer: Answer, config: Config, isFirst: boolean): void;
  tuned(report: Report): void;
  agreed(agreement: Agreement): void;
  measured(times: readonly number[]): void;
  failed(place: Place, message: string): void;
  /** What was wanted could not be had: this is what goes on. */
  wentBack(file: ModelFile, config: Config): void;
}

interface Wanted {
  /** undefined: as many as the machine has. */
  threads: number | undefined;
  file: ModelFile;
  config: Config | undefined;
  /** Counts pictures. */
  input: number;
  /** Run again and again. */
  live: boolean;
  /** Measure how many answers stay the same. */
  testImages: boolean;
}

/** Runs that make a median. */
const RUNS = 61;
/** Milliseconds of measuring between two looks at what is wanted. */
const SLICE_MS = 120;
/** Slow devices get fewer runs. */
const MEASURING_MS = 800;

export class Session {
  readonly #engine: Remote<Engine>;
  readonly #view: View;
  readonly #wanted: Wanted;
  /** What the engine has; nothing of it is there at first. */
  #have: { threads?: number | 'default'; file?: ModelFile; config?: Config; input?: number } = {};
  /** What worked last. */
  #good: { file: ModelFile; config: Config } | undefined;
  /** What was done in idle time since the last change. */
  #done = { gpu: false, tuned: false, agreed: false, failed: false, runs: 0, measuredMs: 0 };
  #working = false;
  /** Something is wanted since the step under way began. */
  #called = false;
  #waiting: (() => void)[] = [];

  constructor(engine: Remote<Engine>, view: View, file: ModelFile) {
    this.#engine = engine;
    this.#view = view;
    this.#wanted = { threads: undefined, file, config: undefined, input: 0, live: false, testImages: false };
  }

  get wanted(): Readonly<Wanted> {
    return this.#wanted;
  }

  /** Another wish. What is under way for an older one is given up, but for a run on the picture before. */
  change(wish: Partial<Wanted>): void {
    const wanted = this.#wanted;
    if (wish.file && wish.file !== wanted.file) wanted.config = undefined;
    const outdated = ['threads', 'file', 'config'].some((key) => key in wish);
    Object.assign(wanted, wish);
    void this.#engine.interrupt(outdated);
    void this.start();
  }

  /** The picture has changed. */
  changeInput(): void {
    this.change({ input: this.#wanted.input + 1 });
  }

  /** Resolves when everything is as wanted, and measured. */
  settled(): Promise<void> {
    return this.#working ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }

  async start(): Promise<void> {
    this.#called = true;
    if (this.#working) return;
    this.#working = true;
    try {
      while (this.#called) {
        this.#called = false;
        while (await this.#step());
      }
    } finally {
      this.#working = false;
      this.#view.doing(undefined);
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  /** Does what is most urgent; false when nothing is left to do. */
  async #step(): Promise<boolean> {
    const wanted = { ...this.#wanted };
    const have = this.#have;
    const threads = wanted.threads ?? 'default';
    if (have.threads !== threads) return this.#open(threads);
    if (have.file !== wanted.file) return this.#load(wanted.file);
    if (have.config !== wanted.config) return this.#configure(wanted.config!);
    if (have.input !== wanted.input) return this.#run(wanted.input);
    return this.#idle(wanted);
  }

  async #open(threads: number | 'default'): Promise<boolean> {
    this.#view.doing('starting');
    this.#have = { ...this.#have, threads, config: undefined };
    try {
      this.#view.opened(await this.#engine.open(threads === 'default' ? undefined : threads));
    } catch (error) {
      this.#view.failed('threads', messageOf(error));
      // Without an engine nothing can be done; without that many threads one will do.
      if (threads === 1) return false;
      this.#wanted.threads = 1;
    }
    return true;
  }

  async #load(file: ModelFile): Promise<boolean> {
    this.#view.doing('loading');
    const onProgress = proxy((bytes: number, total: number | undefined) => this.#view.loading(file, bytes, total));
    try {
      const facts = await this.#engine.load(file.source, onProgress);
      this.#have = { threads: this.#have.threads, file };
      if (this.#wanted.file !== file) return true;
      const config = this.#view.loaded(file, facts);
      // What was chosen while the model before was there is not for this one.
      const before = this.#good;
      const isBack = file === before?.file && this.#wanted.config === before.config;
      if (isBack) this.#view.wentBack(file, before.config);
      else this.#wanted.config = config;
    } catch (error) {
      this.#fail('file', error, file);
      if (!this.#good) return this.#wanted.file !== file;
    }
    return true;
  }

  async #configure(config: Config): Promise<boolean> {
    this.#view.doing('packing weights');
    try {
      await this.#engine.configure(config);
      this.#have = { threads: this.#have.threads, file: this.#have.file, config };
      this.#done = { gpu: this.#done.gpu, tuned: false, agreed: false, failed: false, runs: 0, measuredMs: 0 };
    } catch (error) {
      return this.#fail('form', error, this.#have.file!);
    }
    return true;
  }

  async #run(input: number): Promise<boolean> {
    const config = this.#have.config!;
    try {
      const answer = await this.#engine.run(this.#view.inputs());
      this.#have.input = input;
      if (answer.backend !== config.backend) this.#moved(config, answer);
      const isFirst = this.#good?.config !== this.#have.config;
      this.#good = { file: this.#have.file!, config: this.#have.config! };
      this.#view.answered(answer, this.#have.config!, isFirst);
    } catch (error) {
      this.#have.input = input;
      return this.#fail('input', error, this.#have.file!);
    }
    return true;
  }

  /** The engine left a lost GPU. */
  #moved(config: Config, { backend }: Answer): void {
    this.#have.config = { ...config, backend };
    if (this.#wanted.config === config) this.#wanted.config = this.#have.config;
    this.#done = { ...this.#done, runs: 0, measuredMs: 0, tuned: false, agreed: false };
    this.#view.wentBack(this.#have.file!, this.#have.config);
  }

  async #idle({ live, testImages }: Wanted): Promise<boolean> {
    const done = this.#done;
    const { config } = this.#have;
    const isMeasured = done.runs >= RUNS || done.measuredMs >= MEASURING_MS;
    try {
      if (!done.gpu) {
        done.gpu = true;
        this.#view.foundGpu(await this.#engine.findGpu(proxy((why: string) => this.#lost(why))));
      } else if (!done.tuned) {
        done.tuned = true;
        this.#view.doing('timing kernels');
        const report = await this.#engine.tune();
        if (report) this.#view.tuned(report);
      } else if (testImages && !done.agreed && (live || isMeasured)) {
        this.#view.doing('comparing on test images');
        const agreement = await this.#engine.agreement();
        done.agreed = agreement !== 'interrupted';
        if (typeof agreement === 'object' && this.#have.config === config) this.#view.agreed(agreement);
      } else if (live || !isMeasured) {
        if (!live) this.#view.doing('measuring');
        const start = performance.now();
        const times = await this.#engine.measure(RUNS, SLICE_MS);
        done.runs += times.length;
        done.measuredMs += performance.now() - start;
        if (this.#have.config === config) this.#view.measured(times);
      } else {
        return false;
      }
    } catch (error) {
      if (isAbort(error)) return true;
      // A lost GPU, perhaps: a run knows what to do about it.
      if (done.failed) this.#view.failed('input', messageOf(error));
      else this.#have.input = undefined;
      done.failed = true;
      return this.#have.input === undefined;
    }
    return true;
  }

  #lost(why: string): void {
    this.#view.lostGpu(why);
    if (this.#have.config?.backend !== 'webgpu') return;
    this.#have.input = undefined;
    void this.start();
  }

  /** Says what went wrong, and goes back to what worked. */
  #fail(place: Place, error: unknown, file: ModelFile): boolean {
    if (isAbort(error)) return true;
    const good = this.#good;
    // A file that never gave an answer is at fault itself.
    const isNew = good?.file !== file;
    this.#view.failed(isNew && place !== 'input' ? 'file' : place, messageOf(error));
    if (place === 'input' || !good) return false;
    this.#wanted.file = good.file;
    this.#wanted.config = good.config;
    this.#view.wentBack(good.file, good.config);
    return true;
  }
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
