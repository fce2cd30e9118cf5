// Pages of a Chrome or Firefox, started here or running somewhere, through puppeteer.
import { pathToFileURL } from 'node:url';
import type { Browser, ConnectOptions, LaunchOptions, Page } from 'puppeteer';
import { ThinferError } from '../../errors.js';
import type { Answers, Methods } from '../page/types.js';
import { withTimeout } from '../race.js';
import { type Client, HANG_MS, type Place } from './client.js';
import { chromeFlags, MEASURING_FLAGS } from './flags.js';
import { renderers } from './memory.js';
import { findPackage } from './packages.js';

export type BrowserName = 'chrome' | 'firefox';

export interface BrowserOptions {
  name: BrowserName;
  /** Of the page. */
  url: string;
  /** The browser's program; default: what puppeteer finds. */
  executable?: string;
  /** Where a browser runs already: ws:// or http://. */
  browserUrl?: string;
  /** More switches. */
  flags: readonly string[];
}

interface Puppeteer {
  launch(options: LaunchOptions): Promise<Browser>;
  connect(options: ConnectOptions): Promise<Browser>;
}

async function loadPuppeteer(): Promise<Puppeteer> {
  const found = findPackage('puppeteer') ?? findPackage('puppeteer-core');
  if (!found) {
    throw new ThinferError({
      code: 'unsupported',
      place: '--browser',
      expected: 'the package puppeteer, which drives browsers',
      got: 'none',
      hint: 'npm install puppeteer (it brings a Chrome), or measure in Node: --browser node.',
    });
  }
  const loaded = (await import(pathToFileURL(found.main()).href)) as { default: Puppeteer & { default?: Puppeteer } };
  return loaded.default.default ?? loaded.default;
}

/** What it is started with, if it is started here. */
const switchesOf = ({ name, browserUrl, flags }: Omit<BrowserOptions, 'url'>): string[] =>
  name === 'chrome' && !browserUrl ? [...chromeFlags(), ...MEASURING_FLAGS, ...flags] : [...flags];

export async function startBrowser(options: Omit<BrowserOptions, 'url'>): Promise<Browser> {
  const puppeteer = await loadPuppeteer();
  const { name, executable, browserUrl } = options;
  const protocol = name === 'firefox' ? 'webDriverBiDi' : 'cdp';
  const common = { protocol, protocolTimeout: HANG_MS } as const;
  if (browserUrl) {
    const where = browserUrl.startsWith('ws') ? { browserWSEndpoint: browserUrl } : { browserURL: browserUrl };
    try {
      return await puppeteer.connect({ ...common, ...where });
    } catch (error) {
      const { message } = error as Error;
      throw new ThinferError({
        code: 'unsupported',
        place: '--browser-url',
        expected: 'a browser that answers',
        got: `${browserUrl} (${message.split('\n')[0]})`,
        hint: 'Start one with --remote-debugging-port=9222, or take the address that your grid gives.',
      });
    }
  }
  const args = switchesOf(options);
  // Threads and WebGPU wait for no prompt; timers are as fine as the page's isolation allows.
  const extraPrefsFirefox = { 'dom.webgpu.enabled': true };
  const launch = (more: LaunchOptions) =>
    puppeteer.launch({ ...common, browser: name, headless: true, args, extraPrefsFirefox, ...more });
  try {
    return await launch(executable ? { executablePath: executable } : {});
  } catch (error) {
    // Puppeteer has none of its own: the one that is installed for everybody.
    if (name === 'chrome' && !executable) {
      try {
        return await launch({ channel: 'chrome' });
      } catch {
        // The first message says more.
      }
    }
    throw new ThinferError({
      code: 'unsupported',
      place: '--browser',
      expected: `a ${name} that starts`,
      got: (error as Error).message.split('\n').filter(Boolean).slice(0, 3).join(' ').slice(0, 300),
      hint: `npx puppeteer browsers install ${name}, or name one: --executable /usr/bin/${name === 'chrome' ? 'chromium' : 'firefox'}`,
    });
  }
}

/** A page in a context of its own, so that nothing is in any cache. */
async function openPage(
  browser: Browser,
  options: BrowserOptions,
  onStep: (done: number, what: string) => void,
): Promise<Place> {
  const ownProcess = options.name === 'chrome' && !options.browserUrl;
  const before = ownProcess ? await renderers(browser) : undefined;
  const context = await browser.createBrowserContext();
  let page: Page;
  try {
    page = await context.newPage();
    page.setDefaultTimeout(HANG_MS);
    await page.exposeFunction('thinferSay', onStep);
    await page.goto(options.url);
    await page.waitForFunction(() => 'thinferBench' in globalThis, { timeout: 30_000 });
  } catch (error) {
    await context.close().catch(() => {});
    const { message } = error as Error;
    throw new ThinferError({
      code: 'unsupported',
      place: options.browserUrl ? '--host' : 'thinfer bench',
      expected: `a page at ${options.url} that loads`,
      got: message.split('\n')[0],
      hint: options.browserUrl
        ? 'The browser must reach this machine: give the address by which it does, and a free --port.'
        : '',
    });
  }
  const crashed = new Promise<never>((_, reject) => {
    page.on('error', (error) => reject(new Error(`the page crashed (${error.message})`)));
    browser.once('disconnected', () => reject(new Error('the browser ended')));
  });
  crashed.catch(() => {});
  return {
    async call<M extends keyof Methods>(method: M, ...args: Parameters<Methods[M]>): Promise<Answers[M]> {
      const asked = page.evaluate(
        (name, given) => (globalThis.thinferBench[name] as (...all: unknown[]) => Promise<unknown>)(...given),
        method,
        args as unknown[],
      );
      asked.catch(() => {});
      const answer = await Promise.race([withTimeout(asked, HANG_MS, method), crashed]);
      return answer as Answers[M];
    },
    async peakBytes() {
      if (!before) return undefined;
      const own = [...(await renderers(browser))].filter(([id]) => !before.has(id));
      return own.length > 0 ? Math.max(...own.map(([, peak]) => peak)) : undefined;
    },
    close: () => context.close().catch(() => {}),
  };
}

/** Ends what was started; leaves alone what ran before. */
export async function endBrowser(browser: Browser, { browserUrl }: Pick<BrowserOptions, 'browserUrl'>): Promise<void> {
  browser.removeAllListeners('disconnected');
  if (browserUrl) return browser.disconnect();
  await browser.close().catch(() => {});
  // A renderer that hangs outlives the polite request.
  browser.process()?.kill('SIGKILL');
}

export async function browserClient(options: BrowserOptions): Promise<Client> {
  const browser = await startBrowser(options);
  return {
    browser: await browser.version(),
    remote: options.browserUrl !== undefined,
    flags: switchesOf(options),
    open: (onStep = () => {}) => openPage(browser, options, onStep),
    close: () => endBrowser(browser, options),
  };
}
