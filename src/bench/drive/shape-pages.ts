// Opens the page of bench/page.ts and asks it for timings. A page that dies or hangs is told apart from an answer, and by
// whom, and is opened again without what killed it.

import type { Browser, Page } from 'puppeteer';
import type {
  BenchPage,
  Message,
  OperatorTimings,
  PageFacts,
  PageOptions,
  PeerName,
  ShapeTimings,
  Step,
  StudyKind,
  StudyTimings,
} from '../../../bench/types.js';

declare const bench: BenchPage;

/** Silence after which a page counts as hung. */
const HANG_MS = 120_000;

/** The page ended, or said nothing for too long, while `who` was doing `what`. */
export class PageDied extends Error {
  constructor(
    readonly who: string,
    readonly what: string,
    why: string,
  ) {
    super(`${why} during ${who} ${what}`);
  }
}

export interface OpenPage {
  facts: PageFacts;
  browserVersion: string;
  /** @throws PageDied; Error for what the page reported */
  measure(shape: string, without: readonly string[]): Promise<ShapeTimings>;
  measureOperator(operator: string, without: readonly string[]): Promise<OperatorTimings>;
  study(kind: StudyKind, point: string): Promise<StudyTimings>;
  close(): Promise<void>;
}

/** Where the page is opened. */
export interface Venue {
  /** Serves the page, until `close`. */
  serve(): Promise<{ url: string; close(): Promise<void> }>;
  launch(): Promise<Browser>;
  end(browser: Browser): Promise<void>;
  prepare?(tab: Page): Promise<void>;
}

/** @throws PageDied when it ends while peers load */
export async function openPage(venue: Venue, options: PageOptions, onStep: (step: Step) => void): Promise<OpenPage> {
  const server = await venue.serve();
  let browser: Browser | undefined;
  const close = async () => {
    browser?.removeAllListeners('disconnected');
    if (browser) await venue.end(browser);
    await server.close();
  };

  let at: Step = { type: 'step', who: 'thinfer', what: 'start', done: 0 };
  let heard = Date.now();
  let settle: ((message: Message | PageDied) => void) | undefined;
  const died = (why: string) => settle?.(new PageDied(at.who, at.what, why));
  /** Starts something in the page and waits for its answer. */
  const ask = async (call: () => Promise<unknown>): Promise<Exclude<Message, Step>> => {
    const answer = new Promise<Message | PageDied>((resolve) => {
      settle = resolve;
    });
    heard = Date.now();
    const watch = setInterval(() => {
      if (Date.now() - heard > HANG_MS) died(`silence for ${HANG_MS / 1000} s`);
    }, 1000);
    try {
      call().catch((error) => died(`the page did not answer (${error.message})`));
      const message = await answer;
      if (message instanceof PageDied) throw message;
      if (message.type === 'failed') throw new Error(message.error);
      return message as Exclude<Message, Step>;
    } finally {
      clearInterval(watch);
      settle = undefined;
    }
  };

  try {
    browser = await venue.launch();
    browser.on('disconnected', () => died('the browser ended'));
    const tab = await browser.newPage();
    await venue.prepare?.(tab);
    tab.on('error', (error) => died(`the page crashed (${error.message})`));
    await tab.exposeFunction('report', (message: Message) => {
      heard = Date.now();
      if (message.type !== 'step') return settle?.(message);
      at = message;
      onStep(message);
    });
    await tab.goto(server.url);
    await tab.waitForFunction(() => 'bench' in globalThis);
    const message = await ask(() => tab.evaluate((wanted) => bench.start(wanted), options));
    if (message.type !== 'facts') throw new Error(`the page answered ${message.type}`);
    return {
      facts: message.facts,
      browserVersion: await browser.version(),
      async measure(shape, without) {
        at = { type: 'step', who: 'thinfer', what: shape, done: 0 };
        const message = await ask(() => tab.evaluate((s, w) => bench.measure(s, w), shape, [...without]));
        if (message.type !== 'timings') throw new Error(`the page answered ${message.type}`);
        return message.timings;
      },
      async measureOperator(operator, without) {
        at = { type: 'step', who: 'thinfer', what: operator, done: 0 };
        const message = await ask(() => tab.evaluate((o, w) => bench.measureOperator(o, w), operator, [...without]));
        if (message.type !== 'operator') throw new Error(`the page answered ${message.type}`);
        return message.timings;
      },
      async study(kind, point) {
        at = { type: 'step', who: 'thinfer', what: point, done: 0 };
        const message = await ask(() => tab.evaluate((k, p) => bench.study(k, p), kind, point));
        if (message.type !== 'study') throw new Error(`the page answered ${message.type}`);
        return message.timings;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A shape whose page ended is tried again without the operator that ended it, this often. */
const ATTEMPTS = 5;

export interface Outcome<T> {
  facts: PageFacts;
  browserVersion: string;
  timings: T[];
  notes: string[];
}

/** What is timed of one shape, or operator, in an open page. */
export type Measure<T> = (page: OpenPage, shape: string, without: readonly string[]) => Promise<T>;

/** All shapes at one number of threads. A page that dies is opened again without what killed it. */
export async function runShapes<T>(
  venue: Venue,
  options: PageOptions,
  shapes: readonly string[],
  measure: Measure<T>,
  onProgress: (shapes: number, what: string) => void,
): Promise<Outcome<T>> {
  let current: OpenPage | undefined;
  let done = 0;
  const notes: string[] = [];
  const peers = new Set(options.peers);

  const open = async (): Promise<OpenPage> => {
    for (;;) {
      try {
        return await openPage(venue, { ...options, peers: [...peers] }, (step) =>
          onProgress(done + step.done, `${shapes[done] ?? ''} ${step.who} ${step.what}`),
        );
      } catch (error) {
        const { who } = error as PageDied;
        if (!(error instanceof PageDied) || !peers.delete(who as PeerName)) throw error;
        notes.push(`${who} is left out: ${error.message}`);
      }
    }
  };

  const outcome = { timings: [] as T[], notes };
  let facts: PageFacts | undefined;
  let browserVersion = '';
  try {
    for (const shape of shapes) {
      const without: string[] = [];
      for (let attempt = 1; ; attempt++) {
        try {
          current ??= await open();
          facts ??= current.facts;
          browserVersion = current.browserVersion;
          outcome.timings.push(await measure(current, shape, without));
          break;
        } catch (error) {
          if (!(error instanceof PageDied)) {
            if (!current) throw error;
            notes.push(`${shape}: ${(error as Error).message}`);
            break;
          }
          notes.push(`${shape}: ${error.message}`);
          await current?.close();
          current = undefined;
          if (options.peers.includes(error.who as PeerName)) without.push(`${error.who} ${error.what}`);
          else if (error.who === 'race') without.push(...peers);
          if (attempt === ATTEMPTS || error.who === 'thinfer') {
            notes.push(`${shape}: given up`);
            break;
          }
        }
      }
      onProgress(++done, '');
    }
  } finally {
    await current?.close();
  }
  if (!facts) throw new Error(`the page never started: ${notes.join('; ')}`);
  return { ...outcome, facts, browserVersion };
}
