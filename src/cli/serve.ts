import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { defineCommand } from 'citty';
import pc from 'picocolors';
import sirv from 'sirv';
import { ThinferError } from '../errors.js';
import { packageRoot } from './fashion.js';
import { integer } from './options.js';
import { reported } from './report.js';

const DEFAULT_PORT = 8080;

/** With these a page is cross-origin isolated: it may share memory between threads. */
const HEADERS: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:",
};

/** Serves a folder until the process ends. @throws ThinferError `bad-argument` when the port is taken or not allowed */
function serveFolder(folder: string, port: number, host: string): Promise<Server> {
  const files = sirv(folder, {
    // Looks at the disk each time: the page may be built anew meanwhile.
    dev: true,
    setHeaders: (response) => {
      for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    },
  });
  const server = createServer((request, response) => files(request, response));
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new ThinferError({
          code: 'bad-argument',
          place: 'thinfer serve',
          expected: `an address and a port that are free`,
          got: `${host}:${port} (${cause.message})`,
          hint: 'Name another with --port; 0 takes any that is free.',
          cause,
        }),
      );
    });
    server.listen(port, host, () => resolve(server));
  });
}

export const serve = defineCommand({
  meta: { name: 'serve', description: 'Serve the page that shows networks at work, for a browser on this machine.' },
  args: {
    port: { type: 'string', default: String(DEFAULT_PORT), description: 'TCP port; 0: any that is free' },
    host: {
      type: 'string',
      default: '127.0.0.1',
      description: 'Address to listen at; 0.0.0.0: reachable from outside',
    },
  },
  run: ({ args }) =>
    reported(async () => {
      const port = args.port === '0' ? 0 : integer(args.port, '--port', 65535);
      const folder = join(packageRoot(), 'dist/web');
      if (!existsSync(join(folder, 'index.html'))) {
        const expected = 'the page in dist/web';
        const hint = 'npm run build makes it.';
        throw new ThinferError({ code: 'bad-argument', place: 'thinfer serve', expected, got: 'none', hint });
      }
      const server = await serveFolder(folder, port, args.host);
      const { port: taken } = server.address() as AddressInfo;
      const name = ['127.0.0.1', '0.0.0.0'].includes(args.host) ? 'localhost' : args.host;
      console.log(`Open ${pc.bold(`http://${name}:${taken}`)} in a browser. ${pc.dim('Ctrl+C ends this.')}`);
    }),
});
