// The page of shapes in a browser of this machine.
import { join } from 'node:path';
import { launch } from '../scripts/launch.js';
import { root } from '../scripts/paths.js';
import { page, serve } from '../scripts/serve.js';
import type { Venue } from '../src/bench/drive/shape-pages.js';

/** A Chrome or Chromium here, with the peers of bench/node_modules. */
export const localVenue = (executable: string, scripts: string): Venue => ({
  serve: () =>
    serve({ '/peers/': join(root, 'bench/node_modules'), '/': scripts }, { '/': page('/page.js'), '/favicon.ico': '' }),
  launch: () =>
    launch(executable, {
      adapter: '',
      args: ['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
    }),
  async end(browser) {
    await browser.close().catch(() => {});
    // A hung renderer outlives the polite request.
    browser.process()?.kill('SIGKILL');
  },
  // tfjs starts its threads from scripts in blobs.
  prepare: (tab) => tab.setBypassCSP(true),
});
