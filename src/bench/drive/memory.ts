import { readFileSync } from 'node:fs';
import type { Browser } from 'puppeteer';

/** Processes of pages by id, with the most memory that each ever had resident. Chrome on this Linux machine only. */
export async function renderers(browser: Browser): Promise<Map<number, number>> {
  const peaks = new Map<number, number>();
  if (process.platform !== 'linux') return peaks;
  const session = await browser.target().createCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  for (const { type, id } of processInfo) {
    if (type !== 'renderer') continue;
    try {
      const [, peak] = /VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, 'utf8')) ?? [];
      if (peak) peaks.set(id, 1024 * Number(peak));
    } catch {
      // It ended meanwhile.
    }
  }
  return peaks;
}
