// Runs test bundles one after another in this process or page. The same file serves Node and the browser.

/** What a run of test files came to. */
export interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

type Suite = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;

declare global {
  var UVU_DEFER: 1 | undefined;
  var UVU_INDEX: number | undefined;
  var UVU_QUEUE: (string | Suite)[][] | undefined;
}

const inNode = typeof process === 'object' && typeof process.send === 'function';
const [names, report] = inNode
  ? [process.argv.slice(2), (totals: Totals) => void process.send!(totals)]
  : [
      new URLSearchParams(location.search).get('files')!.split(','),
      async (totals: Totals) => void (await fetch('/totals', { method: 'POST', body: JSON.stringify(totals) })),
    ];

// uvu writes pieces of lines. In the browser it takes console.log at import, which ends each with a line break:
// pieces are marked, so that the listener puts them together.
const log = console.log;
if (!inNode) console.log = (text) => log(`\u0001${text}`);
globalThis.UVU_DEFER = 1;
await import('uvu');
console.log = log;
const write = (text: string) => (inNode ? process.stdout.write(text) : log(`\u0001${text}`));

const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
for (const [i, name] of names.entries()) {
  const suites: Suite[] = [];
  globalThis.UVU_QUEUE ??= [];
  globalThis.UVU_QUEUE[i] = suites;
  globalThis.UVU_INDEX = i;
  const start = performance.now();
  write(`${name}\n`);
  try {
    await import(new URL(`./${name}.js`, import.meta.url).href);
  } catch (error) {
    totals.failed++;
    write(`${name} did not load: ${(error as Error)?.stack ?? error}\n`);
  }
  for (const suite of suites) {
    const [errors, passed, skipped, total] = await suite();
    totals.passed += passed;
    totals.failed += total - passed;
    totals.skipped += skipped;
    if (typeof errors === 'string') write(`\n${errors}\n`);
    else if (passed < total) write(`\n${total - passed} tests of ${name} did not run: a hook of the suite threw\n`);
  }
  write(`  ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}
await report(totals);
