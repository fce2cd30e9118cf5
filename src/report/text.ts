import Table from 'cli-table3';
import pc from 'picocolors';
import type { Section } from './sections.js';

/** Names that other tools make up can be hundreds of characters long: their ends tell them apart. */
const LONGEST = 48;

const shorten = (text: string): string =>
  text.length <= LONGEST ? text : `${text.slice(0, 16)}…${text.slice(17 - LONGEST)}`;

export function toText({ title, facts = [], columns, rows }: Section): string {
  const table = new Table({
    head: columns.map((column) => pc.bold(column.title)),
    colAligns: columns.map(({ align }) => align ?? ('left' as const)),
    style: { head: [], border: [], compact: true },
  });
  for (const { cells, strong, weak } of rows) {
    const paint = strong ? pc.bold : weak ? pc.dim : (text: string) => text;
    table.push(cells.map((cell) => paint(shorten(typeof cell === 'string' ? cell : cell.text))));
  }
  return [pc.bold(title), ...facts, table.toString()].join('\n');
}
