// Results files: how they are named and written.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

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
