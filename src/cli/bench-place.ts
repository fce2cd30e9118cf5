// The server and the browser of a bench.
import { join } from 'node:path';
import { type BrowserName, browserClient, endBrowser, startBrowser } from '../bench/drive/browser.js';
import type { Client } from '../bench/drive/client.js';
import { nodeClient } from '../bench/drive/node.js';
import { IMPORT_MAP } from '../bench/drive/peers.js';
import type { Venue } from '../bench/drive/shape-pages.js';
import { packageRoot } from './fashion.js';
import { integer } from './options.js';
import { type Route, type Server, startServer } from './server.js';

/** What pages and processes load: made by npm run build. */
export const scripts = (): string => join(packageRoot(), 'dist/bench/');

const page = (script: string): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>thinfer bench</title>
<script type="importmap">${JSON.stringify(IMPORT_MAP)}</script>
<script type="module" src="/thinfer/bench/${script}"></script>`;

export interface Where {
  browser: string;
  browserUrl?: string;
  executable?: string;
  flags: readonly string[];
  /** As the browser reaches this machine. */
  host?: string;
  port: number;
}

/** What the command line says of it. */
export function whereOf(args: Record<string, unknown>): Where {
  const text = (name: string) => args[name] as string | undefined;
  return {
    browser: text('browser')!,
    browserUrl: text('browser-url'),
    executable: text('executable'),
    flags: (text('flags') ?? '').split(' ').filter(Boolean),
    host: text('host'),
    port: text('port') === '0' ? 0 : integer(text('port')!, '--port', 65535),
  };
}

/** Serves one page, our files and those of peers. Gives its URL as the browser has it. */
async function openServer(
  { host, port }: Where,
  script: string,
  folders: Record<string, string>,
  routes: Record<string, Route>,
): Promise<{ server: Server; url: string }> {
  routes['/'] = page(script);
  routes['/favicon.ico'] = '';
  const server = await startServer({
    folders: { ...folders, '/thinfer/': join(packageRoot(), 'dist') },
    routes,
    // Only as open as it has to be.
    host: host ? '0.0.0.0' : '127.0.0.1',
    port,
  });
  const url = !host ? server.url : /^https?:/.test(host) ? host.replace(/\/$/, '') : `http://${host}:${server.port}`;
  return { server, url };
}

/** The page of models, or Node. */
export async function openClient(
  where: Where,
  folders: Record<string, string>,
  routes: Record<string, Route>,
): Promise<{ client: Client; server: Server; url: string }> {
  const { server, url } = await openServer(where, 'browser.js', folders, routes);
  try {
    const { browser } = where;
    const client =
      browser === 'node'
        ? nodeClient(join(scripts(), 'node.js'), [...where.flags])
        : await browserClient({ ...where, name: browser as BrowserName, url });
    return { client, server, url };
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** The page of shapes. */
export function shapesVenue(where: Where, folders: Record<string, string>): Venue {
  const options = { ...where, name: where.browser as BrowserName };
  return {
    async serve() {
      const { server, url } = await openServer(where, 'shapes.js', folders, {});
      return { url, close: server.close };
    },
    launch: () => startBrowser(options),
    end: (browser) => endBrowser(browser, options),
  };
}
