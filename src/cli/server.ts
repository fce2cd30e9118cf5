// A small static server that allows shared memory.
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, sep } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
};

/** A page with these is cross-origin isolated: it may share memory between threads, and has a fine clock. */
export const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** What a path is answered with: a text, bytes, or a text that is made of the request's body. */
export type Route = string | Uint8Array | ((body: string) => string);

export interface ServeOptions {
  /** URL prefix to folder, longest prefix first. */
  folders?: Record<string, string>;
  /** Exact paths; may be added to while the server runs. */
  routes?: Record<string, Route>;
  headers?: Record<string, string>;
  /** Default: this machine only, any port. */
  host?: string;
  port?: number;
}

export interface Server {
  /** As this machine reaches it. */
  url: string;
  port: number;
  /** Paths asked for and found, with the bytes sent. */
  readonly served: Map<string, Buffer>;
  close(): Promise<void>;
}

export async function startServer({
  folders = {},
  routes = {},
  headers = ISOLATION,
  host = '127.0.0.1',
  port = 0,
}: ServeOptions): Promise<Server> {
  const served = new Map<string, Buffer>();
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname);
    const send = (status: number, body: Uint8Array | string, type: string) => {
      const bytes = Buffer.from(body as string);
      if (status === 200) served.set(path, bytes);
      response.writeHead(status, {
        'Cache-Control': 'no-store',
        ...headers,
        'Content-Type': type,
        'Content-Length': bytes.length,
      });
      response.end(bytes);
    };
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (typeof route === 'function') {
      let body = '';
      for await (const part of request) body += part;
      return send(200, route(body), 'text/html');
    }
    if (route !== undefined)
      return send(200, route, typeof route === 'string' ? 'text/html' : 'application/octet-stream');
    for (const [prefix, folder] of Object.entries(folders)) {
      if (!path.startsWith(prefix)) continue;
      const file = normalize(join(folder, path.slice(prefix.length)));
      if (!file.startsWith(join(folder, sep))) break;
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    served,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
