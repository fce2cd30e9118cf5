// Opens the page and asks it for timings. A page that dies or hangs is told apart from an answer, and by whom.

import { join } from 'node:path';
import type { Browser } from 'puppeteer';
import { launch } from '../scripts/launch.js';
import { root } from '../scripts/paths.js';
import { page, serve } from '../scripts/serve.js';
import type {
  BenchPage,
  Chart,
  Message,
  OperatorTimings,
  PageFacts,
  PageOptions,
  ShapeTimings,
  Step,
  StudyKind,
  StudyTimings,
} from './types.js';

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
  /** @returns SVG */
  draw(chart: Chart): Promise<string>;
  close(): Promise<void>;
}

/**
 * @param scripts folder of the page's bundle
 * @throws PageDied when it ends while peers load
 */
export async function openPage(
  executable: string,
  scripts: string,
  options: PageOptions,
  onStep: (step: Step) => void,
): Promise<OpenPage> {
  const server = await serve(
    { '/peers/': join(root, 'bench/node_modules'), '/': scripts },
    { '/': page('/page.js'), '/favicon.ico': '' },
  );
  let browser: Browser | undefined;
  const close = async () => {
    browser?.removeAllListeners('disconnected');
    await browser?.close().catch(() => {});
    // A hung renderer outlives the polite request.
    browser?.process()?.kill('SIGKILL');
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
    browser = await launch(executable, {
      adapter: '',
      args: ['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
    });
    browser.on('disconnected', () => died('the browser ended'));
    const tab = await browser.newPage();
    // tfjs starts its threads from scripts in blobs.
    await tab.setBypassCSP(true);
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
      async draw(chart) {
        const message = await ask(() => tab.evaluate((c) => bench.draw(c), chart));
        if (message.type !== 'chart') throw new Error(`the page answered ${message.type}`);
        return message.svg;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
