import { markdownTable } from 'markdown-table';
import pc from 'picocolors';
import type { Section } from './sections.js';

/** Names that other tools make up can be hundreds of characters long: their ends tell them apart. */
const LONGEST = 48;

const shorten = (text: string): string =>
  text.length <= LONGEST ? text : `${text.slice(0, 16)}…${text.slice(17 - LONGEST)}`;

/** What a terminal shows of a cell: without the codes that make it bold or dim. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what these codes are
const lengthOf = (text: string): number => text.replace(/\x1b\[\d+m/g, '').length;

/** A table that is aligned in a terminal, and Markdown. */
export function toText({ title, facts = [], columns, rows }: Section): string {
  const body = rows.map(({ cells, strong, weak }) => {
    const paint = strong ? pc.bold : weak ? pc.dim : (text: string) => text;
    return cells.map((cell) => paint(shorten(typeof cell === 'string' ? cell : cell.text)));
  });
  const table = markdownTable([columns.map((column) => pc.bold(column.title)), ...body], {
    align: columns.map(({ align }) => align ?? 'left'),
    stringLength: lengthOf,
  });
  return [pc.bold(title), ...facts, '', table].join('\n');
}
