// Results files: how they are named and written.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '../scripts/paths.js';

/** The name of a machine as that of a file. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/\((r|tm)\)/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

/** Writes JSON with numbers of five digits. */
export function writeResults(file: string, results: object): void {
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(results, rounded, 1)}\n`);
}

/** Puts figures between the marks `name` of a page in docs/. */
export function fillDocs(page: string, name: string, text: string): void {
  const file = join(root, `docs/${page}.md`);
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const [before, rest] = readFileSync(file, 'utf8').split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`${file} has no lines ${begin} and ${end}`);
  writeFileSync(file, `${before}${begin}\n${text}\n${end}${after}`);
}
