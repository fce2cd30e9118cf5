// What is shown of answers, layers and figures.
import type { NodeFacts } from './engine.js';

export const element = <E extends HTMLElement>(id: string): E => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as E;
};

/** Milliseconds with two digits that count. */
export const ms = (value: number): string => `${value < 10 ? value.toFixed(2) : value.toFixed(value < 100 ? 1 : 0)} ms`;

export function size(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(bytes < 1e5 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

export function percent(share: number): string {
  const value = share * 100;
  // 100 % and 0 % are said of nothing less.
  if (value > 99.9 && value < 100) return '> 99.9 %';
  if (value < 0.1 && value > 0) return '< 0.1 %';
  return `${value.toFixed(1)} %`;
}

/** A message below what it is about; undefined takes it away. */
export function say(id: string, message: string | undefined): void {
  const box = element(id);
  box.hidden = message === undefined;
  // Set last: screen readers read what changes in a box that is there.
  box.textContent = message ?? '';
}

function bar(share: number): HTMLElement {
  const track = document.createElement('span');
  track.className = 'track';
  const filled = document.createElement('span');
  filled.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  track.append(filled);
  return track;
}

export interface Bar {
  label: string;
  value: string;
  /** 0..1 */
  share: number;
}

/** The largest answers. Rows stay the same elements, so that bars move. */
export function showAnswers(list: HTMLElement, bars: readonly Bar[]): void {
  while (list.children.length > bars.length) list.lastElementChild!.remove();
  while (list.children.length < bars.length) {
    const row = document.createElement('li');
    row.append(document.createElement('span'), document.createElement('span'), bar(0));
    list.append(row);
  }
  for (const [i, { label, value, share }] of bars.entries()) {
    const [name, number, track] = list.children[i].children as unknown as HTMLElement[];
    name.textContent = label;
    number.textContent = value;
    (track.firstElementChild as HTMLElement).style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  }
}

/** Kernels have long names, which may break where their parts end. */
function kernelCell(name: string): HTMLElement {
  const td = document.createElement('td');
  for (const [i, part] of name.split(/(?<=_)/).entries())
    td.append(...(i > 0 ? [document.createElement('wbr')] : []), part);
  return td;
}

/** The table of what runs. */
export function showNodes(body: HTMLElement, nodes: readonly NodeFacts[]): void {
  const most = Math.max(...nodes.map((node) => node.ms), 1e-9);
  const cell = (text: string, className = '') => {
    const td = document.createElement('td');
    td.textContent = text;
    td.className = className;
    return td;
  };
  body.replaceChildren(
    ...nodes.map((node) => {
      const row = document.createElement('tr');
      const name = document.createElement('th');
      name.scope = 'row';
      name.textContent = node.label;
      name.title = node.name;
      const share = cell('', 'share');
      share.append(bar(node.ms / most));
      row.append(
        name,
        kernelCell(node.kernel),
        cell(node.format, 'form-of-weights'),
        cell(node.bytes ? (node.bytes / 1000).toFixed(1) : '', 'number'),
        cell(`${node.measured ? '' : '≈ '}${node.ms.toFixed(3)}`, 'number'),
        share,
      );
      return row;
    }),
  );
}
