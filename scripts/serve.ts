// A small static server for pages under test.
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
};

/** Shared memory and workers from blobs allowed, code from strings not: the strictest page on which everything works. */
const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:",
  'Cache-Control': 'no-store',
};

export interface Server {
  url: string;
  /** Paths asked for and found, with the bytes sent. */
  readonly served: Map<string, Buffer>;
  close(): Promise<void>;
}

/** A page with one module script. */
export const page = (script: string): string =>
  `<!doctype html><meta charset="utf-8"><title>thinfer</title><script type="module" src="${script}"></script>`;

/**
 * @param folders URL prefix to folder, longest prefix first
 * @param routes exact paths, answered with a text, or by a function of the request's body
 */
export async function serve(
  folders: Record<string, string>,
  routes: Record<string, string | ((body: string) => string)> = {},
): Promise<Server> {
  const served = new Map<string, Buffer>();
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname);
    const send = (status: number, body: Buffer | string, type: string) => {
      const bytes = Buffer.from(body);
      if (status === 200) served.set(path, bytes);
      response.writeHead(status, { ...HEADERS, 'Content-Type': type, 'Content-Length': bytes.length });
      response.end(bytes);
    };
    const route = routes[path];
    if (route !== undefined) {
      let body = '';
      for await (const part of request) body += part;
      return send(200, typeof route === 'string' ? route : route(body), 'text/html');
    }
    for (const [prefix, folder] of Object.entries(folders)) {
      if (!path.startsWith(prefix)) continue;
      const file = normalize(join(folder, path.slice(prefix.length)));
      if (!file.startsWith(normalize(folder))) break;
      try {
        return send(200, await readFile(file), TYPES[extname(file)] ?? 'application/octet-stream');
      } catch {
        break;
      }
    }
    send(404, `no ${path}`, 'text/plain');
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      response.writeHead(500);
      response.end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    served,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
