// The server of pages under test.
import { ISOLATION, type Server, startServer } from '../src/cli/server.js';

export type { Server } from '../src/cli/server.js';

/** Shared memory and workers from blobs allowed, code from strings not: the strictest page on which everything works. */
const HEADERS = {
  ...ISOLATION,
  'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:",
};

/** A page with one module script. */
export const page = (script: string): string =>
  `<!doctype html><meta charset="utf-8"><title>thinfer</title><script type="module" src="${script}"></script>`;

/**
 * @param folders URL prefix to folder, longest prefix first
 * @param routes exact paths, answered with a text, or by a function of the request's body
 */
export const serve = (
  folders: Record<string, string>,
  routes: Record<string, string | ((body: string) => string)> = {},
): Promise<Server> => startServer({ folders, routes, headers: HEADERS });
